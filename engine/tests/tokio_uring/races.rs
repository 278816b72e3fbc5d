//! Time-outs that come while bytes arrive.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::support::{BINARY, Client, PING, PONG, config, echo, frame, pattern, wait_until};
use crate::{alone, descriptors, seed};

/// Sends messages with pauses as long as it takes to be ended as idle, or longer, until the connection
/// ends, and checks that what came back is what was sent: nothing missing, nothing of another
/// connection. Says how many came back.
fn talk_until_ended(address: SocketAddr, seed: u64, longest: u64) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut client = Client::connect(address, "/");
    for n in 0..1000 {
        thread::sleep(Duration::from_millis(rng.u64(0..longest)));
        let bytes = pattern(rng.usize(1..if n % 5 == 0 { 200_000 } else { 3_000 }), rng.u64(..));
        if !client.try_send(&frame(BINARY, &bytes)) {
            return n;
        }
        let Some(back) = client.try_frame() else { return n };
        assert!(back.first == BINARY && back.payload == bytes, "seed {seed}: another message");
    }
    panic!("seed {seed}: the idle timeout never came");
}

#[test]
fn an_idle_timeout_races_with_what_arrives() {
    let _alone = alone();
    let seed = seed();
    let server = echo(
        2,
        config().with(|config| {
            config.idle_timeout = Duration::from_millis(60);
            config.ping_interval = Duration::ZERO;
            config.ring.small_buffers = 8;
        }),
    );
    let before = descriptors();
    let address = server.address();
    let talkers = (0..16).map(|n| {
        thread::spawn(move || {
            (0..6).map(|m| talk_until_ended(address, seed ^ (n * 100 + m), 600)).sum::<usize>()
        })
    });
    let talkers: Vec<_> = talkers.collect();
    let back: usize = talkers.into_iter().map(|one| one.join().expect("nothing is lost")).sum();
    assert!(back > 0, "no message ever came back");
    server.wait_for_nothing();
    wait_until(&format!("no socket is left (seed {seed})"), || descriptors() == before);
}

#[test]
fn pings_between_reads_lose_nothing() {
    let _alone = alone();
    let seed = seed();
    let server = echo(
        1,
        config().with(|config| {
            config.ping_interval = Duration::from_millis(100);
            config.idle_timeout = Duration::from_secs(20);
        }),
    );
    let address = server.address();
    let talkers = (0..8_u64).map(|n| {
        thread::spawn(move || {
            let mut rng = fastrand::Rng::with_seed(seed ^ n);
            let mut client = Client::connect(address, "/");
            let mut pings = 0;
            for _ in 0..15 {
                thread::sleep(Duration::from_millis(rng.u64(0..400)));
                let bytes = pattern(rng.usize(1..20_000), rng.u64(..));
                client.send(&frame(BINARY, &bytes));
                loop {
                    let back = client.frame();
                    if back.first == PING {
                        client.send(&frame(PONG, &back.payload));
                        pings += 1;
                        continue;
                    }
                    assert!(back.payload == bytes, "seed {seed}: another message");
                    break;
                }
            }
            pings
        })
    });
    let talkers: Vec<_> = talkers.collect();
    let pings: usize = talkers.into_iter().map(|one| one.join().expect("nothing is lost")).sum();
    assert!(pings > 0, "no ping came between");
    server.wait_for_nothing();
}

#[test]
fn the_smallest_queues_overflow_and_nothing_is_lost() {
    let _alone = alone();
    let server = echo(
        1,
        config().with(|config| {
            config.ring.submission_entries = 1;
            config.ring.completion_entries = 2;
            config.ring.small_buffers = 2;
            config.ring.large_buffers = 2;
        }),
    );
    let mut clients: Vec<_> = (0..300).map(|_| Client::connect(server.address(), "/")).collect();
    for round in 0..10_u64 {
        // All of them at once: far more completions than the queue holds.
        for (client, n) in clients.iter_mut().zip(0..) {
            client.send(&frame(BINARY, &pattern(if n % 50 == 0 { 9_000 } else { 64 }, round ^ n)));
        }
        for (client, n) in clients.iter_mut().zip(0..) {
            client.expect(BINARY, &pattern(if n % 50 == 0 { 9_000 } else { 64 }, round ^ n));
        }
    }
    drop(clients);
    let end = server.wait_for_nothing();
    assert!(end.ring.buffers_exhausted > 0, "{end}");
}
