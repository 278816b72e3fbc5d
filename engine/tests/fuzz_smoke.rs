//! A bounded, seeded run of every fuzz target: what a change breaks at the first glance is found
//! with every test run, without a fuzzer. `RINGBOLT_FUZZ_RUNS` sets the inputs per target,
//! `RINGBOLT_FUZZ_SEED` repeats a run, `RINGBOLT_FUZZ_TARGET` runs one target only.

#[path = "../fuzz/targets.rs"]
#[expect(unreachable_pub, reason = "the file is the fuzz crate's library too")]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use fastrand::Rng;
use targets::{TARGETS, Target};

/// Inputs per target, unless the environment says otherwise.
const RUNS: u64 = 10_000;
/// Bytes of an input.
const INPUT_MAX: usize = 4096;

/// What the grammars are made of; pure noise seldom gets past the first byte.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b": ",
    b":",
    b" ",
    b"  ",
    b"/",
    b"?",
    b"#",
    b"%",
    b"[",
    b"]",
    b"@",
    b"\0",
    b"\x7e",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"GET ",
    b"HTTP/1.1",
    b"101",
    b"WebSocket",
    b"Upgrade",
    b"Connection: Upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b"Host: A.b:81\r\n",
    b"Origin: null\r\n",
    b"Sec-WebSocket-Draft: 3\r\n",
    b"Sec-WebSocket-Key1: 1 2\r\n",
    b"Sec-WebSocket-Protocol: a, b\r\n",
    b"Cookie: a=b\r\n",
    b"ws://",
    b"wss://",
    b"xn--",
    b"\xc3\xbc",
    b"\xe6\xbc\xa2",
    b"%00",
    b"..",
    b":65536",
    b"4294967296",
];

#[test]
fn targets_survive_mutated_inputs() {
    let runs = number("RINGBOLT_FUZZ_RUNS").unwrap_or(RUNS);
    let seed = number("RINGBOLT_FUZZ_SEED").unwrap_or_else(|| Rng::new().get_seed());
    let only = std::env::var("RINGBOLT_FUZZ_TARGET").ok();
    println!("RINGBOLT_FUZZ_SEED={seed} RINGBOLT_FUZZ_RUNS={runs}");
    let is_wanted = |target: &&Target| only.as_ref().is_none_or(|only| only == target.name);
    let targets: Vec<_> = TARGETS.iter().filter(is_wanted).collect();
    assert!(!targets.is_empty(), "no target is called {only:?}");
    std::thread::scope(|scope| {
        for target in targets {
            scope.spawn(move || println!("{}", smoke(target, runs, seed)));
        }
    });
}

#[test]
fn targets_and_fuzz_crate_agree() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/fuzz_targets");
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/Cargo.toml"));
    let manifest = manifest.expect("the fuzz crate's manifest");
    for target in TARGETS {
        let text = std::fs::read_to_string(format!("{folder}/{}.rs", target.name));
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", target.name));
        assert!(text.contains(&format!("ringbolt_fuzz::{}(data)", target.name)), "{}", target.name);
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
    }
    let files = std::fs::read_dir(folder).expect("the folder of targets").count();
    assert_eq!(files, TARGETS.len(), "a target that the bounded run does not know");
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is no number")))
}

/// Runs a target on its seeds, those of its own and those that are kept, and on `runs` mutations of them; says
/// how fast that went.
fn smoke(target: &Target, runs: u64, seed: u64) -> String {
    let runs = runs / target.cost;
    let seeds = [(target.seeds)(), kept(target)].concat();
    let mut rng = Rng::with_seed(seed);
    let mutated = (0..runs).map(|_| mutate(&seeds, &mut rng));
    let began = Instant::now();
    for input in seeds.iter().cloned().chain(mutated) {
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        if outcome.is_err() {
            let text = input.escape_ascii();
            panic!("target {}, RINGBOLT_FUZZ_SEED={seed}, input b\"{text}\"", target.name);
        }
    }
    let executions = runs + seeds.len() as u64;
    let rate = executions as f64 / began.elapsed().as_secs_f64();
    format!("{:<8} {executions} executions, {rate:.0}/s", target.name)
}

/// The inputs in the target's folder of seeds.
fn kept(target: &Target) -> Vec<Vec<u8>> {
    let folder = format!("{}/fuzz/seeds/{}", env!("CARGO_MANIFEST_DIR"), target.name);
    let Ok(files) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut files: Vec<_> = files.map(|file| file.expect("a readable folder").path()).collect();
    // The same run for the same seed, on any machine.
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a readable file")).collect()
}

/// One of the seeds after a few random changes.
fn mutate(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = rng.choice(seeds).cloned().unwrap_or_default();
    // Few changes keep the input close to legal; sometimes many.
    let most = rng.usize(1..9);
    for _ in 0..=rng.usize(..most) {
        let at = rng.usize(..=input.len());
        let end = (at + rng.usize(..8)).min(input.len());
        match rng.u8(..7) {
            0 if at < input.len() => input[at] ^= 1 << rng.u8(..8),
            1 if at < input.len() => input[at] = rng.u8(..),
            2 => {
                drop(input.splice(at..at, rng.choice(WORDS).copied().unwrap_or_default().to_vec()))
            }
            3 => {
                drop(input.splice(at..end, rng.choice(WORDS).copied().unwrap_or_default().to_vec()))
            }
            4 => drop(input.drain(at..end)),
            5 => input.truncate(at),
            6 => {
                let other = rng.choice(seeds).map_or(&[][..], |other| {
                    let from = rng.usize(..=other.len());
                    &other[from..]
                });
                input.truncate(at);
                input.extend_from_slice(other);
            }
            _ => {}
        }
        input.truncate(INPUT_MAX);
    }
    input
}
