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
use crate::wire::{CloseCode, FrameHeader, HEADER_MAX, hybi02, rfc6455};

/// Something for a shard to do.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Frames for the subscribers of a topic, in draft-02's encoding.
    Publish { topic: Arc<str>, frames: Bytes, messages: u64 },
    /// A frame for one connection, in draft-02's encoding, with so many bytes of payload.
    Send { to: ConnectionId, frame: Bytes, payload: usize },
    /// Start the closing handshake of one connection.
    Close { to: ConnectionId, code: CloseCode },
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
        let frames = encode(message.into());
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
        let payload = message.payload().len();
        let mail = Mail::Send { to: self.id, frame: encode(message), payload };
        self.mailbox.post(mail).map_err(|_| Full)
    }

    /// Starts the closing handshake of the connection.
    ///
    /// # Errors
    ///
    /// [`Full`] when the shard's mailbox is full.
    pub fn close(&self) -> Result<(), Full> {
        self.close_with(CloseCode::NORMAL)
    }

    /// The same with a code, which draft-02's peers are not told.
    ///
    /// # Errors
    ///
    /// As [`Remote::close`].
    pub fn close_with(&self, code: CloseCode) -> Result<(), Full> {
        self.mailbox.post(Mail::Close { to: self.id, code }).map_err(|_| Full)
    }
}

/// The header of a message that is one frame, in draft-02's encoding: between shards and connections
/// it is the one that everybody understands.
pub(crate) fn header(message: Message<'_>) -> ([u8; HEADER_MAX], usize) {
    let mut header = [0; HEADER_MAX];
    let payload_len = message.payload().len() as u64;
    let len = hybi02::encode(FrameHeader::whole(message.opcode(), payload_len), &mut header);
    (header, len)
}

fn encode(message: Message<'_>) -> Bytes {
    let (header, len) = header(message);
    [&header[..len], message.payload()].concat().into()
}

/// The same frames in RFC 6455's encoding, each as long as before: a server masks nothing.
pub(crate) fn to_rfc6455(frames: &[u8]) -> Bytes {
    let mut out = frames.to_vec();
    let mut at = 0;
    while let Some((header, len)) = frames.get(at..).and_then(|rest| hybi02::decode(rest).ok()?) {
        let mut other = [0; HEADER_MAX];
        debug_assert_eq!(rfc6455::encode(header, &mut other), len);
        rfc6455::encode(header, &mut other);
        out[at] = other[0];
        at += len + usize::try_from(header.payload_len).unwrap_or(usize::MAX - at - len);
    }
    out.into()
}
