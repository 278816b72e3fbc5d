//! What is submitted and what completes: sockets, operations, and the user data that ties a
//! completion to its connection.

use std::os::fd::RawFd;

use io_uring::types::{Fd, Fixed};
use io_uring::{cqueue, squeue};

use crate::sys::id::ConnectionId;

/// A socket as the ring names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Socket {
    /// A descriptor of the process.
    Descriptor(RawFd),
    /// An index of the ring's own file table.
    Direct(u32),
}

/// Which receive buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Small,
    Large,
}

/// What a completion is of; the first byte of its user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Accept,
    Receive,
    /// Into memory in flight.
    ReceiveDirect,
    /// From the turn; its completion means trouble.
    InlineSend,
    SlowSend,
    Connect,
    Cancel,
    Shutdown,
    Close,
    Waker,
    /// A message to another ring; its completion means trouble.
    WakePeer,
    /// A message from another ring.
    Nudge,
    /// Whether something waits to be read.
    LookUnread,
    /// Whether something waits for the peer.
    LookUntaken,
    Unknown,
}

impl Operation {
    const ALL: [Self; 14] = [
        Self::Accept,
        Self::Receive,
        Self::ReceiveDirect,
        Self::InlineSend,
        Self::SlowSend,
        Self::Connect,
        Self::Cancel,
        Self::Shutdown,
        Self::Close,
        Self::Waker,
        Self::WakePeer,
        Self::Nudge,
        Self::LookUnread,
        Self::LookUntaken,
    ];
}

/// The bits of a generation that the kernel carries. They are enough: a slot is used again only when
/// the kernel has nothing of the connection before, so a completion is never 16 million generations old.
const GENERATION_BITS: u32 = 24;
const CARRIED: u32 = (1 << GENERATION_BITS) - 1;

/// Operation 8 bits, generation 24, slot or key 32; never a pointer (S4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UserData(pub(super) u64);

impl UserData {
    pub(super) const fn connection(operation: Operation, id: ConnectionId) -> Self {
        let generation = (id.generation() & CARRIED) as u64;
        Self((operation as u64) << 56 | generation << 32 | id.slot() as u64)
    }

    pub(super) const fn key(operation: Operation, key: u32) -> Self {
        Self((operation as u64) << 56 | key as u64)
    }

    pub(crate) fn operation(self) -> Operation {
        Operation::ALL.get((self.0 >> 56) as usize).copied().unwrap_or(Operation::Unknown)
    }

    /// The slot of the connection.
    #[inline]
    pub(crate) const fn slot(self) -> u32 {
        self.low()
    }

    /// The connection, if the one that has the slot now, of this generation, is meant.
    #[inline]
    pub(crate) const fn id(self, generation: u32) -> Option<ConnectionId> {
        let carried = (self.0 >> 32) as u32 & CARRIED;
        if carried == generation & CARRIED {
            Some(ConnectionId::new(self.slot(), generation))
        } else {
            None
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the low half is the key")]
    pub(super) const fn low(self) -> u32 {
        self.0 as u32
    }
}

/// What the kernel said of an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Completion {
    pub(crate) user_data: UserData,
    pub(crate) result: i32,
    pub(super) flags: u32,
}

impl Completion {
    /// Whether the same operation will complete again.
    pub(crate) fn more(self) -> bool {
        cqueue::more(self.flags)
    }

    /// Whether it only says that the memory of a send without a copy is ours again.
    pub(super) fn is_notification(self) -> bool {
        cqueue::notif(self.flags)
    }

    /// The buffer that came with it: it is ours whatever the result.
    pub(super) fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// Whether the kernel will put more into that buffer, behind what this brings.
    pub(super) fn buffer_goes_on(self) -> bool {
        cqueue::buffer_more(self.flags)
    }

    /// Bytes that it brings to a connection, into receive memory.
    pub(crate) fn brings(self, to: ConnectionId) -> u32 {
        let of_it = self.user_data.id(to.generation()) == Some(to);
        let receive = self.user_data.operation() == Operation::Receive;
        if of_it && receive { u32::try_from(self.result).unwrap_or(0) } else { 0 }
    }

    /// The listener's place, of an accepted connection.
    pub(crate) const fn listener(self) -> usize {
        self.user_data.low() as usize
    }

    /// The place in the turn's entries, of an inline send.
    pub(crate) const fn entry(self) -> usize {
        self.user_data.low() as usize
    }
}

/// Builds an operation for either kind of socket.
#[inline]
pub(super) fn on(
    socket: Socket,
    descriptor: impl FnOnce(Fd) -> squeue::Entry,
    direct: impl FnOnce(Fixed) -> squeue::Entry,
) -> squeue::Entry {
    match socket {
        Socket::Descriptor(fd) => descriptor(Fd(fd)),
        Socket::Direct(index) => direct(Fixed(index)),
    }
}
