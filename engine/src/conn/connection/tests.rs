//! Whole connections: two sides joined in memory, and each side against bytes of its own.

mod rfc6455;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use proptest::prelude::*;

use super::{Connection, ConnectionConfig, ConnectionEvent, Failure};
use crate::conn::{Limits, Message, Role, State};
use crate::handshake::{ClientRequest, HeadLimits, RequestError, ResponseError, ServerPolicy, Url};
use crate::wire::ProtocolError;

/// The draft's own handshake (§1.2), with the field that selects draft-02.
const REQUEST: &[u8] = b"GET /demo HTTP/1.1\r\n\
    Host: example.com\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n\
    Sec-WebSocket-Protocol: sample\r\n\
    Upgrade: WebSocket\r\n\
    Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Draft: 2\r\n\
    \r\n\
    ^n:ds[4U";

const CLOSING: Duration = Duration::from_secs(5);

/// A connection and what the program around it saw.
struct Side {
    connection: Connection,
    now: Instant,
    seen: Vec<String>,
}

impl Side {
    fn server() -> Self {
        Self::server_with(ConnectionConfig::default().with_policy(policy()))
    }

    fn server_with(config: ConnectionConfig) -> Self {
        let now = Instant::now();
        let connection = Connection::server(&Arc::new(config), now);
        Self { connection, now, seen: Vec::new() }
    }

    fn client() -> Self {
        Self::client_with(ConnectionConfig::default())
    }

    fn client_with(config: ConnectionConfig) -> Self {
        let now = Instant::now();
        let url = Url::parse("ws://example.com/demo").unwrap();
        let request = ClientRequest::builder(url, "http://example.com").protocols(["sample"]);
        let request = Arc::new(request.build().unwrap());
        let mut rng = Rng::with_seed(2);
        let connection = Connection::client(&Arc::new(config), &request, &mut rng, now);
        Self { connection, now, seen: Vec::new() }
    }

    /// Receives one read. A client says hello; a server accepts, and does as it is told.
    fn feed(&mut self, bytes: &[u8]) {
        let role = self.connection.role();
        let mut input = bytes.to_vec();
        let mut received = self.connection.handle_receive(&mut input, self.now);
        while let Some(event) = received.next_event() {
            self.seen.push(match event {
                ConnectionEvent::Request(upgrade) => {
                    let path = upgrade.request().path().to_owned();
                    let subprotocol = upgrade.subprotocol();
                    upgrade.accept(subprotocol, &[("Set-Cookie", "a=1")]).unwrap();
                    format!("request {path}")
                }
                ConnectionEvent::Opened(response, mut sender) => {
                    assert!(sender.send("hello"));
                    let cookies: Vec<_> =
                        response.cookies().map(|field| field.value_text().into_owned()).collect();
                    format!("opened {:?} {cookies:?}", response.subprotocol())
                }
                ConnectionEvent::Message(message, mut sender) => {
                    let Message::Text(text) = message else { panic!("{message:?}") };
                    match text {
                        _ if role == Role::Client => {}
                        "echo" => assert!(sender.send(message)),
                        "ping" => assert!(sender.ping(b"?")),
                        "close" => sender.close(),
                        _ => {}
                    }
                    format!("message {text}")
                }
                ConnectionEvent::Close(frame) => format!("Close({:?})", frame.payload),
                ConnectionEvent::Failed(failure) => format!("failed {failure:?}"),
                other => format!("{other:?}"),
            });
        }
    }

    /// Takes what there is to transmit.
    fn take(&mut self) -> Vec<u8> {
        let bytes = self.connection.transmit().to_vec();
        self.connection.transmitted(bytes.len());
        bytes
    }

    fn failure(&self) -> Option<Failure> {
        self.connection.failure()
    }
}

fn policy() -> ServerPolicy {
    ServerPolicy::new()
        .subprotocols(["sample"])
        .expect("names")
        .hosts(["example.com"])
        .expect("names")
}

/// Carries bytes to and fro, `read` at a time, until both are silent.
fn join(server: &mut Side, client: &mut Side, read: usize) {
    for _ in 0..10 {
        let (up, down) = (client.take(), server.take());
        if up.is_empty() && down.is_empty() {
            return;
        }
        up.chunks(read).for_each(|part| server.feed(part));
        down.chunks(read).for_each(|part| client.feed(part));
    }
    panic!("the two never fall silent");
}

/// Both sides, open, nothing to transmit.
fn pair() -> (Side, Side) {
    let (mut server, mut client) = (Side::server(), Side::client());
    join(&mut server, &mut client, usize::MAX);
    assert_eq!(server.connection.state(), State::Open);
    assert_eq!(client.connection.state(), State::Open);
    server.seen.clear();
    client.seen.clear();
    (server, client)
}

#[test]
fn a_life() {
    // covers: HS-C-50, HS-C-51, HS-S-34, CTL-02, CTL-04, CLOSE-07
    for read in [1, 2, 7, 64, usize::MAX] {
        let (mut server, mut client) = (Side::server(), Side::client());
        assert!(server.connection.poll_timeout().is_some());
        join(&mut server, &mut client, read);
        assert_eq!(server.seen, ["request /demo", "message hello"]);
        assert_eq!(client.seen, [r#"opened Some("sample") ["a=1"]"#]);
        assert_eq!(server.connection.poll_timeout(), None, "the handshake is over");
        assert_eq!(client.connection.poll_timeout(), None);
        for word in ["echo", "ping", "close"] {
            assert!(client.connection.send(word));
            join(&mut server, &mut client, read);
        }
        assert_eq!(
            server.seen[2..],
            ["message echo", "message ping", "Pong([63])", "message close", "Close([])"]
        );
        assert_eq!(client.seen[1..], ["message echo", "Ping([63])", "Close([])"]);
        assert!(server.connection.closed_cleanly() && client.connection.closed_cleanly());
        assert_eq!((server.failure(), client.failure()), (None, None));
    }
}

#[test]
fn the_handshake_of_the_draft() {
    // covers: HS-S-28, HS-S-29, HS-S-31, HS-S-33
    let mut server = Side::server();
    server.feed(REQUEST);
    assert_eq!(server.seen, ["request /demo"]);
    let answer = server.take();
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    assert!(answer.ends_with(b"\r\n\r\n8jKS'y:G*Co,Wxa-"));
    assert_eq!(server.connection.gathered.capacity(), 0, "a whole head is read in place");
}

#[test]
fn frames_behind_key_3_are_kept() {
    // covers: AMB-10, HS-S-06
    let stream = [REQUEST, b"\x04\x05early\x02\x00\x84\x02cu\x00\x01t"].concat();
    let mut whole = Side::server();
    whole.feed(&stream);
    assert_eq!(whole.seen, ["request /demo", "message early", "Ping([])", "message cut"]);
    let out = whole.take();
    assert!(out.ends_with(b"Wxa-\x03\x00"), "the answer comes before the pong");
    for cut in 0..stream.len() {
        let mut side = Side::server();
        side.feed(&stream[..cut]);
        side.feed(&stream[cut..]);
        assert_eq!(side.seen, whole.seen, "cut at {cut}");
        assert_eq!(side.take(), out, "cut at {cut}");
        assert_eq!(side.connection.gathered.capacity(), 0, "pieces are let go");
    }
    let mut side = Side::server();
    stream.iter().for_each(|byte| side.feed(&[*byte]));
    assert_eq!(side.seen, whole.seen);
    assert_eq!(side.take(), out);
}

#[test]
fn frames_behind_the_answer_are_read() {
    // covers: HS-C-47, HS-C-50
    let (mut server, mut client) = (Side::server(), Side::client());
    server.feed(&client.take());
    assert!(server.connection.send("first"));
    let answer = server.take();
    for cut in 0..=answer.len() {
        let mut client = Side::client(); // the same seed, so the same keys
        client.feed(&answer[..cut]);
        client.feed(&answer[cut..]);
        // The cookies are there to be applied before any message is.
        let opened = r#"opened Some("sample") ["a=1"]"#;
        assert_eq!(client.seen, [opened, "message first"], "cut at {cut}");
    }
}

#[test]
fn a_head_is_gathered_up_to_its_limit() {
    // covers: CONF-03, SEC-06
    let head_limits = HeadLimits::default().with_max_bytes(1000);
    let mut side = Side::server_with(ConnectionConfig::default().with_head_limits(head_limits));
    let head = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 5000]].concat();
    for byte in &head {
        side.feed(&[*byte]);
        assert!(side.connection.gathered.len() <= 1016);
    }
    let failure = Failure::Request(RequestError::HeadTooLarge);
    assert_eq!(side.seen, [format!("failed {failure:?}")]);
    assert!(side.take().starts_with(b"HTTP/1.1 431 "));
    assert!(side.connection.is_over() && !side.connection.closed_cleanly());
}

#[test]
fn the_largest_head_fits_in_pieces_with_frames_behind_it() {
    // covers: CONF-03, AMB-10
    let head = REQUEST.len() - 8;
    let limits = HeadLimits::default().with_max_bytes(head);
    for (max, fits) in [(head, true), (head - 1, false)] {
        let limits = limits.with_max_bytes(max);
        let config = ConnectionConfig::default().with_policy(policy()).with_head_limits(limits);
        for cut in [1, head - 2, head - 1, head, head + 4] {
            let mut side = Side::server_with(config.clone());
            let tail = crate::conn::tests::frame(0x04, &[b'x'; 3000]);
            side.feed(&REQUEST[..cut]);
            side.feed(&[&REQUEST[cut..], &tail].concat());
            assert_eq!(side.seen.len() == 2, fits, "max {max}, cut {cut}: {:?}", side.seen);
            assert_eq!(side.failure().is_none(), fits);
        }
    }
}

#[test]
fn what_the_policy_refuses_is_answered_and_ended() {
    // covers: HS-S-10, CLOSE-04, SEC-02, SEC-03
    let policy = policy().hosts(["example.org"]).expect("names");
    let mut side = Side::server_with(ConnectionConfig::default().with_policy(policy));
    side.feed(&[REQUEST, b"\x04\x02hi"].concat());
    let failure = Failure::Request(RequestError::HostRefused);
    assert_eq!(side.seen, [format!("failed {failure:?}")]);
    assert_eq!(side.failure(), Some(failure));
    assert!(side.take().starts_with(b"HTTP/1.1 403 "));
    assert!(side.connection.is_over());
    assert_eq!(side.connection.poll_timeout(), None);
    // Not even HTTP: no answer.
    let mut side = Side::server();
    side.feed(b"SSH-2.0-OpenSSH_9.6\r\n");
    assert_eq!(side.failure(), Some(Failure::Request(RequestError::NotHttp)));
    assert_eq!(side.take(), b"");
}

#[test]
fn the_program_may_reject() {
    // covers: CLOSE-04, CLOSE-09
    let reject = |answer: fn(super::Upgrade<'_>)| {
        let mut side = Side::server();
        let mut input = [REQUEST, b"\x04\x02hi"].concat();
        let mut received = side.connection.handle_receive(&mut input, side.now);
        match received.next_event() {
            Some(ConnectionEvent::Request(upgrade)) => answer(upgrade),
            other => panic!("{other:?}"),
        }
        assert!(received.next_event().is_none(), "the rest is discarded");
        assert_eq!(side.failure(), Some(Failure::Rejected));
        assert!(side.connection.is_over() && !side.connection.send("no"));
        String::from_utf8(side.take()).unwrap()
    };
    let answer = reject(|upgrade| upgrade.reject(503, "full"));
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\nfull\n"));
    let answer = reject(|upgrade| drop(upgrade));
    assert!(answer.starts_with("HTTP/1.1 403 "));
    let answer = reject(|upgrade| assert!(upgrade.accept(Some("other"), &[]).is_err()));
    assert!(answer.starts_with("HTTP/1.1 500 "), "only the refusal is sent: {answer}");
}

#[test]
fn a_client_fails_a_wrong_answer() {
    // covers: HS-C-48, HS-C-33, CLOSE-01
    let (mut server, mut client) = (Side::server(), Side::client());
    server.feed(&client.take());
    let mut answer = server.take();
    *answer.last_mut().unwrap() ^= 1;
    client.feed(&answer);
    assert_eq!(client.failure(), Some(Failure::Response(ResponseError::Answer)));
    assert!(client.connection.is_over() && !client.connection.closed_cleanly());
    let mut client = Side::client();
    client.feed(b"HTTP/1.1 404 Not Found\r\n\r\n");
    assert_eq!(client.failure(), Some(Failure::Response(ResponseError::StatusCode)));
}

#[test]
fn an_older_framing_is_named() {
    // covers: AMB-11
    let (mut server, mut client) = (Side::server(), Side::client());
    server.feed(&client.take());
    let answer = server.take();
    for frames in [b"\x00Hello\xFF".as_slice(), b"\x00\xFF", b"\xFF\x00"] {
        for read in [1, 3, usize::MAX] {
            let mut client = Side::client();
            let stream = [answer.as_slice(), frames].concat();
            stream.chunks(read).for_each(|part| client.feed(part));
            assert_eq!(client.failure(), Some(Failure::FramingMismatch), "{frames:02X?}");
            assert!(Failure::FramingMismatch.to_string().contains("draft-00"));
        }
    }
    // Later on it is an ordinary error; so it is for a server, whose clients say what they speak.
    let ordinary = Some(Failure::Protocol(ProtocolError::UnexpectedContinuation));
    client.feed(&[answer.as_slice(), b"\x04\x00\x00Hello\xFF"].concat());
    assert_eq!(client.failure(), ordinary);
    server.feed(b"\x00Hello\xFF");
    assert_eq!(server.failure(), ordinary);
}

#[test]
fn the_opening_handshake_has_a_deadline() {
    // covers: HS-C-31, CLOSE-01
    for mut side in [Side::server(), Side::client()] {
        let deadline = side.connection.poll_timeout().unwrap();
        assert_eq!(deadline, side.now + Duration::from_secs(10));
        assert_eq!(side.connection.handle_timeout(deadline - Duration::from_nanos(1)), None);
        assert_eq!(side.connection.state(), State::Opening);
        assert_eq!(side.connection.handle_timeout(deadline), Some(Failure::OpeningTimeout));
        assert!(side.connection.is_over());
        assert_eq!(side.connection.handle_timeout(deadline), None, "once");
    }
}

#[test]
fn the_answer_to_our_close_has_a_deadline() {
    // covers: CLOSE-08, CLOSE-07
    let (server, client) = pair();
    for mut side in [server, client] {
        side.connection.close(side.now);
        let deadline = side.connection.poll_timeout().unwrap();
        assert_eq!(deadline, side.now + CLOSING);
        // Neither messages nor a second call put it off.
        side.now += Duration::from_secs(1);
        side.feed(b"\x04\x04more");
        side.connection.close(side.now);
        assert_eq!(side.seen, ["message more"]);
        assert_eq!(side.connection.poll_timeout(), Some(deadline));
        assert!(!side.connection.is_over());
        assert_eq!(side.connection.handle_timeout(deadline), Some(Failure::ClosingTimeout));
        assert!(side.connection.is_over() && !side.connection.closed_cleanly());
    }
}

#[test]
fn the_server_closes_tcp_first() {
    // covers: AMB-14, CTL-07, CLOSE-06
    for server_starts in [true, false] {
        let (mut server, mut client) = pair();
        let first = if server_starts { &mut server } else { &mut client };
        first.connection.close(first.now);
        join(&mut server, &mut client, usize::MAX);
        assert!(server.connection.is_over() && server.connection.poll_timeout().is_none());
        assert!(!client.connection.is_over(), "it waits for the server's end");
        assert_eq!(client.connection.handle_eof(), None);
        assert!(client.connection.is_over() && client.connection.closed_cleanly());
        assert_eq!(client.connection.poll_timeout(), None);
    }
    // And not for ever.
    let (mut server, mut client) = pair();
    server.connection.close(server.now);
    join(&mut server, &mut client, usize::MAX);
    let deadline = client.connection.poll_timeout().unwrap();
    assert_eq!(client.connection.handle_timeout(deadline), None);
    assert!(client.connection.is_over() && client.connection.closed_cleanly());
}

#[test]
fn both_may_close_at_once() {
    // covers: CTL-08, CLOSE-07
    let (mut server, mut client) = pair();
    server.connection.close(server.now);
    client.connection.close(client.now);
    join(&mut server, &mut client, usize::MAX);
    assert_eq!(
        (server.seen.as_slice(), client.seen.as_slice()),
        (["Close([])".to_owned()].as_slice(), ["Close([])".to_owned()].as_slice())
    );
    assert!(server.connection.closed_cleanly() && client.connection.closed_cleanly());
}

#[test]
fn an_end_without_a_close_is_not_clean() {
    // covers: CLOSE-07, FR-01
    let (server, client) = pair();
    for mut side in [server, client] {
        side.feed(b"\x04\x05He");
        assert_eq!(side.connection.handle_eof(), Some(Failure::ConnectionLost));
        assert!(side.connection.is_over() && !side.connection.closed_cleanly());
        assert_eq!(side.connection.handle_eof(), None, "once");
    }
    let (mut server, _) = pair();
    server.connection.close(server.now);
    assert_eq!(server.connection.handle_eof(), Some(Failure::ConnectionLost));
    assert_eq!(server.connection.poll_timeout(), None);
}

#[test]
fn an_end_inside_the_handshake() {
    // covers: HS-S-06, HS-C-47
    let mut side = Side::server();
    side.feed(&REQUEST[..REQUEST.len() - 1]);
    let ended = Failure::Request(RequestError::ConnectionEnded);
    assert_eq!(side.connection.handle_eof(), Some(ended));
    let mut side = Side::client();
    let ended = Failure::Response(ResponseError::ConnectionEnded);
    assert_eq!(side.connection.handle_eof(), Some(ended));
}

#[test]
fn nothing_is_sent_before_the_connection_is_open() {
    // covers: FR-18
    let mut side = Side::client();
    let request = side.connection.transmit().to_vec();
    assert!(!side.connection.send("early"));
    assert!(!side.connection.ping(b""));
    side.connection.close(side.now);
    assert_eq!(side.connection.transmit(), request);
    assert_eq!(side.connection.state(), State::Opening);
}

#[test]
fn output_goes_in_any_portions() {
    let (mut server, _) = pair();
    let mut expected = Vec::new();
    let mut got = Vec::new();
    for i in 0..200_u8 {
        let payload = vec![i; usize::from(i)];
        assert!(server.connection.send(payload.as_slice()));
        expected.extend(crate::conn::tests::frame(0x05, &payload));
        let n = server.connection.transmit().len().min(usize::from(i % 7) * 30);
        got.extend_from_slice(&server.connection.transmit()[..n]);
        server.connection.transmitted(n);
        assert!(
            server.connection.core.out.bytes.len() <= 2 * server.connection.transmit().len() + 1
        );
    }
    got.extend(server.take());
    assert!(got == expected);
    assert_eq!(server.connection.transmit(), b"");
}

#[test]
fn scripts_learn_one_thing() {
    // covers: CLOSE-03
    let requests = RequestError::ALL.map(Failure::Request);
    let responses = ResponseError::ALL.map(Failure::Response);
    let protocol = ProtocolError::ALL.map(Failure::Protocol);
    let others = [
        Failure::Rejected,
        Failure::FramingMismatch,
        Failure::ConnectionLost,
        Failure::OpeningTimeout,
        Failure::ClosingTimeout,
    ];
    for failure in requests.iter().chain(&responses).chain(&protocol).chain(&others) {
        assert_eq!(failure.script_error(), Failure::ConnectionLost.script_error());
        assert_ne!(failure.to_string(), failure.script_error(), "the operator learns more");
    }
}

#[test]
fn limits_reach_the_frames() {
    // covers: CONF-03, SEC-06
    let limits = Limits::default().with_max_frame_bytes(4);
    let config = ConnectionConfig::default().with_policy(policy()).with_limits(limits);
    let mut side = Side::server_with(config);
    side.feed(&[REQUEST, b"\x04\x05Hello"].concat());
    assert_eq!(side.failure(), Some(Failure::Protocol(ProtocolError::FrameTooLarge)));
    assert_eq!(side.connection.role(), Role::Server);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However a connection's whole life is cut, a server sees and answers the same.
    #[test]
    fn any_cuts(
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        // covers: HS-S-06, AMB-10, FR-01
        let frames = b"\x84\x03Hel\x02\x01!\x00\x02lo\x04\x04echo";
        let stream = [REQUEST, frames, &tail].concat();
        let mut whole = Side::server();
        whole.feed_any(&stream);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(stream.len());
        let mut side = Side::server();
        let mut from = 0;
        for to in cuts {
            side.feed_any(&stream[from..to]);
            from = to;
        }
        prop_assert_eq!(&side.seen, &whole.seen);
        prop_assert_eq!(side.take(), whole.take());
        prop_assert_eq!(side.failure(), whole.failure());
    }

    /// Arbitrary bytes in place of a handshake, either role.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), read in 1_usize..100) {
        // covers: SEC-01
        for mut side in [Side::server(), Side::client()] {
            for part in bytes.chunks(read) {
                side.feed_any(part);
            }
            side.connection.handle_eof();
            prop_assert!(side.connection.is_over());
        }
    }
}

impl Side {
    /// As [`Side::feed`], for messages of any kind.
    fn feed_any(&mut self, bytes: &[u8]) {
        let mut input = bytes.to_vec();
        let mut received = self.connection.handle_receive(&mut input, self.now);
        while let Some(event) = received.next_event() {
            let seen = match event {
                ConnectionEvent::Request(upgrade) => {
                    upgrade.accept(None, &[]).unwrap();
                    "request".to_owned()
                }
                ConnectionEvent::Message(message, mut sender) => {
                    sender.send(message);
                    format!("{message:?}")
                }
                other => format!("{other:?}"),
            };
            self.seen.push(seen);
        }
    }
}
