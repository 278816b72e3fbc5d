//! What the engine allocates: nothing per message once it runs, and little per connection.

#![expect(clippy::cast_possible_wrap, clippy::cast_precision_loss, reason = "the sizes are small")]

mod counting;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ringbolt::handshake::UpgradeRequest;
use ringbolt::wire::Dialect;
use ringbolt::{Accept, Config, Handler, Message, Reject, Server, WebSocket, raise_file_limit};

/// The count is of the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[derive(Debug)]
struct Echo;

impl Handler for Echo {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        ws.send(message).expect("room");
    }
}

/// An echo server whose shard's allocations are counted.
fn echo() -> Server {
    let start = |_: &mut ringbolt::Shard<'_>| {
        counting::count_this_thread();
        Echo
    };
    Server::builder().shards(1).config(Config::new()).start(start).expect("it starts")
}

fn end(server: Server) {
    server.drain(Duration::ZERO);
    server.join().expect("the shard ends well");
}

fn connect(address: SocketAddr) -> TcpStream {
    let request = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nHost: example.com\r\n\
        Upgrade: WebSocket\r\nSec-WebSocket-Key1: 3e6b263  4 17 80\r\n\
        Origin: http://example.com\r\nSec-WebSocket-Key2: 17  9 G`ZD9   2 2b 7X 3 /r90\r\n\
        Sec-WebSocket-Draft: 2\r\n\r\nWjN}|M(6";
    upgrade(address, request, b"n`9eBk9z$R8pOtVb")
}

/// The same in RFC 6455.
fn connect_rfc6455(address: SocketAddr) -> TcpStream {
    let request = b"GET / HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";
    upgrade(address, request, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
}

fn upgrade(address: SocketAddr, request: &[u8], end: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("a flag");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(request).expect("the server takes it");
    let mut answer = Vec::new();
    while !answer.ends_with(end) {
        let mut byte = [0; 256];
        let n = stream.read(&mut byte).expect("an answer");
        assert!(n > 0, "refused: {}", String::from_utf8_lossy(&answer));
        answer.extend(&byte[..n]);
    }
    stream
}

fn frame(opcode: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![opcode];
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ 0..=125), _) => frame.push(len),
        (_, Ok(len)) => {
            frame.push(126);
            frame.extend(len.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.resize(frame.len() + len, b'x');
    frame
}

/// A client's frame: the same, masked.
fn masked(first: u8, len: usize) -> Vec<u8> {
    const KEY: [u8; 4] = [0x11, 0x02, 0x13, 0x04];
    let mut frame = frame(first, len);
    let header = frame.len() - len;
    frame[1] |= 0x80;
    for (byte, key) in frame[header..].iter_mut().zip(KEY.iter().cycle()) {
        *byte ^= key;
    }
    frame.splice(header..header, KEY);
    frame
}

/// Sends `depth` frames at a time and reads as many answers, `rounds` times.
fn exchange(stream: &mut TcpStream, (out, answer): (&[u8], &[u8]), depth: usize, rounds: usize) {
    let (out, answers) = (out.repeat(depth), answer.repeat(depth));
    let mut back = vec![0; answers.len()];
    for _ in 0..rounds {
        stream.write_all(&out).expect("the server takes it");
        stream.read_exact(&mut back).expect("it comes back");
        assert!(back == answers, "something else came back");
    }
}

#[test]
fn an_echo_in_steady_state_allocates_nothing() {
    let _alone = ALONE.lock();
    let server = echo();
    let rows = [
        ("64 B text", true, 64, 1, 4000),
        ("64 B binary", false, 64, 1, 4000),
        ("64 B text, 16 deep", true, 64, 16, 1000),
        ("64 B binary, 16 deep", false, 64, 16, 1000),
        ("1 KiB binary", false, 1024, 1, 2000),
        ("16 KiB binary", false, 16 << 10, 1, 1000),
        ("16 KiB text", true, 16 << 10, 1, 1000),
        ("60 KiB binary", false, 60 << 10, 1, 500),
    ];
    for dialect in Dialect::ALL {
        let mut stream = match dialect {
            Dialect::Rfc6455 => connect_rfc6455(server.address()),
            _ => connect(server.address()),
        };
        for (what, text, len, depth, rounds) in rows {
            let what = format!("{}: {what}", dialect.name());
            let (out, answer) = match dialect {
                Dialect::Rfc6455 => {
                    let first = if text { 0x81 } else { 0x82 };
                    (masked(first, len), frame(first, len))
                }
                _ => {
                    let frame = frame(if text { 4 } else { 5 }, len);
                    (frame.clone(), frame)
                }
            };
            exchange(&mut stream, (&out, &answer), depth, 500);
            let before = counting::allocations();
            exchange(&mut stream, (&out, &answer), depth, rounds);
            let during = counting::allocations() - before;
            println!("{what}: {during} allocations in {} messages", rounds * depth);
            assert_eq!(during, 0, "{what}: in {} messages", rounds * depth);
        }
    }
    assert!(counting::allocations() > 0, "the shard is counted");
    end(server);
}

#[test]
fn large_messages_use_their_memory_again() {
    let _alone = ALONE.lock();
    let server = echo();
    let mut stream = connect(server.address());
    let frame = frame(5, 900 << 10);
    let mut reader = stream.try_clone().expect("a second handle");
    let rounds = 60;
    let total = frame.len() * rounds;
    let reading = std::thread::spawn(move || {
        let mut left = total;
        let mut buffer = vec![0; 256 << 10];
        while left > 0 {
            let n = reader.read(&mut buffer).expect("it comes back");
            assert!(n > 0, "the end with {left} bytes to come");
            left -= n;
        }
    });
    let before = counting::live_bytes();
    for _ in 0..rounds {
        stream.write_all(&frame).expect("the server takes it");
    }
    reading.join().expect("everything comes back");
    let kept = counting::live_bytes() - before;
    println!("900 KiB: {kept} bytes kept after {rounds} messages");
    assert!(kept < 16 << 20, "{kept} bytes");
    end(server);
}

#[test]
fn an_idle_connection_costs_at_most_256_bytes() {
    // covers: SEC-05
    let _alone = ALONE.lock();
    let room = usize::try_from(raise_file_limit()).expect("a limit").saturating_sub(200);
    let count = room.min(10_000);
    assert!(count > 500, "too few open files for a meaningful number: {room}");
    let server = echo();
    // What the first ones make grow is not theirs.
    let warm: Vec<_> = (0..64).map(|_| connect(server.address())).collect();
    let before = counting::live_bytes();
    let idle: Vec<_> = (0..count).map(|_| connect(server.address())).collect();
    let grown = counting::live_bytes() - before;
    let each = grown as f64 / count as f64;
    println!("{count} idle connections: {each:.1} bytes of heap each");
    assert!(each <= 256.0, "{each:.1} bytes each for {count}");
    assert!(each >= 64.0, "{each:.1} bytes each: the shard is not counted");
    drop((idle, warm));
    // And the same memory serves the next ones.
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.snapshot().open > 0 {
        assert!(Instant::now() < deadline, "they do not go");
        std::thread::sleep(Duration::from_millis(5));
    }
    let before = counting::live_bytes();
    let again: Vec<_> = (0..count).map(|_| connect(server.address())).collect();
    let grown = counting::live_bytes() - before;
    println!("{count} more in their places: {grown} bytes of heap");
    assert!(grown < count as i64 * 64, "{grown} bytes more");
    drop(again);
    end(server);
}
