//! A thread-per-core WebSocket engine on io_uring.

pub mod conn;
pub mod handshake;
#[expect(unsafe_code, reason = "the one module that may hold it; its promises are listed there")]
mod sys;
pub mod wire;
