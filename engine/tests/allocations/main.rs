//! What the engine allocates: nothing per message once it runs, and little per connection.

#![expect(clippy::cast_possible_wrap, clippy::cast_precision_loss, reason = "the sizes are small")]

mod compression;
mod counting;
#[cfg(feature = "tls")]
mod tls;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ringbolt::handshake::UpgradeRequest;
use ringbolt::wire::Dialect;
use ringbolt::{
    Accept, Config, Driver, Handler, Message, Reject, Server, WebSocket, raise_file_limit,
};

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
    echo_on(Driver::Uring)
}

fn echo_on(driver: Driver) -> Server {
    let start = |_: &mut ringbolt::Shard<'_>| {
        counting::count_this_thread();
        Echo
    };
    let config = Config::new().with(|config| config.driver = driver);
    Server::builder().shards(1).config(config).start(start).expect("it starts")
}

fn end(server: Server) {
    server.drain(Duration::ZERO);
    server.join().expect("the shard ends well");
}

fn connect(address: SocketAddr) -> TcpStream {
    connect_in(address, Dialect::Hybi02)
}

fn connect_in(address: SocketAddr, dialect: Dialect) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("a flag");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let (request, end) = match dialect {
        Dialect::Hybi02 => (
            "GET / HTTP/1.1\r\nConnection: Upgrade\r\nHost: example.com\r\n\
             Upgrade: WebSocket\r\nSec-WebSocket-Key1: 3e6b263  4 17 80\r\n\
             Origin: http://example.com\r\nSec-WebSocket-Key2: 17  9 G`ZD9   2 2b 7X 3 /r90\r\n\
             Sec-WebSocket-Draft: 2\r\n\r\nWjN}|M(6",
            "n`9eBk9z$R8pOtVb",
        ),
        _ => (
            "GET / HTTP/1.1\r\nConnection: Upgrade\r\nHost: example.com\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n",
            "\r\n\r\n",
        ),
    };
    stream.write_all(request.as_bytes()).expect("the server takes it");
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
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

/// A client's frame of RFC 6455, masked with a key of zeros, and what comes back.
fn frames_6455(opcode: u8, len: usize) -> (Vec<u8>, Vec<u8>) {
    // Draft-02's text and binary are 4 and 5 where RFC 6455's are 1 and 2.
    let back = frame(0x80 | (opcode - 3), len);
    let mut out = back.clone();
    out[1] |= 0x80;
    let header = back.len() - len;
    out.splice(header..header, [0; 4]);
    (out, back)
}

/// Sends `depth` frames at a time and reads their answers, `rounds` times.
fn exchange(stream: &mut TcpStream, frame: &[u8], answer: &[u8], depth: usize, rounds: usize) {
    let (out, expected) = (frame.repeat(depth), answer.repeat(depth));
    let mut back = vec![0; expected.len()];
    for _ in 0..rounds {
        stream.write_all(&out).expect("the server takes it");
        stream.read_exact(&mut back).expect("it comes back");
        assert!(back == expected, "something else came back");
    }
}

#[test]
fn an_echo_in_steady_state_allocates_nothing() {
    let _alone = ALONE.lock();
    let rows = [
        ("64 B text", 4, 64, 1, 2000),
        ("64 B binary", 5, 64, 1, 2000),
        ("64 B text, 16 deep", 4, 64, 16, 500),
        ("64 B binary, 16 deep", 5, 64, 16, 500),
        ("1 KiB binary", 5, 1024, 1, 1000),
        ("16 KiB binary", 5, 16 << 10, 1, 500),
        ("16 KiB text", 4, 16 << 10, 1, 500),
        ("60 KiB binary", 5, 60 << 10, 1, 250),
    ];
    for (driver, dialect) in
        Driver::built().flat_map(|driver| Dialect::ALL.map(|dialect| (driver, dialect)))
    {
        let server = echo_on(driver);
        let mut stream = connect_in(server.address(), dialect);
        for (what, opcode, len, depth, rounds) in rows {
            let (out, back) = match dialect {
                Dialect::Hybi02 => (frame(opcode, len), frame(opcode, len)),
                _ => frames_6455(opcode, len),
            };
            exchange(&mut stream, &out, &back, depth, 500);
            let before = counting::allocations();
            exchange(&mut stream, &out, &back, depth, rounds);
            let during = counting::allocations() - before;
            let messages = rounds * depth;
            println!("{driver} {dialect} {what}: {during} allocations in {messages} messages");
            assert_eq!(during, 0, "{driver} {dialect} {what}: in {messages} messages");
        }
        assert!(counting::allocations() > 0, "the shard is counted");
        end(server);
    }
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

#[cfg(feature = "tokio-uring")]
#[test]
fn an_idle_connection_on_tokio_uring_costs_a_small_buffer_and_its_futures() {
    let _alone = ALONE.lock();
    let server = echo_on(Driver::TokioUring);
    // They pin all registered buffers, which were allocated at the start.
    let warm: Vec<_> = (0..320).map(|_| connect(server.address())).collect();
    let before = counting::live_bytes();
    let idle: Vec<_> = (0..1000).map(|_| connect(server.address())).collect();
    let each = (counting::live_bytes() - before) as f64 / 1000.0;
    println!("1000 idle connections on tokio-uring: {each:.1} bytes of heap each");
    assert!(each >= 1024.0, "{each:.1} bytes each: the shard is not counted");
    assert!(each <= 4096.0, "{each:.1} bytes each");
    drop((idle, warm));
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
