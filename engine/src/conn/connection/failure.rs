//! Why a connection failed.

use std::fmt;

use crate::handshake::{RequestError, ResponseError};
use crate::wire::ProtocolError;

/// Why a connection failed. This is for the program and its operator; a script that a browser runs
/// must be shown [`Failure::script_error`] and nothing else (draft-02 §7.1, CLOSE-03).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// To a server: the request was refused (§5.2.1).
    Request(RequestError),
    /// To a server: the program rejected the request.
    Rejected,
    /// To a client: the response was refused (§5.1).
    Response(ResponseError),
    /// The peer broke a rule behind the handshake.
    Protocol(ProtocolError),
    /// To a client: the server passed the handshake and then sent the framing of draft-00 (AMB-11).
    FramingMismatch,
    /// The peer ended the TCP connection without a closing handshake, or TCP failed.
    ConnectionLost,
    /// The opening handshake took too long.
    OpeningTimeout,
    /// The answer to our Close took too long (CLOSE-08).
    ClosingTimeout,
}

impl Failure {
    /// What a script may learn: the same whatever the failure, so that it cannot find out what hosts
    /// there are behind a firewall (draft-02 §7.1, CLOSE-03).
    #[must_use]
    pub const fn script_error(self) -> &'static str {
        "the WebSocket connection failed"
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::Response(error) => error.fmt(f),
            Self::Protocol(error) => error.fmt(f),
            Self::Rejected => f.write_str("the request was rejected"),
            Self::FramingMismatch => f.write_str(
                "the server answered the handshake but sends the framing of draft-00, \
                 which knows no Sec-WebSocket-Draft (draft-02 §4.2)",
            ),
            Self::ConnectionLost => {
                f.write_str("the connection ended without a closing handshake (draft-02 §7.3)")
            }
            Self::OpeningTimeout => f.write_str("the opening handshake took too long"),
            Self::ClosingTimeout => f.write_str("the answer to our Close took too long"),
        }
    }
}

impl std::error::Error for Failure {}
