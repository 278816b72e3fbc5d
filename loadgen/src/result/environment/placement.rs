//! Which CPUs the generator and the server run on: on small machines this decides the result.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::base::files::Files;
use crate::base::units;
use crate::plan::Plan;

pub(super) fn value(files: &Files, plan: &Plan) -> Value {
    let server = plan.pid.map(|pid| format!("proc/{pid}"));
    let allowed = |process: &str| files.field(&format!("{process}/status"), "Cpus_allowed_list");
    let server_cpus = server.as_deref().and_then(allowed);
    let pinned: BTreeSet<usize> = plan.threads.iter().flatten().copied().collect();
    let shared = server_cpus
        .as_deref()
        .and_then(|list| units::cpus(list).ok())
        .map(|list| pinned.is_empty() || list.0.iter().any(|cpu| pinned.contains(cpu)));
    json!({
        "generator_cpus": plan.threads,
        "generator_allowed_cpus": allowed("proc/self"),
        "generator_nice": nice(files, "proc/self"),
        "server_allowed_cpus": server_cpus,
        "server_nice": server.as_deref().and_then(|process| nice(files, process)),
        "may_share_cpus": shared,
    })
}

/// How willingly a process gives way to others.
fn nice(files: &Files, process: &str) -> Option<i64> {
    let text = files.text(&format!("{process}/stat"))?;
    // The name, in brackets, may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(16)?.parse().ok()
}
