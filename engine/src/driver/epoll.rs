//! The epoll driver: one thread, readiness, and system calls that everybody has. For places where
//! io_uring is forbidden or missing, and the measure of what it gives where it is not.
//!
//! ```text
//!  send what the turn holds ──▶ epoll_wait ──▶ read what is ready ──▶ machine ──▶ its actions ─┐
//!     ▲                          (or not at all)   (into one buffer)     (mail, timers)        │
//!     └────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Readiness is edge-triggered, so that a socket costs the kernel nothing while nothing happens to
//! it and no `epoll_ctl` when it blocks: it is registered once, for everything. A read that comes
//! up short has emptied the socket, so the call that would say so is left out; one that filled its
//! room leaves the connection in line for the next round, behind the others.
//!
//! All reads of a round go into one buffer, one behind the other where output points into them, and
//! everything of a round leaves with one send per connection.

mod send;
mod socket;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketAddrUnix, SocketFlags};

use super::accept::{self, ACCEPT_PAUSE, Acceptor, Listener};
use super::{DIRECT_READ_BYTES, TURN_BYTES};
use crate::config::{Config, Driver, SelectedDriver};
use crate::error::StartError;
use crate::metrics::RingCounters;
use crate::shard::machine::{Action, Endpoint, Look, Machine, ReadInterest};
use crate::shard::send_batch::{Lease, SendBatch};
use crate::shard::table::ConnectionId;
use crate::sys::socket::{queues, raise_file_limit};
use crate::sys::spin::Spin;
use socket::{Phase, Sockets};

/// Most bytes of one read into the shared buffer.
const READ_BYTES: usize = 64 << 10;
/// The shared buffer: reads that output points into, until they are sent.
const BUFFER_BYTES: usize = 4 * READ_BYTES;
/// Connections accepted in one round.
const ACCEPTS: usize = 256;
/// Events taken from the kernel at once.
const EVENTS: usize = 1024;
/// Output that begins in the shared buffer starts at such places, so that a line of the cache
/// belongs to one read.
const LINE: usize = 64;

/// No connection's name: generations are below it (`GENERATION_MAX`).
const WAKER: u64 = u64::MAX;
/// The first listener; the others follow.
const LISTENERS: u64 = 0xFF << 56;

/// The epoll driver of one shard.
pub(crate) struct Epoll<M> {
    machine: M,
    epoll: OwnedFd,
    listeners: Vec<Acceptor>,
    sockets: Sockets,
    sends: SendBatch,
    buffer: Vec<u8>,
    /// Bytes of the buffer that the turn points into.
    used: usize,
    events: Vec<Event>,
    /// Connections that may have more to read.
    ready: VecDeque<ConnectionId>,
    accept_again: Option<Instant>,
    /// The kernel has no `epoll_pwait2`: deadlines are rounded up to milliseconds.
    coarse: bool,
    spin: Spin,
    counters: RingCounters,
    /// A send failed outside the machine's turn.
    urgent: bool,
    exit: bool,
}

/// Whether the driver works here.
///
/// # Errors
///
/// The kernel has no descriptor left, or a sandbox forbids it.
pub(super) fn probe(config: &Config) -> Result<SelectedDriver, StartError> {
    set_up(config).map(|_| SelectedDriver::new(Driver::Epoll, None))
}

/// An epoll instance.
///
/// # Errors
///
/// The kernel has no descriptor left, or a sandbox forbids it.
pub(super) fn set_up(_: &Config) -> Result<OwnedFd, StartError> {
    epoll::create(CreateFlags::CLOEXEC)
        .map_err(|e| StartError::kernel("an epoll instance", &e.into()))
}

/// None.
pub(super) const fn locked_bytes(_: &Config) -> Option<u64> {
    None
}

impl<M: Machine> Epoll<M> {
    /// Sets the driver up.
    ///
    /// # Errors
    ///
    /// The kernel has no descriptor left.
    pub(crate) fn new(
        machine: M,
        listeners: Vec<Listener>,
        epoll: OwnedFd,
        config: &Config,
    ) -> Result<Self, StartError> {
        raise_file_limit();
        let wrong = |e: Errno| StartError::kernel("what to wait for", &e.into());
        let watch = EventFlags::IN | EventFlags::ET;
        for (listener, index) in listeners.iter().zip(LISTENERS..) {
            rustix::io::ioctl_fionbio(listener, true).map_err(wrong)?;
            epoll::add(&epoll, listener, EventData::new_u64(index), watch).map_err(wrong)?;
        }
        if let Some(mailbox) = machine.mailbox() {
            let waker = mailbox.waker();
            epoll::add(&epoll, waker, EventData::new_u64(WAKER), watch).map_err(wrong)?;
        }
        Ok(Self {
            machine,
            epoll,
            listeners: Acceptor::all(listeners, true),
            sockets: Sockets::default(),
            sends: SendBatch::default(),
            buffer: vec![0; BUFFER_BYTES],
            used: 0,
            events: Vec::with_capacity(EVENTS),
            ready: VecDeque::new(),
            accept_again: None,
            coarse: false,
            spin: Spin::new(config.ring.spin, config.ring.spin_budget_percent),
            counters: RingCounters::default(),
            urgent: false,
            exit: false,
        })
    }

    /// What was taken, because the drivers above it could not be had.
    #[expect(clippy::unused_self, reason = "other drivers tell more of themselves")]
    pub(crate) const fn selected(&self, because: Option<String>) -> SelectedDriver {
        SelectedDriver::new(Driver::Epoll, because)
    }

    /// Runs until the machine asks to leave, and gives it back; `started` is called once it accepts.
    ///
    /// # Errors
    ///
    /// Only what makes the epoll instance itself unusable.
    pub(crate) fn run(mut self, started: impl FnOnce()) -> io::Result<M> {
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
            self.flush();
            let busy = next.busy || !self.ready.is_empty() || self.is_acceptable();
            let deadline = [next.deadline, self.accept_again].into_iter().flatten().min();
            self.wait(busy, deadline)?;
            now = Instant::now();
            self.machine.turn_began(now);
            self.dispatch(now);
            self.note();
        }
        self.note();
        Ok(self.machine)
    }

    fn note(&mut self) {
        self.counters.operations_in_flight = self.sockets.sending() as u64;
        self.machine.note_ring(&self.counters);
    }

    // ---- waiting

    /// Takes events from the kernel; sleeps until there are some, unless there is more to do.
    fn wait(&mut self, busy: bool, deadline: Option<Instant>) -> io::Result<()> {
        self.events.clear();
        // What failed to be sent has ended connections: their turn comes at once.
        if busy || std::mem::take(&mut self.urgent) {
            return self.poll(Some(Duration::ZERO));
        }
        if self.spin.is_on() && self.look(deadline)? {
            return Ok(());
        }
        if self.machine.mailbox().is_some_and(|mailbox| !mailbox.may_sleep()) {
            return self.poll(Some(Duration::ZERO));
        }
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let outcome = self.poll(left);
        if let Some(mailbox) = self.machine.mailbox() {
            mailbox.awake();
        }
        outcome
    }

    /// Looks for events for a while, so as not to have to be woken. Whether there is something to do.
    fn look(&mut self, deadline: Option<Instant>) -> io::Result<bool> {
        let begin = Instant::now();
        if !self.spin.may_begin(begin) {
            return Ok(false);
        }
        loop {
            self.poll(Some(Duration::ZERO))?;
            let now = Instant::now();
            let mail = self.machine.mailbox().is_some_and(|mailbox| !mailbox.is_empty());
            if !self.events.is_empty() || mail || deadline.is_some_and(|at| now >= at) {
                return Ok(true);
            }
            if self.spin.is_over(begin, now) {
                return Ok(false);
            }
        }
    }

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.counters.enters += 1;
        let timeout = timeout.map(|left| if self.coarse { whole_millis(left) } else { left });
        let timespec = timeout.and_then(|left| Timespec::try_from(left).ok());
        let into = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, into, timespec.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(Errno::NOSYS) if !self.coarse => {
                self.coarse = true;
                self.poll(timeout)
            }
            Err(e) => Err(e.into()),
        }
    }

    // ---- a round

    fn dispatch(&mut self, now: Instant) {
        // Those in line first; whoever fills its read again stands behind the newly ready.
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else { break };
            self.sockets.dequeued(id);
            self.read(id, now);
        }
        let events = std::mem::take(&mut self.events);
        self.counters.completions += events.len() as u64;
        for event in &events {
            match event.data.u64() {
                WAKER => {}
                data @ LISTENERS.. => self.acceptable(data - LISTENERS),
                data => self.ready_now(socket::unpack(data), event.flags, now),
            }
        }
        self.events = events;
        for index in 0..self.listeners.len() {
            if self.listeners[index].active {
                self.accept(index, now);
            }
        }
    }

    fn ready_now(&mut self, id: ConnectionId, flags: EventFlags, now: Instant) {
        let Some(socket) = self.sockets.find(id) else {
            self.counters.stale_completions += 1;
            return;
        };
        let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        if socket.phase == Phase::Connecting {
            if flags.contains(EventFlags::OUT) || broken {
                self.connected(id, flags.contains(EventFlags::IN), now);
            }
            return;
        }
        socket.ending |= broken || flags.contains(EventFlags::RDHUP);
        if flags.contains(EventFlags::OUT) && socket.sending.is_some() {
            self.send_more(id, now);
        }
        if flags.contains(EventFlags::IN) || broken {
            if let Some(socket) = self.sockets.find(id) {
                socket.readable = true;
            }
            self.read(id, now);
        }
    }

    /// Reads once, as the machine wants it.
    fn read(&mut self, id: ConnectionId, now: Instant) {
        let Some(socket) = self.sockets.find(id) else { return };
        if !socket.readable || socket.read_closed || socket.phase != Phase::Open {
            return;
        }
        match socket.want {
            ReadInterest::Nothing => {}
            ReadInterest::Direct => self.read_direct(id, now),
            ReadInterest::Small
            | ReadInterest::SmallOnce
            | ReadInterest::Large
            | ReadInterest::LargeOnce => self.read_shared(id, now),
        }
        if self.sends.bytes() > TURN_BYTES {
            self.flush();
        }
    }

    fn read_shared(&mut self, id: ConnectionId, now: Instant) {
        if self.buffer.len() - self.used < READ_BYTES {
            self.flush();
        }
        let start = self.used;
        let room = &mut self.buffer[start..start + READ_BYTES];
        let Some(socket) = self.sockets.find(id) else { return };
        self.counters.enters += 1;
        self.counters.receives_armed += 1;
        let outcome = rustix::net::recv(&socket.fd, &mut *room, RecvFlags::DONTWAIT);
        let n = match outcome {
            Ok((n, _)) if n > 0 => n,
            outcome => return self.nothing_read(id, outcome.map(|_| ()), now),
        };
        socket.readable = n == READ_BYTES || socket.ending;
        #[expect(clippy::cast_possible_truncation, reason = "an offset in the buffer")]
        let lease = Lease::new(start as u32);
        let want = self.machine.received(id, &mut room[..n], &lease, &mut self.sends, now);
        if self.sends.took_lease() {
            self.used = (start + n).next_multiple_of(LINE);
        }
        self.wants(id, want);
    }

    fn read_direct(&mut self, id: ConnectionId, now: Instant) {
        let Some((mut memory, wanted)) = self.machine.take_direct(id) else {
            return self.read_shared(id, now);
        };
        let Some(socket) = self.sockets.find(id) else { return };
        let spare = memory.spare(wanted.min(DIRECT_READ_BYTES));
        let offered = spare.len();
        self.counters.enters += 1;
        self.counters.receives_armed += 1;
        let outcome = rustix::net::recv(&socket.fd, spare, RecvFlags::DONTWAIT);
        let n = outcome.as_ref().map_or(0, |(n, _)| *n);
        socket.readable = n == offered || socket.ending;
        // The memory goes back whatever happened.
        let want = self.machine.received_direct(id, memory, n, &mut self.sends, now);
        if n == 0 {
            return self.nothing_read(id, outcome.map(|_| ()), now);
        }
        self.wants(id, want);
    }

    #[cold]
    fn nothing_read(&mut self, id: ConnectionId, outcome: Result<(), Errno>, now: Instant) {
        let Some(socket) = self.sockets.find(id) else { return };
        match outcome {
            Err(Errno::AGAIN) => socket.readable = false,
            Err(Errno::INTR) => self.line_up(id),
            Ok(()) => {
                socket.read_closed = true;
                self.machine.hung_up(id, None, &mut self.sends, now);
            }
            Err(e) => {
                socket.read_closed = true;
                self.machine.hung_up(id, Some(e.raw_os_error()), &mut self.sends, now);
            }
        }
    }

    /// Notes how the connection wants to receive; it stands in line if there may be more to read.
    fn wants(&mut self, id: ConnectionId, want: ReadInterest) {
        let Some(socket) = self.sockets.find(id) else { return };
        socket.want = want;
        if want != ReadInterest::Nothing && socket.readable {
            self.line_up(id);
        }
    }

    fn line_up(&mut self, id: ConnectionId) {
        if self.sockets.queued(id) {
            self.ready.push_back(id);
        }
    }

    // ---- actions

    fn act(&mut self, now: Instant) -> io::Result<()> {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Connect { id, from, to } => self.connect(id, from, &to, now)?,
                Action::Receive(id) => {
                    let want = self.machine.want(id);
                    self.wants(id, want);
                }
                Action::Shutdown(id) => {
                    if let Some(socket) = self.sockets.find(id) {
                        self.counters.enters += 1;
                        // A peer that is gone has no use for our end.
                        let _ = rustix::net::shutdown(&socket.fd, rustix::net::Shutdown::Write);
                        let want = self.machine.want(id);
                        self.wants(id, want);
                    }
                }
                Action::Look(id) => {
                    let given = self.machine.given(id, &self.sends);
                    let seen = self.sockets.get(id).map(|socket| queues(socket.fd.as_raw_fd()));
                    self.counters.enters += if seen.is_some() { 2 } else { 0 };
                    let (untaken, unread) = seen.unwrap_or_default();
                    let look = Look { given, untaken, unread };
                    self.machine.looked(id, look, &mut self.sends, now);
                }
                Action::Close(id) => {
                    self.counters.enters += 1;
                    self.sockets.remove(id);
                    self.machine.released(id);
                }
                Action::StopAccepting => {
                    self.listeners.clear();
                    self.accept_again = None;
                }
                Action::Tidy => {
                    self.sockets.tidy();
                    self.events.shrink_to(EVENTS);
                    self.ready.shrink_to(EVENTS);
                }
                Action::Exit => self.exit = true,
            }
        }
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            self.listeners.iter_mut().for_each(|one| one.active = true);
        }
        Ok(())
    }

    fn is_acceptable(&self) -> bool {
        self.listeners.iter().any(|one| one.active)
    }

    fn acceptable(&mut self, index: u64) {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if let Some(listening) = self.listeners.get_mut(index) {
            listening.active = true;
        }
    }

    fn accept(&mut self, index: usize, now: Instant) {
        let paused = self.accept_again.is_some();
        for _ in 0..ACCEPTS {
            let Some(Acceptor { listener, active }) = self.listeners.get_mut(index) else {
                break;
            };
            if paused {
                *active = false;
                return;
            }
            self.counters.enters += 1;
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let fd = match rustix::net::accept_with(&*listener, flags) {
                Ok(fd) => fd,
                // The newcomer was gone again.
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    *active = false;
                    return;
                }
                Err(_) => {
                    // Out of files or memory: only newcomers suffer.
                    self.counters.accept_failures += 1;
                    self.accept_again = Some(now + ACCEPT_PAUSE);
                    *active = false;
                    return;
                }
            };
            let Some(id) = self.machine.accepted(index, &mut self.sends, now) else { continue };
            if let Err(e) = self.watch(id, fd, Phase::Open) {
                self.machine.hung_up(id, e.raw_os_error(), &mut self.sends, now);
            }
        }
    }

    /// Registers a socket, once and for everything.
    fn watch(&mut self, id: ConnectionId, fd: OwnedFd, phase: Phase) -> io::Result<()> {
        self.counters.enters += 1;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let added = epoll::add(&self.epoll, &fd, EventData::new_u64(socket::pack(id)), flags);
        self.sockets.insert(id, fd, phase);
        Ok(added?)
    }

    fn connect(
        &mut self,
        id: ConnectionId,
        from: Option<IpAddr>,
        to: &Endpoint,
        now: Instant,
    ) -> io::Result<()> {
        self.counters.enters += 2;
        let outcome = accept::outgoing(from, to).and_then(|(fd, _)| {
            rustix::io::ioctl_fionbio(&fd, true)?;
            // Before the connect, so that no edge is missed.
            self.watch(id, fd, Phase::Connecting)?;
            match self.sockets.find(id).map(|socket| connect(&socket.fd, to)) {
                None | Some(Ok(()) | Err(Errno::INPROGRESS | Errno::INTR)) => Ok(()),
                Some(Err(e)) => Err(e.into()),
            }
        });
        if let Err(e) = outcome {
            if let Some(socket) = self.sockets.find(id) {
                socket.read_closed = true;
                socket.phase = Phase::Open;
            }
            let error = e.raw_os_error().unwrap_or(libc::EIO);
            self.machine.hung_up(id, Some(error), &mut self.sends, now);
        }
        Ok(())
    }

    fn connected(&mut self, id: ConnectionId, readable: bool, now: Instant) {
        let Some(socket) = self.sockets.find(id) else { return };
        self.counters.enters += 1;
        socket.phase = Phase::Open;
        let outcome = rustix::net::sockopt::socket_error(socket.fd.as_fd());
        if let Ok(Err(e)) | Err(e) = outcome {
            socket.read_closed = true;
            self.machine.hung_up(id, Some(e.raw_os_error()), &mut self.sends, now);
            return;
        }
        socket.readable = readable;
        self.machine.connected(id, &mut self.sends, now);
        self.wants(id, ReadInterest::Small);
    }
}

fn connect(fd: &OwnedFd, to: &Endpoint) -> Result<(), Errno> {
    match to {
        Endpoint::Tcp(address) => rustix::net::connect(fd, address),
        Endpoint::Unix(path) => rustix::net::connect(fd, &SocketAddrUnix::new(&**path)?),
    }
}

fn whole_millis(left: Duration) -> Duration {
    let millis = left.as_nanos().div_ceil(1_000_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}
