//! The fields of a frame header, whatever the dialect.

use super::Opcode;

/// The longest header of any dialect: two bytes, eight of length, four of masking key (the last
/// is RFC 6455's; draft-02 needs ten).
pub const HEADER_MAX: usize = 14;

/// The fields of a frame header. If one exists it is legal and can be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameHeader {
    /// Whether this frame ends its message: draft-02's MORE bit is clear.
    pub last: bool,
    /// What the frame is for.
    pub opcode: Opcode,
    /// Bytes of payload that follow the header.
    pub payload_len: u64,
}

impl FrameHeader {
    /// The header of a frame that is a whole message, or of a control frame.
    #[must_use]
    pub const fn whole(opcode: Opcode, payload_len: u64) -> Self {
        Self { last: true, opcode, payload_len }
    }

    /// The header of one frame of a fragmented message.
    #[must_use]
    pub const fn fragment(opcode: Opcode, last: bool, payload_len: u64) -> Self {
        Self { last, opcode, payload_len }
    }
}
