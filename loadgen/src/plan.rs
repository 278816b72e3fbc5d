//! What exactly will be run: the command line with every choice made, checked before it starts.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringbolt::handshake::ClientRequest;
use ringbolt::{Driver, Endpoint};

use crate::args::{
    ArrivalArgs, BroadcastArgs, DialArgs, EchoArgs, LoadArgs, MachineArgs, Measure, OutputArgs,
    StormArgs, TargetArgs, WindowArgs,
};
use crate::arrivals::{self, Arrivals, Profile, Stage, Turns};
use crate::broadcast;
use crate::failure::Failure;
use crate::goal::Goal;
use crate::pace::Nanos;
use crate::record::Tells;
use crate::source::Sources;
use crate::target;
use crate::tls::Tls;

/// A run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) url: String,
    pub(crate) address: Endpoint,
    pub(crate) request: Arc<ClientRequest>,
    /// Of a wss target.
    pub(crate) tls: Option<Tls>,
    pub(crate) sources: Sources,
    pub(crate) connections: u64,
    pub(crate) scenario: Scenario,
    pub(crate) window: Window,
    /// Connections per second; `None` as fast as they are accepted.
    pub(crate) connect_rate: Option<f64>,
    pub(crate) timeout: Duration,
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
    pub(crate) payload: usize,
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
        }
    }

    fn echo(args: EchoArgs) -> Result<Self, Failure> {
        let EchoArgs { target, connections, window, depth, load, dial, machine, trace, output } =
            args;
        let window = Window::new(&window, &load.when);
        let traffic = Traffic::new(&load, depth, window.warmup);
        let seed = load.when.seed;
        let parts = Parts { target, connections, window, seed, dial, machine, output };
        let mut plan = parts.plan(Scenario::Echo(traffic), 0)?;
        plan.output.trace = trace;
        Ok(plan)
    }

    fn broadcast(args: BroadcastArgs) -> Result<Self, Failure> {
        let BroadcastArgs { target, subscribers, publishers, burst, window, load, .. } = args;
        if load.payload < broadcast::SMALLEST {
            return Err(Failure::usage(
                format!("publications of {} bytes are too small", load.payload),
                format!("each carries its number and time in {} bytes", broadcast::SMALLEST),
                "give a larger --payload",
            ));
        }
        let window = Window::new(&window, &load.when);
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
        let window = Window::new(&window, &when);
        let arrivals = when.arrivals(window.warmup);
        let dial = DialArgs { connect_rate: None, ramp: None, source };
        let seed = when.seed;
        let parts = Parts { target, connections, window, seed, dial, machine, output };
        parts.plan(Scenario::Storm { arrivals }, STORM_ROTATION)
    }

    /// How many connections worker `index` has: every `threads`-th.
    pub(crate) fn share(&self, total: u64, index: usize) -> u64 {
        let (threads, index) = (self.threads.len() as u64, index as u64);
        (total + threads - 1 - index) / threads
    }

    /// How many of `total` messages worker `index` sends in the window: those that have a
    /// connection that sends share them.
    pub(crate) fn quota(&self, total: u64, index: usize) -> u64 {
        let senders = match &self.scenario {
            Scenario::Broadcast(fan) => fan.publishers,
            _ => self.connections,
        };
        let (sharing, index) = (senders.min(self.threads.len() as u64), index as u64);
        if index < sharing { (total + sharing - 1 - index) / sharing } else { 0 }
    }

    /// Files that the run has open at once.
    pub(crate) const fn files(&self) -> u64 {
        files(self.connections, self.threads.len())
    }

    /// The schedule of an open loop: of messages, publications or connections.
    pub(crate) const fn arrivals(&self) -> Option<&Arrivals> {
        match &self.scenario {
            Scenario::Storm { arrivals } => arrivals.as_ref(),
            Scenario::Echo(traffic) | Scenario::Broadcast(Fan { traffic, .. }) => {
                match &traffic.pace {
                    Pace::Open { arrivals, .. } => Some(arrivals),
                    Pace::Closed { .. } => None,
                }
            }
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
            _ => due(arrivals, self.connections),
        })
    }
}

impl Scenario {
    /// What is sent, where anything is.
    pub(crate) const fn traffic(&self) -> Option<&Traffic> {
        match self {
            Self::Echo(traffic) => Some(traffic),
            Self::Broadcast(fan) => Some(&fan.traffic),
            Self::Storm { .. } => None,
        }
    }

    /// Bytes of a message.
    pub(crate) fn payload(&self) -> usize {
        self.traffic().map_or(0, |traffic| traffic.payload)
    }

    /// Messages that may wait on one connection without anything being wrong.
    pub(crate) const fn at_once(&self) -> u64 {
        match self {
            Self::Echo(Traffic { pace: Pace::Closed { depth }, .. }) => *depth,
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
        Self { pace, payload: args.payload, text: args.text, seed: args.when.seed }
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
    /// The schedule asked for, when `warmup` comes before the measurement.
    fn arrivals(&self, warmup: Duration) -> Option<Arrivals> {
        let profile = match self.rate {
            Some(rate) => Profile::constant(rate),
            None if self.stage.is_empty() => return None,
            None => Profile::staged(warmup, &self.stage),
        };
        Some(Arrivals { profile, process: self.arrival, seed: self.seed })
    }
}

impl Window {
    fn new(args: &WindowArgs, when: &ArrivalArgs) -> Self {
        let length = match (args.messages, when.rate) {
            _ if !when.stage.is_empty() => {
                Length::Time(when.stage.iter().map(|stage| stage.length).sum())
            }
            (None, _) => Length::Time(args.duration),
            // On a schedule a number of messages is a duration.
            #[expect(clippy::cast_precision_loss, reason = "a run sends fewer than 2^53")]
            (Some(n), Some(rate)) => {
                Length::Time(Duration::from_secs_f64((n as f64 / rate).min(1e9)))
            }
            (Some(n), None) => Length::Messages(n),
        };
        Self { warmup: args.warmup, length, stages: when.stage.clone() }
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
        let address = match socket {
            Some(path) => Endpoint::Unix(path),
            None => Endpoint::Tcp(target::resolve(&url)?),
        };
        let is_local = address.ip().is_none_or(|ip| ip.is_loopback());
        let request = Arc::new(target::request(&target, url)?);
        let sources = sources(&dial, &address, connections, rotation)?;
        let connect_rate = match (dial.connect_rate, dial.ramp) {
            (None, Some(ramp)) if !ramp.is_zero() =>
            {
                #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
                Some(connections as f64 / ramp.as_secs_f64())
            }
            (rate, _) => rate,
        };
        let threads = threads(&machine, is_local, connections)?;
        let file_limit = check_files(connections, threads.len())?;
        check_memory(&scenario, connections)?;
        let plan = Plan {
            url: target.url,
            address,
            request,
            tls,
            sources,
            connections,
            scenario,
            window,
            connect_rate,
            timeout: target.timeout,
            seed,
            threads,
            driver: machine.driver,
            spin: machine.spin,
            pid: machine.pid,
            file_limit,
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
        check_goals(&plan)?;
        Ok(plan)
    }
}

/// Where to connect from, checked for having ports enough.
fn sources(
    dial: &DialArgs,
    address: &Endpoint,
    connections: u64,
    rotation: u64,
) -> Result<Sources, Failure> {
    let Some(ip) = address.ip() else {
        return match dial.source {
            None => Ok(Sources::none()),
            Some(_) => Err(Failure::usage(
                "a unix socket cannot be connected to from an address",
                "it has neither addresses nor ports",
                "leave --source out",
            )),
        };
    };
    let sources = match &dial.source {
        Some(cidr) => Sources::parse(cidr, ip)?,
        None => Sources::automatic(ip, connections.max(rotation)),
    };
    sources.check(connections)?;
    Ok(sources)
}

/// Refuses goals that this run could not tell of.
fn check_goals(plan: &Plan) -> Result<(), Failure> {
    for goal in &plan.output.goals {
        goal.check(plan).map_err(|why| {
            Failure::usage(
                format!("`--fail-if {goal}` cannot be told of this run"),
                why,
                "leave it out, or measure what it is about",
            )
        })?;
    }
    Ok(())
}

/// One entry per thread: the CPU that it is pinned to.
fn threads(
    machine: &MachineArgs,
    is_local: bool,
    connections: u64,
) -> Result<Vec<Option<usize>>, Failure> {
    let usable: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    if let Some(list) = &machine.cpus {
        if let Some(cpu) = list.0.iter().find(|cpu| !usable.contains(cpu)) {
            return Err(Failure::usage(
                format!("cannot run on CPU {cpu}"),
                format!("this process may use the CPUs {usable:?}"),
                "choose --cpus among them",
            ));
        }
        let threads = machine.threads.unwrap_or(list.0.len() as u64);
        if threads != list.0.len() as u64 {
            return Err(Failure::usage(
                format!("{threads} threads do not fit on {} CPUs", list.0.len()),
                "each thread is pinned to a CPU of its own",
                "give as many --cpus as --threads, or only one of the two",
            ));
        }
        return Ok(list.0.iter().copied().map(Some).collect());
    }
    // A server on this machine needs CPUs, too.
    let all = usable.len().max(1);
    let default = if is_local { all.div_ceil(2) } else { all };
    let wanted = machine.threads.map_or(default, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let most = usize::try_from(connections).unwrap_or(usize::MAX).min(4096);
    let threads = wanted.min(most);
    let pinned = threads <= usable.len();
    // Servers pin their threads from the first CPU on; we take the last.
    Ok((0..threads)
        .map(|n| if pinned { usable.get(usable.len() - threads + n).copied() } else { None })
        .collect())
}

/// Files that so many connections and threads open, and some to spare.
const fn files(connections: u64, threads: usize) -> u64 {
    connections + 8 * threads as u64 + 64
}

/// Most bytes of messages that may be on their way at once, all connections together.
const IN_FLIGHT_MAX: u64 = 8 << 30;

/// Refuses what would not fit into memory.
fn check_memory(scenario: &Scenario, connections: u64) -> Result<(), Failure> {
    let message = scenario.payload() as u64 + 16;
    let bytes = message.saturating_mul(scenario.at_once()).saturating_mul(connections);
    if bytes <= IN_FLIGHT_MAX {
        return Ok(());
    }
    Err(Failure::preflight(
        format!("cannot keep {bytes} bytes of messages in flight"),
        format!("{IN_FLIGHT_MAX} is the most that one process is given for them"),
        "use fewer connections, a smaller --payload, or a smaller --depth or --burst",
    ))
}

/// Says how many files may be open.
fn check_files(connections: u64, threads: usize) -> Result<u64, Failure> {
    let limit = ringbolt::raise_file_limit();
    let needed = files(connections, threads);
    if needed <= limit {
        return Ok(limit);
    }
    Err(Failure::preflight(
        format!("cannot open {connections} connections"),
        format!("this process may have {limit} files open and needs {needed}"),
        "raise the limit with `ulimit -n 1048576` (as root, or LimitNOFILE= in a unit), or use \
         fewer connections",
    ))
}
