//! The tests of `server`, on the tokio-uring driver.

#![expect(
    clippy::cast_possible_truncation,
    reason = "what these tests send is short, and a cut length would fail them"
)]

#[path = "../server/bad_input.rs"]
mod bad_input;
#[path = "../server/broadcast.rs"]
mod broadcast;
#[path = "../server/chaos.rs"]
mod chaos;
#[path = "../server/chat.rs"]
mod chat;
#[expect(dead_code, reason = "its `main` is not called")]
#[path = "../../examples/chat.rs"]
mod chat_example;
#[path = "../server/echo.rs"]
mod echo;
#[path = "../server/endings.rs"]
mod endings;
#[path = "../server/parts.rs"]
mod parts;
#[path = "../server/rfc6455.rs"]
mod rfc6455;
#[path = "../server/rfc6455_clients.rs"]
mod rfc6455_clients;
#[path = "../server/support.rs"]
mod support;

/// The driver that the servers of these tests run on.
const DRIVER: ringbolt::Driver = ringbolt::Driver::TokioUring;
