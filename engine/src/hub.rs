//! What shards and other threads tell a shard: bounded mailboxes, and a doorbell for one that
//! sleeps.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Instant;

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;

use crate::conn::Message;
use crate::handler::Full;
use crate::metrics::Snapshot;
use crate::shard::table::ConnectionId;
use crate::sys::doorbell::Doorbell;
use crate::wire::{CloseCode, ClosePayload, FrameHeader, HEADER_MAX, Opcode, hybi02};

/// Something for a shard to do.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Frames for the subscribers of a topic, in the dialect that is encoded first.
    Publish { topic: Arc<str>, frames: Bytes, messages: u64 },
    /// A message for one connection.
    Send { to: ConnectionId, opcode: Opcode, payload: Bytes },
    /// Start the closing handshake of one connection.
    Close { to: ConnectionId, code: CloseCode, reason: Box<str> },
    /// Stop accepting, close every connection, and be done by the deadline.
    Drain { deadline: Instant },
    /// Send the counters.
    Snapshot { reply: std::sync::mpsc::Sender<Snapshot> },
}

/// One shard's mailbox.
#[derive(Debug)]
pub struct Mailbox {
    queue: ArrayQueue<Mail>,
    asleep: AtomicBool,
    doorbell: Doorbell,
}

impl Mailbox {
    pub(crate) fn new(entries: usize) -> std::io::Result<Self> {
        Ok(Self {
            queue: ArrayQueue::new(entries.max(1)),
            asleep: AtomicBool::new(false),
            doorbell: Doorbell::new()?,
        })
    }

    /// Leaves mail, and wakes the shard if it sleeps. Gives the mail back when the box is full.
    pub(crate) fn post(&self, mail: Mail) -> Result<(), Mail> {
        self.queue.push(mail)?;
        // Either we see that it sleeps, or it sees the mail before it does.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.doorbell.ring();
        }
        Ok(())
    }

    pub(crate) fn take(&self) -> Option<Mail> {
        self.queue.pop()
    }

    /// Whether there is no mail.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Announces that the shard is about to sleep; `false` when there is mail and it must not.
    pub(crate) fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.queue.is_empty() {
            return true;
        }
        self.awake();
        false
    }

    /// The shard no longer sleeps.
    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    pub(crate) const fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }
}

/// The mailboxes of all shards of a server.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
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
    /// Publishes a message, encoded once. Order holds per publisher and subscriber.
    ///
    /// # Errors
    ///
    /// [`Full`] when a shard's mailbox is full; shards before it may have got the message.
    pub fn publish<'m>(&self, topic: &str, message: impl Into<Message<'m>>) -> Result<(), Full> {
        let message = message.into();
        let (header, len) = header(&message);
        let frames = Bytes::from([&header[..len], message.payload()].concat());
        let topic: Arc<str> = topic.into();
        for mailbox in &self.hub.mailboxes {
            let topic = Arc::clone(&topic);
            let mail = Mail::Publish { topic, frames: frames.clone(), messages: 1 };
            mailbox.post(mail).map_err(|_| Full)?;
        }
        Ok(())
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
        let mail = Mail::Send { to: self.id, opcode: message.opcode(), payload };
        self.mailbox.post(mail).map_err(|_| Full)
    }

    /// Starts the closing handshake of the connection, as [`crate::WebSocket::close`].
    ///
    /// # Errors
    ///
    /// [`Full`] when the shard's mailbox is full.
    pub fn close(&self) -> Result<(), Full> {
        self.close_with(CloseCode::NORMAL, "")
    }

    /// The same with another code and a reason, as [`crate::WebSocket::close_with`].
    ///
    /// # Errors
    ///
    /// [`Full`] when the shard's mailbox is full.
    pub fn close_with(&self, code: CloseCode, reason: &str) -> Result<(), Full> {
        // No more than can be sent.
        let reason = ClosePayload::new(code, reason).reason().into();
        self.mailbox.post(Mail::Close { to: self.id, code, reason }).map_err(|_| Full)
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
