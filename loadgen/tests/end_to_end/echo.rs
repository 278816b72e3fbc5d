//! The echo scenario, against right and wrong servers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::servers::{Answer, Running};
use crate::{command, document, number};

#[test]
fn a_closed_loop_counts_what_it_was_asked_for() {
    let server = Running::echo(|_, _| Answer::Send);
    for (payload, kind) in [("0", "--binary"), ("5", "--text"), ("64", "--text"), ("70000", "-q")] {
        let (code, document) = document(&[
            "echo",
            &server.url,
            "-c",
            "7",
            "-n",
            "500",
            "--warmup",
            "50ms",
            "--depth",
            "3",
            "-p",
            payload,
            kind,
        ]);
        let outcome = &document["outcome"];
        assert_eq!(code, 0, "{document:#}");
        assert_eq!(outcome["good"], true);
        assert_eq!(outcome["received"], 500, "{payload} bytes");
        assert_eq!(outcome["latency"]["count"], 500);
        assert_eq!(outcome["handshake"]["count"], 7);
        assert_eq!(outcome["connections_ended_unclean"], 0);
        assert!(number(&outcome["warmup_latency"]["count"]) > 0.0, "a warm-up is recorded apart");
        assert!(number(&outcome["latency"]["min_ns"]) > 0.0);
        let (p50, max) = (&outcome["latency"]["p50_ns"], &outcome["latency"]["max_ns"]);
        assert!(number(p50) <= number(max));
    }
}

#[test]
fn threads_share_the_connections() {
    let server = Running::echo(|_, _| Answer::Send);
    let (code, document) = document(&[
        "echo",
        &server.url,
        "-c",
        "5",
        "-t",
        "3",
        "-n",
        "100",
        "--warmup",
        "0",
        "--ramp",
        "50ms",
    ]);
    assert_eq!(code, 0, "{document:#}");
    assert_eq!(document["outcome"]["received"], 100);
    assert_eq!(document["outcome"]["connections_opened"], 5);
    assert_eq!(document["cost"]["generator_cpu_ns"].as_array().map(Vec::len), Some(3));
    assert!(number(&document["outcome"]["connected_in_ns"]) >= 40e6, "a ramp takes its time");
}

#[test]
fn an_open_loop_keeps_its_schedule_and_tells_the_cost() {
    let server = Running::echo(|_, _| Answer::Send);
    let pid = std::process::id().to_string();
    let (code, document) = document(&[
        "echo",
        &server.url,
        "-c",
        "4",
        "-r",
        "1k/s",
        "-d",
        "500ms",
        "--warmup",
        "100ms",
        "--pid",
        &pid,
        "--spin",
        "20us",
    ]);
    let outcome = &document["outcome"];
    assert_eq!(code, 0, "{document:#}");
    assert_eq!(outcome["offered"], 500);
    assert_eq!(outcome["sent"], 500);
    assert_eq!(outcome["latency"]["count"], 500);
    assert_eq!(outcome["service"]["count"], 500);
    assert_eq!(document["trust"]["scheduling_delay"]["count"], 500);
    let (latency, service) = (&outcome["latency"]["mean_ns"], &outcome["service"]["mean_ns"]);
    assert!(number(latency) >= number(service), "{document:#}");
    // Unless this machine was too busy to read it in time, which is said.
    let left_out = document["trust"]["notes"].to_string().contains("CPU time is left out");
    let cost = &document["cost"]["server_cpu_ns_per_message"];
    assert!(if left_out { cost.is_null() } else { number(cost) > 0.0 }, "{document:#}");
    assert!(outcome["latency"]["hdr_v2_deflate_base64"].as_str().is_some_and(|h| h.len() > 40));
    let seconds = document["intervals"].as_array().expect("intervals");
    assert_eq!(seconds.len(), 1, "{document:#}");
    assert_eq!(seconds[0]["received"], outcome["received"]);
}

#[test]
fn a_stall_shows_in_the_latency_and_not_in_the_service_time() {
    const STALL: Duration = Duration::from_millis(500);
    let server = Running::echo(|seen, _| {
        if seen == 100 {
            // The server's thread stands still, as in a long collection of garbage.
            std::thread::sleep(STALL);
        }
        Answer::Send
    });
    let arguments = ["echo", &server.url, "-d", "1500ms", "--warmup", "0", "-r", "200"];
    let (code, document) = document(&[&arguments[..], &["--depth", "1"]].concat());
    assert_eq!(code, 0, "{document:#}");
    let outcome = &document["outcome"];
    assert_eq!(outcome["latency"]["count"], 300);
    // A third of all messages were due during the stall, and waited for half of it on average.
    assert!(number(&outcome["latency"]["p90_ns"]) > 200e6, "{document:#}");
    // One of them was in flight.
    assert!(number(&outcome["service"]["p90_ns"]) < 200e6, "{document:#}");
    assert!(number(&outcome["service"]["max_ns"]) >= 490e6, "{document:#}");
    let notes = document["trust"]["notes"].to_string();
    assert!(notes.contains("no room for them"), "{notes}");
    // Due in the stall, behind the one in flight.
    assert!(number(&outcome["waited_for_room"]) >= 95.0, "{document:#}");
}

#[test]
fn a_flipped_bit_is_found_and_ends_with_1() {
    let server = Running::echo(|seen, bytes| {
        if seen == 20 {
            bytes[40] ^= 4;
        }
        Answer::Send
    });
    let (code, document) = document(&["echo", &server.url, "-n", "50", "--warmup", "0"]);
    assert_eq!(code, 1, "{document:#}");
    let wrong = &document["outcome"]["errors"]["wrong_payload"];
    assert_eq!(wrong["count"], 1);
    assert!(
        wrong["examples"][0].as_str().is_some_and(|text| text.contains("byte 40 of 64")),
        "{wrong}"
    );
    assert_eq!(document["outcome"]["good"], false);
    assert_eq!(document["outcome"]["received"], 49);
}

#[test]
fn a_message_too_many_is_wrong() {
    let server = Running::echo(|seen, _| if seen == 9 { Answer::Twice } else { Answer::Send });
    let (code, document) = document(&["echo", &server.url, "-n", "10", "--warmup", "0"]);
    assert_eq!(code, 1, "{document:#}");
    assert_eq!(document["outcome"]["errors"]["wrong_payload"]["count"], 1, "{document:#}");
}

#[test]
fn replies_that_do_not_come_are_counted() {
    let server = Running::echo(|seen, _| if seen == 30 { Answer::Nothing } else { Answer::Send });
    let (code, document) = document(&[
        "echo",
        &server.url,
        "-r",
        "200",
        "-d",
        "300ms",
        "--warmup",
        "0",
        "--timeout",
        "300ms",
        "-p",
        "4",
    ]);
    assert_eq!(code, 1, "{document:#}");
    assert_eq!(document["outcome"]["errors"]["unanswered"]["count"], 1, "{document:#}");
    assert_eq!(document["outcome"]["latency"]["count"], 59, "{document:#}");
}

#[test]
fn a_connection_that_ends_is_an_error_and_the_others_go_on() {
    let server = Running::echo(|seen, _| if seen == 30 { Answer::HangUp } else { Answer::Send });
    let (code, document) =
        document(&["echo", &server.url, "-c", "2", "-n", "100", "--warmup", "0"]);
    assert_eq!(code, 1, "{document:#}");
    let errors = &document["outcome"]["errors"];
    assert_eq!(errors["closed"]["count"], 1, "{document:#}");
    assert_eq!(errors["unanswered"]["count"], 1, "{document:#}");
    assert_eq!(document["outcome"]["received"], 99, "{document:#}");
}

#[test]
fn when_every_connection_has_ended_so_has_the_run() {
    let server = Running::echo(|seen, _| if seen >= 30 { Answer::HangUp } else { Answer::Send });
    let begin = std::time::Instant::now();
    let (code, document) =
        document(&["echo", &server.url, "-c", "2", "-d", "60s", "--warmup", "0"]);
    assert_eq!(code, 1, "{document:#}");
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert_eq!(document["outcome"]["errors"]["closed"]["count"], 2, "{document:#}");
}

#[test]
fn a_load_begins_when_it_was_told_to() {
    let server = Running::echo(|_, _| Answer::Send);
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let at = now.as_secs() + 3;
    let (pid, start) = (std::process::id().to_string(), at.to_string());
    let run = ["echo", &server.url, "-n", "20", "--warmup", "0", "--start-at", &start];
    // What the server, which is in this process, uses before is not of the window.
    let busy = std::thread::spawn(move || {
        let begin = std::time::Instant::now();
        while begin.elapsed() < Duration::from_secs(1) {
            std::hint::black_box(());
        }
        let account = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        account.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(1e9)
    });
    let (code, document) = document(&[&run[..], &["--pid", &pid]].concat());
    assert_eq!(code, 0, "{document:#}");
    let used: f64 = busy.join().expect("no panic");
    let counted = document["cost"]["server_cpu_ns"].as_f64().unwrap_or(0.0);
    assert!(counted < used / 2.0, "{counted} of {used} ns: {document:#}");
    let off = number(&document["clock"]["window_opened_unix_ns"]) - at as f64 * 1e9;
    // The clock of the system is adjusted now and then; the one of the run is not.
    assert!(off.abs() < 50e6, "{off} ns off: {document:#}");
    assert_eq!(document["workload"]["start_at_unix_ns"], at * 1_000_000_000);
    let late = crate::loadgen(&["echo", &server.url, "--start-at", "2020-01-01T00:00:00Z"]);
    assert_eq!(late.status.code(), Some(3), "{late:?}");
    assert!(String::from_utf8_lossy(&late.stderr).contains("far enough ahead"), "{late:?}");
}

#[test]
fn a_signal_ends_the_run_and_the_result_is_written() {
    static SEEN: AtomicBool = AtomicBool::new(false);
    let server = Running::echo(|seen, _| {
        SEEN.fetch_or(seen > 10, Ordering::Relaxed);
        Answer::Send
    });
    let mut command = command(&["echo", &server.url, "-c", "3", "-d", "60s", "--json"]);
    let mut child =
        command.args(["--warmup", "0"]).stdout(std::process::Stdio::piped()).spawn().expect("runs");
    let begin = std::time::Instant::now();
    while !SEEN.load(Ordering::Relaxed) && begin.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("a kill command").success());
    let mut text = String::new();
    let mut stdout = child.stdout.take().expect("piped");
    std::io::Read::read_to_string(&mut stdout, &mut text).expect("UTF-8");
    let status = child.wait().expect("ended");
    assert_eq!(status.code(), Some(130), "{text}");
    let document: serde_json::Value = serde_json::from_str(&text).expect("a whole document");
    assert_eq!(document["outcome"]["interrupted"], true);
    assert_eq!(document["outcome"]["errors_total"], 0, "{document:#}");
    assert!(number(&document["outcome"]["received"]) > 0.0);
}

#[test]
fn an_interrupted_warm_up_has_no_result_and_says_so() {
    static SEEN: AtomicBool = AtomicBool::new(false);
    let server = Running::echo(|seen, _| {
        SEEN.fetch_or(seen > 10, Ordering::Relaxed);
        Answer::Send
    });
    for json in [true, false] {
        SEEN.store(false, Ordering::Relaxed);
        let mut command = command(&["echo", &server.url, "--warmup", "60s"]);
        command.args(json.then_some("--json")).stdout(std::process::Stdio::piped());
        let child = command.spawn().expect("runs");
        let begin = std::time::Instant::now();
        while !SEEN.load(Ordering::Relaxed) && begin.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let kill =
            std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(kill.expect("a kill command").success());
        let output = child.wait_with_output().expect("ended");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(output.status.code(), Some(130), "{text}");
        if json {
            let document: serde_json::Value = serde_json::from_str(&text).expect("a document");
            assert_eq!(document["outcome"]["headline"], false, "{text}");
            assert_eq!(document["outcome"]["elapsed_ns"], 0, "{text}");
        } else {
            assert!(text.contains("1 connection, ") && text.contains("nothing had been measured"));
            assert!(!text.contains("messages/s"), "{text}");
        }
    }
}
