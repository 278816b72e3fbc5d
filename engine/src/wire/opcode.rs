//! What a frame is for.

/// What a frame is for, in dialect-neutral terms; each dialect gives the kinds its own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "both dialects define these six kinds and no other")]
pub enum Opcode {
    /// A later frame of a fragmented message.
    Continuation,
    /// The only or first frame of a text message.
    Text,
    /// The only or first frame of a binary message.
    Binary,
    /// Starts or answers the closing handshake.
    Close,
    /// Asks for a [`Opcode::Pong`] with the same payload.
    Ping,
    /// Answers a [`Opcode::Ping`].
    Pong,
}

impl Opcode {
    /// Whether frames of this kind steer the connection rather than carry a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}
