//! One core's share of the connections, sans-IO.
//!
//! A shard owns everything its connections need and shares nothing mutable. It is fed by a driver
//! through [`machine::Machine`] and answers in the [`turn::SendBatch`] it is lent. A callback cannot
//! re-enter the shard: what it publishes or ends is applied when it has returned, in order.

mod application;
mod deflate_pool;
mod ending;
mod fleet;
pub(crate) mod machine;
mod mail;
mod opening;
pub(crate) mod packing;
mod progress;
mod publish;
mod read;
mod relief;
mod round;
pub(crate) mod route;
#[cfg(feature = "tls")]
mod secured;
pub(crate) mod send;
pub(crate) mod send_batch;
#[cfg(feature = "sim")]
mod sim;
pub(crate) mod slot;
pub(crate) mod socket;
pub(crate) mod table;
mod timers;
pub(crate) mod topics;
pub(crate) mod wheel;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use application::Application;
use deflate_pool::DeflatePool;
use fleet::Dials;
pub use fleet::Fleet;
use machine::{Action, Look, Machine, Next, ReadInterest};
use mail::Post;
use progress::Lateness;
use relief::Tidying;
use round::Round;
use send::{BatchOutput, Transmit};
use send_batch::{Lease, SendBatch};
use slot::{Ending, Slot};
use socket::WebSocket;
use table::{ConnectionId, Table};
use topics::Topics;
use wheel::{Tick, Wheel};

use crate::config::Config;
use crate::conn::{Limits, Reassembly, Role, State};
use crate::error::TlsError;
use crate::fault::{Fault, is_back, limit};
use crate::hub::{Hub, Mailbox, Seat};
use crate::memory::Ledger;
use crate::metrics::{Counters, RingCounters, Snapshot, Tally};
use crate::outcome::CloseReason;
use crate::wire::{CloseCode, Dialect, ProtocolError};

/// A read of fewer bytes than this is a sign that small buffers would do.
const SMALL_READ: usize = limit(2048, 128);
/// Small reads in a row before a connection goes back to small buffers.
const SMALL_READS: u8 = 16;
/// A frame with more than this to come is received into its message's own memory.
const DIRECT_FROM: u64 = limit(64 << 10, 4 << 10) as u64;

/// Bytes of room to compress in that are kept while nothing needs them.
const PACKED_KEPT: usize = 64 << 10;
/// Most entries that a list keeps room for while nothing needs them.
const LIST_KEPT: usize = 256;

/// Everything of a shard that callbacks may touch, apart from the connections.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) settings: Arc<Config>,
    pub(crate) counters: Counters,
    pub(crate) topics: Topics,
    pub(crate) mailbox: Arc<Mailbox>,
    /// Subscriptions that end when the callback has returned.
    pub(crate) leaving: Vec<(ConnectionId, u32)>,
    /// What compresses and inflates.
    pub(crate) deflate_pool: DeflatePool,
    /// Where messages are compressed.
    pub(crate) packed: Vec<u8>,
    /// Connections that a callback closed or ended.
    pub(crate) attention: Vec<ConnectionId>,
    /// What is held for peers.
    pub(crate) memory: Ledger,
    /// Connections that a callback stopped reading from, or goes on reading from.
    pub(crate) held: Vec<ConnectionId>,
    /// Connections that published while too much waited: nothing is read from them meanwhile.
    pub(crate) slowed: Vec<ConnectionId>,
    /// How many published messages slow consumers have missed, of those that did.
    pub(crate) missed: HashMap<ConnectionId, u64>,
    /// The rule that the connection being read broke.
    failed: Option<ProtocolError>,
    /// Steps of work that the connection being read has led to, apart from its reading.
    pub(crate) spent: u32,
    /// The code in the Close frame of the connection being read.
    said: CloseCode,
    opened: Tally<{ Dialect::ALL.len() }>,
    closed: Tally<{ CloseReason::NAMES.len() }>,
    protocol_errors: Tally<{ ProtocolError::ALL.len() }>,
    request_errors: Tally<{ crate::handshake::RequestError::ALL.len() }>,
    tls_errors: Tally<{ TlsError::NAMES.len() }>,
    /// The client application has had enough.
    pub(crate) stop: bool,
}

impl Context {
    #[inline]
    const fn needs_attention(&self) -> bool {
        !self.attention.is_empty() || !self.leaving.is_empty()
    }

    /// Whether more is kept for reuse than while nothing happens.
    const fn keeps_much(&self) -> bool {
        self.packed.capacity() > PACKED_KEPT
            || self.deflate_pool.keeps_much()
            || self.topics.keeps_much()
    }

    /// Gives back what was not needed since the last call.
    fn tidy(&mut self) {
        self.leaving.shrink_to(LIST_KEPT);
        self.attention.shrink_to(LIST_KEPT);
        self.held.shrink_to(LIST_KEPT);
        self.packed = Vec::new();
        self.deflate_pool.tidy();
        self.topics.tidy();
    }
}

/// One shard: the application, its connections, and all that they need.
pub(crate) struct Shard<A: Application> {
    app: A,
    context: Context,
    table: Table<Slot<A::Data>>,
    wheel: Wheel,
    tick: Tick,
    lateness: Lateness,
    expired: Vec<ConnectionId>,
    /// What goes to other shards and comes from them.
    post: Post,
    limits: Limits,
    rng: fastrand::Rng,
    /// Which listeners are TLS.
    secure: Arc<[bool]>,
    /// Connections to be made.
    dials: Dials,
    /// Connections whose tunnel through a proxy is open and that are to be secured, each with the
    /// bytes that came out of the tunnel already.
    tunnelled: Vec<(ConnectionId, Vec<u8>)>,
    /// Asked for during this turn; they come due when its sends are settled.
    requested: Vec<Action>,
    due: VecDeque<Action>,
    /// Handshake answers are put together here.
    scratch: Vec<u8>,
    drain: Option<Instant>,
    /// The drain's time is up: what was open has been cut.
    cut: bool,
    ring: RingCounters,
    /// Bytes of what does not count by itself and is held, as they were counted.
    others: usize,
    tidying: Tidying,
    /// Connections whose input is left for the next turns.
    round: Round,
    /// Has the allocator give to the system what is free.
    trim: fn(),
    /// Tells the CPU time of the shard's thread; a shard reads no clock itself.
    cpu_clock: fn() -> u64,
}

impl<A: Application> Shard<A> {
    pub(crate) fn new(
        app: A,
        settings: Arc<Config>,
        hub: Arc<Hub>,
        index: usize,
        now: Instant,
    ) -> Self {
        let mailbox = Arc::clone(&hub.mailboxes[index]);
        let part_bytes = app.part_bytes().map_or(0, NonZeroU32::get);
        let limits = Limits { part_bytes, ..settings.limits };
        let dials = Dials::new(settings.connect_in_turn);
        let seed = settings.handshake_seed;
        let memory = Ledger::new(settings.memory_budget.unwrap_or(usize::MAX));
        Self {
            app,
            lateness: Lateness::new(&settings),
            table: Table::new(settings.max_connections),
            context: Context {
                topics: Topics::new(settings.max_topics, Arc::clone(&hub), index)
                    .on(memory.clone()),
                deflate_pool: DeflatePool::new(settings.compression, memory.clone()),
                memory,
                settings,
                counters: Counters::default(),
                mailbox,
                leaving: Vec::new(),
                packed: Vec::new(),
                attention: Vec::new(),
                held: Vec::new(),
                slowed: Vec::new(),
                missed: HashMap::new(),
                failed: None,
                spent: 0,
                said: CloseCode::NO_STATUS,
                opened: Tally::default(),
                closed: Tally::default(),
                protocol_errors: Tally::default(),
                request_errors: Tally::default(),
                tls_errors: Tally::default(),
                stop: false,
            },
            wheel: Wheel::new(now),
            tick: 0,
            expired: Vec::new(),
            post: Post::new(Seat { hub, index }),
            limits,
            rng: seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            secure: Arc::default(),
            dials,
            tunnelled: Vec::new(),
            requested: Vec::new(),
            due: VecDeque::new(),
            scratch: Vec::new(),
            drain: None,
            cut: false,
            ring: RingCounters::default(),
            others: 0,
            tidying: Tidying::default(),
            round: Round::default(),
            trim: || {},
            cpu_clock: || 0,
        }
    }

    /// Gives the shard a clock of its thread's CPU time.
    pub(crate) fn with_cpu_clock(mut self, clock: fn() -> u64) -> Self {
        self.cpu_clock = clock;
        self
    }

    /// Gives the shard a way to make the allocator return free memory to the system.
    pub(crate) fn with_trim(mut self, trim: fn()) -> Self {
        self.trim = trim;
        self
    }

    /// Gives the shard the topics that the application opened before it began, with the ledger that
    /// they count on.
    pub(crate) fn with_topics(mut self, topics: Topics) -> Self {
        self.context.memory = topics.memory();
        self.context.deflate_pool =
            DeflatePool::new(self.context.settings.compression, topics.memory());
        self.context.topics = topics;
        self
    }

    /// Tells the shard which of its listeners, by their place, are TLS.
    pub(crate) fn with_secure(mut self, secure: Arc<[bool]>) -> Self {
        self.secure = secure;
        self
    }

    pub(crate) fn into_app(self) -> A {
        self.app
    }

    /// The counters as they stand.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            open: self.table.len() as u64,
            topics: self.context.topics.len() as u64,
            compression_bytes: self.context.deflate_pool.used() as u64,
            memory_bytes: self.context.memory.held() as u64,
            memory_peak_bytes: self.context.memory.peak() as u64,
            counters: self.context.counters.clone(),
            ring: self.ring.clone(),
            opened: self.context.opened,
            closed: self.context.closed,
            protocol_errors: self.context.protocol_errors,
            request_errors: self.context.request_errors,
            tls_errors: self.context.tls_errors,
            cpu_nanos: (self.cpu_clock)(),
            driver: None,
        }
    }
}

impl<A: Application> Machine for Shard<A> {
    fn turn_began(&mut self, now: Instant) {
        // The last turn may have slept for long.
        self.tick = self.wheel.tick(now);
        self.lateness.woke(now, self.tick);
    }

    fn accepted(&mut self, listener: usize, _: &mut SendBatch, _: Instant) -> Option<ConnectionId> {
        let mut slot = Slot::new(Role::Server, self.tick);
        slot.secure = self.secure.get(listener).is_some_and(|secure| *secure);
        let inserted = if self.drain.is_none() { self.table.insert(slot).ok() } else { None };
        let Some(id) = inserted else {
            self.context.counters.refused += 1;
            return None;
        };
        self.context.counters.accepted += 1;
        self.schedule(id);
        Some(id)
    }

    fn connected(&mut self, id: ConnectionId, sends: &mut SendBatch, _: Instant) {
        self.start_client(id, sends);
    }

    #[inline]
    fn received(
        &mut self,
        id: ConnectionId,
        input: &mut [u8],
        lease: &Lease,
        sends: &mut SendBatch,
        _: Instant,
    ) -> ReadInterest {
        self.read(id, input, input.len(), Some(lease), sends)
    }

    fn take_direct(&mut self, id: ConnectionId) -> Option<(Box<Reassembly>, u64)> {
        let slot = self.table.find(id)?;
        let (memory, remaining) = slot.inbound.take_direct()?;
        // It may grow to twice what has arrived while the driver has it.
        let most = memory.capacity().max(2 * memory.len());
        slot.side.send.elsewhere = u32::try_from(most).unwrap_or(u32::MAX);
        Some((memory, remaining))
    }

    fn received_direct(
        &mut self,
        id: ConnectionId,
        memory: Box<Reassembly>,
        n: usize,
        sends: &mut SendBatch,
        _: Instant,
    ) -> ReadInterest {
        let Some(slot) = self.table.find(id) else { return ReadInterest::Nothing };
        slot.side.send.elsewhere = 0;
        slot.inbound.return_direct(memory, n);
        self.read(id, &mut [], n, None, sends)
    }

    fn want(&mut self, id: ConnectionId) -> ReadInterest {
        let pause = self.context.settings.pause_reading_bytes;
        self.table.find(id).map_or(ReadInterest::Nothing, |slot| slot.want_now(pause))
    }

    fn hung_up(&mut self, id: ConnectionId, error: Option<i32>, sends: &mut SendBatch, _: Instant) {
        if self.defer_end(id, error) {
            return;
        }
        if let Some(error) = error
            && self.try_next(id, error)
        {
            return;
        }
        let Some(slot) = self.table.find(id) else { return };
        slot.half_closed = true;
        // It has nothing more to say, and may still read what it was sent.
        let leaves = error.is_none() && slot.side.send.queued(sends) > 0;
        if leaves && !matches!(slot.ending, Ending::No | Ending::Now) {
            // As soon as that has left; if it blocks, `drained` goes on, or the close timeout.
            return self.requested.push(Action::Close(id));
        }
        let reason = match (slot.state(), error) {
            (State::Closed, _) => CloseReason::Clean(self.context.said),
            (_, Some(error)) => {
                let first = slot.opening.as_mut().and_then(|opening| opening.path()?.error());
                CloseReason::Transport(first.unwrap_or(error))
            }
            (_, None) => CloseReason::HungUp,
        };
        self.finish(id, reason, if leaves { Ending::Last } else { Ending::Now });
    }

    fn blocked(&mut self, id: ConnectionId, bytes: usize, footprint: usize) {
        let Some(slot) = self.table.find(id) else { return };
        slot.side.send.block(bytes, footprint);
        // Where every send is waited for, nothing else may tell.
        let pause = self.context.settings.pause_reading_bytes;
        self.context.counters.read_pauses += slot.note_pause(pause);
    }

    fn sent(&mut self, id: ConnectionId, sends: &mut SendBatch, now: Instant) -> Option<Transmit> {
        // A peer that takes what waited for it lives, even while nothing is read from it.
        let slot = self.table.find(id)?;
        (slot.taken, slot.side.send.waited) = (self.tick, true);
        self.sent_at_once(id, sends, now)
    }

    fn took(&mut self, id: ConnectionId, bytes: usize) {
        let Some(slot) = self.table.find(id) else { return };
        slot.side.send.took(bytes);
        if !is_back(Fault::ProgressOnlyWhenAllLeft) {
            slot.taken = self.tick;
        }
        let pause = self.context.settings.pause_reading_bytes;
        self.context.counters.read_pauses += slot.note_pause(pause);
        if slot.deferred && !slot.paused {
            self.unpark(id);
        }
    }

    fn given(&mut self, id: ConnectionId, sends: &SendBatch) -> u32 {
        self.count_given(id, sends)
    }

    fn looked(&mut self, id: ConnectionId, look: Look, sends: &mut SendBatch, _: Instant) {
        self.saw(id, look, sends);
        self.attend();
    }

    fn sent_at_once(
        &mut self,
        id: ConnectionId,
        sends: &mut SendBatch,
        _: Instant,
    ) -> Option<Transmit> {
        let slot = self.table.find(id)?;
        let next = slot.side.send.unblock();
        let pause = self.context.settings.pause_reading_bytes;
        self.context.counters.read_pauses += slot.note_pause(pause);
        if slot.deferred && !slot.paused {
            self.unpark(id);
        }
        if next.is_none() {
            self.drained(id, sends);
        }
        next
    }

    fn settled(&mut self) {
        self.due.extend(self.requested.drain(..));
    }

    fn run(&mut self, sends: &mut SendBatch, now: Instant) -> Next {
        self.tick = self.wheel.tick(now);
        sends.count_on(&self.context.memory);
        if sends.must_forget() {
            self.table.values_mut().for_each(|slot| slot.side.send.forget_place());
        }
        let called = self.context.mailbox.answer();
        if self.context.stop {
            self.requested.push(Action::Exit);
            return Next { deadline: None, busy: true };
        }
        let wake = self.run_application(sends, now);
        // What is published by that is forwarded before it can be delivered.
        self.read_deferred(sends, now);
        self.forward_publications();
        self.context.topics.release_unused();
        self.read_mail(called, sends, now);
        self.run_timers(sends);
        self.fan_out(sends);
        self.finish_flushing(sends, now);
        self.resume_publishers();
        self.count_others();
        self.relieve(sends);
        let tidying = self.tidy(sends, now);
        self.start_dials();
        let drained = self.run_drain(now);
        if drained {
            self.requested.push(Action::Exit);
        }
        let busy = !self.requested.is_empty()
            || self.context.topics.is_busy()
            || self.has_mail_left()
            || self.has_input_left()
            || self.context.stop;
        if busy {
            self.lateness.sleep_until(Some(now));
            return Next { deadline: None, busy };
        }
        let deadlines = [wake, self.wheel.next(), self.drain, self.post.flushing, tidying];
        let deadline = deadlines.into_iter().flatten().min();
        self.lateness.sleep_until(deadline);
        Next { deadline, busy }
    }

    fn poll_action(&mut self) -> Option<Action> {
        while let Some(action) = self.due.pop_front() {
            if let Action::Shutdown(id) | Action::Close(id) = action
                && self.has_to_leave(id)
            {
                // What a slow reader has not taken yet goes first; `drained` asks again.
                continue;
            }
            return Some(action);
        }
        None
    }

    fn released(&mut self, id: ConnectionId) {
        if self.dial_next(id) {
            return;
        }
        if let Some(slot) = self.table.find(id) {
            slot.release(id, &mut self.context.deflate_pool);
            if slot.secure {
                self.context.memory.sub(slot.side.send.elsewhere as usize);
            }
        }
        self.table.remove(id);
        if self.drain.is_some() && self.post.flushing.is_none() && self.table.len() == 0 {
            // The last one: nothing else would wake the loop to see it.
            self.due.push_back(Action::Exit);
        }
    }

    fn mailbox(&self) -> Option<&Mailbox> {
        Some(&self.context.mailbox)
    }

    fn note_ring(&mut self, counters: &RingCounters) {
        self.ring.clone_from(counters);
    }
}
