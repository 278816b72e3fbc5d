//! One connection, sans-IO: bytes in, events and bytes out.
//!
//! [`Connection`] is both halves and the opening handshake, for programs that bring their own
//! sockets. The halves are separate values so that an answer can be sent while the received
//! message is still borrowed. Nothing here does I/O or reads a clock, and no input can panic.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod assembly;
mod connection;
mod inbound;
mod limits;
mod message;
mod outbound;
mod state;

pub use assembly::Assembly;
pub use connection::{Config, Connection, ConnectionEvent, Failure, Received, Sender, Upgrade};
pub(crate) use inbound::Origin;
pub use inbound::{Event, Events, Inbound, Place};
pub use limits::{InvalidUtf8, Limits};
pub use message::Message;
pub use outbound::{EncodedHeader, Outbound, Output};
pub use state::State;
pub(crate) use state::Step;

use crate::wire::Dialect;

/// Which side of a connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are two")]
pub enum Role {
    /// The side that opened the connection.
    Client,
    /// The side that accepted it.
    Server,
}

/// The two halves of a connection whose opening handshake is done elsewhere.
#[must_use]
pub(crate) const fn halves(dialect: Dialect, role: Role) -> (Inbound, Outbound) {
    (Inbound::new(dialect, role), Outbound::new(dialect, role))
}

#[cfg(test)]
mod tests;
