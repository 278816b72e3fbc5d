//! Messages: sizes, both versions of TLS, cut into pieces, many at once, and readers that are slow.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use ringbolt::Driver;
use ringbolt::metrics::Snapshot;
use rustls::{ClientConnection, StreamOwned};

use crate::peer::{World, client, config, connect, stream};
use crate::support::{BINARY, Client, PATIENCE, frame, frames, pattern, request};

/// Ends a server whose clients have gone: nothing is left of any of them.
#[track_caller]
pub(crate) fn end(server: crate::support::Running) -> Snapshot {
    server.wait_for_nothing();
    server.end(Duration::from_secs(5))
}

#[test]
fn messages_of_every_size_come_back() {
    // covers: HS-S-21
    let world = World::new();
    for driver in Driver::built() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let server = world.echo(1, config(driver));
            let mut client = connect(server.address(), client(&world.authority, &[version], None));
            let sizes = [0, 1, 125, 126, 4096, 16_384, 16_385, 65_535, 65_536, 300_000, 1 << 20];
            for (len, seed) in sizes.into_iter().zip(0..) {
                let payload = pattern(len, seed);
                client.send(&frame(BINARY, &payload));
                client.expect(BINARY, &payload);
            }
            client.close();
            let ended = end(server);
            assert_eq!(ended.counters.tls_handshakes, 1, "{ended}");
        }
    }
}

/// Hands on at most `step` bytes at a time, each as a TCP segment of its own.
#[derive(Debug)]
struct Dribble {
    stream: TcpStream,
    step: usize,
}

impl std::io::Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl std::io::Write for Dribble {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(&bytes[..bytes.len().min(self.step)])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

#[test]
fn a_stream_may_come_in_pieces_of_any_length() {
    let world = World::new();
    for driver in Driver::built() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let server = world.echo(1, config(driver));
            for step in [1, 2, 3, 5, 7, 64, 1000] {
                let tls = stream(
                    server.address(),
                    "localhost",
                    client(&world.authority, &[version], None),
                );
                let slow = Dribble { stream: tls.sock, step };
                let mut client = Client::over(StreamOwned::new(tls.conn, slow));
                client.send(&request("/"));
                client.finish_opening();
                let large = if step < 64 { 3000 } else { 50_000 };
                for (len, seed) in [1, 126, large].into_iter().zip(0..) {
                    let payload = pattern(len, seed);
                    client.send(&frame(BINARY, &payload));
                    client.expect(BINARY, &payload);
                }
                client.close();
            }
            end(server);
        }
    }
}

#[test]
fn what_is_sent_at_once_comes_back_in_order() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let mut client = connect(server.address(), world.client());
        for round in 0..20 {
            let payloads: Vec<_> =
                (0..50).map(|n| pattern(n * 37, round * 100 + n as u64)).collect();
            client.send(&frames(BINARY, &payloads));
            for payload in &payloads {
                client.expect(BINARY, payload);
            }
        }
        client.close();
        end(server);
    }
}

#[test]
fn a_slow_reader_gets_everything_in_order() {
    let world = World::new();
    for driver in Driver::built() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let server = world.echo(1, config(driver));
            let tls =
                stream(server.address(), "localhost", client(&world.authority, &[version], None));
            let mut opening = Client::over(tls);
            opening.send(&request("/"));
            opening.finish_opening();
            let StreamOwned { conn, sock } = opening.stream;
            slow_reader(conn, sock);
            let ended = end(server);
            assert!(ended.ring.blocked_sends + ended.ring.slow_sends > 0, "{ended}");
        }
    }
}

/// Writes on one thread what it reads on another, which begins when no more can be written.
fn slow_reader(mut conn: ClientConnection, sock: TcpStream) {
    const MESSAGES: u64 = 120;
    let len = |n: u64| (n as usize * 7919) % 150_000;
    let mut records = Vec::new();
    for n in 0..MESSAGES {
        let bytes = frame(BINARY, &pattern(len(n), n));
        for part in bytes.chunks(16_384) {
            conn.writer().write_all(part).expect("room");
            while conn.wants_write() {
                conn.write_tls(&mut records).expect("memory");
            }
        }
    }
    let mut sink = sock.try_clone().expect("a second handle");
    let writer = std::thread::spawn(move || {
        sink.write_all(&records).expect("the server takes it in the end");
    });
    // All of it is far more than sockets hold, so the server has to stop reading.
    std::thread::sleep(Duration::from_millis(200));
    let mut client = Client::over(StreamOwned::new(conn, sock));
    for n in 0..MESSAGES {
        client.expect(BINARY, &pattern(len(n), n));
    }
    writer.join().expect("everything was written");
    client.close();
}

#[test]
fn sessions_are_resumed_by_any_shard() {
    let world = World::new();
    for driver in Driver::built() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let server = world.echo(2, config(driver));
            let config = Arc::new(client(&world.authority, &[version], None));
            for _ in 0..8 {
                let tcp = TcpStream::connect(server.address()).expect("it listens");
                tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                let name = "localhost".try_into().expect("a name");
                let tls = ClientConnection::new(Arc::clone(&config), name).expect("a client");
                let mut client = Client::over(StreamOwned::new(tls, tcp));
                client.send(&request("/"));
                client.finish_opening();
                client.expect_alive();
                client.close();
            }
            let ended = end(server);
            let counters = &ended.counters;
            assert_eq!((counters.tls_handshakes, counters.tls_resumed), (8, 7), "{ended}");
        }
    }
}
