//! Publications: to this shard's subscribers in slices, to the other shards by mail.

use std::sync::Arc;

use super::slot::Ending;
use super::table::ConnectionId;
use super::topics::{Batch, Slice};
use super::turn::{Chunk, Turn};
use super::{Application, Shard};
use crate::config::SlowConsumer;
use crate::handler::CloseReason;
use crate::hub::Mail;

/// Subscribers served in one turn of the loop; between slices everything else of the shard is
/// served.
const SLICE: usize = 256;

impl<A: Application> Shard<A> {
    /// Tells the other shards what was published here since the last turn: one letter per topic
    /// and shard, whatever the number of messages.
    pub(super) fn forward_publications(&mut self) {
        if self.hub.mailboxes.len() == 1 {
            return self.world.topics.skip_forwarding();
        }
        while let Some((topic, frames, messages)) = self.world.topics.take_unforwarded() {
            for (index, mailbox) in self.hub.mailboxes.iter().enumerate() {
                if index == self.index {
                    continue;
                }
                let (topic, frames) = (Arc::clone(&topic), frames.clone());
                if mailbox.post(Mail::Publish { topic, frames, messages }).is_err() {
                    self.world.counters.publications_lost += messages;
                }
            }
        }
    }

    /// Serves the next slice of the fan-outs that are due.
    pub(super) fn fan_out(&mut self, turn: &mut Turn) {
        let mut left = SLICE;
        let mut slow = Vec::new();
        while left > 0 {
            let Some(slice) = self.world.topics.next_slice(left) else { break };
            left -= (slice.to - slice.from).clamp(1, left);
            self.serve(&slice, turn, &mut slow);
            self.world.topics.finish_slice(slice);
        }
        for id in slow {
            self.finish(id, CloseReason::SlowConsumer, Ending::Now);
        }
    }

    fn serve(&mut self, slice: &Slice, turn: &mut Turn, slow: &mut Vec<ConnectionId>) {
        let batch = &slice.batch;
        let chunk = turn.add_chunk(Chunk::Shared(batch.frames.clone()));
        for place in slice.from..slice.to {
            let Some(id) = self.world.topics.subscriber(slice.index, place) else { continue };
            if batch.authored.iter().any(|part| part.by == id) {
                // Rare: one that published, too, gets everything but its own.
                let mut own = batch.authored.iter().filter(|part| part.by == id).count() as u64;
                for (start, end) in others(batch, id) {
                    self.deliver_range(id, batch, (chunk, start, end), turn, slow);
                }
                own = own.min(batch.messages);
                self.world.counters.deliveries += batch.messages - own;
            } else {
                let end = batch.frames.len();
                self.deliver_range(id, batch, (chunk, 0, end), turn, slow);
                self.world.counters.deliveries += batch.messages;
            }
        }
    }

    #[inline]
    fn deliver_range(
        &mut self,
        id: ConnectionId,
        batch: &Batch,
        (chunk, start, end): (u32, usize, usize),
        turn: &mut Turn,
        slow: &mut Vec<ConnectionId>,
    ) {
        let settings = &self.world.settings;
        let Some(slot) = self.table.find(id) else { return };
        if !slot.state().can_send() {
            return;
        }
        let send = &mut slot.side.send;
        let queued = send.queued(turn);
        // Whoever has nothing waiting keeps up, however large the batch.
        if queued > 0 && queued + (end - start) > settings.max_outbound_bytes {
            match settings.slow_consumer {
                SlowConsumer::Close => slow.push(id),
                SlowConsumer::Drop => {
                    self.world.counters.deliveries_dropped += batch.messages;
                }
            }
            return;
        }
        if send.is_blocked() {
            send.push_shared(batch.frames.slice(start..end));
        } else {
            turn.push_chunk(id, send.ticket(), chunk, start, end - start);
        }
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
    }

    fn unsubscribe(&mut self, topic: u32, place: u32) {
        let table = &mut self.table;
        self.world.topics.unsubscribe(topic, place, |id, topic, place| {
            let subscriptions = table.find(id).map(|slot| &mut slot.side.subscriptions);
            let entry = subscriptions.and_then(|all| all.iter_mut().find(|e| e.0 == topic));
            if let Some(entry) = entry {
                entry.1 = place;
            }
        });
    }
}

/// The ranges of a batch that `id` did not publish itself.
fn others(batch: &Batch, id: ConnectionId) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    let mut from = 0;
    for part in batch.authored.iter().filter(|part| part.by == id) {
        if part.start > from {
            ranges.push((from, part.start));
        }
        from = part.end;
    }
    if batch.frames.len() > from {
        ranges.push((from, batch.frames.len()));
    }
    ranges
}
