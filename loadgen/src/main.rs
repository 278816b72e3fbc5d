//! An open-loop WebSocket load generator.
//!
//! `args` is what was typed, `plan` what will be run. `conduct` starts one thread per CPU, each with
//! its own ring on `ringbolt::client`: a `worker`, which opens connections (`client`) and lets a
//! scenario (`echo`, `broadcast`) send on them when `arrivals` says so, or a `storm`. What they write
//! on their `desk` (`record`) is merged into an `outcome`, and told as `text`, `json` or `hgrm`.

mod args;
mod arrivals;
mod broadcast;
mod client;
mod conduct;
mod control;
mod cost;
mod delivery;
mod desk;
mod echo;
mod environment;
mod failure;
mod hgrm;
mod json;
mod outcome;
mod pace;
mod payload;
mod plan;
mod progress;
mod record;
mod source;
mod storm;
mod target;
mod text;
mod trace;
mod units;
mod worker;

use std::fs;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use control::Control;
use failure::Failure;
use outcome::Outcome;
use plan::Plan;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    match measure(cli) {
        Ok(code) => code,
        Err(failure) => {
            complain(&failure.to_string());
            failure.exit_code()
        }
    }
}

fn measure(cli: args::Cli) -> Result<ExitCode, Failure> {
    let plan = Arc::new(Plan::new(cli.command)?);
    let control = Arc::new(Control::new(plan.threads.len()));
    watch_signals(&control)?;
    let mut outcome = conduct::run(&plan, &control)?;
    if let Some(path) = &plan.output.trace {
        let traced = std::mem::take(&mut outcome.record.traced);
        write(path, &trace::table(traced, control.clock))?;
    }
    tell(&plan, &outcome)?;
    Ok(ExitCode::from(match outcome {
        _ if outcome.interrupted => 130,
        _ if !outcome.is_good() => 1,
        _ => 0,
    }))
}

/// The first signal ends the run in order, the second at once.
fn watch_signals(control: &Arc<Control>) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|e| {
        Failure::preflight("cannot watch for signals", e.to_string(), "run it again")
    })?;
    let control = Arc::clone(control);
    let watch = move || {
        for _ in signals.forever() {
            if control.is_stopped() {
                std::process::exit(130);
            }
            control.stop();
        }
    };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(watch).map(drop).map_err(|e| {
        Failure::preflight("cannot start a thread", e.to_string(), "raise the limit `ulimit -u`")
    })
}

/// Prints the result, and writes the files that were asked for.
fn tell(plan: &Plan, outcome: &Outcome) -> Result<(), Failure> {
    let document = (plan.output.json || plan.output.file.is_some())
        .then(|| format!("{:#}\n", json::document(plan, outcome)));
    if let (Some(path), Some(document)) = (&plan.output.file, &document) {
        write(path, document)?;
    }
    if let Some(path) = &plan.output.hgrm {
        write(path, &hgrm::distribution(outcome.record.latency.histogram()))?;
    }
    let text = match document.filter(|_| plan.output.json) {
        Some(document) => document,
        None => text::summary(plan, outcome),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever read has gone, and wants no more of it.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::preflight(
            "cannot print the result",
            e.to_string(),
            "send it where there is room, or write it to a file with -o",
        )),
        _ => Ok(()),
    }
}

fn write(path: &std::path::Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|e| {
        Failure::preflight(
            format!("cannot write {}", path.display()),
            e.to_string(),
            "give a file in a directory that exists and can be written to",
        )
    })
}

fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "loadgen: {text}"));
}
