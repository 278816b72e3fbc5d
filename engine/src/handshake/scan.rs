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
#[expect(clippy::exhaustive_enums, reason = "one for each role")]
pub enum Strictness {
    /// The server's rules (§5.2.1): see the module's head.
    Strict,
    /// The client's rules (§5.1 steps 31 to 42), to the letter: any byte but CR, LF and, in a name,
    /// the colon.
    Letter,
}

/// Why bytes are not a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScanError {
    /// CR without LF.
    BareCarriageReturn,
    /// LF without CR.
    BareLineFeed,
    /// A control character in the first line or a value, under [`Strictness::Strict`].
    ControlByte,
    /// A byte that no name may hold, under [`Strictness::Strict`].
    NameByte,
    /// The line ends inside the name.
    NoColon,
    /// The line begins with the colon.
    EmptyName,
    /// More fields than `max_fields`.
    TooManyFields,
    /// A line longer than `max_line_bytes`.
    LineTooLong,
    /// A head longer than `max_bytes`.
    HeadTooLarge,
}

/// A head as far as it was scanned: where its lines begin and where their colons are.
#[derive(Debug, Clone)]
pub struct Head {
    isa: Isa,
    strictness: Strictness,
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
    /// A head of which nothing was scanned yet.
    #[must_use]
    #[inline]
    pub fn new(strictness: Strictness) -> Self {
        Self::with_isa(strictness, Isa::detect())
    }

    fn with_isa(strictness: Strictness, isa: Isa) -> Self {
        Self {
            isa,
            strictness,
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
    ///
    /// # Errors
    ///
    /// The first rule that the head breaks. Fields before the place stay readable.
    pub fn scan(
        &mut self,
        limits: &HeadLimits,
        received: &[u8],
    ) -> Result<Option<usize>, ScanError> {
        let max = limits.max_bytes();
        let bytes = received.get(..max).unwrap_or(received);
        while self.state != State::Complete {
            let base = usize::from(self.scanned);
            let (stops, len) = window(self.isa, bytes, base);
            let walk = Window { bytes, base, len, stops: &stops, limits };
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

    /// Walks through one window, from one stop of values to the next; false if the byte behind the
    /// window is needed to go on. Each stop of values is one of names too, so a line's name is
    /// looked for only when its line has come to a stop: the walk itself waits for no name.
    #[inline]
    fn walk(&mut self, walk: &Window<'_>) -> Result<bool, ScanError> {
        for (block, stops) in walk.stops.iter().enumerate() {
            let mut bits = stops.value;
            while bits != 0 {
                let stop = walk.base + block * BLOCK + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if stop + 1 == usize::from(self.line) {
                    continue; // the LF of the line that ended at the stop before
                }
                self.scanned = offset(stop);
                if self.state == State::Name {
                    self.find_colon(walk, stop)?;
                }
                if !self.stop(walk, stop)? {
                    return Ok(false);
                }
                if self.state == State::Complete {
                    return Ok(true);
                }
            }
        }
        let end = walk.base + walk.len;
        if self.state == State::Name {
            self.find_colon(walk, end)?;
        }
        // The LF of the last line may lie one byte behind the window.
        self.scanned = offset(end.max(usize::from(self.line)));
        Ok(true)
    }

    /// Looks for the end of the current line's name before `end`.
    #[inline]
    fn find_colon(&mut self, walk: &Window<'_>, end: usize) -> Result<(), ScanError> {
        let mut at = walk.base.max(usize::from(self.line));
        while let Some(stop) = walk.next_of_name(at).filter(|&stop| stop < end) {
            match walk.byte(stop) {
                b':' if stop == usize::from(self.line) => {
                    return self.fail(stop, ScanError::EmptyName);
                }
                b':' => {
                    self.state = State::Value;
                    return self.mark(stop, walk.limits);
                }
                _ if self.strictness == Strictness::Letter => at = stop + 1,
                _ => return self.fail(stop, ScanError::NameByte),
            }
        }
        Ok(())
    }

    /// Handles the byte at a stop; false if the byte behind it is needed first.
    #[inline]
    fn stop(&mut self, walk: &Window<'_>, stop: usize) -> Result<bool, ScanError> {
        let in_name = self.state == State::Name;
        match walk.byte(stop) {
            b'\r' if in_name && stop != usize::from(self.line) => Err(ScanError::NoColon),
            b'\r' => match walk.bytes.get(stop + 1) {
                Some(b'\n') if in_name => {
                    self.state = State::Complete;
                    self.scanned = offset(stop + 2);
                    Ok(true)
                }
                Some(b'\n') => self.end_line(stop, walk.limits).map(|()| true),
                Some(_) => Err(ScanError::BareCarriageReturn),
                None => Ok(false),
            },
            b'\n' => Err(ScanError::BareLineFeed),
            _ if self.strictness == Strictness::Letter => Ok(true),
            _ if in_name => Err(ScanError::NameByte),
            _ => Err(ScanError::ControlByte),
        }
    }

    #[cold]
    fn fail(&mut self, at: usize, error: ScanError) -> Result<(), ScanError> {
        self.scanned = offset(at);
        Err(error)
    }

    #[inline]
    fn mark(&mut self, colon: usize, limits: &HeadLimits) -> Result<(), ScanError> {
        let mark = self.marks.get_mut(usize::from(self.count));
        let Some(mark) = mark.filter(|_| usize::from(self.count) < limits.max_fields()) else {
            return self.fail(colon, ScanError::TooManyFields);
        };
        *mark = Mark { start: self.line, colon: offset(colon) };
        self.count += 1;
        Ok(())
    }

    #[inline]
    fn end_line(&mut self, end: usize, limits: &HeadLimits) -> Result<(), ScanError> {
        if end - usize::from(self.line) > limits.max_line_bytes() {
            return Err(ScanError::LineTooLong);
        }
        if self.state == State::FirstLine {
            self.first_line = offset(end);
        }
        self.line = offset(end + 2);
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
    #[must_use]
    pub const fn complete_fields(&self) -> usize {
        // The last one marked is open while its value is being read.
        self.count as usize - (matches!(self.state, State::Value) as usize)
    }

    /// Where field `i` lies: its name's begin, its colon, its value's end. `None` from
    /// [`Head::complete_fields`] on.
    #[must_use]
    #[inline]
    pub fn field(&self, i: usize) -> Option<(usize, usize, usize)> {
        let mark = self.marks.get(i).filter(|_| i < self.complete_fields())?;
        let next = if i + 1 < usize::from(self.count) {
            self.marks.get(i + 1).map_or(self.line, |next| next.start)
        } else {
            self.line
        };
        Some((usize::from(mark.start), usize::from(mark.colon), usize::from(next) - 2))
    }
}

/// Some blocks of a head and what was found in them.
struct Window<'a> {
    bytes: &'a [u8],
    /// Where the window begins in `bytes`.
    base: usize,
    /// The window's length.
    len: usize,
    stops: &'a [Stops; WINDOW],
    limits: &'a HeadLimits,
}

impl Window<'_> {
    /// The first stop of names at or after `at`.
    #[inline]
    fn next_of_name(&self, at: usize) -> Option<usize> {
        let from = at - self.base;
        let mut block = from / BLOCK;
        let mut bits = self.stops.get(block)?.name >> (from % BLOCK) << (from % BLOCK);
        while bits == 0 {
            block += 1;
            bits = self.stops.get(block)?.name;
        }
        Some(self.base + block * BLOCK + bits.trailing_zeros() as usize)
    }

    /// The byte at a stop; outside, NUL, which no caller takes for anything else.
    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
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
