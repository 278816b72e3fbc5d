//! How a peer can break the framing rules.

use std::fmt;

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
}

impl ProtocolError {
    /// Every rule, in the order of declaration; counters are indexed by [`ProtocolError::index`].
    pub const ALL: [Self; 11] = [
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
        }
    }

    /// The section of the draft that the rule stands in, or that allows the limit.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::ReservedBit | Self::ReservedOpcode | Self::LengthTopBit => "draft-02 §4.2",
            Self::FragmentedControl | Self::UnexpectedContinuation | Self::ExpectedContinuation => {
                "draft-02 §4.3"
            }
            Self::InvalidUtf8 => "draft-02 §6.2",
            Self::MessageTooLarge => "draft-02 §4.5",
            Self::FrameTooLarge | Self::TooManyFragments | Self::ControlTooLarge => "draft-02 §2",
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::ReservedBit => "a reserved bit is set though no extension was negotiated",
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
        };
        write!(f, "{what} ({})", self.section())
    }
}

impl std::error::Error for ProtocolError {}
