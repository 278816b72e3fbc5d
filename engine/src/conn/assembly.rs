//! Where a message grows that did not arrive in one read.

use crate::wire::HEADER_MAX;

/// Bytes kept free in front of the message, so that a frame header fits there and the message can
/// be sent on without a copy.
const HEADROOM: usize = 16;
const _: () = assert!(HEADROOM >= HEADER_MAX);
/// The first allocation: one small receive buffer's worth.
const FIRST: usize = 4096;

/// A growing message. Its memory is at most twice the bytes it holds (or one small buffer), and
/// is always initialised, so it can be lent to whoever reads the rest of the message into it.
#[derive(Debug, Default)]
pub struct Assembly {
    bytes: Vec<u8>,
    filled: usize,
}

impl Assembly {
    /// How many bytes of the message it holds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.filled.saturating_sub(HEADROOM)
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory it owns.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets the message and keeps the memory.
    pub const fn clear(&mut self) {
        self.filled = 0;
    }

    /// Adds `part`. `expected` is how many bytes are announced after it: a hint that caps growth,
    /// never a reason to grow.
    pub fn append(&mut self, part: &[u8], expected: u64) {
        self.reserve(part.len(), expected);
        if let Some(place) = self.bytes.get_mut(self.filled..self.filled + part.len()) {
            place.copy_from_slice(part);
            self.filled += part.len();
        }
    }

    /// Memory for the next bytes of the message, at most `expected` of them and never empty when
    /// `expected` is not 0. What was written there counts once [`Assembly::advance`] is told.
    pub fn spare(&mut self, expected: u64) -> &mut [u8] {
        // Room for as much again as has arrived: memory follows bytes received.
        let room = usize::try_from(expected).unwrap_or(usize::MAX).min(self.len().max(FIRST));
        if self.bytes.len().saturating_sub(self.filled.max(HEADROOM)) < room {
            self.reserve(room, expected - room as u64);
        }
        self.filled = self.filled.max(HEADROOM);
        let end = usize::try_from(expected)
            .unwrap_or(usize::MAX)
            .saturating_add(self.filled)
            .min(self.bytes.len());
        self.bytes.get_mut(self.filled..end).unwrap_or_default()
    }

    /// Counts `n` bytes written into [`Assembly::spare`].
    pub fn advance(&mut self, n: usize) {
        self.filled = (self.filled + n).min(self.bytes.len());
    }

    /// The room in front of the message, and the message.
    pub fn split(&mut self) -> (&mut [u8], &mut [u8]) {
        let filled = self.bytes.get_mut(..self.filled).unwrap_or_default();
        filled.split_at_mut_checked(HEADROOM).unwrap_or_default()
    }

    /// The message with the bytes in front of it: what a send of the whole frame points into.
    #[must_use]
    pub fn framed(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// Where the message starts in [`Assembly::framed`].
    #[must_use]
    pub const fn start(&self) -> usize {
        HEADROOM
    }

    fn reserve(&mut self, additional: usize, expected: u64) {
        self.filled = self.filled.max(HEADROOM);
        let needed = self.filled + additional;
        if needed > self.bytes.len() {
            let announced = needed.saturating_add(usize::try_from(expected).unwrap_or(usize::MAX));
            let grown = needed.max(self.bytes.len() * 2).max(FIRST);
            // The allocator rounds up on its own; `reserve_exact` keeps our bound.
            let target = grown.min(announced);
            self.bytes.reserve_exact(target - self.bytes.len());
            self.bytes.resize(target, 0);
        }
    }
}
