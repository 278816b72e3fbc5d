//! Publications, to this shard's subscribers in slices.

use super::packing::{self, Packed};
use super::send::BatchOutput;
use super::send_batch::{Chunk, SendBatch};
use super::slot::{Ending, Side};
use super::table::ConnectionId;
use super::topics::{Batch, SUBSCRIPTION, Slice};
use super::{Application, Shard};
use crate::config::SlowConsumer;
use crate::conn::Outbound;
use crate::fault::limit;
use crate::memory::Share;
use crate::outcome::CloseReason;
use crate::wire::{self, Dialect};

/// Subscribers served in one turn of the loop; between slices everything else of the shard is
/// served.
const SLICE: usize = limit(256, 2);
/// Bytes of publications compressed in one turn: about a tenth of a millisecond.
const PACKED_BYTES: usize = limit(8 << 10, 1 << 10);
/// Parts of a batch to leave out, for one that published them, that take as long as a subscriber does.
const PARTS: usize = 16;
/// Most bytes of publications in one turn, if they go to more than one: they are shared here, but the kernel
/// copies them for each, and before that TLS encrypts them for each.
const BYTES: usize = 1 << 20;

/// What became of a batch for one subscriber.
enum Delivered {
    Queued,
    /// So much waits already that there is no room for it.
    TooSlow,
    /// The subscriber can be sent nothing any more.
    Closing,
    /// The publication is being compressed for the subscriber.
    Later,
}

/// What may still be done in this turn of all fan-outs.
struct FanOut {
    subscribers: usize,
    /// Bytes that may be compressed.
    packed: usize,
}

/// A batch in this turn, for each dialect that a subscriber speaks.
#[derive(Default)]
struct Chunks {
    plain: [Option<(u32, Share)>; Dialect::ALL.len()],
    /// Compressed, by the bits of the window.
    packed: Vec<(u8, u32, Share)>,
}

impl Chunks {
    #[inline]
    fn of(&mut self, dialect: Dialect, batch: &mut Batch, sends: &mut SendBatch) -> &(u32, Share) {
        self.plain[dialect.index()].get_or_insert_with(|| {
            let frames = batch.encoded(dialect).clone();
            (sends.add_chunk(Chunk::Counted(frames.clone())), frames)
        })
    }

    fn packed(&mut self, bits: u8, batch: &Batch, sends: &mut SendBatch) -> Option<(u32, Share)> {
        if let Some((_, chunk, frames)) = self.packed.iter().find(|(of, ..)| *of == bits) {
            return Some((*chunk, frames.clone()));
        }
        let frames = batch.packed(bits)?.clone();
        let chunk = sends.add_chunk(Chunk::Counted(frames.clone()));
        self.packed.push((bits, chunk, frames.clone()));
        Some((chunk, frames))
    }
}

/// Queues a batch piece by piece: without what the subscriber published itself, or masked, or behind what
/// waits.
#[cold]
fn deliver_parts(
    batch: &Batch,
    (chunk, frames): (u32, &Share),
    outbound: &Outbound,
    out: &mut BatchOutput<'_>,
) {
    let mut from = 0;
    let ends = batch.authored_by(out.id).iter().map(|part| (part.start(), part.end()));
    for (end, next) in ends.chain([(batch.frames.len(), 0)]) {
        if end > from && outbound.masks() {
            for (header, payload) in wire::frames(&batch.frames[from..end]) {
                outbound.frame(header, payload, out);
            }
        } else if end > from && out.send.is_blocked() {
            out.send.push_shared(out.sends, frames, from..end);
        } else if end > from {
            out.sends.push_chunk(out.id, out.send.ticket(end - from), chunk, from, end - from);
        }
        from = next;
    }
}

impl<A: Application> Shard<A> {
    /// Serves the next slice of the fan-outs that are due.
    pub(super) fn fan_out(&mut self, sends: &mut SendBatch) {
        let mut room = BYTES;
        let mut slow = Vec::new();
        let mut work = FanOut { subscribers: SLICE, packed: PACKED_BYTES };
        while work.subscribers > 0 && work.packed > 0 && room > 0 {
            let next = self.context.topics.next_slice(work.subscribers, room);
            let Some(mut slice) = next else { break };
            slice.to = self.serve(&mut slice, sends, &mut work, &mut slow);
            let served = slice.to - slice.from;
            // Each costs something, even if there is nobody any more.
            work.subscribers = work.subscribers.saturating_sub(usize::from(served == 0));
            room = room.saturating_sub(served.saturating_mul(slice.batch.frames.len()));
            if let Some(mut batch) = self.context.topics.finish_slice(slice) {
                packing::stop(&mut batch, &mut self.context.deflate_pool);
            }
            // Before the next batch, which may be small enough to have room: it would leave a gap.
            for id in slow.drain(..) {
                self.finish(id, CloseReason::SlowConsumer, Ending::Now);
            }
        }
    }

    /// Serves the subscribers of a slice until too much was done for one turn; says how far that went.
    fn serve(
        &mut self,
        slice: &mut Slice,
        sends: &mut SendBatch,
        work: &mut FanOut,
        slow: &mut Vec<ConnectionId>,
    ) -> usize {
        let batch = &mut slice.batch;
        let mut chunks = Chunks::default();
        for place in slice.from..slice.to {
            if work.subscribers == 0 {
                return place;
            }
            let Some(id) = self.context.topics.subscriber(slice.index, place) else { continue };
            // One that published, too, gets everything but its own.
            let parts = batch.authored_by(id);
            let own = parts.iter().map(|part| u64::from(part.messages)).sum::<u64>();
            let cost = 1 + parts.len() / PARTS;
            let messages = batch.messages - own;
            if messages == 0 {
                work.subscribers = work.subscribers.saturating_sub(cost);
                continue;
            }
            match (
                self.deliver_batch(id, batch, &mut chunks, sends, work),
                self.context.settings.slow_consumer,
            ) {
                (Delivered::Later, _) => return place,
                (Delivered::Queued, _) => self.context.counters.deliveries += messages,
                (Delivered::TooSlow, SlowConsumer::Close) => slow.push(id),
                (Delivered::TooSlow, SlowConsumer::Drop) => {
                    self.context.counters.deliveries_dropped += messages;
                    *self.context.missed.entry(id).or_default() += messages;
                }
                (Delivered::Closing, _) => {}
            }
            work.subscribers = work.subscribers.saturating_sub(cost);
        }
        slice.to
    }

    #[inline]
    fn deliver_batch(
        &mut self,
        id: ConnectionId,
        batch: &mut Batch,
        chunks: &mut Chunks,
        sends: &mut SendBatch,
        work: &mut FanOut,
    ) -> Delivered {
        let Some(slot) = self.table.find(id) else { return Delivered::Closing };
        if !slot.side.outbound.can_send() {
            return Delivered::Closing;
        }
        let Side { outbound, send, .. } = &mut slot.side;
        let dialect = outbound.dialect();
        let own = batch.authored_by(id).iter().map(|part| part.end() - part.start()).sum::<usize>();
        let bytes = batch.frames.len() - own;
        let queued = send.cost(sends);
        // Whoever has nothing waiting keeps up, however large the batch.
        if queued > 0 && queued + bytes > self.context.settings.max_outbound_bytes {
            return Delivered::TooSlow;
        }
        let mut compressed = None;
        // Whoever gets less than everything gets it plain: what is compressed lies elsewhere.
        if let (true, Some(bits), Some(settings)) =
            (own == 0, outbound.deflates(), self.context.settings.compression)
            && !outbound.masks()
        {
            let deflate_pool = &mut self.context.deflate_pool;
            if packing::pack(batch, bits, settings, deflate_pool, &mut work.packed) == Packed::Later
            {
                return Delivered::Later;
            }
            compressed = chunks.packed(bits, batch, sends);
        }
        if let Some((chunk, frames)) = compressed {
            // It refers to nothing, so it is right for a peer that keeps a window, too; but what that
            // window holds now was never seen by the compressor of this connection.
            if outbound.keeps_deflater().is_some() {
                self.context.deflate_pool.forget(id);
            }
            if send.is_blocked() {
                let len = frames.len();
                send.push_shared(sends, &frames, 0..len);
            } else {
                sends.push_chunk(id, send.ticket(frames.len()), chunk, 0, frames.len());
            }
            return Delivered::Queued;
        }
        let (chunk, frames) = chunks.of(dialect, batch, sends);
        let whole = own == 0;
        if whole && !outbound.masks() && !send.is_blocked() {
            sends.push_chunk(id, send.ticket(bytes), *chunk, 0, bytes);
            return Delivered::Queued;
        }
        let mut out = BatchOutput { id, send, sends, deflate_pool: &mut self.context.deflate_pool };
        deliver_parts(batch, (*chunk, frames), outbound, &mut out);
        Delivered::Queued
    }

    /// Ends one subscription.
    pub(super) fn leave(&mut self, id: ConnectionId, topic: u32) {
        let Some(slot) = self.table.find(id) else { return };
        let subscriptions = &mut slot.side.subscriptions;
        let Some(at) = subscriptions.iter().position(|(index, _)| *index == topic) else { return };
        let (_, place) = subscriptions.swap_remove(at);
        self.unsubscribe(topic, place);
    }

    /// Ends all subscriptions of a connection.
    pub(super) fn leave_all(&mut self, id: ConnectionId) {
        while let Some((topic, place)) =
            self.table.find(id).and_then(|slot| slot.side.subscriptions.pop())
        {
            self.unsubscribe(topic, place);
        }
        if let Some(slot) = self.table.find(id) {
            let none = std::mem::take(&mut slot.side.subscriptions);
            self.context.memory.sub(none.capacity() * SUBSCRIPTION);
        }
    }

    fn unsubscribe(&mut self, topic: u32, place: u32) {
        let table = &mut self.table;
        self.context.topics.unsubscribe(topic, place, |id, topic, place| {
            let subscriptions = table.find(id).map(|slot| &mut slot.side.subscriptions);
            let entry = subscriptions.and_then(|all| all.iter_mut().find(|e| e.0 == topic));
            if let Some(entry) = entry {
                entry.1 = place;
            }
        });
    }
}
