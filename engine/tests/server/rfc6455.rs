//! RFC 6455 over real sockets: what today's clients send and get.

use std::net::SocketAddr;
use std::time::Duration;

use ringbolt::handshake::{ServerPolicy, UpgradeRequest};
use ringbolt::wire::{CloseCode, Dialect};
use ringbolt::{
    Accept, CloseReason, Config, Handler, Message, Reject, Remote, Server, SlowConsumer, WebSocket,
};

use crate::support::{self, Client, PATIENCE, Running, config, echo, letters, pattern, wait_until};

const CONTINUATION: u8 = 0x80;
const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
/// Clears FIN.
const MORE: u8 = 0x7F;

/// The request of RFC 6455 §1.2 for this resource name.
fn request(resource: &str) -> Vec<u8> {
    let head = format!(
        "GET {resource} HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Origin: http://example.com\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    head.into_bytes()
}

fn finish_opening(client: &mut Client) {
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "refused: {head}");
    assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
}

pub(crate) fn connect(address: SocketAddr, resource: &str) -> Client {
    let mut client = Client::raw(address);
    client.send(&request(resource));
    finish_opening(&mut client);
    client
}

/// A client's frame, masked with a key that its length decides.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = (payload.len() as u32).wrapping_mul(0x9E37_79B9).to_be_bytes();
    let masked: Vec<u8> = payload.iter().enumerate().map(|(i, b)| b ^ key[i % 4]).collect();
    let mut frame = support::frame(first, &masked);
    let header = frame.len() - payload.len();
    frame[1] |= 0x80;
    frame.splice(header..header, key);
    frame
}

/// Connects, hears its message again, and closes.
pub(crate) fn expect_echo(address: SocketAddr) {
    let mut client = connect(address, "/");
    client.send(&frame(TEXT, b"hello"));
    client.expect(TEXT, b"hello");
    close(client);
}

fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason.as_bytes()].concat()
}

/// The whole closing handshake, from this side.
#[track_caller]
fn close(mut client: Client) {
    client.send(&frame(CLOSE, &close_payload(1000, "done")));
    while let Some(frame) = client.try_frame() {
        if frame.first == CLOSE {
            assert_eq!(frame.payload, 1000_u16.to_be_bytes());
            return client.expect_end();
        }
    }
    panic!("no answer to the Close");
}

#[test]
fn both_kinds_come_back_as_they_were_sent() {
    let server = echo(1, config());
    let mut client = connect(server.address(), "/");
    for len in [0, 1, 125, 126, 127, 4095, 4096, 65535, 65536, 65537, 200_000, 1 << 20] {
        let text = letters(len, len as u64);
        client.send(&frame(TEXT, text.as_bytes()));
        client.expect(TEXT, text.as_bytes());
        let bytes = pattern(len, len as u64);
        client.send(&frame(BINARY, &bytes));
        client.expect(BINARY, &bytes);
    }
    close(client);
    let end = server.wait_for_nothing();
    assert_eq!((end.counters.messages_in, end.counters.messages_out), (24, 24));
    assert_eq!(*end.opened, [0, 1]);
    assert!(end.to_string().contains("opened_rfc6455=1"), "{end}");
}

#[test]
fn fragments_with_pings_between_come_back_as_one_message() {
    let server = echo(1, config());
    let mut client = connect(server.address(), "/");
    let text = letters(300_000, 7);
    let mut wire = frame(TEXT & MORE, b"");
    for part in text.as_bytes().chunks(7_001) {
        wire.extend(frame(CONTINUATION & MORE, part));
    }
    wire.extend(frame(PING, b"between"));
    wire.extend(frame(CONTINUATION, b""));
    client.send(&wire);
    client.expect(PONG, b"between");
    client.expect(TEXT, text.as_bytes());
    close(client);
}

#[test]
fn a_stream_that_dribbles_byte_by_byte_is_understood() {
    let server = echo(1, config());
    let mut client = Client::raw(server.address());
    let wire = [
        request("/"),
        frame(TEXT, "zwölf Boxkämpfer".as_bytes()),
        frame(BINARY & MORE, &pattern(130, 1)),
        frame(PING, b"?"),
        frame(CONTINUATION, &pattern(3, 2)),
    ]
    .concat();
    for byte in wire {
        client.send(&[byte]);
    }
    finish_opening(&mut client);
    client.expect(TEXT, "zwölf Boxkämpfer".as_bytes());
    client.expect(PONG, b"?");
    client.expect(BINARY, &[pattern(130, 1), pattern(3, 2)].concat());
    close(client);
}

#[test]
fn thousands_of_frames_and_large_ones_come_back_in_order() {
    let server = echo(1, config());
    let mut client = connect(server.address(), "/");
    let messages: Vec<_> = (0..5000_u64)
        .map(|n| pattern(if n % 500 == 3 { 150_000 } else { (n % 300) as usize }, n))
        .collect();
    let wire = messages.iter().map(|m| frame(BINARY, m)).collect::<Vec<_>>().concat();
    let mut writer = client.stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &wire));
    for message in &messages {
        client.expect(BINARY, message);
    }
    writing.join().expect("no panic").expect("all taken");
    close(client);
}

#[test]
fn broken_rules_are_told_before_tcp_ends() {
    let limits = config().limits.with_max_message_bytes(1000);
    let server = echo(1, config().with(|config| config.limits = limits));
    let rows: [(Vec<u8>, u16); 6] = [
        (support::frame(TEXT, b"not masked"), 1002),
        (frame(TEXT | 0x40, b"compressed"), 1002),
        (frame(0x83, b"reserved"), 1002),
        (frame(TEXT, b"\xC3\x28"), 1007),
        (frame(BINARY, &[0; 1001]), 1009),
        (frame(CLOSE, &close_payload(1005, "")), 1002),
    ];
    for (wire, code) in rows {
        let mut client = connect(server.address(), "/");
        // What lies behind the fault is not read, and does not cost us the Close.
        client.send(&[frame(TEXT, b"before"), wire, vec![0x55; 100_000]].concat());
        client.expect(TEXT, b"before");
        let told = client.frame();
        assert_eq!((told.first, &told.payload[..2]), (CLOSE, &code.to_be_bytes()[..]));
        let reason = std::str::from_utf8(&told.payload[2..]).expect("a reason in UTF-8");
        assert!(!reason.is_empty());
        client.expect_end();
    }
    server.wait_for_nothing();
}

#[test]
fn a_peer_that_ignores_what_it_was_told_is_cut() {
    let server = echo(1, config().with(|config| config.close_timeout = Duration::from_millis(200)));
    let mut client = connect(server.address(), "/");
    client.send(&support::frame(TEXT, b""));
    assert_eq!(client.frame().first, CLOSE);
    // Our end of TCP stays open.
    server.wait_for_nothing();
}

#[test]
fn one_dialect_may_be_refused() {
    for (spoken, status) in [(Dialect::Hybi02, "426"), (Dialect::Rfc6455, "400")] {
        let policy = ServerPolicy::new().dialects([spoken]);
        let server = echo(1, config().with(|config| config.policy = policy));
        let mut client = Client::raw(server.address());
        let refused = match spoken {
            Dialect::Hybi02 => request("/"),
            _ => support::request("/"),
        };
        client.send(&refused);
        let head = client.head();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        match spoken {
            Dialect::Hybi02 => Client::connect(server.address(), "/").close(),
            _ => expect_echo(server.address()),
        }
    }
}

/// Everybody hears everybody else; "close CODE REASON" and "bye" end a connection.
#[derive(Debug)]
struct Room {
    ended: std::sync::mpsc::Sender<CloseReason>,
    said: std::sync::mpsc::Sender<String>,
    remotes: std::sync::mpsc::Sender<Remote>,
}

impl Handler for Room {
    type Data = Option<ringbolt::Topic>;

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<Self::Data>, Reject> {
        Ok(Accept::new(None))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, Self::Data>) {
        let topic = ws.topic("room").expect("room");
        assert!(ws.subscribe(topic));
        *ws.data_mut() = Some(topic);
        drop(self.remotes.send(ws.remote()));
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, Self::Data>, message: Message<'_>) {
        match message {
            Message::Text("which?") => ws.send(ws.dialect().name()).expect("room"),
            Message::Text("bye") => ws.close_with(CloseCode::SERVICE_RESTART, "see you"),
            message => {
                let topic = ws.data().expect("subscribed");
                ws.publish(topic, message).expect("room");
            }
        }
    }

    fn on_closing(&mut self, data: &mut Self::Data, code: CloseCode, reason: &str) {
        assert!(data.is_some() && code != CloseCode::ABNORMAL);
        drop(self.said.send(reason.to_owned()));
    }

    fn on_close(&mut self, _: Self::Data, reason: CloseReason) {
        // A test that has ended does not listen.
        let _ = self.ended.send(reason);
    }
}

/// A room, why its connections ended, and their addresses.
struct Chat {
    server: Running,
    ended: std::sync::mpsc::Receiver<CloseReason>,
    /// The reasons of Close frames.
    said: std::sync::mpsc::Receiver<String>,
    remotes: std::sync::mpsc::Receiver<Remote>,
}

fn chat(shards: usize, config: Config) -> Chat {
    use std::sync::mpsc::channel;
    let ((ended, why), (said, words), (remotes, who)) = (channel(), channel(), channel());
    let builder = Server::builder().shards(shards).config(config);
    let server = Running::new(builder, move || Room {
        ended: ended.clone(),
        said: said.clone(),
        remotes: remotes.clone(),
    });
    Chat { server, ended: why, said: words, remotes: who }
}

#[test]
fn both_dialects_hear_each_other_on_all_shards() {
    let chat = chat(2, config());
    let address = chat.server.address();
    let mut old: Vec<_> = (0..8).map(|_| Client::connect(address, "/")).collect();
    let mut new: Vec<_> = (0..8).map(|_| connect(address, "/")).collect();
    wait_until("all are subscribed", || chat.server.snapshot().counters.opened == 16);
    old[0].text("which?");
    old[0].expect_text("hybi-02");
    new[0].send(&frame(TEXT, b"which?"));
    new[0].expect(TEXT, b"rfc6455");
    for (n, len) in [5_usize, 200, 70_000].into_iter().enumerate() {
        let bytes = pattern(len, n as u64);
        old[n].send(&support::frame(support::BINARY, &bytes));
        for (i, client) in old.iter_mut().enumerate() {
            if i != n {
                client.expect(support::BINARY, &bytes);
            }
        }
        new.iter_mut().for_each(|client| client.expect(BINARY, &bytes));
        let text = letters(len, 99 + n as u64);
        // Together with a message of its own it gets what others say, and not what it says.
        new[n].send(&[frame(TEXT, text.as_bytes()), frame(TEXT, b"which?")].concat());
        new[n].expect(TEXT, b"rfc6455");
        for (i, client) in new.iter_mut().enumerate() {
            if i != n {
                client.expect(TEXT, text.as_bytes());
            }
        }
        old.iter_mut().for_each(|client| client.expect(support::TEXT, text.as_bytes()));
    }
    let publisher = chat.server.publisher();
    publisher.publish("room", "from outside").expect("room");
    old.iter_mut().for_each(|client| client.expect_text("from outside"));
    new.iter_mut().for_each(|client| client.expect(TEXT, b"from outside"));
    old.into_iter().for_each(Client::close);
    new.into_iter().for_each(close);
    assert_eq!(*chat.server.wait_for_nothing().opened, [8, 8]);
}

#[test]
fn slow_consumers_of_either_dialect_get_whole_frames() {
    let chat = chat(
        1,
        config().with(|config| {
            config.slow_consumer = SlowConsumer::Drop;
            config.max_outbound_bytes = 300_000;
        }),
    );
    let address = chat.server.address();
    let (mut old, mut new) = (Client::connect(address, "/"), connect(address, "/"));
    let mut author = connect(address, "/");
    wait_until("all are subscribed", || chat.server.snapshot().counters.opened == 3);
    let mut sent = 0_u64;
    while chat.server.snapshot().counters.deliveries_dropped < 20 {
        author.send(&frame(BINARY, &pattern(20_000, sent)));
        sent += 1;
    }
    author.send(&frame(TEXT, b"which?"));
    author.expect(TEXT, b"rfc6455");
    let mut delivered = 0;
    wait_until("every message is delivered or dropped", || {
        let counters = chat.server.snapshot().counters;
        delivered = counters.deliveries;
        delivered + counters.deliveries_dropped == 2 * sent
    });
    // What arrives is whole and in order, with gaps; after it both hear again.
    let mut listeners = [(&mut old, support::BINARY, 0, 0), (&mut new, BINARY, 0, 0)];
    while listeners.iter().map(|listener| listener.3).sum::<u64>() < delivered {
        for (client, binary, next, heard) in &mut listeners {
            client.stream.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
            let readable = client.is_readable();
            client.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            if !readable {
                continue;
            }
            let frame = client.frame();
            assert_eq!(frame.first, *binary);
            let n = (*next..sent).find(|n| pattern(20_000, *n) == frame.payload);
            *next = n.expect("a message that was sent, after the one before") + 1;
            *heard += 1;
        }
    }
    for (.., heard) in listeners {
        assert!(heard > 0 && heard < sent, "{heard} of {sent}");
    }
    author.send(&frame(TEXT, b"once more"));
    old.expect_text("once more");
    new.expect(TEXT, b"once more");
}

#[test]
fn codes_and_reasons_go_both_ways() {
    let chat = chat(1, config());
    let address = chat.server.address();
    let next = || chat.ended.recv_timeout(PATIENCE).expect("an end");
    let said = |reason: CloseReason| match reason {
        CloseReason::Clean(code) => (code.get(), chat.said.try_recv().unwrap_or_default()),
        other => panic!("{other:?}"),
    };

    let mut client = connect(address, "/");
    client.send(&frame(CLOSE, &close_payload(4242, "mä")));
    client.expect(CLOSE, &4242_u16.to_be_bytes());
    client.expect_end();
    assert_eq!(said(next()), (4242, "mä".to_owned()));

    let mut client = connect(address, "/");
    client.send(&frame(CLOSE, b""));
    client.expect(CLOSE, b"");
    assert_eq!(said(next()), (1005, String::new()));

    let mut client = connect(address, "/");
    client.send(&frame(TEXT, b"bye"));
    client.expect(CLOSE, &close_payload(1012, "see you"));
    client.send(&frame(CLOSE, &close_payload(1012, "")));
    client.expect_end();
    let reason = next();
    assert_eq!((reason.code(), reason.is_clean()), (CloseCode::SERVICE_RESTART, true));
    assert_eq!(chat.said.try_recv().as_deref(), Ok(""));

    Client::connect(address, "/").close();
    assert_eq!(next().code(), CloseCode::NO_STATUS);
    assert!(chat.said.try_recv().is_err(), "draft-02 says nothing");

    let mut client = connect(address, "/");
    while let Ok(remote) = chat.remotes.recv_timeout(Duration::ZERO) {
        // All but the last are gone.
        remote.send("mail").expect("room");
        remote.close_with(CloseCode::POLICY_VIOLATION, "no more").expect("room");
    }
    client.expect(TEXT, b"mail");
    client.expect(CLOSE, &close_payload(1008, "no more"));
    drop(client);
    assert_eq!(next().code(), CloseCode::ABNORMAL);
}

#[test]
fn a_server_that_goes_says_so() {
    let server = echo(2, config());
    let mut clients: Vec<_> = (0..6).map(|_| connect(server.address(), "/")).collect();
    server.drain(PATIENCE);
    for client in &mut clients {
        client.expect(CLOSE, &1001_u16.to_be_bytes());
        client.send(&frame(CLOSE, &1001_u16.to_be_bytes()));
        client.expect_end();
    }
    let end = server.end(PATIENCE);
    assert_eq!(end.closed[CloseReason::Clean(CloseCode::NORMAL).index()], 6);
}

#[test]
fn the_silent_are_pinged_and_told() {
    let config = config().with(|config| {
        config.ping_interval = Duration::from_millis(100);
        config.idle_timeout = Duration::from_millis(500);
    });
    let server = echo(1, config);
    let mut client = connect(server.address(), "/");
    client.expect(PING, b"");
    client.send(&frame(PONG, b""));
    while let Some(frame) = client.try_frame() {
        if frame.first == CLOSE {
            assert_eq!(frame.payload, close_payload(1001, "silent for too long"));
            return client.expect_end();
        }
        assert_eq!((frame.first, frame.payload), (PING, vec![]));
    }
    panic!("no Close before the end");
}

#[test]
fn a_broadcast_is_compressed_for_those_who_agreed() {
    let chat = chat(
        2,
        config().with(|config| {
            config.compression = Some(ringbolt::Compression::default());
        }),
    );
    let server = &chat.server;
    let offering = |resource: &str| {
        let mut client = Client::raw(server.address());
        let request = String::from_utf8(request(resource)).expect("text");
        let field = "Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
        client.send(request.replace("Version: 13\r\n", field).as_bytes());
        let head = client.head();
        assert!(head.contains("Sec-WebSocket-Extensions: permessage-deflate"), "{head}");
        client
    };
    // Several of each on both shards; the old dialect hears it, too.
    let mut packed: Vec<_> = (0..8).map(|_| offering("/")).collect();
    let mut plain: Vec<_> = (0..8).map(|_| connect(server.address(), "/")).collect();
    let mut old: Vec<_> = (0..4).map(|_| Client::connect(server.address(), "/")).collect();
    let text = "again and again and again, ".repeat(100);
    for round in 0..3 {
        let text = format!("{round} {text}");
        packed[0].send(&frame(TEXT, text.as_bytes()));
        for client in &mut packed[1..] {
            let heard = client.frame();
            assert_eq!(heard.first, TEXT | 0x40, "it is compressed");
            let mut out = Vec::with_capacity(1 << 16);
            let bytes = [&heard.payload[..], &[0, 0, 0xFF, 0xFF]].concat();
            flate2::Decompress::new(false)
                .decompress_vec(&bytes, &mut out, flate2::FlushDecompress::Sync)
                .expect("it inflates");
            assert!(out == text.as_bytes() && heard.payload.len() < text.len() / 10);
        }
        for client in &mut plain {
            client.expect(TEXT, text.as_bytes());
        }
        for client in &mut old {
            client.expect_text(&text);
        }
        // Who published hears the others, plain: what it gets is not all of a batch.
        plain[0].send(&frame(TEXT, b"short"));
        for client in packed.iter_mut().chain(&mut plain[1..]) {
            client.expect(TEXT, b"short");
        }
        for client in &mut old {
            client.expect_text("short");
        }
    }
}
