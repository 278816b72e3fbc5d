//! The ring: what is safe to submit, and what comes back.
//!
//! Every function here is safe to call, because what is submitted names memory that the ring owns
//! or that is borrowed until the kernel is done with it:
//!
//! - receives go into the buffer rings, which the [`Ring`] owns, or into memory ([`Fill`]) that moves
//!   into the table of operations in flight and comes back with the completion;
//! - slow sends move what they send ([`Gather`]) into that table, too;
//! - inline sends point into the [`InlineSends`](super::batch::InlineSends) that [`Ring::exchange`] borrows. They carry
//!   `MSG_DONTWAIT`, so the kernel executes or fails them while it takes the submission and never
//!   parks them: when the submission queue is empty again, it is done with the batch's memory.

mod batch;
mod exchange;
mod look;
mod probe;
mod send;
mod set_up;
#[cfg(test)]
mod tests;
mod wake;

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::types::{DestinationSlot, Fd, Timespec};
use io_uring::{IoUring, opcode, squeue};
use slab::Slab;
use socket2::SockAddr;

pub(crate) use exchange::Wait;
pub(crate) use send::SlowSent;

use self::look::Looking;
use self::send::{OwnedSend, ZeroCopy};
use self::wake::Wakers;
use super::batch::{Fill, Gather};
use super::features::{FeatureSet, MissingFeature, RingConfig, RingFeature, SetUpError};
use super::operation::{Class, Completion, Operation, Socket, UserData, on};
use super::receive::ReceiveMemory;
#[cfg(feature = "tokio-uring")]
pub(crate) use super::receive::{LARGE_BYTES, SMALL_BYTES};
use super::spin::Spin;
use crate::sys::counters::RingCounters;
use crate::sys::id::ConnectionId;
use crate::sys::lease::{Lease, LeaseNumber};

/// Memory and names that the kernel uses until the operation completes.
#[derive(Debug)]
enum InFlight<S, R> {
    Send(OwnedSend<S>),
    Receive { id: ConnectionId, memory: Box<R> },
    Connect { id: ConnectionId, to: Box<SockAddr> },
    Look(Looking),
}

/// Entries of its own lists that a ring keeps room for while nothing needs them.
const KEPT: usize = 256;

/// A ring with the memory that the kernel may use through it. Its fields are dropped in their order
/// (S8): the ring is closed before the memory it knows is freed.
pub(crate) struct Ring<S: Gather, R: Fill> {
    ring: IoUring,
    in_flight: Slab<InFlight<S, R>>,
    memory: ReceiveMemory,
    /// Vectors and headers of this turn's gathered inline sends.
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::msghdr>,
    /// Completions that were taken away, to be handed out by the next exchange.
    early: Vec<Completion>,
    features: FeatureSet,
    without: Vec<MissingFeature>,
    zero_copy: ZeroCopy,
    wakers: Wakers,
    /// Whether the kernel watches a waker until further notice.
    watches_on: bool,
    /// `MSG_WAITALL` where the kernel keeps count of what is cut short, else nothing: then every
    /// request ends with what went through at once.
    wait_all: i32,
    /// Flags of receives that are cancelled in order to learn how far they are, where the kernel
    /// says it then.
    receive_all: i32,
    pub(crate) counters: RingCounters,
    spin: Spin,
}

impl<S: Gather, R: Fill> Ring<S, R> {
    /// Sets the ring up on the calling thread, which must be the one that uses it, with as much of
    /// what is wanted as the kernel gives.
    pub(crate) fn new(config: &RingConfig) -> Result<Self, SetUpError> {
        Self::build(config, |flags| {
            flags.build(config.submission_entries, config.completion_entries)
        })
    }

    /// Gives back memory that was not needed since the last call; what the kernel knows stays.
    pub(crate) fn tidy(&mut self) {
        self.in_flight.shrink_to_fit();
        self.early.shrink_to(KEPT);
        self.vectors.shrink_to(KEPT);
        self.headers.shrink_to(KEPT);
        self.memory.tidy();
    }

    /// Sets up a ring on rings that `build` makes, for tests of kernels that know less.
    fn build(
        config: &RingConfig,
        build: impl FnMut(set_up::Flags) -> io::Result<IoUring>,
    ) -> Result<Self, SetUpError> {
        let wanted = config.features.wanted();
        let (ring, flags) = set_up::climb(wanted, build).map_err(SetUpError::Ring)?;
        let found = probe::probe(flags, wanted).map_err(SetUpError::Ring)?;
        let mut without = found.absent;
        let mut features =
            without.iter().fold(wanted, |features, absent| features.without(absent.feature));
        if let Some(absent) =
            without.iter().find(|a| config.features.required().contains(a.feature))
        {
            return Err(SetUpError::Feature(absent.clone()));
        }
        if features.contains(RingFeature::DeferTaskrun) {
            // The better one is in use instead.
            features = features.without(RingFeature::CoopTaskrun);
        }
        let memory = receive_memory(&ring, config, &mut features, &mut without)?;
        let zero_copy = features.contains(RingFeature::ZeroCopySend);
        Ok(Self {
            ring,
            in_flight: Slab::new(),
            memory,
            vectors: Vec::new(),
            headers: Vec::new(),
            early: Vec::new(),
            features,
            without,
            zero_copy: ZeroCopy::new(zero_copy.then_some(config.zero_copy_bytes.max(1))),
            wakers: Wakers::default(),
            watches_on: true,
            wait_all: if found.counts_all { libc::MSG_WAITALL } else { 0 },
            receive_all: if found.counts_received { libc::MSG_WAITALL } else { 0 },
            counters: RingCounters::default(),
            spin: Spin::new(config.spin, config.spin_budget_percent),
        })
    }

    /// What is in use of what was wanted.
    pub(crate) const fn features(&self) -> FeatureSet {
        self.features
    }

    /// The features that were wanted and do not work here.
    pub(crate) fn without(&self) -> &[MissingFeature] {
        &self.without
    }

    /// Whether the kernel's share of the work comes when it suits us. Where it does not, epoll is
    /// faster.
    pub(crate) const fn is_worth_it(&self) -> bool {
        self.features.contains(RingFeature::DeferTaskrun)
            || self.features.contains(RingFeature::CoopTaskrun)
    }

    /// Gives the ring a file table of its own, if it is to have one; without one, and with none
    /// wanted, direct descriptors are none of its features any more.
    pub(crate) fn register_files(&mut self, files: Option<u32>) -> Result<(), MissingFeature> {
        let feature = RingFeature::Direct;
        if !self.features.contains(feature) {
            return Ok(());
        }
        let Some(files) = files else {
            self.features = self.features.without(feature);
            return Ok(());
        };
        let Err(e) = self.ring.submitter().register_files_sparse(files) else { return Ok(()) };
        self.features = self.features.without(feature);
        let absent = MissingFeature { feature, because: probe::because(&e) };
        self.without.push(absent.clone());
        Err(absent)
    }

    // ---- what can be asked of the kernel

    /// Accepts from a listener, again and again where the kernel can; completions carry the
    /// listener's place. The sockets are in the ring's table if it has one.
    pub(crate) fn accept(&mut self, listener: RawFd, index: usize) -> io::Result<()> {
        let (listener, direct) = (Fd(listener), self.features.contains(RingFeature::Direct));
        let accept = if self.features.contains(RingFeature::MultishotAccept) {
            opcode::AcceptMulti::new(listener).allocate_file_index(direct).build()
        } else {
            opcode::Accept::new(listener, std::ptr::null_mut(), std::ptr::null_mut())
                .file_index(direct.then(DestinationSlot::auto_target))
                .build()
        };
        self.push(accept, UserData::key(Operation::Accept, to_key(index)))
    }

    /// Receives into shared memory, once or, where the kernel can, again and again.
    pub(crate) fn receive(
        &mut self,
        socket: Socket,
        id: ConnectionId,
        class: Class,
        once: bool,
    ) -> io::Result<()> {
        let group = class as u16;
        self.counters.receives_armed += 1;
        let again = !once && self.features.contains(RingFeature::MultishotReceive);
        let entry = match &mut self.memory {
            ReceiveMemory::Rings(_) if again => on(
                socket,
                |fd| opcode::RecvMulti::new(fd, group).build(),
                |fd| opcode::RecvMulti::new(fd, group).build(),
            ),
            ReceiveMemory::Rings(_) => on(
                socket,
                |fd| opcode::Recv::new(fd, std::ptr::null_mut(), 0).buf_group(group).build(),
                |fd| opcode::Recv::new(fd, std::ptr::null_mut(), 0).buf_group(group).build(),
            )
            .flags(squeue::Flags::BUFFER_SELECT),
            ReceiveMemory::Owned(owned) => {
                let (place, len) = owned.take(id, class);
                let (place, len) = (place.as_ptr(), u32::try_from(len).unwrap_or(u32::MAX));
                on(
                    socket,
                    |fd| opcode::Recv::new(fd, place, len).build(),
                    |fd| opcode::Recv::new(fd, place, len).build(),
                )
            }
        };
        self.push(entry, UserData::connection(Operation::Receive, id))
    }

    /// Receives into memory that comes back with [`Ring::take_received`].
    pub(crate) fn receive_direct(
        &mut self,
        socket: Socket,
        id: ConnectionId,
        mut memory: Box<R>,
        wanted: u64,
    ) -> io::Result<()> {
        let spare = memory.spare(wanted);
        let (start, len) = (spare.as_mut_ptr(), u32::try_from(spare.len()).unwrap_or(u32::MAX));
        let key = self.in_flight.insert(InFlight::Receive { id, memory });
        let flags = self.receive_all;
        let entry = on(
            socket,
            |fd| opcode::Recv::new(fd, start, len).flags(flags).build(),
            |fd| opcode::Recv::new(fd, start, len).flags(flags).build(),
        );
        self.counters.receives_armed += 1;
        self.push(entry, UserData::key(Operation::ReceiveDirect, to_key(key)))
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
        let cancel = self.unreported(cancel);
        self.push(cancel, UserData::connection(Operation::Cancel, id))
    }

    pub(crate) fn cancel_accept(&mut self, index: usize) -> io::Result<()> {
        let accept = UserData::key(Operation::Accept, to_key(index));
        let cancel = opcode::AsyncCancel::new(accept.0).build();
        let cancel = self.unreported(cancel);
        self.push(cancel, UserData::key(Operation::Cancel, 0))
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
        let entry = self.unreported(entry);
        self.push(entry, UserData::key(Operation::Close, 0))
    }

    /// Completes each time the waker is called, or once where the kernel knows no better: its
    /// completion tells which.
    pub(crate) fn watch(&mut self, waker: RawFd) -> io::Result<()> {
        let events = u32::from(libc::POLLIN.unsigned_abs());
        let poll = opcode::PollAdd::new(Fd(waker), events).multi(self.watches_on).build();
        self.push(poll, UserData::key(Operation::Waker, 0))
    }

    /// The kernel would not watch until further notice: before 5.13 it watches once.
    pub(crate) const fn watch_once(&mut self) {
        self.watches_on = false;
    }

    /// Success goes without saying, where the kernel can keep silent.
    fn unreported(&self, entry: squeue::Entry) -> squeue::Entry {
        if self.features.contains(RingFeature::SkipSuccess) {
            entry.flags(squeue::Flags::SKIP_SUCCESS)
        } else {
            entry
        }
    }

    // ---- what comes back

    /// The connection and memory of a direct receive that completed.
    pub(crate) fn take_received(
        &mut self,
        completion: Completion,
    ) -> Option<(ConnectionId, Box<R>)> {
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
        self.counters.buffers_held = self.memory.held();
        self.counters.operations_in_flight = self.in_flight.len() as u64;
    }

    // ---- receive memory

    /// How many receives may be armed that waited for buffers.
    pub(crate) fn room(&mut self, class: Class) -> u16 {
        self.memory.room(class)
    }

    /// The memory that came with a receive of this class: it is ours whatever the result, until
    /// [`Ring::end_lease`].
    #[inline]
    pub(crate) fn lease(&mut self, completion: Completion, class: Class) -> Option<Lease> {
        self.memory.lease(completion, class)
    }

    /// Lends the first `len` bytes of it.
    #[inline]
    pub(crate) fn lend(&mut self, lease: LeaseNumber, len: usize) -> Option<&mut [u8]> {
        self.memory.lend(lease, len)
    }

    /// Gives it back.
    #[inline]
    pub(crate) fn end_lease(&mut self, lease: Lease) {
        self.memory.end_lease(lease);
    }
}

impl<S: Gather, R: Fill> Drop for Ring<S, R> {
    /// S8: nothing may be written or read by the kernel once the memory is freed.
    fn drop(&mut self) {
        self.answer_no_more();
        let patience = Timespec::from(Duration::from_secs(1));
        let everything = io_uring::types::CancelBuilder::any();
        let cancelled = self.ring.submitter().register_sync_cancel(Some(patience), everything);
        // Without deferred work there is nothing that could still complete later, but the last
        // word on sends without a copy.
        let reaped = self.flush();
        let finished = self.finish();
        // For messages that failed.
        self.reap();
        let none = |e: &io::Error| e.raw_os_error() == Some(libc::ENOENT);
        if reaped.is_err()
            || finished.is_err()
            || self.owes_notifications()
            || cancelled.is_err_and(|e| !none(&e))
        {
            // Better lost than written to after it was freed.
            self.memory.leak();
            Box::leak(Box::new(std::mem::take(&mut self.in_flight)));
        }
    }
}

/// Rings of buffers, if they are among the features and the kernel gives them in the configured size.
fn receive_memory(
    ring: &IoUring,
    config: &RingConfig,
    features: &mut FeatureSet,
    without: &mut Vec<MissingFeature>,
) -> Result<ReceiveMemory, SetUpError> {
    let feature = RingFeature::BufferRing;
    let needy = RingFeature::ALL.into_iter().filter(|other| other.needs() == Some(feature));
    if features.contains(feature) {
        let offered = [config.small_buffers, config.large_buffers];
        let incremental = features.contains(RingFeature::IncrementalBuffers);
        let absent = match ReceiveMemory::rings(&ring.submitter(), offered, incremental) {
            Ok(memory) => return Ok(memory),
            Err(e) => MissingFeature { feature, because: probe::because(&e) },
        };
        let required = config.features.required();
        if required.contains(feature) || needy.clone().any(|other| required.contains(other)) {
            return Err(SetUpError::Feature(absent));
        }
        without.push(absent);
    }
    *features = needy.fold(features.without(feature), FeatureSet::without);
    Ok(ReceiveMemory::owned())
}

fn to_key(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 operations are in flight")
}

const fn empty_header() -> libc::msghdr {
    // SAFETY: a message header is plain data for which all zeros means "nothing".
    unsafe { std::mem::zeroed() }
}
