//! What the driver's futures share: the machine, the turn, the buffers, and who is connected.
//!
//! It is borrowed for the length of one call and never while something is awaited.

use std::io;
use std::net::{IpAddr, Shutdown};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use socket2::{SockAddr, SockRef, Socket};
use tokio_uring::net::{TcpListener, TcpStream};

use super::buffers::{Buffer, BufferClass, Buffers};
use super::connection::{Connection, Write, is_passing};
use super::send::{self, Job, Part};
use crate::conn::Reassembly;
use crate::driver::TURN_BYTES;
use crate::driver::accept;
use crate::metrics::RingCounters;
use crate::shard::machine::{Action, Endpoint, Look, Machine, Next};
use crate::shard::send::Transmit;
use crate::shard::send_batch::{Lease, SendBatch};
use crate::shard::table::ConnectionId;
use crate::sys::socket::queues;

/// The runtime does not tell whether a send had to wait for the peer: one that took longer did.
const AT_ONCE: Duration = Duration::from_millis(50);

/// A future to be begun.
pub(super) enum Start {
    /// Passes through the kernel and back, whenever asked to.
    Pass,
    /// Accepts one connection after the other, from the listener of this number.
    Accept(usize, Rc<TcpListener>),
    /// Serves a connection that stands.
    Serve(Rc<Connection>),
    /// Waits for a connection that is being made, and serves it.
    Connect(Rc<Connection>, Attempt),
}

/// How far an attempt to connect is.
pub(super) enum Attempt {
    /// The kernel is at it, and another handle of the socket is ready when it is over.
    UnderWay(OwnedFd),
    /// The connection was made, or failed, at once.
    Made(io::Result<()>),
}

/// A connection that is closed while it sends.
struct Closing {
    id: ConnectionId,
    /// How many passes there had been when its send was first seen under way.
    seen: Option<u64>,
}

/// What all futures of the driver share: the machine, the turn, the buffers and the connections.
pub(super) struct Core<M> {
    pub(super) machine: M,
    sends: SendBatch,
    pub(super) buffers: Buffers,
    /// Buffers that the turn points into, by the number of their lease.
    held: Vec<Option<Buffer>>,
    connections: Vec<Option<Rc<Connection>>>,
    live: usize,
    pub(super) newcomers: Vec<Start>,
    closing: Vec<Closing>,
    /// Other handles of the listening sockets, to shut them down by.
    listeners: Vec<Socket>,
    /// Accepts in flight.
    pub(super) accepts: usize,
    pub(super) counters: RingCounters,
    now: Instant,
    /// Something happened since the machine had its turn.
    pub(super) begun: bool,
    /// A pass is wanted; who passes; how often it has.
    pub(super) pass_wanted: bool,
    pub(super) passer: Option<Waker>,
    pub(super) passes: u64,
    pub(super) exit: bool,
}

impl<M: Machine> Core<M> {
    pub(super) fn new(machine: M, listeners: Vec<Socket>, buffers: Buffers) -> Self {
        Self {
            machine,
            sends: SendBatch::default(),
            buffers,
            held: Vec::with_capacity(256),
            connections: Vec::new(),
            live: 0,
            newcomers: Vec::new(),
            closing: Vec::new(),
            listeners,
            accepts: 0,
            counters: RingCounters::default(),
            now: Instant::now(),
            begun: false,
            pass_wanted: false,
            passer: None,
            passes: 0,
            exit: false,
        }
    }

    fn find(&self, id: ConnectionId) -> Option<&Rc<Connection>> {
        let connection = self.connections.get(id.slot() as usize)?.as_ref()?;
        (connection.id == id).then_some(connection)
    }

    /// Whether nothing in flight is left but what may be dropped.
    pub(super) const fn is_quiet(&self) -> bool {
        self.live == 0 && self.accepts == 0
    }

    // ---- the turn

    /// The machine is told, before anything else, that the kernel has brought something.
    pub(super) fn begin(&mut self) -> Instant {
        if !self.begun {
            self.begun = true;
            self.now = Instant::now();
            self.machine.turn_began(self.now);
        }
        self.now
    }

    /// The machine's own turn, and what it wants sent.
    pub(super) fn run(&mut self) -> Next {
        let now = self.begin();
        let mut next = self.machine.run(&mut self.sends, now);
        self.flush();
        next.busy |= self.cut_closing();
        self.begun = false;
        next
    }

    /// Gives every connection what the turn holds for it: afterwards the turn is empty.
    fn flush(&mut self) {
        self.machine.seal(&mut self.sends);
        for index in 0..self.sends.entries().len() {
            let entry = self.sends.entries()[index];
            let Some(connection) = self.find(entry.id).map(Rc::clone) else { continue };
            if !connection.is_open() || connection.write.get() != Write::Idle {
                continue;
            }
            let held = &mut self.held[..];
            if let Some(job) = send::take_job(&mut self.sends, &entry, held, &mut self.buffers) {
                // All that follows waits until the kernel has taken this.
                self.machine.blocked(entry.id, entry.bytes as usize, job.footprint());
                connection.give(job);
            }
        }
        self.sends.clear();
        for buffer in self.held.drain(..).flatten() {
            self.buffers.give(buffer);
        }
        self.machine.settled();
    }

    /// Shares the counters; `parks` is how often the runtime went to sleep.
    pub(super) fn note(&mut self, parks: u64) {
        let mut counters = self.counters.clone();
        // Before it sleeps it submits, then it waits: two system calls.
        counters.enters += 2 * parks;
        counters.buffers_held = self.held.len() as u64;
        counters.buffers_exhausted = self.buffers.exhausted;
        self.machine.note_ring(&counters);
    }

    // ---- receiving

    /// The buffer of the next read: the last one again, if it will do.
    pub(super) fn receive_buffer(&mut self, kept: Option<Buffer>, class: BufferClass) -> Buffer {
        self.read_begun();
        match kept {
            Some(buffer) if buffer.suits(class) => buffer,
            other => {
                if let Some(buffer) = other {
                    self.buffers.give(buffer);
                }
                self.buffers.take(class)
            }
        }
    }

    pub(super) const fn read_begun(&mut self) {
        self.counters.receives_armed += 1;
        self.counters.operations_in_flight += 1;
    }

    pub(super) const fn read_completed(&mut self) {
        self.counters.completions += 1;
        self.counters.operations_in_flight -= 1;
    }

    /// `n` bytes were read; gives the buffer back unless output points into it.
    pub(super) fn received(
        &mut self,
        connection: &Connection,
        mut buffer: Buffer,
        n: usize,
    ) -> Option<Buffer> {
        let now = self.begin();
        #[expect(clippy::cast_possible_truncation, reason = "a turn holds far fewer buffers")]
        let lease = Lease::new(self.held.len() as u32);
        let input = buffer.bytes_mut().get_mut(..n).unwrap_or_default();
        let want = self.machine.received(connection.id, input, &lease, &mut self.sends, now);
        let kept = if self.sends.took_lease() {
            self.held.push(Some(buffer));
            None
        } else {
            Some(buffer)
        };
        connection.want.set(want);
        if self.sends.bytes() > TURN_BYTES {
            self.flush();
        }
        kept
    }

    pub(super) fn take_direct(
        &mut self,
        connection: &Connection,
    ) -> Option<(Box<Reassembly>, u64)> {
        self.machine.take_direct(connection.id)
    }

    pub(super) fn received_direct(
        &mut self,
        connection: &Connection,
        memory: Box<Reassembly>,
        n: usize,
    ) {
        let now = self.begin();
        let want = self.machine.received_direct(connection.id, memory, n, &mut self.sends, now);
        connection.want.set(want);
        if self.sends.bytes() > TURN_BYTES {
            self.flush();
        }
    }

    /// A read brought nothing: the stream has ended or broken, unless it may be tried again (`true`).
    pub(super) fn nothing_read(
        &mut self,
        connection: &Connection,
        outcome: io::Result<()>,
    ) -> bool {
        if connection.ending.get() {
            return false;
        }
        let error = match outcome {
            Err(e) if is_passing(&e) => return true,
            Err(e) => Some(e.raw_os_error().unwrap_or(libc::EIO)),
            Ok(()) => None,
        };
        let now = self.begin();
        self.machine.hung_up(connection.id, error, &mut self.sends, now);
        false
    }

    // ---- sending

    /// Says when it was.
    pub(super) const fn write_begun(&mut self) -> Instant {
        self.counters.slow_sends += 1;
        self.counters.operations_in_flight += 1;
        self.now
    }

    /// What to send next of a transmission.
    pub(super) fn next_part(&mut self, rest: &mut Transmit) -> Option<Part> {
        send::next_part(rest, &mut self.buffers)
    }

    /// The kernel is done with the memory of a part.
    pub(super) fn part_back(&mut self, part: Part) {
        self.counters.completions += 1;
        match part {
            Part::Buffer(buffer, _) => self.buffers.give(buffer),
            Part::Message(message, _) => self.sends.recycle(message.into_memory()),
            Part::Shared(_) | Part::Counted(..) => {}
        }
    }

    /// The kernel has taken `n` bytes of a send that goes on.
    pub(super) fn took(&mut self, connection: &Connection, n: usize) {
        if connection.ending.get() {
            return;
        }
        self.begin();
        self.machine.took(connection.id, n);
        connection.want.set(self.machine.want(connection.id));
    }

    /// A send is done: the next one follows, if something waits.
    pub(super) fn written(
        &mut self,
        connection: &Connection,
        outcome: io::Result<()>,
        begun: Instant,
    ) {
        self.counters.operations_in_flight -= 1;
        if connection.ending.get() {
            return;
        }
        let now = self.begin();
        if let Err(e) = outcome {
            let error = e.raw_os_error().unwrap_or(libc::EIO);
            self.machine.hung_up(connection.id, Some(error), &mut self.sends, now);
            return;
        }
        let next = if now - begun < AT_ONCE {
            self.machine.sent_at_once(connection.id, &mut self.sends, now)
        } else {
            self.machine.sent(connection.id, &mut self.sends, now)
        };
        if let Some(next) = next {
            connection.give(Job::Rest(next));
        }
        connection.want.set(self.machine.want(connection.id));
    }

    // ---- beginning

    /// TCP gave us a connection.
    pub(super) fn accepted(&mut self, listener: usize, stream: TcpStream) {
        self.counters.completions += 1;
        if !self.is_accepting() {
            // Too late: dropping it closes it.
            self.counters.enters += 1;
            return;
        }
        let now = self.begin();
        match self.machine.accepted(listener, &mut self.sends, now) {
            Some(id) => {
                let connection = self.occupy(id, stream, false);
                self.newcomers.push(Start::Serve(connection));
            }
            None => self.counters.enters += 1,
        }
    }

    /// Whether newcomers are welcome.
    pub(super) const fn is_accepting(&self) -> bool {
        !self.listeners.is_empty()
    }

    fn occupy(&mut self, id: ConnectionId, stream: TcpStream, connecting: bool) -> Rc<Connection> {
        let connection = Rc::new(Connection::new(id, stream, connecting));
        let slot = id.slot() as usize;
        if slot >= self.connections.len() {
            self.connections.resize_with(slot + 1, || None);
        }
        self.connections[slot] = Some(Rc::clone(&connection));
        self.live += 1;
        connection
    }

    fn connect(&mut self, id: ConnectionId, from: Option<IpAddr>, to: &Endpoint) {
        // Begun without the runtime, which can neither bind a socket nor give an attempt up: kernels
        // before 6.13 connect once more when a socket that its ring connects is shut down.
        let attempt = accept::outgoing(from, to).and_then(|(fd, address)| {
            let attempt = match connect_at_once(&fd, &address) {
                Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {
                    Attempt::UnderWay(fd.try_clone()?)
                }
                outcome => Attempt::Made(outcome),
            };
            Ok((fd, attempt))
        });
        self.counters.enters += 3;
        match attempt {
            Ok((fd, attempt)) => {
                let stream = TcpStream::from_std(std::net::TcpStream::from(fd));
                let connection = self.occupy(id, stream, true);
                connection.armed.set(true);
                self.counters.operations_in_flight += 1;
                self.newcomers.push(Start::Connect(connection, attempt));
            }
            Err(e) => {
                let error = e.raw_os_error().unwrap_or(libc::EIO);
                let now = self.begin();
                self.machine.hung_up(id, Some(error), &mut self.sends, now);
            }
        }
    }

    /// An attempt to connect is over; whether the connection stands.
    pub(super) fn connected(&mut self, connection: &Connection, outcome: io::Result<()>) -> bool {
        self.counters.operations_in_flight -= 1;
        self.counters.enters += 1;
        connection.armed.set(false);
        connection.connecting.set(false);
        if connection.ending.get() {
            return false;
        }
        let now = self.begin();
        if let Err(e) = outcome {
            let error = e.raw_os_error().unwrap_or(libc::EIO);
            self.machine.hung_up(connection.id, Some(error), &mut self.sends, now);
            return false;
        }
        self.machine.connected(connection.id, &mut self.sends, now);
        true
    }

    // ---- ending

    /// Does what the machine asks for.
    pub(super) fn act(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Connect { id, from, to } => self.connect(id, from, &to),
                Action::Receive(id) => {
                    let Some(connection) = self.find(id).map(Rc::clone) else { continue };
                    connection.want.set(self.machine.want(id));
                    connection.wake();
                }
                Action::Shutdown(id) => {
                    let Some(connection) = self.find(id).map(Rc::clone) else { continue };
                    self.shut_down(&connection, Shutdown::Write);
                    connection.want.set(self.machine.want(id));
                    connection.wake();
                }
                Action::Look(id) => self.look(id),
                Action::Close(id) => self.close(id),
                Action::StopAccepting => self.stop_accepting(),
                Action::Tidy => {
                    while self.connections.pop_if(|last| last.is_none()).is_some() {}
                    self.connections.shrink_to(2 * self.connections.len());
                }
                Action::Exit => self.exit = true,
            }
        }
    }

    fn look(&mut self, id: ConnectionId) {
        let Some(connection) = self.find(id).map(Rc::clone) else {
            let look = Look { given: self.machine.given(id, &self.sends), ..Look::default() };
            return self.machine.looked(id, look, &mut self.sends, self.now);
        };
        if connection.armed.get() && connection.is_open() {
            // A read may be over that its future does not know of, and the socket is empty then.
            connection.looking.set(true);
            return connection.wake();
        }
        self.look_now(&connection);
    }

    /// Looks at a connection's socket for the machine.
    pub(super) fn look_now(&mut self, connection: &Connection) {
        let now = self.begin();
        let given = self.machine.given(connection.id, &self.sends);
        let (untaken, unread) = queues(connection.stream.as_raw_fd());
        self.counters.enters += 2;
        let unread = unread.saturating_add(connection.unwanted.get());
        let look = Look { given, untaken, unread };
        self.machine.looked(connection.id, look, &mut self.sends, now);
    }

    fn shut_down(&mut self, connection: &Connection, how: Shutdown) {
        self.counters.enters += 1;
        // A peer that is gone has no use for our end.
        let _ = connection.stream.shutdown(how);
    }

    pub(super) fn stop_accepting(&mut self) {
        for listener in std::mem::take(&mut self.listeners) {
            self.counters.enters += 2;
            // It completes the accepts in flight, which must not be dropped: what they accepted
            // then would be lost, and stay open.
            let _ = listener.shutdown(Shutdown::Both);
        }
    }

    fn close(&mut self, id: ConnectionId) {
        let Some(connection) = self.find(id).map(Rc::clone) else {
            // It never had a socket.
            self.machine.released(id);
            return;
        };
        if connection.ending.replace(true) {
            // It takes too long.
            return self.cut(&connection);
        }
        if connection.write.get() == Write::Idle {
            self.cut(&connection);
        } else {
            self.closing.push(Closing { id, seen: None });
        }
        connection.wake();
    }

    /// Completes everything that is in flight on a connection.
    fn cut(&mut self, connection: &Connection) {
        if connection.armed.get() || connection.write.get() != Write::Idle {
            self.shut_down(connection, Shutdown::Both);
        }
    }

    /// Cuts the connections that are to be closed and whose last send the kernel has tried by now;
    /// whether there are others. A send is tried in the first pass after it was seen under way, and
    /// one pass may have been on its way before.
    fn cut_closing(&mut self) -> bool {
        if self.closing.is_empty() {
            return false;
        }
        for mut one in std::mem::take(&mut self.closing) {
            let Some(connection) = self.find(one.id).map(Rc::clone) else { continue };
            match (connection.write.get(), one.seen) {
                (Write::Idle, _) => self.cut(&connection),
                (Write::UnderWay, Some(seen)) if self.passes >= seen + 2 => self.cut(&connection),
                (Write::UnderWay, None) => {
                    one.seen = Some(self.passes);
                    self.closing.push(one);
                }
                _ => self.closing.push(one),
            }
        }
        !self.closing.is_empty()
    }

    /// Ends everything, whatever is in flight.
    pub(super) fn end_all(&mut self) {
        self.exit = true;
        self.stop_accepting();
        self.closing.clear();
        for connection in self.connections.clone().iter().flatten() {
            connection.ending.set(true);
            self.cut(connection);
            connection.wake();
        }
        if let Some(passer) = self.passer.take() {
            passer.wake();
        }
    }

    /// The futures of a connection have ended, so the kernel owns nothing of it: its socket goes.
    pub(super) fn gone(&mut self, connection: Rc<Connection>) {
        let id = connection.id;
        if let Some(place) = self.connections.get_mut(id.slot() as usize) {
            *place = None;
        }
        self.live -= 1;
        self.counters.enters += 1;
        drop(connection);
        if !self.exit {
            self.begin();
            self.machine.released(id);
        }
    }
}

/// Connects to a unix socket; fails where its backlog is full.
fn connect_at_once(fd: &OwnedFd, to: &SockAddr) -> io::Result<()> {
    let socket = SockRef::from(fd);
    socket.set_nonblocking(true)?;
    let outcome = socket.connect(to);
    socket.set_nonblocking(false)?;
    outcome
}
