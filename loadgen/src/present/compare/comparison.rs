//! Two sets of runs side by side.

use super::fingerprint::Difference;
use super::statistics::Interval;
use crate::present::metric::Metric;
use crate::result::document::Run;

/// Two sets of runs, and what can be said about them.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) base: Vec<Run>,
    pub(crate) new: Vec<Run>,
    pub(crate) differences: Vec<Difference>,
    pub(crate) rows: Vec<Row>,
    pub(crate) warnings: Vec<String>,
    /// What was asked for and cannot be compared.
    pub(super) missing: Vec<String>,
    /// A change for the worse of more than this is a regression.
    pub(super) threshold: f64,
}

/// One metric of both sides.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) metric: Metric,
    pub(crate) base: Cell,
    pub(crate) new: Cell,
    pub(crate) change: Change,
}

/// The runs of one side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) runs: usize,
    pub(crate) median: f64,
    pub(crate) interval: Interval,
}

/// What the two sides show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Change {
    NotEnoughRuns,
    /// Chance alone would do it.
    Nothing {
        p: f64,
    },
    /// By this factor, within this interval; worse if it is to the metric's disadvantage.
    Shown {
        p: f64,
        ratio: Option<(f64, Interval)>,
        worse: bool,
    },
}
