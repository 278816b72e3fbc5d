//! What an application answers, what it is refused, and how connections end.

use std::fmt;

use crate::error::TlsError;
use crate::handshake::proxy::ProxyError;
use crate::handshake::{RequestError, ResponseError};
use crate::wire::{CloseCode, ProtocolError};

/// The answer to an acceptable upgrade.
#[derive(Debug)]
pub struct Accept<D> {
    pub(crate) data: D,
    pub(crate) subprotocol: Option<String>,
    pub(crate) fields: Vec<(String, String)>,
}

impl<D> Accept<D> {
    /// Accepts, and keeps `data` with the connection.
    #[must_use]
    pub const fn new(data: D) -> Self {
        Self { data, subprotocol: None, fields: Vec::new() }
    }

    /// Speaks this subprotocol, which must be one that the client offered; without this call the
    /// first offered one that the configuration supports is taken.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// Adds a field to the response, such as `Set-Cookie`. A name or value that would break the
    /// response, one with CR or LF in it, is left out.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }
}

/// The refusal of an upgrade, with an HTTP status. Draft-02 prescribes none (CLOSE-04): its
/// clients fail on any answer but 101, and people with other tools can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    pub(crate) status: u16,
    pub(crate) sentence: &'static str,
}

impl Reject {
    /// 400: the request makes no sense to this application.
    pub const BAD_REQUEST: Self = Self::new(400, "The request makes no sense to this server.");
    /// 403: this client may not connect.
    pub const FORBIDDEN: Self = Self::new(403, "This client may not connect here.");
    /// 404: there is nothing under this resource name.
    pub const NOT_FOUND: Self = Self::new(404, "There is nothing under this resource name.");
    /// 503: too busy for another connection.
    pub const UNAVAILABLE: Self = Self::new(503, "The server takes no more connections now.");

    /// Refuses with this status and one sentence for the person who reads it.
    #[must_use]
    pub const fn new(status: u16, sentence: &'static str) -> Self {
        Self { status, sentence }
    }
}

/// A limit of ours refused a send: nothing was queued, on no shard. Also the answer once the closing
/// handshake has begun, after which no message may be sent (draft-02 §1.4), and to publications once
/// the server drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message was not queued: a limit is reached, or the connection is closing")
    }
}

impl std::error::Error for Full {}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// Both Close frames were exchanged before TCP closed (draft-02 §7.3, RFC 6455 §7.1.4). The code
    /// is the peer's; [`CloseCode::NO_STATUS`] if it gave none, as in draft-02.
    Clean(CloseCode),
    /// The peer closed TCP without a Close frame.
    HungUp,
    /// The peer broke a rule of the protocol.
    Protocol(ProtocolError),
    /// The client's opening handshake was not acceptable.
    Request(RequestError),
    /// The server's answer to our opening handshake was not acceptable.
    Response(ResponseError),
    /// TLS was not established, or broke.
    Tls(TlsError),
    /// The proxy did not open a tunnel to the server.
    Proxy(ProxyError),
    /// The kernel reported this error number, such as `ECONNRESET`.
    Transport(i32),
    /// The opening handshake, or the answer to our Close, did not come in time.
    TimedOut,
    /// The peer made no progress for the idle timeout: it sent nothing, not even a pong, and took
    /// nothing.
    Idle,
    /// The peer read too slowly and the policy closes such connections.
    SlowConsumer,
    /// The application or the server's shutdown ended it without a closing handshake.
    Ended,
    /// The shard held more memory than its budget, and this connection was among those that held the
    /// most of it: by a message that had not ended, or by what it had not read.
    Memory,
}

impl CloseReason {
    /// Every kind, in the order of [`CloseReason::index`].
    pub const NAMES: [&'static str; 13] = [
        "clean",
        "hung_up",
        "protocol",
        "request",
        "response",
        "transport",
        "timed_out",
        "idle",
        "slow_consumer",
        "ended",
        "tls",
        "memory",
        "proxy",
    ];

    /// The position of this kind in [`CloseReason::NAMES`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Clean(_) => 0,
            Self::HungUp => 1,
            Self::Protocol(_) => 2,
            Self::Request(_) => 3,
            Self::Response(_) => 4,
            Self::Transport(_) => 5,
            Self::TimedOut => 6,
            Self::Idle => 7,
            Self::SlowConsumer => 8,
            Self::Ended => 9,
            Self::Tls(_) => 10,
            Self::Memory => 11,
            Self::Proxy(_) => 12,
        }
    }

    /// The code that a page's `CloseEvent` would show (RFC 6455 §7.1.5): the peer's, or
    /// [`CloseCode::ABNORMAL`] when no Close frame came.
    #[must_use]
    pub const fn code(self) -> CloseCode {
        match self {
            Self::Clean(code) => code,
            _ => CloseCode::ABNORMAL,
        }
    }

    /// Whether the closing handshake had finished (CLOSE-07).
    #[must_use]
    pub const fn is_clean(self) -> bool {
        matches!(self, Self::Clean(_))
    }
}
