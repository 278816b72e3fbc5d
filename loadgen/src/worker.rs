//! A thread of the generator: it opens its connections, waits for the others, lets the scenario
//! run, waits for what is in flight, and closes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringbolt::client::{Clients, Handler};
use ringbolt::handshake::UpgradeResponse;
use ringbolt::{
    CloseReason, Config, ConnectionId, Fleet, Message, StartError, WebSocket, thread_cpu_nanos,
};

use crate::client::{Dialler, classify};
use crate::control::{Control, NEVER};
use crate::pace::{BatchClock, Nanos};
use crate::plan::{Length, Plan};
use crate::record::{Class, Record, Sent, Times};

/// What the connections of a worker do once all are open.
pub(crate) trait Scenario {
    /// What it keeps per connection.
    type Lane;

    /// The data of the connection at this place among the worker's.
    fn lane(&mut self, place: usize) -> Self::Lane;

    /// The load begins.
    fn begin(&mut self, desk: &mut Desk, fleet: &mut Fleet<'_, Member<Self::Lane>>, begin: Nanos);

    /// Sends what is due; says when the next is.
    fn turn(&mut self, desk: &mut Desk, fleet: &mut Fleet<'_, Member<Self::Lane>>)
    -> Option<Nanos>;

    /// A message came.
    fn message(
        &mut self,
        desk: &mut Desk,
        ws: &mut WebSocket<'_, Member<Self::Lane>>,
        message: Message<'_>,
    );

    /// A connection that refused a message takes some again.
    fn drained(&mut self, desk: &mut Desk, ws: &mut WebSocket<'_, Member<Self::Lane>>);

    /// A connection is gone; says how many replies went with it.
    fn lost(&mut self, desk: &mut Desk, lane: Self::Lane) -> u64;

    /// Replies that are awaited.
    fn in_flight(&self) -> u64;
}

/// A connection's data.
#[derive(Debug)]
pub(crate) struct Member<L> {
    place: usize,
    dialled: Nanos,
    established: bool,
    pub(crate) lane: L,
}

/// A second of the window, as one worker saw it.
#[derive(Debug)]
pub(crate) struct Interval {
    pub(crate) second: u64,
    pub(crate) latency: Box<Times>,
}

/// What a worker's scenario writes its results on.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) plan: Arc<Plan>,
    pub(crate) control: Arc<Control>,
    pub(crate) worker: usize,
    pub(crate) clock: BatchClock,
    pub(crate) record: Record,
    /// What is measured, as of this turn.
    pub(crate) window: Range<Nanos>,
    /// The worker's connections, by place.
    pub(crate) ids: Vec<ConnectionId>,
    /// Messages that may still be sent in the window.
    quota: Option<u64>,
    received: u64,
    live: u64,
    last_reply: Nanos,
    interval: Box<Times>,
    interval_end: Nanos,
    intervals: mpsc::Sender<Interval>,
    cpu_at_open: Option<Nanos>,
}

impl Desk {
    fn new(
        plan: Arc<Plan>,
        control: Arc<Control>,
        worker: usize,
        intervals: mpsc::Sender<Interval>,
    ) -> Self {
        let quota = match plan.window.length {
            Length::Messages(n) => Some(plan.share(n, worker)),
            Length::Time(_) => None,
        };
        let paced = plan.rate().is_some();
        Self {
            clock: BatchClock::new(control.clock),
            plan,
            control,
            worker,
            record: Record::new(paced),
            window: NEVER..NEVER,
            ids: Vec::new(),
            quota,
            received: 0,
            live: 0,
            last_reply: 0,
            interval: Box::new(Times::new()),
            interval_end: NEVER,
            intervals,
            cpu_at_open: None,
        }
    }

    /// Whether a message may be sent now in a closed loop; if so, it is counted.
    #[inline]
    pub(crate) fn may_send(&mut self, now: Nanos) -> bool {
        if now >= self.window.end {
            return false;
        }
        match &mut self.quota {
            Some(left) if now >= self.window.start => match left.checked_sub(1) {
                Some(rest) => {
                    *left = rest;
                    true
                }
                None => false,
            },
            _ => true,
        }
    }

    /// A right reply came.
    #[inline]
    pub(crate) fn reply(&mut self, sent: Sent, now: Nanos) {
        self.received += 1;
        self.last_reply = now;
        self.record.answered(sent, now, &self.window);
        if self.window.contains(&now) {
            self.interval.record(now.saturating_sub(sent.due));
        }
    }

    #[cold]
    pub(crate) fn error(&mut self, class: Class, count: u64, example: impl FnOnce() -> String) {
        self.record.errors.add(class, count, example);
        self.control.gauge(self.worker).errors.fetch_add(count, Ordering::Relaxed);
    }

    /// Ends the second that is over.
    fn turn_interval(&mut self, now: Nanos) {
        if self.interval_end == NEVER {
            self.interval_end = self.window.start.saturating_add(SECOND);
        }
        while now >= self.interval_end.min(self.window.end) {
            let second = self.interval_end.saturating_sub(self.window.start) / SECOND - 1;
            if !self.interval.is_empty() {
                let latency = std::mem::replace(&mut self.interval, Box::new(Times::new()));
                // Nobody listens any more when the run was given up.
                drop(self.intervals.send(Interval { second, latency }));
            }
            if now >= self.window.end {
                return;
            }
            self.interval_end += SECOND;
        }
    }

    fn show(&self) {
        let gauge = self.control.gauge(self.worker);
        gauge.received.store(self.received, Ordering::Relaxed);
        gauge.live.store(self.live, Ordering::Relaxed);
    }
}

const SECOND: Nanos = 1_000_000_000;
/// How often a worker looks at least whether the run has been stopped.
const LOOK: Nanos = 50_000_000;

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Dialling,
    Waiting,
    Running,
    /// Nothing is sent any more; replies are awaited until then.
    Settling(Nanos),
    /// Closing handshakes are under way until then.
    Closing(Nanos),
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Worker<S> {
    desk: Desk,
    dialler: Dialler,
    scenario: S,
    stage: Stage,
}

/// Starts a worker's thread.
pub(crate) fn spawn<S: Scenario>(
    plan: &Arc<Plan>,
    control: &Arc<Control>,
    index: usize,
    intervals: mpsc::Sender<Interval>,
    scenario: impl FnOnce(&Plan, usize) -> S + Send + 'static,
) -> std::io::Result<JoinHandle<Result<Record, StartError>>> {
    let (plan, control) = (Arc::clone(plan), Arc::clone(control));
    std::thread::Builder::new().name(format!("loadgen-{index}")).spawn(move || {
        if let Some(id) = plan.threads[index] {
            // The plan chose among the CPUs that the process may use.
            core_affinity::set_for_current(core_affinity::CoreId { id });
        }
        let scenario = scenario(&plan, index);
        let clients = Clients::new(config(&plan));
        let desk = Desk::new(Arc::clone(&plan), control, index, intervals);
        let dialler = Dialler::new(plan, index, desk.clock.clock().now());
        let worker = Worker { desk, dialler, scenario, stage: Stage::Dialling };
        let (worker, snapshot) = clients.run(worker)?;
        let mut record = worker.desk.record;
        record.ring = snapshot.ring;
        Ok(record)
    })
}

/// The engine's settings for a generator: no keep-alive of its own, and room for the largest
/// message as often as it is in flight.
fn config(plan: &Plan) -> Config {
    let (payload, depth) = plan.traffic().map_or((0, 1), |traffic| {
        let depth = match traffic.pace {
            crate::plan::Pace::Closed { depth } => depth,
            crate::plan::Pace::Open { .. } => 1,
        };
        (traffic.payload, usize::try_from(depth).unwrap_or(usize::MAX))
    });
    Config::new().with(|config| {
        // Thousands of connections to one address are what it is for (draft-02 §5.1 step 2).
        config.connect_in_turn = false;
        let size = payload as u64 + 1024;
        let limits = config.limits;
        config.limits = limits
            .with_max_frame_bytes(limits.max_frame_bytes.max(size))
            .with_max_message_bytes(limits.max_message_bytes.max(size));
        let waiting = (payload + 16).saturating_mul(depth.saturating_add(1));
        config.max_connections =
            usize::try_from(plan.connections).unwrap_or(usize::MAX).max(config.max_connections);
        config.max_outbound_bytes = config.max_outbound_bytes.max(waiting);
        config.handshake_timeout = plan.timeout;
        config.close_timeout = plan.timeout.min(CLOSE_TIMEOUT);
        config.idle_timeout = Duration::ZERO;
        config.ping_interval = Duration::ZERO;
        config.ring.spin = plan.spin;
    })
}

/// Longest wait for the answer to a Close, and for the server's end of TCP after it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

impl<S: Scenario> Worker<S> {
    fn advance(&mut self, fleet: &mut Fleet<'_, Member<S::Lane>>) -> Option<Nanos> {
        let now = self.desk.clock.read();
        match self.stage {
            Stage::Dialling => self.dial(fleet),
            Stage::Waiting => {
                let begin = self.desk.control.begin();
                if self.desk.control.is_stopped() {
                    self.close(fleet, now)
                } else if begin == NEVER {
                    Some(now + 1_000_000)
                } else if now < begin {
                    Some(begin)
                } else {
                    self.stage = Stage::Running;
                    self.desk.window = self.desk.control.window();
                    self.desk.last_reply = now;
                    self.scenario.begin(&mut self.desk, fleet, begin);
                    self.run(fleet, now)
                }
            }
            Stage::Running => self.run(fleet, now),
            Stage::Settling(until) => self.settle(fleet, now, until),
            Stage::Closing(until) => {
                if fleet.is_empty() || now >= until {
                    fleet.stop();
                }
                Some(until)
            }
        }
    }

    fn dial(&mut self, fleet: &mut Fleet<'_, Member<S::Lane>>) -> Option<Nanos> {
        if self.desk.control.is_stopped() {
            let now = self.desk.clock.stamp();
            return self.close(fleet, now);
        }
        if self.dialler.is_done() {
            self.stage = Stage::Waiting;
            return Some(self.desk.clock.stamp());
        }
        let Self { dialler, desk, scenario, .. } = self;
        let ids = &mut desk.ids;
        let member = |place, dialled| Member {
            place,
            dialled,
            established: false,
            lane: scenario.lane(place),
        };
        dialler.turn(fleet, &mut desk.clock, member, |id| ids.push(id))
    }

    fn run(&mut self, fleet: &mut Fleet<'_, Member<S::Lane>>, now: Nanos) -> Option<Nanos> {
        self.desk.window = self.desk.control.window();
        let window = self.desk.window.clone();
        if now >= window.start && self.desk.cpu_at_open.is_none() {
            self.desk.cpu_at_open = Some(thread_cpu_nanos());
        }
        self.desk.turn_interval(now);
        if now >= window.end {
            let cpu = self.desk.cpu_at_open.map(|open| thread_cpu_nanos().saturating_sub(open));
            self.desk.record.cpu.push(cpu.unwrap_or(0));
            let timeout = nanos(self.desk.plan.timeout);
            self.stage = Stage::Settling(now.saturating_add(timeout));
            return self.settle(fleet, now, now.saturating_add(timeout));
        }
        let due = self.scenario.turn(&mut self.desk, fleet);
        self.note_done(now);
        let edge = if now < window.start { window.start } else { window.end };
        let next = due.unwrap_or(NEVER).min(edge).min(self.desk.interval_end);
        Some(next.min(now + LOOK))
    }

    /// With a number of messages to measure: tells when there are no more to come.
    fn note_done(&self, now: Nanos) {
        let desk = &self.desk;
        let gauge = desk.control.gauge(desk.worker);
        if desk.quota.is_none() || gauge.done.load(Ordering::Relaxed) > 0 {
            return;
        }
        let quiet = now.saturating_sub(desk.last_reply) > nanos(desk.plan.timeout);
        let complete = desk.quota == Some(0) && self.scenario.in_flight() == 0;
        if now >= desk.window.start && (complete || quiet || desk.live == 0) {
            let at = if complete { desk.last_reply } else { now };
            gauge.done.store(at.max(desk.window.start + 1), Ordering::Relaxed);
        }
    }

    fn settle(
        &mut self,
        fleet: &mut Fleet<'_, Member<S::Lane>>,
        now: Nanos,
        until: Nanos,
    ) -> Option<Nanos> {
        let missing = self.scenario.in_flight();
        if missing > 0 && now < until && self.desk.live > 0 {
            return Some(until.min(now + LOOK));
        }
        let waited = self.desk.plan.timeout;
        self.desk.error(Class::Unanswered, missing, || {
            format!("no reply within {waited:?} of the end of the run")
        });
        self.close(fleet, now)
    }

    fn close(&mut self, fleet: &mut Fleet<'_, Member<S::Lane>>, now: Nanos) -> Option<Nanos> {
        for id in &self.desk.ids {
            if let Some(mut ws) = fleet.socket(*id) {
                if ws.data().established {
                    ws.close();
                } else {
                    ws.end();
                }
            }
        }
        // The engine bounds each closing handshake, and the wait for the end of TCP after it.
        let until = now + 2 * nanos(CLOSE_TIMEOUT) + SECOND;
        self.stage = Stage::Closing(until);
        Some(now)
    }
}

impl<S: Scenario> Handler for Worker<S> {
    type Data = Member<S::Lane>;

    fn on_turn(&mut self, fleet: &mut Fleet<'_, Self::Data>, _: Instant) -> Option<Instant> {
        let next = self.advance(fleet);
        self.desk.show();
        self.desk.clock.expire();
        next.map(|at| self.desk.clock.clock().instant(at))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, Self::Data>, _: &UpgradeResponse<'_>) {
        let now = self.desk.clock.stamp();
        let member = ws.data_mut();
        member.established = true;
        self.desk.record.handshake.record(now.saturating_sub(member.dialled));
        self.desk.record.opened += 1;
        self.desk.live += 1;
        self.dialler.settle();
        self.desk.control.gauge(self.desk.worker).opened.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    fn on_message(&mut self, ws: &mut WebSocket<'_, Self::Data>, message: Message<'_>) {
        self.scenario.message(&mut self.desk, ws, message);
    }

    fn on_drain(&mut self, ws: &mut WebSocket<'_, Self::Data>) {
        self.scenario.drained(&mut self.desk, ws);
    }

    fn on_close(&mut self, member: Self::Data, reason: CloseReason) {
        let Member { place, established, lane, .. } = member;
        let closing = matches!(self.stage, Stage::Closing(_));
        let number = self.dialler.number(place);
        if !established {
            self.dialler.settle();
            if !closing {
                self.desk.control.gauge(self.desk.worker).failed.fetch_add(1, Ordering::Relaxed);
                let (class, why) = classify(reason, false);
                self.desk.error(class, 1, || format!("connection {number}: {why}"));
            }
            return;
        }
        self.desk.live -= 1;
        if closing {
            self.desk.record.unclean += u64::from(!reason.is_clean());
            return;
        }
        let (class, why) = classify(reason, true);
        self.desk.error(class, 1, || format!("connection {number}: {why}"));
        let lost = self.scenario.lost(&mut self.desk, lane);
        self.desk.error(Class::Unanswered, lost, || {
            format!("connection {number} ended before the reply came")
        });
    }
}

/// A duration in the clock's unit.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER / 4)
}
