//! io_uring: what of it the kernel gives, and what the generator runs on.

use ringbolt::{Config, RingFeature, Taken, diagnose};
use serde_json::{Map, Value, json};

use super::files::Files;

pub(super) fn value(files: &Files, taken: Option<&Taken>) -> Value {
    let found = diagnose(&Config::new());
    let features: Map<String, Value> =
        found.features.iter().map(|row| (row.feature.name().to_owned(), json!(row.here))).collect();
    let refused: Map<String, Value> = found
        .drivers
        .iter()
        .map(|row| {
            let why = row.refused.as_ref().map(ToString::to_string);
            (row.driver.name().to_owned(), json!(why))
        })
        .collect();
    json!({
        "disabled": files.number("proc/sys/kernel/io_uring_disabled"),
        "driver": taken.map(|taken| taken.driver.name()),
        "driver_because": taken.and_then(|taken| taken.because.clone()),
        "drivers_refused": refused,
        "features": features,
        "features_used": taken.map(|taken| {
            taken.features.iter().map(RingFeature::name).collect::<Vec<_>>()
        }),
        "features_refused": taken.map(|taken| {
            let rows = taken.without.iter();
            rows.map(|row| (row.feature.name().to_owned(), json!(row.because)))
                .collect::<Map<String, Value>>()
        }),
    })
}
