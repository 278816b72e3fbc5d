//! The words of the command line.

pub(crate) mod arguments;
#[path = "../../../engine/src/bin/engine/variables.rs"]
pub(crate) mod variables;
pub(crate) mod words;
