//! The head scanner: finds the lines, names and values of a request or response head.
//!
//! Wide compares turn each block of 64 bytes into bitmaps of the bytes that matter
//! ([`crate::sys::simd`]); the walk then jumps from set bit to set bit, two jumps a line. A head that
//! arrives in pieces is taken up where the last piece ended: the walk never visits a byte twice (a
//! block's load may reach back over at most 63 bytes that were seen).
//!
//! What is refused, in every head: CR without LF, LF without CR, a line without a colon, an empty
//! name. Under [`Strictness::Strict`] also NUL and the other C0 controls but HT, and DEL, in values
//! and the first line, and whatever is not U+0021 to U+0039 or U+003B to U+007E in names.

use super::HeadLimits;
use crate::sys::simd::{BLOCK, Isa, Stops};

/// The most fields of a head that have a place; [`HeadLimits::max_fields`] is never above it.
pub const FIELDS_MAX: usize = 64;

/// Which bytes a line may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// The server's rules (§5.2.1): see the module's head.
    Strict,
    /// The client's rules (§5.1 steps 31 to 42), to the letter: any byte but CR, LF and, in a name,
    /// the colon.
    Letter,
}

/// Why a head cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScanError {
    BareCarriageReturn,
    BareLineFeed,
    ControlByte,
    NameByte,
    NoColon,
    EmptyName,
    TooManyFields,
    LineTooLong,
    HeadTooLarge,
}

/// A head as far as it was scanned: where its lines begin and where their colons are.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// Where the walk goes on.
    scanned: u16,
    /// Where the current line begins.
    line: u16,
    /// Length of the first line, without its end.
    first_line: u16,
    state: State,
    count: u8,
    marks: [Mark; FIELDS_MAX],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    FirstLine,
    Name,
    Value,
    Complete,
}

/// Where a field's name begins and where its colon is. Its value ends two bytes before the next
/// field, or before the blank line.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    start: u16,
    colon: u16,
}

/// Blocks classified at one go: 512 bytes, about a browser's whole head.
const WINDOW: usize = 8;

impl Head {
    pub(super) const fn new() -> Self {
        Self {
            scanned: 0,
            line: 0,
            first_line: 0,
            state: State::FirstLine,
            count: 0,
            marks: [Mark { start: 0, colon: 0 }; FIELDS_MAX],
        }
    }

    /// Goes on scanning; `received` begins with the bytes of the call before. `Some` is the head's
    /// length, blank line included; `None` asks for more bytes.
    pub(super) fn scan(
        &mut self,
        isa: Isa,
        strictness: Strictness,
        limits: &HeadLimits,
        received: &[u8],
    ) -> Result<Option<usize>, ScanError> {
        let max = limits.max_bytes();
        let bytes = received.get(..max).unwrap_or(received);
        while self.state != State::Complete {
            let base = usize::from(self.scanned);
            let (stops, len) = window(isa, bytes, base);
            let walk = Walk { bytes, base, len, stops: &stops, strictness, limits };
            if !self.walk(&walk)? || usize::from(self.scanned) >= bytes.len() {
                break;
            }
        }
        if self.state == State::Complete {
            return Ok(Some(usize::from(self.scanned)));
        }
        if bytes.len().saturating_sub(usize::from(self.line)) > limits.max_line_bytes() {
            return Err(ScanError::LineTooLong);
        }
        if bytes.len() >= max {
            return Err(ScanError::HeadTooLarge);
        }
        Ok(None)
    }

    /// Walks through one window; false if the next byte is needed to go on.
    #[inline]
    fn walk(&mut self, walk: &Walk<'_>) -> Result<bool, ScanError> {
        let mut at = walk.base;
        while self.state != State::Complete {
            let stop = if self.state == State::Name {
                walk.next(at, |stops| stops.name)
            } else {
                walk.next(at, |stops| stops.value)
            };
            let Some(stop) = stop else {
                // The line feed of the last line may lie one byte behind the window.
                self.scanned = offset(at.max(walk.base + walk.len));
                return Ok(true);
            };
            match self.step(walk, stop) {
                Ok(Some(next)) => at = next,
                Ok(None) => {
                    self.scanned = offset(stop);
                    return Ok(false);
                }
                Err(error) => {
                    self.scanned = offset(stop);
                    return Err(error);
                }
            }
        }
        self.scanned = offset(at);
        Ok(true)
    }

    /// Handles the byte at a stop: where to go on, or `None` if the byte behind it is needed first.
    #[inline]
    fn step(&mut self, walk: &Walk<'_>, stop: usize) -> Result<Option<usize>, ScanError> {
        let in_name = self.state == State::Name;
        let at_line_start = stop == usize::from(self.line);
        match walk.byte(stop) {
            b'\n' => Err(ScanError::BareLineFeed),
            b'\r' if in_name && !at_line_start => Err(ScanError::NoColon),
            b'\r' => {
                let next = walk.line_feed(stop)?;
                match next {
                    Some(_) if in_name => self.state = State::Complete,
                    Some(next) => self.end_line(stop, next, walk.limits)?,
                    None => {}
                }
                Ok(next)
            }
            b':' if in_name && at_line_start => Err(ScanError::EmptyName),
            b':' if in_name => {
                self.mark(stop, walk.limits)?;
                self.state = State::Value;
                Ok(Some(stop + 1))
            }
            _ if walk.strictness == Strictness::Letter => Ok(Some(stop + 1)),
            _ if in_name => Err(ScanError::NameByte),
            _ => Err(ScanError::ControlByte),
        }
    }

    fn mark(&mut self, colon: usize, limits: &HeadLimits) -> Result<(), ScanError> {
        if usize::from(self.count) >= limits.max_fields() {
            return Err(ScanError::TooManyFields);
        }
        let Some(mark) = self.marks.get_mut(usize::from(self.count)) else {
            return Err(ScanError::TooManyFields);
        };
        *mark = Mark { start: self.line, colon: offset(colon) };
        self.count += 1;
        Ok(())
    }

    fn end_line(&mut self, end: usize, next: usize, limits: &HeadLimits) -> Result<(), ScanError> {
        if end.saturating_sub(usize::from(self.line)) > limits.max_line_bytes() {
            return Err(ScanError::LineTooLong);
        }
        if self.state == State::FirstLine {
            self.first_line = offset(end);
        }
        self.line = offset(next);
        self.state = State::Name;
        Ok(())
    }

    /// How many bytes the walk has passed; those of a CR that waits for its LF not yet.
    pub(super) const fn scanned(&self) -> usize {
        self.scanned as usize
    }

    /// The first line's length without its CRLF, once it is complete.
    pub(super) const fn first_line(&self) -> Option<usize> {
        match self.state {
            State::FirstLine => None,
            _ => Some(self.first_line as usize),
        }
    }

    /// How many fields are complete.
    pub(super) const fn complete_fields(&self) -> usize {
        // The last one marked is open while its value is being read.
        self.count as usize - (matches!(self.state, State::Value) as usize)
    }

    /// Where field `i` lies: its name's begin, its colon, its value's end. `None` from
    /// [`Head::complete_fields`] on.
    pub(super) fn field(&self, i: usize) -> Option<(usize, usize, usize)> {
        let mark = self.marks.get(i).filter(|_| i < self.complete_fields())?;
        let next = if i + 1 < usize::from(self.count) {
            self.marks.get(i + 1).map_or(self.line, |next| next.start)
        } else {
            self.line
        };
        Some((usize::from(mark.start), usize::from(mark.colon), usize::from(next) - 2))
    }
}

/// One window of a head and what was found in it.
struct Walk<'a> {
    bytes: &'a [u8],
    /// Where the window begins in `bytes`.
    base: usize,
    /// The window's length.
    len: usize,
    stops: &'a [Stops; WINDOW],
    strictness: Strictness,
    limits: &'a HeadLimits,
}

impl Walk<'_> {
    /// The first stop at or after `at`.
    #[inline]
    fn next(&self, at: usize, kind: impl Fn(&Stops) -> u64) -> Option<usize> {
        let from = at - self.base;
        let mut block = from / BLOCK;
        let mut bits = kind(self.stops.get(block)?) >> (from % BLOCK) << (from % BLOCK);
        while bits == 0 {
            block += 1;
            bits = kind(self.stops.get(block)?);
        }
        Some(self.base + block * BLOCK + bits.trailing_zeros() as usize)
    }

    /// The byte at a stop; NUL, which no caller takes for anything else, outside.
    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// The place behind the LF that follows the CR at `at`; `None` while it did not arrive.
    #[inline]
    fn line_feed(&self, at: usize) -> Result<Option<usize>, ScanError> {
        match self.bytes.get(at + 1) {
            Some(b'\n') => Ok(Some(at + 2)),
            Some(_) => Err(ScanError::BareCarriageReturn),
            None => Ok(None),
        }
    }
}

/// Classifies up to [`WINDOW`] blocks from `base` on: the bitmaps, and how many bytes they cover.
/// Bits behind the last byte are clear.
#[inline]
fn window(isa: Isa, bytes: &[u8], base: usize) -> ([Stops; WINDOW], usize) {
    let mut stops = [Stops::default(); WINDOW];
    let rest = bytes.get(base..).unwrap_or_default();
    let (blocks, tail) = rest.as_chunks::<BLOCK>();
    isa.classify(blocks, &mut stops);
    if let Some(last) = stops.get_mut(blocks.len())
        && !tail.is_empty()
    {
        *last = tail_stops(isa, bytes, tail);
    }
    (stops, rest.len().min(WINDOW * BLOCK))
}

/// The bitmaps of the bytes behind the last whole block, fewer than a block.
#[inline]
fn tail_stops(isa: Isa, bytes: &[u8], tail: &[u8]) -> Stops {
    let mut stops = [Stops::default()];
    if let Some(block) = bytes.last_chunk::<BLOCK>() {
        // Reach back over bytes before the tail and drop their bits.
        isa.classify(std::slice::from_ref(block), &mut stops);
        let [Stops { name, value }] = stops;
        let drop = BLOCK - tail.len();
        return Stops { name: name >> drop, value: value >> drop };
    }
    let mut block = [b'a'; BLOCK]; // no stop in either bitmap
    for (to, from) in block.iter_mut().zip(tail) {
        *to = *from;
    }
    isa.classify(std::slice::from_ref(&block), &mut stops);
    let [stops] = stops;
    stops
}

/// Positions fit, since a head's limit does.
#[expect(clippy::cast_possible_truncation, reason = "max_bytes is at most u16::MAX")]
const fn offset(at: usize) -> u16 {
    at as u16
}

#[cfg(test)]
mod tests;
