//! What exactly will be run: the command line with every choice made, checked before it starts.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringbolt::Driver;
use ringbolt::handshake::{ClientRequest, Url};
use ringbolt::wire::Dialect;

use crate::args::{
    BroadcastArgs, DialArgs, EchoArgs, LoadArgs, MachineArgs, Measure, OutputArgs, StormArgs,
    TargetArgs, WindowArgs,
};
use crate::broadcast;
use crate::failure::Failure;
use crate::goal::Goal;
use crate::pace::{Nanos, Schedule};
use crate::record::Tells;
use crate::source::Sources;

/// A run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    pub(crate) request: Arc<ClientRequest>,
    pub(crate) sources: Sources,
    pub(crate) connections: u64,
    pub(crate) scenario: Scenario,
    pub(crate) window: Window,
    /// Connections per second; `None` as fast as they are accepted.
    pub(crate) connect_rate: Option<f64>,
    pub(crate) timeout: Duration,
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
    /// Connections per second, or as many as possible.
    Storm {
        rate: Option<f64>,
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// The next when a reply came, with so many in flight on each connection.
    Closed { depth: u64 },
    /// On a schedule, so many per second of all connections; what is due beyond `depth` in flight
    /// on its connection waits.
    Open { rate: f64, depth: Option<u64> },
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) warmup: Duration,
    pub(crate) length: Length,
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
        let EchoArgs { target, connections, window, depth, load, dial, machine, output } = args;
        let traffic = Traffic::new(&load, depth);
        let window = Window::new(&window, load.rate);
        let parts = Parts { target, connections, window, dial, machine, output };
        parts.plan(Scenario::Echo(traffic), 0)
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
        let window = Window::new(&window, load.rate);
        let fan = Fan { traffic: Traffic::new(&load, None), publishers, subscribers, burst };
        let parts = Parts {
            target,
            connections: subscribers + publishers,
            window,
            dial: args.dial,
            machine: args.machine,
            output: args.output,
        };
        parts.plan(Scenario::Broadcast(fan), 0)
    }

    fn storm(args: StormArgs) -> Result<Self, Failure> {
        let StormArgs { target, connections, rate, window, source, machine, output } = args;
        let window = Window::new(&window, rate);
        let dial = DialArgs { connect_rate: None, ramp: None, source };
        let parts = Parts { target, connections, window, dial, machine, output };
        parts.plan(Scenario::Storm { rate }, STORM_ROTATION)
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

    /// The rate of an open loop: messages, publications or connections per second.
    pub(crate) fn rate(&self) -> Option<f64> {
        match &self.scenario {
            Scenario::Storm { rate } => *rate,
            Scenario::Echo(traffic) | Scenario::Broadcast(Fan { traffic, .. }) => {
                match traffic.pace {
                    Pace::Open { rate, .. } => Some(rate),
                    Pace::Closed { .. } => None,
                }
            }
        }
    }

    /// What the run can tell of each message.
    pub(crate) fn tells(&self) -> Tells {
        match (&self.scenario, self.rate()) {
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
        let rate = self.rate()?;
        let due = |rate| Schedule::offered(rate, start, window.start, window.end);
        Some(match &self.scenario {
            Scenario::Broadcast(fan) => due(fan.bursts(rate)) * fan.burst * audience,
            _ => due(rate),
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
    fn new(args: &LoadArgs, depth: Option<u64>) -> Self {
        let pace = match args.rate {
            Some(rate) => Pace::Open { rate, depth },
            None => Pace::Closed { depth: depth.unwrap_or(1) },
        };
        Self { pace, payload: args.payload, text: args.text, seed: args.seed }
    }
}

impl Fan {
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.traffic.pace, Pace::Closed { .. })
    }

    /// Bursts per second for so many publications per second.
    #[expect(clippy::cast_precision_loss, reason = "a burst has fewer messages than 2^53")]
    pub(crate) fn bursts(&self, rate: f64) -> f64 {
        rate / self.burst as f64
    }
}

impl Window {
    fn new(args: &WindowArgs, rate: Option<f64>) -> Self {
        let length = match (args.messages, rate) {
            (None, _) => Length::Time(args.duration),
            // On a schedule a number of messages is a duration.
            #[expect(clippy::cast_precision_loss, reason = "a run sends fewer than 2^53")]
            (Some(n), Some(rate)) => {
                Length::Time(Duration::from_secs_f64((n as f64 / rate).min(1e9)))
            }
            (Some(n), None) => Length::Messages(n),
        };
        Self { warmup: args.warmup, length }
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
    dial: DialArgs,
    machine: MachineArgs,
    output: OutputArgs,
}

impl Parts {
    /// `rotation` is for how many connections source addresses must last beyond those open at
    /// once.
    fn plan(self, scenario: Scenario, rotation: u64) -> Result<Plan, Failure> {
        let Self { target, connections, window, dial, machine, output } = self;
        let url = Url::parse(&target.url).map_err(|e| {
            Failure::usage(
                format!("`{}` is no address of a WebSocket server", target.url),
                e.to_string(),
                "write it like ws://127.0.0.1:9000/chat",
            )
        })?;
        if url.secure() {
            return Err(Failure::usage(
                format!("cannot connect to `{}`", target.url),
                "TLS comes with a later version",
                "use a ws:// address of the server",
            ));
        }
        let address = resolve(&url)?;
        let request = Arc::new(request(&target, url)?);
        let sources = match &dial.source {
            Some(cidr) => Sources::parse(cidr, address.ip())?,
            None => Sources::automatic(address.ip(), connections.max(rotation)),
        };
        sources.check(connections)?;
        let connect_rate = match (dial.connect_rate, dial.ramp) {
            (None, Some(ramp)) if !ramp.is_zero() =>
            {
                #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
                Some(connections as f64 / ramp.as_secs_f64())
            }
            (rate, _) => rate,
        };
        let threads = threads(&machine, address.ip(), connections)?;
        let file_limit = check_files(connections, threads.len())?;
        check_memory(&scenario, connections)?;
        let plan = Plan {
            url: target.url,
            address,
            request,
            sources,
            connections,
            scenario,
            window,
            connect_rate,
            timeout: target.timeout,
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

fn resolve(url: &Url) -> Result<SocketAddr, Failure> {
    if let Some(ip) = url.address() {
        return Ok(SocketAddr::new(ip, url.port()));
    }
    let unknown = |why: String| {
        Failure::unreachable(
            format!("cannot find the host `{}`", url.host()),
            why,
            "check the name, or write the address itself",
        )
    };
    let found: Vec<_> =
        (url.host(), url.port()).to_socket_addrs().map_err(|e| unknown(e.to_string()))?.collect();
    // Servers listen on IPv4 more often than not.
    let first = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
    first.copied().ok_or_else(|| unknown("the name has no address".to_owned()))
}

fn request(target: &TargetArgs, url: Url) -> Result<ClientRequest, Failure> {
    if target.compress && target.dialect == Dialect::Hybi02 {
        return Err(Failure::usage(
            "cannot compress in draft-02",
            "the draft has no extensions",
            "add --dialect rfc6455, or leave --compress out",
        ));
    }
    let origin = match (&target.origin, target.dialect) {
        (Some(origin), _) => origin.clone(),
        (None, Dialect::Hybi02) => format!("http://{}", url.host_port()),
        // Only browsers have one.
        (None, _) => String::new(),
    };
    ClientRequest::builder(url, origin)
        .dialect(target.dialect)
        .compress(target.compress)
        .protocols(target.protocol.iter().cloned())
        .cookies(target.cookie.iter().map(|cookie| ("Cookie", cookie.clone())))
        .build()
        .map_err(|e| {
            Failure::usage(
                "cannot make the opening handshake",
                e.to_string(),
                "check --origin, --protocol and --cookie",
            )
        })
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
    target: IpAddr,
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
    let default = if target.is_loopback() { all.div_ceil(2) } else { all };
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
