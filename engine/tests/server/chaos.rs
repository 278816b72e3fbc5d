//! Connections that do anything at any time: every one ends once, and nothing of it stays.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use ringbolt::handshake::UpgradeRequest;
use ringbolt::metrics::Snapshot;
use ringbolt::{
    Accept, CloseReason, Config, Handler, Message, Reject, RingFeature, Server, SlowConsumer,
    Topic, WebSocket,
};

use crate::support::{
    BINARY, CLOSE, CONTINUATION, MORE, PING, Running, TEXT, config, frame, pattern, request,
};

/// Echoes, and publishes now and then; ends and closes when told to.
#[derive(Debug, Default)]
struct Chaos {
    lives: i64,
}

impl Drop for Chaos {
    fn drop(&mut self) {
        if !thread::panicking() {
            assert_eq!(self.lives, 0, "on_close runs once for each upgrade that was accepted");
        }
    }
}

impl Handler for Chaos {
    type Data = Option<Topic>;

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<Self::Data>, Reject> {
        self.lives += 1;
        Ok(Accept::new(None))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, Self::Data>) {
        let topic = ws.topic("all").expect("one topic");
        assert!(ws.subscribe(topic));
        *ws.data_mut() = Some(topic);
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, Self::Data>, message: Message<'_>) {
        let topic = ws.data().expect("set when it opened");
        match message.payload().first() {
            Some(b'e') => {
                let _ = ws.send(message);
                ws.end();
            }
            Some(b'c') => ws.close(),
            Some(b'p') => drop(ws.publish(topic, message)),
            Some(b'l') => ws.unsubscribe(topic),
            Some(b's') => drop(ws.send(&pattern(300_000, 1)[..])),
            _ => drop(ws.send(message)),
        }
    }

    fn on_drain(&mut self, ws: &mut WebSocket<'_, Self::Data>) {
        let _ = ws.send("room again");
    }

    fn on_close(&mut self, _: Self::Data, _: CloseReason) {
        self.lives -= 1;
    }
}

fn server(config: Config) -> Running {
    Running::new(Server::builder().shards(2).config(config), Chaos::default)
}

/// One connection with a script of its own. Whatever fails, fails: the other side may have gone.
fn live(address: SocketAddr, rng: &mut fastrand::Rng) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    let wait = Duration::from_millis(rng.u64(1..10));
    stream.set_read_timeout(Some(wait)).expect("a timeout");
    stream.set_write_timeout(Some(wait)).expect("a timeout");
    if rng.u8(..10) > 0 {
        drop(stream.write_all(&request("/")));
    }
    let mut sink = vec![0; 1 << 16];
    for _ in 0..rng.u8(..12) {
        let len = *[3, 100, 5_000, 70_000, 700_000].get(rng.usize(..5)).expect("five");
        let payload = vec![*b"ecplsxxxxxxx".get(rng.usize(..12)).expect("twelve"); len];
        let done = match rng.u8(..10) {
            0 => stream.write_all(&frame(BINARY, &payload)[..rng.usize(..len)]),
            1 => stream.write_all(&frame(BINARY | MORE, &payload)),
            2 => stream.write_all(&frame(CONTINUATION, &payload)),
            3 => stream.write_all(&frame(PING, &payload[..len.min(1000)])),
            4 | 5 => stream.write_all(&frame(TEXT, &payload)),
            6 => stream.write_all(&frame(BINARY, &payload).repeat(rng.usize(1..5))),
            7 => stream.write_all(&frame(CLOSE, b"")),
            _ => stream.read(&mut sink).map(drop),
        };
        // Half of a frame went out when it timed out: from here on it is noise, which is welcome.
        drop(done);
    }
    match rng.u8(..4) {
        0 => {
            let socket = socket2::Socket::from(stream);
            drop(socket.set_linger(Some(Duration::ZERO)));
        }
        1 => {
            drop(stream.shutdown(Shutdown::Write));
            for _ in 0..50 {
                if !matches!(stream.read(&mut sink), Ok(n) if n > 0) {
                    break;
                }
            }
        }
        _ => drop(stream),
    }
}

/// Lets many live, on several threads.
fn rage(address: SocketAddr, seed: u64, lives: u64) -> Vec<thread::JoinHandle<()>> {
    (0..6)
        .map(|part| {
            thread::spawn(move || {
                for n in 0..lives {
                    let seed = seed.wrapping_add(part * lives + n);
                    live(address, &mut fastrand::Rng::with_seed(seed));
                }
            })
        })
        .collect()
}

fn check(end: &Snapshot, seed: u64) {
    let closed = end.closed.iter().sum::<u64>();
    assert_eq!(closed, end.counters.accepted, "RINGBOLT_SEED={seed}: each ends once: {end}");
    assert_eq!(end.ring.stale_completions, 0, "RINGBOLT_SEED={seed}: {end}");
    assert_eq!(end.ring.operations_in_flight, 0, "RINGBOLT_SEED={seed}: {end}");
}

/// Config for peers that are soon gone, where that is noticed and not only its time over. An open
/// connection whose reset a multishot receive has missed takes a ping to notice.
fn patient() -> Config {
    config().with(|config| {
        config.close_timeout = Duration::from_secs(600);
        config.ping_interval = Duration::from_millis(500);
    })
}

fn calm_after_chaos(config: Config) {
    let seed = crate::bad_input::seed();
    let server = server(config);
    for thread in rage(server.address(), seed, 120) {
        thread.join().expect("they cannot fail");
    }
    let end = server.wait_for_nothing();
    assert_eq!(end.topics, 0, "RINGBOLT_SEED={seed}: {end}");
    check(&end, seed);
    assert!(end.ring.slow_sends > 0, "no send ever blocked: {end}");
}

#[test]
fn nothing_is_left_of_them() {
    // covers: SEC-01, CLOSE-05
    calm_after_chaos(patient());
}

#[test]
fn nothing_is_left_of_them_with_few_buffers_and_slow_consumers_that_miss_messages() {
    // covers: SEC-01, CLOSE-05
    calm_after_chaos(patient().with(|config| {
        config.ring.small_buffers = 2;
        config.ring.large_buffers = 2;
        config.ring.submission_entries = 4;
        config.ring.completion_entries = 8;
        config.ring.features = config.ring.features.forbid(RingFeature::Direct);
        config.max_outbound_bytes = 1 << 20;
        config.pause_reading_bytes = 10_000;
        config.slow_consumer = SlowConsumer::Drop;
    }));
}

#[test]
fn nothing_is_left_of_them_with_timeouts_all_around() {
    // covers: SEC-01, CLOSE-05, CLOSE-08
    calm_after_chaos(config().with(|config| {
        config.handshake_timeout = Duration::from_millis(5);
        config.idle_timeout = Duration::from_millis(150);
        config.ping_interval = Duration::from_millis(50);
        config.close_timeout = Duration::from_millis(50);
        config.ring.spin = Duration::from_micros(50);
    }));
}

#[test]
fn a_drain_ends_the_chaos() {
    // covers: SEC-01, CLOSE-09
    for round in 0..6 {
        let seed = crate::bad_input::seed();
        let server = server(config());
        let threads = rage(server.address(), seed, 30);
        thread::sleep(Duration::from_millis(20 * round));
        let end = server.end(Duration::from_millis(100 * round));
        assert_eq!((end.open, end.topics), (0, 0), "RINGBOLT_SEED={seed}: {end}");
        check(&end, seed);
        for thread in threads {
            thread.join().expect("they cannot fail");
        }
    }
}

#[test]
fn the_loop_serves_its_mail_under_any_load() {
    let server = server(config().with(|config| config.max_outbound_bytes = 8 << 20));
    let address = server.address();
    let message = frame(BINARY, &vec![b'x'; 1_000_000]);
    let loads: Vec<_> = (0..8)
        .map(|_| {
            let client = crate::support::Client::connect(address, "/");
            let (mut reader, mut writer) =
                (client.stream.try_clone().expect("a handle"), client.stream);
            let wire = message.clone();
            let writing = thread::spawn(move || while writer.write_all(&wire).is_ok() {});
            let reading = thread::spawn(move || {
                let mut buffer = vec![0; 1 << 18];
                while matches!(reader.read(&mut buffer), Ok(n) if n > 0) {}
            });
            (writing, reading)
        })
        .collect();
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(20));
        // A shard that does not answer for a second is left out.
        crate::support::wait_until("every shard answers", || server.snapshot().open == 8);
    }
    let end = server.end(Duration::ZERO);
    assert_eq!(end.open, 0, "{end}");
    for (writing, reading) in loads {
        writing.join().expect("no panic");
        reading.join().expect("no panic");
    }
}

#[test]
fn what_arrives_while_a_large_turn_leaves_is_not_forgotten() {
    let server = Running::new(
        Server::builder().shards(1).config(config().with(|config| {
            config.max_outbound_bytes = 8 << 20;
            config.idle_timeout = Duration::ZERO;
            config.ping_interval = Duration::ZERO;
        })),
        Chaos::default,
    );
    let mut clients: Vec<_> =
        (0..60).map(|_| crate::support::Client::connect(server.address(), "/")).collect();
    let orders = frame(TEXT, b"send");
    for _ in 0..10 {
        for client in &mut clients {
            client.send(&orders);
        }
        // Nobody sends anything before everybody was answered: nothing else wakes the shard.
        for client in &mut clients {
            assert_eq!(client.frame().payload.len(), 300_000);
        }
    }
}
