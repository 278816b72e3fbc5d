//! The fields of a frame header, whatever the dialect.

use super::{Mask, Opcode};

/// The longest header of any dialect: two bytes, eight of length, four of masking key (the last
/// is RFC 6455's; draft-02 needs ten).
pub const HEADER_MAX: usize = 14;

/// The longest payload that a header can announce.
const LENGTH_MAX: u64 = u64::MAX >> 1;

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
    /// The key that the payload is masked with (RFC 6455 §5.3); never in draft-02.
    pub mask: Option<Mask>,
    /// Whether the message that starts here is compressed: RSV1 (RFC 7692 §6); never in draft-02.
    pub compressed: bool,
}

impl FrameHeader {
    /// The header of a frame that is a whole message, or of a control frame. A length above
    /// 2^63-1, which no header can say (FR-06), becomes that.
    #[must_use]
    pub const fn whole(opcode: Opcode, payload_len: u64) -> Self {
        Self::fragment(opcode, true, payload_len)
    }

    /// The header of one frame of a fragmented message; for the length see [`FrameHeader::whole`].
    #[must_use]
    pub const fn fragment(opcode: Opcode, last: bool, payload_len: u64) -> Self {
        let payload_len = if payload_len > LENGTH_MAX { LENGTH_MAX } else { payload_len };
        Self { last, opcode, payload_len, mask: None, compressed: false }
    }

    /// This header, for a payload masked with this key.
    #[must_use]
    pub const fn masked(self, mask: Option<Mask>) -> Self {
        Self { mask, ..self }
    }
}
