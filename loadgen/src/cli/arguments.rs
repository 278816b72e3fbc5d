//! The command line, as it was typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use ringbolt::Driver;

use crate::base::units;
use crate::present::arguments::{self as results, CompareArgs, MergeArgs, ReportArgs};
use crate::run::scenario::Measure;
use crate::spec::options::help;

/// Measures WebSocket servers: open or closed loop, HDR latency histograms, every reply checked.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, about, after_help = EXAMPLES, after_long_help = TEACHING)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Measure(Box<Measure>),
    /// Tell whether new runs are better or worse than base ones, or no different
    #[command(after_help = results::COMPARE_EXAMPLES)]
    Compare(CompareArgs),
    /// Show runs as one HTML page: percentiles, time series, errors, environment
    #[command(after_help = results::REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Make one result of runs that drove one server at the same time, from several processes or
    /// hosts
    #[command(after_help = results::MERGE_EXAMPLES)]
    Merge(MergeArgs),
    /// Run what a plan file says
    #[command(after_help = help::PLAN)]
    Run(RunArgs),
    /// Measure the tool's own floor against a built-in server that does nothing
    #[command(after_help = help::CALIBRATE)]
    Calibrate(CalibrateArgs),
    /// Print completions for a shell: bash, elvish, fish, powershell or zsh
    Completions {
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Write the manual pages into a folder
    Man {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// What the floor is measured with.
#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// How long each of the three runs is
    #[arg(short, long, value_name = "TIME", default_value = "3s", value_parser = units::span)]
    pub(crate) duration: Duration,
    /// Driver of the generator; the floor applies to runs on the same driver
    #[arg(long, env = "LOADGEN_DRIVER", value_name = "DRIVER", default_value = "auto")]
    pub(crate) driver: Driver,
    /// How long the generator looks for replies before sleeping; the floor applies to runs that spin
    /// as long
    #[arg(long, env = "LOADGEN_SPIN", value_name = "TIME", default_value = "0",
          value_parser = units::duration)]
    pub(crate) spin: Duration,
    /// Print the floor as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A plan that is kept in a file.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The file: TOML whose keys are `scenario`, `url` and the long options of the scenario
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Options of the scenario; they take precedence over the file
    #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) options: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  loadgen echo ws://127.0.0.1:9000/ -c 1000 -d 10s
  loadgen echo ws://127.0.0.1:9000/ -c 1000 -d 30s -r 50k --pid $(pidof engine)
  loadgen broadcast ws://127.0.0.1:9000/room -c 1000
  loadgen storm ws://127.0.0.1:9000/ -c 100
  loadgen echo wss://localhost:9443/ --cacert authority.pem -c 1000

`loadgen --help` explains what the numbers mean.";

const TEACHING: &str = "\
Closed and open loop:
  Without --rate each connection sends its next message when the last reply has arrived (--depth
  keeps several in flight). That finds the highest throughput; but while the server stalls, the
  generator waits with it, so that a stall of a second counts as one slow message.
  With --rate messages are sent on a schedule that is fixed before the run. Latency counts from
  the time when a message was due, whether or not it could be sent then: what users would see.
  Service time, from the actual send, stands beside it; the two differ when something queued.
  '-r @p99<5ms' finds the highest rate that meets a goal, in runs of --duration each.
  --stage changes the rate, and --arrival poisson makes the intervals random; --seed repeats both.

What to trust:
  Every reply is compared byte for byte with what was sent. With any error the exit code is 1.
  The summary says when the generator, not the server, was the limit. It then has no headline: the
  server takes at least the measured rate. It has none either when more than 1 % of what was
  attempted went wrong.

Exit codes:
  0 good, 1 errors during the run, 2 wrong usage, 3 this machine cannot run it,
  69 server unreachable, 78 wrong plan file, 99 a --fail-if holds or no rate meets the goal,
  130 interrupted (the result is still written);
  if several apply, the last one in this list counts

Every long option of a scenario can be given in the environment: LOADGEN_RATE=50k is --rate 50k.
So can --driver and --spin of `calibrate`. compare, report and merge read nothing from there.

Examples:
  loadgen echo ws://127.0.0.1:9000/ -c 1000 -d 10s
  loadgen echo ws://127.0.0.1:9000/ -c 1000 -d 30s -r 50k --pid $(pidof engine)
  loadgen echo ws://127.0.0.1:9000/ -c 100k --ramp 20s -r 10k -p 1KiB --json -o run.json";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::Cli;

    #[test]
    fn every_option_of_a_scenario_has_its_variable() {
        let mut others = Vec::new();
        for command in Cli::command().get_subcommands() {
            let is_scenario = command.get_arguments().any(|arg| arg.get_id() == "plan");
            for arg in command.get_arguments() {
                let Some(flag) = arg.get_long().filter(|flag| *flag != "help") else { continue };
                let variable = format!("LOADGEN_{}", flag.replace('-', "_").to_uppercase());
                let set = arg.get_env().and_then(|name| name.to_str());
                let named = format!("--{flag} of {}", command.get_name());
                if is_scenario || set.is_some() {
                    assert_eq!(set, Some(&*variable), "{named}");
                }
                if !is_scenario && set.is_some() {
                    others.push(named);
                }
            }
        }
        assert_eq!(others, ["--driver of calibrate", "--spin of calibrate"], "as --help says");
    }

    /// The words of a command, as a shell takes them apart; quotes are around whole words.
    fn words(command: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (number, text) in command.split('\'').enumerate() {
            if number % 2 == 1 {
                words.push(text.to_owned());
            } else {
                words.extend(text.split_whitespace().map(str::to_owned));
            }
        }
        words
    }

    #[test]
    fn every_example_is_accepted() {
        let root = Cli::command();
        let commands = std::iter::once(&root).chain(root.get_subcommands());
        let texts = commands.flat_map(|one| [one.get_after_help(), one.get_after_long_help()]);
        let text: String = texts.flatten().map(|text| format!("{text}\n")).collect();
        let mut seen = 0;
        for line in text.lines().filter(|line| line.starts_with("  loadgen ")) {
            // What it does stands behind a gap.
            let typed = line.trim_start().split("  ").next().unwrap_or_default();
            let typed = typed.replace("$(pidof engine)", "1");
            for command in typed.split(['&', ';']).filter(|part| part.contains("loadgen ")) {
                if let Err(error) = Cli::try_parse_from(words(command)) {
                    panic!("{line}: {error}");
                }
                seen += 1;
            }
        }
        assert!(seen > 20, "only {seen} examples found");
    }
}
