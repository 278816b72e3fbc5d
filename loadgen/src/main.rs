//! An open-loop WebSocket load generator.
//!
//! Its layers, from the lowest to the highest: `base`, which everything stands on; `spec`, what may be
//! asked for; `plan`, what exactly will be run; `run`, the threads that run it and what they measure;
//! `result`, what that comes to; `present`, what is read; `cli`, what was typed. No module names one
//! above it (`engine/tests/tidy`).

mod base;
mod calibrate;
mod cli;
mod plan;
mod present;
mod result;
mod run;
mod spec;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use base::failure::Failure;
use base::files::Files;
use base::output;
use cli::arguments::{CalibrateArgs, Command};
use cli::words;
use present::{compare, merge, report, results, trace};
use result::environment::Busy;
use result::search::Search;
use run::control::Control;
use run::job::Job;
use run::outcome::Outcome;
use run::scenario::Measure;
use run::{preflight, runner};
use spec::rate::Rate;

fn main() -> ExitCode {
    let (cli, variables) = match words::parse() {
        Ok(parsed) => parsed,
        Err(failure) => {
            let typed: Vec<_> = std::env::args_os().collect();
            let text = words::variables(&typed).explain(&failure.to_string());
            return failed(&failure, &text);
        }
    };
    let done = match cli.command {
        Command::Measure(scenario) => measure(*scenario),
        Command::Compare(args) => compare::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Calibrate(args) => calibrated(&args),
        Command::Completions { shell } => words::completions(shell).map(|()| ExitCode::SUCCESS),
        Command::Man { folder } => words::manual(&folder).map(|()| ExitCode::SUCCESS),
        // What the file says has taken its place.
        Command::Run(_) => Ok(ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|failure| failed(&failure, &variables.explain(&failure.to_string())))
}

fn failed(failure: &Failure, text: &str) -> ExitCode {
    output::complain(text);
    ExitCode::from(failure.exit_code())
}

fn calibrated(args: &CalibrateArgs) -> Result<ExitCode, Failure> {
    let signals = Signalled::default();
    signals.watch()?;
    calibrate::run(args, |job| run(job, &signals).map(|done| done.outcome))
}

/// A run that is over.
struct Done {
    job: Job,
    outcome: Outcome,
    /// The search that the run is the best of.
    search: Option<Search>,
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
        _ => run(scenario.job()?, &signals)?,
    };
    let Done { job, mut outcome, search, control, before, after } = done;
    let traced = std::mem::take(&mut outcome.stats.traced);
    results::write_all(&job, &outcome, search.as_ref(), &before, &after)?;
    if let Some(path) = &job.plan.output.trace {
        output::write(path, &trace::table(traced, control.clock))?;
    }
    let met = results::goals(&job.plan, &outcome);
    let found = search.as_ref().is_none_or(|search| search.kept().is_some());
    Ok(ExitCode::from(match outcome {
        _ if outcome.interrupted => 130,
        _ if !met || !found => 99,
        _ if !outcome.is_good() => 1,
        _ => 0,
    }))
}

fn run(job: Job, signals: &Signalled) -> Result<Done, Failure> {
    let plan = &job.plan;
    preflight::check_outputs(&plan.output)?;
    let control = Arc::new(Control::new(plan.threads.len()));
    signals.obey(&control);
    let files = Files::of_this_machine();
    for warning in preflight::warnings(plan, &files) {
        output::complain(&format!("warning: {warning}"));
    }
    let before = Busy::read(&files);
    let outcome = runner::run(&job, &control)?;
    let after = Busy::read(&files);
    Ok(Done { job, outcome, search: None, control, before, after })
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
        let job = scenario.clone().job()?;
        search.check(&job.plan)?;
        let done = match run(job, signals) {
            Ok(done) => done,
            // A server that fell over: the highest rate is one that it took before.
            Err(failure) if search.kept().is_some() => {
                output::complain(&failure.to_string());
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
        if search.judge(rate, &done.job.plan, &done.outcome) || search.kept().is_none() {
            best = Some(done);
        }
    }
    let mut best = best.ok_or_else(|| {
        Failure::usage("cannot search", "there is no rate to try", "give a --rate")
    })?;
    best.search = Some(search);
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
