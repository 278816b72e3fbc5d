//! What the driver keeps per connection: what the kernel owns of it.

use crate::shard::machine::ReadInterest;
use crate::sys::operation::{Class, Socket};

/// A receive that the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Armed {
    No,
    /// A receive of the wanted kind is armed.
    As(ReadInterest),
    /// A receive of this kind was armed and has been cancelled; its last completion is still to
    /// come.
    Cancelling(ReadInterest),
}

/// How far the end of a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No connection in this slot.
    Free,
    /// TCP is being established.
    Connecting,
    Open,
    /// The socket goes as soon as the kernel owns nothing of it.
    Closing,
}

/// One slot, small and dense: all that a completion needs before the machine is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) generation: u32,
    pub(super) phase: Phase,
    pub(super) armed: Armed,
    /// A slow send is in flight.
    pub(super) sending: bool,
    /// Shutdowns in flight. The kernel hands them to a thread of its own, which looks the socket up
    /// by its number: until they are done the number must not be anybody else's.
    pub(super) shutdowns: u8,
    /// Something was sent that the kernel reads from our memory until the peer has it.
    pub(super) pinned: bool,
    /// The receive waits for buffers.
    pub(super) parked: bool,
    /// The socket is to be looked at when the receive has ended.
    pub(super) looking: bool,
    /// The peer has closed its side, or the receive failed: never armed again.
    pub(super) read_closed: bool,
}

impl Connection {
    pub(super) const FREE: Self = Self {
        socket: Socket::Direct(u32::MAX),
        generation: u32::MAX,
        phase: Phase::Free,
        armed: Armed::No,
        sending: false,
        shutdowns: 0,
        pinned: false,
        parked: false,
        looking: false,
        read_closed: false,
    };

    pub(super) const fn new(socket: Socket, generation: u32, phase: Phase) -> Self {
        Self { socket, generation, phase, ..Self::FREE }
    }

    /// The class of buffers that the receive which is armed takes.
    #[inline]
    pub(super) const fn class(&self) -> Class {
        match self.armed {
            Armed::As(ReadInterest::Large | ReadInterest::LargeOnce)
            | Armed::Cancelling(ReadInterest::Large | ReadInterest::LargeOnce) => Class::Large,
            _ => Class::Small,
        }
    }

    /// Whether the kernel owns nothing of it but the socket.
    pub(super) fn is_quiet(&self) -> bool {
        self.armed == Armed::No
            && !self.sending
            && self.shutdowns == 0
            && self.phase != Phase::Connecting
    }
}
