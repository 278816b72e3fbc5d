//! A table of what RFC 6455 asks of a client, case by case over real sockets, on every driver.
//!
//! Each case names the section of its rule. The server's side is written from the RFC and shares no
//! code with the engine, so that a mistake on both sides cannot hide.

mod cases;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cases::codec::{self, CLOSE, FIN, Frame, Got, Peer, TEXT, close, frame};
use cases::{ClientCase, End};
use ringbolt::client::Handler;
use ringbolt::handshake::{ClientRequest, DeflateTerms, Url};
use ringbolt::{Clients, CloseReason, Compression, Config, Driver, Fleet, Message, WebSocket};

/// Connections at once, and threads that serve them.
const AT_ONCE: usize = 16;
/// Longer than all cases take.
const PATIENCE: Duration = Duration::from_secs(240);

/// Makes one connection per case, and sends every message back.
struct Echo<'c> {
    cases: &'c [ClientCase],
    to: SocketAddr,
    next: usize,
    reasons: HashMap<usize, CloseReason>,
    give_up: Instant,
}

impl Echo<'_> {
    fn request(&self, n: usize) -> ClientRequest {
        let case = &self.cases[n];
        let url = Url::parse(&format!("ws://{}/{n}", self.to)).expect("a URL");
        let mut request = ClientRequest::rfc6455(url);
        if case.protocols {
            request = request.protocols(["chat", "superchat"]);
        }
        let terms = DeflateTerms::default().with_takeover(true, true);
        request.deflate(case.deflate.then_some(terms)).build().expect("a request")
    }
}

impl Handler for Echo<'_> {
    type Data = usize;

    fn on_turn(&mut self, fleet: &mut Fleet<'_, usize>, now: Instant) -> Option<Instant> {
        while self.next < self.cases.len() && fleet.len() < AT_ONCE {
            let request = Arc::new(self.request(self.next));
            fleet.connect(request, None, self.to, self.next).expect("room");
            self.next += 1;
        }
        if fleet.is_empty() || now > self.give_up {
            fleet.stop();
        }
        Some(now + Duration::from_millis(5))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, usize>, message: Message<'_>) {
        ws.send(message).expect("there is room for what was received");
    }

    fn on_close(&mut self, n: usize, reason: CloseReason) {
        self.reasons.insert(n, reason);
    }
}

/// Serves one connection: says which case it was, and what went wrong in it, if anything did.
fn serve(cases: &[ClientCase], mut peer: Peer) -> (Option<usize>, Result<(), String>) {
    let Some(request) = peer.request() else { return (None, Err("no request".to_owned())) };
    let number = request.strip_prefix("GET /").and_then(|rest| rest.split(' ').next());
    let number = number.and_then(|number| number.parse().ok());
    let Some((n, case)) = number.and_then(|n| Some((n, cases.get(n)?))) else {
        return (None, Err(format!("a request of no case: {request}")));
    };
    (Some(n), answer(case, &request, peer))
}

fn answer(case: &ClientCase, request: &str, mut peer: Peer) -> Result<(), String> {
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = codec::accept(key.ok_or("no key")?);
    let answer = case.opening.answer.replace("{accept}", &accept);
    for piece in answer.as_bytes().chunks(case.opening.pieces) {
        peer.write(piece);
    }
    if case.opening.error.is_some() {
        peer.finish();
        return match peer.read() {
            Got::End => Ok(()),
            // Where it did not read to the end, what was left resets the connection.
            Got::Broken(why) if why.contains("reset") => Ok(()),
            got => Err(format!("the client should be gone, got {}", told(&got))),
        };
    }
    std::thread::scope(|scope| {
        let mut writer = peer.writer();
        scope.spawn(move || {
            for bytes in &case.frames.writes {
                writer(bytes);
            }
        });
        judge(case, &mut peer)
    })
}

fn judge(case: &ClientCase, peer: &mut Peer) -> Result<(), String> {
    for (first, payload) in &case.frames.back {
        let wanted = Frame { first: *first, payload: payload.clone() };
        match peer.read() {
            Got::Frame(frame) if frame == wanted => {}
            got => return Err(format!("wanted {}, got {}", brief(&wanted), told(&got))),
        }
    }
    let code = match &case.frames.end {
        End::Closed(code) => *code,
        End::Alive => {
            peer.write(&frame(FIN | TEXT, b"still there"));
            match peer.read() {
                Got::Frame(frame) if frame.payload == b"still there" => {}
                got => return Err(format!("it should be alive, got {}", told(&got))),
            }
            peer.write(&close(1000, ""));
            Some(1000)
        }
    };
    match peer.read() {
        Got::Frame(frame) if frame.first == FIN | CLOSE => {
            let got = frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            if got != code {
                return Err(format!("wanted a Close with {code:?}, got {got:?}"));
            }
        }
        got => return Err(format!("wanted a Close with {code:?}, got {}", told(&got))),
    }
    // A client waits for the server to end TCP first (section 7.1.1).
    peer.finish();
    match peer.read() {
        Got::End => Ok(()),
        got => Err(format!("wanted the end of TCP, got {}", told(&got))),
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

/// What the application must have heard of the end.
fn judge_reason(case: &ClientCase, reason: Option<&CloseReason>) -> Result<(), String> {
    let right = match (case.opening.error, &case.frames.end, reason) {
        (Some("connection_ended"), _, Some(CloseReason::HungUp)) => true,
        (Some(error), _, Some(CloseReason::Response(response))) => response.name() == error,
        (None, End::Alive, Some(CloseReason::Clean(code))) => code.get() == 1000,
        (None, End::Closed(Some(wanted)), Some(CloseReason::Protocol(error))) => {
            error.close_code().get() == *wanted
        }
        (None, End::Closed(wanted), Some(CloseReason::Clean(code))) => {
            code.get() == wanted.unwrap_or(1005)
        }
        _ => false,
    };
    if right { Ok(()) } else { Err(format!("the application heard {reason:?}")) }
}

/// Runs all cases on one driver; tells of every one that failed.
fn run(driver: Driver, cases: &[ClientCase]) -> Vec<String> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let failures = Mutex::new(Vec::new());
    let fail = |case: Option<&ClientCase>, why: String| {
        let name = case.map_or("?", |case| &*case.frames.id);
        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push(format!("{driver}: {name}: {why}"));
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Ok((stream, _)) = listener.accept() {
                    let (n, outcome) = serve(cases, Peer::new(stream));
                    match (n, outcome) {
                        // Nobody asks any more: the test ends.
                        (None, Err(why)) if why == "no request" => return,
                        (n, Err(why)) => fail(n.map(|n| &cases[n]), why),
                        (_, Ok(())) => {}
                    }
                }
            });
        }
        let config = Config::new().with(|config| {
            config.driver = driver;
            config.connect_in_turn = false;
            config.compression = Some(Compression::default());
        });
        let give_up = Instant::now() + PATIENCE;
        let echo = Echo { cases, to, next: 0, reasons: HashMap::new(), give_up };
        let (echo, _) = Clients::new(config).run(echo).expect("clients run");
        for (n, case) in cases.iter().enumerate() {
            if let Err(why) = judge_reason(case, echo.reasons.get(&n)) {
                fail(Some(case), why);
            }
        }
        for _ in 0..AT_ONCE {
            drop(std::net::TcpStream::connect(to));
        }
    });
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_case_of_the_table_on_every_driver() {
    let cases: Vec<_> = cases::all().into_iter().flat_map(|(_, cases)| cases).collect();
    let failures: Vec<_> = Driver::built().flat_map(|driver| run(driver, &cases)).collect();
    let (failed, of) = (failures.len(), cases.len());
    assert!(failures.is_empty(), "{failed} of {of} cases failed:\n  {}", failures.join("\n  "));
}

#[test]
fn the_table_is_large_and_its_names_are_different() {
    let mut ids: Vec<_> =
        cases::all().into_iter().flat_map(|(_, cases)| cases).map(|case| case.frames.id).collect();
    let all = ids.len();
    assert!(all >= 600, "{all} cases");
    assert!(ids.iter().all(|id| id.starts_with(|c: char| c.is_ascii_digit())));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "two cases of one name");
}
