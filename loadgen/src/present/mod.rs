//! What people and programs read: summaries, tables and logs of a run, and comparisons of several.

pub(crate) mod arguments;
pub(crate) mod compare;
pub(crate) mod csv;
pub(crate) mod hgrm;
pub(crate) mod hlog;
pub(crate) mod merge;
pub(crate) mod metric;
pub(crate) mod report;
pub(crate) mod results;
pub(crate) mod summary;
pub(crate) mod trace;
