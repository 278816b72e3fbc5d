//! The storm: connections that are opened and closed again, as many at once as the plan says. In a
//! churn they live for a while between the two, and those that are open are the slots in use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;
use ringbolt::client::Handler;
use ringbolt::handshake::{Refusal, UpgradeResponse};
use ringbolt::{CloseReason, ConnectionId, Fleet, Message, Security, WebSocket};

use crate::base::clock::{NEVER, Nanos, nanos};
use crate::base::failure::Failure;
use crate::base::units;
use crate::plan::Parts;
use crate::plan::workload::{Connections, Window, Workload};
use crate::run::context::Context;
use crate::run::job::{Job, Keys, Scenario, ScenarioArgs};
use crate::run::stats::{ErrorClass, Sent, Stats};
use crate::run::worker::{Launch, Report, SETTLING, Thread};
use crate::spec::arrivals::{Arrivals, Schedule};
use crate::spec::lifetime::Lifetime;
use crate::spec::options::{
    ArrivalArgs, DialArgs, MachineArgs, OutputArgs, TargetArgs, WindowArgs, help,
};
use crate::spec::rate::Rate;

#[derive(Debug, Clone, Args)]
#[command(
    about = "Connect, upgrade, close, again and again, and measure handshakes",
    after_help = EXAMPLES
)]
pub(crate) struct StormArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Number of connections being opened or closed at any time [suffixes: k, m]
    #[arg(short, long, env = "LOADGEN_CONNECTIONS", value_name = "N", default_value = "100",
          value_parser = units::positive, help_heading = "Load")]
    connections: u64,
    #[command(flatten)]
    when: ArrivalArgs,
    #[command(flatten)]
    window: WindowArgs,
    #[arg(long, env = "LOADGEN_SOURCE", value_name = "CIDR", help_heading = "Connecting",
          help = help::SOURCE)]
    source: Option<String>,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "\
Each connection is opened, upgraded and ended with a closing handshake, and makes room for the next.

Examples:
  loadgen storm ws://127.0.0.1:9000/ -c 100 -d 10s      as fast as the server takes them
  loadgen storm ws://127.0.0.1:9000/ -c 1000 -r 5k/s    5,000 per second, on schedule
  loadgen storm ws://127.0.0.1:9000/ -n 100k            100,000 connections in all";

impl ScenarioArgs for StormArgs {
    fn rate(&mut self) -> Option<&mut Rate> {
        self.when.rate.as_mut()
    }

    fn job(self) -> Result<Job, Failure> {
        let Self { target, connections, when, window, source, machine, output } = self;
        let window = Window::new(&window, &when.stage, when.fixed());
        let arrivals = when.arrivals(window.warmup);
        let dial = DialArgs { connect_rate: None, ramp: None, source };
        let seed = when.seed;
        let parts = Parts { target, connections, window, seed, dial, machine, output };
        let schedule = arrivals.as_ref().map(Arrivals::describe);
        let workload = Workload::of_connections(Connections::Cycled, connections, arrivals);
        Ok(Job::new(parts.plan(workload)?, Storm { schedule }))
    }
}

/// Connections on a schedule, or as many as possible.
#[derive(Debug)]
struct Storm {
    schedule: Option<String>,
}

pub(super) const KEYS: Keys = Keys::NONE;

impl Scenario for Storm {
    fn name(&self) -> &'static str {
        "storm"
    }

    fn unit(&self) -> (&'static str, &'static str) {
        ("connection", "connections")
    }

    fn latency_name(&self) -> &'static str {
        "cycle"
    }

    fn headline(&self) -> String {
        format!("storm, {}", self.schedule.as_deref().unwrap_or("closed loop"))
    }

    fn start(&self, launch: Launch) -> std::io::Result<Thread> {
        launch.spawn(|context| Cycles::new(context, None))
    }
}

/// Opens and closes connections.
#[derive(Debug)]
pub(crate) struct Cycles {
    context: Context,
    /// Connections that may be under way at once.
    slots: u64,
    /// Sockets that may exist at once: those whose closing handshake is done wait for the server's
    /// end of TCP.
    sockets: u64,
    phase: Phase,
    schedule: Option<Schedule>,
    started: u64,
    failures: u64,
    /// Connections that have not ended, as far as the protocol goes.
    active: u64,
    /// When there was room for a new one again.
    room_since: Nanos,
    /// After a failure nothing is started until then.
    pause_until: Nanos,
    lives: Option<Lives>,
}

/// The lives of a churn's connections.
#[derive(Debug)]
struct Lives {
    lifetime: Lifetime,
    rng: fastrand::Rng,
    /// When which connection is to be closed; the number tells apart what falls together.
    ends: BTreeMap<(Nanos, u64), ConnectionId>,
    /// Opening handshakes under way.
    opening: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    Ending(Nanos),
}

/// One connection's times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    sent: Sent,
    /// When TCP stood, TLS in it, and when the opening handshake had ended; 0 before.
    connected: Nanos,
    secured: Nanos,
    opened: Nanos,
    /// When we began to close it; 0 before.
    closed: Nanos,
    established: bool,
    number: u64,
    /// In a churn, when it is to be closed; 0 before that is known.
    ends: Nanos,
}

/// How long a failure holds up the next attempt, so that a server that is gone is not hammered.
const PAUSE: Nanos = 10_000_000;
/// Sockets per slot that may wait for the server's end of TCP.
const LINGERING: u64 = 3;
/// Opening handshakes that a worker of a churn has under way at once: below the backlog of any sane
/// server.
const OPENING: u64 = 256;
/// Failures without a single success after which there is no point in going on.
const HOPELESS: u64 = 8;

impl Cycles {
    /// With a lifetime connections live for it; else they end when they have been opened.
    pub(crate) fn new(context: Context, lifetime: Option<Lifetime>) -> Self {
        let slots = context.plan.share(context.plan.connections, context.worker);
        let threads = context.plan.threads.len() as u64;
        let spare = context.plan.file_limit.saturating_sub(context.plan.files());
        let lives = lifetime.map(|lifetime| {
            let seed = context.plan.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let rng = fastrand::Rng::with_seed(seed ^ context.worker as u64);
            Lives { lifetime, rng, ends: BTreeMap::new(), opening: 0 }
        });
        Self {
            lives,
            context,
            slots,
            sockets: slots + (slots * LINGERING).min(spare / threads),
            phase: Phase::Waiting,
            schedule: None,
            started: 0,
            failures: 0,
            active: 0,
            room_since: 0,
            pause_until: 0,
        }
    }

    fn advance(&mut self, fleet: &mut Fleet<'_, Attempt>) -> Nanos {
        let now = self.context.clock.read();
        match self.phase {
            Phase::Waiting => self.wait(fleet, now),
            Phase::Running => self.run(fleet, now),
            Phase::Ending(until) => self.end(fleet, now, until),
        }
    }

    /// Waits for what is under way, and starts what was due in the window and found no room.
    fn end(&mut self, fleet: &mut Fleet<'_, Attempt>, now: Nanos, until: Nanos) -> Nanos {
        if self.lives.is_some() {
            self.close_all(fleet);
        } else {
            self.start(fleet);
        }
        if (fleet.is_empty() && !self.is_behind()) || now >= until {
            let missing = self.active;
            self.context.error(ErrorClass::Unanswered, missing, || {
                "the handshakes had not ended in time".to_owned()
            });
            while self.is_behind() {
                self.schedule.as_mut().map(Schedule::take);
                self.context
                    .error(ErrorClass::NotSent, 1, || "there was no room in time".to_owned());
            }
            fleet.stop();
        }
        // No callback tells that the last socket is gone.
        until.min(now + SETTLING)
    }

    /// Whether a connection that was due in the window has not been started.
    fn is_behind(&self) -> bool {
        let due = self.schedule.as_ref().and_then(Schedule::due);
        due.is_some_and(|due| due < self.context.window.end)
    }

    fn wait(&mut self, fleet: &mut Fleet<'_, Attempt>, now: Nanos) -> Nanos {
        let begin = self.context.control.begin();
        if self.context.control.is_stopped() {
            fleet.stop();
            return now;
        }
        if begin == NEVER || now < begin {
            let next = begin.min(now + 1_000_000);
            // A churn is at its number of connections before the load begins.
            let due = self.lives.is_some().then(|| self.turn(fleet, now)).flatten();
            return due.map_or(next, |due| due.min(next));
        }
        self.phase = Phase::Running;
        self.context.begin(now);
        let plan = &self.context.plan;
        let turns = plan.turns(plan.connections, self.context.worker);
        self.schedule = plan.arrivals().map(|arrivals| Schedule::new(begin, arrivals, turns));
        self.run(fleet, now)
    }

    fn run(&mut self, fleet: &mut Fleet<'_, Attempt>, now: Nanos) -> Nanos {
        let over = self.context.turn(now);
        // Also when the window is over: what was due in it and is late is started all the same.
        let due = self.turn(fleet, now);
        if over {
            let until = now + self.context.control.patience(2 * nanos(self.context.plan.timeout));
            self.phase = Phase::Ending(until);
            return now;
        }
        self.context.note_done(now, || self.active, true);
        self.context.next(now, due)
    }

    /// Closes what has lived, and starts what is due; says when to come again.
    fn turn(&mut self, fleet: &mut Fleet<'_, Attempt>, now: Nanos) -> Option<Nanos> {
        let ends = self.close_old(fleet, now);
        let due = if now < self.pause_until { Some(self.pause_until) } else { self.start(fleet) };
        [ends, due].into_iter().flatten().min()
    }

    /// Closes the connections whose time has come; says when the next one's does.
    fn close_old(&mut self, fleet: &mut Fleet<'_, Attempt>, now: Nanos) -> Option<Nanos> {
        let lives = self.lives.as_mut()?;
        while let Some(entry) = lives.ends.first_entry() {
            if entry.key().0 > now {
                return Some(entry.key().0);
            }
            if let Some(mut ws) = fleet.socket(entry.remove()) {
                ws.data_mut().closed = now;
                ws.close();
            }
        }
        None
    }

    /// Closes every connection of a churn: the run is over.
    fn close_all(&mut self, fleet: &mut Fleet<'_, Attempt>) {
        let now = self.context.clock.stamp();
        let Some(lives) = &mut self.lives else { return };
        for (_, id) in std::mem::take(&mut lives.ends) {
            if let Some(mut ws) = fleet.socket(id) {
                ws.data_mut().closed = now;
                ws.close();
            }
        }
    }

    /// Starts what is due and has room; says when to come again.
    fn start(&mut self, fleet: &mut Fleet<'_, Attempt>) -> Option<Nanos> {
        while self.active < self.slots {
            if self.lives.as_ref().is_some_and(|lives| lives.opening >= OPENING) {
                // The end of one of them is an event.
                return None;
            }
            if fleet.len() as u64 >= self.sockets {
                return Some(self.context.clock.stamp() + SETTLING);
            }
            let at = self.context.clock.stamp();
            let due = match &self.schedule {
                Some(schedule) => schedule.due()?,
                None => at,
            };
            if due > at {
                return Some(due);
            }
            match &mut self.schedule {
                Some(schedule) if due < self.context.window.end => drop(schedule.take()),
                None if self.context.may_send(at) => {}
                _ => return None,
            }
            let plan = &self.context.plan;
            let number = self.started * plan.threads.len() as u64 + self.context.worker as u64;
            let from = plan.sources.address(number);
            let sent = Sent { due, at };
            let attempt = Attempt::new(sent, number);
            if fleet.connect(Arc::clone(&plan.request), from, plan.route.clone(), attempt).is_err()
            {
                // The engine's limit is above the plan's number of connections.
                return None;
            }
            self.started += 1;
            self.active += 1;
            if let Some(lives) = &mut self.lives {
                lives.opening += 1;
            }
            self.context.stats.tried(due.max(self.room_since), at, &self.context.window);
            self.context.stats.sent(sent, &self.context.window);
        }
        None
    }

    fn fail(&mut self, attempt: Attempt, reason: CloseReason) {
        self.context.ended(attempt.number, reason, attempt.established);
        self.failures += 1;
        self.context.control.gauge(self.context.worker).failed.fetch_add(1, Ordering::Relaxed);
        let now = self.context.clock.stamp();
        self.pause_until = now + PAUSE;
        if self.failures >= HOPELESS && self.context.stats.opened == 0 {
            self.context.control.close_at(now);
            // Nor is there one in waiting for the others.
            let rest = self.context.plan.connections;
            self.context
                .control
                .gauge(self.context.worker)
                .failed
                .fetch_add(rest, Ordering::Relaxed);
        }
    }
}

impl Attempt {
    const fn new(sent: Sent, number: u64) -> Self {
        Self {
            sent,
            connected: 0,
            secured: 0,
            opened: 0,
            closed: 0,
            established: false,
            number,
            ends: 0,
        }
    }
}

impl Report for Cycles {
    fn into_stats(self) -> Stats {
        self.context.stats
    }
}

impl Handler for Cycles {
    type Data = Attempt;

    fn on_turn(&mut self, fleet: &mut Fleet<'_, Attempt>, _: Instant) -> Option<Instant> {
        let next = self.advance(fleet);
        self.context.show();
        self.context.clock.expire();
        Some(self.context.clock.clock().instant(next))
    }

    fn on_connected(&mut self, attempt: &mut Attempt) {
        attempt.connected = self.context.clock.stamp();
    }

    fn on_secured(&mut self, attempt: &mut Attempt, security: Security) {
        attempt.secured = self.context.clock.stamp();
        self.context.stats.secured(security);
    }

    fn on_refused(&mut self, _: &mut Attempt, refusal: &Refusal) {
        self.context.refusal = Some(refusal.clone());
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, Attempt>, _: &UpgradeResponse<'_>) {
        let now = self.context.clock.stamp();
        let attempt = ws.data_mut();
        attempt.established = true;
        attempt.opened = now;
        let Attempt { sent, connected, secured, number, .. } = *attempt;
        self.context.stats.opened += 1;
        self.context.live += 1;
        if self.context.window.contains(&sent.due) {
            self.context.stats.handshake.record(now.saturating_sub(sent.at));
            self.context.stats.tcp.record(connected.saturating_sub(sent.at));
            if secured > 0 {
                self.context.stats.tls.record(secured.saturating_sub(connected));
            }
            self.context.stats.upgrade.record(now.saturating_sub(connected.max(secured)));
        }
        self.context.control.gauge(self.context.worker).opened.fetch_add(1, Ordering::Relaxed);
        let Some(lives) = &mut self.lives else {
            ws.data_mut().closed = now;
            return ws.close();
        };
        lives.opening -= 1;
        // The first ones are met in the middle of their lives.
        let first = number < self.context.plan.connections;
        let life = match first {
            true => lives.lifetime.draw_rest(&mut lives.rng),
            false => lives.lifetime.draw(&mut lives.rng),
        };
        let ends = now.saturating_add(life);
        ws.data_mut().ends = ends;
        lives.ends.insert((ends, number), ws.id());
        self.context.reply(sent, now, 0);
    }

    fn on_message(&mut self, _: &mut WebSocket<'_, Attempt>, _: Message<'_>) {
        // A server may greet; that is none of a storm's business.
    }

    fn on_close(&mut self, attempt: Attempt, reason: CloseReason) {
        if self.active == self.slots {
            self.room_since = self.context.clock.stamp();
        }
        self.active -= 1;
        if attempt.established {
            self.context.live -= 1;
        }
        if let Some(lives) = &mut self.lives {
            lives.opening -= u64::from(!attempt.established);
            lives.ends.remove(&(attempt.ends, attempt.number));
        }
        if !(attempt.closed > 0 && reason.is_clean()) {
            return self.fail(attempt, reason);
        }
        let now = self.context.clock.stamp();
        self.context.stats.closed(reason);
        if self.context.window.contains(&attempt.closed) {
            self.context.stats.closing.record(now.saturating_sub(attempt.closed));
        }
        if self.lives.is_none() {
            self.context.reply(attempt.sent, now, 0);
        }
    }
}
