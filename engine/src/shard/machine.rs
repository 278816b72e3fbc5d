//! The seam between a driver and what it drives: per batch, and statically dispatched.
//!
//! A driver moves bytes and settles buffers; it knows no opcode and no frame. A machine decides
//! what the bytes mean and does no I/O. [`super::Shard`] is the machine that speaks WebSocket; a
//! bench may bring another, to measure a driver alone.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::send::Transmit;
use super::send_batch::{Lease, SendBatch};
use super::table::ConnectionId;
use crate::conn::Reassembly;
#[cfg(feature = "tls")]
use crate::credentials::Security;
#[cfg(feature = "tls")]
use crate::error::TlsError;
#[cfg(feature = "tls")]
use crate::handshake::ClientRequest;
use crate::hub::Mailbox;
pub use crate::sys::look::Look;

/// How a connection wants to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadInterest {
    /// Not at all for now.
    Nothing,
    /// Into small shared buffers, again and again.
    Small,
    /// Into one small shared buffer, once: as [`ReadInterest::LargeOnce`].
    SmallOnce,
    /// Into large shared buffers, again and again.
    Large,
    /// Into one large shared buffer, once: what follows will be asked for when it was read.
    LargeOnce,
    /// Into memory of its own, from [`Machine::take_direct`].
    Direct,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A unix socket in the file system.
    Unix(Arc<Path>),
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl Endpoint {
    /// The address, where it is one.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What a machine asks a driver to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Open a connection, from an address of ours if one is given.
    Connect {
        /// The connection's id, already in the machine's table.
        id: ConnectionId,
        /// The source address; any if `None`. A unix socket has none.
        from: Option<IpAddr>,
        /// Where to.
        to: Endpoint,
    },
    /// Ask again how the connection wants to receive: it does so otherwise now.
    Receive(ConnectionId),
    /// Tell the peer that nothing more will be sent; go on receiving.
    Shutdown(ConnectionId),
    /// Look at the connection's socket: [`Machine::looked`] follows, whatever there is to be seen.
    Look(ConnectionId),
    /// End the connection; [`Machine::released`] follows when the kernel has nothing left of it. Asked
    /// for again, it has taken too long: what the kernel has of it is cancelled by all means.
    Close(ConnectionId),
    /// Accept no more connections.
    StopAccepting,
    /// Give back memory of what is kept for reuse and was not needed lately.
    Tidy,
    /// Leave the loop.
    Exit,
}

/// When a machine wants its turn again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "machines of benches make it")]
pub struct Next {
    /// At the latest then; `None` if only something new is a reason.
    pub deadline: Option<Instant>,
    /// At once: there is more to do.
    pub busy: bool,
}

/// What a driver drives: it is told what completed, and says what to do next. All times are those
/// at which the turn began.
pub trait Machine {
    /// The driver is back from the kernel; what it brought follows.
    fn turn_began(&mut self, now: Instant) {
        let _ = now;
    }

    /// TCP gave us a connection by one of the driver's listeners, counted from 0; `None` refuses it.
    fn accepted(
        &mut self,
        listener: usize,
        sends: &mut SendBatch,
        now: Instant,
    ) -> Option<ConnectionId>;

    /// A connection asked for by [`Action::Connect`] stands.
    fn connected(&mut self, id: ConnectionId, sends: &mut SendBatch, now: Instant);

    /// Bytes arrived in a buffer that is lent for this call, and longer only if output was queued from
    /// it: [`SendBatch::send_lent`].
    fn received(
        &mut self,
        id: ConnectionId,
        input: &mut [u8],
        lease: &Lease,
        sends: &mut SendBatch,
        now: Instant,
    ) -> ReadInterest;

    /// Memory to receive into directly, and how many bytes are wanted; after [`ReadInterest::Direct`].
    fn take_direct(&mut self, id: ConnectionId) -> Option<(Box<Reassembly>, u64)>;

    /// `n` bytes arrived in the memory that [`Machine::take_direct`] gave.
    fn received_direct(
        &mut self,
        id: ConnectionId,
        memory: Box<Reassembly>,
        n: usize,
        sends: &mut SendBatch,
        now: Instant,
    ) -> ReadInterest;

    /// How the connection wants to receive now.
    fn want(&mut self, id: ConnectionId) -> ReadInterest;

    /// The peer will send no more (`None`), or the connection broke with an error number.
    fn hung_up(
        &mut self,
        id: ConnectionId,
        error: Option<i32>,
        sends: &mut SendBatch,
        now: Instant,
    );

    /// The driver is about to send the turn: the last chance to put other bytes into its entries, as
    /// a layer that encrypts does. Nothing is queued between this call and the sends.
    fn seal(&mut self, sends: &mut SendBatch) {
        let _ = sends;
    }

    /// The driver is sending `bytes` of the connection the slow way, which takes `footprint` bytes of
    /// memory.
    fn blocked(&mut self, id: ConnectionId, bytes: usize, footprint: usize);

    /// The slow send is done: the next one, if something waits.
    fn sent(&mut self, id: ConnectionId, sends: &mut SendBatch, now: Instant) -> Option<Transmit>;

    /// Like `sent`, for a send that the kernel took at once, where the driver cannot know before
    /// that it will: such a send says nothing about the peer.
    fn sent_at_once(
        &mut self,
        id: ConnectionId,
        sends: &mut SendBatch,
        now: Instant,
    ) -> Option<Transmit> {
        self.sent(id, sends, now)
    }

    /// The kernel has taken `bytes` of the slow send, which goes on: the peer makes room.
    fn took(&mut self, id: ConnectionId, bytes: usize) {
        let _ = (id, bytes);
    }

    /// How many bytes of the connection the kernel has been given so far, as a count that wraps round:
    /// what is still in the turn and what blocked do not count. A driver asks right before it asks the
    /// kernel how many of them the peer has not taken.
    fn given(&mut self, id: ConnectionId, sends: &SendBatch) -> u32 {
        let _ = (id, sends);
        0
    }

    /// What was seen of a connection after [`Action::Look`]; nothing, if it has no socket.
    fn looked(&mut self, id: ConnectionId, look: Look, sends: &mut SendBatch, now: Instant) {
        let _ = (id, look, sends, now);
    }

    /// All sends of the last turn are settled or blocked.
    fn settled(&mut self);

    /// Does what is due: mail, timers, publications.
    fn run(&mut self, sends: &mut SendBatch, now: Instant) -> Next;

    /// The next thing to do for the machine.
    fn poll_action(&mut self) -> Option<Action>;

    /// The kernel has nothing left of the connection: its slot may be used again.
    fn released(&mut self, id: ConnectionId);

    /// How mail and its waker reach the machine, if it has a mailbox.
    fn mailbox(&self) -> Option<&Mailbox>;

    /// Takes note of the driver's own counters.
    fn note_ring(&mut self, counters: &crate::metrics::RingCounters);
}

/// What a layer between a driver and a shard, which turns the peer's bytes into plain ones and back,
/// asks of the shard and tells it.
#[cfg(feature = "tls")]
pub(crate) trait Secured: Machine {
    /// Plain bytes arrived in memory that is nobody's but the layer's: output is copied from it.
    fn received_plain(
        &mut self,
        id: ConnectionId,
        input: &mut [u8],
        sends: &mut SendBatch,
        now: Instant,
    ) -> ReadInterest;

    /// TCP of a connection of ours stands: what it will ask for, if the layer must secure it now.
    fn dialled(&mut self, id: ConnectionId) -> Option<Arc<ClientRequest>>;

    /// Bytes arrived that the layer can make nothing of yet: the peer is not silent.
    fn heard(&mut self, id: ConnectionId);

    /// A connection of ours whose tunnel through a proxy was opened by what was received last, and that
    /// the layer must secure now; and what came out of the tunnel already.
    fn tunnelled(&mut self) -> Option<(ConnectionId, Vec<u8>)>;

    /// The layer's handshake succeeded.
    fn secured(&mut self, id: ConnectionId, security: Security);

    /// The layer gives a connection up; what it queued to say so leaves first.
    fn insecure(&mut self, id: ConnectionId, error: TlsError);

    /// Whether something of the connection waits that must leave before it is ended.
    fn must_wait(&mut self, id: ConnectionId) -> bool;

    /// How many bytes the layer holds for the connection, until it is released.
    fn layer_holds(&mut self, id: ConnectionId, bytes: usize);
}
