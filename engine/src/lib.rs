//! A thread-per-core WebSocket engine on io_uring, and on epoll where that is forbidden.
//!
//! Ringbolt serves, and opens, WebSocket connections as described by RFC 6455 and by
//! draft-ietf-hybi-thewebsocketprotocol-02 of September 2010, on one port: the client's opening
//! handshake says which. It runs on Linux; on 5.19 or later on io_uring, elsewhere on epoll or, from 5.11
//! on, on the tokio-uring runtime (cargo feature `tokio-uring`, on by default; [`Driver`]). Each core
//! runs one *shard*: a thread with its own ring, its own listening socket and its own connections.
//! Shards share nothing but bounded mailboxes, so a [`Handler`] needs no lock and need not be `Send`.
//!
//! ```text
//!            kernel                         one shard, one thread
//!  ┌──────────────────────────┐   ┌──────────────────────────────────────────┐
//!  │ accept, receive ─────────┼──▶│ driver ──▶ handshake ──▶ frames ──▶ your │
//!  │   into shared buffers    │   │   ▲                              handler │
//!  │ send ◀───────────────────┼───┤   │      one send per connection    │    │
//!  │   from where it lies     │   │   └──────────── and turn ◀──────────┘    │
//!  └──────────────────────────┘   └──────────────────┬───────────────────────┘
//!        one system call per turn                    │ publications, by mailbox
//!                                                    ▼ the other shards
//! ```
//!
//! A message that arrives in one read is lent to the handler out of the receive buffer, and an echo
//! leaves from there, without a copy. In steady state nothing is allocated per message, and an idle
//! connection costs less than 256 bytes besides the kernel's own.
//!
//! # Example
//!
//! Everybody who connects to the same resource name hears everybody else:
//!
//! ```
//! use ringbolt::handshake::UpgradeRequest;
//! use ringbolt::{Accept, Handler, Message, Reject, Server, Topic, WebSocket};
//!
//! struct Rooms;
//!
//! impl Handler for Rooms {
//!     /// Kept with each connection.
//!     type Data = (String, Option<Topic>);
//!
//!     fn on_upgrade(&mut self, request: &UpgradeRequest<'_>) -> Result<Accept<Self::Data>, Reject> {
//!         Ok(Accept::new((request.path().to_owned(), None)))
//!     }
//!
//!     fn on_open(&mut self, ws: &mut WebSocket<'_, Self::Data>) {
//!         let room = ws.data().0.clone();
//!         match ws.topic(&room) {
//!             Some(topic) if ws.subscribe(topic) => ws.data_mut().1 = Some(topic),
//!             _ => ws.close(),
//!         }
//!     }
//!
//!     fn on_message(&mut self, ws: &mut WebSocket<'_, Self::Data>, message: Message<'_>) {
//!         if let Some(topic) = ws.data().1
//!             && ws.publish(topic, message).is_err()
//!         {
//!             // More waits in this room than the limits allow.
//!             ws.close();
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::builder().bind("127.0.0.1:0".parse()?).shards(1).start(|_| Rooms)?;
//! println!("listening on {}", server.address());
//! // Until somebody says so; `drain` closes every connection properly.
//! # let patience = std::time::Duration::from_millis(10);
//! server.drain(patience);
//! println!("{}", server.join()?);
//! # Ok(())
//! # }
//! ```
//!
//! # What it does
//!
//! - **Servers** ([`Server`]) and **clients by the thousand** ([`Clients`]) on the same loop; and the
//!   protocol alone, without I/O, for programs that bring their own sockets ([`conn`], [`handshake`],
//!   [`wire`]).
//! - **Topics**: a publication is encoded once and delivered to every other subscriber on all shards;
//!   [`Publisher`] and [`Remote`] do the same from any thread.
//! - **Backpressure**: a send that would exceed a limit is refused as [`Full`] and
//!   [`Handler::on_drain`] tells when there is room; a connection whose peer does not read is not read
//!   from; a slow subscriber is closed or misses messages, and every miss is counted
//!   ([`SlowConsumer`]).
//! - **wss** beside ws ([`Builder::bind_tls`], [`Config::client_tls`]): TLS 1.2 and 1.3, certificates by
//!   name, client certificates, and files that are read again while the server runs.
//! - **Limits** on everything that a peer can make grow ([`Config`]): messages, frames, fragments,
//!   control frames, heads, connections, topics, queues; and timeouts for the opening handshake,
//!   silence and the closing handshake, with keep-alive pings.
//! - **An end**: [`Server::drain`] stops accepting, closes every connection with the closing
//!   handshake, and cuts what is left at its deadline.
//! - **Numbers**: [`Server::snapshot`] counts connections, messages, drops, broken rules by kind and
//!   what the ring did ([`metrics`]).
//!
//! # What it is not
//!
//! Of extensions it speaks only permessage-deflate ([`Compression`]). It runs on Linux only;
//! [`Server::driver`] tells on which driver, and why ([`Driver`], [`diagnose`]). Callbacks run on the
//! shard's thread and must not block.
//!
//! Which test holds which rule of the draft, and which cases of RFC 6455 are tried, is written in
//! `CONFORMANCE.md` beside this crate.

#[doc(hidden)]
pub mod bench;
pub mod client;
pub mod config;
pub mod conn;
#[cfg(feature = "tls")]
mod credentials;
mod driver;
mod drivers;
mod error;
#[doc(hidden)]
pub mod fault;
mod handler;
pub mod handshake;
mod hub;
mod memory;
pub mod metrics;
mod outcome;
mod server;
mod shard;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod sim;
#[expect(unsafe_code, reason = "the one module that may hold it; its promises are listed there")]
mod sys;
#[cfg(feature = "tls")]
mod tls;
pub mod wire;

pub use client::Clients;
pub use config::{
    Compression, Config, Driver, FeatureSet, MissingFeature, RingFeature, RingFeatures,
    SelectedDriver, SlowConsumer,
};
pub use conn::{Message, Part};
#[cfg(feature = "tls")]
pub use credentials::{
    ClientAuth, ClientTls, ClientTlsBuilder, Pem, Security, ServerTls, ServerTlsBuilder, TlsVersion,
};
pub use driver::doctor::{Diagnosis, DriverReport, FallbackReport, FeatureReport, diagnose};
pub use error::{StartError, StartErrorKind, TlsError};
pub use handler::{Handler, WebSocket};
pub use hub::{Publisher, Remote};
pub use outcome::{Accept, CloseReason, Full, Reject};
pub use server::{Builder, Listening, Server, Shard};
pub use shard::Fleet;
pub use shard::machine::Endpoint;
pub use shard::route::{Addresses, Route};
pub use shard::topics::Topic;
pub use sys::clock::{
    monotonic_nanos, process_cpu_nanos, thread_cpu_nanos, wall_clock_error_nanos,
};
pub use sys::id::ConnectionId;
pub use sys::socket::raise_file_limit;

/// The README's program, compiled by the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
