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
use crate::run::context::{Context, LOOK};
use crate::run::control::Control;
use crate::run::dialler::Dialler;
use crate::run::seconds::WorkerSecond;
use crate::run::stats::{ErrorClass, Stats};

/// What the connections of a worker do once all are open.
pub(crate) trait Behaviour {
    /// What it keeps per connection.
    type State;

    /// The data of the connection at this place among the worker's.
    fn state(&mut self, place: usize) -> Self::State;

    /// The load begins.
    fn begin(
        &mut self,
        context: &mut Context,
        fleet: &mut Fleet<'_, Connection<Self::State>>,
        begin: Nanos,
    );

    /// Sends what is due; says when the next is.
    fn turn(
        &mut self,
        context: &mut Context,
        fleet: &mut Fleet<'_, Connection<Self::State>>,
    ) -> Option<Nanos>;

    /// A message came.
    fn message(
        &mut self,
        context: &mut Context,
        ws: &mut WebSocket<'_, Connection<Self::State>>,
        message: Message<'_>,
    );

    /// A pong came.
    fn pong(
        &mut self,
        context: &mut Context,
        ws: &mut WebSocket<'_, Connection<Self::State>>,
        payload: &[u8],
    ) {
        let _ = (context, ws, payload);
    }

    /// A connection that refused a message takes some again.
    fn drained(&mut self, context: &mut Context, ws: &mut WebSocket<'_, Connection<Self::State>>);

    /// The server closes a connection, and says why.
    fn closing(&mut self, state: &mut Self::State, code: CloseCode) {
        let _ = (state, code);
    }

    /// A connection has ended in the middle of the run; says whether that was to be expected, and is
    /// no error.
    fn expected(
        &mut self,
        context: &mut Context,
        state: &mut Self::State,
        reason: CloseReason,
    ) -> bool {
        let _ = (context, state, reason);
        false
    }

    /// A connection is gone; says how many replies went with it.
    fn lost(&mut self, context: &mut Context, state: Self::State) -> u64;

    /// Replies that are awaited.
    fn in_flight(&self) -> u64;

    /// Nothing is sent any more; called until nothing is in flight.
    fn settle(&mut self, context: &mut Context, fleet: &mut Fleet<'_, Connection<Self::State>>) {
        let _ = (context, fleet);
    }

    /// The run is over: hands in what it has noted for its scenario.
    fn finish(self)
    where
        Self: Sized,
    {
    }

    /// What is in flight now will not be answered.
    fn give_up(&mut self, context: &mut Context, fleet: &mut Fleet<'_, Connection<Self::State>>);
}

/// A connection's data.
#[derive(Debug)]
pub(crate) struct Connection<L> {
    place: usize,
    dialled: Nanos,
    /// When TCP stood; 0 before.
    connected: Nanos,
    /// When TLS stood in it; 0 before, and without.
    secured: Nanos,
    established: bool,
    pub(crate) state: L,
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
enum Phase {
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
    context: Context,
    dialler: Dialler,
    behaviour: S,
    phase: Phase,
}

impl<S: Behaviour> Worker<S> {
    pub(crate) fn new(context: Context, behaviour: S) -> Self {
        let start = context.clock.clock().now();
        let dialler = Dialler::new(Arc::clone(&context.plan), context.worker, start);
        Self { context, dialler, behaviour, phase: Phase::Dialling }
    }
}

/// What runs on a worker's thread and leaves a record.
pub(crate) trait Report: Handler {
    fn into_stats(self) -> Stats;
}

impl<S: Behaviour> Report for Worker<S> {
    fn into_stats(self) -> Stats {
        self.behaviour.finish();
        self.context.stats
    }
}

/// What a worker's thread begins with.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) plan: Arc<Plan>,
    pub(crate) control: Arc<Control>,
    pub(crate) index: usize,
    pub(crate) intervals: mpsc::Sender<WorkerSecond>,
}

/// A worker's thread, and what it measures.
pub(crate) type Thread = JoinHandle<Result<Stats, StartError>>;

impl Launch {
    /// Starts the thread, on connections that are opened before the load begins.
    pub(crate) fn worker<S: Behaviour + 'static>(
        self,
        behaviour: impl FnOnce(&Context) -> S + Send + 'static,
    ) -> std::io::Result<Thread> {
        self.spawn(|context| {
            let behaviour = behaviour(&context);
            Worker::new(context, behaviour)
        })
    }

    /// Starts the thread.
    pub(crate) fn spawn<R: Report>(
        self,
        handler: impl FnOnce(Context) -> R + Send + 'static,
    ) -> std::io::Result<Thread> {
        let Self { plan, control, index, intervals } = self;
        std::thread::Builder::new().name(format!("loadgen-{index}")).spawn(move || {
            if let Some(id) = plan.threads[index] {
                // The plan chose among the CPUs that the process may use.
                core_affinity::set_for_current(core_affinity::CoreId { id });
            }
            sleep_precisely();
            let clients = Clients::new(config(&plan, index));
            let handler = handler(Context::new(plan, control, index, intervals));
            let (handler, snapshot) = clients.run(handler)?;
            let mut stats = handler.into_stats();
            stats.driver = snapshot.driver;
            stats.ring = snapshot.ring;
            stats.pings_answered = snapshot.counters.pings_in;
            Ok(stats)
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
    fn advance(&mut self, fleet: &mut Fleet<'_, Connection<S::State>>) -> Option<Nanos> {
        let now = self.context.clock.read();
        match self.phase {
            Phase::Dialling => self.dial(fleet),
            Phase::Waiting => {
                let begin = self.context.control.begin();
                if self.context.control.is_stopped() {
                    self.close(fleet, now)
                } else if begin == NEVER {
                    Some(now + 1_000_000)
                } else if now < begin {
                    // A signal is looked for meanwhile.
                    Some(begin.min(now + LOOK))
                } else {
                    self.phase = Phase::Running;
                    self.context.begin(now);
                    self.behaviour.begin(&mut self.context, fleet, begin);
                    self.run(fleet, now)
                }
            }
            Phase::Running => self.run(fleet, now),
            Phase::Settling(until) => self.settle(fleet, now, until),
            Phase::Closing(until) => {
                if fleet.is_empty() || now >= until {
                    fleet.stop();
                }
                // No callback tells that the last socket is gone.
                Some(until.min(now + SETTLING))
            }
        }
    }

    fn dial(&mut self, fleet: &mut Fleet<'_, Connection<S::State>>) -> Option<Nanos> {
        if self.context.control.is_stopped() {
            let now = self.context.clock.stamp();
            return self.close(fleet, now);
        }
        if self.dialler.is_done() {
            self.phase = Phase::Waiting;
            return Some(self.context.clock.stamp());
        }
        let Self { dialler, context, behaviour, .. } = self;
        let ids = &mut context.ids;
        let connection = |place, dialled| Connection {
            place,
            dialled,
            connected: 0,
            secured: 0,
            established: false,
            state: behaviour.state(place),
        };
        let next = dialler.turn(fleet, &mut context.clock, connection, |id| ids.push(id));
        // A signal is looked for meanwhile: a server that does not answer wakes nobody.
        Some(next.unwrap_or(NEVER).min(context.clock.stamp() + LOOK))
    }

    fn run(&mut self, fleet: &mut Fleet<'_, Connection<S::State>>, now: Nanos) -> Option<Nanos> {
        let over = self.context.turn(now);
        // Also when the window is over: what was due in it and is late is sent all the same.
        let due = self.behaviour.turn(&mut self.context, fleet);
        if over {
            let wait = self.context.control.patience(nanos(self.context.plan.timeout));
            let until = now.saturating_add(wait);
            self.phase = Phase::Settling(until);
            return self.settle(fleet, now, until);
        }
        let Self { context, behaviour, .. } = self;
        context.note_done(now, || behaviour.in_flight(), context.live > 0);
        Some(self.context.next(now, due))
    }

    fn settle(
        &mut self,
        fleet: &mut Fleet<'_, Connection<S::State>>,
        now: Nanos,
        until: Nanos,
    ) -> Option<Nanos> {
        self.behaviour.settle(&mut self.context, fleet);
        if self.behaviour.in_flight() > 0 && now < until && self.context.live > 0 {
            return Some(until.min(now + SETTLING));
        }
        self.behaviour.give_up(&mut self.context, fleet);
        self.close(fleet, now)
    }

    fn close(&mut self, fleet: &mut Fleet<'_, Connection<S::State>>, now: Nanos) -> Option<Nanos> {
        for id in &self.context.ids {
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
        self.phase = Phase::Closing(until);
        Some(now)
    }
}

impl<S: Behaviour> Handler for Worker<S> {
    type Data = Connection<S::State>;

    fn on_turn(&mut self, fleet: &mut Fleet<'_, Self::Data>, _: Instant) -> Option<Instant> {
        let next = self.advance(fleet);
        self.context.show();
        self.context.clock.expire();
        next.map(|at| self.context.clock.clock().instant(at))
    }

    fn on_connected(&mut self, connection: &mut Self::Data) {
        connection.connected = self.context.clock.stamp();
        self.context.stats.tcp.record(connection.connected.saturating_sub(connection.dialled));
    }

    fn on_secured(&mut self, connection: &mut Self::Data, security: Security) {
        connection.secured = self.context.clock.stamp();
        self.context.stats.tls.record(connection.secured.saturating_sub(connection.connected));
        self.context.stats.secured(security);
    }

    fn on_refused(&mut self, _: &mut Self::Data, refusal: &Refusal) {
        self.context.refusal = Some(refusal.clone());
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, Self::Data>, _: &UpgradeResponse<'_>) {
        let now = self.context.clock.stamp();
        let connection = ws.data_mut();
        connection.established = true;
        let (dialled, connected) =
            (connection.dialled, connection.connected.max(connection.secured));
        self.context.stats.handshake.record(now.saturating_sub(dialled));
        self.context.stats.upgrade.record(now.saturating_sub(connected));
        self.context.stats.opened += 1;
        self.context.live += 1;
        self.dialler.settle();
        self.context.control.gauge(self.context.worker).opened.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    fn on_message(&mut self, ws: &mut WebSocket<'_, Self::Data>, message: Message<'_>) {
        self.behaviour.message(&mut self.context, ws, message);
    }

    fn on_drain(&mut self, ws: &mut WebSocket<'_, Self::Data>) {
        self.behaviour.drained(&mut self.context, ws);
    }

    fn on_pong(&mut self, ws: &mut WebSocket<'_, Self::Data>, payload: &[u8]) {
        self.behaviour.pong(&mut self.context, ws, payload);
    }

    fn on_closing(&mut self, connection: &mut Self::Data, code: CloseCode, _: &str) {
        self.behaviour.closing(&mut connection.state, code);
    }

    fn on_close(&mut self, connection: Self::Data, reason: CloseReason) {
        let Connection { place, established, mut state, .. } = connection;
        let closing = matches!(self.phase, Phase::Closing(_));
        let number = self.dialler.number(place);
        if !established {
            self.dialler.settle();
            if !closing {
                self.context
                    .control
                    .gauge(self.context.worker)
                    .failed
                    .fetch_add(1, Ordering::Relaxed);
                self.context.ended(number, reason, false);
            }
            return;
        }
        self.context.live -= 1;
        if closing {
            self.context.stats.unclean += u64::from(!reason.is_clean());
            self.context.stats.closed(reason);
            return;
        }
        if self.behaviour.expected(&mut self.context, &mut state, reason) {
            return;
        }
        self.context.ended(number, reason, true);
        let lost = self.behaviour.lost(&mut self.context, state);
        self.context.error(ErrorClass::Unanswered, lost, || {
            format!("connection {number} ended before the reply came")
        });
    }
}
