//! Topics of one shard: who is subscribed, and what is on its way to them.
//!
//! A publication is encoded once, into its topic's buffer; everything published to a topic while
//! a fan-out of it is under way gathers behind it and leaves as one send per subscriber. A fan-out
//! goes in slices, so that it does not hold up the rest of the shard.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

mod batch;

pub(crate) use batch::{Authored, Batch};
use bytes::Bytes;

use super::table::ConnectionId;
use crate::fault::limit;
use crate::hub::{Hub, PublishCommand, ShardSet};
use crate::memory::{Held, Ledger, Share};

/// A topic of one shard; made by [`crate::Shard::topic`] or [`crate::WebSocket::topic`]. It lives
/// as long as it has subscribers or the application holds it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Topic {
    index: u32,
    generation: u32,
}

const _: () = assert!(PENDING_BYTES <= u32::MAX as usize);

#[derive(Debug, Default)]
struct TopicState {
    name: Option<Arc<str>>,
    /// The shards that have subscribers of the topic; there is one where there is a name.
    subscribed: Option<Arc<ShardSet>>,
    generation: u32,
    /// The application holds it open by name.
    pinned: bool,
    subscribers: Vec<ConnectionId>,
    /// Subscribers before this one have the batch under way.
    cursor: usize,
    /// Subscribers from here on came after the batch under way began.
    end: usize,
    under_way: Option<Batch>,
    pending: Vec<u8>,
    pending_messages: u64,
    authored: Vec<Authored>,
    /// Pending bytes before this one came from other shards or have gone to them.
    forwarded: usize,
    /// Messages in what other shards have not been told of.
    unforwarded_messages: u64,
    queued: bool,
    /// Bytes of memory that were counted for it.
    counted: usize,
}

impl TopicState {
    /// How many bytes of memory it would take to publish `len` bytes more: the lists double.
    const fn growth(&self, len: usize) -> usize {
        let mut growth = 0;
        if self.pending.capacity() - self.pending.len() < len {
            growth += if self.pending.capacity() > len { self.pending.capacity() } else { len };
        }
        if self.authored.capacity() == self.authored.len() {
            growth += self.authored.len() * size_of::<Authored>();
        }
        growth
    }

    /// Notes who published what is pending from `start` on.
    #[expect(clippy::cast_possible_truncation, reason = "pending bytes are limited")]
    fn note_author(&mut self, by: ConnectionId, start: usize) {
        let (start, end) = (start as u32, self.pending.len() as u32);
        if let Some(last) = self.authored.last_mut()
            && last.by == by
            && last.end == start
        {
            last.end = end;
            last.messages += 1;
            return;
        }
        self.authored.push(Authored { by, start, end, messages: 1 });
    }

    /// Counts the memory that it takes now.
    #[inline]
    fn count(&mut self, memory: &Ledger) {
        let name = self.name.as_ref().map_or(0, |name| name.len());
        let lists = self.authored.capacity() * size_of::<Authored>()
            + self.subscribers.capacity() * size_of::<ConnectionId>();
        memory.change(&mut self.counted, name + self.pending.capacity() + lists);
    }
}

/// A connection's subscriptions: the topic, and its place among the subscribers.
pub(crate) type Subscriptions = Vec<(u32, u32)>;
/// Bytes that one takes.
pub(crate) const SUBSCRIPTION: usize = size_of::<(u32, u32)>();

/// What a shard lets one topic gather before publications are refused.
const PENDING_BYTES: usize = limit(64 << 20, 24 << 10);
/// What it gathers before its publishers are slowed down.
const CROWDED_BYTES: usize = limit(1 << 20, 8 << 10);
/// Entries in the list of a topic's authors before they are slowed down, and before publications are
/// refused: as much memory as the bytes.
const CROWDED_AUTHORS: usize = CROWDED_BYTES / size_of::<Authored>();
const AUTHORS_MAX: usize = PENDING_BYTES / size_of::<Authored>();
/// What may wait for other shards before publications are refused.
const OUTBOX_BYTES: usize = limit(64 << 20, 32 << 10);

/// What became of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    Queued,
    /// The publication is queued, but so much waits that its publisher must wait as well.
    Crowded,
    /// The topic is gone, too much waits, or the shard drains.
    Refused,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrived {
    Queued,
    /// Nobody here is subscribed.
    Unneeded,
    /// So much waits on the topic already that there is no room for it now. Its fan-out is under way
    /// then, and makes some.
    NoRoom,
}

/// Places for topics that are kept while nothing needs them.
const IDLE_PLACES: usize = 256;

/// The topics of a shard.
#[derive(Debug)]
pub(crate) struct Topics {
    hub: Arc<Hub>,
    /// The shard's number.
    shard: usize,
    /// More than this on a topic needs a second look; see [`Topics::admits`].
    at_ease: usize,
    /// Nothing more is taken: the shard drains.
    closed: bool,
    /// Bytes that wait for room in other shards' mailboxes.
    outbox: usize,
    /// Topics with more than [`CROWDED_BYTES`] pending.
    crowded: usize,
    by_name: HashMap<Arc<str>, u32>,
    states: Vec<TopicState>,
    free: Vec<u32>,
    max: usize,
    /// Topics with publications to deliver, in turn.
    queue: std::collections::VecDeque<u32>,
    /// Topics with publications that other shards have not been told of.
    unforwarded: Vec<u32>,
    /// Topics made in this turn, which nobody may come to need.
    fresh: Vec<u32>,
    memory: Ledger,
    /// The first generation of places that are made: no earlier one in their place had one so high.
    first: u32,
    /// Topics went since places were last given back.
    untidy: bool,
}

impl Drop for Topics {
    fn drop(&mut self) {
        self.memory.sub(self.states.iter().map(|state| state.counted).sum());
    }
}

impl Topics {
    /// No topics yet, of the shard of this number.
    pub(crate) fn new(max: usize, hub: Arc<Hub>, shard: usize) -> Self {
        Self {
            memory: Ledger::new(usize::MAX),
            hub,
            shard,
            at_ease: CROWDED_BYTES,
            closed: false,
            outbox: 0,
            crowded: 0,
            by_name: HashMap::new(),
            states: Vec::new(),
            free: Vec::new(),
            max,
            queue: std::collections::VecDeque::new(),
            unforwarded: Vec::new(),
            fresh: Vec::new(),
            first: 0,
            untidy: false,
        }
    }

    /// Topics, none yet, whose memory counts on this ledger.
    pub(crate) fn on(mut self, memory: Ledger) -> Self {
        self.memory = memory;
        self
    }

    /// Where their memory counts.
    pub(crate) fn memory(&self) -> Ledger {
        self.memory.clone()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The topic of this name, made if need be; `None` when there are too many, or no memory for it.
    pub(crate) fn open(&mut self, name: &str, pinned: bool) -> Option<Topic> {
        let index = match self.by_name.get(name) {
            Some(index) => *index,
            None => self.create(name)?,
        };
        let state = &mut self.states[index as usize];
        state.pinned |= pinned;
        Some(Topic { index, generation: state.generation })
    }

    fn create(&mut self, name: &str) -> Option<u32> {
        if self.by_name.len() >= self.max || !self.memory.has_room(name.len()) {
            return None;
        }
        let name: Arc<str> = name.into();
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let generation = self.first;
                self.states.push(TopicState { generation, ..TopicState::default() });
                u32::try_from(self.states.len() - 1).ok()?
            }
        };
        let state = &mut self.states[index as usize];
        state.subscribed = Some(self.hub.interests.join(&name));
        state.name = Some(Arc::clone(&name));
        state.count(&self.memory);
        self.fresh.push(index);
        match self.by_name.entry(name) {
            Entry::Vacant(entry) => *entry.insert(index),
            Entry::Occupied(entry) => *entry.get(),
        }
        .into()
    }

    /// Forgets what was made in the last turn and is not needed: no subscriber's end would.
    pub(crate) fn release_unused(&mut self) {
        while let Some(index) = self.fresh.pop() {
            self.release(index);
        }
    }

    /// Whether there are far more places than topics.
    pub(crate) const fn keeps_much(&self) -> bool {
        self.untidy && self.states.len() > IDLE_PLACES
    }

    /// Gives back what was kept for topics that are gone, and for subscribers.
    pub(crate) fn tidy(&mut self) {
        if !self.keeps_much() || !self.fresh.is_empty() {
            return;
        }
        self.untidy = false;
        while let Some(last) = self.states.last()
            && last.name.is_none()
            && let Some(next) = last.generation.checked_add(1)
        {
            // A handle that somebody kept must not come to mean a topic in a new place.
            self.first = self.first.max(next);
            self.states.pop();
        }
        let places = self.states.len();
        self.free.retain(|index| (*index as usize) < places);
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        self.free.shrink_to(2 * self.free.len());
        self.states.shrink_to(2 * places);
        self.by_name.shrink_to(2 * self.by_name.len());
        for state in &mut self.states {
            state.subscribers.shrink_to(2 * state.subscribers.len());
            state.count(&self.memory);
        }
    }

    /// Forgets a topic that nobody needs.
    fn release(&mut self, index: u32) {
        let state = &mut self.states[index as usize];
        let idle = state.subscribers.is_empty() && !state.pinned && !state.queued;
        if !idle || !state.pending.is_empty() {
            return;
        }
        if let Some(name) = state.name.take() {
            self.untidy = true;
            self.by_name.remove(&name);
            self.hub.interests.leave(&name);
            // As with connections: a place without a generation left is not used again, so that a
            // handle that somebody kept never comes to mean another topic.
            let next = state.generation.checked_add(1);
            let generation = next.unwrap_or(state.generation);
            self.memory.sub(state.counted);
            *state = TopicState { generation, ..TopicState::default() };
            if next.is_some() {
                self.free.push(index);
            }
        }
    }

    fn live(&mut self, topic: Topic) -> Option<&mut TopicState> {
        let state = self.states.get_mut(topic.index as usize)?;
        (state.generation == topic.generation && state.name.is_some()).then_some(state)
    }

    /// Adds a subscriber, once. Says whether the topic exists.
    pub(crate) fn subscribe(
        &mut self,
        topic: Topic,
        id: ConnectionId,
        subscriptions: &mut Subscriptions,
    ) -> bool {
        let shard = self.shard;
        let Some(state) = self.live(topic) else { return false };
        if !subscriptions.iter().any(|(index, _)| *index == topic.index) {
            let Ok(place) = u32::try_from(state.subscribers.len()) else { return false };
            if place == 0
                && let Some(subscribed) = &state.subscribed
            {
                // Before anybody can know that it is subscribed.
                subscribed.insert(shard);
            }
            state.subscribers.push(id);
            let memory = &self.memory;
            self.states[topic.index as usize].count(memory);
            subscriptions.push((topic.index, place));
        }
        true
    }

    /// Removes the subscriber at `place` of topic `index`, who gives up what has not been queued for it
    /// yet; `moved` is told of every other subscriber whose place changes.
    pub(crate) fn unsubscribe(
        &mut self,
        index: u32,
        place: u32,
        mut moved: impl FnMut(ConnectionId, u32, u32),
    ) {
        let state = &mut self.states[index as usize];
        // The hole moves to the end of its region, then of the next ones: served, waiting, new.
        let mut hole = place as usize;
        for (region, bound) in [(0, state.cursor), (1, state.end), (2, state.subscribers.len())] {
            if hole >= bound {
                continue;
            }
            let last = bound - 1;
            if last != hole {
                let id = state.subscribers[last];
                state.subscribers[hole] = id;
                #[expect(clippy::cast_possible_truncation, reason = "a place is a u32")]
                moved(id, index, hole as u32);
            }
            hole = last;
            match region {
                0 => state.cursor -= 1,
                1 => state.end -= 1,
                _ => {}
            }
        }
        state.subscribers.pop();
        if let (true, Some(subscribed)) = (state.subscribers.is_empty(), &state.subscribed) {
            subscribed.remove(self.shard);
        }
        self.release(index);
    }

    /// The topic's index, if it is alive.
    pub(crate) fn index(&mut self, topic: Topic) -> Option<u32> {
        self.live(topic).map(|_| topic.index)
    }

    /// How many connections of this shard are subscribed.
    pub(crate) fn subscribers(&mut self, topic: Topic) -> usize {
        self.live(topic).map_or(0, |state| state.subscribers.len())
    }

    /// Queues a frame for every subscriber but its author.
    pub(crate) fn publish(
        &mut self,
        topic: Topic,
        by: Option<ConnectionId>,
        header: &[u8],
        payload: &[u8],
    ) -> Published {
        let at_ease = self.at_ease;
        let Some(state) = self.live(topic) else { return Published::Refused };
        let start = state.pending.len();
        let end = start + header.len() + payload.len();
        let is_crowded = end > at_ease || state.authored.len() > CROWDED_AUTHORS;
        let growth = state.growth(end - start);
        if growth > 0 && !self.memory.has_room(growth)
            || is_crowded && !self.admits(topic, start, end)
        {
            return Published::Refused;
        }
        let state = &mut self.states[topic.index as usize];
        state.pending.extend_from_slice(header);
        state.pending.extend_from_slice(payload);
        state.pending_messages += 1;
        state.unforwarded_messages += 1;
        if let Some(by) = by {
            state.note_author(by, start);
        }
        if state.forwarded == start {
            self.unforwarded.push(topic.index);
        }
        self.states[topic.index as usize].count(&self.memory);
        self.enqueue(topic.index);
        if is_crowded { Published::Crowded } else { Published::Queued }
    }

    /// Whether a publication is taken that makes a topic's pending bytes grow from `start` to `end`,
    /// where that is not clear at once.
    #[cold]
    fn admits(&mut self, topic: Topic, start: usize, end: usize) -> bool {
        let authors = self.states[topic.index as usize].authored.len();
        let fits = end <= PENDING_BYTES && authors <= AUTHORS_MAX;
        let admitted = !self.closed && fits && self.outbox <= OUTBOX_BYTES;
        self.crowded += usize::from(admitted && start <= CROWDED_BYTES && end > CROWDED_BYTES);
        admitted
    }

    /// Whether so much waits that whoever publishes must wait.
    pub(crate) const fn is_crowded(&self) -> bool {
        self.outbox > 0 || self.crowded > 0
    }

    /// Takes note of how many bytes wait for room in other shards' mailboxes.
    pub(crate) const fn note_outbox(&mut self, bytes: usize) {
        self.outbox = bytes;
        self.at_ease = if bytes > 0 || self.closed { 0 } else { CROWDED_BYTES };
    }

    /// Refuses everything that is published from now on.
    pub(crate) const fn close(&mut self) {
        self.closed = true;
        self.at_ease = 0;
    }

    /// Queues frames that came from another shard.
    pub(crate) fn deliver(&mut self, name: &str, frames: &[u8], messages: u64) -> Arrived {
        let Some(index) = self.by_name.get(name).copied() else { return Arrived::Unneeded };
        let state = &mut self.states[index as usize];
        if state.subscribers.is_empty() {
            return Arrived::Unneeded;
        }
        let (start, end) = (state.pending.len(), state.pending.len() + frames.len());
        if start > 0 && end > PENDING_BYTES {
            return Arrived::NoRoom;
        }
        self.crowded += usize::from(start <= CROWDED_BYTES && end > CROWDED_BYTES);
        // What is ours and waits to be forwarded must stay one range: mail is handled when nothing
        // does.
        debug_assert_eq!(state.forwarded, state.pending.len());
        state.pending.extend_from_slice(frames);
        state.pending_messages += messages;
        state.forwarded = state.pending.len();
        state.count(&self.memory);
        self.enqueue(index);
        Arrived::Queued
    }

    /// Hands over what was published here since the last time, in the order in which the topics were
    /// first published to: a command for each other shard that has subscribers.
    pub(crate) fn forward(&mut self, mut send: impl FnMut(usize, PublishCommand)) {
        for index in self.unforwarded.drain(..) {
            let state = &mut self.states[index as usize];
            let from = std::mem::replace(&mut state.forwarded, state.pending.len());
            let messages = std::mem::take(&mut state.unforwarded_messages);
            let (Some(name), Some(subscribed)) = (&state.name, &state.subscribed) else { continue };
            let mut command = None;
            for shard in subscribed.iter().filter(|shard| *shard != self.shard) {
                let command = command.get_or_insert_with(|| PublishCommand::Publication {
                    topic: Arc::clone(name),
                    frames: Bytes::copy_from_slice(&state.pending[from..]),
                    messages,
                });
                send(shard, command.clone());
            }
        }
    }

    /// Forgets what other shards would have to be told of: there are none.
    pub(crate) fn skip_forwarding(&mut self) {
        while let Some(index) = self.unforwarded.pop() {
            let state = &mut self.states[index as usize];
            state.forwarded = state.pending.len();
            state.unforwarded_messages = 0;
        }
    }

    /// Messages that are still to be delivered to somebody.
    pub(crate) fn undelivered(&self) -> u64 {
        let due = |state: &TopicState| {
            let under_way = state.under_way.as_ref().map_or(0, |batch| batch.messages);
            state.pending_messages + under_way
        };
        let busy = self.queue.iter().filter_map(|index| self.states.get(*index as usize));
        busy.filter(|state| !state.subscribers.is_empty()).map(due).sum()
    }

    fn enqueue(&mut self, index: u32) {
        let state = &mut self.states[index as usize];
        if !state.queued {
            state.queued = true;
            self.queue.push_back(index);
        }
    }

    /// Whether a fan-out is under way or due.
    pub(crate) fn is_busy(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether a fan-out of a topic has begun and not ended.
    #[cfg(test)]
    fn is_under_way(&self, topic: Topic) -> bool {
        self.states[topic.index as usize].under_way.is_some()
    }

    /// Takes the next slice of at most `max` subscribers, who get at most `bytes` all together, but one
    /// at least: their topic, the batch, and the range of places. Publications that wait become the
    /// batch when none is under way.
    pub(crate) fn next_slice(&mut self, max: usize, bytes: usize) -> Option<Slice> {
        let index = self.queue.pop_front()?;
        let state = &mut self.states[index as usize];
        if state.under_way.is_none() {
            let mut authored = std::mem::take(&mut state.authored);
            authored
                .sort_unstable_by_key(|part| (part.by.slot(), part.by.generation(), part.start));
            self.crowded -= usize::from(state.pending.len() > CROWDED_BYTES);
            let mut held = Held::on(Some(&self.memory));
            held.set(authored.capacity() * size_of::<Authored>());
            state.under_way = Some(Batch {
                frames: Share::new(Some(&self.memory), std::mem::take(&mut state.pending)),
                held,
                translated: Default::default(),
                packed: Vec::new(),
                packing: None,
                messages: std::mem::take(&mut state.pending_messages),
                authored,
            });
            state.forwarded = 0;
            state.cursor = 0;
            state.end = state.subscribers.len();
            state.count(&self.memory);
        }
        let batch = state.under_way.take()?;
        let from = state.cursor;
        let most = (bytes / batch.frames.len().max(1)).max(1);
        state.cursor = state.end.min(from + max.min(most));
        Some(Slice { index, from, to: state.cursor, batch })
    }

    /// The subscriber at a place of a topic.
    #[inline]
    pub(crate) fn subscriber(&self, index: u32, place: usize) -> Option<ConnectionId> {
        self.states.get(index as usize)?.subscribers.get(place).copied()
    }

    /// Gives a slice back, which may have become shorter; its topic stands in line again if its fan-out
    /// goes on or more waits. Gives the batch back if its fan-out is over.
    pub(crate) fn finish_slice(&mut self, slice: Slice) -> Option<Batch> {
        let state = &mut self.states[slice.index as usize];
        state.cursor = slice.to;
        if state.cursor < state.end {
            state.under_way = Some(slice.batch);
            self.queue.push_back(slice.index);
            return None;
        }
        state.cursor = 0;
        state.end = 0;
        if state.pending.is_empty() {
            state.queued = false;
            self.release(slice.index);
        } else {
            self.queue.push_back(slice.index);
        }
        Some(slice.batch)
    }
}

/// Part of a fan-out; see [`Topics::next_slice`].
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) index: u32,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) batch: Batch,
}

#[cfg(test)]
mod tests;
