//! The sockets of the epoll driver, and what it knows of each.

use std::os::fd::OwnedFd;

use crate::shard::machine::ReadInterest;
use crate::shard::send::Transmit;
use crate::shard::table::ConnectionId;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// TCP is being established.
    Connecting,
    Open,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    generation: u32,
    pub(super) phase: Phase,
    pub(super) want: ReadInterest,
    /// An edge was seen and the socket is not known to be empty since.
    pub(super) readable: bool,
    /// The peer's end of the stream has arrived: a short read is not the last one.
    pub(super) ending: bool,
    /// The end of the stream was read, or reading failed.
    pub(super) read_closed: bool,
    /// The socket is in the queue of those to be read.
    queued: bool,
    /// What the kernel did not take; everything new waits behind it.
    pub(super) sending: Option<Box<Transmit>>,
}

/// All connections, by slot.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    slots: Vec<Option<Socket>>,
    sending: usize,
}

impl Sockets {
    pub(super) fn insert(&mut self, id: ConnectionId, fd: OwnedFd, phase: Phase) {
        let slot = id.slot() as usize;
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some(Socket {
            fd,
            generation: id.generation(),
            phase,
            want: ReadInterest::Small,
            readable: false,
            ending: false,
            read_closed: false,
            queued: false,
            sending: None,
        });
    }

    #[inline]
    pub(super) fn find(&mut self, id: ConnectionId) -> Option<&mut Socket> {
        let socket = self.slots.get_mut(id.slot() as usize)?.as_mut()?;
        (socket.generation == id.generation()).then_some(socket)
    }

    #[inline]
    pub(super) fn get(&self, id: ConnectionId) -> Option<&Socket> {
        let socket = self.slots.get(id.slot() as usize)?.as_ref()?;
        (socket.generation == id.generation()).then_some(socket)
    }

    /// Gives back what connections that are gone have left behind.
    pub(super) fn tidy(&mut self) {
        while self.slots.pop_if(|last| last.is_none()).is_some() {}
        self.slots.shrink_to(2 * self.slots.len());
    }

    /// Closes a socket.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        self.set_sending(id, None);
        if self.find(id).is_some() {
            self.slots[id.slot() as usize] = None;
        }
    }

    /// Keeps what the kernel did not take, or forgets it.
    pub(super) fn set_sending(&mut self, id: ConnectionId, rest: Option<Box<Transmit>>) {
        let more = usize::from(rest.is_some());
        let Some(socket) = self.find(id) else { return };
        let less = usize::from(socket.sending.is_some());
        socket.sending = rest;
        self.sending = self.sending + more - less;
    }

    /// How many wait for the kernel to take more.
    pub(super) const fn sending(&self) -> usize {
        self.sending
    }

    /// Notes that the connection stands in line; `false` if it did before, or is gone.
    pub(super) fn queued(&mut self, id: ConnectionId) -> bool {
        self.find(id).is_some_and(|socket| !std::mem::replace(&mut socket.queued, true))
    }

    pub(super) fn dequeued(&mut self, id: ConnectionId) {
        if let Some(socket) = self.find(id) {
            socket.queued = false;
        }
    }
}

/// A connection's name in an event.
pub(super) const fn pack(id: ConnectionId) -> u64 {
    (id.generation() as u64) << 32 | id.slot() as u64
}

#[expect(clippy::cast_possible_truncation, reason = "the halves were packed here")]
pub(super) const fn unpack(data: u64) -> ConnectionId {
    ConnectionId::new(data as u32, (data >> 32) as u32)
}
