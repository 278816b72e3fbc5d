//! Whether the times are true: against a server of known delay, which shares no code with the
//! generator but the opening handshake, and notes when each message came and when it was answered.
//!
//! All assertions hold however busy the machine is: they are bounds that the server's own clock
//! gives, and what follows from them by counting.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use ringbolt::handshake::{self, HeadLimits, ServerHandshake, ServerPolicy};
use ringbolt::monotonic_nanos;
use serde_json::Value;

use crate::{document, number};

const MS: u64 = 1_000_000;

/// When a server answers a message that came at this time.
type AnswerAt = fn(u64) -> u64;

/// What a server saw of a message.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Connection and message, as the payload says.
    name: (u32, u32),
    received: u64,
    answered: u64,
}

/// Serves so many connections, and gives what it saw of every message when all have ended.
fn serve(connections: usize, answer_at: AnswerAt) -> (String, mpsc::Receiver<Vec<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for _ in 0..connections {
            let (stream, _) = listener.accept().expect("a client");
            let sender = sender.clone();
            std::thread::spawn(move || sender.send(converse(stream, answer_at)));
        }
    });
    (url, receiver)
}

fn converse(mut stream: TcpStream, answer_at: AnswerAt) -> Vec<Seen> {
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    upgrade(&mut stream);
    let mut writer = stream.try_clone().expect("a second handle");
    let (sender, due) = mpsc::channel::<(u64, Vec<u8>)>();
    let answering = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for (received, payload) in due {
            let at = answer_at(received);
            while let left @ 1.. = at.saturating_sub(monotonic_nanos()) {
                std::thread::sleep(Duration::from_nanos(left));
            }
            let name = (read_number(&payload[8..16]), read_number(&payload[..8]));
            let answered = monotonic_nanos();
            let length = u8::try_from(payload.len()).expect("a short message");
            let frame = [&[0x82, length], &payload[..]].concat();
            writer.write_all(&frame).expect("room");
            seen.push(Seen { name, received, answered });
        }
        seen
    });
    loop {
        let (opcode, payload) = read_frame(&mut stream);
        if opcode == 8 {
            let frame =
                [&[0x88, u8::try_from(payload.len()).expect("short")], &payload[..]].concat();
            drop(sender);
            let seen = answering.join().expect("answered");
            stream.write_all(&frame).expect("room for the Close");
            return seen;
        }
        sender.send((monotonic_nanos(), payload)).expect("somebody answers");
    }
}

/// Reads a request and answers it.
pub(crate) fn upgrade(stream: &mut TcpStream) {
    let (mut received, mut reader, mut out) = (Vec::new(), ServerHandshake::new(), Vec::new());
    while out.is_empty() {
        let mut part = [0; 1024];
        let n = stream.read(&mut part).expect("a request");
        assert!(n > 0, "the client went away in its request");
        received.extend_from_slice(&part[..n]);
        if let Some(request) = reader.read(&HeadLimits::default(), &received).expect("a request") {
            let none: &[(&str, &str)] = &[];
            handshake::accept(&request, &ServerPolicy::new(), None, none, &mut out).expect("taken");
        }
    }
    stream.write_all(&out).expect("room for the answer");
}

/// A masked frame of RFC 6455 with less than 126 bytes: opcode and payload.
fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 6];
    stream.read_exact(&mut head).expect("a frame");
    assert!(head[1] > 0x80 && head[1] < 0x80 + 126, "a short frame with a mask");
    let mut payload = vec![0; usize::from(head[1] - 0x80)];
    stream.read_exact(&mut payload).expect("a whole frame");
    for (byte, mask) in payload.iter_mut().zip(head[2..].iter().cycle()) {
        *byte ^= mask;
    }
    (head[0] & 15, payload)
}

/// A number of a payload: eight digits from `@` to `O`, the least significant first.
fn read_number(digits: &[u8]) -> u32 {
    digits.iter().rev().fold(0, |number, digit| number << 4 | u32::from(digit - b'@'))
}

/// A message as the generator tells of it.
#[derive(Debug, Clone, Copy)]
struct Told {
    name: (u32, u32),
    due: u64,
    sent: u64,
    answered: u64,
}

/// Runs the generator, and gives what it told of every message and its document.
fn run(name: &str, arguments: &[&str]) -> (Vec<Told>, Value) {
    let file = format!("loadgen-trace-{name}-{}.csv", std::process::id());
    let path: PathBuf = std::env::temp_dir().join(file);
    let trace = ["--trace", path.to_str().expect("UTF-8"), "--ws-version", "rfc6455", "-t", "1"];
    let (code, document) = document(&[arguments, &trace].concat());
    assert_eq!(code, 0, "{document:#}");
    let text = std::fs::read_to_string(&path).expect("written");
    std::fs::remove_file(&path).expect("removed");
    let told = text.lines().skip(1).map(|line| {
        let mut fields = line.split(',').map(|field| field.parse::<u64>().expect("a number"));
        let mut next = || fields.next().expect("five fields");
        let small = |number: u64| u32::try_from(number).expect("32 bits");
        let name = (small(next()), small(next()));
        Told { name, due: next(), sent: next(), answered: next() }
    });
    (told.collect(), document)
}

/// Finds each message of the generator among those that the server saw; the order of times must be
/// that of causes.
fn matched(told: &[Told], seen: &[Seen]) -> Vec<(Told, Seen)> {
    // The run's clock is set by two others, read one after the other.
    const SLACK: u64 = 100_000;
    let by_name: HashMap<_, _> = seen.iter().map(|seen| (seen.name, *seen)).collect();
    assert_eq!(by_name.len(), seen.len(), "every message has a name of its own");
    let pair = |told: &Told| {
        let seen = *by_name.get(&told.name).unwrap_or_else(|| panic!("{told:?} was not received"));
        assert!(told.due <= told.sent, "{told:?}");
        assert!(told.sent <= seen.received + SLACK, "{told:?} {seen:?}");
        assert!(seen.received <= seen.answered, "{seen:?}");
        assert!(seen.answered <= told.answered + SLACK, "{told:?} {seen:?}");
        (*told, seen)
    };
    told.iter().map(pair).collect()
}

/// The figures of a histogram in the document must be those of the messages, to three digits.
fn check_figures(figures: &Value, mut times: Vec<u64>) {
    times.sort_unstable();
    let count = times.len();
    assert_eq!(figures["count"], count);
    let near = |key: &str, exact: u64| {
        let is = number(&figures[key]);
        let off = (is - exact as f64).abs();
        assert!(off <= exact as f64 / 1000.0 + 1.0, "{key} is {is}, not {exact}");
    };
    near("min_ns", times[0].max(1));
    near("max_ns", times[count - 1]);
    for (key, percent) in [("p50_ns", 50), ("p90_ns", 90), ("p99_ns", 99)] {
        near(key, times[(count * percent).div_ceil(100) - 1]);
    }
}

fn check_schedule(told: &[Told], rate: u64) {
    let first = told[0].due;
    for (k, told) in told.iter().enumerate() {
        let exact = first + k as u64 * 1_000_000_000 / rate;
        assert!(told.due.abs_diff(exact) <= 1, "message {k} was due at {}, not {exact}", told.due);
    }
}

#[test]
fn a_constant_delay_comes_out_as_it_is() {
    const DELAY: u64 = 30 * MS;
    let (url, seen) = serve(4, |received| received + DELAY);
    let (told, document) =
        run("constant", &["echo", &url, "-c", "4", "-r", "400", "-d", "1s", "--warmup", "100ms"]);
    let seen: Vec<Seen> = (0..4).flat_map(|_| seen.recv().expect("a connection")).collect();
    assert_eq!((told.len(), seen.len()), (400, 440), "a second, and the warm-up before it");
    check_schedule(&told, 400);
    let pairs = matched(&told, &seen);
    for (told, _) in &pairs {
        assert!(told.answered - told.sent + 100_000 >= DELAY, "{told:?}");
    }
    let outcome = &document["outcome"];
    let figures = |of: fn(&Told) -> u64| told.iter().map(of).collect::<Vec<_>>();
    check_figures(&outcome["latency"], figures(|told| told.answered - told.due));
    check_figures(&outcome["service"], figures(|told| told.answered - told.sent));
    check_figures(&document["trust"]["scheduling_delay"], figures(|told| told.sent - told.due));
    assert_eq!(outcome["warmup_latency"]["count"], 40);
    assert!(number(&outcome["warmup_latency"]["min_ns"]) >= (DELAY - 200_000) as f64);
}

/// The server is frozen for the first 100 ms of each second.
const FREEZE: u64 = 100 * MS;
const SECOND: u64 = 1000 * MS;

fn is_frozen(time: u64) -> bool {
    time % SECOND < FREEZE
}

fn thaw(time: u64) -> u64 {
    if is_frozen(time) { time - time % SECOND + FREEZE } else { time }
}

#[test]
fn a_freeze_counts_for_everybody_who_came_in_it() {
    // Time passes while a message waits for its turn; only then the server looks at the clock.
    let (url, seen) = serve(1, |_| thaw(monotonic_nanos()));
    let (told, document) = run(
        "freeze",
        &["echo", &url, "-c", "1", "-r", "1000", "--depth", "1", "-d", "2s", "--warmup", "100ms"],
    );
    let seen = seen.recv().expect("a connection");
    assert_eq!((told.len(), seen.len()), (2000, 2100));
    check_schedule(&told, 1000);
    matched(&told, &seen);
    // Two seconds hold two whole freezes, wherever they begin: 200 messages are due in them.
    let frozen: Vec<&Told> = told.iter().filter(|told| is_frozen(told.due)).collect();
    assert!((199..=202).contains(&frozen.len()), "{}", frozen.len());
    for told in &frozen {
        assert!(told.answered + 100_000 >= thaw(told.due), "{told:?} before the thaw");
    }
    let figures = |of: fn(&Told) -> u64| told.iter().map(of).collect::<Vec<_>>();
    let outcome = &document["outcome"];
    check_figures(&outcome["latency"], figures(|told| told.answered - told.due));
    check_figures(&outcome["service"], figures(|told| told.answered - told.sent));
    // Corrected: whoever came in the first 60 ms of a freeze waited for 40 ms or more: 120 of 2,000
    // messages, so that the 95th percentile, which 100 are above, is more than that.
    let corrected = percentile(&told, 95, |told| told.answered - told.due);
    assert!(corrected >= 39 * MS, "{corrected}");
    // Uncorrected: one message is in flight at a time, so that in less than 4 s fewer than 100 of them
    // can have taken 40 ms each, however slow this machine is.
    let lasted = told.iter().map(|told| told.answered).max().expect("some") - told[0].due;
    if lasted < 4 * SECOND {
        let uncorrected = percentile(&told, 95, |told| told.answered - told.sent);
        assert!(uncorrected < 40 * MS, "{uncorrected}");
    }
    assert!(number(&outcome["waited_for_room"]) >= 100.0, "{document:#}");
}

fn percentile(told: &[Told], percent: usize, of: fn(&Told) -> u64) -> u64 {
    let mut times: Vec<u64> = told.iter().map(of).collect();
    times.sort_unstable();
    times[(times.len() * percent).div_ceil(100) - 1]
}

#[test]
fn a_poisson_schedule_comes_again_and_its_stages_apart() {
    let dues = |name: &str, seed: &str| {
        let (url, seen) = serve(2, |received| received);
        let stages = ["--stage", "300ms:200..600", "--stage", "200ms:1k"];
        let arguments =
            ["echo", &url, "-c", "2", "--arrival", "poisson", "--seed", seed, "--warmup", "50ms"];
        let (told, document) = run(name, &[&arguments[..], &stages].concat());
        let seen: Vec<Seen> = (0..2).flat_map(|_| seen.recv().expect("a connection")).collect();
        matched(&told, &seen);
        assert_eq!(document["outcome"]["offered"], told.len(), "what was offered was sent");
        let stages: Vec<f64> = (0..2)
            .map(|stage| number(&document["outcome"]["stages"][stage]["latency"]["count"]))
            .collect();
        assert_eq!(stages.iter().sum::<f64>(), told.len() as f64);
        assert!(stages.iter().all(|count| (60.0..400.0).contains(count)), "{stages:?}");
        told.iter().map(|one| one.due - told[0].due).collect::<Vec<_>>()
    };
    let first = dues("poisson-a", "5");
    let again = dues("poisson-b", "5");
    assert_eq!(first.len(), again.len());
    assert!(first.iter().zip(&again).all(|(a, b)| a.abs_diff(*b) <= 1), "one plan, twice");
    assert_ne!(first, dues("poisson-c", "6"));
}
