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
use crate::plan::workload::{Connections, Timing, Window, Workload};
use crate::spec::arrivals::{self, Arrivals, Turns};
use crate::spec::goal::{Goal, GoalMetric, Series};
use crate::spec::options::{DialArgs, MachineArgs, OutputArgs, TargetArgs};

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
    pub(crate) workload: Workload,
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
    pub(crate) output: Destinations,
}

/// Where results go.
#[derive(Debug, Clone)]
pub(crate) struct Destinations {
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
        self.workload.senders
    }

    /// Whether connections come and go all the time.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self.workload.connections, Connections::Replaced | Connections::Cycled)
    }

    /// Files that the run has open at once.
    pub(crate) const fn files(&self) -> u64 {
        limits::files(self.connections, self.threads.len())
    }

    /// The schedule of an open loop: of messages, publications, connections or pings.
    pub(crate) const fn arrivals(&self) -> Option<&Arrivals> {
        self.workload.arrivals()
    }

    /// The highest rate of an open loop: messages, publications or connections per second.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.arrivals().map(|arrivals| arrivals.profile.peak())
    }

    /// Which arrivals worker `index` has, when `connections` connections of the run have some.
    pub(crate) fn turns(&self, connections: u64, index: usize) -> Turns {
        let (offset, stride) = (index as u64, self.threads.len() as u64);
        Turns { offset, stride, connections, here: self.share(connections, index) }
    }

    /// What the run can tell of each message.
    pub(crate) fn timing(&self) -> Timing {
        match self.arrivals() {
            None => Timing::Latency,
            // Subscribers do not know when a publication left.
            Some(_) if self.workload.is_broadcast => Timing::Lag,
            Some(_) => Timing::Service,
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
        let fan = self.workload.is_broadcast;
        match goal.metric {
            GoalMetric::DeliveryRatio if !fan => Err("only broadcast measures a delivery ratio"),
            GoalMetric::Achieved if self.rate().is_none() => {
                Err("without --rate no rate is offered that could be achieved")
            }
            GoalMetric::Time(Series::SchedulingDelay, _) if self.timing() == Timing::Latency => {
                Err("without --rate there is no schedule, and so no scheduling delay")
            }
            GoalMetric::Time(Series::Service, _) if self.timing() != Timing::Service => {
                Err("service times are measured with --rate, and not of broadcasts")
            }
            GoalMetric::Time(Series::Completion, _) if !fan => {
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
        let due = |arrivals, connections| {
            let turns: Vec<_> =
                (0..self.threads.len()).map(|index| self.turns(connections, index)).collect();
            arrivals::offered(arrivals, start, (window.start, window.end), &turns)
        };
        let audience = if self.workload.is_broadcast { audience } else { 1 };
        let bursts = due(&self.workload.bursts(arrivals), self.senders());
        Some(bursts * self.workload.burst * audience)
    }
}

/// Connections that source addresses must last for where connections come and go: a closed connection keeps its port
/// for a minute.
const ROTATION: u64 = 2_000_000;

/// What all scenarios have on their command lines.
pub(crate) struct Parts {
    pub(crate) target: TargetArgs,
    pub(crate) connections: u64,
    pub(crate) window: Window,
    pub(crate) seed: u64,
    pub(crate) dial: DialArgs,
    pub(crate) machine: MachineArgs,
    pub(crate) output: OutputArgs,
}

impl Parts {
    /// Makes every choice that the command line leaves open, and checks that this machine can run
    /// it.
    pub(crate) fn plan(self, workload: Workload) -> Result<Plan, Failure> {
        let Self { target, connections, window, seed, dial, machine, output } = self;
        let passing = matches!(workload.connections, Connections::Replaced | Connections::Cycled);
        let rotation = if passing { ROTATION } else { 0 };
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
        limits::check_memory(&workload, connections)?;
        limits::check_text(&workload)?;
        limits::check_start(window.start_at)?;
        let plan = Plan {
            address,
            route,
            request,
            tls,
            sources,
            connections,
            workload,
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
            output: Destinations {
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
