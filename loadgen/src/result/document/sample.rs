//! Runs that are made up, for tests of what is done with documents.

use serde_json::{Value, json};

use super::{Run, SCHEMA};
use crate::base::histogram::PERCENTILES;

/// A run at this rate, its latencies in proportion to 1/rate.
pub(crate) fn run(name: &str, rate: f64) -> Run {
    let document = json!({
        "schema": SCHEMA,
        "identity": { "run_id": name, "measured_commit": null, "tool": { "profile": "release" } },
        "clock": {},
        "environment": {
            "cpu": { "governor": "performance" },
            "kernel": { "release": "6.18" },
            "machine": { "load_before": 0.1 },
        },
        "workload": { "connections": 10, "url": format!("ws://127.0.0.1/{name}") },
        "outcome": {
            "void": false, "interrupted": false, "rate_per_s": rate,
            "latency": latency(|percent| 1e9 / rate * (1.0 + percent / 100.0)),
        },
        "cost": { "server_cpu_ns_per_message": 5e8 / rate },
        "trust": { "notes": [] },
    });
    Run { name: name.to_owned(), document }
}

/// The percentiles that comparisons look at; the histogram is not needed for them.
pub(crate) fn latency(mut at: impl FnMut(f64) -> f64) -> Value {
    let keys = PERCENTILES.map(|(percent, name)| {
        (format!("{}_ns", name.replace('.', "_")), json!(at(percent).round()))
    });
    Value::Object(keys.into_iter().collect())
}
