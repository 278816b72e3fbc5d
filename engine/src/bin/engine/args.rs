//! What was typed: flags, their help, and their environment. What it means is in `settings`.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ringbolt::wire::Dialect;
use ringbolt::{Driver, RingFeatures};

use crate::units::{Bytes, Count, Cpus, Span};

const EXAMPLES: &str = "\
Examples:
  engine echo                                     any free port of 127.0.0.1, one shard per CPU
  engine echo --listen 0.0.0.0:9002 --cpus 0-3    four shards on four CPUs
  engine broadcast --listen [::]:9002             rooms: one per resource name
  engine broadcast --slow-consumer drop --max-outbound 2MiB
  engine doctor                                   what this machine gives, and why not more
  engine echo --listen-tls 0.0.0.0:9443 --tls-cert chain.pem --tls-key key.pem
  engine echo --allow-origin http://example.com --allow-host example.com:9002

Units:
  sizes      4096, 64KiB, 1m: k, m, g and KiB, MiB, GiB are powers of 1,024; kB, MB, GB of 1,000
  counts     5000, 5k, 1m: k, m, g are powers of 1,000
  durations  500ms, 10s, 1m30s, 2h; 0 turns a timeout off where its text says so

Environment:
  Every flag has a variable: --max-message is ENGINE_MAX_MESSAGE. Lists are separated by commas.
  What is typed wins over the environment.

Signals:
  SIGTERM, SIGINT  stop accepting, deliver what was published, close every connection, end within
                   --drain; the second ends at once
  SIGUSR1          one line of counters on stderr
  SIGHUP           with --listen-tls: certificates, keys and authorities are read again; new
                   connections get them, and files that cannot be used change nothing

Exit codes:
  0    ended after a drain
  1    cannot start (port in use, no right to it, unusable certificate, no memory, standard output
       that cannot be written), or broke while running
  2    wrong flags, or flags that contradict each other
  69   this kernel or sandbox gives no driver that was asked for
  130  ended at once by a second SIGINT; 143 by a second SIGTERM";

/// A WebSocket server for RFC 6455 and draft-ietf-hybi-thewebsocketprotocol-02, one shard per core,
/// on io_uring or epoll.
///
/// Prints `listening on ADDRESS` on stdout for each plain listener and `listening on wss://ADDRESS` for
/// each one of TLS, in this order, as soon as it accepts connections; everything else goes to stderr.
#[derive(Debug, Parser)]
#[command(name = "engine", version, max_term_width = 100, after_long_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sends every message back to whoever sent it.
    #[command(after_long_help = EXAMPLES)]
    Echo(EchoArgs),
    /// Delivers every message to all others of the same resource name.
    ///
    /// The resource name of the request (/room/7?x=1) is the topic. A message goes to every other
    /// connection of its topic, on all shards; it is encoded once.
    #[command(after_long_help = EXAMPLES)]
    Broadcast(ServeArgs),
    /// Tells what this kernel, sandbox and machine give the engine, and what that means.
    ///
    /// Tries every driver and every ring feature, and reads the limits that bound connections. Ends
    /// with 0 if some driver runs here, with 69 if none does.
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// One JSON document instead of tables
    #[arg(long, env = "ENGINE_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,

    /// What of io_uring a server would be told to use, as --ring-features of `engine echo`
    #[arg(long, env = "ENGINE_RING_FEATURES", value_name = "LIST", default_value = "default")]
    #[arg(allow_hyphen_values = true)]
    pub(crate) ring_features: RingFeatures,
}

/// The flags of the echo.
#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    /// Send messages back in frames of this size or more while the rest still arrives; 0: whole
    ///
    /// A large message passes through the cache piece by piece then, and holds no more memory than a
    /// piece. What is smaller than this, and what is compressed, goes back in one frame.
    #[arg(long, env = "ENGINE_PART_SIZE", value_name = "BYTES", default_value = "128KiB")]
    pub(crate) part_size: Bytes,

    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// The flags that both servers take.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    // As a doc comment the address would be a link.
    #[arg(
        help = "Address to listen on: 127.0.0.1:9002, [::1]:9002, or name:9002 for every address that \
                the name has here; port 0 takes a free one; repeatable [default: 127.0.0.1:0, unless \
                there is --listen-tls]"
    )]
    #[arg(long, env = "ENGINE_LISTEN", value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) listen: Vec<String>,

    /// Shards, each a thread with its own ring [default: one per CPU]
    #[arg(long, env = "ENGINE_SHARDS", value_name = "N", conflicts_with = "cpus")]
    pub(crate) shards: Option<Count>,

    /// One shard on each of these CPUs: 0-3,5
    #[arg(long, env = "ENGINE_CPUS", value_name = "LIST")]
    pub(crate) cpus: Option<Cpus>,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) compress: CompressArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) timeouts: TimeoutArgs,
    #[command(flatten)]
    pub(crate) ring: RingArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsArgs {
    /// Address to listen on for wss, beside --listen; repeatable
    #[arg(long, env = "ENGINE_LISTEN_TLS", value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) listen_tls: Vec<String>,

    /// Certificate chain in PEM, the server's own first; repeatable, each with its --tls-key
    ///
    /// A client is shown the first one that is for the name it asks for, and the first of all if none
    /// is.
    #[arg(long, env = "ENGINE_TLS_CERT", value_name = "FILE", value_delimiter = ',')]
    pub(crate) tls_cert: Vec<PathBuf>,

    /// Private key of the --tls-cert in the same place, in PEM, without a passphrase
    #[arg(long, env = "ENGINE_TLS_KEY", value_name = "FILE", value_delimiter = ',')]
    pub(crate) tls_key: Vec<PathBuf>,

    /// Ask clients for a certificate that an authority of this PEM file has issued
    #[arg(long, env = "ENGINE_TLS_CLIENT_CA", value_name = "FILE")]
    pub(crate) tls_client_ca: Option<PathBuf>,

    /// Clients without a certificate: refuse them (required), or take them (optional) [default:
    /// required]
    #[arg(long, env = "ENGINE_TLS_CLIENT_AUTH", value_name = "POLICY", requires = "tls_client_ca")]
    pub(crate) tls_client_auth: Option<Auth>,

    /// Oldest version of TLS to speak: 1.2 or 1.3 [default: 1.2]
    #[arg(long, env = "ENGINE_TLS_MIN", value_name = "VERSION")]
    pub(crate) tls_min: Option<Version>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Which clients")]
pub(crate) struct PolicyArgs {
    /// Host to serve, against DNS rebinding; repeatable [default: any]
    ///
    /// Without a port it stands for all ports of that host. *.example.com stands for every name below
    /// example.com, not for that itself; * for every host. What no client could ask for, such as
    /// capitals or the ports 80 and 443, is refused with the form that is meant.
    #[arg(long, env = "ENGINE_ALLOW_HOST", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) allow_host: Vec<String>,

    /// Origin whose pages may connect, such as https://example.com; repeatable [default: any]
    ///
    /// Scheme, host, and the port if it is not the scheme's own. https://*.example.com stands for every
    /// name below example.com, however deep, not for that itself; * for every origin. What no page could
    /// have, such as a slash at the end, is refused with the form that is meant. Clients without an origin
    /// are refused then, too, but for --allow-missing-origin.
    #[expect(rustdoc::bare_urls, reason = "--help shows it as it is")]
    #[arg(long, env = "ENGINE_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) allow_origin: Vec<String>,

    /// Dialect to speak: hybi-02 (draft-02) or rfc6455 (today's clients); repeatable [default: both]
    ///
    /// The client's opening handshake picks one of them, on the same port.
    #[arg(long, env = "ENGINE_DIALECT", value_name = "DIALECT", value_delimiter = ',')]
    pub(crate) dialect: Vec<Dialect>,

    /// Also take clients that send no Origin where one is expected
    ///
    /// That is in draft-02, whose clients always have one (§5.2.1), and in both dialects beside
    /// --allow-origin. Pages of browsers cannot leave it out; programs can. Of RFC 6455's clients only
    /// browsers send one, and without --allow-origin none needs it.
    #[arg(long, env = "ENGINE_ALLOW_MISSING_ORIGIN", value_parser = BoolishValueParser::new())]
    pub(crate) allow_missing_origin: bool,

    /// TLS ends in front of this server: tell clients of draft-02 that they have reached a wss URL
    ///
    /// They compare it with the one they asked for. RFC 6455's clients are not told a URL.
    #[arg(long, env = "ENGINE_TLS_IN_FRONT", value_parser = BoolishValueParser::new())]
    pub(crate) tls_in_front: bool,

    /// Take from the field X-Forwarded-Proto whether TLS ends in front: https or http
    ///
    /// For a proxy that serves both; it must set the field itself. It is believed whoever sends it, so
    /// let nobody but the proxy reach this server.
    #[arg(long, env = "ENGINE_TRUST_FORWARDED_PROTO", value_parser = BoolishValueParser::new())]
    pub(crate) trust_forwarded_proto: bool,

    /// Subprotocol to speak; repeatable
    ///
    /// The first of the client's list that is here is taken. A client that asks for others only is
    /// refused in draft-02, and in RFC 6455 finds out that none was taken.
    #[arg(long, env = "ENGINE_SUBPROTOCOL", value_name = "NAME", value_delimiter = ',')]
    pub(crate) subprotocol: Vec<String>,

    /// Refuse clients that ask for no subprotocol
    #[arg(long, env = "ENGINE_REQUIRE_SUBPROTOCOL", value_parser = BoolishValueParser::new())]
    pub(crate) require_subprotocol: bool,

    /// Also take clients of draft 1 or 3, whose framing is the same; repeatable
    #[arg(long, env = "ENGINE_ACCEPT_DRAFT", value_name = "DRAFT", value_delimiter = ',')]
    pub(crate) accept_draft: Vec<Neighbour>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Compression")]
pub(crate) struct CompressArgs {
    /// Compress messages for clients of RFC 6455 that offer it (permessage-deflate)
    ///
    /// Costs far more CPU time than the message itself. Without --compress-takeover nothing is kept
    /// between messages: an idle connection takes no more memory, and one in the middle of a
    /// compressed message 48 KiB. A broadcast is compressed once for all.
    #[arg(long, env = "ENGINE_COMPRESS", value_parser = BoolishValueParser::new())]
    pub(crate) compress: bool,

    /// Send smaller messages as they are
    #[arg(long, env = "ENGINE_COMPRESS_MIN", value_name = "SIZE", default_value = "256")]
    pub(crate) compress_min: Bytes,

    /// How thoroughly: 1, fast, to 9
    #[arg(long, env = "ENGINE_COMPRESS_LEVEL", value_name = "LEVEL", default_value = "3")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) compress_level: u8,

    /// Which messages may refer to earlier ones of their connection ("context takeover")
    ///
    /// Small messages that are alike get much smaller. Each connection keeps about 48 KiB for what it
    /// receives and 247 to 373 KiB, by the window, for what is sent to it.
    #[arg(
        long,
        env = "ENGINE_COMPRESS_TAKEOVER",
        requires = "compress",
        value_name = "WHICH",
        default_value = "none"
    )]
    pub(crate) compress_takeover: Takeover,

    /// Largest window of what is sent, 2 to this power: 9 to 15
    #[arg(
        long,
        env = "ENGINE_COMPRESS_WINDOW",
        requires = "compress",
        value_name = "BITS",
        default_value = "15"
    )]
    #[arg(value_parser = clap::value_parser!(u8).range(9..=15))]
    pub(crate) compress_window: u8,

    /// Largest window to ask of clients that can keep to it: 8 to 15
    ///
    /// Saves memory of theirs; ours is the same.
    #[arg(
        long,
        env = "ENGINE_COMPRESS_PEER_WINDOW",
        requires = "compress",
        value_name = "BITS",
        default_value = "15"
    )]
    #[arg(value_parser = clap::value_parser!(u8).range(8..=15))]
    pub(crate) compress_peer_window: u8,

    /// Most memory for compression on each shard
    ///
    /// Half of it at most is for --compress-takeover; connections beyond that are agreed to without,
    /// and when all of it is in use, without compression. A compressed message that finds none left
    /// ends its connection with code 1013.
    #[arg(
        long,
        env = "ENGINE_COMPRESS_BUDGET",
        requires = "compress",
        value_name = "SIZE",
        default_value = "64MiB"
    )]
    pub(crate) compress_budget: Bytes,
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

impl Takeover {
    /// Whether what is sent may, and what is received.
    pub(crate) const fn directions(self) -> (bool, bool) {
        (matches!(self, Self::Sent | Self::Both), matches!(self, Self::Received | Self::Both))
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Largest message, all its frames together
    #[arg(long, env = "ENGINE_MAX_MESSAGE", value_name = "SIZE", default_value = "1MiB")]
    pub(crate) max_message: Bytes,

    /// Largest payload of one data frame
    #[arg(long, env = "ENGINE_MAX_FRAME", value_name = "SIZE", default_value = "1MiB")]
    pub(crate) max_frame: Bytes,

    /// Most frames of one message
    #[arg(long, env = "ENGINE_MAX_FRAGMENTS", value_name = "COUNT", default_value = "1024")]
    pub(crate) max_fragments: Count,

    /// Largest payload of a ping, pong or close frame
    #[arg(long, env = "ENGINE_MAX_CONTROL", value_name = "SIZE", default_value = "64KiB")]
    pub(crate) max_control: Bytes,

    /// Text that is not UTF-8: end the connection, or read it as U+FFFD
    #[arg(long, env = "ENGINE_INVALID_UTF8", value_name = "POLICY", default_value = "close")]
    pub(crate) invalid_utf8: InvalidText,

    /// Most connections of one shard; the limit of open files counts too
    #[arg(long, env = "ENGINE_MAX_CONNECTIONS", value_name = "COUNT", default_value = "1m")]
    pub(crate) max_connections: Count,

    /// Largest head of an opening handshake, up to 65535
    #[arg(long, env = "ENGINE_MAX_HANDSHAKE", value_name = "SIZE", default_value = "16KiB")]
    pub(crate) max_handshake: Bytes,

    /// Longest line of that head, up to 65535
    #[arg(long, env = "ENGINE_MAX_LINE", value_name = "SIZE", default_value = "8KiB")]
    pub(crate) max_line: Bytes,

    /// Most fields of that head, up to 128
    #[arg(long, env = "ENGINE_MAX_FIELDS", value_name = "COUNT", default_value = "100")]
    pub(crate) max_fields: Count,

    /// Most that may wait to be sent on one connection; beyond it its reader is slow
    #[arg(long, env = "ENGINE_MAX_OUTBOUND", value_name = "SIZE", default_value = "4MiB")]
    pub(crate) max_outbound: Bytes,

    /// While more than this waits to be sent, nothing is read from the connection
    #[arg(long, env = "ENGINE_PAUSE_READING", value_name = "SIZE", default_value = "256KiB")]
    pub(crate) pause_reading: Bytes,

    /// Most memory that a shard holds for its clients: messages, queues, publications, compression
    /// [default: a quarter of the machine's, or of its control group's, for all shards together]
    ///
    /// Beyond it the connections that hold the most are ended, with code 1013 where their unfinished
    /// messages take it, and publications are refused. What the kernel holds for the same connections
    /// comes on top, and may be as much.
    #[arg(long, env = "ENGINE_MEMORY_BUDGET", value_name = "SIZE")]
    pub(crate) memory_budget: Option<Bytes>,

    /// A slow reader of a broadcast: end its connection, or let it miss messages, which is counted
    #[arg(long, env = "ENGINE_SLOW_CONSUMER", value_name = "POLICY", default_value = "close")]
    pub(crate) slow_consumer: Slow,

    /// Most topics of one shard
    #[arg(long, env = "ENGINE_MAX_TOPICS", value_name = "COUNT", default_value = "100k")]
    pub(crate) max_topics: Count,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Timeouts")]
pub(crate) struct TimeoutArgs {
    /// How long an opening handshake may take
    #[arg(long, env = "ENGINE_HANDSHAKE_TIMEOUT", value_name = "TIME", default_value = "10s")]
    pub(crate) handshake_timeout: Span,

    /// End connections whose peer sends and takes nothing for this long; 0: never
    #[arg(long, env = "ENGINE_IDLE_TIMEOUT", value_name = "TIME", default_value = "2m")]
    pub(crate) idle_timeout: Span,

    /// Ping connections that were silent for this long; 0: never
    #[arg(long, env = "ENGINE_PING_INTERVAL", value_name = "TIME", default_value = "45s")]
    pub(crate) ping_interval: Span,

    /// How long the answer to our Close, and the peer's end of TCP after it, may take, each from when
    /// the peer last sent or took anything
    #[arg(long, env = "ENGINE_CLOSE_TIMEOUT", value_name = "TIME", default_value = "5s")]
    pub(crate) close_timeout: Span,

    /// How long closing all connections may take after SIGTERM or SIGINT; up to half of it for messages
    /// that were published before
    #[arg(long, env = "ENGINE_DRAIN", value_name = "TIME", default_value = "10s")]
    pub(crate) drain: Span,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Kernel")]
pub(crate) struct RingArgs {
    /// How to talk to the kernel: uring, tokio-uring, epoll, or auto
    ///
    /// auto takes the first of them that pays: uring on Linux 5.19 or later, at its best from 6.1 on;
    /// tokio-uring, slower and with a buffer per idle connection, from 5.11 on; and epoll where io_uring
    /// is forbidden, as in most containers. The log says which and why. A driver asked for by name is had
    /// or an error.
    #[arg(long, env = "ENGINE_DRIVER", value_name = "DRIVER", default_value = "auto")]
    pub(crate) driver: Driver,

    /// Look for work this long before sleeping; 0: sleep at once
    ///
    /// Lowers latency and burns CPU: each shard owns its core while it looks.
    #[arg(long, env = "ENGINE_SPIN", value_name = "TIME", default_value = "0")]
    pub(crate) spin: Span,

    /// Most of a core's time that a shard may look in vain, in percent
    #[arg(long, env = "ENGINE_SPIN_BUDGET", value_name = "PERCENT", default_value = "100")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) spin_budget: u32,

    /// Receive buffers of 4 KiB that a shard offers the kernel; a power of two
    ///
    /// tokio-uring registers as many, for reads and writes, and takes the heap's when all are in use.
    /// With the ring feature incremental it is the same memory in buffers of 64 KiB.
    #[arg(long, env = "ENGINE_SMALL_BUFFERS", value_name = "N", default_value = "256")]
    #[arg(value_parser = clap::value_parser!(u16).range(2..=16384))]
    pub(crate) small_buffers: u16,

    /// Receive buffers of 64 KiB, for large messages; a power of two
    #[arg(long, env = "ENGINE_LARGE_BUFFERS", value_name = "N", default_value = "16")]
    #[arg(value_parser = clap::value_parser!(u16).range(2..=4096))]
    pub(crate) large_buffers: u16,

    /// Submission queue entries of a ring
    #[arg(long, env = "ENGINE_SUBMISSION_ENTRIES", value_name = "N", default_value = "1024")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=32768))]
    pub(crate) submission_entries: u32,

    /// Completion queue entries of a ring
    #[arg(long, env = "ENGINE_COMPLETION_ENTRIES", value_name = "N", default_value = "8192")]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=65536))]
    pub(crate) completion_entries: u32,

    /// What of io_uring to use: default, all or none, then +NAME or -NAME; see below
    ///
    /// A list that is read from left to right, as in --ring-features=-direct,+msg-ring. What is not
    /// named is used where the kernel has it; +NAME is had or an error, -NAME is left alone. The
    /// names: multishot-accept, buffer-ring, multishot-recv, defer-taskrun, coop-taskrun, direct,
    /// no-sqarray, skip-success, and off by default incremental, msg-ring and zc-send. `engine
    /// doctor` tells what each gives and which are here. Looking before sleeping is --spin.
    #[arg(long, env = "ENGINE_RING_FEATURES", value_name = "LIST", default_value = "default")]
    #[arg(allow_hyphen_values = true)]
    pub(crate) ring_features: RingFeatures,

    /// Under zc-send, the smallest send that is not copied
    ///
    /// Such sends turn themselves off when the kernel reports that it copied them all the same, as
    /// it does on loopback; the log says so.
    #[arg(long, env = "ENGINE_ZC_MIN", value_name = "SIZE", default_value = "32KiB")]
    pub(crate) zc_min: Bytes,

    /// Accept into the process's file table instead of the ring's own: --ring-features=-direct
    #[arg(long, env = "ENGINE_NO_DIRECT_DESCRIPTORS", value_parser = BoolishValueParser::new())]
    pub(crate) no_direct_descriptors: bool,
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Auth {
    Required,
    Optional,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Version {
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

/// A draft beside the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Neighbour {
    #[value(name = "1")]
    Draft1,
    #[value(name = "3")]
    Draft3,
}

/// What becomes of text that is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InvalidText {
    Close,
    Replace,
}

/// What becomes of a slow reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Slow {
    Close,
    Drop,
}

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In parts of so many bytes, if so.
    Echo(Option<NonZeroU32>),
    Broadcast,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo(_) => "echo",
            Self::Broadcast => "broadcast",
        })
    }
}

impl Command {
    /// What to serve and how; the doctor's own flags if it is to look instead.
    pub(crate) fn into_parts(self) -> Result<(Mode, ServeArgs), DoctorArgs> {
        match self {
            Self::Echo(args) => {
                let bytes = u32::try_from(args.part_size.0).unwrap_or(u32::MAX);
                Ok((Mode::Echo(NonZeroU32::new(bytes)), args.serve))
            }
            Self::Broadcast(args) => Ok((Mode::Broadcast, args)),
            Self::Doctor(args) => Err(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, EXAMPLES};
    use crate::settings::Settings;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_variable() {
        for command in Cli::command().get_subcommands() {
            for arg in command.get_arguments().filter(|arg| arg.get_long() != Some("help")) {
                let flag = arg.get_long().expect("there are only flags");
                let variable = format!("ENGINE_{}", flag.replace('-', "_").to_uppercase());
                let set = arg.get_env().and_then(|name| name.to_str());
                assert_eq!(set, Some(&*variable), "--{flag} of {}", command.get_name());
            }
        }
    }

    #[test]
    fn every_example_is_accepted() {
        let mut servers = 0;
        for line in EXAMPLES.lines().filter(|line| line.starts_with("  engine ")) {
            // What it does stands behind a gap.
            let typed = line.trim_start().split("  ").next().unwrap_or_default();
            let parsed = Cli::try_parse_from(typed.split(' '));
            let cli = parsed.unwrap_or_else(|error| panic!("{typed}: {error}"));
            let Ok((mode, args)) = cli.command.into_parts() else { continue };
            // The files of TLS, which are not here, are read when a server starts.
            if let Err(contradiction) = Settings::new(mode, args) {
                panic!("{typed}: {contradiction}");
            }
            servers += 1;
        }
        assert!(servers > 3, "only {servers} examples of servers");
    }
}
