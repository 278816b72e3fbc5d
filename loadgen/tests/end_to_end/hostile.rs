//! The engine's table of odd and hostile servers (`engine/tests/rfc6455_clients`), against the program:
//! what it exits with, and what it says.

use std::net::TcpListener;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ringbolt::handshake::ResponseError;
use ringbolt::wire::ProtocolError;

use crate::client_cases::codec::{self, CLOSE, FIN, Got, Peer, close, frame};
use crate::client_cases::{self, ClientCase, End};
use crate::command;

/// No server to talk to (`sysexits.h`).
const UNAVAILABLE: i32 = 69;
/// The run went wrong.
const FAILED: i32 = 1;

/// Cases in which the server need not be told anything first, one of each kind: how they are cut makes
/// no difference to what the program says.
fn cases() -> Vec<ClientCase> {
    let all = client_cases::all().into_iter().flat_map(|(_, cases)| cases);
    let cut = [", byte by byte", "chopped", "in writes of"];
    all.filter(|case| {
        let ends = case.frames.end != End::Alive || case.frames.writes.is_empty();
        let id = &case.frames.id;
        ends && case.frames.back.is_empty() && !cut.iter().any(|cut| id.contains(cut))
    })
    .collect()
}

/// What the program must say of an answer to its handshake: one of these.
fn sentences(error: &str) -> Vec<String> {
    let known = ResponseError::ALL.into_iter().find(|known| known.name() == error);
    let mut all = vec![known.expect("an error of this name").to_string()];
    all.extend(match error {
        "status_code" | "proxy_authentication_required" => {
            Some("the server refused with status".to_owned())
        }
        "connection_ended" => Some("the server ended TCP during the opening handshake".to_owned()),
        _ => None,
    });
    all
}

/// Serves the program's one connection: the answer, the frames, then everything comes back.
fn serve(case: &ClientCase, listener: &TcpListener) {
    let Ok((stream, _)) = listener.accept() else { return };
    let mut peer = Peer::new(stream);
    let Some(request) = peer.request() else { return };
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = codec::accept(key.expect("a key"));
    peer.write(case.opening.answer.replace("{accept}", &accept).as_bytes());
    if case.opening.error.is_none() {
        for bytes in &case.frames.writes {
            peer.write(bytes);
        }
        loop {
            match peer.read() {
                Got::Frame(got) if got.first == FIN | CLOSE => {
                    if case.frames.writes.is_empty() {
                        peer.write(&close(1000, ""));
                    }
                    break;
                }
                Got::Frame(got) if case.frames.writes.is_empty() => {
                    // What was compressed is compressed still.
                    peer.write(&frame(got.first, &got.payload));
                }
                Got::Frame(_) => {}
                Got::End | Got::Broken(_) => break,
            }
        }
    }
    peer.finish();
    while matches!(peer.read(), Got::Frame(_)) {}
}

fn run(case: &ClientCase) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let url = format!("ws://{}/", listener.local_addr().expect("an address"));
    let mut arguments = vec!["echo", &url, "--ws-version", "rfc6455", "-c", "1", "-n", "1"];
    arguments.extend(["--warmup", "0", "--timeout", "20s", "--text"]);
    if case.protocols {
        arguments.extend(["--protocol", "chat", "--protocol", "superchat"]);
    }
    if case.deflate {
        arguments.extend(["--compress", "--compress-takeover", "both"]);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| serve(case, &listener));
        command(&arguments).output().expect("loadgen runs")
    })
}

/// What is wrong with what the program did, if anything is.
fn judge(case: &ClientCase, output: &Output) -> Result<(), String> {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let (code, sentences) = match (case.opening.error, &case.frames.end) {
        (Some(error), _) => (UNAVAILABLE, sentences(error)),
        (None, End::Alive) => (0, vec![String::new()]),
        (None, End::Closed(wanted)) => {
            let wanted = wanted.unwrap_or(1005);
            let broken = ProtocolError::ALL.into_iter().filter(|e| e.close_code().get() == wanted);
            let mut sentences: Vec<_> = broken.map(|error| error.to_string()).collect();
            // A Close that the server began.
            sentences.push("the server started the closing handshake".to_owned());
            (FAILED, sentences)
        }
    };
    if output.status.code() == Some(code) && sentences.iter().any(|s| said.contains(&**s)) {
        Ok(())
    } else {
        Err(format!("{}: wanted code {code} and {sentences:?}, got {output:?}", case.frames.id))
    }
}

#[test]
fn every_hostile_server_is_told_of() {
    let cases = cases();
    assert!(cases.len() > 150, "{} cases", cases.len());
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = judge(case, &run(case)) {
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(why);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (failed, of) = (failures.len(), cases.len());
    assert!(failures.is_empty(), "{failed} of {of} cases failed:\n  {}", failures.join("\n  "));
}

#[test]
fn what_a_server_says_does_not_reach_the_terminal_as_orders() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let url = format!("ws://{}/", listener.local_addr().expect("an address"));
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            let Ok((stream, _)) = listener.accept() else { return };
            let mut peer = Peer::new(stream);
            peer.request();
            peer.write(b"HTTP/1.1 403 \x1b[2Jgone\x07\r\nContent-Length: 0\r\n\r\n");
            peer.finish();
        });
        let arguments = ["echo", &url, "--ws-version", "rfc6455", "-n", "1", "--warmup", "0"];
        command(&arguments).output().expect("loadgen runs")
    });
    let said = [&done.stdout[..], &done.stderr].concat();
    assert!(String::from_utf8_lossy(&said).contains("403") && !said.contains(&0x1b), "{done:?}");
}
