//! A thread of the generator: it opens its connections, waits for the others, lets the scenario
//! run, waits for what is in flight, and closes.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringbolt::client::{Clients, Handler};
use ringbolt::handshake::{Refusal, UpgradeResponse};
use ringbolt::wire::CloseCode;
use ringbolt::{CloseReason, Compression, Config, Fleet, Message, Security, StartError, WebSocket};

use crate::base::clock::{NEVER, Nanos, SECOND, nanos};
use crate::plan::Plan;
use crate::run::context::{Desk, LOOK};
use crate::run::control::Control;
use crate::run::dialler::Dialler;
use crate::run::seconds::Interval;
use crate::run::stats::{Class, Record};

/// What the connections of a worker do once all are open.
pub(crate) trait Behaviour {
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

    /// A pong came.
    fn pong(
        &mut self,
        desk: &mut Desk,
        ws: &mut WebSocket<'_, Member<Self::Lane>>,
        payload: &[u8],
    ) {
        let _ = (desk, ws, payload);
    }

    /// A connection that refused a message takes some again.
    fn drained(&mut self, desk: &mut Desk, ws: &mut WebSocket<'_, Member<Self::Lane>>);

    /// The server closes a connection, and says why.
    fn closing(&mut self, lane: &mut Self::Lane, code: CloseCode) {
        let _ = (lane, code);
    }

    /// A connection has ended in the middle of the run; says whether that was to be expected, and is
    /// no error.
    fn expected(&mut self, desk: &mut Desk, lane: &mut Self::Lane, reason: CloseReason) -> bool {
        let _ = (desk, lane, reason);
        false
    }

    /// A connection is gone; says how many replies went with it.
    fn lost(&mut self, desk: &mut Desk, lane: Self::Lane) -> u64;

    /// Replies that are awaited.
    fn in_flight(&self) -> u64;

    /// Nothing is sent any more; called until nothing is in flight.
    fn settle(&mut self, desk: &mut Desk, fleet: &mut Fleet<'_, Member<Self::Lane>>) {
        let _ = (desk, fleet);
    }

    /// The run is over: hands in what it has noted for its scenario.
    fn finish(self)
    where
        Self: Sized,
    {
    }

    /// What is in flight now will not be answered.
    fn give_up(&mut self, desk: &mut Desk, fleet: &mut Fleet<'_, Member<Self::Lane>>);
}

/// A connection's data.
#[derive(Debug)]
pub(crate) struct Member<L> {
    place: usize,
    dialled: Nanos,
    /// When TCP stood; 0 before.
    connected: Nanos,
    /// When TLS stood in it; 0 before, and without.
    secured: Nanos,
    established: bool,
    pub(crate) lane: L,
}

/// Sends a message, in so many frames if that is asked for; says whether there was room.
#[inline]
pub(crate) fn send<D>(
    ws: &mut WebSocket<'_, D>,
    message: Message<'_>,
    fragments: Option<u64>,
) -> bool {
    let Some(fragments) = fragments else { return ws.send(message).is_ok() };
    let length = (message.payload().len() as u64).div_ceil(fragments);
    let length = usize::try_from(length).ok().and_then(NonZeroUsize::new);
    ws.send_fragmented(message, length.unwrap_or(NonZeroUsize::MIN)).is_ok()
}

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

/// One thread of the generator, with its connections and its scenario.
#[derive(Debug)]
pub(crate) struct Worker<S> {
    desk: Desk,
    dialler: Dialler,
    scenario: S,
    stage: Stage,
}

impl<S: Behaviour> Worker<S> {
    pub(crate) fn new(desk: Desk, scenario: S) -> Self {
        let start = desk.clock.clock().now();
        let dialler = Dialler::new(Arc::clone(&desk.plan), desk.worker, start);
        Self { desk, dialler, scenario, stage: Stage::Dialling }
    }
}

/// What runs on a worker's thread and leaves a record.
pub(crate) trait Report: Handler {
    fn into_record(self) -> Record;
}

impl<S: Behaviour> Report for Worker<S> {
    fn into_record(self) -> Record {
        self.scenario.finish();
        self.desk.record
    }
}

/// What a worker's thread begins with.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) plan: Arc<Plan>,
    pub(crate) control: Arc<Control>,
    pub(crate) index: usize,
    pub(crate) intervals: mpsc::Sender<Interval>,
}

/// A worker's thread, and what it measures.
pub(crate) type Thread = JoinHandle<Result<Record, StartError>>;

impl Launch {
    /// Starts the thread, on connections that are opened before the load begins.
    pub(crate) fn worker<S: Behaviour + 'static>(
        self,
        behaviour: impl FnOnce(&Desk) -> S + Send + 'static,
    ) -> std::io::Result<Thread> {
        self.spawn(|desk| {
            let behaviour = behaviour(&desk);
            Worker::new(desk, behaviour)
        })
    }

    /// Starts the thread.
    pub(crate) fn spawn<R: Report>(
        self,
        handler: impl FnOnce(Desk) -> R + Send + 'static,
    ) -> std::io::Result<Thread> {
        let Self { plan, control, index, intervals } = self;
        std::thread::Builder::new().name(format!("loadgen-{index}")).spawn(move || {
            if let Some(id) = plan.threads[index] {
                // The plan chose among the CPUs that the process may use.
                core_affinity::set_for_current(core_affinity::CoreId { id });
            }
            sleep_precisely();
            let clients = Clients::new(config(&plan, index));
            let handler = handler(Desk::new(plan, control, index, intervals));
            let (handler, snapshot) = clients.run(handler)?;
            let mut record = handler.into_record();
            record.driver = snapshot.driver;
            record.ring = snapshot.ring;
            record.pings_answered = snapshot.counters.pings_in;
            Ok(record)
        })
    }
}

/// Asks the kernel not to put off this thread's timers, by 50 µs as it does else: messages are due
/// when they are due. Where it will not, the lag shows it.
fn sleep_precisely() {
    let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    if let Some(number) = thread.file_name() {
        let _ = std::fs::write(Path::new("/proc").join(number).join("timerslack_ns"), "1");
    }
}

/// The engine's settings for a generator: no keep-alive of its own, and room for the largest
/// message as often as it is in flight.
fn config(plan: &Plan, worker: usize) -> Config {
    let payload = plan.workload.payload();
    let at_once = usize::try_from(plan.workload.at_once()).unwrap_or(usize::MAX);
    Config::new().with(|config| {
        // Thousands of connections to one address are what it is for (draft-02 §5.1 step 2).
        config.connect_in_turn = false;
        let size = payload as u64 + 1024;
        let limits = config.limits;
        config.limits = limits
            .with_max_frame_bytes(limits.max_frame_bytes.max(size))
            .with_max_message_bytes(limits.max_message_bytes.max(size));
        let waiting = (payload + 16).saturating_mul(at_once.saturating_add(1));
        config.max_connections =
            usize::try_from(plan.connections).unwrap_or(usize::MAX).max(config.max_connections);
        config.max_outbound_bytes = config.max_outbound_bytes.max(waiting);
        // A generator reads whatever waits to be sent: else it and a server that does not read before its
        // replies are taken would wait for each other. Only pongs can go beyond the messages.
        config.pause_reading_bytes = config.max_outbound_bytes + PONGS;
        config.handshake_timeout = plan.connect_timeout;
        config.head = plan.head;
        // Each worker has keys of its own.
        config.handshake_seed = Some(plan.seed.wrapping_add((worker as u64) << 32));
        config.close_timeout = plan.timeout.min(CLOSE_TIMEOUT);
        config.idle_timeout = Duration::ZERO;
        config.ping_interval = Duration::ZERO;
        // The budget is against strangers; here the flags say how many connections there are.
        let compression = Compression::default().with_budget_bytes(usize::MAX / 2);
        config.compression = plan.request.compresses().then_some(compression);
        config.client_tls = plan.tls.as_ref().map(|tls| tls.client.clone());
        config.driver = plan.driver;
        config.ring.spin = plan.spin;
    })
}

/// Bytes of pongs that may wait to be sent before nothing more is read.
const PONGS: usize = 1 << 20;
/// How often to look whether everything has been answered, or closed.
pub(crate) const SETTLING: Nanos = 1_000_000;
/// Longest wait for the answer to a Close, and for the server's end of TCP after it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

impl<S: Behaviour> Worker<S> {
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
                    // A signal is looked for meanwhile.
                    Some(begin.min(now + LOOK))
                } else {
                    self.stage = Stage::Running;
                    self.desk.begin(now);
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
                // No callback tells that the last socket is gone.
                Some(until.min(now + SETTLING))
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
            connected: 0,
            secured: 0,
            established: false,
            lane: scenario.lane(place),
        };
        let next = dialler.turn(fleet, &mut desk.clock, member, |id| ids.push(id));
        // A signal is looked for meanwhile: a server that does not answer wakes nobody.
        Some(next.unwrap_or(NEVER).min(desk.clock.stamp() + LOOK))
    }

    fn run(&mut self, fleet: &mut Fleet<'_, Member<S::Lane>>, now: Nanos) -> Option<Nanos> {
        let over = self.desk.turn(now);
        // Also when the window is over: what was due in it and is late is sent all the same.
        let due = self.scenario.turn(&mut self.desk, fleet);
        if over {
            let wait = self.desk.control.patience(nanos(self.desk.plan.timeout));
            let until = now.saturating_add(wait);
            self.stage = Stage::Settling(until);
            return self.settle(fleet, now, until);
        }
        let Self { desk, scenario, .. } = self;
        desk.note_done(now, || scenario.in_flight(), desk.live > 0);
        Some(self.desk.next(now, due))
    }

    fn settle(
        &mut self,
        fleet: &mut Fleet<'_, Member<S::Lane>>,
        now: Nanos,
        until: Nanos,
    ) -> Option<Nanos> {
        self.scenario.settle(&mut self.desk, fleet);
        if self.scenario.in_flight() > 0 && now < until && self.desk.live > 0 {
            return Some(until.min(now + SETTLING));
        }
        self.scenario.give_up(&mut self.desk, fleet);
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

impl<S: Behaviour> Handler for Worker<S> {
    type Data = Member<S::Lane>;

    fn on_turn(&mut self, fleet: &mut Fleet<'_, Self::Data>, _: Instant) -> Option<Instant> {
        let next = self.advance(fleet);
        self.desk.show();
        self.desk.clock.expire();
        next.map(|at| self.desk.clock.clock().instant(at))
    }

    fn on_connected(&mut self, member: &mut Self::Data) {
        member.connected = self.desk.clock.stamp();
        self.desk.record.tcp.record(member.connected.saturating_sub(member.dialled));
    }

    fn on_secured(&mut self, member: &mut Self::Data, security: Security) {
        member.secured = self.desk.clock.stamp();
        self.desk.record.tls.record(member.secured.saturating_sub(member.connected));
        self.desk.record.secured(security);
    }

    fn on_refused(&mut self, _: &mut Self::Data, refusal: &Refusal) {
        self.desk.refusal = Some(refusal.clone());
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, Self::Data>, _: &UpgradeResponse<'_>) {
        let now = self.desk.clock.stamp();
        let member = ws.data_mut();
        member.established = true;
        let (dialled, connected) = (member.dialled, member.connected.max(member.secured));
        self.desk.record.handshake.record(now.saturating_sub(dialled));
        self.desk.record.upgrade.record(now.saturating_sub(connected));
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

    fn on_pong(&mut self, ws: &mut WebSocket<'_, Self::Data>, payload: &[u8]) {
        self.scenario.pong(&mut self.desk, ws, payload);
    }

    fn on_closing(&mut self, member: &mut Self::Data, code: CloseCode, _: &str) {
        self.scenario.closing(&mut member.lane, code);
    }

    fn on_close(&mut self, member: Self::Data, reason: CloseReason) {
        let Member { place, established, mut lane, .. } = member;
        let closing = matches!(self.stage, Stage::Closing(_));
        let number = self.dialler.number(place);
        if !established {
            self.dialler.settle();
            if !closing {
                self.desk.control.gauge(self.desk.worker).failed.fetch_add(1, Ordering::Relaxed);
                self.desk.ended(number, reason, false);
            }
            return;
        }
        self.desk.live -= 1;
        if closing {
            self.desk.record.unclean += u64::from(!reason.is_clean());
            self.desk.record.closed(reason);
            return;
        }
        if self.scenario.expected(&mut self.desk, &mut lane, reason) {
            return;
        }
        self.desk.ended(number, reason, true);
        let lost = self.scenario.lost(&mut self.desk, lane);
        self.desk.error(Class::Unanswered, lost, || {
            format!("connection {number} ended before the reply came")
        });
    }
}
