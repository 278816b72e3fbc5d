//! Frames, stateless: bytes to fields and back.
//!
//! Nothing here remembers an earlier frame, allocates or does I/O, and no input can panic: the
//! lints below deny every construct that could. Lengths stay `u64` until [`crate::conn`] has
//! compared them with a limit.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod close;
mod error;
mod frame;
pub mod hybi02;
mod mask;
mod opcode;
pub mod rfc6455;
#[cfg(test)]
mod tests;
mod translate;
pub mod utf8;

pub use close::{CloseCode, ClosePayload};
pub use error::ProtocolError;
pub use frame::{FrameHeader, HEADER_MAX};
pub use mask::Mask;
pub use opcode::Opcode;
pub(crate) use translate::{FIRST, first_frame, frames, translate};

/// One version of the protocol on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// draft-ietf-hybi-thewebsocketprotocol-02, `Sec-WebSocket-Draft: 2`.
    Hybi02,
    /// RFC 6455, `Sec-WebSocket-Version: 13`.
    Rfc6455,
}

impl Dialect {
    /// Every dialect, the older first.
    pub const ALL: [Self; 2] = [Self::Hybi02, Self::Rfc6455];

    /// The position in [`Dialect::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name that flags, logs and result files use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hybi02 => "hybi-02",
            Self::Rfc6455 => "rfc6455",
        }
    }
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// No dialect has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownDialect;

impl std::fmt::Display for UnknownDialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no dialect has this name; known are")?;
        Dialect::ALL.iter().try_for_each(|dialect| write!(f, " {dialect}"))
    }
}

impl std::error::Error for UnknownDialect {}

impl std::str::FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(name: &str) -> Result<Self, UnknownDialect> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name).ok_or(UnknownDialect)
    }
}
