//! What came out of a run, and how far it can be trusted.

use crate::base::clock::Nanos;
use crate::run::cost::Cost;
use crate::run::floor::Floor;
use crate::run::memory::Growth;
use crate::run::seconds::{OpenRange, Second};
use crate::run::stats::Stats;

/// A run's results.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) stats: Stats,
    /// Length of what was measured.
    pub(crate) elapsed: Nanos,
    /// Replies that the schedule of an open loop asked for in the window.
    pub(crate) offered: Option<u64>,
    /// For a broadcast, the share of deliveries that were made.
    pub(crate) delivery_ratio: Option<DeliveryRatio>,
    /// How long it took to open all connections.
    pub(crate) dialling: Nanos,
    pub(crate) server: Option<Cost>,
    /// By how much the server's CPU time was read too far beside the window to be of it; there is
    /// no `server` then.
    pub(crate) server_missed: Option<Nanos>,
    /// How the memory of the server grew, if its number was given.
    pub(crate) memory: Option<Growth>,
    /// Connections open at once in the window.
    pub(crate) open_range: Option<OpenRange>,
    /// Connections that were to be held, where that is what is measured.
    pub(crate) held: u64,
    pub(crate) intervals: Vec<Second>,
    /// How long after the time that was asked for the load began.
    pub(crate) late: Nanos,
    /// What the generator measures against a server that does nothing.
    pub(crate) floor: Option<Floor>,
    /// By a signal.
    pub(crate) interrupted: bool,
    pub(crate) when: When,
}

/// The run on the system's clock: nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct When {
    /// When the load began.
    pub(crate) began: u64,
    /// When the window opened.
    pub(crate) opened: u64,
    /// When the last connection had ended.
    pub(crate) ended: u64,
}

/// How many of the deliveries that publications of the window should have had there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeliveryRatio {
    pub(crate) expected: u64,
    pub(crate) received: u64,
}

impl DeliveryRatio {
    /// Received per expected.
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
    pub(crate) fn share(self) -> Option<f64> {
        (self.expected > 0).then(|| self.received as f64 / self.expected as f64)
    }
}

impl Outcome {
    /// What counts: replies, or deliveries, in the window.
    pub(crate) const fn messages(&self) -> u64 {
        self.stats.received
    }

    /// Per second.
    #[expect(clippy::cast_precision_loss, reason = "counts and times of a run are below 2^53")]
    pub(crate) fn rate(&self) -> f64 {
        if self.elapsed == 0 { 0.0 } else { self.messages() as f64 * 1e9 / self.elapsed as f64 }
    }

    /// Messages answered in the window per message that the schedule asked for.
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
    pub(crate) fn achieved(&self) -> Option<f64> {
        let offered = self.offered.filter(|n| *n > 0)?;
        Some(self.messages() as f64 / offered as f64)
    }

    /// CPU nanoseconds of the server per message.
    #[expect(clippy::cast_precision_loss, reason = "counts and times of a run are below 2^53")]
    pub(crate) fn server_nanos(&self) -> Option<f64> {
        let cost = self.server.as_ref()?;
        (self.messages() > 0).then(|| cost.nanos as f64 / self.messages() as f64)
    }

    /// CPU nanoseconds of the generator's threads per message.
    #[expect(clippy::cast_precision_loss, reason = "counts and times of a run are below 2^53")]
    pub(crate) fn generator_nanos(&self) -> Option<f64> {
        let nanos: u64 = self.stats.cpu.iter().sum();
        (self.messages() > 0).then(|| nanos as f64 / self.messages() as f64)
    }

    /// The share of the window that each of the generator's threads was on a CPU.
    #[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
    pub(crate) fn generator_load(&self) -> Vec<f64> {
        let window = self.elapsed.max(1) as f64;
        self.stats.cpu.iter().map(|nanos| *nanos as f64 / window).collect()
    }

    /// The share of the window that the busiest of the server's threads was on a CPU; 0 if threads
    /// were not told apart.
    #[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
    pub(crate) fn server_load(&self) -> f64 {
        let busiest = self.server.as_ref().and_then(|cost| cost.threads.iter().max());
        busiest.map_or(0.0, |nanos| *nanos as f64 / self.elapsed.max(1) as f64)
    }

    /// The longest that a thread of the server waited for a CPU, as a share of the window.
    #[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
    pub(crate) fn server_kept_waiting(&self) -> f64 {
        let waited = self.server.as_ref().and_then(|cost| cost.waited).unwrap_or(0);
        waited as f64 / self.elapsed.max(1) as f64
    }

    /// The longest that a thread of the generator waited for a CPU, as a share of the window.
    #[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
    pub(crate) fn starved(&self) -> f64 {
        let longest = self.stats.waited.iter().max().copied().unwrap_or(0);
        longest as f64 / self.elapsed.max(1) as f64
    }
}
