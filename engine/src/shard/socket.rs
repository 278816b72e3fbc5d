//! The handle that a callback gets.

use std::sync::Arc;

use super::Context;
use super::send::BatchOutput;
use super::send_batch::{Lease, SendBatch};
use super::slot::{Hold, Side};
use super::table::ConnectionId;
use super::topics::{Published, SUBSCRIPTION, Topic};
use crate::conn::{EncodedHeader, Message, Origin, Part, Place, Work};
use crate::hub::{self, Remote};
use crate::outcome::Full;
use crate::wire::{CloseCode, Dialect, FrameHeader};

/// One connection, for the length of a callback.
#[derive(Debug)]
pub struct WebSocket<'a, D> {
    id: ConnectionId,
    pub(super) data: &'a mut D,
    pub(super) side: &'a mut Side,
    sends: &'a mut SendBatch,
    pub(super) context: &'a mut Context,
    /// Where the message being delivered lies, until something is sent from there.
    place: Option<Place<'a>>,
    lease: Option<&'a Lease>,
}

impl<'a, D> WebSocket<'a, D> {
    #[inline]
    pub(super) const fn new(
        id: ConnectionId,
        data: &'a mut D,
        side: &'a mut Side,
        sends: &'a mut SendBatch,
        context: &'a mut Context,
    ) -> Self {
        Self { id, data, side, sends, context, place: None, lease: None }
    }

    /// Notes that a message which lies in `place` is being delivered.
    #[inline]
    pub(super) fn at(mut self, place: Place<'a>, lease: Option<&'a Lease>) -> Self {
        self.place = Some(place);
        self.lease = lease;
        self
    }
}

impl<D> WebSocket<'_, D> {
    /// What the application keeps with this connection.
    #[must_use]
    pub const fn data(&self) -> &D {
        self.data
    }

    /// What the application keeps with the connection, to be changed.
    pub const fn data_mut(&mut self) -> &mut D {
        self.data
    }

    /// Names this connection within its shard.
    #[must_use]
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// The dialect that the peer speaks.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.side.outbound.dialect()
    }

    /// Whether the closing handshake has not begun.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.side.outbound.state().can_send()
    }

    /// Bytes sent on this connection that the kernel has not taken yet.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.side.send.queued(self.sends)
    }

    /// Queues a message. Everything queued in one turn of the loop leaves in one send. If it is the
    /// message that is being delivered, it goes back without being copied.
    ///
    /// # Errors
    ///
    /// [`Full`] when more than `max_outbound_bytes` would wait, the connection is closing, or a
    /// message is under way in parts: nothing was queued. `on_drain` tells when there is room again.
    #[inline]
    pub fn send<'m>(&mut self, message: impl Into<Message<'m>>) -> Result<(), Full> {
        let message = message.into();
        let payload = message.payload();
        let room = self.context.settings.max_outbound_bytes;
        if !self.side.outbound.can_send() || self.side.send.cost(self.sends) + payload.len() > room
        {
            return self.refuse();
        }
        self.context.counters.messages_out += 1;
        self.context.counters.bytes_out += payload.len() as u64;
        if self.side.outbound.deflates().is_some() && self.send_compressed(message) {
            return Ok(());
        }
        let header = FrameHeader::whole(message.opcode(), payload.len() as u64);
        if self.side.outbound.masks() {
            // The key is another than the one it came with, so it is masked in a copy.
            let mut out = BatchOutput {
                id: self.id,
                send: &mut self.side.send,
                sends: self.sends,
                deflate_pool: &mut self.context.deflate_pool,
            };
            self.side.outbound.frame(header, payload, &mut out);
            return Ok(());
        }
        let header = self.side.outbound.encode(header);
        if !self.send_in_place(&header, payload) {
            self.side.send.push_frame(self.id, self.sends, [header.as_bytes(), payload], None);
        }
        Ok(())
    }

    /// Sends a message cut into frames of at most `fragment` bytes.
    ///
    /// # Errors
    ///
    /// As [`WebSocket::send`].
    pub fn send_fragmented<'m>(
        &mut self,
        message: impl Into<Message<'m>>,
        fragment: std::num::NonZeroUsize,
    ) -> Result<(), Full> {
        let message = message.into();
        let bytes = message.payload().len();
        let room = self.context.settings.max_outbound_bytes;
        if !self.side.outbound.can_send() || self.side.send.cost(self.sends) + bytes > room {
            return self.refuse();
        }
        self.context.counters.messages_out += 1;
        self.context.counters.bytes_out += bytes as u64;
        let mut out = BatchOutput {
            id: self.id,
            send: &mut self.side.send,
            sends: self.sends,
            deflate_pool: &mut self.context.deflate_pool,
        };
        self.side.outbound.fragmented(message, fragment, &mut out);
        Ok(())
    }

    /// Sends a part of a message, as a frame of its own; the one that is being delivered goes back
    /// without being copied. Until the last one is sent, no other message can be: so connections that
    /// subscribe to topics cannot send in parts.
    ///
    /// # Errors
    ///
    /// As [`WebSocket::send`]; also when the parts are out of order, or the connection has
    /// subscriptions. A message of which a part was refused cannot be finished: end the connection.
    pub fn send_part(&mut self, part: Part<'_>) -> Result<(), Full> {
        let payload = part.payload();
        let room = self.context.settings.max_outbound_bytes;
        if !self.side.subscriptions.is_empty()
            || self.side.send.cost(self.sends) + payload.len() > room
        {
            return self.refuse();
        }
        let Some(header) = self.side.outbound.begin_part(part) else { return self.refuse() };
        self.context.counters.messages_out += u64::from(part.is_last());
        self.context.counters.bytes_out += payload.len() as u64;
        if self.side.outbound.masks() {
            let mut out = BatchOutput {
                id: self.id,
                send: &mut self.side.send,
                sends: self.sends,
                deflate_pool: &mut self.context.deflate_pool,
            };
            self.side.outbound.frame(header, payload, &mut out);
            return Ok(());
        }
        let header = self.side.outbound.encode(header);
        if !self.send_in_place(&header, payload) {
            self.side.send.push_frame(self.id, self.sends, [header.as_bytes(), payload], None);
        }
        Ok(())
    }

    /// Sends a ping of at most 125 bytes; longer payloads are cut (CTL-10). No ping is sent while
    /// `max_outbound_bytes` wait already: the peer is further behind than that.
    pub fn ping(&mut self, payload: &[u8]) {
        let payload = &payload[..payload.len().min(125)];
        if self.side.send.cost(self.sends) + payload.len()
            > self.context.settings.max_outbound_bytes
        {
            return;
        }
        let mut out = BatchOutput {
            id: self.id,
            send: &mut self.side.send,
            sends: self.sends,
            deflate_pool: &mut self.context.deflate_pool,
        };
        self.side.outbound.ping(payload, &mut out);
    }

    /// Starts the closing handshake. No message can be sent afterwards; messages may still arrive
    /// until the peer has answered. The code is [`CloseCode::NORMAL`]; draft-02 has no codes
    /// (CTL-09).
    pub fn close(&mut self) {
        self.close_with(CloseCode::NORMAL, "");
    }

    /// Begins the closing handshake with this code, and a reason for whoever looks for the fault. A
    /// reason longer than 123 bytes is cut. A code that may not be sent (RFC 6455 §7.4) is left out,
    /// and the reason with it; in draft-02 both always are.
    pub fn close_with(&mut self, code: CloseCode, reason: &str) {
        let mut out = BatchOutput {
            id: self.id,
            send: &mut self.side.send,
            sends: self.sends,
            deflate_pool: &mut self.context.deflate_pool,
        };
        self.side.outbound.close(code, reason, &mut out);
        self.context.attention.push(self.id);
    }

    /// Reads nothing more from the connection, or reads again. What has been read already is still
    /// delivered; then the peer's messages fill the kernel's buffers, and the peer has to wait.
    /// Nothing is heard of the peer meanwhile: not its pings, its Close nor its end. That does not count
    /// as its silence under [`crate::Config::idle_timeout`]; only output that it does not take for so
    /// long ends the connection then.
    pub fn hold_reading(&mut self, held: bool) {
        if self.side.hold.has(Hold::APPLICATION) != held {
            self.side.hold.set(Hold::APPLICATION, held);
            self.context.held.push(self.id);
            self.context.attention.push(self.id);
        }
    }

    /// Ends the connection without a closing handshake. What was sent before still leaves, as long as
    /// the peer takes it ([`crate::Config::close_timeout`]); what the peer sends is dropped.
    pub fn end(&mut self) {
        self.side.ended = true;
        self.context.attention.push(self.id);
    }

    /// The topic of this name on this shard, which is made if it does not exist. `None` at the
    /// limit `max_topics`.
    ///
    /// A topic that was made here and that nobody has subscribed to or published to by the end of
    /// the turn is gone again.
    pub fn topic(&mut self, name: &str) -> Option<Topic> {
        self.context.topics.open(name, false)
    }

    /// Subscribes this connection; a second call changes nothing. `false` if the topic is gone, or
    /// while this connection sends a message in parts.
    pub fn subscribe(&mut self, topic: Topic) -> bool {
        if self.side.outbound.is_parting() {
            return false;
        }
        // The last word counts.
        if let Some(index) = self.context.topics.index(topic) {
            let id = self.id;
            self.context.leaving.retain(|leaving| *leaving != (id, index));
        }
        let before = self.side.subscriptions.capacity();
        let done = self.context.topics.subscribe(topic, self.id, &mut self.side.subscriptions);
        let grown = self.side.subscriptions.capacity() - before;
        if grown > 0 {
            self.context.memory.add(grown * SUBSCRIPTION);
        }
        done
    }

    /// Ends a subscription when the callback has returned. The connection does not get what was
    /// published but not yet queued to it by then.
    pub fn unsubscribe(&mut self, topic: Topic) {
        if let Some(index) = self.context.topics.index(topic) {
            self.context.leaving.push((self.id, index));
        }
    }

    /// How many connections of this shard are subscribed to a topic.
    #[must_use]
    pub fn subscribers(&mut self, topic: Topic) -> usize {
        self.context.topics.subscribers(topic)
    }

    /// Delivers a message to every other subscriber of the topic, on all shards and in any dialect.
    /// It is encoded once, and leaves after the callback.
    ///
    /// Every connection that is subscribed now gets it, and what one connection publishes to a topic
    /// arrives in that order; but not those that close or unsubscribe before it is queued to them, and
    /// slow ones as [`crate::SlowConsumer`] says. While another shard has no room for what was published
    /// here, or more than 1 MiB wait on the topic, nothing more is read from connections that publish.
    ///
    /// # Errors
    ///
    /// [`Full`] when the topic is gone, more than 64 MiB would wait on it or for other shards, or the
    /// server drains: nobody gets the message then.
    pub fn publish<'m>(
        &mut self,
        topic: Topic,
        message: impl Into<Message<'m>>,
    ) -> Result<(), Full> {
        let message = message.into();
        let payload = message.payload();
        let (header, len) = hub::header(&message);
        match self.context.topics.publish(topic, Some(self.id), &header[..len], payload) {
            Published::Queued => {}
            Published::Crowded => self.slow_down(),
            Published::Refused => {
                self.context.counters.publications_refused += 1;
                return Err(Full);
            }
        }
        self.context.counters.publications += 1;
        Ok(())
    }

    /// Published messages that this connection missed because it reads too slowly, under
    /// [`crate::SlowConsumer::Drop`].
    #[must_use]
    pub fn publications_missed(&self) -> u64 {
        self.context.missed.get(&self.id).copied().unwrap_or(0)
    }

    /// Reads nothing more from this connection until what was published has gone on its way.
    #[cold]
    fn slow_down(&mut self) {
        if !self.side.hold.has(Hold::PUBLISHER) {
            self.side.hold.set(Hold::PUBLISHER, true);
            self.context.counters.publisher_pauses += 1;
            self.context.slowed.push(self.id);
            self.context.held.push(self.id);
            self.context.attention.push(self.id);
        }
    }

    /// The address of this connection, for answers from other threads.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote { mailbox: Arc::clone(&self.context.mailbox), id: self.id }
    }

    /// Sends a message compressed, where that was agreed on and makes it smaller.
    #[inline(never)]
    fn send_compressed(&mut self, message: Message<'_>) -> bool {
        let (Some(bits), Some(settings)) =
            (self.side.outbound.deflates(), self.context.settings.compression)
        else {
            return false;
        };
        let payload = message.payload();
        if payload.len() < settings.min_bytes {
            return false;
        }
        let deflate_pool = &mut self.context.deflate_pool;
        let deflater = match self.side.outbound.keeps_deflater() {
            Some(bits) => Some(deflate_pool.own_deflater(self.id, bits, settings.level)),
            None => deflate_pool.deflater(bits, settings.level),
        };
        let Some(deflater) = deflater else {
            self.context.counters.compression_skipped += 1;
            return false;
        };
        let mut packed = std::mem::take(&mut self.context.packed);
        packed.clear();
        deflater.deflate(payload, &mut packed);
        let steps = Work::to_compress(payload.len());
        self.context.spent = self.context.spent.saturating_add(steps);
        let smaller = packed.len() < payload.len();
        if !smaller {
            // The peer never sees what the compressor would refer to.
            deflater.forget();
        }
        if smaller {
            let mut header = FrameHeader::whole(message.opcode(), packed.len() as u64);
            header.compressed = true;
            let mut out = BatchOutput {
                id: self.id,
                send: &mut self.side.send,
                sends: self.sends,
                deflate_pool: &mut self.context.deflate_pool,
            };
            self.side.outbound.frame(header, &packed, &mut out);
        }
        self.context.packed = packed;
        smaller
    }

    #[cold]
    fn refuse(&mut self) -> Result<(), Full> {
        self.context.counters.sends_refused += 1;
        self.side.send.refused = true;
        Err(Full)
    }

    /// Sends the message being delivered from where it lies: the header goes in front of it, over
    /// bytes that were read already. Says `false` when that cannot be done.
    #[inline]
    fn send_in_place(&mut self, header: &EncodedHeader, payload: &[u8]) -> bool {
        let Some(place) = &mut self.place else { return false };
        let whole = std::ptr::eq(payload.as_ptr(), place.head.as_ptr_range().end)
            && !payload.is_empty()
            && !self.side.send.is_blocked();
        let (origin, lease) = (place.origin, self.lease);
        if !whole || (origin == Origin::Input && lease.is_none()) || origin == Origin::Replaced {
            return false;
        }
        let Some(taken) = header.write_before(place.head) else { return false };
        let (start, len) = (place.start - taken, taken + payload.len());
        let ticket = self.side.send.ticket(len);
        match lease {
            Some(lease) if origin == Origin::Input => {
                self.sends.push_lent(self.id, ticket, lease, start, len);
            }
            _ => self.sends.push_assembly(self.id, ticket, start, len),
        }
        self.place = None;
        true
    }
}
