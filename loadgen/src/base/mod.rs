//! What everything stands on: the clock, units and how they are written, failures, histograms, and what the
//! kernel tells.

pub(crate) mod build;
pub(crate) mod clock;
pub(crate) mod failure;
pub(crate) mod files;
pub(crate) mod format;
pub(crate) mod histogram;
pub(crate) mod output;
pub(crate) mod thread_cpu;
pub(crate) mod units;
