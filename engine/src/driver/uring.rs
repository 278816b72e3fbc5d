//! The ring driver: one thread, one ring, one listener; one system call per turn of the loop.
//!
//! ```text
//!  exchange ──▶ settle inline sends ──▶ completions ──▶ machine ──▶ its actions ─┐
//!     ▲            (blocked ones go the slow way)        (mail, timers, fan-out)  │
//!     └───────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! What the kernel owns of a connection (a receive, a slow send) is counted in its slot; the slot
//! is free again when that is nothing and the socket is closed. A completion of an earlier
//! generation is counted, and its buffer goes back all the same.

mod begin;
mod look;
mod receive;

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Instant;

use super::accept::{Acceptor, Listener};
use super::connection::{Armed, Connection, Phase};
use super::{Ring, TURN_BYTES};
use crate::config::{Config, Driver, RingConfig, RingFeature, SelectedDriver};
use crate::error::StartError;
use crate::shard::machine::{Action, Machine, ReadInterest};
use crate::shard::send_batch::{Lease, SendBatch};
use crate::shard::table::ConnectionId;
use crate::sys::operation::{Completion, Operation, UserData};
use crate::sys::ring::{SlowSent, Wait};
use crate::sys::socket::raise_file_limit;

/// Completions, and buffers that are held, that there is always room for.
const BATCH: usize = 1024;
const HELD: usize = 256;

/// The ring driver of one shard.
pub struct Uring<M> {
    machine: M,
    ring: Ring,
    listeners: Vec<Acceptor>,
    connections: Vec<Connection>,
    sends: SendBatch,
    batch: Vec<Completion>,
    /// Receive buffers that the turn points into.
    held: Vec<Lease>,
    /// Connections whose receive waits for buffers, first come first served.
    parked: VecDeque<ConnectionId>,
    accept_again: Option<Instant>,
    exit: bool,
}

impl<M: std::fmt::Debug> std::fmt::Debug for Uring<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").field("machine", &self.machine).finish_non_exhaustive()
    }
}

/// A ring, if it is one that the configured driver takes.
///
/// # Errors
///
/// What the kernel refused, why, and what to do.
pub(super) fn set_up(config: &Config) -> Result<Ring, StartError> {
    let ring = Ring::new(&config.ring)?;
    if config.driver == Driver::Auto && !ring.is_worth_it() {
        return Err(StartError::slow_ring());
    }
    Ok(ring)
}

/// Whether the driver works here, and with what.
///
/// # Errors
///
/// As [`set_up`], or a feature that is required cannot be had.
pub(super) fn probe(config: &Config) -> Result<SelectedDriver, StartError> {
    let mut ring = set_up(config)?;
    if let Err(absent) = ring.register_files(Some(1))
        && config.ring.features.required().contains(RingFeature::Direct)
    {
        return Err(StartError::feature(&absent));
    }
    let taken = SelectedDriver::new(Driver::Uring, None);
    Ok(taken.with_features(ring.features(), ring.without().to_vec()))
}

/// Little: its buffers are registered without being locked.
pub(super) const fn locked_bytes(_: &Config) -> Option<u64> {
    None
}

impl<M: Machine> Uring<M> {
    /// Sets the driver up on this thread, which is to run it, with a ring that was made on it.
    ///
    /// # Errors
    ///
    /// Direct descriptors are required, and the kernel does not have them.
    pub(crate) fn new(
        machine: M,
        listeners: Vec<Listener>,
        mut ring: Ring,
        config: &Config,
    ) -> Result<Self, StartError> {
        let files =
            u32::try_from(raise_file_limit()).unwrap_or(u32::MAX).min(RingConfig::MAX_DIRECT);
        // Only what is accepted can be without a descriptor.
        let absent = ring.register_files((!listeners.is_empty()).then_some(files)).err();
        if let Some(absent) = absent
            && config.ring.features.required().contains(RingFeature::Direct)
        {
            return Err(StartError::feature(&absent));
        }
        Ok(Self {
            machine,
            ring,
            listeners: Acceptor::all(listeners, false),
            connections: Vec::new(),
            sends: SendBatch::default(),
            batch: Vec::with_capacity(BATCH),
            held: Vec::with_capacity(HELD),
            parked: VecDeque::new(),
            accept_again: None,
            exit: false,
        })
    }

    /// What was taken, because the drivers above it could not be had, and what became of the ring's
    /// features.
    pub(crate) fn selected(&self, because: Option<String>) -> SelectedDriver {
        let (features, without) = (self.ring.features(), self.ring.without().to_vec());
        SelectedDriver::new(Driver::Uring, because).with_features(features, without)
    }

    /// Runs until the machine asks to leave, and gives it back; `started` is called once it accepts.
    ///
    /// # Errors
    ///
    /// Only what makes the ring itself unusable.
    pub(crate) fn run(mut self, started: impl FnOnce()) -> io::Result<M> {
        self.accept()?;
        self.watch()?;
        // The listeners have a backlog since they were bound: what connects from now on is accepted.
        started();
        let mut now = Instant::now();
        loop {
            // First what came due when the last turn was settled, so that the machine's turn sees
            // the slots that this frees.
            self.act(now)?;
            if self.exit {
                break;
            }
            let next = self.machine.run(&mut self.sends, now);
            // Some completions may wait for this round; parked receives are armed again as soon as
            // this turn's buffers are back.
            let busy = next.busy || !self.batch.is_empty() || !self.parked.is_empty();
            let deadline = [next.deadline, self.accept_again].into_iter().flatten().min();
            let wait = match deadline {
                _ if busy => Wait::No,
                Some(deadline) if deadline <= now => Wait::No,
                Some(deadline) => Wait::Until(deadline),
                None => Wait::Forever,
            };
            self.exchange(wait)?;
            now = Instant::now();
            self.machine.turn_began(now);
            self.dispatch(now)?;
            self.unpark()?;
        }
        self.ring.finish()?;
        self.ring.gauge();
        self.machine.note_ring(&self.ring.counters);
        let Self { machine, ring, sends, .. } = self;
        // The ring goes before the memory that it knows (S8).
        drop(ring);
        drop(sends);
        Ok(machine)
    }

    // ---- one turn

    /// Sends the turn, sleeps if it may, and settles: afterwards the turn is empty.
    fn exchange(&mut self, wait: Wait) -> io::Result<()> {
        self.machine.seal(&mut self.sends);
        self.withdraw()?;
        let from = self.batch.len();
        let mailbox = self.machine.mailbox();
        let sleeps = wait != Wait::No;
        let wait = if sleeps && mailbox.is_some_and(|mailbox| !mailbox.may_sleep()) {
            Wait::No
        } else {
            wait
        };
        let connections = &self.connections;
        self.ring.exchange(
            &self.sends,
            |id| {
                let connection = connections.get(id.slot() as usize)?;
                let alive = connection.generation == id.generation();
                (alive && connection.phase == Phase::Open).then_some(connection.socket)
            },
            wait,
            &mut self.batch,
        )?;
        if let Some(mailbox) = mailbox
            && sleeps
        {
            mailbox.awake();
        }
        self.settle(from)
    }

    /// Looks for inline sends that did not go through; everything else of the turn is sent.
    fn settle(&mut self, from: usize) -> io::Result<()> {
        for index in from..self.batch.len() {
            let completion = self.batch[index];
            if completion.user_data.operation() == Operation::InlineSend {
                self.unsettled(completion)?;
            }
        }
        self.sends.clear();
        for lease in self.held.drain(..) {
            self.ring.end_lease(lease);
        }
        self.machine.settled();
        Ok(())
    }

    fn unsettled(&mut self, completion: Completion) -> io::Result<()> {
        let Some(entry) = self.sends.entries().get(completion.entry()).copied() else {
            return Ok(());
        };
        let sent = match usize::try_from(completion.result) {
            // Reported all the same, where the kernel cannot keep silent.
            Ok(sent) if sent >= entry.bytes as usize => return Ok(()),
            Ok(sent) => sent,
            Err(_) if completion.result == -libc::EAGAIN => 0,
            // The receive tells what became of the connection; it is armed or will be.
            Err(_) => {
                self.ring.counters.blocked_sends += 1;
                return self.broken(entry.id, -completion.result);
            }
        };
        self.ring.counters.blocked_sends += 1;
        self.send_slowly(entry.id, &entry, sent, true)
    }

    fn send_slowly(
        &mut self,
        id: ConnectionId,
        entry: &crate::shard::send_batch::Entry,
        sent: usize,
        blocked: bool,
    ) -> io::Result<()> {
        let rest = self.sends.take_rest(entry, sent, |lease, start, end, out| {
            let bytes = self.ring.lend(lease, end).and_then(|bytes| bytes.get(start..));
            out.extend_from_slice(bytes.unwrap_or_default());
        });
        let without_copy = self.ring.is_zero_copy(rest.bytes());
        let Some(connection) = self.find(id) else { return Ok(()) };
        if rest.bytes() == 0 {
            return Ok(());
        }
        connection.sending = true;
        connection.pinned |= !blocked && without_copy;
        let socket = connection.socket;
        self.machine.blocked(id, rest.bytes(), rest.footprint());
        self.ring.send(socket, id, rest, blocked)
    }

    /// What the kernel cannot take at once, or is to read where it lies, goes the slow way: that
    /// can split it, and keeps it until the kernel is done.
    fn withdraw(&mut self) -> io::Result<()> {
        let copies = !self.ring.sends_without_copy();
        if copies && !self.sends.may_be_oversized() {
            return Ok(());
        }
        for index in 0..self.sends.entries().len() {
            let entry = self.sends.entries()[index];
            let oversized = entry.is_oversized();
            if oversized || !copies && self.ring.is_zero_copy(self.sends.largest_chunk(&entry)) {
                self.sends.withdraw(index);
                self.send_slowly(entry.id, &entry, 0, oversized)?;
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, now: Instant) -> io::Result<()> {
        // What comes while the turn is sent in between waits for the next round: mail, timers and
        // ended connections have their turn first.
        let round = self.batch.len();
        for index in 0..round {
            let completion = self.batch[index];
            match completion.user_data.operation() {
                Operation::Receive => self.received(completion, now)?,
                Operation::ReceiveDirect => self.received_direct(completion, now)?,
                Operation::Accept => self.accepted(completion, now)?,
                Operation::SlowSend => self.slow_sent(completion, now)?,
                Operation::Connect => self.connected(completion, now)?,
                Operation::Shutdown => self.shutdown_done(completion)?,
                Operation::LookUnread | Operation::LookUntaken => self.looked(completion, now),
                Operation::Waker if !completion.more() => {
                    if completion.result == -libc::EINVAL {
                        self.ring.watch_once();
                    }
                    self.watch()?;
                }
                _ => {}
            }
            if self.sends.bytes() > TURN_BYTES {
                self.exchange(Wait::No)?;
            }
        }
        self.batch.drain(..round);
        self.ring.gauge();
        self.machine.note_ring(&self.ring.counters);
        Ok(())
    }

    /// Does what the machine asks for.
    fn act(&mut self, now: Instant) -> io::Result<()> {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Connect { id, from, to } => self.connect(id, from, &to, now)?,
                Action::Receive(id) => {
                    let want = self.machine.want(id);
                    self.reconcile(id, want)?;
                }
                Action::Shutdown(id) => {
                    if self.find(id).is_some_and(|one| one.phase == Phase::Open) {
                        self.shut_down(id, Shutdown::Write)?;
                    }
                }
                Action::Look(id) => self.look(id, now)?,
                Action::Close(id) => self.close(id)?,
                Action::StopAccepting => self.stop_accepting()?,
                Action::Tidy => self.tidy(),
                Action::Exit => self.exit = true,
            }
        }
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            self.accept()?;
        }
        Ok(())
    }

    /// Gives back what connections that are gone have left behind.
    fn tidy(&mut self) {
        while self.connections.pop_if(|last| last.phase == Phase::Free).is_some() {}
        self.connections.shrink_to(2 * self.connections.len());
        self.batch.shrink_to(BATCH);
        self.held.shrink_to(HELD);
        self.parked.shrink_to(HELD);
        self.ring.tidy();
    }

    /// Has the kernel wake this thread when its waker is called; earlier calls are over.
    fn watch(&mut self) -> io::Result<()> {
        let Some(mailbox) = self.machine.mailbox() else { return Ok(()) };
        mailbox.waker().silence();
        self.ring.answer(mailbox.waker());
        self.ring.watch(mailbox.waker().as_raw_fd())
    }

    fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(id.slot() as usize)?;
        let alive = connection.phase != Phase::Free && connection.generation == id.generation();
        alive.then_some(connection)
    }

    /// The connection that a completion is of, if it is still there.
    #[inline]
    fn find_completed(&mut self, of: UserData) -> Option<(ConnectionId, &mut Connection)> {
        let connection = self.connections.get_mut(of.slot() as usize)?;
        let id = of.id(connection.generation)?;
        (connection.phase != Phase::Free).then_some((id, connection))
    }

    // ---- slow sends and the end

    fn slow_sent(&mut self, completion: Completion, now: Instant) -> io::Result<()> {
        let connections = &self.connections;
        let outcome = self.ring.slow_sent(completion, |id| {
            let connection = connections.get(id.slot() as usize)?;
            (connection.generation == id.generation()).then_some(connection.socket)
        });
        let Some((id, outcome)) = outcome else { return Ok(()) };
        let Some(connection) = self.find(id) else { return Ok(()) };
        let outcome = match outcome {
            SlowSent::Over(outcome) => outcome,
            SlowSent::Took(_) if connection.phase == Phase::Closing => return Ok(()),
            SlowSent::Took(bytes) => {
                self.machine.took(id, bytes);
                let want = self.machine.want(id);
                return self.reconcile(id, want);
            }
        };
        connection.sending = false;
        let socket = connection.socket;
        if connection.phase == Phase::Closing {
            return self.release(id);
        }
        let next = match outcome {
            Err(error) => return self.broken(id, error),
            Ok(true) => self.machine.sent(id, &mut self.sends, now),
            Ok(false) => self.machine.sent_at_once(id, &mut self.sends, now),
        };
        if let Some(next) = next {
            self.connections[id.slot() as usize].sending = true;
            self.ring.send(socket, id, next, true)?;
        }
        let want = self.machine.want(id);
        self.reconcile(id, want)
    }

    /// A send failed: the peer has reset the connection or will not have more of it.
    #[cold]
    fn broken(&mut self, id: ConnectionId, error: i32) -> io::Result<()> {
        self.machine.hung_up(id, Some(error), &mut self.sends, Instant::now());
        Ok(())
    }

    /// Ends a connection: what the kernel owns of it must end first.
    fn close(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(connection) = self.find(id) else {
            // It never had a socket.
            self.machine.released(id);
            return Ok(());
        };
        if connection.phase == Phase::Closing {
            return self.force(id);
        }
        let quiet = connection.is_quiet();
        let connecting = connection.phase == Phase::Connecting;
        connection.phase = Phase::Closing;
        if connecting {
            // The connect is what the kernel owns; shutting the socket down ends it.
            connection.armed = Armed::As(ReadInterest::Nothing);
        }
        if quiet {
            return self.release(id);
        }
        // A receive would outlive the socket's closing (its bytes would still land in our memory):
        // it ends first. Cancelling it costs little, and the close sends our FIN; the kernel hands
        // a shutdown to a thread of its own, so that is for what cannot be cancelled by name.
        match connection.armed {
            Armed::As(
                want @ (ReadInterest::Small
                | ReadInterest::SmallOnce
                | ReadInterest::Large
                | ReadInterest::LargeOnce),
            ) if !connection.sending => {
                connection.armed = Armed::Cancelling(want);
                self.ring.cancel_receive(id)
            }
            // What is under way ends by itself, a shutdown perhaps.
            Armed::Cancelling(_) | Armed::No if !connection.sending => Ok(()),
            _ => self.shut_down(id, Shutdown::Both),
        }
    }

    fn shut_down(&mut self, id: ConnectionId, how: Shutdown) -> io::Result<()> {
        let Some(connection) = self.find(id) else { return Ok(()) };
        connection.shutdowns += 1;
        let socket = connection.socket;
        self.ring.shutdown(socket, id, how)
    }

    fn shutdown_done(&mut self, completion: Completion) -> io::Result<()> {
        let Some((id, connection)) = self.find_completed(completion.user_data) else {
            return Ok(());
        };
        connection.shutdowns -= 1;
        if connection.phase == Phase::Closing { self.release(id) } else { Ok(()) }
    }

    /// Closes the socket if the kernel owns nothing else, and frees the slot.
    fn release(&mut self, id: ConnectionId) -> io::Result<()> {
        let Some(connection) = self.find(id) else { return Ok(()) };
        if !connection.is_quiet() {
            return Ok(());
        }
        let (socket, pinned) = (connection.socket, connection.pinned);
        *connection = Connection::FREE;
        self.machine.released(id);
        if pinned {
            self.ring.linger_shortly(socket)?;
        }
        self.ring.close(socket)
    }
}

/// Runs a bare machine on a listener, for benches: on this thread until it asks to leave.
///
/// # Errors
///
/// What the kernel refused.
#[doc(hidden)]
pub fn serve_machine<M: Machine>(
    machine: M,
    address: SocketAddr,
    config: &RingConfig,
    started: impl FnOnce(SocketAddr),
) -> Result<M, StartError> {
    let listeners = Listener::bind(address, 1)?;
    let bound = listeners.first().and_then(Listener::address).unwrap_or(address);
    let config = Config::new().with(|all| all.ring = config.clone());
    Uring::new(machine, listeners, Ring::new(&config.ring)?, &config)?
        .run(|| started(bound))
        .map_err(|e| StartError::kernel("progress: the ring failed", &e))
}
