//! permessage-deflate (RFC 7692): a message's bytes through DEFLATE, each way.
//!
//! A message is inflated while it arrives, into the memory it is delivered from, and what it may
//! grow to is checked as it grows: a small frame that inflates without end is refused at the limit.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Reassembly;
use crate::wire::ProtocolError;

/// What a sender leaves away at the end of a message, and a receiver puts back (§7.2.1, §7.2.2).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// A message without bytes, compressed (§7.2.3.6).
const EMPTY: u8 = 0x00;

/// How far a stream's counter has moved, by at most the length of a slice.
fn moved(before: u64, after: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}

/// Inflates messages one after the other, whatever the peer's window.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    /// A message has begun and not ended.
    busy: bool,
    /// The inflater stopped with more to make.
    owes: bool,
    /// Bytes of the end of a message that it was given.
    tail: u8,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { stream: Decompress::new(false), busy: false, owes: false, tail: 0 }
    }
}

impl Inflater {
    /// Bytes of memory that one takes, on the heap and boxed. A smaller window would not make it less:
    /// zlib-rs always keeps room for the largest. Measured by the test `allocations`.
    pub const BYTES: usize = 48 << 10;

    pub(crate) const fn begin(&mut self) {
        (self.busy, self.owes, self.tail) = (true, false, 0);
    }

    pub(crate) const fn end(&mut self) {
        self.busy = false;
    }

    pub(crate) const fn is_busy(&self) -> bool {
        self.busy
    }

    /// Inflates the next part of a message to the end of `out`, which may grow to `limit` bytes, and
    /// says how many bytes of `part` that took. It stops when it has made as many bytes as `allowed`
    /// says, which it counts down; [`Inflater::owes`] tells.
    ///
    /// # Errors
    ///
    /// The bytes are no DEFLATE data, or the message grows too large.
    pub(crate) fn inflate(
        &mut self,
        part: &[u8],
        out: &mut Reassembly,
        limit: u64,
        allowed: &mut usize,
    ) -> Result<usize, ProtocolError> {
        let mut rest = part;
        loop {
            self.owes = *allowed == 0;
            if self.owes {
                return Ok(part.len() - rest.len());
            }
            let room = limit.saturating_sub(out.len() as u64);
            // One byte more than may be: whoever fills it has too many.
            let place = out.spare(room.saturating_add(1).min(*allowed as u64));
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let offered = place.len();
            let status = self
                .stream
                .decompress(rest, place, FlushDecompress::Sync)
                .map_err(|_| ProtocolError::InvalidDeflate)?;
            let taken = moved(before_in, self.stream.total_in());
            let made = moved(before_out, self.stream.total_out());
            if made as u64 > room {
                return Err(ProtocolError::MessageTooLarge);
            }
            out.advance(made);
            *allowed = allowed.saturating_sub(made);
            rest = rest.get(taken..).unwrap_or_default();
            if status == Status::StreamEnd {
                // A block that says it is the last; the next starts anew (§7.2.3.4), as it does with
                // a sender's zlib: no common one refers to what came before it.
                self.stream.reset(false);
            } else if taken == 0 && made == 0 && !rest.is_empty() {
                return Err(ProtocolError::InvalidDeflate);
            }
            if rest.is_empty() && made < offered {
                return Ok(part.len());
            }
        }
    }

    /// Ends a message (§7.2.2). Say it again if [`Inflater::owes`] does: it stopped on the way.
    ///
    /// # Errors
    ///
    /// As [`Inflater::inflate`].
    pub(crate) fn finish(
        &mut self,
        out: &mut Reassembly,
        limit: u64,
        allowed: &mut usize,
    ) -> Result<(), ProtocolError> {
        let tail = TAIL.get(usize::from(self.tail)..).unwrap_or_default();
        let taken = self.inflate(tail, out, limit, allowed)?;
        #[expect(clippy::cast_possible_truncation, reason = "four at most")]
        {
            self.tail = if self.owes { self.tail + taken as u8 } else { 0 };
        }
        Ok(())
    }

    /// Whether it stopped because it had made enough, and may have more to make of what it was given.
    pub(crate) const fn owes(&self) -> bool {
        self.owes
    }

    /// Forgets what came before: the next message does not refer to it (§7.1.1).
    pub(crate) fn reset(&mut self) {
        self.stream.reset(false);
    }
}

/// Compresses messages one after the other.
#[derive(Debug)]
pub struct Deflater {
    stream: Compress,
    /// What came before must not be referred to.
    forgetful: bool,
    /// A message has begun and not ended.
    unfinished: bool,
}

impl Deflater {
    /// With a window of so many bits, 9 to 15, and a level of 1, fast, to 9, thorough.
    #[must_use]
    pub fn new(window_bits: u8, level: u8) -> Self {
        let level = Compression::new(u32::from(level.clamp(1, 9)));
        let stream = Compress::new_with_window_bits(level, false, window_bits.clamp(9, 15));
        Self { stream, forgetful: false, unfinished: false }
    }

    /// Bytes of memory that one takes, on the heap and boxed. Measured by the test `allocations`.
    #[must_use]
    pub const fn bytes(window_bits: u8) -> usize {
        // Its tables, and four bytes per byte of the window.
        let bits = if window_bits < 9 { 9 } else { window_bits };
        (245 << 10) + (4 << bits)
    }

    /// Appends the compressed form of a whole message to `out` (§7.2.1), or of the last part of one whose
    /// other parts were added to the same `out`.
    pub(crate) fn deflate(&mut self, message: &[u8], out: &mut Vec<u8>) {
        self.begin();
        self.unfinished = false;
        let mut rest = message;
        // What compresses worst grows by five bytes per block of 16 KiB; the tail comes on top.
        out.reserve(message.len() / 2 + 64);
        loop {
            let before = self.stream.total_in();
            // Neither can fail: the stream was never ended, and a full output is no error.
            let _ = self.stream.compress_vec(rest, out, FlushCompress::Sync);
            let taken = moved(before, self.stream.total_in());
            rest = rest.get(taken..).unwrap_or_default();
            // A flush is complete when it leaves room.
            if rest.is_empty() && out.len() < out.capacity() {
                break;
            }
            out.reserve(rest.len().max(64));
        }
        if out.ends_with(&TAIL) {
            out.truncate(out.len() - TAIL.len());
        }
        if out.is_empty() {
            out.push(EMPTY);
        }
    }

    /// Compresses the next part of a message; some of its compressed form is appended to `out`.
    pub(crate) fn add(&mut self, part: &[u8], out: &mut Vec<u8>) {
        self.begin();
        self.unfinished = true;
        let mut rest = part;
        while !rest.is_empty() {
            out.reserve(rest.len() / 2 + 64);
            let before = self.stream.total_in();
            // As below.
            let _ = self.stream.compress_vec(rest, out, FlushCompress::None);
            rest = rest.get(moved(before, self.stream.total_in())..).unwrap_or_default();
        }
    }

    /// Forgets what it was told to, before the next part.
    fn begin(&mut self) {
        if !std::mem::take(&mut self.forgetful) {
            return;
        }
        if self.unfinished {
            // zlib-rs's fastest level keeps a block open over a reset (0.6.8), and the next message would
            // begin without its header: the block is ended first.
            let mut ended = Vec::with_capacity(256);
            loop {
                let _ = self.stream.compress_vec(&[], &mut ended, FlushCompress::Sync);
                if ended.len() < ended.capacity() {
                    break;
                }
                ended.clear();
            }
        }
        self.stream.reset();
    }

    /// Forgets what came before: the next message will not refer to it (§7.1.1).
    pub(crate) const fn forget(&mut self) {
        self.forgetful = true;
    }
}

#[cfg(test)]
mod tests;
