//! The ring: what is safe to submit, and what comes back.
//!
//! Every function here is safe to call, because what is submitted names memory that the ring owns
//! or that is borrowed until the kernel is done with it:
//!
//! - receives go into the buffer rings, which the [`Ring`] owns, or into an [`Assembly`] that moves
//!   into the table of operations in flight and comes back with the completion;
//! - slow sends move their [`Transmit`] into that table, too;
//! - inline sends point into the [`Turn`] that [`Ring::exchange`] borrows. They carry
//!   `MSG_DONTWAIT`, so the kernel executes or fails them while it takes the submission and never
//!   parks them: when the submission queue is empty again, it is done with the turn's memory.

mod turn;

use std::io;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use slab::Slab;
use socket2::SockAddr;

use super::buffer_ring::BufferRing;
use super::operation::{Class, Completion, Operation, Socket, UserData, on};
use super::spin::Spin;
use crate::config::RingConfig;
use crate::conn::Assembly;
use crate::error::StartError;
use crate::metrics::RingCounters;
use crate::shard::send::Transmit;
use crate::shard::table::ConnectionId;
use crate::shard::turn::{Loan, Turn};

/// How long an exchange may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    No,
    Until(Instant),
    Forever,
}

/// Memory and names that the kernel uses until the operation completes.
#[derive(Debug)]
enum InFlight {
    Send { id: ConnectionId, transmit: Transmit, gather: Box<Gather> },
    Receive { id: ConnectionId, memory: Box<Assembly> },
    Connect { id: ConnectionId, to: Box<SockAddr> },
}

/// A message header with its vectors, at a fixed address.
#[derive(Debug)]
struct Gather {
    vectors: Vec<libc::iovec>,
    header: libc::msghdr,
}

/// The most vectors that the kernel takes in one send.
const VECTORS_MAX: usize = 1024;

/// See the module's text. Field order is the order of death (S8): the ring is closed before the
/// memory it knows is freed.
pub(crate) struct Ring {
    ring: IoUring,
    in_flight: Slab<InFlight>,
    small: BufferRing,
    large: BufferRing,
    /// Vectors and headers of this turn's gathered inline sends.
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::msghdr>,
    pub(crate) counters: RingCounters,
    spin: Spin,
}

/// Bytes of a small receive buffer.
pub(crate) const SMALL_BYTES: usize = 4096;
/// Bytes of a large one.
pub(crate) const LARGE_BYTES: usize = 64 << 10;
/// Buffers of a class for each that is offered: those that output points into are not.
const RESERVE: u16 = 4;

impl Ring {
    /// Sets the ring up on the calling thread, which must be the one that uses it.
    pub(crate) fn new(config: &RingConfig) -> Result<Self, StartError> {
        let ring = set_up(config)?;
        let wrong = |e| StartError::kernel("a ring of receive buffers", &e);
        let class = |group, size, offered: u16| {
            BufferRing::new(group, size, offered, offered.saturating_mul(RESERVE))?
                .register(&ring.submitter())
        };
        let small = class(0, SMALL_BYTES, config.small_buffers).map_err(wrong)?;
        let large = class(1, LARGE_BYTES, config.large_buffers).map_err(wrong)?;
        Ok(Self {
            ring,
            in_flight: Slab::new(),
            small,
            large,
            vectors: Vec::new(),
            headers: Vec::new(),
            counters: RingCounters::default(),
            spin: Spin::new(config.spin, config.spin_budget_percent),
        })
    }

    /// Gives the ring a file table of its own; `false` where the kernel will not.
    pub(crate) fn register_files(&self, files: u32) -> bool {
        self.ring.submitter().register_files_sparse(files).is_ok()
    }

    // ---- what can be asked of the kernel

    /// Accepts from a listener, again and again; its completions carry the listener's place.
    pub(crate) fn accept(&mut self, listener: RawFd, index: usize, direct: bool) -> io::Result<()> {
        let accept = opcode::AcceptMulti::new(Fd(listener)).allocate_file_index(direct).build();
        self.push(accept, UserData::key(Operation::Accept, to_key(index)))
    }

    pub(crate) fn receive(
        &mut self,
        socket: Socket,
        id: ConnectionId,
        class: Class,
        once: bool,
    ) -> io::Result<()> {
        let group = self.class(class).group();
        self.counters.receives_armed += 1;
        let entry = if once {
            on(
                socket,
                |fd| opcode::Recv::new(fd, std::ptr::null_mut(), 0).buf_group(group).build(),
                |fd| opcode::Recv::new(fd, std::ptr::null_mut(), 0).buf_group(group).build(),
            )
            .flags(squeue::Flags::BUFFER_SELECT)
        } else {
            on(
                socket,
                |fd| opcode::RecvMulti::new(fd, group).build(),
                |fd| opcode::RecvMulti::new(fd, group).build(),
            )
        };
        self.push(entry, UserData::connection(Operation::Receive, id))
    }

    /// Receives into memory that comes back with [`Ring::take_received`].
    pub(crate) fn receive_direct(
        &mut self,
        socket: Socket,
        id: ConnectionId,
        mut memory: Box<Assembly>,
        wanted: u64,
    ) -> io::Result<()> {
        let spare = memory.spare(wanted);
        let (start, len) = (spare.as_mut_ptr(), u32::try_from(spare.len()).unwrap_or(u32::MAX));
        let key = self.in_flight.insert(InFlight::Receive { id, memory });
        let flags = libc::MSG_WAITALL;
        let entry = on(
            socket,
            |fd| opcode::Recv::new(fd, start, len).flags(flags).build(),
            |fd| opcode::Recv::new(fd, start, len).flags(flags).build(),
        );
        self.counters.receives_armed += 1;
        self.push(entry, UserData::key(Operation::ReceiveDirect, to_key(key)))
    }

    /// Sends owned bytes; the kernel waits for room as long as it takes.
    pub(crate) fn send(
        &mut self,
        socket: Socket,
        id: ConnectionId,
        transmit: Transmit,
    ) -> io::Result<()> {
        let gather = Box::new(Gather { vectors: Vec::new(), header: empty_header() });
        let key = self.in_flight.insert(InFlight::Send { id, transmit, gather });
        self.counters.slow_sends += 1;
        self.submit_send(socket, key)
    }

    fn submit_send(&mut self, socket: Socket, key: usize) -> io::Result<()> {
        let Some(InFlight::Send { transmit, gather, .. }) = self.in_flight.get_mut(key) else {
            return Ok(());
        };
        gather.vectors.clear();
        gather.vectors.extend(transmit.pieces().take(VECTORS_MAX).map(|piece| libc::iovec {
            iov_base: piece.as_ptr().cast_mut().cast(),
            iov_len: piece.len(),
        }));
        gather.header.msg_iov = gather.vectors.as_mut_ptr();
        gather.header.msg_iovlen = gather.vectors.len();
        let header = &raw const gather.header;
        let flags = (libc::MSG_NOSIGNAL | libc::MSG_WAITALL).unsigned_abs();
        let entry = on(
            socket,
            |fd| opcode::SendMsg::new(fd, header).flags(flags).build(),
            |fd| opcode::SendMsg::new(fd, header).flags(flags).build(),
        );
        self.push(entry, UserData::key(Operation::SlowSend, to_key(key)))
    }

    pub(crate) fn connect(
        &mut self,
        socket: RawFd,
        id: ConnectionId,
        to: SockAddr,
    ) -> io::Result<()> {
        let to = Box::new(to);
        let (address, len) = (to.as_ptr().cast(), to.len());
        let key = self.in_flight.insert(InFlight::Connect { id, to });
        let entry = opcode::Connect::new(Fd(socket), address, len).build();
        self.push(entry, UserData::key(Operation::Connect, to_key(key)))
    }

    /// Cancels the receive of a connection; the receive completes as cancelled.
    pub(crate) fn cancel_receive(&mut self, id: ConnectionId) -> io::Result<()> {
        self.counters.receives_cancelled += 1;
        let target = UserData::connection(Operation::Receive, id);
        let cancel = opcode::AsyncCancel::new(target.0).build();
        self.push(
            cancel.flags(squeue::Flags::SKIP_SUCCESS),
            UserData::connection(Operation::Cancel, id),
        )
    }

    pub(crate) fn cancel_accept(&mut self, index: usize) -> io::Result<()> {
        let accept = UserData::key(Operation::Accept, to_key(index));
        let cancel = opcode::AsyncCancel::new(accept.0).build();
        self.push(cancel.flags(squeue::Flags::SKIP_SUCCESS), UserData::key(Operation::Cancel, 0))
    }

    pub(crate) fn shutdown(
        &mut self,
        socket: Socket,
        id: ConnectionId,
        how: std::net::Shutdown,
    ) -> io::Result<()> {
        let how = match how {
            std::net::Shutdown::Read => libc::SHUT_RD,
            std::net::Shutdown::Write => libc::SHUT_WR,
            std::net::Shutdown::Both => libc::SHUT_RDWR,
        };
        let entry = on(
            socket,
            |fd| opcode::Shutdown::new(fd, how).build(),
            |fd| opcode::Shutdown::new(fd, how).build(),
        );
        self.push(entry, UserData::connection(Operation::Shutdown, id))
    }

    /// Closes a socket on which nothing is in flight.
    pub(crate) fn close(&mut self, socket: Socket) -> io::Result<()> {
        let entry =
            on(socket, |fd| opcode::Close::new(fd).build(), |fd| opcode::Close::new(fd).build());
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS), UserData::key(Operation::Close, 0))
    }

    /// Completes each time the doorbell is rung.
    pub(crate) fn watch(&mut self, doorbell: RawFd) -> io::Result<()> {
        let events = u32::from(libc::POLLIN.unsigned_abs());
        let poll = opcode::PollAdd::new(Fd(doorbell), events).multi(true).build();
        self.push(poll, UserData::key(Operation::Doorbell, 0))
    }

    // ---- what comes back

    /// The connection whose slow send completed, and what is left of it. `None` when the send is
    /// whole: then the connection alone.
    pub(crate) fn slow_sent(
        &mut self,
        completion: Completion,
        socket: impl Fn(ConnectionId) -> Option<Socket>,
    ) -> Option<(ConnectionId, Result<(), i32>)> {
        let key = completion.user_data.low() as usize;
        let InFlight::Send { id, transmit, .. } = self.in_flight.get_mut(key)? else { return None };
        let id = *id;
        let outcome = match usize::try_from(completion.result) {
            Ok(n) if n < transmit.bytes() && n > 0 => {
                transmit.advance(n);
                let Some(socket) = socket(id) else {
                    self.in_flight.remove(key);
                    return Some((id, Err(libc::ENOTCONN)));
                };
                match self.submit_send(socket, key) {
                    Ok(()) => return None,
                    Err(e) => Err(e.raw_os_error().unwrap_or(libc::EIO)),
                }
            }
            Ok(n) if n == transmit.bytes() => Ok(()),
            Ok(_) => Err(libc::EPIPE),
            Err(_) => Err(-completion.result),
        };
        self.in_flight.remove(key);
        Some((id, outcome))
    }

    /// The connection and memory of a direct receive that completed.
    pub(crate) fn take_received(
        &mut self,
        completion: Completion,
    ) -> Option<(ConnectionId, Box<Assembly>)> {
        let key = completion.user_data.low() as usize;
        match self.in_flight.try_remove(key)? {
            InFlight::Receive { id, memory } => Some((id, memory)),
            _ => None,
        }
    }

    /// The connection whose TCP handshake is over.
    pub(crate) fn take_connected(&mut self, completion: Completion) -> Option<ConnectionId> {
        let key = completion.user_data.low() as usize;
        match self.in_flight.try_remove(key)? {
            InFlight::Connect { id, to } => {
                drop(to);
                Some(id)
            }
            _ => None,
        }
    }

    /// Notes how much is in use.
    pub(crate) fn gauge(&mut self) {
        self.counters.buffers_held = u64::from(self.small.held()) + u64::from(self.large.held());
        self.counters.operations_in_flight = self.in_flight.len() as u64;
    }

    // ---- buffers

    pub(crate) const fn class(&mut self, class: Class) -> &mut BufferRing {
        match class {
            Class::Small => &mut self.small,
            Class::Large => &mut self.large,
        }
    }

    #[inline]
    pub(crate) const fn loan(class: Class, buffer: u16) -> Loan {
        Loan((class as u32) << 16 | buffer as u32)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the loan was made by `loan`")]
    const fn unpack(loan: Loan) -> (Class, u16) {
        (if loan.0 >> 16 == 0 { Class::Small } else { Class::Large }, loan.0 as u16)
    }

    /// Gives back a buffer that something sent pointed into.
    #[inline]
    pub(crate) fn end_loan(&mut self, loan: Loan) {
        let (class, buffer) = Self::unpack(loan);
        self.class(class).recycle(buffer);
    }

    // ---- the system call

    /// Sends what the turn holds, submits everything else, waits as told, and appends the
    /// completions. When it returns without an error, every inline send is done, except those
    /// whose completion was appended.
    pub(crate) fn exchange(
        &mut self,
        turn: &Turn,
        socket: impl Fn(ConnectionId) -> Option<Socket>,
        wait: Wait,
        out: &mut Vec<Completion>,
    ) -> io::Result<()> {
        self.small.refill();
        self.large.refill();
        self.push_turn(turn, socket)?;
        if !self.spin.is_on() || wait == Wait::No {
            self.enter(wait)?;
        } else {
            // What was found was submitted for, too: the loop below enters if anything is left.
            let wait = self.look(wait)?;
            if wait != Wait::No {
                self.enter(wait)?;
            }
        }
        loop {
            self.reap(out);
            // A failure's completion may wait behind a full queue: the verdict on inline sends
            // counts only once that is empty, and so is the submission queue.
            let queue = self.ring.submission();
            let (overflow, unsubmitted) = (queue.cq_overflow(), !queue.is_empty());
            drop(queue);
            if !overflow && !unsubmitted {
                return Ok(());
            }
            if overflow {
                self.counters.overflows += 1;
            }
            self.enter(Wait::No)?;
        }
    }

    /// Looks for completions for a while, so as not to have to be woken.
    fn look(&mut self, wait: Wait) -> io::Result<Wait> {
        let begin = Instant::now();
        if !self.spin.may_begin(begin) {
            return Ok(wait);
        }
        loop {
            let queue = self.ring.submission();
            let due = !queue.is_empty() || queue.taskrun();
            drop(queue);
            if due {
                self.enter(Wait::No)?;
            }
            if !self.ring.completion().is_empty() {
                return Ok(Wait::No);
            }
            let now = Instant::now();
            if matches!(wait, Wait::Until(deadline) if now >= deadline) {
                return Ok(Wait::No);
            }
            if self.spin.is_over(begin, now) {
                return Ok(wait);
            }
        }
    }

    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.counters.enters += 1;
        let submitter = self.ring.submitter();
        let entered = match wait {
            Wait::No => submitter.submit_and_wait(0),
            Wait::Forever => submitter.submit_and_wait(1),
            Wait::Until(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let time = Timespec::from(left);
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
        };
        match entered {
            Ok(_) => Ok(()),
            // Interrupted, timed out, or the completion queue must be emptied first: the caller
            // looks at both queues and comes back.
            Err(e) => match e.raw_os_error() {
                Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(e),
            },
        }
    }

    fn reap(&mut self, out: &mut Vec<Completion>) {
        let before = out.len();
        out.extend(self.ring.completion().map(|cqe| Completion {
            user_data: UserData(cqe.user_data()),
            result: cqe.result(),
            flags: cqe.flags(),
        }));
        self.counters.completions += (out.len() - before) as u64;
    }

    fn push(&mut self, entry: squeue::Entry, user_data: UserData) -> io::Result<()> {
        let entry = entry.user_data(user_data.0);
        loop {
            // SAFETY: S1: what the entry points to lives in `in_flight`, in a buffer ring, or in
            // the turn that `exchange` borrows until the kernel is done; see the module's text.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.enter(Wait::No)?;
        }
    }
}

impl Drop for Ring {
    /// S8: nothing may be written or read by the kernel once the memory is freed.
    fn drop(&mut self) {
        let patience = Timespec::from(Duration::from_secs(1));
        let everything = io_uring::types::CancelBuilder::any();
        let cancelled = self.ring.submitter().register_sync_cancel(Some(patience), everything);
        // Without deferred work there is nothing that could still complete later.
        let reaped = self.enter(Wait::No);
        let none = |e: &io::Error| e.raw_os_error() == Some(libc::ENOENT);
        if reaped.is_err() || cancelled.is_err_and(|e| !none(&e)) {
            // Better lost than written to after it was freed.
            self.small.leak();
            self.large.leak();
            Box::leak(Box::new(std::mem::take(&mut self.in_flight)));
        }
    }
}

fn to_key(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 operations are in flight")
}

fn empty_header() -> libc::msghdr {
    // SAFETY: a message header is plain data for which all zeros means "nothing".
    unsafe { std::mem::zeroed() }
}

/// Tries the best flags first and leaves out what the kernel does not know.
fn set_up(config: &RingConfig) -> Result<IoUring, StartError> {
    let mut refused = None;
    for no_sqarray in [true, false] {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(config.completion_entries.max(config.submission_entries));
        if no_sqarray {
            builder.setup_no_sqarray();
        }
        match builder.build(config.submission_entries) {
            Ok(ring) => return Ok(ring),
            Err(e) => refused = Some(e),
        }
    }
    let error = refused.unwrap_or_else(|| io::Error::from(io::ErrorKind::Unsupported));
    Err(StartError::ring(&error))
}
