//! What shards and other threads tell a shard: bounded mailboxes, and a waker for one that
//! sleeps.

mod interest;
mod mailbox;
mod sync;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::conn::Message;
use crate::fault::limit;
use crate::metrics::Snapshot;
use crate::outcome::Full;
use crate::sys::id::ConnectionId;
use crate::wire::{CloseCode, ClosePayload, FrameHeader, HEADER_MAX, Opcode, hybi02};

use interest::Interests;
pub use mailbox::Mailbox;
pub(crate) use mailbox::{Reservation, ShardSet, Weight};

/// Most bytes of publications that wait in one mailbox; a larger one goes into an empty box.
const MAILBOX_BYTES: u64 = limit(16 << 20, 32 << 10) as u64;

/// Publications for a shard, and what has to stay in line with them.
#[derive(Debug, Clone)]
pub(crate) enum PublishCommand {
    /// Frames for the subscribers of a topic, in the dialect that is encoded first.
    Publication { topic: Arc<str>, frames: Bytes, messages: u64 },
    /// A shard drains: nothing that was published there follows.
    Flushed { from: usize },
}

impl PublishCommand {
    pub(crate) fn weight(&self) -> Weight {
        match self {
            Self::Publication { frames, .. } => Weight::of(frames.len()),
            Self::Flushed { .. } => Weight::default(),
        }
    }

    /// How many messages it holds.
    pub(crate) const fn messages(&self) -> u64 {
        match self {
            Self::Publication { messages, .. } => *messages,
            Self::Flushed { .. } => 0,
        }
    }
}

/// Something else for a shard to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// A message for one connection.
    Send { to: ConnectionId, opcode: Opcode, payload: Bytes },
    /// Start the closing handshake of one connection.
    Close { to: ConnectionId, code: CloseCode, reason: Box<str> },
    /// Stop accepting, deliver what was published, close every connection, and be done by the
    /// deadline.
    Drain { deadline: Instant },
    /// Send the counters.
    Snapshot { reply: std::sync::mpsc::Sender<Snapshot> },
}

/// What the shards of a server share.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) mailboxes: Box<[Arc<Mailbox>]>,
    pub(crate) interests: Interests,
}

impl Hub {
    /// For so many shards, with mailboxes for so many commands each.
    ///
    /// # Errors
    ///
    /// The kernel has no waker left.
    pub(crate) fn new(shards: usize, entries: usize) -> std::io::Result<Self> {
        let mailboxes = (0..shards).map(|_| Mailbox::new(entries, shards).map(Arc::new));
        Ok(Self {
            mailboxes: mailboxes.collect::<std::io::Result<_>>()?,
            interests: Interests::new(shards),
        })
    }

    /// Refuses what other threads publish from now on, and tells the shards to drain.
    pub(crate) fn drain(&self, deadline: Instant) {
        for mailbox in &self.mailboxes {
            mailbox.refuse();
        }
        for mailbox in &self.mailboxes {
            mailbox.order(Command::Drain { deadline });
        }
    }
}

/// A shard's place in the hub, for as long as it lives: the others need not wait for one that is gone.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) hub: Arc<Hub>,
    pub(crate) index: usize,
}

impl Drop for Seat {
    fn drop(&mut self) {
        for (index, mailbox) in self.hub.mailboxes.iter().enumerate() {
            if index == self.index {
                mailbox.close();
            }
        }
        for (index, mailbox) in self.hub.mailboxes.iter().enumerate() {
            if index != self.index {
                mailbox.call();
            }
        }
    }
}

/// Publishes from any thread of the program to every subscriber of every shard.
#[derive(Clone)]
pub struct Publisher {
    pub(crate) hub: Arc<Hub>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("shards", &self.hub.mailboxes.len()).finish()
    }
}

impl Publisher {
    /// Publishes a message, encoded once, to every connection that is subscribed on any shard. All
    /// of them get it, except those that close or unsubscribe first, and slow ones as
    /// [`crate::SlowConsumer`] says. Messages that one thread publishes to a topic arrive in that
    /// order.
    ///
    /// # Errors
    ///
    /// [`Full`] when the mailbox of a shard with subscribers has no room, or the server drains: nobody
    /// gets the message then.
    pub fn publish<'m>(&self, topic: &str, message: impl Into<Message<'m>>) -> Result<(), Full> {
        let message = message.into();
        let (header, len) = header(&message);
        let weight = Weight::of(len + message.payload().len());
        let Some((topic, shards)) = self.hub.interests.subscribed(topic) else {
            return if self.is_refused() { Err(Full) } else { Ok(()) };
        };
        // A place in every box first: either all of them get it or none.
        let boxes = &self.hub.mailboxes;
        let mut taken = Vec::with_capacity(shards.len());
        for mailbox in shards.into_iter().filter_map(|shard| boxes.get(shard)) {
            match mailbox.reserve_politely(weight) {
                Reservation::Made => taken.push(mailbox),
                Reservation::Gone => {}
                Reservation::Full => {
                    taken.into_iter().for_each(|mailbox| mailbox.cancel(weight));
                    return Err(Full);
                }
            }
        }
        let frames = Bytes::from([&header[..len], message.payload()].concat());
        let command = PublishCommand::Publication { topic, frames, messages: 1 };
        taken.into_iter().for_each(|mailbox| mailbox.post(command.clone()));
        Ok(())
    }

    fn is_refused(&self) -> bool {
        self.hub.mailboxes.iter().any(|mailbox| mailbox.is_refusing())
    }
}

/// The address of one connection, for answers that come later, from any thread.
#[derive(Clone)]
pub struct Remote {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) id: ConnectionId,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remote").field(&self.id).finish()
    }
}

impl Remote {
    /// Sends a message to the connection; it is dropped if the connection is over by then.
    ///
    /// # Errors
    ///
    /// [`Full`] when the shard's mailbox is full.
    pub fn send<'m>(&self, message: impl Into<Message<'m>>) -> Result<(), Full> {
        let message = message.into();
        let payload = Bytes::copy_from_slice(message.payload());
        let mail = Command::Send { to: self.id, opcode: message.opcode(), payload };
        self.mailbox.post_command(mail).map_err(|_| Full)
    }

    /// Starts the closing handshake of the connection, as [`crate::WebSocket::close`].
    ///
    /// # Errors
    ///
    /// [`Full`] when the shard's mailbox is full.
    pub fn close(&self) -> Result<(), Full> {
        self.close_with(CloseCode::NORMAL, "")
    }

    /// Begins the closing handshake with this code and reason, as [`crate::WebSocket::close_with`]
    /// does.
    ///
    /// # Errors
    ///
    /// [`Full`] when the shard's mailbox is full.
    pub fn close_with(&self, code: CloseCode, reason: &str) -> Result<(), Full> {
        // No more than can be sent.
        let reason = ClosePayload::new(code, reason).reason().into();
        self.mailbox.post_command(Command::Close { to: self.id, code, reason }).map_err(|_| Full)
    }
}

/// A publication's header as it is kept and passed on: in the dialect that is encoded first
/// ([`crate::wire::FIRST`]), of which the other one is made where a subscriber speaks it.
pub(crate) fn header(message: &Message<'_>) -> ([u8; HEADER_MAX], usize) {
    let mut bytes = [0; HEADER_MAX];
    let header = FrameHeader::whole(message.opcode(), message.payload().len() as u64);
    let len = hybi02::encode(header, &mut bytes);
    (bytes, len)
}
