//! Clients of RFC 6455, against a server that is written from the RFC alone and against ours.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringbolt::client::Handler;
use ringbolt::handshake::{ClientRequest, UpgradeResponse, Url};
use ringbolt::wire::{CloseCode, Dialect, ProtocolError};
use ringbolt::{Clients, CloseReason, Config, Fleet, Message, Topic, WebSocket};

use crate::support::{self, Client, PATIENCE, config, echo, pattern};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

/// Sends back what it hears, and does as it is told.
struct Parrot {
    request: Arc<ClientRequest>,
    to: SocketAddr,
    wanted: usize,
    /// Said when a connection is open.
    greetings: Vec<Vec<u8>>,
    heard: Vec<Vec<u8>>,
    reasons: Vec<CloseReason>,
    said: Vec<String>,
    topic: Option<Topic>,
    give_up: Instant,
}

impl Parrot {
    fn new(to: SocketAddr, wanted: usize) -> Self {
        let url = Url::parse(&format!("ws://{to}/")).expect("a URL");
        let request = Arc::new(ClientRequest::rfc6455(url).build().expect("a request"));
        Self {
            request,
            to,
            wanted,
            greetings: Vec::new(),
            heard: Vec::new(),
            reasons: Vec::new(),
            said: Vec::new(),
            topic: None,
            give_up: Instant::now() + PATIENCE,
        }
    }

    fn run(self, config: Config) -> Self {
        Clients::new(config).run(self).expect("clients run").0
    }
}

impl Handler for Parrot {
    type Data = ();

    fn on_turn(&mut self, fleet: &mut Fleet<'_, ()>, now: Instant) -> Option<Instant> {
        while self.wanted > 0 {
            fleet.connect(Arc::clone(&self.request), None, self.to, ()).expect("room");
            self.wanted -= 1;
        }
        if fleet.is_empty() || now > self.give_up {
            fleet.stop();
        }
        Some(now + Duration::from_millis(5))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, ()>, _: &UpgradeResponse<'_>) {
        assert_eq!(ws.dialect(), Dialect::Rfc6455);
        let topic = ws.topic("all").expect("room");
        assert!(ws.subscribe(topic));
        self.topic = Some(topic);
        for greeting in &self.greetings {
            ws.send(greeting.as_slice()).expect("room");
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        self.heard.push(message.payload().to_vec());
        match message {
            Message::Text("bye") => ws.close_with(CloseCode::GOING_AWAY, "told to"),
            Message::Text("tell all") => {
                let topic = self.topic.expect("subscribed");
                ws.publish(topic, message).expect("room");
            }
            Message::Binary(bytes) if self.greetings.iter().any(|greeting| greeting == bytes) => {
                if self.heard.len() == self.greetings.len() {
                    ws.close();
                }
            }
            message => ws.send(message).expect("room"),
        }
    }

    fn on_closing(&mut self, (): &mut (), _: CloseCode, reason: &str) {
        self.said.push(reason.to_owned());
    }

    fn on_close(&mut self, (): (), reason: CloseReason) {
        self.reasons.push(reason);
    }
}

/// A server's end of a connection: takes any request.
fn accept(listener: &TcpListener) -> Client {
    let (stream, _) = listener.accept().expect("a client");
    let mut server = Client::of(stream);
    let head = server.head();
    assert!(head.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{head}");
    let key = head.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let key = key.expect("a key").as_bytes().try_into().expect("24 characters");
    let answer = ringbolt::handshake::rfc6455::answer(key);
    let answer = std::str::from_utf8(&answer).expect("base64");
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {answer}\r\n\r\n"
    );
    server.send(head.as_bytes());
    server
}

/// The next frame of a client: its first byte, its key and its payload, unmasked.
fn masked_frame(server: &mut Client) -> (u8, [u8; 4], Vec<u8>) {
    let head = server.take(2).expect("a frame");
    assert_eq!(head[1] & 0x80, 0x80, "clients mask");
    let len = match head[1] & 0x7F {
        126 => u16::from_be_bytes(server.take(2).expect("two").try_into().expect("two")).into(),
        127 => u64::from_be_bytes(server.take(8).expect("eight").try_into().expect("eight")),
        len => u64::from(len),
    };
    let key: [u8; 4] = server.take(4).expect("a key").try_into().expect("four");
    let mut payload = server.take(usize::try_from(len).expect("it fits")).expect("the payload");
    for (i, byte) in payload.iter_mut().enumerate() {
        *byte ^= key[i % 4];
    }
    (head[0], key, payload)
}

fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

#[test]
fn whatever_a_client_sends_is_masked_with_a_fresh_key() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let serving = std::thread::spawn(move || {
        let mut server = accept(&listener);
        let mut keys = std::collections::HashSet::new();
        // Whole in one read, in pieces, received right into memory, and several at once.
        for len in [1, 64, 125, 126, 5000, 70_000, 300_000] {
            let bytes = pattern(len, len as u64);
            server.send(&support::frame(BINARY, &bytes).repeat(3));
            for _ in 0..3 {
                let (first, key, payload) = masked_frame(&mut server);
                assert!((first, payload) == (BINARY, bytes.clone()), "{len} bytes");
                keys.insert(key);
            }
        }
        server.send(&support::frame(PING, b"ping"));
        let (first, key, payload) = masked_frame(&mut server);
        assert_eq!((first, &payload[..]), (PONG, &b"ping"[..]));
        keys.insert(key);
        assert!(keys.len() >= 21, "{} keys of 22 frames", keys.len());
        server.send(&support::frame(TEXT, b"bye"));
        let (first, _, payload) = masked_frame(&mut server);
        assert_eq!((first, payload), (CLOSE, close_payload(1001, "told to")));
        server.send(&support::frame(CLOSE, &close_payload(1001, "")));
        // A client leaves the end of TCP to the server (RFC 6455 §7.1.1).
        server.stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        assert!(!server.is_readable() && server.stream.peek(&mut [0]).is_err(), "still there");
    });
    let done = Parrot::new(to, 1).run(Config::new());
    serving.join().expect("the server's checks hold");
    assert_eq!(done.heard.len(), 22);
    assert_eq!(done.reasons, [CloseReason::Clean(CloseCode::GOING_AWAY)]);
    assert_eq!(done.said, [""]);
}

#[test]
fn a_server_that_breaks_a_rule_is_told_and_waited_for() {
    let rows: [(&[u8], u16, ProtocolError); 4] = [
        (b"\x81\x80\x01\x02\x03\x04", 1002, ProtocolError::MaskedFrame),
        (b"\xC1\x00", 1002, ProtocolError::ReservedBit),
        (b"\x81\x02\xC3\x28", 1007, ProtocolError::InvalidUtf8),
        (b"\x82\x7F\x00\x00\x00\x01\x00\x00\x00\x00", 1009, ProtocolError::FrameTooLarge),
    ];
    for (bytes, code, error) in rows {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let to = listener.local_addr().expect("an address");
        let serving = std::thread::spawn(move || {
            let mut server = accept(&listener);
            server.send(&[bytes, &b"x".repeat(20_000)].concat());
            let (first, _, payload) = masked_frame(&mut server);
            assert_eq!(first, CLOSE);
            assert_eq!(payload, close_payload(code, error.sentence()));
            server.hang_up();
            server.expect_end();
        });
        let done = Parrot::new(to, 1).run(Config::new());
        serving.join().expect("the server's checks hold");
        assert_eq!(done.reasons, [CloseReason::Protocol(error)]);
    }
}

#[test]
fn a_server_that_never_ends_tcp_is_not_waited_for_long() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let serving = std::thread::spawn(move || {
        let mut server = accept(&listener);
        server.send(&support::frame(CLOSE, &close_payload(4000, "go")));
        let (first, _, payload) = masked_frame(&mut server);
        assert_eq!((first, payload), (CLOSE, close_payload(4000, "")));
        server.expect_end();
    });
    let config = Config::new().with(|config| config.close_timeout = Duration::from_millis(100));
    let done = Parrot::new(to, 1).run(config);
    serving.join().expect("the server's checks hold");
    assert_eq!(done.reasons.iter().map(|reason| reason.code().get()).collect::<Vec<_>>(), [4000]);
    assert_eq!(done.said, ["go"]);
}

#[test]
fn what_clients_publish_among_themselves_is_masked_for_each() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = listener.local_addr().expect("an address");
    let serving = std::thread::spawn(move || {
        let mut servers: Vec<_> = (0..3).map(|_| accept(&listener)).collect();
        // All three have subscribed when all three have sent something back.
        for server in &mut servers {
            server.send(&support::frame(TEXT, b"there?"));
            assert_eq!(masked_frame(server).2, b"there?");
        }
        servers[0].send(&support::frame(TEXT, b"tell all").repeat(2));
        let mut keys = std::collections::HashSet::new();
        for server in &mut servers[1..] {
            for _ in 0..2 {
                let (first, key, payload) = masked_frame(server);
                assert_eq!((first, &payload[..]), (TEXT, &b"tell all"[..]));
                keys.insert(key);
            }
        }
        assert!(keys.len() >= 3, "each frame has a key of its own");
        for server in &mut servers {
            server.send(&support::frame(CLOSE, b""));
            assert_eq!(masked_frame(server).0, CLOSE, "its own message did not come back");
        }
    });
    let config = Config::new().with(|config| config.connect_in_turn = false);
    let done = Parrot::new(to, 3).run(config);
    serving.join().expect("the server's checks hold");
    assert_eq!(done.reasons.len(), 3);
    assert!(done.reasons.iter().all(|reason| reason.is_clean()), "{:?}", done.reasons);
}

#[test]
fn our_clients_and_our_server_understand_each_other() {
    let server = echo(2, config());
    let mut parrot = Parrot::new(server.address(), 1);
    parrot.greetings =
        [0, 1, 64, 126, 4090, 4096, 65_536, 200_000, 1 << 20].map(|n| pattern(n, 5)).to_vec();
    let sent = parrot.greetings.clone();
    let done = parrot.run(Config::new());
    assert!(done.heard == sent, "{} of {} came back as they were", done.heard.len(), sent.len());
    assert_eq!(done.reasons, [CloseReason::Clean(CloseCode::NORMAL)]);
    assert_eq!(*server.wait_for_nothing().opened, [0, 1]);
}
