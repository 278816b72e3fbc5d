//! Bad input by the ten thousand: nothing breaks, nothing stays, nobody else notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    BINARY, CLOSE, CONTINUATION, Client, MORE, PING, PONG, TEXT, config, echo, frame, request,
};

/// Streams of each kind.
const STREAMS: u64 = 10_000;
const THREADS: u64 = 4;

/// `RINGBOLT_SEED` replays a run.
pub(crate) fn seed() -> u64 {
    let chosen = std::env::var("RINGBOLT_SEED").ok().and_then(|text| text.parse().ok());
    chosen.unwrap_or_else(|| fastrand::u64(..))
}

/// Runs all streams of `generate` against an echo server, with healthy connections beside them.
#[expect(clippy::print_stdout, reason = "shown when the test fails")]
fn survive(generate: fn(&mut fastrand::Rng) -> Vec<u8>) {
    let seed = seed();
    println!("RINGBOLT_SEED={seed}");
    let server = echo(2, config());
    let address = server.address();
    let over = Arc::new(AtomicBool::new(false));
    let healthy: Vec<_> = (0..2).map(|_| beat(address, Arc::clone(&over))).collect();
    let attacks: Vec<_> = (0..THREADS)
        .map(|part| {
            thread::spawn(move || {
                for n in (part..STREAMS).step_by(THREADS as usize) {
                    let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(n));
                    let stream = generate(&mut rng);
                    let mut client = Client::raw(address);
                    client.try_send(&stream);
                    drop(client.stream.shutdown(std::net::Shutdown::Write));
                    while client.take(1).is_some() {}
                }
            })
        })
        .collect();
    for attack in attacks {
        attack.join().expect("the server ends every bad connection by itself");
    }
    over.store(true, Ordering::Relaxed);
    for heart in healthy {
        let (beats, longest) = heart.join().expect("a healthy connection lives on");
        assert!(beats > 50, "only {beats} echoes meanwhile");
        assert!(longest < Duration::from_secs(2), "an echo took {longest:?}");
    }
    let end = server.wait_for_nothing();
    assert_eq!(end.counters.accepted, STREAMS + 2, "{end}");
    assert_eq!(end.closed.iter().sum::<u64>(), STREAMS + 2, "each ends once: {end}");
    assert_eq!(end.ring.stale_completions, 0, "{end}");
    println!("{end}");
}

/// Echoes until it is over; how often, and the longest that one took.
fn beat(address: SocketAddr, over: Arc<AtomicBool>) -> thread::JoinHandle<(u64, Duration)> {
    thread::spawn(move || {
        let mut client = Client::connect(address, "/");
        let (mut beats, mut longest) = (0, Duration::ZERO);
        while !over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            client.expect_alive();
            longest = longest.max(begun.elapsed());
            beats += 1;
            thread::sleep(Duration::from_millis(1));
        }
        client.close();
        (beats, longest)
    })
}

/// Changes bytes here and there: flips, losses, insertions, cuts, repetitions.
fn spoil(bytes: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    for _ in 0..rng.u8(1..6) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.usize(..bytes.len());
        match rng.u8(..6) {
            0 => bytes[at] ^= 1 << rng.u8(..8),
            1 => bytes[at] = *rng.choice(b"\0\r\n :\x7f\xff\x80GET").expect("one"),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, rng.u8(..)),
            4 => bytes.truncate(at),
            _ => {
                let part = bytes[at..bytes.len().min(at + 40)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
}

/// Fewer than `max` bytes of anything.
fn noise(rng: &mut fastrand::Rng, max: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.usize(..max)];
    rng.fill(&mut bytes);
    bytes
}

fn bad_handshake(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = match rng.u8(..10) {
        0 => noise(rng, 3000),
        1 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        2 => {
            let line = format!("X-Long: {}\r\nUpgrade", "y".repeat(rng.usize(..20_000)));
            String::from_utf8(request("/")).expect("text").replacen("Upgrade", &line, 1).into()
        }
        3 => {
            let many = "X: y\r\n".repeat(rng.usize(..2000)) + "Upgrade";
            String::from_utf8(request("/")).expect("text").replacen("Upgrade", &many, 1).into()
        }
        _ => request("/a/resource?with=query"),
    };
    spoil(&mut bytes, rng);
    bytes
}

fn bad_frames(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.u8(1..8) {
        let first = rng
            .choice([TEXT, BINARY, PING, PONG, CLOSE, CONTINUATION, TEXT | MORE, BINARY | MORE])
            .expect("one");
        let len = match rng.u8(..4) {
            0 => rng.usize(..3),
            1 => rng.usize(..130),
            2 => rng.usize(..5000),
            _ => rng.usize(..40_000),
        };
        // Repeated, which is quicker than as many letters: a prime, so that they come out of step.
        let few: Vec<_> = std::iter::repeat_with(|| rng.alphanumeric() as u8).take(61).collect();
        let mut payload = few.repeat(len / few.len() + 1);
        payload.truncate(len);
        match rng.u8(..6) {
            0 => bytes.extend(noise(rng, 40)),
            1 => {
                // A header that announces what does not come.
                bytes.extend([first, 127]);
                bytes.extend((rng.u64(..) >> rng.u8(..64)).to_be_bytes());
            }
            _ => bytes.extend(frame(first, &payload)),
        }
    }
    spoil(&mut bytes, rng);
    [request("/"), bytes].concat()
}

#[test]
fn ten_thousand_bad_handshakes() {
    // covers: HS-S-06, CLOSE-04, SEC-01, SEC-03
    survive(bad_handshake);
}

#[test]
fn ten_thousand_bad_streams_of_frames() {
    // covers: SEC-01, SEC-03, SEC-06, FR-01
    survive(bad_frames);
}
