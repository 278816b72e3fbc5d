//! A table of what RFC 6455 asks of a server, case by case over real sockets.
//!
//! Each case names the section of its rule. The client's side is written from the RFC and shares no
//! code with the engine, so that a mistake on both sides cannot hide.

mod codec;
mod deflate;
mod opening;
mod table;
mod takeover;
mod window;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use codec::{CLOSE, FIN, Frame, Got, Peer, TEXT, frame};
use ringbolt::handshake::UpgradeRequest;
use ringbolt::{Accept, Config, Driver, Handler, Message, Reject, Server, WebSocket};
use table::{Case, End};

struct Echo;

impl Handler for Echo {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        ws.send(message).expect("there is room for what was received");
    }
}

/// Starts an echo server on each driver, gives its address to `cases`, and ends it.
fn with_server(cases: impl Fn(SocketAddr)) {
    for driver in Driver::built() {
        let config = Config::new().with(|config| config.driver = driver);
        let server = Server::builder().shards(2).config(config);
        let server = server.start(|_| Echo).expect("a server");
        cases(server.address());
        server.drain(Duration::from_secs(5));
        server.join().expect("an orderly end");
    }
}

/// What went wrong in a case, if anything did.
fn run(case: &Case, address: SocketAddr) -> Result<(), String> {
    let mut peer = Peer::connect(address)?;
    std::thread::scope(|scope| {
        // What comes back must be read while the rest is sent, or both sides wait for each other.
        let mut writer = peer.writer();
        scope.spawn(move || {
            for bytes in &case.writes {
                writer(bytes);
            }
        });
        judge(case, &mut peer)
    })
}

fn judge(case: &Case, peer: &mut Peer) -> Result<(), String> {
    for (first, payload) in &case.back {
        let wanted = Frame { first: *first, payload: payload.clone() };
        match peer.read() {
            Got::Frame(frame) if frame == wanted => {}
            got => return Err(format!("wanted {}, got {}", brief(&wanted), told(&got))),
        }
    }
    match &case.end {
        End::Alive => {
            peer.write(&frame(FIN | TEXT, b"still there"));
            match peer.read() {
                Got::Frame(frame) if frame.payload == b"still there" => Ok(()),
                got => Err(format!("the connection should be alive, got {}", told(&got))),
            }
        }
        End::Closed(code) => {
            let closed = match peer.read() {
                Got::Frame(frame) if frame.first == FIN | CLOSE => frame.payload,
                got => return Err(format!("wanted a Close with {code:?}, got {}", told(&got))),
            };
            let got = closed.first_chunk().map(|code| u16::from_be_bytes(*code));
            if got != *code {
                return Err(format!("wanted a Close with {code:?}, got {got:?}"));
            }
            match peer.read() {
                Got::End => Ok(()),
                got => Err(format!("wanted the end of TCP, got {}", told(&got))),
            }
        }
    }
}

fn brief(frame: &Frame) -> String {
    let start = String::from_utf8_lossy(&frame.payload[..frame.payload.len().min(40)]).into_owned();
    format!("{:#04x} with {} bytes {start:?}", frame.first, frame.payload.len())
}

fn told(got: &Got) -> String {
    match got {
        Got::Frame(frame) => brief(frame),
        Got::End => "the end of TCP".to_owned(),
        Got::Broken(why) => format!("a broken connection: {why}"),
    }
}

/// Runs all cases, several at once, and tells of every one that failed.
#[test]
fn every_case_of_the_table() {
    let cases: Vec<Case> = table::all().into_iter().flat_map(|(_, cases)| cases).collect();
    let failures = Mutex::new(Vec::new());
    with_server(|address| {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(why) = run(case, address) {
                            let mut failures =
                                failures.lock().unwrap_or_else(PoisonError::into_inner);
                            failures.push(format!("{}: {why}", case.id));
                        }
                    }
                });
            }
        });
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (failed, of) = (failures.len(), cases.len());
    assert!(failures.is_empty(), "{failed} of {of} cases failed:\n  {}", failures.join("\n  "));
}

#[test]
fn the_table_is_large_and_its_names_are_different() {
    let mut ids: Vec<_> =
        table::all().into_iter().flat_map(|(_, cases)| cases).map(|case| case.id).collect();
    let all = ids.len();
    assert!(all >= 500, "{all} cases");
    assert!(ids.iter().all(|id| id.starts_with(|c: char| c.is_ascii_digit())));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "two cases of one name");
}
