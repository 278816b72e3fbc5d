//! A thread-per-core WebSocket engine on io_uring.

#[doc(hidden)]
pub mod bench;
pub mod client;
pub mod config;
pub mod conn;
mod driver;
mod error;
mod handler;
pub mod handshake;
mod hub;
pub mod metrics;
mod server;
mod shard;
#[expect(unsafe_code, reason = "the one module that may hold it; its promises are listed there")]
mod sys;
pub mod wire;

pub use client::Clients;
pub use config::{Config, SlowConsumer};
pub use conn::Message;
pub use error::{StartError, StartErrorKind};
pub use handler::{Accept, CloseReason, Full, Handler, Reject, WebSocket};
pub use hub::{Publisher, Remote};
pub use server::{Builder, Server, Shard};
pub use shard::Fleet;
pub use shard::table::ConnectionId;
pub use shard::topics::Topic;
pub use sys::clock::{process_cpu_nanos, thread_cpu_nanos};
pub use sys::socket::raise_file_limit;
