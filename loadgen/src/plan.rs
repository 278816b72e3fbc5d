//! What exactly will be run: the command line with every choice made, checked before it starts.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringbolt::handshake::{ClientRequest, HeadLimits};
use ringbolt::{Driver, Endpoint, Route};

use crate::args::{
    ArrivalArgs, BroadcastArgs, ChurnArgs, DialArgs, EchoArgs, IdleArgs, LoadArgs, MachineArgs,
    Measure, OutputArgs, SlowArgs, SpanArgs, StormArgs, TargetArgs, WindowArgs,
};
use crate::arrivals::{self, Arrivals, Process, Profile, Stage, Turns};
use crate::broadcast;
use crate::failure::Failure;
use crate::goal::Goal;
use crate::lifetime::Lifetime;
use crate::pace::Nanos;
use crate::record::Tells;
use crate::search::{self, Rate};
use crate::shape::Shape;
use crate::source::Sources;
use crate::tls::Tls;
use crate::{preflight, target, units};

/// A run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) url: String,
    /// What is tried first: the server's, or the proxy's.
    pub(crate) address: Endpoint,
    pub(crate) route: Route,
    pub(crate) request: Arc<ClientRequest>,
    /// How to speak TLS, if the target is wss.
    pub(crate) tls: Option<Tls>,
    pub(crate) sources: Sources,
    pub(crate) connections: u64,
    pub(crate) scenario: Scenario,
    pub(crate) window: Window,
    /// Connections per second; `None` as fast as they are accepted.
    pub(crate) connect_rate: Option<f64>,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// How long the head of an answer may be.
    pub(crate) head: HeadLimits,
    /// The names of further fields of the opening handshake; what they say may be secret.
    pub(crate) fields: Vec<String>,
    /// What is random is made from it.
    pub(crate) seed: u64,
    pub(crate) threads: Vec<Option<usize>>,
    pub(crate) driver: Driver,
    pub(crate) spin: Duration,
    pub(crate) pid: Option<u32>,
    pub(crate) file_limit: u64,
    pub(crate) output: Output,
}

/// What the connections do.
#[derive(Debug, Clone)]
pub(crate) enum Scenario {
    Echo(Traffic),
    Broadcast(Fan),
    /// Connections on a schedule, or as many as possible.
    Storm {
        arrivals: Option<Arrivals>,
    },
    /// Connections that are held, and pinged on a schedule if there is one.
    Idle {
        pings: Option<Arrivals>,
    },
    /// Connections of which each is replaced when it has lived.
    Churn {
        lifetime: Lifetime,
    },
    /// An echo in which some connections stop reading.
    Slow(Traffic, Stalls),
}

/// Which connections stop reading, and what they send all the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stalls {
    pub(crate) connections: u64,
    /// Messages per second of each of them.
    pub(crate) rate: f64,
}

/// Who publishes what to whom.
#[derive(Debug, Clone)]
pub(crate) struct Fan {
    pub(crate) traffic: Traffic,
    pub(crate) publishers: u64,
    pub(crate) subscribers: u64,
    /// Publications at once.
    pub(crate) burst: u64,
}

/// What is sent, and when.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    pub(crate) pace: Pace,
    pub(crate) payload: Shape,
    /// Frames of each message.
    pub(crate) fragments: Option<u64>,
    pub(crate) text: bool,
    pub(crate) seed: u64,
}

/// When messages are sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Pace {
    /// The next when a reply came, with so many in flight on each connection.
    Closed { depth: u64 },
    /// On a schedule of all connections; what is due beyond `depth` in flight on its connection
    /// waits.
    Open { arrivals: Arrivals, depth: Option<u64> },
}

/// What is measured.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) warmup: Duration,
    pub(crate) length: Length,
    /// The parts that it has, where they were asked for.
    pub(crate) stages: Vec<Stage>,
    /// When the load is to begin, in nanoseconds since 1970; else as soon as it can.
    pub(crate) start_at: Option<u64>,
}

/// How long the measurement lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Time(Duration),
    Messages(u64),
}

/// Where results go.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) csv: bool,
    pub(crate) file: Option<PathBuf>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) hgrm: Option<PathBuf>,
    pub(crate) trace: Option<PathBuf>,
    pub(crate) hlog: Option<PathBuf>,
    pub(crate) goals: Vec<Goal>,
    pub(crate) commit: Option<String>,
    pub(crate) quiet: bool,
}

impl Plan {
    /// Makes every choice that the command line leaves open, and checks that this machine can run
    /// it.
    pub(crate) fn new(command: Measure) -> Result<Self, Failure> {
        match command {
            Measure::Echo(args) => Self::echo(args),
            Measure::Broadcast(args) => Self::broadcast(args),
            Measure::Storm(args) => Self::storm(args),
            Measure::Idle(args) => Self::idle(args),
            Measure::Churn(args) => Self::churn(args),
            Measure::Slow(args) => Self::slow(args),
        }
    }

    fn echo(args: EchoArgs) -> Result<Self, Failure> {
        let EchoArgs { target, connections, window, depth, load, dial, machine, trace, output } =
            args;
        let load = load.of_senders(connections)?;
        let window = Window::new(&window, &load.when.stage, load.when.fixed());
        let traffic = Traffic::new(&load, depth, window.warmup);
        let seed = load.when.seed;
        let parts = Parts { target, connections, window, seed, dial, machine, output };
        let mut plan = parts.plan(Scenario::Echo(traffic), 0)?;
        plan.output.trace = trace;
        Ok(plan)
    }

    fn broadcast(args: BroadcastArgs) -> Result<Self, Failure> {
        let BroadcastArgs { target, subscribers, publishers, burst, window, load, .. } = args;
        let load = load.of_senders(publishers)?;
        if !matches!(load.payload, Shape::Sizes(_)) {
            return Err(Failure::usage(
                format!("publications cannot be `{}`", load.payload),
                "each carries its number and time, by which its deliveries are known",
                "give a size, or sizes, as --payload",
            ));
        }
        if load.payload.smallest() < broadcast::SMALLEST {
            return Err(Failure::usage(
                format!("publications of {} bytes are too small", load.payload.smallest()),
                format!("each carries its number and time in {} bytes", broadcast::SMALLEST),
                "give a larger --payload",
            ));
        }
        let window = Window::new(&window, &load.when.stage, load.when.fixed());
        let traffic = Traffic::new(&load, None, window.warmup);
        let fan = Fan { traffic, publishers, subscribers, burst };
        let parts = Parts {
            target,
            connections: subscribers + publishers,
            window,
            seed: load.when.seed,
            dial: args.dial,
            machine: args.machine,
            output: args.output,
        };
        parts.plan(Scenario::Broadcast(fan), 0)
    }

    fn storm(args: StormArgs) -> Result<Self, Failure> {
        let StormArgs { target, connections, when, window, source, machine, output } = args;
        let window = Window::new(&window, &when.stage, when.fixed());
        let arrivals = when.arrivals(window.warmup);
        let dial = DialArgs { connect_rate: None, ramp: None, source };
        let seed = when.seed;
        let parts = Parts { target, connections, window, seed, dial, machine, output };
        parts.plan(Scenario::Storm { arrivals }, STORM_ROTATION)
    }

    fn idle(args: IdleArgs) -> Result<Self, Failure> {
        let IdleArgs { target, connections, ping_interval, span, seed, dial, machine, output } =
            args;
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let pings = ping_interval.map(|every| Arrivals {
            profile: Profile::constant(connections as f64 / every.as_secs_f64()),
            process: Process::Constant,
            seed,
        });
        let window = Window::of(&span);
        let parts = Parts { target, connections, window, seed, dial, machine, output };
        parts.plan(Scenario::Idle { pings }, 0)
    }

    fn churn(args: ChurnArgs) -> Result<Self, Failure> {
        let ChurnArgs { target, connections, lifetime, window, seed, source, machine, output } =
            args;
        let dial = DialArgs { connect_rate: None, ramp: None, source };
        let window = Window::new(&window, &[], None);
        let parts = Parts { target, connections, window, seed, dial, machine, output };
        parts.plan(Scenario::Churn { lifetime }, STORM_ROTATION)
    }

    fn slow(args: SlowArgs) -> Result<Self, Failure> {
        let SlowArgs { target, connections, slow, slow_rate, window, depth, load, .. } = args;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count"
        )]
        let stalled = ((connections as f64 * slow).round() as u64).max(1);
        if stalled >= connections {
            return Err(Failure::usage(
                format!("{stalled} of {connections} connections cannot be slow"),
                "the latency of the others is what is measured",
                "give more --connections, or a smaller --slow",
            ));
        }
        let load = load.of_senders(connections - stalled)?;
        let window = Window::new(&window, &load.when.stage, load.when.fixed());
        let traffic = Traffic::new(&load, depth, window.warmup);
        let stalls = Stalls { connections: stalled, rate: slow_rate };
        let parts = Parts {
            target,
            connections,
            window,
            seed: load.when.seed,
            dial: args.dial,
            machine: args.machine,
            output: args.output,
        };
        let mut plan = parts.plan(Scenario::Slow(traffic, stalls), 0)?;
        plan.output.trace = args.trace;
        Ok(plan)
    }

    /// How many connections worker `index` has: every `threads`-th.
    pub(crate) fn share(&self, total: u64, index: usize) -> u64 {
        let (threads, index) = (self.threads.len() as u64, index as u64);
        (total + threads - 1 - index) / threads
    }

    /// How many of `total` messages worker `index` sends in the window: those that have a
    /// connection that sends share them.
    pub(crate) fn quota(&self, total: u64, index: usize) -> u64 {
        let (sharing, index) = (self.senders().min(self.threads.len() as u64), index as u64);
        if index < sharing { (total + sharing - 1 - index) / sharing } else { 0 }
    }

    /// How many connections send what is measured: the first ones.
    pub(crate) const fn senders(&self) -> u64 {
        match &self.scenario {
            Scenario::Broadcast(fan) => fan.publishers,
            Scenario::Slow(_, stalls) => self.connections - stalls.connections,
            _ => self.connections,
        }
    }

    /// Whether connections come and go all the time.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self.scenario, Scenario::Storm { .. } | Scenario::Churn { .. })
    }

    /// Files that the run has open at once.
    pub(crate) const fn files(&self) -> u64 {
        preflight::files(self.connections, self.threads.len())
    }

    /// The schedule of an open loop: of messages, publications or connections.
    pub(crate) const fn arrivals(&self) -> Option<&Arrivals> {
        match &self.scenario {
            Scenario::Storm { arrivals } | Scenario::Idle { pings: arrivals } => arrivals.as_ref(),
            Scenario::Churn { .. } => None,
            Scenario::Echo(traffic)
            | Scenario::Slow(traffic, _)
            | Scenario::Broadcast(Fan { traffic, .. }) => match &traffic.pace {
                Pace::Open { arrivals, .. } => Some(arrivals),
                Pace::Closed { .. } => None,
            },
        }
    }

    /// The highest rate of an open loop: messages, publications or connections per second.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.arrivals().map(|arrivals| arrivals.profile.peak())
    }

    /// Which arrivals worker `index` has, when `lanes` connections of the run have some.
    pub(crate) fn turns(&self, lanes: u64, index: usize) -> Turns {
        let (offset, stride) = (index as u64, self.threads.len() as u64);
        Turns { offset, stride, connections: lanes, lanes: self.share(lanes, index) }
    }

    /// What the run can tell of each message.
    pub(crate) fn tells(&self) -> Tells {
        match (&self.scenario, self.arrivals()) {
            (_, None) => Tells::Latency,
            // Subscribers do not know when a publication left.
            (Scenario::Broadcast(_), Some(_)) => Tells::Lag,
            (_, Some(_)) => Tells::Service,
        }
    }

    /// How many replies the schedule of an open loop asks for between two times after its start;
    /// `audience` is how many deliveries a publication is to have.
    pub(crate) fn offered(
        &self,
        (start, window): (Nanos, Range<Nanos>),
        audience: u64,
    ) -> Option<u64> {
        let arrivals = self.arrivals()?;
        let due = |arrivals, lanes| {
            let turns: Vec<_> =
                (0..self.threads.len()).map(|index| self.turns(lanes, index)).collect();
            arrivals::offered(arrivals, start, (window.start, window.end), &turns)
        };
        Some(match &self.scenario {
            Scenario::Broadcast(fan) => {
                due(&fan.bursts(arrivals), fan.publishers) * fan.burst * audience
            }
            _ => due(arrivals, self.senders()),
        })
    }
}

impl Scenario {
    /// What is sent, where anything is.
    pub(crate) const fn traffic(&self) -> Option<&Traffic> {
        match self {
            Self::Echo(traffic) | Self::Slow(traffic, _) => Some(traffic),
            Self::Broadcast(fan) => Some(&fan.traffic),
            Self::Storm { .. } | Self::Idle { .. } | Self::Churn { .. } => None,
        }
    }

    /// Bytes of the longest message.
    pub(crate) fn payload(&self) -> usize {
        self.traffic().map_or(0, |traffic| traffic.payload.largest())
    }

    /// Messages that may wait on one connection without anything being wrong.
    pub(crate) const fn at_once(&self) -> u64 {
        match self {
            Self::Echo(Traffic { pace: Pace::Closed { depth }, .. })
            | Self::Slow(Traffic { pace: Pace::Closed { depth }, .. }, _) => *depth,
            Self::Broadcast(fan) => fan.burst,
            _ => 1,
        }
    }
}

impl Traffic {
    fn new(args: &LoadArgs, depth: Option<u64>, warmup: Duration) -> Self {
        let pace = match args.when.arrivals(warmup) {
            Some(arrivals) => Pace::Open { arrivals, depth },
            None => Pace::Closed { depth: depth.unwrap_or(1) },
        };
        let (payload, fragments) = (args.payload.clone(), args.fragments);
        Self { pace, payload, fragments, text: args.text, seed: args.when.seed }
    }
}

impl LoadArgs {
    /// A rate of each connection as that of all that send.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn of_senders(mut self, senders: u64) -> Result<Self, Failure> {
        if let Some(each) = self.rate_per_conn {
            let all = each * senders as f64;
            if all > units::RATE_MAX {
                return Err(Failure::usage(
                    format!("{senders} connections cannot send {each} messages per second each"),
                    format!("{} is the highest rate of all together", units::RATE_MAX),
                    "give a lower --rate-per-conn, or fewer connections",
                ));
            }
            self.when.rate = Some(Rate::Fixed(all));
        }
        Ok(self)
    }
}

impl Fan {
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.traffic.pace, Pace::Closed { .. })
    }

    /// The arrivals of bursts, for those of publications.
    #[expect(clippy::cast_precision_loss, reason = "a burst has fewer messages than 2^53")]
    pub(crate) fn bursts(&self, arrivals: &Arrivals) -> Arrivals {
        let profile = arrivals.profile.scaled(1.0 / self.burst as f64);
        Arrivals { profile, ..*arrivals }
    }
}

impl ArrivalArgs {
    /// The rate; that of a search is set for each of its runs.
    const fn fixed(&self) -> Option<f64> {
        match &self.rate {
            Some(Rate::Fixed(rate)) => Some(*rate),
            Some(Rate::Highest(_)) => Some(search::FIRST),
            None => None,
        }
    }

    /// The schedule asked for, when `warmup` comes before the measurement.
    fn arrivals(&self, warmup: Duration) -> Option<Arrivals> {
        let profile = match self.fixed() {
            Some(rate) => Profile::constant(rate),
            None if self.stage.is_empty() => return None,
            None => Profile::staged(warmup, &self.stage),
        };
        Some(Arrivals { profile, process: self.arrival, seed: self.seed })
    }
}

impl Window {
    fn of(args: &SpanArgs) -> Self {
        let SpanArgs { duration, warmup, start_at } = *args;
        Self { warmup, length: Length::Time(duration), stages: Vec::new(), start_at }
    }

    fn new(args: &WindowArgs, stages: &[Stage], rate: Option<f64>) -> Self {
        let length = match (args.messages, rate) {
            _ if !stages.is_empty() => Length::Time(stages.iter().map(|stage| stage.length).sum()),
            (None, _) => Length::Time(args.span.duration),
            // On a schedule a number of messages is a duration.
            #[expect(clippy::cast_precision_loss, reason = "a run sends fewer than 2^53")]
            (Some(n), Some(rate)) => {
                Length::Time(Duration::from_secs_f64((n as f64 / rate).min(1e9)))
            }
            (Some(n), None) => Length::Messages(n),
        };
        Self { length, stages: stages.to_vec(), ..Self::of(&args.span) }
    }
}

/// Connections that a storm's source addresses must last for: a closed connection keeps its port
/// for a minute.
const STORM_ROTATION: u64 = 2_000_000;

/// What all scenarios have on their command lines.
struct Parts {
    target: TargetArgs,
    connections: u64,
    window: Window,
    seed: u64,
    dial: DialArgs,
    machine: MachineArgs,
    output: OutputArgs,
}

impl Parts {
    /// `rotation` is for how many connections source addresses must last beyond those open at
    /// once.
    fn plan(self, scenario: Scenario, rotation: u64) -> Result<Plan, Failure> {
        let Self { target, connections, window, seed, dial, machine, output } = self;
        let (socket, url) = target::parse(&target.url)?;
        let tls = Tls::new(target.tls.clone(), url.secure())?;
        let (route, address) = target::way(socket, target.proxy.as_deref(), &url)?;
        let is_local = address.ip().is_none_or(|ip| ip.is_loopback());
        let (shown, fields) = (target::shown(&target.url, &url), target::fields(&target, &url));
        let request = Arc::new(target::request(&target, url)?);
        let sources = preflight::sources(&dial, &address, connections, rotation)?;
        let connect_rate = match (dial.connect_rate, dial.ramp) {
            (None, Some(ramp)) if !ramp.is_zero() =>
            {
                #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
                Some(connections as f64 / ramp.as_secs_f64())
            }
            (rate, _) => rate,
        };
        let threads = preflight::threads(&machine, is_local, connections)?;
        let file_limit = preflight::check_files(connections, threads.len())?;
        preflight::check_memory(&scenario, connections)?;
        preflight::check_text(&scenario)?;
        preflight::check_start(window.start_at)?;
        let plan = Plan {
            address,
            route,
            request,
            tls,
            sources,
            connections,
            scenario,
            window,
            connect_rate,
            timeout: target.timeout,
            connect_timeout: target.connect_timeout.unwrap_or(target.timeout),
            head: target.head.limits(),
            fields,
            seed,
            threads,
            driver: machine.driver,
            spin: machine.spin,
            pid: machine.pid,
            file_limit,
            url: shown,
            output: Output {
                json: output.json,
                csv: output.csv,
                file: output.output,
                folder: output.out,
                hgrm: output.hgrm,
                trace: None,
                hlog: output.hlog,
                goals: output.fail_if,
                commit: output.commit,
                quiet: output.quiet,
            },
        };
        preflight::check_goals(&plan)?;
        Ok(plan)
    }
}
