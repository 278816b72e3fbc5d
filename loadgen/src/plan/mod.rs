//! What exactly will be run: the command line with every choice made, checked before it starts.

pub(crate) mod limits;
pub(crate) mod source;
pub(crate) mod target;
pub(crate) mod tls;
pub(crate) mod workload;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringbolt::handshake::{ClientRequest, HeadLimits};
use ringbolt::{Driver, Endpoint, Route};

use crate::base::clock::Nanos;
use crate::base::failure::Failure;
use crate::plan::source::Sources;
use crate::plan::tls::Tls;
use crate::plan::workload::{Fan, Pace, Scenario, Stalls, Tells, Traffic, Window};
use crate::spec::arrivals::{self, Arrivals, Process, Profile, Turns};
use crate::spec::goal::{Goal, Metric, Series};
use crate::spec::options::scenarios::{
    BroadcastArgs, ChurnArgs, EchoArgs, IdleArgs, Measure, SlowArgs, StormArgs,
};
use crate::spec::options::{DialArgs, MachineArgs, OutputArgs, TargetArgs};
use crate::spec::shape::Shape;

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
        if load.payload.smallest() < workload::SMALLEST {
            return Err(Failure::usage(
                format!("publications of {} bytes are too small", load.payload.smallest()),
                format!("each carries its number and time in {} bytes", workload::SMALLEST),
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
        limits::files(self.connections, self.threads.len())
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

    /// Refuses goals that the run could not tell of.
    fn check_goals(&self) -> Result<(), Failure> {
        for goal in &self.output.goals {
            self.check(goal).map_err(|why| {
                Failure::usage(
                    format!("`--fail-if {goal}` cannot be decided for this run"),
                    why,
                    "leave it out, or run a scenario that measures it",
                )
            })?;
        }
        Ok(())
    }

    /// Says why the run cannot tell whether a goal is met, if so.
    pub(crate) fn check(&self, goal: &Goal) -> Result<(), &'static str> {
        let storm = matches!(self.scenario, Scenario::Storm { .. });
        let fan = matches!(self.scenario, Scenario::Broadcast(_));
        match goal.metric {
            Metric::Reach if !fan => Err("only broadcast measures a reach"),
            Metric::Achieved if self.rate().is_none() => {
                Err("without --rate no rate is offered that could be achieved")
            }
            Metric::Time(Series::Lag, _) if self.tells() == Tells::Latency => {
                Err("without --rate there is no schedule to lag behind")
            }
            Metric::Time(Series::Service, _) if self.tells() != Tells::Service => {
                Err("service times are measured with --rate, and not of broadcasts")
            }
            Metric::Time(Series::Completion, _) if !fan || storm => {
                Err("only broadcast measures the completion of a publication")
            }
            _ => Ok(()),
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
        let sources = limits::sources(&dial, &address, connections, rotation)?;
        let connect_rate = match (dial.connect_rate, dial.ramp) {
            (None, Some(ramp)) if !ramp.is_zero() =>
            {
                #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
                Some(connections as f64 / ramp.as_secs_f64())
            }
            (rate, _) => rate,
        };
        let threads = limits::threads(&machine, is_local, connections)?;
        let file_limit = limits::check_files(connections, threads.len())?;
        limits::check_memory(&scenario, connections)?;
        limits::check_text(&scenario)?;
        limits::check_start(window.start_at)?;
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
        plan.check_goals()?;
        Ok(plan)
    }
}
