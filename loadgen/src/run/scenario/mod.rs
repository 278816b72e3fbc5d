//! What the connections of a run do.

pub(crate) mod broadcast;
pub(crate) mod echo;
pub(crate) mod idle;
pub(crate) mod slow;
pub(crate) mod storm;
