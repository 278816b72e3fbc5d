//! An open-loop WebSocket load generator.
//!
//! `args` is what was typed, `plan` what will be run. `conduct` starts one thread per CPU, each with
//! its own ring on `ringbolt::client`: a `worker`, which opens connections (`client`) and lets a
//! scenario (`echo`, `broadcast`, `idle`) send on them when `arrivals` says so, or a `storm`. What they write
//! on their `desk` (`record`) is merged into an `outcome`, and told as `text`, `document`, `csv`, `hgrm`
//! or `hlog`.

mod args;
mod arrivals;
mod broadcast;
mod client;
mod compare;
mod conduct;
mod control;
mod cost;
mod csv;
mod delivery;
mod desk;
mod document;
mod echo;
mod environment;
mod failure;
mod goal;
mod hgrm;
mod hlog;
mod idle;
mod lifetime;
mod memory;
mod merge;
mod outcome;
mod pace;
mod payload;
mod plan;
mod preflight;
mod progress;
mod record;
mod report;
mod seconds;
mod slow;
mod source;
mod stats;
mod storm;
mod target;
mod tell;
mod text;
mod tls;
mod trace;
mod units;
mod worker;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use args::Command;
use control::Control;
use environment::{Busy, Files};
use failure::Failure;
use plan::Plan;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let done = match cli.command {
        Command::Measure(scenario) => measure(*scenario),
        Command::Compare(args) => compare::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Merge(args) => merge::run(&args),
    };
    done.unwrap_or_else(|failure| {
        tell::complain(&failure.to_string());
        failure.exit_code()
    })
}

fn measure(scenario: args::Measure) -> Result<ExitCode, Failure> {
    let plan = Arc::new(Plan::new(scenario)?);
    let control = Arc::new(Control::new(plan.threads.len()));
    watch_signals(&control)?;
    let files = Files::of_this_machine();
    let before = Busy::read(&files);
    let mut outcome = conduct::run(&plan, &control)?;
    let after = Busy::read(&files);
    if let Some(path) = &plan.output.trace {
        let traced = std::mem::take(&mut outcome.record.traced);
        tell::write(path, &trace::table(traced, control.clock))?;
    }
    tell::tell(&plan, &outcome, &before, &after)?;
    let met = tell::goals(&plan, &outcome);
    Ok(ExitCode::from(match outcome {
        _ if outcome.interrupted => 130,
        _ if !met => 99,
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
