//! An open-loop WebSocket load generator.
//!
//! `args` is what was typed, `plan` what will be run. `conduct` starts one thread per CPU, each with
//! its own ring on `ringbolt::client`: a `worker`, which opens connections (`client`) and lets a
//! scenario (`echo`, `broadcast`, `idle`) send on them when `arrivals` says so, or a `storm`. What they write
//! on their `desk` (`record`) is merged into an `outcome`, and told as `text`, `document`, `csv`, `hgrm`
//! or `hlog`.

mod account;
mod args;
mod arrivals;
mod broadcast;
mod calibrate;
mod client;
mod command_line;
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
mod search;
mod seconds;
mod shape;
mod slow;
mod source;
mod stats;
mod storm;
mod target;
mod tell;
mod text;
mod times;
mod tls;
mod trace;
mod units;
#[path = "../../engine/src/bin/engine/variables.rs"]
mod variables;
mod worker;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use args::{CalibrateArgs, Command, Measure};
use control::Control;
use environment::{Busy, Files};
use failure::Failure;
use outcome::Outcome;
use plan::Plan;
use search::{Rate, Search};

fn main() -> ExitCode {
    let (cli, variables) = match command_line::parse() {
        Ok(parsed) => parsed,
        Err(failure) => {
            let words: Vec<_> = std::env::args_os().collect();
            let text = command_line::variables(&words).explain(&failure.to_string());
            return failed(&failure, &text);
        }
    };
    let done = match cli.command {
        Command::Measure(scenario) => measure(*scenario),
        Command::Compare(args) => compare::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Calibrate(args) => calibrated(&args),
        Command::Completions { shell } => {
            command_line::completions(shell).map(|()| ExitCode::SUCCESS)
        }
        Command::Man { folder } => command_line::manual(&folder).map(|()| ExitCode::SUCCESS),
        // What the file says has taken its place.
        Command::Run(_) => Ok(ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|failure| failed(&failure, &variables.explain(&failure.to_string())))
}

fn failed(failure: &Failure, text: &str) -> ExitCode {
    tell::complain(text);
    ExitCode::from(failure.exit_code())
}

fn calibrated(args: &CalibrateArgs) -> Result<ExitCode, Failure> {
    let signals = Signalled::default();
    signals.watch()?;
    calibrate::run(args, |plan| run(plan, &signals).map(|done| done.outcome))
}

/// A run that is over.
struct Done {
    plan: Arc<Plan>,
    outcome: Outcome,
    control: Arc<Control>,
    before: Busy,
    after: Busy,
}

fn measure(mut scenario: Measure) -> Result<ExitCode, Failure> {
    let signals = Signalled::default();
    signals.watch()?;
    let done = match scenario.rate() {
        Some(Rate::Highest(goal)) => {
            let search = Search::new(goal.clone());
            highest(&mut scenario, search, &signals)?
        }
        _ => run(Plan::new(scenario)?, &signals)?,
    };
    let Done { plan, mut outcome, control, before, after } = done;
    let traced = std::mem::take(&mut outcome.record.traced);
    tell::tell(&plan, &outcome, &before, &after)?;
    if let Some(path) = &plan.output.trace {
        tell::write(path, &trace::table(traced, control.clock))?;
    }
    let met = tell::goals(&plan, &outcome);
    let found = outcome.search.as_ref().is_none_or(|search| search.kept().is_some());
    Ok(ExitCode::from(match outcome {
        _ if outcome.interrupted => 130,
        _ if !met || !found => 99,
        _ if !outcome.is_good() => 1,
        _ => 0,
    }))
}

fn run(plan: Plan, signals: &Signalled) -> Result<Done, Failure> {
    preflight::check_outputs(&plan.output)?;
    let plan = Arc::new(plan);
    let control = Arc::new(Control::new(plan.threads.len()));
    signals.obey(&control);
    let files = Files::of_this_machine();
    for warning in preflight::warnings(&plan, &files) {
        tell::complain(&format!("warning: {warning}"));
    }
    let before = Busy::read(&files);
    let mut outcome = conduct::run(&plan, &control)?;
    outcome.floor = calibrate::find(plan.driver, plan.spin);
    let after = Busy::read(&files);
    Ok(Done { plan, outcome, control, before, after })
}

/// Runs at one rate after the other, and gives the run at the highest that keeps the goal; the last
/// one if none does.
fn highest(
    scenario: &mut Measure,
    mut search: Search,
    signals: &Signalled,
) -> Result<Done, Failure> {
    let mut best: Option<Done> = None;
    let mut interrupted = false;
    while let Some(rate) = search.next().filter(|_| !interrupted) {
        if let Some(asked) = scenario.rate() {
            *asked = Rate::Fixed(rate);
        }
        let plan = Plan::new(scenario.clone())?;
        search.check(&plan)?;
        let done = match run(plan, signals) {
            Ok(done) => done,
            // A server that fell over: the highest rate is one that it took before.
            Err(failure) if search.kept().is_some() => {
                tell::complain(&failure.to_string());
                search.failed(rate);
                break;
            }
            Err(failure) => return Err(failure),
        };
        interrupted = done.outcome.interrupted;
        if interrupted {
            best.get_or_insert(done);
            break;
        }
        if search.judge(rate, &done.plan, &done.outcome) || search.kept().is_none() {
            best = Some(done);
        }
    }
    let mut best = best.ok_or_else(|| {
        Failure::usage("cannot search", "there is no rate to try", "give a --rate")
    })?;
    best.outcome.search = Some(search);
    best.outcome.interrupted |= interrupted;
    Ok(best)
}

/// The run that a signal ends; none before the first begins.
#[derive(Debug, Clone, Default)]
struct Signalled(Arc<Mutex<Option<Arc<Control>>>>);

impl Signalled {
    /// From now on signals end this run. If the last one was ended so, this one is, too.
    fn obey(&self, control: &Arc<Control>) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = current.replace(Arc::clone(control));
        if last.is_some_and(|last| last.is_interrupted()) {
            control.interrupt();
        }
    }

    /// The first signal ends the run in order, the second at once.
    fn watch(&self) -> Result<(), Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|e| {
            Failure::preflight("cannot watch for signals", e.to_string(), "run it again")
        })?;
        let this = self.clone();
        let watch = move || {
            for _ in signals.forever() {
                let current = this.0.lock().unwrap_or_else(PoisonError::into_inner);
                match &*current {
                    Some(control) if !control.is_interrupted() => control.interrupt(),
                    _ => std::process::exit(130),
                }
            }
        };
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(watch).map(drop).map_err(|e| {
            Failure::preflight(
                "cannot start a thread",
                e.to_string(),
                "raise the limit `ulimit -u`",
            )
        })
    }
}
