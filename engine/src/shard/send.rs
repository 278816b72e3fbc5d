//! One connection's way out: the turn while the kernel takes what it is given, a backlog once it
//! does not.

use std::collections::VecDeque;
use std::ops::Range;

use super::deflate_pool::DeflatePool;
use super::send_batch::{Chunk, SendBatch, Ticket};
use super::table::ConnectionId;
use crate::conn::{Inflater, Output, Reassembly};
use crate::fault::{self, Fault, limit};
use crate::memory::{Held, Ledger, Share};
use crate::sys::batch::Gather;
use crate::wire::Mask;

/// Small frames share a chunk of the backlog up to this size.
const TAIL_BYTES: usize = limit(16 << 10, 1 << 10);
/// Most ranges that leave in one send from a backlog; the kernel takes up to 1,024.
const TRANSMIT_PIECES: usize = limit(64, 8);
/// Most bytes that leave in one send from a backlog.
const TRANSMIT_BYTES: usize = limit(256 << 10, 8 << 10);
/// So many bytes any peer's kernel takes without its program reading them: the least that a program can
/// leave it, which Linux makes 2,304 with what it needs to keep them.
const LITTLE: u32 = 1 << 10;
/// What is shorter is copied to what waits before it: to share it would take more memory, or little less.
pub(crate) const JOINED_BYTES: usize = limit(512, 64);
/// What a range takes beside its bytes, in a queue that may be half empty.
const PIECE_COST: usize = 2 * size_of::<Piece>();

/// What memory in flight is counted in.
const PAGE: usize = 4096;

/// A range of owned memory on its way out.
#[derive(Debug)]
pub struct Piece {
    pub(crate) chunk: Chunk,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Piece {
    /// A range of `chunk`.
    #[must_use]
    pub const fn new(chunk: Chunk, start: usize, end: usize) -> Self {
        Self { chunk, start, end }
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.chunk.as_slice().get(self.start..self.end).unwrap_or_default()
    }

    /// Bytes of memory that would be free without it, or its part of those that others hold, too.
    fn footprint(&self) -> usize {
        size_of::<Self>()
            + match &self.chunk {
                Chunk::Shared(_) => self.end - self.start,
                Chunk::Counted(share) => share.portion(),
                Chunk::Reassembly(assembly) => assembly.capacity(),
                Chunk::Taken => 0,
            }
    }
}

/// Owned bytes on their way out: the driver keeps them until the kernel has taken them all.
#[derive(Debug, Default)]
#[must_use = "bytes that are dropped are never sent"]
pub struct Transmit {
    pub(crate) pieces: VecDeque<Piece>,
    pub(crate) bytes: usize,
    /// The memory of the queue itself.
    held: Held,
}

impl Transmit {
    /// An empty one, whose memory counts on this ledger.
    pub(crate) fn on(ledger: Option<&Ledger>) -> Self {
        Self { held: Held::on(ledger), ..Self::default() }
    }

    /// Where its memory counts.
    pub(crate) const fn ledger(&self) -> Option<&Ledger> {
        self.held.ledger()
    }

    /// Bytes of memory that would be free without it; of what is shared, its part.
    pub(crate) fn footprint(&self) -> usize {
        self.pieces.iter().map(Piece::footprint).sum()
    }

    /// The ranges, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(Piece::as_slice)
    }

    /// Bytes still to be sent.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a range at the end.
    pub fn push(&mut self, piece: Piece) {
        self.bytes += piece.end - piece.start;
        self.pieces.push_back(piece);
        self.held.set(self.pieces.capacity() * size_of::<Piece>());
    }

    /// Gives up room that has not been needed for long.
    fn shrink(&mut self) {
        if self.pieces.capacity() > 4 * self.pieces.len().max(TRANSMIT_PIECES) {
            self.pieces.shrink_to(2 * self.pieces.len());
            self.held.set(self.pieces.capacity() * size_of::<Piece>());
        }
    }

    /// Forgets the first `n` bytes: the kernel has them.
    pub fn advance(&mut self, mut n: usize) {
        self.bytes = self.bytes.saturating_sub(n);
        while let Some(first) = self.pieces.front_mut() {
            let len = first.end - first.start;
            if n < len {
                first.start += n;
                return;
            }
            n -= len;
            self.pieces.pop_front();
        }
    }
}

/// The part of the memory budget that may be in the kernel's hands at once, as a divisor. The
/// kernel holds it until the peers have taken it, whatever happens to their connections, so nobody
/// can be ended to have it back.
const PINNED_PART: usize = 8;

impl Gather for Transmit {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        Self::pieces(self)
    }

    fn pinned_max(&self) -> usize {
        self.ledger().map_or(usize::MAX, |ledger| ledger.budget() / PINNED_PART)
    }
}

/// What waits behind a send that blocked.
#[derive(Debug, Default)]
struct Backlog {
    ready: Transmit,
    /// Small frames, copied one behind the other.
    tail: Vec<u8>,
    /// The memory of the tail, and of this.
    held: Held,
}

impl Backlog {
    fn on(ledger: Option<&Ledger>) -> Box<Self> {
        let mut new =
            Self { ready: Transmit::on(ledger), tail: Vec::new(), held: Held::on(ledger) };
        new.count();
        Box::new(new)
    }

    fn count(&mut self) {
        self.held.set(size_of::<Self>() + self.tail.capacity());
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let tail = Share::exact(self.held.ledger(), std::mem::take(&mut self.tail));
            let end = tail.len();
            self.ready.push(Piece::new(Chunk::Counted(tail), 0, end));
            self.count();
        }
    }

    const fn bytes(&self) -> usize {
        self.ready.bytes + self.tail.len()
    }

    /// The bytes, and what it takes to have them queued.
    fn cost(&self) -> usize {
        if fault::is_back(Fault::QueuedPiecesCountBytesOnly) {
            return self.bytes();
        }
        self.bytes() + self.ready.pieces.len() * PIECE_COST
    }

    fn footprint(&self) -> usize {
        self.ready.footprint() + self.tail.capacity() + size_of::<Self>()
    }
}

/// One connection's way out.
#[derive(Debug)]
pub(crate) struct SendSide {
    ticket: Ticket,
    /// Bytes that the driver is sending the slow way; 0 when it is not.
    in_flight: u32,
    backlog: Option<Box<Backlog>>,
    /// Bytes that were queued so far; the count wraps round.
    handed: u32,
    /// Pages of memory that those in flight took when they went.
    in_flight_pages: u16,
    /// Bytes of what is received that are held by a layer below, or by the driver, which receives into
    /// them. They stand here because there is room.
    pub(crate) elsewhere: u32,
    /// A send was refused and the application waits for `on_drain`.
    pub(crate) refused: bool,
    /// The kernel had no room once, and the peer was waited for.
    pub(crate) waited: bool,
}

impl SendSide {
    pub(crate) const fn new() -> Self {
        Self {
            ticket: Ticket::NONE,
            in_flight: 0,
            backlog: None,
            handed: 0,
            in_flight_pages: 0,
            elsewhere: 0,
            refused: false,
            waited: false,
        }
    }

    /// Forgets the place in an earlier turn.
    pub(crate) const fn forget_place(&mut self) {
        self.ticket = Ticket::NONE;
    }

    /// Bytes accepted from the application and not yet taken by the kernel.
    #[inline]
    pub(crate) fn queued(&self, sends: &SendBatch) -> usize {
        sends.queued(self.ticket) + self.waiting()
    }

    /// Bytes that wait because the kernel would not take them.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.in_flight as usize + self.backlog.as_ref().map_or(0, |backlog| backlog.bytes())
    }

    /// Bytes that the kernel has taken so far; the count wraps round. What is sent the slow way counts
    /// when the driver has told of it.
    #[expect(clippy::cast_possible_truncation, reason = "a count that wraps round")]
    pub(crate) fn given(&self, sends: &SendBatch) -> u32 {
        self.handed.wrapping_sub(self.queued(sends) as u32)
    }

    /// Bytes that were queued so far; the count wraps round.
    pub(crate) const fn handed(&self) -> u32 {
        self.handed
    }

    /// Whether all that was ever queued is so little that the peer's kernel has room for it.
    pub(crate) const fn is_little(&self) -> bool {
        self.handed <= LITTLE && !self.waited && self.in_flight == 0
    }

    /// The bytes that wait, with what it takes to have them queued, for comparison with a limit.
    #[inline]
    pub(crate) fn cost(&self, sends: &SendBatch) -> usize {
        let backlog = self.backlog.as_ref().map_or(0, |backlog| backlog.cost());
        sends.queued(self.ticket) + self.in_flight as usize + backlog
    }

    /// Bytes of memory that would be free without what waits; of what is shared, its part.
    pub(crate) fn footprint(&self) -> usize {
        let backlog = self.backlog.as_ref().map_or(0, |backlog| backlog.footprint());
        usize::from(self.in_flight_pages) * PAGE + backlog
    }

    /// Bytes of memory that ranges take which wait, without what they are ranges of.
    #[cfg(feature = "sim")]
    pub(super) fn queue_memory(&self) -> usize {
        let pieces = self.backlog.as_ref().map_or(0, |backlog| backlog.ready.pieces.len());
        pieces * size_of::<Piece>()
    }

    /// Whether the kernel would not take the last send: everything new must wait behind it.
    #[inline]
    pub(crate) const fn is_blocked(&self) -> bool {
        self.in_flight > 0
    }

    /// Queues bytes by copying them.
    pub(crate) fn push(&mut self, id: ConnectionId, sends: &mut SendBatch, bytes: &[u8]) {
        self.push_frame(id, sends, [bytes, &[]], None);
    }

    /// Queues a header and its payload by copying them; the copy of the payload is masked.
    #[inline]
    pub(crate) fn push_frame(
        &mut self,
        id: ConnectionId,
        sends: &mut SendBatch,
        parts: [&[u8]; 2],
        mask: Option<Mask>,
    ) {
        self.count(parts[0].len() + parts[1].len());
        if self.is_blocked() {
            self.push_backlog(sends, parts, mask);
        } else {
            sends.push_copy(id, &mut self.ticket, parts, mask);
        }
    }

    /// The place in the turn for so many bytes of output that need not be copied; only when not blocked.
    #[inline]
    pub(crate) const fn ticket(&mut self, bytes: usize) -> &mut Ticket {
        self.count(bytes);
        &mut self.ticket
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a count that wraps round")]
    const fn count(&mut self, bytes: usize) {
        self.handed = self.handed.wrapping_add(bytes as u32);
    }

    /// Queues a range of a publication behind what waits.
    pub(crate) fn push_shared(&mut self, sends: &SendBatch, share: &Share, range: Range<usize>) {
        if range.len() < JOINED_BYTES && !fault::is_back(Fault::QueuedPiecesCountBytesOnly) {
            let bytes = share.get(range).unwrap_or_default();
            self.count(bytes.len());
            return self.push_backlog(sends, [bytes, &[]], None);
        }
        self.count(range.len());
        let backlog = self.backlog.get_or_insert_with(|| Backlog::on(sends.memory()));
        backlog.seal();
        let chunk = Chunk::Counted(share.clone());
        backlog.ready.push(Piece::new(chunk, range.start, range.end));
    }

    #[cold]
    fn push_backlog(&mut self, sends: &SendBatch, parts: [&[u8]; 2], mask: Option<Mask>) {
        let backlog = self.backlog.get_or_insert_with(|| Backlog::on(sends.memory()));
        if backlog.tail.len() + parts[0].len() + parts[1].len() > TAIL_BYTES {
            backlog.seal();
        }
        for part in parts {
            backlog.tail.extend_from_slice(part);
        }
        if let Some(mask) = mask {
            let payload = backlog.tail.len() - parts[1].len();
            mask.apply(&mut backlog.tail[payload..]);
        }
        backlog.count();
    }

    /// The driver is sending `bytes` the slow way, in so many bytes of memory.
    pub(crate) fn block(&mut self, bytes: usize, footprint: usize) {
        self.in_flight = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.in_flight_pages = u16::try_from(footprint.div_ceil(PAGE)).unwrap_or(u16::MAX);
    }

    /// The kernel has taken `bytes` of the slow send, which goes on.
    pub(crate) fn took(&mut self, bytes: usize) {
        self.waited = true;
        if self.is_blocked() {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.in_flight = self.in_flight.saturating_sub(bytes).max(1);
        }
    }

    /// The slow send is done: the next one, if something waits.
    pub(crate) fn unblock(&mut self) -> Option<Transmit> {
        self.block(0, 0);
        let backlog = self.backlog.as_mut()?;
        backlog.seal();
        let mut next = Transmit::on(backlog.held.ledger());
        while next.pieces.len() < TRANSMIT_PIECES && next.bytes < TRANSMIT_BYTES {
            let Some(piece) = backlog.ready.pieces.pop_front() else { break };
            backlog.ready.bytes -= piece.end - piece.start;
            next.push(piece);
        }
        backlog.ready.shrink();
        if backlog.ready.pieces.is_empty() {
            self.backlog = None;
        }
        if next.bytes == 0 {
            return None;
        }
        self.block(next.bytes, next.footprint());
        Some(next)
    }

    /// Forgets what waits: the connection is broken.
    pub(crate) fn abandon(&mut self) {
        self.backlog = None;
    }
}

/// Where a connection writes during a turn.
#[derive(Debug)]
pub(crate) struct BatchOutput<'a> {
    pub(crate) id: ConnectionId,
    pub(crate) send: &'a mut SendSide,
    pub(crate) sends: &'a mut SendBatch,
    pub(crate) deflate_pool: &'a mut DeflatePool,
}

impl Output for BatchOutput<'_> {
    #[inline]
    fn frame(&mut self, header: &[u8], payload: &[u8], mask: Option<Mask>) {
        self.send.push_frame(self.id, self.sends, [header, payload], mask);
    }

    #[inline]
    fn masking_key(&mut self) -> Mask {
        self.sends.masking_key()
    }

    fn take_inflater(&mut self) -> Option<Box<Inflater>> {
        self.deflate_pool.take_inflater()
    }

    fn recycle_inflater(&mut self, inflater: Box<Inflater>) {
        self.deflate_pool.recycle_inflater(inflater);
    }

    fn take_assembly(&mut self) -> Box<Reassembly> {
        self.sends.take_assembly()
    }

    fn recycle(&mut self, assembly: Box<Reassembly>) {
        self.sends.recycle(assembly);
    }
}
