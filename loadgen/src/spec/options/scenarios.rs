//! The command lines of the scenarios.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{DialArgs, LoadArgs, MachineArgs, OutputArgs, SpanArgs, TargetArgs, WindowArgs, help};
use crate::base::units;
use crate::spec::lifetime::{self, Lifetime};
use crate::spec::options::ArrivalArgs;
use crate::spec::rate::Rate;

/// The scenarios.
#[derive(Debug, Clone, Subcommand)]
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
    #[command(after_help = IDLE_EXAMPLES)]
    Idle(IdleArgs),
    /// Keep a number of connections open, each of which lives for a random time
    #[command(after_help = CHURN_EXAMPLES)]
    Churn(ChurnArgs),
    /// Let some connections stop reading: what the server does, and what the others notice
    #[command(after_help = SLOW_EXAMPLES)]
    Slow(SlowArgs),
}

impl Measure {
    /// The rate that was asked for, where the scenario has one.
    pub(crate) const fn rate(&mut self) -> Option<&mut Rate> {
        match self {
            Self::Echo(args) => args.load.when.rate.as_mut(),
            Self::Broadcast(args) => args.load.when.rate.as_mut(),
            Self::Slow(args) => args.load.when.rate.as_mut(),
            Self::Storm(args) => args.when.rate.as_mut(),
            Self::Idle(_) | Self::Churn(_) => None,
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct EchoArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Number of connections [suffixes: k, m]
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

#[derive(Debug, Clone, Args)]
pub(crate) struct BroadcastArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Connections that only listen [suffixes: k, m]
    #[arg(short = 'c', long, alias = "connections", env = "LOADGEN_SUBSCRIBERS", value_name = "N",
          default_value = "1", value_parser = units::positive, help_heading = "Load")]
    pub(crate) subscribers: u64,
    /// Connections that publish, in addition to the subscribers; they hear each other, but not
    /// themselves
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

#[derive(Debug, Clone, Args)]
pub(crate) struct StormArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Number of connections being opened or closed at any time [suffixes: k, m]
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

#[derive(Debug, Clone, Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Number of connections [suffixes: k, m]
    #[arg(short, long, env = "LOADGEN_CONNECTIONS", value_name = "N", default_value = "1000",
          value_parser = units::positive, help_heading = "Load")]
    pub(crate) connections: u64,
    /// Interval at which each connection, in turn, pings the server and measures its pong
    #[arg(long, env = "LOADGEN_PING_INTERVAL", value_name = "TIME", value_parser = units::span,
          help_heading = "Load")]
    pub(crate) ping_interval: Option<Duration>,
    #[command(flatten)]
    pub(crate) span: SpanArgs,
    #[arg(long, env = "LOADGEN_SEED", value_name = "N", default_value = "1", help_heading = "Load",
          help = help::SEED)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) dial: DialArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ChurnArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Number of connections to keep open [suffixes: k, m]
    #[arg(short, long, env = "LOADGEN_CONNECTIONS", value_name = "N", default_value = "100",
          value_parser = units::positive, help_heading = "Load")]
    pub(crate) connections: u64,
    /// How long connections live: 10s, each as long; exponential:10s, on average, as if each could end
    /// at any time; or uniform:5s..15s
    #[arg(long, env = "LOADGEN_LIFETIME", value_name = "TIME", default_value = "exponential:10s",
          value_parser = lifetime::parse, help_heading = "Load")]
    pub(crate) lifetime: Lifetime,
    #[command(flatten)]
    pub(crate) window: WindowArgs,
    #[arg(long, env = "LOADGEN_SEED", value_name = "N", default_value = "1", help_heading = "Load",
          help = help::SEED)]
    pub(crate) seed: u64,
    #[arg(long, env = "LOADGEN_SOURCE", value_name = "CIDR", help_heading = "Connecting",
          help = help::SOURCE)]
    pub(crate) source: Option<String>,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SlowArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Number of connections, including the slow ones [suffixes: k, m]
    #[arg(short, long, env = "LOADGEN_CONNECTIONS", value_name = "N", default_value = "100",
          value_parser = units::positive, help_heading = "Load")]
    pub(crate) connections: u64,
    /// Share of the connections that stop reading when the load begins, but go on sending
    #[arg(long, env = "LOADGEN_SLOW", value_name = "PERCENT", default_value = "10%",
          value_parser = units::percent, help_heading = "Load")]
    pub(crate) slow: f64,
    /// Messages per second that each slow connection sends, for as long as the server takes them
    #[arg(long, env = "LOADGEN_SLOW_RATE", value_name = "RATE", default_value = "1000",
          value_parser = units::rate, help_heading = "Load")]
    pub(crate) slow_rate: f64,
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

const IDLE_EXAMPLES: &str = "\
The connections are opened and held. With --pid the result has the memory that the server takes for each
(its own, not the kernel's for its sockets), and with --ping-interval the round trips of pings. Pings
from the server are answered and counted. A connection that the server ends is an error.

Examples:
  loadgen idle ws://127.0.0.1:9000/ -c 10k -d 1m --pid $(pidof engine)
  loadgen idle ws://127.0.0.1:9000/ -c 1000 --ping-interval 1s";

const CHURN_EXAMPLES: &str = "\
Each connection lives for a random time and ends with a closing handshake. It is replaced at once, so
that the number of open connections is steady. The first ones begin in the middle of their lives, so
that the rate is steady from the start. The latency is that of opening a connection.

Examples:
  loadgen churn ws://127.0.0.1:9000/ -c 1000 --lifetime exponential:10s
  loadgen churn ws://127.0.0.1:9000/ -c 1000 --lifetime uniform:1s..5s -d 30s";

const SLOW_EXAMPLES: &str = "\
An echo in which some connections stop reading, as a client whose network stalls does. The latency is
that of the others. The result says what the server did with the slow ones: whether it closed them, with
which code and after how long, whether it stopped reading from them, or kept everything in its memory
(--pid). When the load is over they read again, and their replies are counted.

Examples:
  loadgen slow ws://127.0.0.1:9000/ -c 100 --slow 10% --pid $(pidof engine)
  loadgen slow ws://127.0.0.1:9000/ -c 1000 -r 10k -p 1KiB --slow-rate 10k";

const ECHO_EXAMPLES: &str = "\
Examples:
  loadgen echo ws://127.0.0.1:9000/ -c 1000            as fast as replies come back
  loadgen echo ws://127.0.0.1:9000/ -c 1000 -r 50k/s   50,000 messages per second, on schedule
  loadgen echo ws://127.0.0.1:9000/ -p 1MiB --depth 4  large messages, four in flight";

const BROADCAST_EXAMPLES: &str = "\
Every message of a publisher must reach every other connection: its subscribers and the other
publishers. Reach is the share that did. `first`, `median` and `last` say when publications that reached
everybody came to the first, the middle and the last of them. Without --rate a publisher sends when its
last message has reached everybody.

Examples:
  loadgen broadcast ws://127.0.0.1:9000/room -c 1000            one publisher, 1,000 listeners
  loadgen broadcast ws://127.0.0.1:9000/room -c 1000 -r 100/s   100 publications per second
  loadgen broadcast ws://127.0.0.1:9000/room --publishers 10 --burst 16";

const STORM_EXAMPLES: &str = "\
Each connection is opened, upgraded and ended with a closing handshake, and makes room for the next.

Examples:
  loadgen storm ws://127.0.0.1:9000/ -c 100 -d 10s      as fast as the server takes them
  loadgen storm ws://127.0.0.1:9000/ -c 1000 -r 5k/s    5,000 per second, on schedule
  loadgen storm ws://127.0.0.1:9000/ -n 100k            100,000 connections in all";
