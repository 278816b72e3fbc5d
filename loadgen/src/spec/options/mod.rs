//! The options that scenarios share; [`crate::plan`] makes a run of them.

mod head;
pub(crate) mod help;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ringbolt::Driver;
use ringbolt::wire::Dialect;

use crate::base::units::{self, CpuList};
use crate::spec::arrivals::{self, Process, Stage};
use crate::spec::goal::{self, Goal};
use crate::spec::rate::{self, Rate};
use crate::spec::shape::{self, Shape};

pub(crate) use head::HeadArgs;

/// In which directions messages may refer to earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Takeover {
    /// No messages
    None,
    /// Messages that are sent
    Sent,
    /// Messages that are received
    Received,
    /// Messages in both directions
    Both,
}

/// Whom to talk to, and how to introduce oneself.
#[derive(Debug, Clone, Args)]
pub(crate) struct TargetArgs {
    /// The server, such as ws://127.0.0.1:9000/, wss://localhost:9443/ or unix:/run/server.sock:/chat
    ///
    /// A name and a password, as in ws://NAME:PASSWORD@HOST/ with %-escapes, are sent as Basic
    /// authorisation, and appear in no output and no result. An Authorization field given by --header
    /// takes precedence over them.
    #[arg(value_name = "URL", env = "LOADGEN_URL", hide_env_values = true)]
    pub(crate) url: String,
    /// Read options that are not given here from this file: TOML, with the long options as keys
    #[arg(long, env = "LOADGEN_PLAN", value_name = "FILE", help_heading = "Target",
          long_help = help::PLAN)]
    pub(crate) plan: Option<PathBuf>,
    /// Version of the protocol: hybi-02 (draft-02) or rfc6455 (what today's servers speak)
    #[arg(
        long = "ws-version",
        visible_alias = "dialect",
        env = "LOADGEN_WS_VERSION",
        value_name = "VERSION",
        default_value = "hybi-02",
        help_heading = "Target"
    )]
    pub(crate) dialect: Dialect,
    /// Offer permessage-deflate (RFC 7692; with --ws-version rfc6455), and compress what is sent if the
    /// server agrees
    #[arg(long, env = "LOADGEN_COMPRESS", help_heading = "Target")]
    pub(crate) compress: bool,
    /// With --compress, which messages may refer to earlier ones of their connection ("context
    /// takeover"); costs up to 420 KiB a connection
    #[arg(long, env = "LOADGEN_COMPRESS_TAKEOVER", value_name = "WHICH", default_value = "none")]
    #[arg(requires = "compress", help_heading = "Target")]
    pub(crate) compress_takeover: Takeover,
    /// Reach the server through this proxy: http://HOST:PORT or socks5://HOST:PORT, with NAME:PASSWORD@
    /// before the host if the proxy asks for them; `env` reads ws_proxy, http_proxy, all_proxy and no_proxy
    /// (for wss, wss_proxy and https_proxy) from the environment [default: none]
    #[arg(
        long,
        env = "LOADGEN_PROXY",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "Target"
    )]
    pub(crate) proxy: Option<String>,
    /// Origin field to send [default: http:// and the target's host in draft-02, none in rfc6455]
    #[arg(long, env = "LOADGEN_ORIGIN", value_name = "ORIGIN", help_heading = "Target")]
    pub(crate) origin: Option<String>,
    /// Ask for this subprotocol; may be repeated
    #[arg(long, env = "LOADGEN_PROTOCOL", value_name = "NAME", help_heading = "Target")]
    pub(crate) protocol: Vec<String>,
    /// Send this cookie, such as `session=1`; may be repeated
    #[arg(
        long,
        env = "LOADGEN_COOKIE",
        hide_env_values = true,
        value_name = "NAME=VALUE",
        help_heading = "Target"
    )]
    pub(crate) cookie: Vec<String>,
    /// Send this field in the opening handshake, such as 'X-Token: abc'; may be repeated
    #[arg(
        short = 'H',
        long,
        env = "LOADGEN_HEADER",
        hide_env_values = true,
        value_name = "FIELD",
        help_heading = "Target"
    )]
    pub(crate) header: Vec<String>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    #[command(flatten)]
    pub(crate) head: HeadArgs,
    /// Longest wait for a connection, for a reply at the end of the run, or for a closing handshake
    #[arg(long, env = "LOADGEN_TIMEOUT", value_name = "TIME", default_value = "10s",
          value_parser = units::duration, help_heading = "Target")]
    pub(crate) timeout: Duration,
    /// Longest wait for a connection and its opening handshake [default: that of --timeout]
    #[arg(long, env = "LOADGEN_CONNECT_TIMEOUT", value_name = "TIME", value_parser = units::duration,
          help_heading = "Target")]
    pub(crate) connect_timeout: Option<Duration>,
}

/// Which wss:// targets to trust, and what to show them.
#[derive(Debug, Clone, Args)]
pub(crate) struct TlsArgs {
    /// Trust the authorities of this PEM file instead of the system's
    #[arg(long, env = "LOADGEN_CACERT", value_name = "FILE", help_heading = "TLS")]
    pub(crate) cacert: Option<PathBuf>,
    /// Accept any certificate, so that anybody can pose as the server; the result says so
    #[arg(
        short = 'k',
        long,
        env = "LOADGEN_INSECURE",
        conflicts_with = "cacert",
        help_heading = "TLS"
    )]
    pub(crate) insecure: bool,
    /// Show this certificate chain, in PEM, to a server that asks for one
    #[arg(long, env = "LOADGEN_CERT", value_name = "FILE", requires = "key", help_heading = "TLS")]
    pub(crate) cert: Option<PathBuf>,
    /// Private key of --cert, in PEM, without a passphrase
    #[arg(long, env = "LOADGEN_KEY", value_name = "FILE", requires = "cert", help_heading = "TLS")]
    pub(crate) key: Option<PathBuf>,
    /// Resume TLS sessions where the server allows it; otherwise each connection makes a whole handshake,
    /// as each new user does
    #[arg(long, env = "LOADGEN_RESUME", help_heading = "TLS")]
    pub(crate) resume: bool,
}

/// How long to measure, or how much.
#[derive(Debug, Clone, Args)]
pub(crate) struct WindowArgs {
    #[command(flatten)]
    pub(crate) span: SpanArgs,
    /// Number of messages (publications, connections) to measure, instead of a duration
    #[arg(short = 'n', long, env = "LOADGEN_MESSAGES", value_name = "N",
          value_parser = units::positive, conflicts_with = "duration", help_heading = "Load")]
    pub(crate) messages: Option<u64>,
}

/// How long to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct SpanArgs {
    /// How long to measure, not counting the warm-up [units: ms, s, m, h]
    #[arg(short, long, env = "LOADGEN_DURATION", value_name = "TIME", default_value = "10s",
          value_parser = units::span, help_heading = "Load")]
    pub(crate) duration: Duration,
    /// How long to run the same load before measuring; it is recorded apart
    #[arg(long, env = "LOADGEN_WARMUP", value_name = "TIME", default_value = "1s",
          value_parser = units::duration, help_heading = "Load")]
    pub(crate) warmup: Duration,
    /// Time to begin the load, such as 2026-01-31T12:00:00Z, or in seconds since 1970, so that several
    /// processes, or hosts whose clocks agree, begin together. Connections are opened before that
    #[arg(long, env = "LOADGEN_START_AT", value_name = "TIME", value_parser = units::moment,
          help_heading = "Load")]
    pub(crate) start_at: Option<u64>,
}

/// What to send, and when.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) when: ArrivalArgs,
    /// Open loop: messages per second on each connection that sends, such as 10 or 0.5/s
    #[arg(long, env = "LOADGEN_RATE_PER_CONN", value_name = "RATE", value_parser = units::rate,
          conflicts_with_all = ["rate", "stage"], help_heading = "Load")]
    pub(crate) rate_per_conn: Option<f64>,
    /// Bytes per message, such as 64, 16KiB or 1MiB; random sizes from uniform:64..4KiB,
    /// normal:1KiB,256 (mean, deviation), lognormal:1KiB,0.5 (median, sigma) or
    /// list:64*70,1KiB*25,64KiB*5 (size*weight); @FILE for the contents of a file; or a text such as
    /// 'tmpl:{"n":{seq},"c":{conn},"t":{time}}', filled in with the message's number on its connection,
    /// the connection's number in the run, and when the message was due, in nanoseconds since 1970
    #[arg(short, long, env = "LOADGEN_PAYLOAD", value_name = "PAYLOAD", default_value = "64",
          value_parser = shape::parse, help_heading = "Load")]
    pub(crate) payload: Shape,
    /// Number of frames to send each message in
    #[arg(long, env = "LOADGEN_FRAGMENTS", value_name = "N", value_parser = units::at_once,
          conflicts_with = "compress", help_heading = "Load")]
    pub(crate) fragments: Option<u64>,
    /// Send text messages
    #[arg(long, env = "LOADGEN_TEXT", help_heading = "Load")]
    pub(crate) text: bool,
    /// Send binary messages, the default
    #[arg(long, env = "LOADGEN_BINARY", conflicts_with = "text", help_heading = "Load")]
    pub(crate) binary: bool,
}

/// When to send, on a schedule that is fixed before the run.
#[derive(Debug, Clone, Args)]
pub(crate) struct ArrivalArgs {
    /// Open loop: messages per second, all connections together, such as 50k/s; or '@p99<5ms' to look
    /// for the highest rate that meets this goal, in at most 16 runs of --duration each
    #[arg(short, long, env = "LOADGEN_RATE", value_name = "RATE", value_parser = rate::parse,
          help_heading = "Load")]
    pub(crate) rate: Option<Rate>,
    /// Open loop in stages, one after the other: 30s:10k holds a rate, 10s:1k..10k goes from one rate to
    /// another; may be repeated, and replaces --rate and --duration
    #[arg(long, env = "LOADGEN_STAGE", value_name = "TIME:RATE", value_parser = arrivals::stage,
          value_delimiter = ',', conflicts_with_all = ["rate", "duration", "messages"],
          help_heading = "Load")]
    pub(crate) stage: Vec<Stage>,
    /// How a schedule spaces its messages: at equal intervals (constant), or at random ones (poisson), as
    /// many users who know nothing of each other would send them
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
#[derive(Debug, Clone, Args)]
pub(crate) struct DialArgs {
    /// Number of connections to open per second
    #[arg(long, env = "LOADGEN_CONNECT_RATE", value_name = "RATE", value_parser = units::rate,
          conflicts_with = "ramp", help_heading = "Connecting")]
    pub(crate) connect_rate: Option<f64>,
    /// Time over which to open the connections evenly
    #[arg(long, env = "LOADGEN_RAMP", value_name = "TIME", value_parser = units::duration,
          help_heading = "Connecting")]
    pub(crate) ramp: Option<Duration>,
    #[arg(long, env = "LOADGEN_SOURCE", value_name = "CIDR", help_heading = "Connecting",
          help = help::SOURCE)]
    pub(crate) source: Option<String>,
}

/// Which resources of this machine to use.
#[derive(Debug, Clone, Args)]
pub(crate) struct MachineArgs {
    /// Number of threads [default: half of the CPUs if the target is this machine, otherwise all]
    #[arg(short, long, env = "LOADGEN_THREADS", value_name = "N", value_parser = units::positive,
          help_heading = "Machine")]
    pub(crate) threads: Option<u64>,
    /// CPUs to pin the threads to, one each, such as 2-3 [default: the last ones]
    #[arg(long, env = "LOADGEN_CPUS", value_name = "LIST", value_parser = units::cpus,
          help_heading = "Machine")]
    pub(crate) cpus: Option<CpuList>,
    /// How to talk to the kernel: uring, tokio-uring, epoll, or auto, which chooses the first of them
    /// that is worth it: uring on Linux 5.19 or later, tokio-uring from 5.11 on, epoll where io_uring
    /// is forbidden
    #[arg(
        long,
        env = "LOADGEN_DRIVER",
        value_name = "DRIVER",
        default_value = "auto",
        help_heading = "Machine"
    )]
    pub(crate) driver: Driver,
    /// How long to look for replies before sleeping; less delay for more CPU time
    #[arg(long, env = "LOADGEN_SPIN", value_name = "TIME", default_value = "0",
          value_parser = units::duration, help_heading = "Machine")]
    pub(crate) spin: Duration,
    /// Process of the server, to measure also how much CPU time it takes per message
    #[arg(long, env = "LOADGEN_PID", value_name = "PID", help_heading = "Machine")]
    pub(crate) pid: Option<u32>,
}

/// What to report, and where.
#[derive(Debug, Clone, Args)]
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
    /// Also write result.json, latency.hgrm, latency.hlog, seconds.csv and the kernel's configuration
    /// into this folder, which is created if it does not exist
    #[arg(long, env = "LOADGEN_OUT", value_name = "DIR", help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,
    /// Also write the latency percentiles to this file, for HdrHistogram plotters
    #[arg(long, env = "LOADGEN_HGRM", value_name = "FILE", help_heading = "Output")]
    pub(crate) hgrm: Option<PathBuf>,
    /// Also write a latency histogram per second to this file, for HdrHistogram's log tools
    #[arg(long, env = "LOADGEN_HLOG", value_name = "FILE", help_heading = "Output")]
    pub(crate) hlog: Option<PathBuf>,
    /// Exit with 99 if this holds, such as 'p99>5ms', 'rate<50k', 'errors>0' or 'scheduling-delay.p99>100us'; may
    /// be repeated. Metrics: pNN, min, mean and max of the latency, or with service., handshake.,
    /// completion. or scheduling-delay. in front, of those times; rate, errors, delivery-ratio, achieved
    #[arg(long, env = "LOADGEN_FAIL_IF", value_name = "CONDITION", value_parser = goal::parse,
          value_delimiter = ',', help_heading = "Output")]
    pub(crate) fail_if: Vec<Goal>,
    /// Commit to note in the JSON document, such as that of the server
    #[arg(long, env = "LOADGEN_COMMIT", value_name = "ID", help_heading = "Output")]
    pub(crate) commit: Option<String>,
    /// Show no progress
    #[arg(short, long, env = "LOADGEN_QUIET", help_heading = "Output")]
    pub(crate) quiet: bool,
}
