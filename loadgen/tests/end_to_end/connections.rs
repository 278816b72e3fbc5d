//! The scenarios that are about connections: idle, churn, slow readers.

use std::net::TcpListener;

use crate::client_cases::codec::{self, CLOSE, FIN, Got, Peer, close, frame};
use crate::servers::{Answer, Running};
use crate::{document, loadgen, number};

#[test]
fn idle_connections_are_held_and_their_memory_is_measured() {
    let server = Running::pinging();
    let pid = std::process::id().to_string();
    let run = ["idle", &server.url, "-c", "20", "-d", "700ms", "--warmup", "0", "--pid", &pid];
    let (code, document) = document(&run);
    assert_eq!(code, 0, "{document:#}");
    let outcome = &document["outcome"];
    assert_eq!((&outcome["connections_opened"], &outcome["headline"]), (&20.into(), &true.into()));
    assert!(number(&outcome["server_pings_answered"]) >= 20.0, "{document:#}");
    assert_eq!(outcome["connections_ended_unclean"], 0, "{document:#}");
    let at_once = &outcome["connections_at_once"];
    assert_eq!((&at_once["least"], &at_once["most"]), (&20.into(), &20.into()));
    let memory = &document["cost"]["server_memory"];
    assert!(number(&memory["opened_bytes"]) > 0.0 && memory["of"] == "pss", "{document:#}");
}

#[test]
fn pings_of_idle_connections_are_measured_on_a_schedule() {
    let server = Running::echo(|_, _| Answer::Send);
    for version in ["hybi-02", "rfc6455"] {
        let run = ["idle", &server.url, "-c", "10", "-d", "500ms", "--warmup", "100ms"];
        let more = ["--ping-interval", "50ms", "--ws-version", version];
        let (code, document) = document(&[&run[..], &more].concat());
        assert_eq!(code, 0, "{document:#}");
        let outcome = &document["outcome"];
        // 10 connections, each twenty times a second.
        assert_eq!((&outcome["offered"], &outcome["sent"]), (&100.into(), &100.into()));
        assert_eq!(outcome["latency"]["count"], 100, "{document:#}");
        assert_eq!((&outcome["unit"], &outcome["latency_of"]), (&"ping".into(), &"ping".into()));
    }
}

/// Answers every third ping, and so those before it (RFC 6455 §5.5.3).
fn answer_some_pings(listener: &TcpListener) {
    const PING: u8 = FIN | 9;
    const PONG: u8 = FIN | 10;
    let (stream, _) = listener.accept().expect("a connection");
    let mut peer = Peer::new(stream);
    let request = peer.request().expect("a request");
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = codec::accept(key.expect("a key"));
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    peer.write(format!("{answer}Sec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes());
    let mut pings = 0;
    while let Got::Frame(got) = peer.read() {
        if got.first == FIN | CLOSE {
            peer.write(&close(1000, ""));
            break;
        }
        pings += u32::from(got.first == PING);
        if got.first == PING && pings % 3 == 0 {
            peer.write(&frame(PONG, &got.payload));
        }
    }
    peer.finish();
}

#[test]
fn pings_that_the_answer_to_a_later_one_answers_have_waited_until_then() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    let run = ["idle", &url, "-c", "1", "-d", "600ms", "--warmup", "0", "--ping-interval", "50ms"];
    let (code, document) = std::thread::scope(|scope| {
        scope.spawn(|| answer_some_pings(&listener));
        document(&[&run[..], &["--ws-version", "rfc6455"]].concat())
    });
    assert_eq!(code, 0, "{document:#}");
    let outcome = &document["outcome"];
    assert_eq!((&outcome["sent"], &outcome["latency"]["count"]), (&12.into(), &12.into()));
    // The first of each three was sent 100 ms before the third.
    assert!(number(&outcome["latency"]["max_ns"]) > 99e6, "{document:#}");
}

#[test]
fn an_idle_connection_that_the_server_ends_is_an_error() {
    // The engine's idle time-out is not reached; the server goes away instead.
    let server = Running::echo(|_, _| Answer::Send);
    let url = server.url.clone();
    let run = std::thread::spawn(move || {
        document(&[
            "idle",
            &url,
            "-c",
            "5",
            "-d",
            "30s",
            "--warmup",
            "0",
            "--ws-version",
            "rfc6455",
        ])
    });
    // Dropping it drains: each connection is told to go.
    while server.connections() < 5 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(server);
    let (code, document) = run.join().expect("a document");
    assert_eq!(code, 1, "{document:#}");
    let closed = &document["outcome"]["errors"]["closed"];
    assert_eq!(closed["count"], 5, "{document:#}");
    assert!(closed["reasons"].to_string().contains("1001"), "{document:#}");
}

#[test]
fn a_churn_keeps_its_number_of_connections() {
    let server = Running::echo(|_, _| Answer::Send);
    for lifetime in ["200ms", "exponential:200ms", "uniform:100ms..300ms"] {
        let run = ["churn", &server.url, "-c", "20", "-d", "1s", "--warmup", "100ms"];
        let (code, document) = document(&[&run[..], &["--lifetime", lifetime]].concat());
        assert_eq!(code, 0, "{document:#}");
        let outcome = &document["outcome"];
        // 20 connections that live for a fifth of a second: 100 a second begin, fewer on a machine
        // that has other work.
        let begun = number(&outcome["latency"]["count"]);
        assert!((20.0..250.0).contains(&begun), "{lifetime}: {document:#}");
        let most = number(&outcome["connections_at_once"]["most"]);
        assert!((5.0..=20.0).contains(&most), "{lifetime}: {document:#}");
        assert_eq!(outcome["connections_ended_unclean"], 0);
        assert!(number(&outcome["warmup_latency"]["count"]) >= 20.0, "{document:#}");
    }
}

#[test]
fn a_churn_against_nobody_ends_with_69() {
    let listener = TcpListener::bind("127.88.77.66:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    drop(listener);
    let done = loadgen(&["churn", &url, "-c", "5000"]);
    assert_eq!(done.status.code(), Some(69), "{done:?}");
}

/// What became of the slow one of 10 connections, of which one stops reading.
fn slow(server: &Running, rate: &str) -> serde_json::Value {
    let run = ["slow", &server.url, "-c", "10", "--slow", "10%", "-d", "1s", "--warmup", "100ms"];
    let rest = ["-r", "90", "-p", "16KiB", "--slow-rate", rate, "--ws-version", "rfc6455"];
    let (code, document) = document(&[&run[..], &rest].concat());
    assert_eq!(code, 0, "{:#} {:#}", document["outcome"]["errors"], document["outcome"]["slow"]);
    let outcome = &document["outcome"];
    assert_eq!((&outcome["offered"], &outcome["latency"]["count"]), (&90.into(), &90.into()));
    assert_eq!(outcome["slow"]["connections"], 1, "{document:#}");
    let ends = outcome["slow"]["ends"].as_object().expect("ends");
    assert_eq!(ends.values().map(number).sum::<f64>(), 1.0, "{document:#}");
    document["outcome"]["slow"].clone()
}

#[test]
fn what_a_server_does_with_slow_readers_is_told() {
    let dropping = slow(&Running::bounded(false), "1000");
    assert_eq!(dropping["ends"]["kept, with replies left out"], 1, "{dropping:#}");
    assert!(number(&dropping["received"]) < number(&dropping["sent"]), "{dropping:#}");

    let closing = slow(&Running::bounded(true), "1000");
    let ends = closing["ends"].as_object().expect("ends");
    // Where the kernel hears of it before us the connection breaks, and no code is told.
    let told = |end: &String| end.contains("code 1013") || end.starts_with("cut: ");
    assert!(ends.keys().all(told), "{closing:#}");

    // A server that stops reading while it has much to send, as soon as the kernel's buffers are full
    // (how soon that is depends on the machine).
    let holding = slow(&Running::echo(|_, _| Answer::Send), "2000");
    assert_eq!(holding["received"], holding["sent"], "nobody waits for the other: {holding:#}");
    let end = if holding["refused"] == 0 { "took everything" } else { "stopped reading" };
    assert!(holding["ends"].to_string().contains(end), "{holding:#}");

    let keeping = slow(&Running::echo(|_, _| Answer::Send), "20");
    assert_eq!(keeping["received"], keeping["sent"], "{keeping:#}");
    assert!(keeping["ends"].to_string().contains("the server took everything"), "{keeping:#}");
}

#[test]
fn slow_readers_leave_somebody_to_measure() {
    let done = loadgen(&["slow", "ws://127.0.0.1:1/", "-c", "2", "--slow", "100%"]);
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("smaller --slow"), "{done:?}");
}
