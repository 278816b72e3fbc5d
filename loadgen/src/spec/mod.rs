//! What may be asked for: payloads, schedules, lifetimes, goals, and the options that scenarios share.

pub(crate) mod arrivals;
pub(crate) mod goal;
pub(crate) mod lifetime;
pub(crate) mod options;
pub(crate) mod rate;
pub(crate) mod shape;
