//! The head scanner: finds the lines, names and values of a request or response head.
//!
//! Wide compares turn each block of 64 bytes into two bitmaps of the bytes that matter
//! (`sys::simd`); the walk then goes from line end to line end by clearing bits, and finds each
//! line's colon by one look into the other bitmap. A head that arrives in pieces is taken up where
//! the last piece ended: the walk never visits a byte twice (a block's load may reach back over at
//! most 63 bytes that were seen).
//!
//! What is refused, in every head: CR without LF, LF without CR, a line without a colon, an empty
//! name. Under [`Strictness::Strict`] also NUL and the other C0 controls but HT, and DEL, in values
//! and the first line, and whatever is not U+0021 to U+0039 or U+003B to U+007E in names.

use std::fmt;

use super::HeadLimits;
use crate::sys::simd::{BLOCK, Isa, Stops};

/// The most fields of a head that have a place; [`HeadLimits::max_fields`] is never above it.
pub const FIELDS_MAX: usize = 128;

/// Which bytes a line may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "one for each role")]
pub enum Strictness {
    /// The server's rules, to the letter (§5.2.1).
    Strict,
    /// The client's rules (§5.1 steps 31 to 42), to the letter: any byte but CR, LF and, in a name,
    /// the colon. And HTTP's: a line that begins with SP or HT goes on with the value of the line
    /// before (RFC 9112 §5.2).
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

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BareCarriageReturn => "a CR is not followed by LF",
            Self::BareLineFeed => "an LF does not follow a CR",
            Self::ControlByte => "a line holds a control character",
            Self::NameByte => "a field name holds an illegal byte",
            Self::NoColon => "a field has no colon after its name",
            Self::EmptyName => "a field's name is empty",
            Self::TooManyFields => "the head has more fields than the limit max_fields",
            Self::LineTooLong => "a line is longer than the limit max_line_bytes",
            Self::HeadTooLarge => "the head is longer than the limit max_bytes",
        })
    }
}

impl std::error::Error for ScanError {}

/// A head as far as it was scanned: where its lines begin and where their colons are.
#[derive(Debug, Clone)]
pub struct Head {
    isa: Isa,
    strictness: Strictness,
    cursor: Cursor,
    marks: [Mark; FIELDS_MAX],
}

/// How far the walk has come.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// Where the walk goes on.
    scanned: usize,
    /// Where the current line begins.
    line: usize,
    /// Length of the first line, without its end.
    first_line: usize,
    /// Fields marked.
    count: usize,
    /// A value goes on in a further line.
    folded: bool,
    state: State,
}

/// Where in its line the walk is.
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

    #[inline]
    fn with_isa(strictness: Strictness, isa: Isa) -> Self {
        let state = State::FirstLine;
        let cursor = Cursor { scanned: 0, line: 0, first_line: 0, count: 0, folded: false, state };
        Self { isa, strictness, cursor, marks: [Mark { start: 0, colon: 0 }; FIELDS_MAX] }
    }

    /// Goes on scanning; `received` begins with the bytes of the call before. `Some` is the head's
    /// length, blank line included; `None` asks for more bytes.
    ///
    /// # Errors
    ///
    /// The first rule that the head breaks. Fields before the place stay readable.
    #[inline]
    pub fn scan(
        &mut self,
        limits: &HeadLimits,
        received: &[u8],
    ) -> Result<Option<usize>, ScanError> {
        let max = limits.max_bytes();
        let bytes = received.get(..max).unwrap_or(received);
        while self.cursor.state != State::Complete {
            let base = self.cursor.scanned;
            let mut stops = [Stops::default(); WINDOW];
            let len = classify(self.isa, bytes, base, &mut stops);
            let mut walk = Walk {
                window: Window { bytes, base, len, stops: &stops },
                max_line_bytes: limits.max_line_bytes(),
                max_fields: limits.max_fields(),
                strictness: self.strictness,
                marks: &mut self.marks,
                cursor: self.cursor, // a copy, so that it can live in registers
            };
            let done = walk.run();
            self.cursor = walk.cursor;
            if done.is_err() {
                self.cursor.scanned += 1; // the byte that breaks the rule was looked at
            }
            if !done? || self.cursor.scanned >= bytes.len() {
                break;
            }
        }
        if self.cursor.state == State::Complete {
            return Ok(Some(self.cursor.scanned));
        }
        let longest = self.cursor.line + limits.max_line_bytes();
        if self.cursor.scanned > longest {
            self.cursor.scanned = longest + 1;
            return Err(ScanError::LineTooLong);
        }
        if bytes.len() >= max {
            return Err(ScanError::HeadTooLarge);
        }
        Ok(None)
    }

    /// How many bytes the walk has passed, a CR that waits for its LF not yet. After an error, up to
    /// the byte that shows it, however many were given.
    #[must_use]
    pub const fn scanned(&self) -> usize {
        self.cursor.scanned
    }

    /// The first line's length without its CRLF, once it is complete.
    #[must_use]
    pub const fn first_line(&self) -> Option<usize> {
        match self.cursor.state {
            State::FirstLine => None,
            _ => Some(self.cursor.first_line),
        }
    }

    /// How many fields are complete. Under [`Strictness::Letter`] one is when the next line has begun,
    /// and not with a space.
    #[must_use]
    pub const fn complete_fields(&self) -> usize {
        let open = match self.cursor.state {
            State::Value => true,
            State::Name => {
                matches!(self.strictness, Strictness::Letter)
                    && self.cursor.scanned <= self.cursor.line
            }
            State::FirstLine | State::Complete => false,
        };
        self.cursor.count.saturating_sub(open as usize)
    }

    /// Whether some value goes on in a further line; between its colon and its end stand CRLFs then.
    #[must_use]
    pub const fn is_folded(&self) -> bool {
        self.cursor.folded
    }

    /// Where field `i` lies: its name's begin, its colon, its value's end. `None` from
    /// [`Head::complete_fields`] on.
    #[must_use]
    #[inline]
    pub fn field(&self, i: usize) -> Option<(usize, usize, usize)> {
        let mark = self.marks.get(i).filter(|_| i < self.complete_fields())?;
        let next = match self.marks.get(i + 1) {
            Some(next) if i + 1 < self.cursor.count => usize::from(next.start),
            _ => self.cursor.line,
        };
        Some((usize::from(mark.start), usize::from(mark.colon), next - 2))
    }
}

/// A walk through one window, from one stop of values to the next. Each of these is a stop of names
/// too, so a line's name is looked for only when its line has come to a stop: the walk itself waits
/// for no name.
struct Walk<'a> {
    window: Window<'a>,
    max_line_bytes: usize,
    max_fields: usize,
    strictness: Strictness,
    marks: &'a mut [Mark; FIELDS_MAX],
    cursor: Cursor,
}

impl Walk<'_> {
    /// False if the byte behind the window is needed to go on.
    #[inline]
    fn run(&mut self) -> Result<bool, ScanError> {
        for (stops, start) in self.window.stops.iter().zip((self.window.base..).step_by(BLOCK)) {
            let mut bits = stops.value;
            if start + 1 == self.cursor.line {
                bits = without_lowest(bits); // the LF of a line whose CR ended the block before
            }
            while bits != 0 {
                let stop = start + bits.trailing_zeros() as usize;
                bits = without_lowest(bits);
                self.cursor.scanned = stop;
                if stop > self.cursor.line + self.max_line_bytes {
                    return self.fail_long_line();
                }
                if self.cursor.state == State::Name {
                    self.find_colon(stop)?;
                }
                match self.stop(stop)? {
                    Stop::Line => bits = without_lowest(bits), // the LF, if it is in this block
                    Stop::Byte => {}
                    Stop::Wait => return Ok(false),
                    Stop::Complete => return Ok(true),
                }
            }
        }
        let end = self.window.base + self.window.len;
        if self.cursor.state == State::Name {
            self.find_colon(end.min(self.cursor.line + self.max_line_bytes + 1))?;
        }
        self.cursor.scanned = end; // the LF of the last line may lie behind it
        Ok(true)
    }

    /// Looks for the end of the current line's name before `end`.
    #[inline]
    fn find_colon(&mut self, end: usize) -> Result<(), ScanError> {
        if self.strictness == Strictness::Letter
            && self.cursor.count > 0
            && matches!(self.window.byte(self.cursor.line), b' ' | b'\t')
        {
            self.cursor.folded = true;
            self.cursor.state = State::Value;
            return Ok(());
        }
        let at = self.window.base.max(self.cursor.line);
        match self.window.next_of_name(at) {
            Some(stop) if stop >= end => Ok(()),
            Some(stop) if stop != self.cursor.line && self.window.byte(stop) == b':' => {
                self.mark(stop)
            }
            Some(stop) => self.find_colon_from(stop, end),
            None => Ok(()),
        }
    }

    /// Looks for the colon, from a stop on that is not the right one.
    #[cold]
    #[inline(never)]
    fn find_colon_from(&mut self, mut stop: usize, end: usize) -> Result<(), ScanError> {
        while stop < end {
            match self.window.byte(stop) {
                b':' if stop == self.cursor.line => return self.fail(stop, ScanError::EmptyName),
                b':' => return self.mark(stop),
                _ if self.strictness == Strictness::Strict => {
                    return self.fail(stop, ScanError::NameByte);
                }
                _ => match self.window.next_of_name(stop + 1) {
                    Some(next) => stop = next,
                    None => break,
                },
            }
        }
        Ok(())
    }

    /// Handles the byte at a stop.
    #[inline]
    fn stop(&mut self, stop: usize) -> Result<Stop, ScanError> {
        let in_name = self.cursor.state == State::Name;
        match self.window.byte(stop) {
            b'\r' if in_name && stop != self.cursor.line => Err(ScanError::NoColon),
            b'\r' => match self.window.bytes.get(stop + 1) {
                Some(b'\n') if in_name => {
                    self.cursor.state = State::Complete;
                    self.cursor.scanned = stop + 2;
                    Ok(Stop::Complete)
                }
                Some(b'\n') => {
                    self.end_line(stop);
                    Ok(Stop::Line)
                }
                Some(_) => Err(ScanError::BareCarriageReturn),
                None => Ok(Stop::Wait),
            },
            b'\n' => Err(ScanError::BareLineFeed),
            _ if self.strictness == Strictness::Letter => Ok(Stop::Byte),
            _ if in_name => Err(ScanError::NameByte),
            _ => Err(ScanError::ControlByte),
        }
    }

    #[inline]
    fn mark(&mut self, colon: usize) -> Result<(), ScanError> {
        let count = self.cursor.count;
        let mark = self.marks.get_mut(count).filter(|_| count < self.max_fields);
        let Some(mark) = mark else { return self.fail(colon, ScanError::TooManyFields) };
        *mark = Mark { start: offset(self.cursor.line), colon: offset(colon) };
        self.cursor.count += 1;
        self.cursor.state = State::Value;
        Ok(())
    }

    #[inline]
    const fn end_line(&mut self, end: usize) {
        if matches!(self.cursor.state, State::FirstLine) {
            self.cursor.first_line = end;
        }
        self.cursor.line = end + 2;
        self.cursor.state = State::Name;
    }

    /// The line is too long, unless its name is wrong before that: the rule named is the one that
    /// would be if each byte had come alone.
    #[cold]
    fn fail_long_line(&mut self) -> Result<bool, ScanError> {
        let longest = self.cursor.line + self.max_line_bytes;
        if self.cursor.state == State::Name {
            self.find_colon(longest + 1)?;
        }
        self.cursor.scanned = longest;
        Err(ScanError::LineTooLong)
    }

    #[inline]
    const fn fail(&mut self, at: usize, error: ScanError) -> Result<(), ScanError> {
        self.cursor.scanned = at;
        Err(error)
    }
}

/// What a stop was.
#[derive(Debug, Clone, Copy)]
enum Stop {
    /// The end of a line.
    Line,
    /// A byte like any other.
    Byte,
    /// A CR whose LF did not arrive yet.
    Wait,
    /// The blank line.
    Complete,
}

/// Clears the lowest bit set, if any.
#[inline]
const fn without_lowest(bits: u64) -> u64 {
    bits & bits.wrapping_sub(1)
}

/// Some blocks of a head and what was found in them.
struct Window<'a> {
    bytes: &'a [u8],
    /// Where the window begins in `bytes`.
    base: usize,
    /// The window's length.
    len: usize,
    stops: &'a [Stops; WINDOW],
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

/// Classifies up to [`WINDOW`] blocks from `base` on, and says how many bytes that are. Bits behind
/// the last byte stay clear.
#[inline]
fn classify(isa: Isa, bytes: &[u8], base: usize, stops: &mut [Stops; WINDOW]) -> usize {
    let rest = bytes.get(base..).unwrap_or_default();
    let (blocks, tail) = rest.as_chunks::<BLOCK>();
    isa.classify(blocks, stops);
    if let Some(last) = stops.get_mut(blocks.len())
        && !tail.is_empty()
    {
        *last = tail_stops(isa, bytes, tail);
    }
    rest.len().min(WINDOW * BLOCK)
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
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "max_bytes is at most u16::MAX")]
const fn offset(at: usize) -> u16 {
    at as u16
}

#[cfg(test)]
mod tests;
