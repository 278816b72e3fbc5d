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
  engine doctor                                   what this machine offers, and why not more
  engine echo --listen-tls 0.0.0.0:9443 --tls-cert chain.pem --tls-key key.pem
  engine echo --allow-origin http://example.com --allow-host example.com:9002

Units:
  sizes      4096, 64KiB, 1m: k, m, g and KiB, MiB, GiB are powers of 1,024; kB, MB, GB of 1,000
  counts     5000, 5k, 1m: k, m, g are powers of 1,000
  durations  500ms, 10s, 1m30s, 2h; 0 turns a timeout off where its text says so

Environment:
  Every flag has a variable: --max-message is ENGINE_MAX_MESSAGE. Lists are separated by commas.
  The command line takes precedence over the environment.

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
  69   the driver that was asked for cannot run on this kernel or in this sandbox
  130  ended at once by a second SIGINT; 143 by a second SIGTERM";

/// A WebSocket server for RFC 6455 and draft-ietf-hybi-thewebsocketprotocol-02, one shard per core,
/// on io_uring or epoll.
///
/// Prints `listening on ADDRESS` on stdout for each plain listener, then `listening on wss://ADDRESS` for
/// each TLS listener, as soon as it accepts connections. Everything else goes to stderr.
#[derive(Debug, Parser)]
#[command(name = "engine", version, max_term_width = 100, after_long_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sends every message back to its sender.
    #[command(after_long_help = EXAMPLES)]
    Echo(EchoArgs),
    /// Delivers every message to all other clients that connected to the same resource name.
    ///
    /// The resource name of the request (/room/7?x=1) is the topic. A message goes to every other
    /// connection of its topic, on all shards; it is encoded once.
    #[command(after_long_help = EXAMPLES)]
    Broadcast(ServeArgs),
    /// Tells what this kernel, sandbox and machine offer the engine, and what that means.
    ///
    /// Tries every driver and every ring feature, and reads the limits that bound the number of
    /// connections. The exit code is 0 if a driver runs here, and 69 if none does.
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print one JSON document instead of tables
    #[arg(long, env = "ENGINE_JSON", value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,

    /// Features of io_uring that a server would be told to use, as in `engine echo --ring-features`
    #[arg(long, env = "ENGINE_RING_FEATURES", value_name = "LIST", default_value = "default")]
    #[arg(allow_hyphen_values = true)]
    pub(crate) ring_features: RingFeatures,
}

/// The flags of the echo.
#[derive(Debug, Args)]
pub(crate) struct EchoArgs {
    /// Send large messages back in frames of at least this size while the rest still arrives; 0: send
    /// them whole
    ///
    /// A large message then passes through the cache piece by piece, and holds no more memory than one
    /// piece. Smaller messages, and compressed ones, go back in one frame.
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
        help = "Address to listen on: 127.0.0.1:9002, [::1]:9002, or name:9002 for every address of \
                that name on this machine; port 0 takes a free one; repeatable [default: 127.0.0.1:0, \
                unless --listen-tls is given]"
    )]
    #[arg(long, env = "ENGINE_LISTEN", value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) listen: Vec<String>,

    /// Number of shards, each a thread with its own ring [default: one per CPU]
    #[arg(long, env = "ENGINE_SHARDS", value_name = "N", conflicts_with = "cpus")]
    pub(crate) shards: Option<Count>,

    /// CPUs to run on, one shard on each: 0-3,5
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
    /// Address to listen on for wss, in addition to --listen; repeatable
    #[arg(long, env = "ENGINE_LISTEN_TLS", value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) listen_tls: Vec<String>,

    /// Certificate chain in PEM, the server's own certificate first; repeatable, each with its --tls-key
    ///
    /// A client is shown the first chain that matches the name it asks for, or the very first if none
    /// does.
    #[arg(long, env = "ENGINE_TLS_CERT", value_name = "FILE", value_delimiter = ',')]
    pub(crate) tls_cert: Vec<PathBuf>,

    /// Private key of the --tls-cert in the same position, in PEM, without a passphrase
    #[arg(long, env = "ENGINE_TLS_KEY", value_name = "FILE", value_delimiter = ',')]
    pub(crate) tls_key: Vec<PathBuf>,

    /// Ask clients for a certificate issued by an authority in this PEM file
    #[arg(long, env = "ENGINE_TLS_CLIENT_CA", value_name = "FILE")]
    pub(crate) tls_client_ca: Option<PathBuf>,

    /// Clients without a certificate: refuse them (required) or accept them (optional) [default:
    /// required]
    #[arg(long, env = "ENGINE_TLS_CLIENT_AUTH", value_name = "POLICY", requires = "tls_client_ca")]
    pub(crate) tls_client_auth: Option<Auth>,

    /// Oldest version of TLS to accept: 1.2 or 1.3 [default: 1.2]
    #[arg(long, env = "ENGINE_TLS_MIN", value_name = "VERSION")]
    pub(crate) tls_min: Option<Version>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Which clients")]
pub(crate) struct PolicyArgs {
    /// Host to serve, against DNS rebinding; repeatable [default: any]
    ///
    /// A host without a port allows all its ports. *.example.com allows every name below example.com
    /// but not example.com itself, and * allows every host. A value that no client could send, such as
    /// one with capitals or with port 80 or 443, is refused at the start, with the correct form.
    #[arg(long, env = "ENGINE_ALLOW_HOST", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) allow_host: Vec<String>,

    /// Origin whose pages may connect, such as https://example.com; repeatable [default: any]
    ///
    /// Give the scheme, the host, and the port unless it is the scheme's default. https://*.example.com
    /// allows every name below example.com, however deep, but not example.com itself; * allows every
    /// origin. A value that no page could have, such as one with a slash at the end, is refused at the
    /// start, with the correct form. Clients that send no origin are then refused as well, unless
    /// --allow-missing-origin is given.
    #[expect(rustdoc::bare_urls, reason = "--help shows it as it is")]
    #[arg(long, env = "ENGINE_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) allow_origin: Vec<String>,

    /// Dialect to speak: hybi-02 (draft-02) or rfc6455 (today's clients); repeatable [default: both]
    ///
    /// The client's opening handshake picks one of them, on the same port.
    #[arg(long, env = "ENGINE_DIALECT", value_name = "DIALECT", value_delimiter = ',')]
    pub(crate) dialect: Vec<Dialect>,

    /// Also accept clients that send no Origin where one is expected
    ///
    /// An Origin is expected in draft-02, whose clients always send one (§5.2.1), and in both dialects
    /// with --allow-origin. Pages in browsers cannot leave it out; programs can. Among clients of RFC
    /// 6455 only browsers send one, and without --allow-origin none needs it.
    #[arg(long, env = "ENGINE_ALLOW_MISSING_ORIGIN", value_parser = BoolishValueParser::new())]
    pub(crate) allow_missing_origin: bool,

    /// TLS ends in front of this server: tell clients of draft-02 that they have reached a wss URL
    ///
    /// They compare it with the URL that they asked for. Clients of RFC 6455 are not told a URL.
    #[arg(long, env = "ENGINE_TLS_IN_FRONT", value_parser = BoolishValueParser::new())]
    pub(crate) tls_in_front: bool,

    /// Read from the field X-Forwarded-Proto (https or http) whether TLS ends in front of this server
    ///
    /// For a proxy that serves both. The proxy must set the field itself. The server believes whoever
    /// sends it, so let nobody but the proxy reach this server.
    #[arg(long, env = "ENGINE_TRUST_FORWARDED_PROTO", value_parser = BoolishValueParser::new())]
    pub(crate) trust_forwarded_proto: bool,

    /// Subprotocol to speak; repeatable
    ///
    /// The first one in the client's list that is given here is chosen. A client that asks only for
    /// others is refused in draft-02; in RFC 6455 it is accepted, and told that none was chosen.
    #[arg(long, env = "ENGINE_SUBPROTOCOL", value_name = "NAME", value_delimiter = ',')]
    pub(crate) subprotocol: Vec<String>,

    /// Refuse clients that ask for no subprotocol
    #[arg(long, env = "ENGINE_REQUIRE_SUBPROTOCOL", value_parser = BoolishValueParser::new())]
    pub(crate) require_subprotocol: bool,

    /// Also accept clients of draft 1 or 3, which have the same framing as draft 2; repeatable
    #[arg(long, env = "ENGINE_ACCEPT_DRAFT", value_name = "DRAFT", value_delimiter = ',')]
    pub(crate) accept_draft: Vec<Neighbour>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Compression")]
pub(crate) struct CompressArgs {
    /// Compress messages for clients of RFC 6455 that offer it (permessage-deflate)
    ///
    /// Compression costs far more CPU time than the message itself. Without --compress-takeover nothing
    /// is kept between messages: an idle connection takes no extra memory, and one in the middle of a
    /// compressed message takes 48 KiB. A broadcast is compressed once for all subscribers.
    #[arg(long, env = "ENGINE_COMPRESS", value_parser = BoolishValueParser::new())]
    pub(crate) compress: bool,

    /// Smallest message to compress; smaller ones are sent as they are
    #[arg(long, env = "ENGINE_COMPRESS_MIN", value_name = "SIZE", default_value = "256")]
    pub(crate) compress_min: Bytes,

    /// How thoroughly to compress, from 1 (fastest) to 9 (smallest)
    #[arg(long, env = "ENGINE_COMPRESS_LEVEL", value_name = "LEVEL", default_value = "3")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) compress_level: u8,

    /// Which messages may refer to earlier ones of their connection ("context takeover")
    ///
    /// Small messages that resemble each other get much smaller. Each connection keeps about 48 KiB for
    /// what its client sends, and 247 to 373 KiB, depending on the window, for what is sent to it.
    #[arg(
        long,
        env = "ENGINE_COMPRESS_TAKEOVER",
        requires = "compress",
        value_name = "WHICH",
        default_value = "none"
    )]
    pub(crate) compress_takeover: Takeover,

    /// Largest window for what is sent, as a power of two: 9 to 15
    #[arg(
        long,
        env = "ENGINE_COMPRESS_WINDOW",
        requires = "compress",
        value_name = "BITS",
        default_value = "15"
    )]
    #[arg(value_parser = clap::value_parser!(u8).range(9..=15))]
    pub(crate) compress_window: u8,

    /// Largest window to ask of clients that can limit theirs, as a power of two: 8 to 15
    ///
    /// This saves memory on their side; ours stays the same.
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
    /// At most half of it is for --compress-takeover. Connections beyond that are accepted without
    /// takeover and, when the whole budget is in use, without compression. A compressed message that
    /// finds no memory left ends its connection with code 1013.
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
    /// No messages
    None,
    /// Messages that are sent
    Sent,
    /// Messages that are received
    Received,
    /// Messages in both directions
    Both,
}

impl Takeover {
    /// Whether messages that are sent may refer to earlier ones, and whether received ones may.
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

    /// What to do about text that is not UTF-8: end the connection (close), or read each bad sequence
    /// as U+FFFD (replace)
    #[arg(long, env = "ENGINE_INVALID_UTF8", value_name = "POLICY", default_value = "close")]
    pub(crate) invalid_utf8: InvalidText,

    /// Most connections of one shard; the limit of open files applies as well
    #[arg(long, env = "ENGINE_MAX_CONNECTIONS", value_name = "COUNT", default_value = "1m")]
    pub(crate) max_connections: Count,

    /// Largest head of an opening handshake, up to 65535
    #[arg(long, env = "ENGINE_MAX_HANDSHAKE", value_name = "SIZE", default_value = "16KiB")]
    pub(crate) max_handshake: Bytes,

    /// Longest line of the opening handshake's head, up to 65535
    #[arg(long, env = "ENGINE_MAX_LINE", value_name = "SIZE", default_value = "8KiB")]
    pub(crate) max_line: Bytes,

    /// Most fields of the opening handshake's head, up to 128
    #[arg(long, env = "ENGINE_MAX_FIELDS", value_name = "COUNT", default_value = "100")]
    pub(crate) max_fields: Count,

    /// Most data that may wait to be sent on one connection; beyond that its reader counts as slow
    #[arg(long, env = "ENGINE_MAX_OUTBOUND", value_name = "SIZE", default_value = "4MiB")]
    pub(crate) max_outbound: Bytes,

    /// Stop reading from a connection while more than this waits to be sent on it
    #[arg(long, env = "ENGINE_PAUSE_READING", value_name = "SIZE", default_value = "256KiB")]
    pub(crate) pause_reading: Bytes,

    /// Most memory that a shard holds for its clients: messages, queues, publications, compression
    /// [default: a quarter of the machine's memory, or of its control group's, for all shards together]
    ///
    /// Beyond the budget publications are refused and the connections that hold the most are ended,
    /// with code 1013 if it is their unfinished messages that take the memory. What the kernel holds for
    /// the same connections comes on top, and may be as much.
    #[arg(long, env = "ENGINE_MEMORY_BUDGET", value_name = "SIZE")]
    pub(crate) memory_budget: Option<Bytes>,

    /// What to do about a slow reader of a broadcast: end its connection (close), or let it miss
    /// messages and count them (drop)
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

    /// End connections whose peer neither sends nor takes anything for this long; 0: never
    #[arg(long, env = "ENGINE_IDLE_TIMEOUT", value_name = "TIME", default_value = "2m")]
    pub(crate) idle_timeout: Span,

    /// Ping connections that have been silent for this long; 0: never
    #[arg(long, env = "ENGINE_PING_INTERVAL", value_name = "TIME", default_value = "45s")]
    pub(crate) ping_interval: Span,

    /// How long the peer may take to answer our Close, and then to end TCP, each counted from when it
    /// last sent or took anything
    #[arg(long, env = "ENGINE_CLOSE_TIMEOUT", value_name = "TIME", default_value = "5s")]
    pub(crate) close_timeout: Span,

    /// How long closing all connections may take after SIGTERM or SIGINT; up to half of it goes to
    /// delivering messages that were published before
    #[arg(long, env = "ENGINE_DRAIN", value_name = "TIME", default_value = "10s")]
    pub(crate) drain: Span,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Kernel")]
pub(crate) struct RingArgs {
    /// How to talk to the kernel: uring, tokio-uring, epoll, or auto
    ///
    /// auto chooses the first of them that is worth it: uring on Linux 5.19 or later, at its best from
    /// 6.1 on; tokio-uring, slower and with a buffer per idle connection, from 5.11 on; and epoll where
    /// io_uring is forbidden, as in most containers. The log says which and why. A driver asked for by
    /// name never falls back to another: if it cannot run, that is an error.
    #[arg(long, env = "ENGINE_DRIVER", value_name = "DRIVER", default_value = "auto")]
    pub(crate) driver: Driver,

    /// How long to look for work before sleeping; 0: sleep at once
    ///
    /// This lowers latency and burns CPU: each shard keeps its core busy while it looks.
    #[arg(long, env = "ENGINE_SPIN", value_name = "TIME", default_value = "0")]
    pub(crate) spin: Span,

    /// Largest share of a core's time that a shard may spend looking in vain, in percent
    #[arg(long, env = "ENGINE_SPIN_BUDGET", value_name = "PERCENT", default_value = "100")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) spin_budget: u32,

    /// Receive buffers of 4 KiB that a shard offers the kernel; a power of two
    ///
    /// tokio-uring registers this many, for reads and writes, and takes memory from the heap when all are
    /// in use. With the ring feature incremental, as much memory is split into buffers of 64 KiB.
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

    /// Features of io_uring to use: default, all or none, then +NAME or -NAME for single ones
    ///
    /// The list is read from left to right, as in --ring-features=-direct,+msg-ring. +NAME requires a
    /// feature: if the kernel does not have it, that is an error. -NAME does without it. A feature that
    /// is not named is used where the kernel has it. The names: multishot-accept, buffer-ring,
    /// multishot-recv, defer-taskrun, coop-taskrun, direct, no-sqarray, skip-success; and, off by
    /// default, incremental, msg-ring and zc-send. `engine doctor` says what each of them is for and
    /// which of them this kernel has. To look for work before sleeping, see --spin.
    #[arg(long, env = "ENGINE_RING_FEATURES", value_name = "LIST", default_value = "default")]
    #[arg(allow_hyphen_values = true)]
    pub(crate) ring_features: RingFeatures,

    /// With zc-send, the smallest send that is not copied
    ///
    /// The engine stops sending without a copy when the kernel reports that it copied anyway, as
    /// it does on loopback; the log says so.
    #[arg(long, env = "ENGINE_ZC_MIN", value_name = "SIZE", default_value = "32KiB")]
    pub(crate) zc_min: Bytes,

    /// Accept connections into the process's file table instead of the ring's own; means
    /// --ring-features=-direct
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

/// A draft other than the second whose clients can be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Neighbour {
    #[value(name = "1")]
    Draft1,
    #[value(name = "3")]
    Draft3,
}

/// What to do about text that is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InvalidText {
    Close,
    Replace,
}

/// What to do about a slow reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Slow {
    Close,
    Drop,
}

/// Which of the two servers to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Sends large messages back in parts of at least so many bytes, if that is given.
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
