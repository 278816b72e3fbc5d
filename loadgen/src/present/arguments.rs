//! What is typed to work on results: compare, report and merge.

use std::path::PathBuf;

use clap::Args;

use crate::base::units;
use crate::present::metric::{self, Metric};

/// Runs that were made at the same time.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Results written by -o or --out
    #[arg(value_name = "RUN", required = true, num_args = 1..)]
    pub(crate) runs: Vec<PathBuf>,
    /// Refuse runs that share less than this part of their time
    #[arg(long, value_name = "PERCENT", default_value = "90%", value_parser = units::percent)]
    pub(crate) min_overlap: f64,
    /// Write the document to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Runs to look at.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Results written by -o or --out
    #[arg(value_name = "RUN", required = true, num_args = 1..)]
    pub(crate) runs: Vec<PathBuf>,
    /// The page's title
    #[arg(long, value_name = "TEXT", default_value = "loadgen report")]
    pub(crate) title: String,
    /// Show the runs of each folder separately, under the folder's name, such as one folder per workload
    #[arg(long)]
    pub(crate) by_folder: bool,
    /// Write the page to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Text,
    Markdown,
    Html,
    Json,
}

/// Two sets of runs.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Results of the base, written by -o or --out
    #[arg(value_name = "BASE", required = true, num_args = 1..)]
    pub(crate) base: Vec<PathBuf>,
    /// Results to compare with them, after `--`; options stand before it
    #[arg(value_name = "NEW", required = true, last = true, num_args = 1..)]
    pub(crate) new: Vec<PathBuf>,
    /// Compare even if the runs differ in this respect, such as cpu.governor, or in this group, such as
    /// workload; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_diff: Vec<String>,
    /// Metric to compare: rate, p50 to p99.999, mean, max, server-cpu, generator-cpu, achieved, delivery-ratio,
    /// errors, and service.p99, handshake.p99, completion.p99, scheduling-delay.p99; may be repeated [default:
    /// rate, p50, p90, p99, p99.9, server-cpu]
    #[arg(long, value_name = "METRIC", value_parser = metric::parse)]
    pub(crate) metric: Vec<Metric>,
    /// Exit with 1 if a metric is worse by more than this
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = units::percent)]
    pub(crate) threshold: f64,
    /// Show no difference that may be smaller than this
    #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = units::percent)]
    pub(crate) noise: f64,
    /// Format of the comparison
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) format: Format,
    /// Write the comparison to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

pub(crate) const REPORT_EXAMPLES: &str = "\
The page is one file: it loads nothing, runs no script, follows the reader's light or dark setting,
and can be printed. Several runs lie over each other in every plot.

Exit codes:
  0 good, 2 wrong usage or a file that cannot be read, 3 the page cannot be written

Examples:
  loadgen report run.json -o run.html
  loadgen report epoll/*.json uring/*.json --title 'epoll and io_uring' -o drivers.html
  loadgen report --by-folder echo/*.json broadcast/*.json -o workloads.html";

pub(crate) const MERGE_EXAMPLES: &str = "\
Counts and rates add up, histograms are merged, and percentiles are those of the merged
histograms. Each second of a run goes to the nearest one of the merged window; `merged` in the
document says how far that is, how much of their time the runs have in common, and how far the
hosts' clocks may be apart: 0 on one machine, otherwise the sum of what the kernels say of the two
worst. The environment shown is that of the first run; each run's own is kept. CPU time of a
server that several runs measured counts once.

Exit codes:
  0 good, 2 wrong usage or a file that cannot be read, 3 the runs had different loads or were not
  made at the same time, or the document cannot be written

Examples:
  loadgen echo ws://127.0.0.1:9000/ -c 10k -d 30s -q -o a.json &
  loadgen echo ws://127.0.0.1:9000/ -c 10k -d 30s -q -o b.json; wait
  loadgen merge a.json b.json -o both.json && loadgen report both.json -o both.html";

pub(crate) const COMPARE_EXAMPLES: &str = "\
A run is one sample. Each side shows the median of its runs and an interval that holds the true
one, whatever the distribution. A change is shown if the rank-sum test of Mann and Whitney (exact,
adjusted by Holm's method for the number of metrics) gives it p < 0.05; `~` stands where nothing is
shown. The interval of a change comes from resampling the runs. Runs of both sides must have the
same machine, settings and workload; kernels, ring features and commits may differ. Measure base and
new in turn, at least five times each.

Exit codes:
  0 no regression, 1 a metric is worse by more than --threshold, 2 wrong usage,
  3 not comparable: the runs differ, or are fewer than five a side

Examples:
  loadgen compare base-*.json -- new-*.json
  loadgen compare --metric rate --metric p99 --threshold 2% base-*.json -- new-*.json
  loadgen compare --format html -o compare.html old/* -- new/*";
