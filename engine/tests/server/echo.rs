//! Echo: whatever the sizes, the cuts and the pace, everything comes back in order.

use std::io::Write as _;
use std::thread;
use std::time::Duration;

use ringbolt::{Driver, RingFeature, Server};

use crate::support::{
    BINARY, CONTINUATION, Client, Echo, MORE, PING, PONG, Running, TEXT, config, echo, frame,
    frames, letters, pattern, request, wait_until,
};

#[test]
fn both_kinds_come_back_as_they_were_sent() {
    // covers: DATA-01, DATA-02, FR-10, FR-05, HS-S-34
    let server = echo(1, config());
    let mut client = Client::connect(server.address(), "/");
    for len in [0, 1, 125, 126, 127, 4095, 4096, 65535, 65536, 65537, 200_000, 1 << 20] {
        let text = letters(len, len as u64);
        client.send(&frame(TEXT, text.as_bytes()));
        client.expect(TEXT, text.as_bytes());
        let bytes = pattern(len, len as u64);
        client.send(&frame(BINARY, &bytes));
        client.expect(BINARY, &bytes);
    }
    client.close();
    let end = server.wait_for_nothing();
    assert_eq!((end.counters.messages_in, end.counters.messages_out), (24, 24));
    assert_eq!(end.counters.bytes_in, end.counters.bytes_out);
}

#[test]
fn fragments_come_back_as_one_message() {
    // covers: FR-11, FR-12, FR-14, FR-17, AMB-01, CTL-02
    let server = echo(1, config());
    let mut client = Client::connect(server.address(), "/");
    let text = letters(300_000, 7);
    let mut wire = frame(TEXT | MORE, b"");
    for part in text.as_bytes().chunks(7_001) {
        wire.extend(frame(CONTINUATION | MORE, part));
    }
    wire.extend(frame(PING, b"between"));
    wire.extend(frame(CONTINUATION, b""));
    client.send(&wire);
    client.expect(PONG, b"between");
    client.expect(TEXT, text.as_bytes());
    client.close();
}

#[test]
fn frames_may_follow_the_handshake_in_the_same_segment() {
    // covers: HS-C-50, HS-S-34, AMB-10
    let server = echo(1, config());
    let mut client = Client::raw(server.address());
    let big = pattern(100_000, 3);
    let wire = [request("/"), frame(TEXT, b"early"), frame(BINARY, &big)].concat();
    client.send(&wire);
    client.finish_opening();
    client.expect_text("early");
    client.expect(BINARY, &big);
    client.close();
}

#[test]
fn a_stream_that_dribbles_byte_by_byte_is_understood() {
    // covers: FR-01, HS-S-06, UTF8-03
    let server = echo(1, config());
    let mut client = Client::raw(server.address());
    let wire = [
        request("/"),
        frame(TEXT, "zwölf Boxkämpfer".as_bytes()),
        frame(BINARY | MORE, &pattern(130, 1)),
        frame(PING, b"?"),
        frame(CONTINUATION, &pattern(3, 2)),
    ]
    .concat();
    for byte in wire {
        client.send(&[byte]);
    }
    client.finish_opening();
    client.expect_text("zwölf Boxkämpfer");
    client.expect(PONG, b"?");
    client.expect(BINARY, &[pattern(130, 1), pattern(3, 2)].concat());
    client.close();
}

#[test]
fn thousands_of_frames_in_one_write_come_back_in_order() {
    // covers: FR-18
    let server = echo(1, config());
    let mut client = Client::connect(server.address(), "/");
    let messages: Vec<_> = (0..20_000).map(|n| format!("message {n}")).collect();
    let wire = frames(TEXT, &messages);
    let mut writer = client.stream.try_clone().expect("a second handle");
    let writing = thread::spawn(move || writer.write_all(&wire));
    for message in &messages {
        client.expect_text(message);
    }
    writing.join().expect("no panic").expect("all taken");
    client.close();
}

#[test]
fn large_and_small_messages_mix() {
    // covers: FR-12
    let server = echo(2, config());
    let address = server.address();
    let runs: Vec<_> = (0..4_u64)
        .map(|seed| {
            thread::spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut client = Client::connect(address, "/");
                for n in 0..200 {
                    let len = match rng.u8(..8) {
                        0 => rng.usize(100_000..1_000_000),
                        1 | 2 => rng.usize(4_000..100_000),
                        _ => rng.usize(..200),
                    };
                    let bytes = pattern(len, seed * 1000 + n);
                    let cut = rng.usize(..=len);
                    let mut wire = frame(BINARY | MORE, &bytes[..cut]);
                    wire.extend(frame(CONTINUATION, &bytes[cut..]));
                    wire.extend(frame(TEXT, b"small"));
                    client.send(&wire);
                    client.expect(BINARY, &bytes);
                    client.expect_text("small");
                }
                client.close();
            })
        })
        .collect();
    for (seed, run) in runs.into_iter().enumerate() {
        run.join().unwrap_or_else(|_| panic!("the run with seed {seed} failed"));
    }
    server.wait_for_nothing();
}

/// Else the programs that run themselves again would run the same again.
#[test]
fn the_driver_is_the_one_that_the_environment_names() {
    let wanted = std::env::var(crate::variant::DRIVER).unwrap_or_else(|_| "uring".to_owned());
    assert_eq!(echo(1, config()).driver().driver.name(), wanted);
}

/// What a reader that stops reading for a while gets afterwards.
fn read_late(messages: &[Vec<u8>], config: ringbolt::Config) -> ringbolt::metrics::Snapshot {
    let server = echo(1, config);
    let mut client = Client::connect(server.address(), "/");
    let mut writer = client.stream.try_clone().expect("a second handle");
    let wire = frames(BINARY, messages);
    let writing = thread::spawn(move || writer.write_all(&wire));
    // Nothing is read until the server has stopped reading, too.
    wait_until("the server pauses", || server.snapshot().counters.read_pauses > 0);
    for message in messages {
        client.expect(BINARY, message);
    }
    writing.join().expect("no panic").expect("all taken");
    client.expect_alive();
    client.close();
    server.wait_for_nothing()
}

#[test]
fn a_late_reader_of_small_messages_gets_everything() {
    // covers: CONF-05
    let messages: Vec<_> = (0..400_000).map(|n| pattern(60, n)).collect();
    let end = read_late(&messages, config());
    // The runtime of tokio-uring waits for room by itself, and may find enough for all of a send.
    let waits_itself = end.driver.as_ref().is_some_and(|taken| taken.driver == Driver::TokioUring);
    let blocked = end.ring.blocked_sends > 0 || waits_itself;
    assert!(blocked && end.ring.slow_sends > 0, "{end}");
    assert_eq!(end.counters.sends_refused, 0, "{end}");
}

#[test]
fn a_late_reader_of_mixed_messages_gets_everything() {
    // covers: CONF-05
    let messages: Vec<_> = (0..3_000).map(|n| pattern((n * 7919) % 30_000, n as u64)).collect();
    let end = read_late(&messages, config());
    assert!(end.ring.slow_sends > 0, "{end}");
    assert_eq!(end.counters.sends_refused, 0, "{end}");
}

#[test]
fn a_late_reader_of_large_messages_gets_everything() {
    // covers: CONF-05
    let messages: Vec<_> = (0..40).map(|n| pattern(1 << 20, n)).collect();
    let end = read_late(&messages, config());
    assert!(end.ring.slow_sends > 0, "{end}");
    assert_eq!(end.counters.sends_refused, 0, "{end}");
}

#[test]
fn a_few_buffers_do_for_many_connections() {
    let server = echo(
        1,
        config().with(|config| {
            config.ring.small_buffers = 2;
            config.ring.large_buffers = 2;
        }),
    );
    let address = server.address();
    let runs: Vec<_> = (0..16_u64)
        .map(|seed| {
            thread::spawn(move || {
                let mut client = Client::connect(address, "/");
                for n in 0..30 {
                    let bytes = pattern(if n % 3 == 0 { 150_000 } else { 9_000 }, seed * 100 + n);
                    client.send(&frame(BINARY, &bytes));
                    client.expect(BINARY, &bytes);
                }
                client.close();
            })
        })
        .collect();
    for run in runs {
        run.join().expect("every connection is served");
    }
    let end = server.wait_for_nothing();
    // Not everywhere are there buffers that could be used up.
    let offers = match server.driver().driver {
        Driver::Uring => server.driver().features.contains(RingFeature::BufferRing),
        driver => driver != Driver::Epoll,
    };
    let short = end.ring.buffers_exhausted > 0 || !offers;
    assert!(short, "the test did not reach what it is about: {end}");
}

#[test]
fn a_thousand_connections_at_once() {
    // covers: SEC-05
    let server = echo(
        2,
        config().with(|config| {
            // Whoever waits for its turn here is not asked whether it lives.
            config.ping_interval = Duration::ZERO;
            config.idle_timeout = Duration::ZERO;
        }),
    );
    let mut clients: Vec<_> = (0..1200).map(|_| Client::connect(server.address(), "/")).collect();
    assert_eq!(server.snapshot().open, 1200);
    for (n, client) in clients.iter_mut().enumerate() {
        client.text(&format!("I am {n}"));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.expect_text(&format!("I am {n}"));
    }
    for client in clients {
        client.close();
    }
    let end = server.wait_for_nothing();
    assert_eq!(end.counters.opened, 1200);
}

#[test]
fn all_addresses_of_a_name_are_served() {
    let name = ["127.0.0.1:0", "127.0.0.2:0"].map(|one| one.parse().expect("an address"));
    let builder = Server::builder().shards(2).config(config()).bind_all(name);
    let server = Running::new(builder, || Echo);
    let [first, second] = server.listening() else { panic!("{:?}", server.listening()) };
    assert_eq!(first.address.port(), second.address.port());
    for at in [first, second] {
        let mut client = Client::connect(at.address, "/");
        client.expect_alive();
        client.close();
    }
    let nowhere = Server::builder().bind_all([]).start(|_| Echo).expect_err("nowhere");
    assert!(nowhere.to_string().contains("no address"), "{nowhere}");
}
