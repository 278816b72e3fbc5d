//! Where a message grows that did not arrive in one read.

use crate::memory::{Held, Ledger};
use crate::sys::batch::Fill;
use crate::wire::HEADER_MAX;
use crate::wire::utf8::Validator;

/// Bytes kept free in front of the message, so that a frame header fits there and the message can
/// be sent on without a copy.
const HEADROOM: usize = 16;
const _: () = assert!(HEADROOM >= HEADER_MAX);
/// The first allocation: one small receive buffer's worth.
const FIRST: usize = 4096;
/// Less room than this is not worth a read of its own.
const LITTLE: usize = FIRST / 4;

/// A growing message. Its memory is at most twice the bytes it holds (or one small buffer), and
/// is always initialised, so it can be lent to whoever reads the rest of the message into it.
#[derive(Debug, Default)]
pub struct Reassembly {
    bytes: Vec<u8>,
    filled: usize,
    /// What is known of the text so far, where it is judged as it arrives.
    text: Validator,
    held: Held,
}

impl Reassembly {
    /// One whose memory counts on this ledger.
    pub(crate) fn on(ledger: Option<&Ledger>) -> Self {
        Self { held: Held::on(ledger), ..Self::default() }
    }

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
    pub fn clear(&mut self) {
        self.filled = 0;
        self.text = Validator::default();
    }

    /// Adds `part`. `expected` is how many bytes of the message are still to come, or `None` while
    /// nobody knows, since further frames follow: a hint that caps growth, never a reason to grow.
    pub fn append(&mut self, part: &[u8], expected: Option<u64>) {
        self.filled = self.filled.max(HEADROOM);
        let needed = self.filled + part.len();
        if needed > self.bytes.len() {
            let grown = needed.max(self.bytes.len() * 2).max(FIRST);
            self.grow(grown.min(needed.saturating_add(expected.map_or(usize::MAX, saturated))));
        }
        if let Some(place) = self.bytes.get_mut(self.filled..self.filled + part.len()) {
            place.copy_from_slice(part);
            self.filled += part.len();
        }
    }

    /// Memory for the next bytes of the message, at most `expected` of them and never empty when
    /// `expected` is not 0. What was written there counts once [`Reassembly::advance`] is told.
    pub fn spare(&mut self, expected: u64) -> &mut [u8] {
        self.filled = self.filled.max(HEADROOM);
        let expected = saturated(expected);
        // Room for as much again as has arrived, when little is left: memory follows bytes received,
        // and the message moves a logarithmic number of times.
        if self.bytes.len().saturating_sub(self.filled) < expected.min(LITTLE) {
            let doubled = self.filled + self.len();
            self.grow(doubled.max(FIRST).min(self.filled.saturating_add(expected)));
        }
        let end = self.filled.saturating_add(expected).min(self.bytes.len());
        self.bytes.get_mut(self.filled..end).unwrap_or_default()
    }

    /// Counts `n` bytes written into [`Reassembly::spare`].
    pub fn advance(&mut self, n: usize) {
        self.filled = (self.filled + n).min(self.bytes.len());
    }

    /// Whether the text can still become valid with the last `n` bytes that it holds, after all
    /// that came before them was judged by this, too.
    pub(super) fn continues_text(&mut self, n: usize) -> bool {
        let Self { bytes, filled, text, .. } = self;
        let fresh = bytes.get(filled.saturating_sub(n).max(HEADROOM)..*filled);
        text.feed(fresh.unwrap_or_default()).is_ok()
    }

    /// Whether the text may end with what it holds.
    pub(super) const fn completes_text(&self) -> bool {
        self.text.is_complete()
    }

    /// Goes on with the text of a message whose first part `before` holds.
    pub(super) const fn continue_from(&mut self, before: &Self) {
        self.text = before.text;
    }

    /// The last `n` bytes that it holds.
    pub(super) fn last_mut(&mut self, n: usize) -> &mut [u8] {
        let from = self.filled.saturating_sub(n).max(HEADROOM);
        self.bytes.get_mut(from..self.filled).unwrap_or_default()
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

    /// Where the message starts in [`Reassembly::framed`].
    #[must_use]
    pub const fn start(&self) -> usize {
        HEADROOM
    }

    fn grow(&mut self, len: usize) {
        // The allocator rounds up on its own; `reserve_exact` keeps our bound.
        self.bytes.reserve_exact(len.saturating_sub(self.bytes.len()));
        self.bytes.resize(len, 0);
        self.held.set(self.bytes.capacity());
    }
}

/// A length for arithmetic that saturates anyway.
fn saturated(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

impl Fill for Reassembly {
    fn spare(&mut self, wanted: u64) -> &mut [u8] {
        Self::spare(self, wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::Reassembly;

    #[test]
    fn an_empty_assembly_has_room_for_the_first_bytes() {
        let mut assembly = Reassembly::default();
        assert_eq!(assembly.spare(10).len(), 10);
        assembly.spare(10).copy_from_slice(b"0123456789");
        assembly.advance(10);
        assert_eq!(assembly.split().1, b"0123456789");
    }
}
