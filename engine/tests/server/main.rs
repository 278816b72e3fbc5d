//! A running server over real sockets, and the program around it.

#![expect(
    clippy::cast_possible_truncation,
    reason = "what these tests send is short, and a cut length would fail them"
)]

mod bad_input;
mod broadcast;
mod chaos;
mod chat;
#[expect(dead_code, reason = "its `main` is not called")]
#[path = "../../examples/chat.rs"]
mod chat_example;
mod combinations;
mod delivery;
mod drivers;
mod echo;
mod endings;
mod fairness;
mod memory;
mod parts;
#[cfg(feature = "cli")]
mod process;
mod progress;
mod rfc6455;
mod rfc6455_clients;
mod support;
mod switches;
mod variant;

use variant::settings;
