//! What one turn of the loop wants sent.
//!
//! A driver lends a `SendBatch` to everything that may send while it handles a batch of completions.
//! Each connection's output becomes a chain of segments: ranges of the receive buffer it arrived
//! in (an echo costs no copy), of the turn's arena (small frames), or of shared chunks
//! (publications, assembled messages). Adjacent ranges merge, so that however many frames a
//! connection queues in a turn, they leave in one send. When the driver has settled the sends the
//! whole turn is cleared at once: nothing is freed, nothing is counted per message.

mod rest;
mod reuse;

use bytes::Bytes;

use super::table::ConnectionId;
use crate::conn::{MaskingKeys, Reassembly};
use crate::fault::{SMALL_WORLD, limit};
use crate::memory::{Held, Share};
use crate::sys::batch::{self, InlineSends};
pub use crate::sys::lease::Lease;
pub(crate) use crate::sys::lease::LeaseNumber;
use crate::wire::Mask;
use reuse::{ENTRIES, Need};

/// Bytes of one block of the arena; a frame that does not fit a block gets a chunk of its own.
const BLOCK: usize = limit(64 << 10, 16 << 10);
/// Most bytes that [`SendBatch::append`] adds at once.
#[cfg(feature = "tls")]
pub(crate) const ROOM_MAX: usize = BLOCK;
/// Most ranges that leave in one send.
const SEGMENTS_MAX: u32 = if SMALL_WORLD { 16 } else { 1024 };
/// Blocks kept for the next turns: more than most of them need.
const BLOCKS_KEPT: usize = 128;
/// The epoch at which connections must forget their places in turns: before epochs come round, no
/// connection may remember one from the round before.
const FORGET: u32 = 1 << 31;
/// No segment follows.
const END: u32 = u32::MAX;

/// Memory that lives longer than the block it is cut from: a publication, a message, a big frame.
#[derive(Debug)]
#[non_exhaustive]
pub enum Chunk {
    /// Shared with other connections or shards.
    Shared(Bytes),
    /// A shared chunk that counts as memory held by the shard.
    Counted(Share),
    /// A message that spanned reads, on its way back.
    Reassembly(Box<Reassembly>),
    /// Taken by a connection that could not be sent to at once.
    Taken,
}

impl Chunk {
    /// The bytes of the chunk.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Counted(share) => share,
            Self::Reassembly(assembly) => assembly.framed(),
            Self::Taken => &[],
        }
    }
}

/// Which memory a segment is a range of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A receive buffer.
    Lent(LeaseNumber),
    /// A block of the arena.
    Arena(u32),
    /// A chunk.
    Chunk(u32),
}

/// A range of bytes to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) source: Source,
    pub(crate) start: u32,
    pub(crate) len: u32,
    next: u32,
}

/// One connection's output in this turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) id: ConnectionId,
    first: u32,
    last: u32,
    /// How many segments.
    pub(crate) segments: u32,
    /// How many bytes.
    pub(crate) bytes: u32,
}

impl Entry {
    /// Whether it has more segments than a system call takes.
    pub(crate) const fn is_oversized(&self) -> bool {
        self.segments > SEGMENTS_MAX
    }
}

/// A connection's place in the current turn; stale as soon as the turn is cleared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    epoch: u32,
    entry: u32,
}

/// A machine's handle on a connection's place in the turn.
#[derive(Debug, Clone, Copy)]
pub struct Output(Ticket);

impl Default for Output {
    fn default() -> Self {
        Self(Ticket::NONE)
    }
}

impl Ticket {
    /// No place in any turn.
    pub(crate) const NONE: Self = Self { epoch: 0, entry: 0 };
}

/// Everything that one turn of the loop is to send, as one chain of segments per connection.
#[derive(Debug)]
pub struct SendBatch {
    epoch: u32,
    /// Places of earlier turns must be forgotten now.
    forget: bool,
    entries: Vec<Entry>,
    segments: Vec<Segment>,
    blocks: Vec<Vec<u8>>,
    /// The block being filled, and how far.
    block: usize,
    used: usize,
    chunks: Vec<Chunk>,
    /// Bytes to be sent, all connections together.
    bytes: usize,
    /// Whether the receive buffer lent last is referred to.
    lent: bool,
    /// The chunk promised to the message being delivered.
    promised: Option<u32>,
    /// Assemblies to use again.
    #[expect(clippy::vec_box, reason = "they move to connections and the kernel and back")]
    spare: Vec<Box<Reassembly>>,
    spare_bytes: usize,
    /// What was needed since the last [`SendBatch::tidy`].
    need: Need,
    /// The memory of the arena; where it counts, everything of the turn does.
    held: Held,
    /// For what clients send.
    keys: MaskingKeys,
}

impl Default for SendBatch {
    fn default() -> Self {
        Self {
            epoch: 1,
            forget: false,
            entries: Vec::with_capacity(ENTRIES),
            segments: Vec::with_capacity(ENTRIES),
            blocks: Vec::new(),
            block: 0,
            used: 0,
            chunks: Vec::new(),
            bytes: 0,
            lent: false,
            promised: None,
            spare: Vec::new(),
            spare_bytes: 0,
            need: Need::default(),
            held: Held::default(),
            keys: MaskingKeys::default(),
        }
    }
}

/// What a layer needs that puts other bytes into entries before they are sent.
#[cfg(feature = "tls")]
impl SendBatch {
    /// Takes out of an entry what it holds: it is empty then, and what it held can be read until the
    /// turn is cleared.
    pub(crate) fn empty_entry(&mut self, index: usize) -> Option<Entry> {
        let entry = self.entries.get_mut(index)?;
        let held = *entry;
        *entry = Entry { first: END, last: END, segments: 0, bytes: 0, ..held };
        self.bytes -= held.bytes as usize;
        Some(held)
    }

    /// Adds an empty entry for a connection that has none, and says where.
    pub(crate) fn add_entry(&mut self, id: ConnectionId) -> usize {
        self.entries.push(Entry { id, first: END, last: END, segments: 0, bytes: 0 });
        self.entries.len() - 1
    }

    /// Adds bytes to an entry, written into `len` bytes of the arena, at most [`ROOM_MAX`]; `write`
    /// says how many it wrote.
    pub(crate) fn append<E>(
        &mut self,
        index: usize,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        debug_assert!(len <= ROOM_MAX, "a block is all that there is");
        if self.blocks.is_empty() || self.used + len > BLOCK {
            self.next_block();
        }
        let start = self.used;
        let written = write(&mut self.blocks[self.block][start..start + len])?;
        self.used += written;
        #[expect(clippy::cast_possible_truncation, reason = "a turn holds far fewer blocks")]
        let source = Source::Arena(self.block as u32);
        let Some(entry) = self.entries.get_mut(index).filter(|_| written > 0) else {
            return Ok(());
        };
        #[expect(clippy::cast_possible_truncation, reason = "a turn is cut off far below 4 GiB")]
        let (place, first, len) = (index as u32, self.segments.len() as u32, written as u32);
        if entry.segments > 0 {
            let mut ticket = Ticket { epoch: self.epoch, entry: place };
            let id = entry.id;
            self.push(id, &mut ticket, source, start, written);
        } else {
            (entry.first, entry.last, entry.segments, entry.bytes) = (first, first, 1, len);
            #[expect(clippy::cast_possible_truncation, reason = "an offset in a block")]
            self.segments.push(Segment { source, start: start as u32, len, next: END });
            self.bytes += written;
        }
        Ok(())
    }
}

impl SendBatch {
    /// Bytes to be sent so far.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is to be sent.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether something sent since the last call points into the receive buffer that was lent:
    /// then that buffer must be kept until the turn is cleared.
    #[inline]
    pub(crate) fn took_lease(&mut self) -> bool {
        std::mem::take(&mut self.lent)
    }

    /// Bytes that `ticket`'s connection has queued in this turn.
    #[inline]
    pub(crate) fn queued(&self, ticket: Ticket) -> usize {
        self.entry(ticket).map_or(0, |entry| entry.bytes as usize)
    }

    /// Whether all places in earlier turns must be forgotten: once in four billion turns, long before a
    /// place that is remembered could be taken for one of the present turn.
    #[inline]
    pub(crate) const fn must_forget(&mut self) -> bool {
        std::mem::replace(&mut self.forget, false)
    }

    /// Queues a range of the receive buffer that is lent at the moment.
    #[inline]
    pub(crate) fn push_lent(
        &mut self,
        id: ConnectionId,
        ticket: &mut Ticket,
        lease: &Lease,
        start: usize,
        len: usize,
    ) {
        self.lent = true;
        self.push(id, ticket, Source::Lent(lease.number()), start, len);
    }

    /// A masking key for a client's frame.
    #[inline]
    pub(crate) fn masking_key(&mut self) -> Mask {
        self.keys.draw()
    }

    /// Queues bytes by copying them into the arena, or into a chunk when they are many; the copy
    /// of the second part is masked.
    #[inline]
    pub(crate) fn push_copy(
        &mut self,
        id: ConnectionId,
        ticket: &mut Ticket,
        parts: [&[u8]; 2],
        mask: Option<Mask>,
    ) {
        let len = parts[0].len() + parts[1].len();
        if len > BLOCK {
            let mut whole = parts.concat();
            if let Some(mask) = mask {
                mask.apply(&mut whole[parts[0].len()..]);
            }
            let chunk = self.add_chunk(Chunk::Counted(Share::new(self.memory(), whole)));
            return self.push(id, ticket, Source::Chunk(chunk), 0, len);
        }
        if self.blocks.is_empty() || self.used + len > BLOCK {
            self.next_block();
        }
        let start = self.used;
        for part in parts {
            self.blocks[self.block][self.used..self.used + part.len()].copy_from_slice(part);
            self.used += part.len();
        }
        if let Some(mask) = mask {
            mask.apply(&mut self.blocks[self.block][start + parts[0].len()..self.used]);
        }
        #[expect(clippy::cast_possible_truncation, reason = "a turn holds far fewer blocks")]
        let block = self.block as u32;
        self.push(id, ticket, Source::Arena(block), start, len);
    }

    /// Keeps `chunk` until the turn is cleared, so that many connections can refer to it.
    pub fn add_chunk(&mut self, chunk: Chunk) -> u32 {
        self.chunks.push(chunk);
        u32::try_from(self.chunks.len() - 1).expect("a turn holds far fewer chunks")
    }

    /// Queues a range of a chunk.
    #[inline]
    pub(crate) fn push_chunk(
        &mut self,
        id: ConnectionId,
        ticket: &mut Ticket,
        chunk: u32,
        start: usize,
        len: usize,
    ) {
        self.push(id, ticket, Source::Chunk(chunk), start, len);
    }

    /// Queues a range of the assembly whose message is being delivered; it becomes a chunk when it
    /// is recycled.
    pub(crate) fn push_assembly(
        &mut self,
        id: ConnectionId,
        ticket: &mut Ticket,
        start: usize,
        len: usize,
    ) {
        let chunk = match self.promised {
            Some(chunk) => chunk,
            None => {
                let chunk = self.add_chunk(Chunk::Taken);
                self.promised = Some(chunk);
                chunk
            }
        };
        self.push(id, ticket, Source::Chunk(chunk), start, len);
    }

    /// The connections that have something to send, in the order of their first frame.
    #[must_use]
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The ranges of one entry, in order.
    pub(crate) fn segments(&self, entry: &Entry) -> impl Iterator<Item = Segment> {
        let mut next = entry.first;
        std::iter::from_fn(move || {
            let segment = *self.segments.get(next as usize)?;
            next = segment.next;
            Some(segment)
        })
    }

    /// The bytes of a segment that does not lie in a receive buffer.
    #[must_use]
    pub(crate) fn resolve(&self, segment: Segment) -> Option<&[u8]> {
        let whole = match segment.source {
            Source::Lent(_) => return None,
            Source::Arena(block) => &self.blocks[block as usize],
            Source::Chunk(chunk) => self.chunks[chunk as usize].as_slice(),
        };
        whole.get(segment.start as usize..)?.get(..segment.len as usize)
    }

    /// Takes a chunk out of the turn if it can be owned without copying its bytes: a share of a
    /// publication, or an assembly, which only one connection refers to.
    pub(crate) fn take_chunk(&mut self, chunk: u32) -> Chunk {
        match &mut self.chunks[chunk as usize] {
            Chunk::Shared(bytes) => Chunk::Shared(bytes.clone()),
            Chunk::Counted(share) => Chunk::Counted(share.clone()),
            other => std::mem::replace(other, Chunk::Taken),
        }
    }

    /// Queues a range of the receive buffer that is lent at the moment: for machines that keep
    /// their own place in the turn.
    pub fn send_lent(
        &mut self,
        id: ConnectionId,
        output: &mut Output,
        lease: &Lease,
        range: std::ops::Range<usize>,
    ) {
        self.push_lent(id, &mut output.0, lease, range.start, range.len());
    }

    /// Queues bytes by copying them: for machines that keep their own place in the turn.
    pub fn send_copy(&mut self, id: ConnectionId, output: &mut Output, bytes: &[u8]) {
        self.push_copy(id, &mut output.0, [bytes, &[]], None);
    }

    /// Queues a range of a chunk from [`SendBatch::add_chunk`]: for machines that keep their own place
    /// in the turn.
    pub fn send_chunk(
        &mut self,
        id: ConnectionId,
        output: &mut Output,
        chunk: u32,
        range: std::ops::Range<usize>,
    ) {
        self.push_chunk(id, &mut output.0, chunk, range.start, range.len());
    }

    /// Whether an entry may have more segments than a system call takes.
    pub(crate) const fn may_be_oversized(&self) -> bool {
        self.segments.len() > SEGMENTS_MAX as usize
    }

    /// Bytes of the largest part of an entry that is memory of its own, and could be sent without a
    /// copy.
    pub(crate) fn largest_chunk(&self, entry: &Entry) -> usize {
        let chunks = self.segments(entry).filter(|one| matches!(one.source, Source::Chunk(_)));
        chunks.map(|one| one.len as usize).max().unwrap_or(0)
    }

    /// Takes an entry back that is to be sent another way; its bytes are the caller's business then.
    pub(crate) fn withdraw(&mut self, index: usize) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.segments = 0;
        }
    }

    /// Forgets everything: the sends are settled.
    pub(crate) fn clear(&mut self) {
        self.epoch = self.epoch.wrapping_add(1).max(1);
        self.forget |= self.epoch == FORGET;
        self.need.entries = self.need.entries.max(self.entries.len());
        self.need.segments = self.need.segments.max(self.segments.len());
        self.entries.clear();
        self.segments.clear();
        if self.blocks.len() > BLOCKS_KEPT {
            self.blocks.truncate(BLOCKS_KEPT);
            self.held.set(self.blocks.len() * BLOCK);
        }
        self.block = 0;
        self.used = 0;
        self.bytes = 0;
        while let Some(chunk) = self.chunks.pop() {
            if let Chunk::Reassembly(assembly) = chunk {
                self.recycle(assembly);
            }
        }
    }

    #[inline]
    fn entry(&self, ticket: Ticket) -> Option<&Entry> {
        if ticket.epoch == self.epoch { self.entries.get(ticket.entry as usize) } else { None }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a turn is cut off far below 4 GiB")]
    fn push(
        &mut self,
        id: ConnectionId,
        ticket: &mut Ticket,
        source: Source,
        start: usize,
        len: usize,
    ) {
        self.bytes += len;
        let (start, len) = (start as u32, len as u32);
        let index = self.segments.len() as u32;
        if ticket.epoch != self.epoch {
            *ticket = Ticket { epoch: self.epoch, entry: self.entries.len() as u32 };
            self.segments.push(Segment { source, start, len, next: END });
            self.entries.push(Entry { id, first: index, last: index, segments: 1, bytes: len });
            return;
        }
        let entry = &mut self.entries[ticket.entry as usize];
        entry.bytes += len;
        let last = &mut self.segments[entry.last as usize];
        if last.source == source && last.start + last.len == start {
            last.len += len;
            return;
        }
        last.next = index;
        entry.last = index;
        entry.segments += 1;
        self.segments.push(Segment { source, start, len, next: END });
    }

    fn next_block(&mut self) {
        if !self.blocks.is_empty() {
            self.block += 1;
        }
        if self.block == self.blocks.len() {
            self.blocks.push(vec![0; BLOCK]);
            self.held.set(self.blocks.len() * BLOCK);
        }
        self.need.blocks = self.need.blocks.max(self.block + 1);
        self.used = 0;
    }
}

impl InlineSends for SendBatch {
    #[inline]
    fn len(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    fn part(&self, index: usize) -> (ConnectionId, usize) {
        let entry = &self.entries[index];
        (entry.id, entry.segments as usize)
    }

    #[inline]
    fn segments(&self, index: usize) -> impl Iterator<Item = batch::Segment<'_>> {
        Self::segments(self, &self.entries[index]).map(|segment| match segment.source {
            Source::Lent(lease) => {
                let (start, len) = (segment.start as usize, segment.len as usize);
                batch::Segment::Lent { lease, start, len }
            }
            _ => batch::Segment::Bytes(self.resolve(segment).unwrap_or_default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectionId, FORGET, SendBatch, Ticket};

    #[test]
    fn places_are_forgotten_before_epochs_come_round() {
        let mut sends = SendBatch::default();
        let (one, two) = (ConnectionId::new(1, 0), ConnectionId::new(2, 0));
        let (mut old, mut new) = (Ticket::NONE, Ticket::NONE);
        sends.push_copy(one, &mut old, [b"old", &[]], None);
        sends.clear();
        assert!(!sends.must_forget());
        // Halfway round: whoever keeps tickets forgets them.
        sends.epoch = FORGET - 1;
        sends.clear();
        assert!(sends.must_forget() && !sends.must_forget());
        old = Ticket::NONE;
        sends.epoch = u32::MAX;
        sends.clear();
        assert_eq!(sends.epoch, 1, "the epoch that the old ticket was of");
        sends.push_copy(two, &mut new, [b"new", &[]], None);
        assert_eq!((sends.queued(old), sends.queued(new)), (0, 3));
        sends.push_copy(one, &mut old, [b"one", &[]], None);
        let ids: Vec<_> = sends.entries().iter().map(|entry| entry.id).collect();
        assert_eq!(ids, [two, one], "each has its own entry");
    }
}
