//! The opening handshake, both roles, sans-IO: bytes in, fields or an answer out.
//!
//! A server gives all bytes of a connection to [`ServerHandshake::read`] until it returns an
//! [`UpgradeRequest`], has a [`ServerPolicy`] judge it, and writes the answer with [`accept`], or a
//! refusal with [`refuse`]. A client makes a [`ClientRequest`] out of a [`Url`], writes it with
//! [`ClientHandshake::start`] and gives what comes back to [`ClientHandshake::read`].
//!
//! Nothing here knows a connection or a clock, a head of a legal size is read without allocation
//! when it arrives in one piece, every limit is enforced before anything is kept, and no input can
//! panic: the lints below deny every construct that could. Bytes behind the handshake are never
//! taken: `len()` says where they begin.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accept;
mod allowed;
mod basic;
mod client;
mod common;
mod error;
mod extension;
mod field;
mod host;
pub mod hybi02;
mod limits;
mod policy;
pub mod proxy;
mod queue;
mod refusal;
mod request;
mod response;
pub mod rfc6455;
pub mod scan;
pub mod url;

pub use accept::{AcceptError, Terms, accept, accept_with, refuse, refuse_request};
pub use allowed::PolicyError;
pub use client::{ClientHandshake, ClientRequest, ClientRequestBuilder, ClientRequestError};
pub use error::{RequestError, ResponseError};
pub use extension::{Deflate, DeflateTerms};
pub use field::Field;
pub use limits::HeadLimits;
pub use policy::ServerPolicy;
pub use queue::{ConnectQueue, RemoteHost, Ticket};
pub use refusal::Refusal;
pub use request::{Answer, ServerHandshake, UpgradeRequest};
pub use response::UpgradeResponse;
pub use url::{Url, UrlError};

#[cfg(test)]
mod tests;
