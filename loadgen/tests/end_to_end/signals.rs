//! What signals do at every stage of a run: the first ends it in order, the second at once.

use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::command;
use crate::servers::{Answer, Running};

fn start(arguments: &[&str]) -> Child {
    let mut command = command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs")
}

fn interrupt(child: &Child) {
    signal(child, "-INT");
}

fn signal(child: &Child, name: &str) {
    let done = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(done.expect("a kill command").success());
}

fn end(child: Child) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("ended");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

/// Waits for it, with a bound.
fn wait_until(it: impl Fn() -> bool) {
    let begin = Instant::now();
    while !it() && begin.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(it(), "it did not happen within 30 s");
}

#[test]
fn a_run_whose_server_does_not_answer_can_be_interrupted() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", silent.local_addr().expect("bound"));
    for scenario in ["echo", "storm"] {
        // Longer than the test's own end.
        let child = start(&[scenario, &url, "-c", "1", "--timeout", "1h"]);
        let (_open, _) = silent.accept().expect("a connection");
        interrupt(&child);
        let (code, out, said) = end(child);
        assert_eq!(code, Some(130), "{scenario}: {said}");
        assert!(out.is_empty() && said.contains("interrupted"), "{scenario}: {out}{said}");
    }
}

#[test]
fn the_second_signal_does_not_wait_for_replies() {
    static SEEN: AtomicBool = AtomicBool::new(false);
    let server = Running::echo(|_, _| {
        SEEN.store(true, Ordering::Relaxed);
        Answer::Nothing
    });
    let child = start(&["echo", &server.url, "-d", "1h", "--warmup", "0", "--timeout", "1h"]);
    wait_until(|| SEEN.load(Ordering::Relaxed));
    // The kernel makes one of two that come at once, so that the second may have to be sent again.
    let mut child = child;
    let begin = Instant::now();
    while child.try_wait().expect("a child").is_none() && begin.elapsed() < Duration::from_secs(30)
    {
        interrupt(&child);
        std::thread::sleep(Duration::from_millis(20));
    }
    let (code, out, said) = end(child);
    assert_eq!((code, out.as_str()), (Some(130), ""), "{said}");
}

#[test]
fn cpu_time_that_was_read_beside_the_window_is_left_out() {
    static SEEN: AtomicBool = AtomicBool::new(false);
    let server = Running::echo(|_, _| {
        SEEN.store(true, Ordering::Relaxed);
        Answer::Send
    });
    let pid = std::process::id().to_string();
    let window = ["-d", "300ms", "--warmup", "0", "--pid", &pid, "--json"];
    let child = start(&[&["echo", &server.url][..], &window].concat());
    wait_until(|| SEEN.load(Ordering::Relaxed));
    // The window is open: whoever reads the accounts stands still beyond its end.
    signal(&child, "-STOP");
    std::thread::sleep(Duration::from_millis(600));
    signal(&child, "-CONT");
    let (code, out, said) = end(child);
    let document: serde_json::Value = serde_json::from_str(&out).expect("a document");
    assert_eq!(code, Some(0), "{said}");
    assert!(document["cost"]["server_cpu_ns"].is_null(), "{document:#}");
    let notes = document["trust"]["notes"].to_string();
    assert!(notes.contains("the server's CPU time is left out"), "{notes}");
}
