//! Peers that are wrong, malicious or not there any more: each is ended, none costs the others
//! anything, and nothing is left of it.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ringbolt::Driver;
use rustls::ContentType;
use rustls::version::{TLS12, TLS13};

use crate::forger::{Forger, read_to_end};
use crate::peer::{World, client, config, connect, stream};
use crate::support::{
    BINARY, Client, PATIENCE, Running, TEXT, frame, pattern, request, wait_until,
};

/// An alert record: its type.
const ALERT: u8 = 21;
/// The length of one that is not encrypted.
const ALERT_BYTES: usize = 7;

fn tcp(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).expect("the server listens");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    tcp.set_nodelay(true).expect("no delay");
    tcp
}

/// A ClientHello as its records.
fn hello(world: &World, server: &Running) -> Vec<u8> {
    let mut tls = stream(server.address(), "localhost", world.client());
    let mut bytes = Vec::new();
    tls.conn.write_tls(&mut bytes).expect("memory");
    bytes
}

/// The server still serves, and nothing is left of those that it ended.
#[track_caller]
fn expect_well(world: &World, server: Running, kinds: &[(&str, u64)]) {
    let mut neighbour = connect(server.address(), world.client());
    neighbour.expect_alive();
    neighbour.close();
    let ended = crate::echo::end(server);
    let rows: Vec<_> = ended.rows().collect();
    for (kind, n) in kinds {
        let found = rows.iter().find(|(name, _)| name == kind).map_or(0, |(_, n)| *n);
        assert_eq!(found, *n, "{kind} in {ended}");
    }
}

fn short(driver: Driver) -> ringbolt::Config {
    config(driver).with(|config| config.handshake_timeout = Duration::from_millis(300))
}

#[test]
fn a_handshake_that_stalls_is_given_up_wherever_it_does() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, short(driver));
        let hello = hello(&world, &server);
        let mut stalled: Vec<_> = [0, 1, 4, 5, 6, hello.len() / 2, hello.len() - 1, hello.len()]
            .into_iter()
            .map(|said| {
                let mut tcp = tcp(server.address());
                tcp.write_all(&hello[..said]).expect("room");
                tcp
            })
            .collect();
        // And one that gets as far as the head of the WebSocket handshake.
        let mut late = Client::over(stream(server.address(), "localhost", world.client()));
        late.send(&request("/")[..20]);
        for tcp in &mut stalled {
            read_to_end(tcp);
        }
        late.expect_end();
        drop((stalled, late));
        expect_well(&world, server, &[("closed_timed_out", 9), ("closed_tls", 0)]);
    }
}

#[test]
fn a_handshake_in_records_of_one_byte_succeeds() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        for version in [&TLS12, &TLS13] {
            let config = client(&world.authority, &[version], None);
            let mut tls = stream(server.address(), "localhost", config);
            let mut hello = Vec::new();
            tls.conn.write_tls(&mut hello).expect("memory");
            let records: Vec<u8> = hello[5..].iter().flat_map(|b| [22, 3, 1, 0, 1, *b]).collect();
            // In two pieces, so that parts of a message wait for the rest.
            let (first, rest) = records.split_at(records.len() / 2);
            for piece in [first, rest] {
                tls.sock.write_all(piece).expect("room");
                std::thread::sleep(Duration::from_millis(5));
            }
            let mut client = Client::over(tls);
            client.send(&request("/"));
            client.finish_opening();
            client.expect_alive();
            client.close();
        }
        expect_well(&world, server, &[("closed_tls", 0), ("tls_handshakes", 3)]);
    }
}

#[test]
fn messages_in_records_of_one_byte_arrive() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        for version in [&TLS12, &TLS13] {
            let mut forger = Forger::connect(server.address(), &world.authority, version);
            let message = frame(BINARY, &pattern(3000, 1));
            let records: Vec<u8> = message
                .iter()
                .flat_map(|byte| forger.record(ContentType::ApplicationData, &[*byte]))
                .collect();
            assert!(forger.send(&records));
            forger.expect_bytes(message.len());
        }
        wait_until("they are gone", || server.snapshot().open == 0);
        expect_well(&world, server, &[("closed_tls", 0), ("messages_in", 3)]);
    }
}

#[test]
fn a_client_of_plain_ws_is_told_in_its_own_language_that_this_is_tls() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        for bytes in [&request("/")[..], b"GET / HTTP/1.1\r\n\r\n", b"OPTIONS"] {
            let mut client = Client::raw(server.address());
            client.send(bytes);
            assert!(client.head().starts_with("HTTP/1.1 400 Bad Request\r\n"));
            let mut body = Vec::new();
            while let Some(byte) = client.take(1) {
                body.extend(byte);
            }
            let body = String::from_utf8(body).expect("text");
            assert!(body.contains("use a wss:// URL"), "{body}");
        }
        // What is no HTTP is told by an alert.
        let mut client = Client::raw(server.address());
        client.try_send(&pattern(3000, 5));
        if let Some(alert) = client.take(7) {
            assert_eq!((alert[0], alert[5]), (ALERT, 2), "a fatal alert: {alert:?}");
            client.expect_end();
        }
        let told = [("tls_error_plain_client", 3), ("tls_error_not_tls", 1), ("closed_tls", 4)];
        expect_well(&world, server, &told);
    }
}

#[test]
fn plain_http_behind_a_client_hello_is_no_mistaken_url() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let hello = hello(&world, &server);
        let mut client = Client::raw(server.address());
        client.send(&[&hello[..], b"GET / HTTP/1.1\r\n\r\n"].concat());
        while client.take(1).is_some() {}
        expect_well(&world, server, &[("tls_error_plain_client", 0), ("closed_tls", 1)]);
    }
}

#[test]
fn records_and_messages_that_announce_too_much_are_refused() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        // A record longer than any may be, and a handshake message of 16 MiB.
        let wholes: [&[u8]; 2] = [&[22, 3, 1, 0xFF, 0xFF], &[22, 3, 1, 0, 4, 1, 0xFF, 0xFF, 0xFF]];
        for whole in wholes {
            for split in [1, 3, whole.len()] {
                let mut tcp = tcp(server.address());
                for piece in [&whole[..split], &whole[split..]] {
                    tcp.write_all(piece).expect("room");
                    std::thread::sleep(Duration::from_millis(2));
                }
                assert_eq!(read_to_end(&mut tcp), ALERT_BYTES, "an alert says why: {whole:?}");
            }
        }
        expect_well(&world, server, &[("tls_error_oversized", 6), ("closed_tls", 6)]);
    }
}

#[test]
fn a_handshake_message_that_never_ends_is_cut_off() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let mut tcp = tcp(server.address());
        // 64 KiB are announced, which is allowed; as records of one byte they take 384.
        let mut records = vec![22, 3, 1, 0, 4, 1, 0, 0xFF, 0xFF];
        records.extend([22, 3, 1, 0, 1, 0].repeat(60_000));
        // The server ends it before all of that is written, and reads the rest for a while.
        drop(tcp.write_all(&records));
        assert_eq!(read_to_end(&mut tcp), ALERT_BYTES, "an alert says why");
        drop(tcp);
        expect_well(&world, server, &[("tls_error_oversized", 1), ("closed_tls", 1)]);
    }
}

#[test]
fn a_record_that_was_changed_on_its_way_ends_the_connection() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        for version in [&TLS12, &TLS13] {
            let mut forger = Forger::connect(server.address(), &world.authority, version);
            let mut record = forger.record(ContentType::ApplicationData, &frame(TEXT, b"hello"));
            *record.last_mut().expect("bytes") ^= 1;
            assert!(forger.send(&record));
            assert!(forger.bytes_until_the_end() > 0, "an alert says why");
        }
        let kinds = [("tls_error_undecryptable", 2), ("closed_tls", 2), ("messages_in", 1)];
        expect_well(&world, server, &kinds);
    }
}

#[test]
fn renegotiation_is_refused_and_insisting_ends_the_connection() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let hello = hello(&world, &server);
        let mut forger = Forger::connect(server.address(), &world.authority, &TLS12);
        assert!(forger.say(ContentType::Handshake, &hello[5..]));
        // A warning, and the connection lives.
        forger.expect_bytes(1);
        assert!(forger.say(ContentType::ApplicationData, &frame(TEXT, b"still there")));
        forger.expect_bytes(13);
        wait_until("it was heard", || server.snapshot().counters.messages_in == 1);
        for _ in 0..100 {
            if !forger.say(ContentType::Handshake, &hello[5..]) {
                break;
            }
        }
        forger.bytes_until_the_end();
        drop(forger);
        expect_well(&world, server, &[("tls_error_misbehaved", 1), ("closed_tls", 1)]);
    }
}

#[test]
fn key_updates_are_answered_and_a_flood_of_them_ends_the_connection() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let mut polite = connect(server.address(), client(&world.authority, &[&TLS13], None));
        for _ in 0..10 {
            polite.stream.conn.refresh_traffic_keys().expect("1.3");
            polite.expect_alive();
        }
        // The server answers, and uses new keys itself: it would not be understood otherwise.
        polite.close();
        let mut flood = connect(server.address(), client(&world.authority, &[&TLS13], None));
        for _ in 0..1000 {
            flood.stream.conn.refresh_traffic_keys().expect("1.3");
            if flood.stream.conn.write_tls(&mut flood.stream.sock).is_err() {
                break;
            }
        }
        read_to_end(&mut flood.stream.sock);
        drop(flood);
        expect_well(&world, server, &[("tls_error_misbehaved", 1), ("closed_tls", 1)]);
    }
}

#[test]
fn key_updates_of_one_that_does_not_read_are_bounded() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let mut mute = connect(server.address(), client(&world.authority, &[&TLS13], None));
        // Content in between keeps it from being a flood.
        for _ in 0..1000 {
            mute.stream.conn.refresh_traffic_keys().expect("1.3");
            mute.send(&frame(TEXT, b"x"));
        }
        for _ in 0..1000 {
            mute.expect_text("x");
        }
        mute.close();
        expect_well(&world, server, &[("closed_tls", 0), ("messages_in", 1001)]);
    }
}

#[test]
fn a_flood_of_records_without_content_ends_the_connection() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        for version in [&TLS12, &TLS13] {
            let mut forger = Forger::connect(server.address(), &world.authority, version);
            // A few are allowed: some libraries send one before each record that is not empty.
            for _ in 0..5 {
                assert!(forger.say(ContentType::ApplicationData, b""));
                assert!(forger.say(ContentType::ApplicationData, &frame(TEXT, b"x")));
            }
            forger.expect_bytes(15);
            let heard = || server.snapshot().counters.messages_in;
            wait_until("all were heard", || heard().is_multiple_of(5));
            for _ in 0..10_000 {
                if !forger.say(ContentType::ApplicationData, b"") {
                    break;
                }
            }
            forger.bytes_until_the_end();
        }
        expect_well(&world, server, &[("tls_error_misbehaved", 2), ("closed_tls", 2)]);
    }
}

#[test]
fn any_bytes_at_any_time_end_one_connection_and_no_other() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, short(driver));
        let hello = hello(&world, &server);
        let mut witness = connect(server.address(), world.client());
        for seed in 0..60_u64 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut bytes = hello.clone();
            for _ in 0..rng.usize(1..8) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            bytes.extend(pattern(rng.usize(..2000), seed));
            let mut tcp = tcp(server.address());
            let split = rng.usize(..bytes.len());
            drop(tcp.write_all(&bytes[..split]).and_then(|()| tcp.write_all(&bytes[split..])));
            read_to_end(&mut tcp);
            if seed % 10 == 0 {
                witness.expect_alive();
            }
        }
        witness.close();
        expect_well(&world, server, &[("open", 0)]);
    }
}

#[test]
fn a_reset_on_the_heels_of_noise_is_not_missed() {
    let world = World::new();
    for driver in Driver::built() {
        // Longer than anybody waits here: only what is noticed ends a connection.
        let patient = config(driver).with(|config| config.close_timeout = Duration::from_secs(600));
        let server = world.echo(1, patient);
        for _ in 0..100 {
            let mut peer = tcp(server.address());
            // The first write is judged before the rest of it and the reset come.
            peer.write_all(&[b'x'; 100]).expect("room");
            std::thread::yield_now();
            // Whatever fails: the server may be faster.
            let _ = peer.write_all(&[b'x'; 20_000]);
            let socket = socket2::Socket::from(peer);
            socket.set_linger(Some(Duration::ZERO)).expect("an option");
        }
        let end = server.wait_for_nothing();
        assert_eq!(end.counters.accepted, 100, "{driver}: {end}");
    }
}
