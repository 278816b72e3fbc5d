//! Runs the simulator: `cargo run --release --profile sim --features sim --example sim -- --seeds 1000`.
//!
//! ```text
//! sim [--seeds N] [--from S] [--jobs J] [--fault NAME]    runs N seeds from S on, on J threads
//! sim --seed S [--fault NAME] [--trace | --shrink]        runs one seed
//! sim --prove [--seeds N]                                 puts every fault back and looks for it
//! ```
//!
//! A seed that fails prints the command that runs it again, and the exit code is 1. What a seed is run
//! without: `--ops N`, `--absent BITS`, `--without BITS`; `--shrink` finds them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for a terminal")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use ringbolt::fault::Fault;
use ringbolt::sim::{self, Cuts, Outcome};

/// Seeds that a thread takes at a time.
const BATCH: u64 = 64;

struct Options {
    seeds: u64,
    from: u64,
    jobs: usize,
    fault: Fault,
    seed: Option<u64>,
    cuts: Cuts,
    trace: bool,
    shrink: bool,
    prove: bool,
    keep_going: bool,
}

fn options() -> Result<Options, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options {
        seeds: 1000,
        from: 0,
        jobs: cores,
        fault: Fault::None,
        seed: None,
        cuts: Cuts::default(),
        trace: false,
        shrink: false,
        prove: false,
        keep_going: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
        match argument.as_str() {
            "--seeds" => options.seeds = number(value()?)?,
            "--from" => options.from = number(value()?)?,
            "--jobs" => options.jobs = usize::try_from(number(value()?)?.max(1)).unwrap_or(1),
            "--seed" => options.seed = Some(number(value()?)?),
            "--fault" => options.fault = fault(&value()?)?,
            "--ops" => options.cuts.ops = usize::try_from(number(value()?)?).unwrap_or(usize::MAX),
            "--absent" => options.cuts.absent = number(value()?)?,
            "--without" => options.cuts.without = u32::try_from(number(value()?)?).unwrap_or(0),
            "--trace" => options.trace = true,
            "--shrink" => options.shrink = true,
            "--prove" => options.prove = true,
            "--keep-going" => options.keep_going = true,
            other => return Err(format!("no such option: {other}")),
        }
    }
    Ok(options)
}

fn fault(name: &str) -> Result<Fault, String> {
    let known = Fault::ALL.iter().find(|fault| format!("{fault:?}") == name);
    known.copied().ok_or_else(|| format!("no such fault: {name}; there are {:?}", Fault::ALL))
}

fn command(seed: u64, fault: Fault, cuts: &Cuts) -> String {
    let mut text = format!("scripts/sim --seed {seed}");
    if fault != Fault::None {
        text.push_str(&format!(" --fault {fault:?}"));
    }
    text + &cuts.options()
}

/// Runs a seed twice if it matters: it must come to the same.
fn run(seed: u64, options: &Options) -> Outcome {
    let outcome = sim::run(seed, options.fault, &options.cuts, false);
    if seed.is_multiple_of(16) {
        let again = sim::run(seed, options.fault, &options.cuts, false);
        if again != outcome {
            println!("seed {seed} came to something else the second time");
            std::process::exit(1);
        }
    }
    outcome
}

/// Runs seeds until one fails; says how many there were, and what failed.
fn search(options: &Options) -> (u64, Vec<(u64, Outcome)>, u64) {
    let (next, events, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let first = next.fetch_add(BATCH, Ordering::Relaxed);
                    if first >= options.seeds {
                        return;
                    }
                    for seed in first..(first + BATCH).min(options.seeds) {
                        let seed = options.from.wrapping_add(seed);
                        let outcome = run(seed, options);
                        events.fetch_add(outcome.events, Ordering::Relaxed);
                        if outcome.violation.is_some() {
                            if !options.keep_going {
                                over.store(true, Ordering::Relaxed);
                            }
                            found.lock().expect("nobody panics").push((seed, outcome));
                            if !options.keep_going {
                                break;
                            }
                        }
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().expect("nobody panics");
    found.sort_by_key(|(seed, _)| *seed);
    let ran = next.into_inner().min(options.seeds);
    (ran, found, events.into_inner())
}

fn prove(mut options: Options) -> ExitCode {
    let mut all = true;
    println!("| fault | seeds until found | seen as |");
    println!("|---|---:|---|");
    for fault in Fault::ALL {
        options.fault = *fault;
        let (ran, found, _) = search(&options);
        match found.first() {
            Some((seed, Outcome { violation: Some(violation), .. })) => {
                let until = seed - options.from + 1;
                println!("| `{fault:?}` | {until} | {violation} |");
            }
            _ => {
                println!("| `{fault:?}` | not within {ran} | |");
                all = false;
            }
        }
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, options: &Options) -> ExitCode {
    let (cuts, outcome) = if options.shrink {
        sim::shrink(seed, options.fault)
    } else {
        (options.cuts, sim::run(seed, options.fault, &options.cuts, options.trace))
    };
    print!("{}", outcome.trace);
    let Outcome { hash, events, turns, violation, .. } = outcome;
    println!("seed {seed}: hash {hash:016x}, {events} events, {turns} turns");
    let Some(violation) = violation else { return ExitCode::SUCCESS };
    println!("{violation}\nagain: {} --trace", command(seed, options.fault, &cuts));
    ExitCode::FAILURE
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(2);
        }
    };
    if !options.trace {
        std::panic::set_hook(Box::new(|_| {}));
    }
    if let Some(seed) = options.seed {
        return one(seed, &options);
    }
    if options.prove {
        return prove(options);
    }
    let began = Instant::now();
    let (ran, found, events) = search(&options);
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = ran as f64 / seconds;
    println!(
        "{ran} seeds from {} on {} threads in {seconds:.1} s: {rate:.0} a second, {events} events",
        options.from, options.jobs,
    );
    for (seed, outcome) in &found {
        let violation = outcome.violation.as_ref().map(ToString::to_string).unwrap_or_default();
        println!("seed {seed} fails: {violation}");
        println!("  again: {} --shrink", command(*seed, options.fault, &Cuts::default()));
    }
    if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
