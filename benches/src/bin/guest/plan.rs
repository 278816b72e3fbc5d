//! What a guest is told to do.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `/plan.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Whether to wait until the kernel has nothing more to do of its own.
    #[serde(default)]
    pub(crate) wait_until_quiet: bool,
    /// Whether to tell the addresses of the kernel's functions first.
    #[serde(default)]
    pub(crate) symbols: bool,
    pub(crate) tasks: Vec<Task>,
}

/// Programs that run one after the other, beside a server if they need one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Task {
    pub(crate) name: String,
    /// Started first and killed last; its first line must be `listening on ADDRESS`.
    #[serde(default)]
    pub(crate) server: Vec<String>,
    pub(crate) runs: Vec<Run>,
    /// Server and programs take turns: each keeps the CPU until it has nothing to do.
    #[serde(default)]
    pub(crate) turns: bool,
}

/// One program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// `{address}` and `{pid}` stand for the server's.
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    /// Killed after so long, by the guest's clock.
    pub(crate) seconds: u64,
    /// Whether the kernel counts what happens, which costs time of its own.
    #[serde(default)]
    pub(crate) count: bool,
    /// Whether its beginning and its end are shown to who counts instructions from outside.
    #[serde(default)]
    pub(crate) mark: bool,
}
