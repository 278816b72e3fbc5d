//! What applications send and receive.

use crate::wire::Opcode;

/// A whole message, borrowed for the length of a callback: when it arrived in one read it points
/// into the receive buffer itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "both dialects define these two kinds and no other")]
pub enum Message<'a> {
    /// UTF-8 text (draft-02 §4.5).
    Text(&'a str),
    /// Opaque bytes (draft-02 §4.5).
    Binary(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The bytes, whatever the kind.
    #[must_use]
    pub const fn payload(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The opcode of its first frame.
    #[must_use]
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Text(_) => Opcode::Text,
            Self::Binary(_) => Opcode::Binary,
        }
    }
}

/// One piece of a message that is handed over before all of it has arrived; the pieces of a message
/// come in order, and nothing of another message between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part<'a> {
    opcode: Opcode,
    bytes: &'a [u8],
    first: bool,
    last: bool,
}

impl<'a> Part<'a> {
    /// A piece of a text message. A character may be cut at its ends.
    #[must_use]
    pub const fn text(bytes: &'a [u8]) -> Self {
        Self { opcode: Opcode::Text, bytes, first: false, last: false }
    }

    /// A piece of a binary message.
    #[must_use]
    pub const fn binary(bytes: &'a [u8]) -> Self {
        Self { opcode: Opcode::Binary, bytes, first: false, last: false }
    }

    /// Says whether it begins its message, and whether it ends it.
    #[must_use]
    pub const fn at(mut self, first: bool, last: bool) -> Self {
        self.first = first;
        self.last = last;
        self
    }

    /// The bytes. Those of a text are valid UTF-8 together with what came before them, but for a
    /// character that the next part goes on with.
    #[must_use]
    pub const fn payload(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether it is of a text message.
    #[must_use]
    pub const fn is_text(self) -> bool {
        matches!(self.opcode, Opcode::Text)
    }

    /// Whether the message begins with it.
    #[must_use]
    pub const fn is_first(self) -> bool {
        self.first
    }

    /// Whether the message ends with it.
    #[must_use]
    pub const fn is_last(self) -> bool {
        self.last
    }

    /// The opcode of the frame that carries it.
    pub(crate) const fn opcode(self) -> Opcode {
        if self.first { self.opcode } else { Opcode::Continuation }
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Binary(bytes)
    }
}
