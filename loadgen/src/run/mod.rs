//! A run: the threads that make it, what they measure, and who starts them and puts it together.

pub(crate) mod context;
pub(crate) mod control;
pub(crate) mod cost;
pub(crate) mod delivery;
pub(crate) mod dialler;
pub(crate) mod floor;
pub(crate) mod job;
pub(crate) mod memory;
pub(crate) mod outcome;
pub(crate) mod payload;
pub(crate) mod preflight;
pub(crate) mod progress;
pub(crate) mod runner;
pub(crate) mod scenario;
pub(crate) mod seconds;
pub(crate) mod stats;
pub(crate) mod worker;
