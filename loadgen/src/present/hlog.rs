//! The interval log: a histogram per second, in the text form of HdrHistogram's log tools.

use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::base::clock::SECOND;
use crate::base::histogram::packed;
use crate::plan::Plan;
use crate::run::outcome::Outcome;

/// Nanoseconds per unit of the column with the maximum: milliseconds, as the log's tools expect.
const MAX_UNIT: f64 = 1e6;

/// The log of the window's latencies. The warm-up's stand before it, with a tag of their own, so
/// that tools leave them out unless they are asked for.
pub(crate) fn log(plan: &Plan, outcome: &Outcome) -> Result<String, String> {
    let mut bytes = Vec::new();
    let opened = UNIX_EPOCH + Duration::from_nanos(outcome.when.opened);
    let warmup = plan.window.warmup.min(Duration::from_nanos(outcome.when.opened));
    let began = opened - warmup;
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    let title = format!(
        "[loadgen {}: latency in nanoseconds from the intended time, a row per second]",
        env!("CARGO_PKG_VERSION")
    );
    builder
        .add_comment(&title)
        .with_start_time(began)
        .with_base_time(began)
        .with_max_value_divisor(MAX_UNIT);
    let failed = |e: &dyn std::fmt::Debug| format!("{e:?}");
    let mut writer = builder.begin_log_with(&mut bytes, &mut serializer).map_err(|e| failed(&e))?;
    let before = &outcome.stats.warmup;
    if !before.is_empty() {
        let tag = Tag::new("warmup");
        writer
            .write_histogram(before.histogram(), Duration::ZERO, warmup, tag)
            .map_err(|e| failed(&e))?;
    }
    for second in outcome.intervals.iter().filter(|second| !second.packed.is_empty()) {
        let times = packed::unpack(&second.packed)?;
        let offset = second.second.saturating_mul(SECOND);
        let length = outcome.elapsed.saturating_sub(offset).min(SECOND);
        let start = warmup + Duration::from_nanos(offset);
        let length = Duration::from_nanos(length);
        writer.write_histogram(times.histogram(), start, length, None).map_err(|e| failed(&e))?;
    }
    drop(writer);
    String::from_utf8(bytes).map_err(|e| e.to_string())
}
