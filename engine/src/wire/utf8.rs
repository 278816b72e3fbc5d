//! UTF-8 in pieces: a text message is judged as its bytes arrive, and fails as soon as they cannot
//! become valid (RFC 6455 §8.1, RFC 3629 §4).

/// Validates text that arrives in pieces: bulk by SIMD inside a piece, an automaton for the
/// character that is cut at a piece's end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Validator {
    /// Bytes that the character in progress still needs.
    needed: u8,
    /// What its next byte may be; the byte after a lead decides about overlong forms, surrogates
    /// and what lies beyond U+10FFFF.
    low: u8,
    high: u8,
}

/// The bytes cannot become valid UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotUtf8;

impl Validator {
    /// At the start of a text.
    #[must_use]
    pub const fn new() -> Self {
        Self { needed: 0, low: 0, high: 0 }
    }

    /// Takes the next bytes of the text.
    ///
    /// # Errors
    ///
    /// Whatever follows, the text is not valid.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), NotUtf8> {
        let mut rest = bytes;
        while self.needed > 0 {
            let Some((&byte, after)) = rest.split_first() else { return Ok(()) };
            self.step(byte)?;
            rest = after;
        }
        let (whole, cut) = rest.split_at(rest.len() - cut_len(rest));
        simdutf8::basic::from_utf8(whole).map_err(|_| NotUtf8)?;
        cut.iter().try_for_each(|&byte| self.step(byte))
    }

    /// Whether the text may end here: no character is cut.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        self.needed == 0
    }

    /// The automaton: one byte.
    fn step(&mut self, byte: u8) -> Result<(), NotUtf8> {
        if self.needed > 0 {
            if byte < self.low || byte > self.high {
                return Err(NotUtf8);
            }
            *self = Self { needed: self.needed - 1, low: 0x80, high: 0xBF };
            return Ok(());
        }
        let (needed, low, high) = match byte {
            0x00..=0x7F => (0, 0, 0),
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xE1..=0xEF => (2, 0x80, 0xBF),
            0xF0 => (3, 0x90, 0xBF),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            _ => return Err(NotUtf8),
        };
        *self = Self { needed, low, high };
        Ok(())
    }
}

/// How many bytes at the end belong to a character that goes on after it: 0 to 3.
#[inline]
fn cut_len(bytes: &[u8]) -> usize {
    for (back, &byte) in bytes.iter().rev().take(3).enumerate() {
        let length = match byte {
            0x80..=0xBF => continue,
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xFF => 4,
            _ => return 0,
        };
        return if length > back + 1 { back + 1 } else { 0 };
    }
    0
}
