//! What a run comes to: how far it can be trusted, whether goals were met, and its document.

pub(crate) mod document;
pub(crate) mod environment;
pub(crate) mod goals;
pub(crate) mod identity;
pub(crate) mod search;
pub(crate) mod verdict;
