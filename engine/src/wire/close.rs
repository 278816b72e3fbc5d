//! The payload of RFC 6455's Close frame: a code and a reason (§5.5.1, §7.4).

use std::fmt;

use super::ProtocolError;

/// The longest reason: a control frame's 125 bytes without the code (RFC 6455 §5.5).
pub const REASON_MAX: usize = 123;

/// Why a connection is closed (RFC 6455 §7.4). Draft-02 has no codes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: what the connection was for is done.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server goes down, or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: data of a kind that the endpoint cannot take.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1005: the Close frame had no code. Never on the wire.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: there was no Close frame. Never on the wire.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: data that does not fit its type, as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: against the endpoint's policy, where nothing else fits.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: the message is too big.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the client needs an extension that the server did not agree to.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: the server cannot go on.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts (registered since the RFC).
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: try again later (registered since the RFC).
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got a bad answer (registered since the RFC).
    pub const BAD_GATEWAY: Self = Self(1014);
    /// 1015: the TLS handshake failed. Never on the wire.
    pub const TLS_FAILED: Self = Self(1015);

    /// The code with this number, if a Close frame may carry it: those that are registered for
    /// the wire, and 3000 to 4999, which are for libraries and applications (§7.4.2).
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The code's number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether a Close frame may carry it.
    #[must_use]
    pub const fn is_sendable(self) -> bool {
        Self::new(self.0).is_some()
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads the payload of a Close frame: the code, [`CloseCode::NO_STATUS`] if there is none, and
/// the reason.
///
/// # Errors
///
/// One byte only, a code that may not be sent, or a reason that is not UTF-8.
pub fn parse(payload: &[u8]) -> Result<(CloseCode, &str), ProtocolError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok((CloseCode::NO_STATUS, ""))
        } else {
            Err(ProtocolError::ClosePayload)
        };
    };
    let code = CloseCode::new(u16::from_be_bytes(*code)).ok_or(ProtocolError::CloseCode)?;
    let reason = simdutf8::basic::from_utf8(reason).map_err(|_| ProtocolError::CloseReason)?;
    Ok((code, reason))
}

/// The payload of a Close frame, kept: what is on its way out, or what the peer has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosePayload {
    bytes: [u8; 2 + REASON_MAX],
    len: u8,
}

impl ClosePayload {
    /// No code and no reason; all that draft-02 can say.
    pub const EMPTY: Self = Self { bytes: [0; 2 + REASON_MAX], len: 0 };

    /// The payload for this code and reason. A reason over [`REASON_MAX`] bytes is cut in front
    /// of the character that does not fit. A code that may not be sent gives the empty payload,
    /// which is what [`CloseCode::NO_STATUS`] stands for.
    #[must_use]
    pub fn new(code: CloseCode, reason: &str) -> Self {
        let mut payload = Self::EMPTY;
        if !code.is_sendable() {
            return payload;
        }
        let reason = reason.get(..reason.floor_char_boundary(REASON_MAX)).unwrap_or_default();
        let (number, rest) = payload.bytes.split_at_mut(2);
        number.copy_from_slice(&code.get().to_be_bytes());
        for (place, byte) in rest.iter_mut().zip(reason.bytes()) {
            *place = byte;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 125")]
        {
            payload.len = 2 + reason.len() as u8;
        }
        payload
    }

    /// The code; [`CloseCode::NO_STATUS`] if there is none.
    #[must_use]
    pub fn code(&self) -> CloseCode {
        parse(self.as_bytes()).map_or(CloseCode::NO_STATUS, |(code, _)| code)
    }

    /// The reason; often empty.
    #[must_use]
    pub fn reason(&self) -> &str {
        parse(self.as_bytes()).map_or("", |(_, reason)| reason)
    }

    /// The bytes as they go into the frame.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}
