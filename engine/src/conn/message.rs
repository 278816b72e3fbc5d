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
