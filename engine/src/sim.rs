//! A deterministic simulator: several shards of both roles, a hub, timers and peers, on a simulated driver
//! and a simulated network, in one thread, in virtual time, all from one seed.
//!
//! ```text
//!  scripted peers ◀──▶ net ◀──▶ driver ──▶ Shard (server) ◀──▶ Hub ◀── other threads
//!                       ▲
//!                       └─────▶ driver ──▶ Shard (client)
//! ```
//!
//! What the peers, the applications and the network know is kept in books, apart from the engine, and
//! compared with what the engine promises. No part of the promised interface. `docs/simulator.md` tells
//! more.

mod app;
mod books;
mod codec;
mod driver;
mod net;
mod peer;
mod plan;
mod shrink;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::fault::{self, Fault};

pub use shrink::shrink;

/// Microseconds since a world began.
type Time = u64;
const MILLI: Time = 1000;
const SECOND: Time = 1000 * MILLI;

/// What was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Promise {
    /// P1: whoever makes progress is alive, and endings lose nothing.
    Alive,
    /// P2: an accepted publication arrives.
    Publications,
    /// P3: memory is bounded by the configuration.
    Memory,
    /// P4: a neighbour waits for slices.
    Slices,
    /// P5: handles cannot lie.
    Handles,
    /// P6: endings.
    Endings,
    /// What was sent arrives as it was sent, in order.
    Echo,
    /// Everything is back to zero at the end.
    Counters,
    /// The world goes on while there is something to do, and ends.
    Liveness,
    /// Nothing panics.
    Panic,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The promise.
    pub promise: Promise,
    /// What happened.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.text)
    }
}

/// What a seed is run without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cuts {
    /// Peers that never come, as bits.
    pub absent: u64,
    /// Most operations of one peer.
    pub ops: usize,
    /// Nuisances that do not happen, as bits.
    pub without: u32,
}

impl Default for Cuts {
    fn default() -> Self {
        Self { absent: 0, ops: usize::MAX, without: 0 }
    }
}

impl Cuts {
    /// The options of the runner that say the same.
    #[must_use]
    pub fn options(&self) -> String {
        let mut text = String::new();
        if self.absent != 0 {
            text.push_str(&format!(" --absent {}", self.absent));
        }
        if self.ops != usize::MAX {
            text.push_str(&format!(" --ops {}", self.ops));
        }
        if self.without != 0 {
            text.push_str(&format!(" --without {}", self.without));
        }
        text
    }
}

/// What came of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The first promise that was not kept.
    pub violation: Option<Violation>,
    /// The hash of all that happened.
    pub hash: u64,
    /// How many events that were.
    pub events: u64,
    /// Turns of the shards' loops.
    pub turns: u64,
    /// The events, where they were asked for.
    pub trace: String,
}

/// Runs one seed with a fault put back.
#[must_use]
pub fn run(seed: u64, fault: Fault, cuts: &Cuts, trace: bool) -> Outcome {
    fault::put_back(fault);
    let ended = catch_unwind(AssertUnwindSafe(|| world::run(seed, cuts, trace)));
    fault::put_back(Fault::None);
    ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_default();
        let violation = Some(Violation { promise: Promise::Panic, text });
        Outcome { violation, hash: 0, events: 0, turns: 0, trace: String::new() }
    })
}

/// The names of the nuisances, in the order of the bits of [`Cuts::without`].
#[must_use]
pub const fn nuisances() -> &'static [&'static str] {
    &plan::Nuisances::NAMES
}
