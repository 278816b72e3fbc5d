//! Help, refusals, exit codes and streams.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::servers::{Answer, Running};
use crate::{command, loadgen};

fn stderr_of(arguments: &[&str], code: i32) -> String {
    let output = loadgen(arguments);
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty(), "{arguments:?} prints no result");
    text
}

#[test]
fn help_teaches() {
    let output = loadgen(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for part in ["Closed and open loop", "Exit codes", "Examples", "69 server unreachable"] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    for scenario in ["echo", "broadcast", "storm"] {
        let output = loadgen(&[scenario, "--help"]);
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(text.contains(&format!("loadgen {scenario} ws://")), "an example in:\n{text}");
        assert!(text.contains("LOADGEN_DURATION"), "the environment in:\n{text}");
    }
    for command in ["compare", "report", "merge"] {
        let output = loadgen(&[command, "--help"]);
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        for part in ["Exit codes:\n  0 ", " 2 wrong usage", &format!("\n  loadgen {command} ")] {
            assert!(text.contains(part), "{part:?} in:\n{text}");
        }
    }
}

#[test]
fn wrong_usage_is_explained_and_ends_with_2() {
    let url = "ws://127.0.0.1:1/";
    let cases: [(&[&str], &str); 34] = [
        (&[], "Usage"),
        (&["echo"], "<URL>"),
        (&["echo", url, "--nonsense"], "--nonsense"),
        (&["echo", url, "-d", "10"], "write it like 500ms"),
        (&["echo", url, "-c", "many"], "write it like 5000"),
        (&["echo", url, "-c", "0"], "at least 1"),
        (&["echo", url, "-p", "64XB"], "write it like 64"),
        (&["echo", url, "-r", "fast"], "write it like 200"),
        (&["echo", url, "-n", "5", "-d", "1s"], "cannot be used with"),
        (&["echo", url, "--text", "--binary"], "cannot be used with"),
        (&["echo", "http://127.0.0.1/"], "write it like ws://"),
        (&["echo", url, "-r", "1000m"], "100m/s is the highest"),
        (&["echo", url, "-p", "100GiB"], "1GiB is the largest"),
        (&["echo", url, "--depth", "9000m"], "100000 is the most"),
        (&["broadcast", url, "--burst", "1000m"], "100000 is the most"),
        (&["echo", url, "-d", "0"], "above 0"),
        (&["echo", url, "--source", "10.0.0.0/40"], "prefix"),
        (&["broadcast", url, "-p", "31"], "larger --payload"),
        (&["echo", url, "-H", "no colon"], "X-Token: abc"),
        (&["echo", url, "-H", "Host: elsewhere"], "--header"),
        (&["echo", "unix:"], "path of a unix socket"),
        (&["echo", "unix:/x", "--source", "127.0.0.1"], "leave --source out"),
        (&["echo", url, "--stage", "5s"], "write it like 30s:10k"),
        (&["echo", url, "--stage", "5s:1", "-r", "1"], "cannot be used with"),
        (&["echo", url, "--rate-per-conn", "1", "-r", "1"], "cannot be used with"),
        (&["echo", url, "--rate-per-conn", "100m", "-c", "2"], "lower --rate-per-conn"),
        (&["echo", url, "--stage", "5s:1", "-d", "1s"], "cannot be used with"),
        (&["storm", url, "--arrival", "uniform"], "poisson"),
        (&["echo", url, "--json", "--csv"], "cannot be used with"),
        (&["echo", url, "--fail-if", "p99"], "p50 to p99.999"),
        (&["echo", url, "--fail-if", "speed<5ms"], "there is no metric `speed`"),
        (&["echo", url, "--fail-if", "reach<1"], "only broadcast"),
        (&["echo", url, "--fail-if", "lag>1ms"], "without --rate"),
        (&["echo", url, "--fail-if", "achieved<1"], "without --rate"),
    ];
    for (arguments, said) in cases {
        let text = stderr_of(arguments, 2);
        assert!(text.contains(said), "{arguments:?} should say {said:?}:\n{text}");
    }
}

#[test]
fn what_this_machine_cannot_do_ends_with_3() {
    let text = stderr_of(&["echo", "ws://127.0.0.1:1/", "-c", "900m"], 3);
    assert!(text.contains("files open") && text.contains("ulimit -n"), "{text}");
    let text = stderr_of(&["echo", "ws://127.0.0.1:1/", "-c", "100k", "--source", "127.0.0.9"], 3);
    assert!(text.contains("ports are available") && text.contains("--source"), "{text}");
    let text = stderr_of(&["echo", "ws://127.0.0.1:1/", "-p", "1GiB", "--depth", "9"], 3);
    assert!(text.contains("in flight") && text.contains("--payload"), "{text}");
    let text = stderr_of(&["echo", "ws://127.0.0.1:1/", "--pid", "4294967295"], 3);
    assert!(text.contains("--pid"), "{text}");
    // TEST-NET-1 (RFC 5737) is on no machine.
    let text = stderr_of(&["echo", "ws://127.0.0.1:1/", "--source", "192.0.2.1"], 3);
    assert!(text.contains("cannot connect from 192.0.2.1") && text.contains("ip addr"), "{text}");
}

#[test]
fn what_could_not_be_written_is_refused_before_the_run() {
    let server = Running::echo(|_, _| Answer::Send);
    let folder = std::env::temp_dir();
    let folder = folder.to_str().expect("UTF-8");
    for option in ["-o", "--hgrm", "--hlog", "--trace", "--out"] {
        // A folder is no file, and a device no folder.
        let place = if option == "--out" { "/dev/null/x" } else { folder };
        let text = stderr_of(&["echo", &server.url, "-d", "1h", option, place], 3);
        assert!(text.contains("cannot write"), "{option}: {text}");
    }
    assert_eq!(server.connections(), 0, "nothing was measured for it");
}

#[test]
fn a_result_that_cannot_be_written_is_printed_all_the_same() {
    let server = Running::echo(|_, _| Answer::Send);
    let run = ["echo", &server.url, "-n", "10", "--warmup", "0", "-o", "/dev/full"];
    let done = loadgen(&run);
    assert_eq!(done.status.code(), Some(3), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("cannot write /dev/full"), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).contains("p99.99"), "{done:?}");
}

#[test]
fn every_exit_code_is_documented() {
    let help = String::from_utf8(loadgen(&["--help"]).stdout).expect("UTF-8");
    let (_, codes) = help.split_once("Exit codes:").expect("a paragraph about them");
    let codes = codes.split("\n\n").next().unwrap_or_default();
    let page = include_str!("../../../docs/loadgen.md");
    for code in ["0", "1", "2", "3", "69", "78", "99", "130"] {
        let told = codes.split([' ', '\n', ',']).any(|word| word == code);
        assert!(told, "{code} in:\n{codes}");
        assert!(page.contains(&format!("\n| {code} |")), "{code} in docs/loadgen.md");
    }
}

#[test]
fn a_silent_server_is_given_up_after_the_time_for_connecting() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", silent.local_addr().expect("bound"));
    // With the other one the test would not end.
    let text = stderr_of(&["echo", &url, "--connect-timeout", "100ms", "--timeout", "1h"], 69);
    assert!(text.contains("did not end in time"), "{text}");
}

#[test]
fn a_rate_of_each_connection_is_one_of_all_that_send() {
    let server = Running::echo(|_, _| Answer::Send);
    let run = ["echo", &server.url, "-c", "4", "-d", "200ms", "--warmup", "0"];
    let fields = ["-H", "X-Token: secret", "--cookie", "a=b", "--connect-timeout", "9s"];
    let (_, document) =
        crate::document(&[&run[..], &["--rate-per-conn", "50"], &fields[..]].concat());
    let workload = &document["workload"];
    assert_eq!(workload["rate_per_s"], 200.0);
    assert_eq!(document["outcome"]["offered"], 40);
    assert_eq!(workload["field_names"], serde_json::json!(["X-Token", "Cookie"]));
    assert_eq!(workload["connect_timeout_ns"], 9_000_000_000_u64);
    assert!(!document.to_string().contains("secret"), "what fields say is nobody's business");
}

#[test]
fn a_result_that_cannot_be_printed_is_an_error() {
    let server = Running::echo(|_, _| Answer::Send);
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a full device");
    let done = command(&["echo", &server.url, "-n", "10", "--warmup", "0"])
        .stdout(full)
        .output()
        .expect("loadgen runs");
    let text = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(3), "{text}");
    assert!(text.contains("cannot write to standard output"), "{text}");
}

#[test]
fn help_that_cannot_be_printed_is_an_error_too() {
    for arguments in [&["--help"][..], &["echo", "-h"], &["--version"], &["completions", "bash"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a full device");
        let done = command(arguments).stdout(full).output().expect("loadgen runs");
        let text = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(3), "{arguments:?}: {text}");
        assert!(text.contains("cannot write to standard output"), "{arguments:?}: {text}");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let done = command(arguments).stdout(writer).output().expect("loadgen runs");
        assert_eq!((done.status.code(), &*done.stderr), (Some(0), &b""[..]), "{arguments:?}");
    }
}

#[test]
fn a_wrong_value_is_told_with_the_variable_that_it_came_from() {
    let rows = [
        ("LOADGEN_RATE", "fast", 2, "note: --rate comes from the variable LOADGEN_RATE"),
        ("LOADGEN_PAYLOAD", "", 2, "the variable LOADGEN_PAYLOAD is empty: unset it"),
        ("LOADGEN_URL", "http://127.0.0.1/", 2, "<URL> comes from the variable LOADGEN_URL"),
        ("LOADGEN_PID", "4294967295", 3, "(--pid comes from the variable LOADGEN_PID)"),
        ("LOADGEN_PLAN", "/none/plan.toml", 78, "(--plan comes from the variable LOADGEN_PLAN)"),
    ];
    for (name, value, code, told) in rows {
        let arguments =
            if name == "LOADGEN_URL" { &["echo"][..] } else { &["echo", "ws://127.0.0.1:1/"] };
        let output = command(arguments).env(name, value).output().expect("loadgen runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{name}={value}: {text}");
        assert!(text.contains(told), "{name}={value}: {text}");
    }
    let mut typed = command(&["echo", "ws://127.0.0.1:1/", "-r", "fast"]);
    let output = typed.env("LOADGEN_RATE", "5").output().expect("loadgen runs");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("LOADGEN_"), "{output:?}");
}

#[test]
fn nobody_there_ends_with_69() {
    // A port that was free a moment ago, on an address that nothing else uses.
    let listener = TcpListener::bind("127.88.77.66:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    drop(listener);
    for scenario in ["echo", "broadcast", "storm"] {
        let text = stderr_of(&[scenario, &url, "-c", "3"], 69);
        assert!(text.contains("refused") && text.contains("start the server"), "{text}");
    }
    let text = stderr_of(&["echo", "ws://no-such-host.invalid/"], 69);
    assert!(text.contains("no-such-host.invalid"), "{text}");
}

#[test]
fn a_refused_upgrade_ends_with_69_and_the_reason() {
    let server = Running::refusing();
    for scenario in ["echo", "storm"] {
        let text = stderr_of(&[scenario, &server.url, "-c", "3"], 69);
        assert!(text.contains("--origin") && text.contains("status 403 Forbidden: "), "{text}");
    }
}

#[test]
fn what_a_server_says_when_it_refuses_is_shown_in_bounds() {
    for (head, body, shown) in [
        (
            "503 Busy\r\nRetry-After: 7\r\nContent-Type: text/plain",
            "too many.\n",
            "status 503 Busy: too many",
        ),
        ("400 Bad\r\nContent-Type: text/plain", "a\u{1b}[2Jb", "status 400 Bad: a\\u{1b}[2Jb"),
        ("403 \u{7}No\r\nContent-Type: text/plain", "", "status 403 \\u{7}No"),
        (
            "400 Bad\r\nContent-Type: text/html",
            "<title>Sent to HTTPS port</title>",
            "write wss:// in the URL",
        ),
    ] {
        let long =
            if body.is_empty() { String::new() } else { format!("{body}{}", "x".repeat(100_000)) };
        let server =
            refuse(format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{long}", long.len()));
        for scenario in ["echo", "storm"] {
            let text = stderr_of(&[scenario, &server, "-c", "1"], 69);
            assert!(text.contains(shown), "{text}");
            assert!(text.len() < 1000 && !text.contains(['\u{1b}', '\u{7}']), "{text}");
        }
    }
}

#[test]
fn a_server_that_hangs_up_may_speak_the_other_scheme() {
    let server = refuse(String::new());
    let text = stderr_of(&["echo", &server, "-c", "1"], 69);
    assert!(text.contains("ended TCP during") && text.contains("write wss://"), "{text}");
    let server = server.replace("ws:", "wss:");
    let text = stderr_of(&["echo", &server, "-c", "1", "--insecure"], 69);
    assert!(text.contains("ended TCP during") && text.contains("write ws://"), "{text}");
}

/// The URL of a server that gives everybody this answer.
fn refuse(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            // Who has heard enough goes.
            let _ = client.read(&mut [0; 4096]).and_then(|_| client.write_all(answer.as_bytes()));
            let _ = client.shutdown(std::net::Shutdown::Write);
            let _ = client.read_to_end(&mut Vec::new());
        }
    });
    url
}

#[test]
fn the_opening_handshake_says_what_it_is_told_to() {
    let server = Running::demanding("http://example.com", "session=1; role=x");
    let fields = [
        ["--origin", "http://example.com"],
        ["--cookie", "session=1; role=x"],
        ["--protocol", "chat"],
    ];
    let run = |fields: &[[&str; 2]]| {
        let arguments = ["echo", &server.url, "-n", "5", "--warmup", "0"];
        loadgen(&[&arguments[..], fields.as_flattened()].concat()).status.code()
    };
    assert_eq!(run(&fields), Some(0));
    let header = [["-H", "Cookie: session=1; role=x"], fields[0], fields[2]];
    assert_eq!(run(&header), Some(0), "any field can be given");
    for missing in 0..fields.len() {
        let mut rest = fields.to_vec();
        rest.remove(missing);
        assert_eq!(run(&rest), Some(69), "without {:?}", fields[missing]);
    }
}

#[test]
fn options_come_from_the_environment_too() {
    let server = Running::echo(|_, _| Answer::Send);
    let mut command = command(&["echo", &server.url, "--json"]);
    command.env("LOADGEN_MESSAGES", "30").env("LOADGEN_WARMUP", "0");
    command.env("LOADGEN_CONNECTIONS", "3");
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(document["workload"]["connections"], 3);
    assert_eq!(document["outcome"]["received"], 30);
}

#[test]
fn a_pipe_gets_the_result_and_nothing_else() {
    let server = Running::echo(|_, _| Answer::Send);
    let output = loadgen(&["echo", &server.url, "-n", "50", "--warmup", "0"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("p99.99") && text.contains("messages/s"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
    assert!(output.stderr.is_empty(), "no progress in a pipe");
}

#[test]
fn files_are_written_as_asked() {
    let server = Running::echo(|_, _| Answer::Send);
    let directory = std::env::temp_dir().join(format!("loadgen-files-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("made");
    let json = directory.join("run.json");
    let hgrm = directory.join("run.hgrm");
    let (json_path, hgrm_path) = (json.to_str().expect("UTF-8"), hgrm.to_str().expect("UTF-8"));
    let output = loadgen(&[
        "echo",
        &server.url,
        "-n",
        "50",
        "--warmup",
        "0",
        "-o",
        json_path,
        "--hgrm",
        hgrm_path,
        "--commit",
        "abc123",
    ]);
    assert!(output.status.success(), "{output:?}");
    let document = std::fs::read_to_string(&json).expect("written");
    let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(document["identity"]["measured_commit"], "abc123");
    let table = std::fs::read_to_string(&hgrm).expect("written");
    assert!(table.contains("1/(1-Percentile)") && table.contains("Total count    =           50"));
    std::fs::remove_dir_all(&directory).expect("removed");
    let text = {
        let missing = directory.join("gone").join("run.json");
        let path = missing.to_str().expect("UTF-8");
        stderr_of(&["echo", &server.url, "-n", "1", "--warmup", "0", "-o", path], 3)
    };
    assert!(text.contains("cannot write"), "{text}");
}
