//! The tool's own floor: what it measures against a server that does nothing but send back.
//!
//! The null server is the engine's own echo, on a CPU of its own; it costs what a bare ring that echoes
//! bytes unread costs, to within some percent (`benches/METHODOLOGY.md`). What comes out is kept for
//! this machine, kernel, program, driver and spinning, and stands beside every result.

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::Resettable;
use clap::{CommandFactory as _, FromArgMatches as _};
use ringbolt::handshake::UpgradeRequest;
use ringbolt::{Accept, Handler, Message, Reject, Server, WebSocket};

use crate::base::failure::Failure;
use crate::base::{format, output};
use crate::cli::arguments::{CalibrateArgs, Cli, Command};
use crate::result::identity;
use crate::result::verdict::STARVED;
use crate::run::floor::{self, Floor};
use crate::run::job::Job;
use crate::run::outcome::Outcome;

/// Connections of the runs that are not about one.
const MANY: &str = "100";
/// Messages per second of the run on a schedule.
const RATE: &str = "5k";

/// Measures the floor and keeps it. `run` runs a plan.
pub(crate) fn run(
    args: &CalibrateArgs,
    mut run: impl FnMut(Job) -> Result<Outcome, Failure>,
) -> Result<ExitCode, Failure> {
    let server = Server::builder().shards(1).cpus(first_cpu()).start(|_| Null).map_err(|e| {
        let why = e.to_string().trim_end_matches('.').to_owned();
        Failure::preflight("cannot start the null server", why, "run where sockets are allowed")
    })?;
    let url = format!("ws://{}/", server.address());
    let mut measure = |more: &[&str]| {
        let outcome = run(job(&url, args, more)?)?;
        match outcome.is_good() && !outcome.stats.latency.is_empty() {
            _ if outcome.interrupted => Err(unfinished("it was interrupted")),
            true => Ok(outcome),
            false => Err(unfinished("a run of it had errors, or no messages")),
        }
    };
    let alone = measure(&["-c", "1"])?;
    let many = measure(&["-c", MANY])?;
    let paced = measure(&["-c", MANY, "-r", RATE])?;
    server.drain(Duration::from_secs(1));
    // Its end has no news for us.
    let _ = server.join();
    let waited_share =
        [&alone, &many, &paced].map(Outcome::starved).into_iter().fold(0.0, f64::max);
    let (alone, lag) = (&alone.stats.latency, &paced.stats.scheduling_delay);
    let floor = Floor {
        measured_utc: identity::utc(paced.when.ended),
        round_trip_p50_ns: alone.percentile(50.0),
        round_trip_p99_ns: alone.percentile(99.0),
        scheduling_delay_p50_ns: lag.percentile(50.0),
        scheduling_delay_p99_ns: lag.percentile(99.0),
        generator_cpu_ns_per_message: many.generator_nanos().unwrap_or(0.0),
        closed_loop_rate_per_s: many.rate(),
        waited_share,
    };
    floor::keep(args.driver, args.spin, &floor)?;
    output::print(&if args.json { floor::document(&floor) } else { summary(&floor) })?;
    if floor.waited_share > STARVED {
        output::complain(&format!(
            "warning: the generator waited for its CPU for {:.0} % of a run, because something else ran \
             there: the floor is higher than it need be. Calibrate again when the machine is quiet",
            floor.waited_share * 100.0
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn unfinished(why: &str) -> Failure {
    Failure::preflight("the calibration has no result", why, "run it again while nothing else runs")
}

/// The null server's CPU, where the generator can have another.
fn first_cpu() -> Option<usize> {
    let usable = core_affinity::get_core_ids().unwrap_or_default();
    usable.first().filter(|_| usable.len() > 1).map(|core| core.id)
}

/// A plan for the null server that nothing in the environment changes.
fn job(url: &str, args: &CalibrateArgs, more: &[&str]) -> Result<Job, Failure> {
    let (length, spin) = (nanos(args.duration), nanos(args.spin));
    let words = ["loadgen", "echo", url, "-t", "1", "-d", &length, "--spin", &spin];
    let rest = ["--warmup", "500ms", "--driver", args.driver.name()];
    let command = Cli::command()
        .mut_subcommand("echo", |echo| echo.mut_args(|arg| arg.env(Resettable::Reset)));
    let matches = command.get_matches_from([&words[..], &rest, more].concat());
    match Cli::from_arg_matches(&matches) {
        Ok(Cli { command: Command::Measure(scenario) }) => scenario.job(),
        _ => Err(unfinished("its own command line was refused")),
    }
}

fn nanos(time: Duration) -> String {
    format!("{}ns", time.as_nanos())
}

fn summary(floor: &Floor) -> String {
    let row = |name: &str, p50, p99| {
        format!("  {name:<12} {} at p50, {} at p99\n", format::time(p50), format::time(p99))
    };
    format!(
        "The floor of this generator, against a server that only sends messages back:\n\n{}{}  {:<12} {:.0} ns of \
         CPU per message, {} messages/s in a closed loop\n\nIt stands beside the results of this \
         machine from now on.\n",
        row("round trip", floor.round_trip_p50_ns, floor.round_trip_p99_ns),
        row("sent late", floor.scheduling_delay_p50_ns, floor.scheduling_delay_p99_ns),
        "generator",
        floor.generator_cpu_ns_per_message,
        format::count(floor.closed_loop_rate_per_s),
    )
}

/// Sends back, and nothing else.
struct Null;

impl Handler for Null {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        if ws.send(message).is_err() {
            ws.close();
        }
    }
}
