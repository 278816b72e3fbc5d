//! One connection, sans-IO: bytes in, events and bytes out.
//!
//! [`Connection`] is both halves and the opening handshake, for programs that bring their own
//! sockets; `examples/embedded.rs` is a whole one. The halves, [`Inbound`] and [`Outbound`], are
//! separate values so that an answer can be sent while the received message is still borrowed.
//! Nothing here does I/O or reads a clock, and no input can panic; of the kernel it asks random bytes
//! alone, which a client of RFC 6455 masks with ([`MaskingKeys`]).
//!
//! Two connections, joined in memory:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use ringbolt::conn::{Connection, ConnectionConfig, ConnectionEvent, Message};
//! use ringbolt::handshake::{ClientRequest, Url};
//!
//! let now = Instant::now();
//! let config = Arc::new(ConnectionConfig::default());
//! let url = Url::parse("ws://example.com/chat")?;
//! let request = Arc::new(ClientRequest::builder(url, "http://example.com").build()?);
//!
//! let mut client = Connection::client(&config, &request, &mut fastrand::Rng::new(), now);
//! let mut server = Connection::server(&config, now);
//!
//! // The client's request goes to the server, which accepts it and sends a message behind its
//! // answer.
//! let mut bytes = client.transmit().to_vec();
//! client.transmitted(bytes.len());
//! let mut received = server.handle_receive(&mut bytes, now);
//! while let Some(event) = received.next_event() {
//!     if let ConnectionEvent::Request(upgrade) = event {
//!         assert_eq!(upgrade.request().path(), "/chat");
//!         upgrade.accept(None, &[])?;
//!     }
//! }
//! assert!(server.send("welcome"));
//!
//! // Both arrive in one read.
//! let mut bytes = server.transmit().to_vec();
//! server.transmitted(bytes.len());
//! let mut heard = Vec::new();
//! let mut received = client.handle_receive(&mut bytes, now);
//! while let Some(event) = received.next_event() {
//!     if let ConnectionEvent::Message(Message::Text(text), mut sender) = event {
//!         heard.push(text.to_owned());
//!         sender.close();
//!     }
//! }
//! assert_eq!(heard, ["welcome"]);
//! assert_eq!(client.transmit(), [0x01, 0x00]); // an empty Close
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An event is borrowed from the received bytes. To keep a message is to copy it; the compiler
//! refuses anything else. It cannot outlive the next event:
//!
//! ```compile_fail,E0499
//! # fn keep(mut received: ringbolt::conn::Received<'_>) {
//! let first = received.next_event();
//! let second = received.next_event();
//! drop(first);
//! # }
//! ```
//!
//! nor leave the method that drew it:
//!
//! ```compile_fail,E0521
//! # use ringbolt::conn::{ConnectionEvent, Message};
//! struct Kept(Vec<Message<'static>>);
//!
//! impl Kept {
//!     fn on_event(&mut self, event: ConnectionEvent<'_>) {
//!         if let ConnectionEvent::Message(message, _) = event {
//!             self.0.push(message);
//!         }
//!     }
//! }
//! ```

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod connection;
mod deflate;
mod inbound;
mod limits;
mod masking;
mod message;
mod outbound;
mod reassembly;
mod rules;
mod state;
mod work;

pub use connection::{
    Connection, ConnectionConfig, ConnectionEvent, Failure, Received, Sender, Upgrade,
};
pub use deflate::{Deflater, Inflater};
pub(crate) use inbound::Origin;
pub use inbound::{CloseFrame, Event, Events, Inbound, Place};
pub use limits::{InvalidUtf8, Limits};
pub use masking::MaskingKeys;
pub use message::{Message, Part};
pub use outbound::{EncodedHeader, Gathered, Outbound, Output};
pub use reassembly::Reassembly;
pub use state::State;
pub(crate) use work::Work;

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

impl Role {
    /// The role of the other side.
    #[inline(always)]
    pub(crate) const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// The two halves of a connection whose opening handshake is done elsewhere.
#[must_use]
pub(crate) fn halves(dialect: Dialect, role: Role) -> (Inbound, Outbound) {
    (Inbound::new(dialect, role), Outbound::new(dialect, role))
}

#[cfg(test)]
mod tests;
