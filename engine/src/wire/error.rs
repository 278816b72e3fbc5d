//! How a peer can break the framing rules.

use std::fmt;

use super::CloseCode;

/// A rule of the protocol that the peer broke after the opening handshake. The connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit was set though no extension was negotiated (draft-02 §4.2, FR-03).
    ReservedBit,
    /// An opcode that the dialect does not define (draft-02 §4.2, FR-04).
    ReservedOpcode,
    /// The top bit of the eight-byte length was set (draft-02 §4.2, FR-06).
    LengthTopBit,
    /// A control frame said that more frames follow (draft-02 §4.3, AMB-02).
    FragmentedControl,
    /// A continuation came while no message was open (draft-02 §4.3, FR-11).
    UnexpectedContinuation,
    /// A new message began inside an open one (draft-02 §4.3, FR-11).
    ExpectedContinuation,
    /// Text that is not UTF-8, under the policy that refuses it (draft-02 §6.2, UTF8-02).
    InvalidUtf8,
    /// The frame is larger than `max_frame_bytes` (draft-02 §2, CONF-03).
    FrameTooLarge,
    /// The message is larger than `max_message_bytes` (draft-02 §4.5, DATA-03).
    MessageTooLarge,
    /// The message has more fragments than `max_fragments` (draft-02 §2, CONF-03).
    TooManyFragments,
    /// A control frame's payload is larger than `max_control_bytes` (draft-02 §2, CONF-03).
    ControlTooLarge,
    /// A client's frame without masking (RFC 6455 §5.1).
    UnmaskedFrame,
    /// A server's frame with masking (RFC 6455 §5.1).
    MaskedFrame,
    /// A length that is not in its shortest form (RFC 6455 §5.2).
    LengthNotMinimal,
    /// A Close frame with a payload of one byte (RFC 6455 §5.5.1).
    ClosePayload,
    /// A Close frame with a code that may not be sent (RFC 6455 §7.4).
    CloseCode,
    /// A compressed message that does not inflate (RFC 7692 §7.2.2).
    InvalidDeflate,
    /// A compressed message, and no memory left in the budget for what inflates it (RFC 7692 §9).
    CompressionBudget,
    /// RSV1 on a frame that does not begin a message: a continuation, or a control frame (RFC 7692
    /// §6.1).
    CompressionBit,
    /// A Close frame whose reason is not UTF-8 (RFC 6455 §5.5.1).
    CloseReason,
    /// A server passed draft-02's handshake and then sent the framing of draft-00, which knows no
    /// Sec-WebSocket-Draft (draft-02 §4.1, AMB-11).
    OlderFraming,
}

impl ProtocolError {
    /// Every rule, in the order of declaration; counters are indexed by [`ProtocolError::index`].
    pub const ALL: [Self; 21] = [
        Self::ReservedBit,
        Self::ReservedOpcode,
        Self::LengthTopBit,
        Self::FragmentedControl,
        Self::UnexpectedContinuation,
        Self::ExpectedContinuation,
        Self::InvalidUtf8,
        Self::FrameTooLarge,
        Self::MessageTooLarge,
        Self::TooManyFragments,
        Self::ControlTooLarge,
        Self::UnmaskedFrame,
        Self::MaskedFrame,
        Self::LengthNotMinimal,
        Self::ClosePayload,
        Self::CloseCode,
        Self::InvalidDeflate,
        Self::CompressionBudget,
        Self::CompressionBit,
        Self::CloseReason,
        Self::OlderFraming,
    ];

    /// The position in [`ProtocolError::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name that counters and logs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReservedBit => "reserved_bit",
            Self::ReservedOpcode => "reserved_opcode",
            Self::LengthTopBit => "length_top_bit",
            Self::FragmentedControl => "fragmented_control",
            Self::UnexpectedContinuation => "unexpected_continuation",
            Self::ExpectedContinuation => "expected_continuation",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::FrameTooLarge => "frame_too_large",
            Self::MessageTooLarge => "message_too_large",
            Self::TooManyFragments => "too_many_fragments",
            Self::ControlTooLarge => "control_too_large",
            Self::UnmaskedFrame => "unmasked_frame",
            Self::MaskedFrame => "masked_frame",
            Self::LengthNotMinimal => "length_not_minimal",
            Self::ClosePayload => "close_payload",
            Self::CloseCode => "close_code",
            Self::InvalidDeflate => "invalid_deflate",
            Self::CompressionBudget => "compression_budget",
            Self::CompressionBit => "compression_bit",
            Self::CloseReason => "close_reason",
            Self::OlderFraming => "older_framing",
        }
    }

    /// The code of the Close frame that tells the peer (RFC 6455 §7.4.1).
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::InvalidUtf8 | Self::InvalidDeflate | Self::CloseReason => {
                CloseCode::INVALID_PAYLOAD
            }
            Self::FrameTooLarge | Self::MessageTooLarge | Self::TooManyFragments => {
                CloseCode::MESSAGE_TOO_BIG
            }
            Self::CompressionBudget => CloseCode::TRY_AGAIN_LATER,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// The sections that the rule stands in, or that allow the limit.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::ReservedBit | Self::ReservedOpcode | Self::LengthTopBit => {
                "draft-02 §4.2, RFC 6455 §5.2"
            }
            Self::FragmentedControl | Self::UnexpectedContinuation | Self::ExpectedContinuation => {
                "draft-02 §4.3, RFC 6455 §5.4"
            }
            Self::InvalidUtf8 => "draft-02 §6.2, RFC 6455 §8.1",
            Self::MessageTooLarge => "draft-02 §4.5, RFC 6455 §10.4",
            Self::FrameTooLarge | Self::TooManyFragments => "draft-02 §2, RFC 6455 §10.4",
            Self::ControlTooLarge => "draft-02 §2, RFC 6455 §5.5",
            Self::UnmaskedFrame | Self::MaskedFrame => "RFC 6455 §5.1",
            Self::LengthNotMinimal => "RFC 6455 §5.2",
            Self::ClosePayload | Self::CloseReason => "RFC 6455 §5.5.1",
            Self::CompressionBit => "RFC 7692 §6.1",
            Self::OlderFraming => "draft-02 §4.1",
            Self::CloseCode => "RFC 6455 §7.4",
            Self::InvalidDeflate => "RFC 7692 §7.2.2",
            Self::CompressionBudget => "RFC 7692 §9",
        }
    }

    /// The sentence for people, without the sections; short enough for the reason of a Close frame.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::ReservedBit => "a reserved bit is set that no negotiated extension uses",
            Self::ReservedOpcode => "the opcode is reserved",
            Self::LengthTopBit => "the top bit of the eight-byte payload length is set",
            Self::FragmentedControl => "a control frame is fragmented",
            Self::UnexpectedContinuation => "a continuation frame came while no message was open",
            Self::ExpectedContinuation => "a new message began before the open one ended",
            Self::InvalidUtf8 => "a text message is not valid UTF-8",
            Self::FrameTooLarge => "the frame exceeds the limit max_frame_bytes",
            Self::MessageTooLarge => "the message exceeds the limit max_message_bytes",
            Self::TooManyFragments => "the message exceeds the limit max_fragments",
            Self::ControlTooLarge => "the control frame exceeds the limit max_control_bytes",
            Self::UnmaskedFrame => "a client's frame is not masked",
            Self::MaskedFrame => "a server's frame is masked",
            Self::LengthNotMinimal => "the payload length is not in its shortest form",
            Self::ClosePayload => "a Close frame has a payload of one byte",
            Self::CloseCode => "a Close frame has a code that may not be sent",
            Self::InvalidDeflate => "a compressed message does not inflate",
            Self::CompressionBudget => "no memory is left in the budget for compression",
            Self::CompressionBit => "RSV1 is set on a frame that does not begin a message",
            Self::CloseReason => "the reason in a Close frame is not valid UTF-8",
            Self::OlderFraming => {
                "the server answered draft-02's handshake but sends the framing of draft-00"
            }
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.sentence(), self.section())
    }
}

impl std::error::Error for ProtocolError {}
