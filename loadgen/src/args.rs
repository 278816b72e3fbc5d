//! The command line, as it was typed; [`crate::plan`] makes a run of it.

mod help;
mod scenarios;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ringbolt::Driver;
use ringbolt::wire::Dialect;

use crate::arrivals::{Process, Stage};
use crate::compare::{self, Format, Metric};
use crate::goal::{self, Goal};
use crate::units::{self, CpuList};

pub(crate) use scenarios::{ChurnArgs, IdleArgs, SlowArgs};

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
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(CompareArgs),
    /// Show runs as one HTML page: percentiles, time series, errors, environment
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
}

/// Runs to look at.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Results, as -o or --out has written them
    #[arg(value_name = "RUN", required = true, num_args = 1..)]
    pub(crate) runs: Vec<PathBuf>,
    /// The page's title
    #[arg(long, value_name = "TEXT", default_value = "loadgen report")]
    pub(crate) title: String,
    /// Write the page to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Two sets of runs.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Results of the base, as -o or --out has written them
    #[arg(value_name = "BASE", required = true, num_args = 1..)]
    pub(crate) base: Vec<PathBuf>,
    /// Results to compare with them, after `--`; options stand before it
    #[arg(value_name = "NEW", required = true, last = true, num_args = 1..)]
    pub(crate) new: Vec<PathBuf>,
    /// Compare although the runs differ in this, such as cpu.governor, or in this group, such as
    /// workload; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_diff: Vec<String>,
    /// Compare this: rate, p50 to p99.999, mean, max, server-cpu, generator-cpu, achieved, reach,
    /// errors, and service.p99, handshake.p99, completion.p99, lag.p99; may be repeated [default:
    /// rate, p50, p90, p99, p99.9, server-cpu]
    #[arg(long, value_name = "METRIC", value_parser = compare::parse_metric)]
    pub(crate) metric: Vec<Metric>,
    /// Exit with 1 if a metric is worse by more than this
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = units::percent)]
    pub(crate) threshold: f64,
    /// Show no difference that may be smaller than this
    #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = units::percent)]
    pub(crate) noise: f64,
    /// How to show it
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) format: Format,
    /// Write it to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// The scenarios.
#[derive(Debug, Subcommand)]
pub(crate) enum Measure {
    /// Send messages that the server sends back, and measure the round trip
    #[command(after_help = ECHO_EXAMPLES)]
    Echo(EchoArgs),
    /// Publish to connections that all hear each other, and measure delivery and reach
    #[command(after_help = BROADCAST_EXAMPLES)]
    Broadcast(BroadcastArgs),
    /// Connect, upgrade, close, again and again, and measure handshakes
    #[command(after_help = STORM_EXAMPLES)]
    Storm(StormArgs),
    /// Open connections and hold them: memory per connection, keep-alive, round trips of pings
    #[command(after_help = scenarios::IDLE_EXAMPLES)]
    Idle(IdleArgs),
    /// Keep a number of connections open of which each lives for a drawn time
    #[command(after_help = scenarios::CHURN_EXAMPLES)]
    Churn(ChurnArgs),
    /// Let some connections stop to read: what the server does, and what the others notice
    #[command(after_help = scenarios::SLOW_EXAMPLES)]
    Slow(SlowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// How many connections [suffixes: k, m]
    #[arg(short, long, env = "LOADGEN_CONNECTIONS", value_name = "N", default_value = "1",
          value_parser = units::positive, help_heading = "Load")]
    pub(crate) connections: u64,
    #[command(flatten)]
    pub(crate) window: WindowArgs,
    #[arg(long, env = "LOADGEN_DEPTH", value_name = "N", value_parser = units::at_once,
          help_heading = "Load", help = help::DEPTH)]
    pub(crate) depth: Option<u64>,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) dial: DialArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[arg(long, env = "LOADGEN_TRACE", value_name = "FILE", help_heading = "Output",
          help = help::TRACE)]
    pub(crate) trace: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BroadcastArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Connections that only listen [suffixes: k, m]
    #[arg(short = 'c', long, alias = "connections", env = "LOADGEN_SUBSCRIBERS", value_name = "N",
          default_value = "1", value_parser = units::positive, help_heading = "Load")]
    pub(crate) subscribers: u64,
    /// Connections beside them that publish; they hear each other, but not themselves
    #[arg(long, env = "LOADGEN_PUBLISHERS", value_name = "N", default_value = "1",
          value_parser = units::positive, help_heading = "Load")]
    pub(crate) publishers: u64,
    /// Publications that a publisher sends at once
    #[arg(long, env = "LOADGEN_BURST", value_name = "N", default_value = "1",
          value_parser = units::at_once, help_heading = "Load")]
    pub(crate) burst: u64,
    #[command(flatten)]
    pub(crate) window: WindowArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) dial: DialArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StormArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Connections under way at once [suffixes: k, m]
    #[arg(short, long, env = "LOADGEN_CONNECTIONS", value_name = "N", default_value = "100",
          value_parser = units::positive, help_heading = "Load")]
    pub(crate) connections: u64,
    #[command(flatten)]
    pub(crate) when: ArrivalArgs,
    #[command(flatten)]
    pub(crate) window: WindowArgs,
    #[arg(long, env = "LOADGEN_SOURCE", value_name = "CIDR", help_heading = "Connecting",
          help = help::SOURCE)]
    pub(crate) source: Option<String>,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// In which directions messages may refer to earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Takeover {
    /// Neither
    None,
    /// Those that are sent
    Sent,
    /// Those that are received
    Received,
    /// Both
    Both,
}

/// Whom to talk to, and how to introduce oneself.
#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// The server, such as ws://127.0.0.1:9000/ or unix:/run/server.sock:/chat
    #[arg(value_name = "URL", env = "LOADGEN_URL")]
    pub(crate) url: String,
    /// The version of the protocol: hybi-02 (draft-02) or rfc6455 (what today's servers speak)
    #[arg(
        long = "ws-version",
        visible_alias = "dialect",
        env = "LOADGEN_WS_VERSION",
        value_name = "VERSION",
        default_value = "hybi-02",
        help_heading = "Target"
    )]
    pub(crate) dialect: Dialect,
    /// Offer permessage-deflate (RFC 7692; with --dialect rfc6455), and compress what is sent if the
    /// server agrees
    #[arg(long, env = "LOADGEN_COMPRESS", help_heading = "Target")]
    pub(crate) compress: bool,
    /// With --compress, which messages may refer to earlier ones of their connection ("context
    /// takeover"); costs up to 420 KiB a connection
    #[arg(long, env = "LOADGEN_COMPRESS_TAKEOVER", value_name = "WHICH", default_value = "none")]
    #[arg(requires = "compress", help_heading = "Target")]
    pub(crate) compress_takeover: Takeover,
    /// The Origin field to send; in draft-02, http:// and the target's host if not given
    #[arg(long, env = "LOADGEN_ORIGIN", value_name = "ORIGIN", help_heading = "Target")]
    pub(crate) origin: Option<String>,
    /// Ask for this subprotocol; may be repeated
    #[arg(long, env = "LOADGEN_PROTOCOL", value_name = "NAME", help_heading = "Target")]
    pub(crate) protocol: Vec<String>,
    /// Send this cookie, such as `session=1`; may be repeated
    #[arg(long, env = "LOADGEN_COOKIE", value_name = "NAME=VALUE", help_heading = "Target")]
    pub(crate) cookie: Vec<String>,
    /// Send this field in the opening handshake, such as 'X-Token: abc'; may be repeated
    #[arg(
        short = 'H',
        long,
        env = "LOADGEN_HEADER",
        value_name = "FIELD",
        help_heading = "Target"
    )]
    pub(crate) header: Vec<String>,
    /// Longest wait for a connection, a reply at the end of the run, or a closing handshake
    #[arg(long, env = "LOADGEN_TIMEOUT", value_name = "TIME", default_value = "10s",
          value_parser = units::duration, help_heading = "Target")]
    pub(crate) timeout: Duration,
}

/// How long to measure, or how much.
#[derive(Debug, Args)]
pub(crate) struct WindowArgs {
    #[command(flatten)]
    pub(crate) span: SpanArgs,
    /// Measure so many messages (publications, connections) instead of a duration
    #[arg(short = 'n', long, env = "LOADGEN_MESSAGES", value_name = "N",
          value_parser = units::positive, conflicts_with = "duration", help_heading = "Load")]
    pub(crate) messages: Option<u64>,
}

/// How long to measure.
#[derive(Debug, Args)]
pub(crate) struct SpanArgs {
    /// How long to measure, warm-up not included [units: ms, s, m, h]
    #[arg(short, long, env = "LOADGEN_DURATION", value_name = "TIME", default_value = "10s",
          value_parser = units::span, help_heading = "Load")]
    pub(crate) duration: Duration,
    /// Run the same load for so long before measuring; recorded apart
    #[arg(long, env = "LOADGEN_WARMUP", value_name = "TIME", default_value = "1s",
          value_parser = units::duration, help_heading = "Load")]
    pub(crate) warmup: Duration,
}

/// What to send, and when.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) when: ArrivalArgs,
    /// Bytes per message, such as 64, 16KiB or 1MiB
    #[arg(short, long, env = "LOADGEN_PAYLOAD", value_name = "SIZE", default_value = "64",
          value_parser = units::size, help_heading = "Load")]
    pub(crate) payload: usize,
    /// Send text messages
    #[arg(long, env = "LOADGEN_TEXT", help_heading = "Load")]
    pub(crate) text: bool,
    /// Send binary messages, the default
    #[arg(long, env = "LOADGEN_BINARY", conflicts_with = "text", help_heading = "Load")]
    pub(crate) binary: bool,
}

/// When to send, on a schedule that is fixed before the run.
#[derive(Debug, Args)]
pub(crate) struct ArrivalArgs {
    /// Open loop: so many per second, all connections together, such as 50k/s
    #[arg(short, long, env = "LOADGEN_RATE", value_name = "RATE", value_parser = units::rate,
          help_heading = "Load")]
    pub(crate) rate: Option<f64>,
    /// Open loop in stages, one behind the other: 30s:10k holds a rate, 10s:1k..10k goes from one to
    /// the other; may be repeated, and takes the place of --rate and --duration
    #[arg(long, env = "LOADGEN_STAGE", value_name = "TIME:RATE", value_parser = units::stage,
          value_delimiter = ',', conflicts_with_all = ["rate", "duration", "messages"],
          help_heading = "Load")]
    pub(crate) stage: Vec<Stage>,
    /// How what is due on a schedule comes: at equal distances, or, poisson, at random ones, as from
    /// many users who know nothing of each other
    #[arg(
        long,
        env = "LOADGEN_ARRIVAL",
        value_name = "PROCESS",
        value_enum,
        default_value = "constant",
        help_heading = "Load"
    )]
    pub(crate) arrival: Process,
    #[arg(long, env = "LOADGEN_SEED", value_name = "N", default_value = "1", help_heading = "Load",
          help = help::SEED)]
    pub(crate) seed: u64,
}

/// How to open the connections.
#[derive(Debug, Args)]
pub(crate) struct DialArgs {
    /// Open so many connections per second
    #[arg(long, env = "LOADGEN_CONNECT_RATE", value_name = "RATE", value_parser = units::rate,
          conflicts_with = "ramp", help_heading = "Connecting")]
    pub(crate) connect_rate: Option<f64>,
    /// Open the connections evenly over this time
    #[arg(long, env = "LOADGEN_RAMP", value_name = "TIME", value_parser = units::duration,
          help_heading = "Connecting")]
    pub(crate) ramp: Option<Duration>,
    #[arg(long, env = "LOADGEN_SOURCE", value_name = "CIDR", help_heading = "Connecting",
          help = help::SOURCE)]
    pub(crate) source: Option<String>,
}

/// What of this machine to use.
#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// Threads; half of the CPUs if the target is this machine, else all of them
    #[arg(short, long, env = "LOADGEN_THREADS", value_name = "N", value_parser = units::positive,
          help_heading = "Machine")]
    pub(crate) threads: Option<u64>,
    /// Pin the threads to these CPUs, one each, such as 2-3; the last ones if not given
    #[arg(long, env = "LOADGEN_CPUS", value_name = "LIST", value_parser = units::cpus,
          help_heading = "Machine")]
    pub(crate) cpus: Option<CpuList>,
    /// How to talk to the kernel: uring, tokio-uring, epoll, or auto, which takes the first of them
    /// that can be had
    #[arg(
        long,
        env = "LOADGEN_DRIVER",
        value_name = "DRIVER",
        default_value = "auto",
        help_heading = "Machine"
    )]
    pub(crate) driver: Driver,
    /// Look for replies this long before sleeping: less delay for more CPU time
    #[arg(long, env = "LOADGEN_SPIN", value_name = "TIME", default_value = "0",
          value_parser = units::duration, help_heading = "Machine")]
    pub(crate) spin: Duration,
    /// Also measure the CPU time that this process, the server, takes per message
    #[arg(long, env = "LOADGEN_PID", value_name = "PID", help_heading = "Machine")]
    pub(crate) pid: Option<u32>,
}

/// What to tell, and where.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Print the result as one JSON document instead of text
    #[arg(long, env = "LOADGEN_JSON", help_heading = "Output")]
    pub(crate) json: bool,
    /// Print the seconds of the window as comma-separated values instead of text
    #[arg(long, env = "LOADGEN_CSV", conflicts_with = "json", help_heading = "Output")]
    pub(crate) csv: bool,
    /// Also write the JSON document to this file
    #[arg(short, long, env = "LOADGEN_OUTPUT", value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,
    /// Also write result.json, latency.hgrm, latency.hlog and seconds.csv into this folder, which is
    /// made if it is not there
    #[arg(long, env = "LOADGEN_OUT", value_name = "DIR", help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,
    /// Also write the latency percentiles to this file, for HdrHistogram plotters
    #[arg(long, env = "LOADGEN_HGRM", value_name = "FILE", help_heading = "Output")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Also write a latency histogram per second to this file, for HdrHistogram's log tools
    #[arg(long, env = "LOADGEN_HLOG", value_name = "FILE", help_heading = "Output")]
    pub(crate) hlog: Option<PathBuf>,
    /// Exit with 99 if this holds, such as 'p99>5ms', 'rate<50k', 'errors>0' or 'lag.p99>100us'; may
    /// be repeated. Metrics: pNN, min, mean, max, with service., handshake., completion. or lag.
    /// before them of those times; rate, errors, reach, achieved, lag
    #[arg(long, env = "LOADGEN_FAIL_IF", value_name = "CONDITION", value_parser = goal::parse,
          value_delimiter = ',', help_heading = "Output")]
    pub(crate) fail_if: Vec<Goal>,
    /// Note this commit, of the server for example, in the JSON document
    #[arg(long, env = "LOADGEN_COMMIT", value_name = "ID", help_heading = "Output")]
    pub(crate) commit: Option<String>,
    /// Show no progress
    #[arg(short, long, env = "LOADGEN_QUIET", help_heading = "Output")]
    pub(crate) quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  loadgen echo ws://127.0.0.1:9000/ -c 1000 -d 10s
  loadgen echo ws://127.0.0.1:9000/ -c 1000 -d 30s -r 50k --pid $(pidof engine)
  loadgen broadcast ws://127.0.0.1:9000/room -c 1000
  loadgen storm ws://127.0.0.1:9000/ -c 100

`loadgen --help` explains what the numbers mean.";

const TEACHING: &str = "\
Closed and open loop:
  Without --rate each connection sends its next message when the last reply is there (--depth
  keeps several in flight). That finds the highest throughput; but while the server stalls, the
  generator waits with it, so that a stall of a second counts as one slow message.
  With --rate messages are sent on a schedule that is fixed before the run. Latency counts from
  the time when a message was due, whether or not it could be sent then: what users would see.
  Service time, from the actual send, stands beside it; the two differ when something queued.
  --stage lets the rate change, --arrival poisson the distances; --seed makes both the same again.

What to trust:
  Every reply is compared byte for byte with what was sent. With any error the exit code is 1.
  The summary says in words when the generator, not the server, was the limit, and then has no
  headline: the rate is one that the server takes at least. Nor has it one when more than 1 % of
  what was attempted went wrong.

Exit codes:
  0 good, 1 errors during the run, 2 wrong usage, 3 this machine cannot run it,
  69 server unreachable, 99 a --fail-if holds, 130 interrupted (the result is still written);
  of several the last one counts

Every long option can be given in the environment: LOADGEN_RATE=50k is --rate 50k.

Examples:
  loadgen echo ws://127.0.0.1:9000/ -c 1000 -d 10s
  loadgen echo ws://127.0.0.1:9000/ -c 1000 -d 30s -r 50k --pid $(pidof engine)
  loadgen echo ws://127.0.0.1:9000/ -c 100k --ramp 20s -r 10k -p 1KiB --json -o run.json";

const ECHO_EXAMPLES: &str = "\
Examples:
  loadgen echo ws://127.0.0.1:9000/ -c 1000            as fast as replies come back
  loadgen echo ws://127.0.0.1:9000/ -c 1000 -r 50k/s   50,000 messages per second, on schedule
  loadgen echo ws://127.0.0.1:9000/ -p 1MiB --depth 4  large messages, four in flight";

const BROADCAST_EXAMPLES: &str = "\
Every message of a publisher must reach every other connection: its subscribers and the other
publishers. Reach is the share that did; `first`, `median` and `last` tell when the publications that
reached everybody came to the first, the middle and the last of them. Without --rate a publisher sends when its last message has
reached everybody.

Examples:
  loadgen broadcast ws://127.0.0.1:9000/room -c 1000            one publisher, 1,000 listeners
  loadgen broadcast ws://127.0.0.1:9000/room -c 1000 -r 100/s   100 publications per second
  loadgen broadcast ws://127.0.0.1:9000/room --publishers 10 --burst 16";

const REPORT_EXAMPLES: &str = "\
The page is one file: it loads nothing, runs no script, follows the reader's light or dark setting,
and can be printed. Several runs lie over each other in every plot.

Exit codes:
  0 good, 2 wrong usage or a file that cannot be read, 3 the page cannot be written

Examples:
  loadgen report run.json -o run.html
  loadgen report epoll/*.json uring/*.json --title 'epoll and io_uring' -o drivers.html";

const COMPARE_EXAMPLES: &str = "\
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

const STORM_EXAMPLES: &str = "\
Each connection is opened, upgraded and closed in order, and makes room for the next.

Examples:
  loadgen storm ws://127.0.0.1:9000/ -c 100 -d 10s      as fast as the server takes them
  loadgen storm ws://127.0.0.1:9000/ -c 1000 -r 5k/s    5,000 per second, on schedule
  loadgen storm ws://127.0.0.1:9000/ -n 100k            100,000 connections in all";
