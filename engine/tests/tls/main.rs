//! wss over real sockets: each test runs on every driver.

#![expect(
    clippy::cast_possible_truncation,
    reason = "what these tests send is short, and a cut length would fail them"
)]

use ringbolt::Config;

mod authority;
mod certificates;
mod clients;
mod echo;
mod endings;
mod forger;
mod hostile;
mod mixed;
mod peer;
#[cfg(feature = "cli")]
mod process;
mod progress;
mod proxies;
#[expect(dead_code, reason = "shared with the tests of plain servers, which use the rest")]
#[path = "../server/support.rs"]
mod support;

/// For what is shared with tests of one driver.
fn settings() -> Config {
    Config::new()
}
