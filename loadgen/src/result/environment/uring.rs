//! io_uring: what of it the kernel gives, and what the generator runs on.

use io_uring::{IoUring, Parameters, Probe};
use ringbolt::{Config, RingFeature, SelectedDriver, diagnose};
use serde_json::{Map, Value, json};

use crate::base::files::Files;

pub(super) fn value(files: &Files, taken: Option<&SelectedDriver>) -> Value {
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
    let (flags, opcodes) = of_kernel().unzip();
    let ring = Config::new().ring;
    json!({
        "kernel_features": flags,
        "kernel_opcodes": opcodes,
        "submission_entries": ring.submission_entries,
        "completion_entries": ring.completion_entries,
        "disabled": files.number("proc/sys/kernel/io_uring_disabled"),
        "driver": taken.map(|taken| taken.driver.name()),
        "driver_because": taken.and_then(|taken| taken.because.clone()),
        "drivers_refused": refused,
        "features": features,
        "features_used": taken.map(|taken| {
            taken.features.iter().map(RingFeature::name).collect::<Vec<_>>()
        }),
        "features_refused": taken.map(|taken| {
            let rows = taken.absences();
            rows.map(|(name, why)| (name.to_owned(), json!(why))).collect::<Map<String, Value>>()
        }),
    })
}

/// The features that the kernel says its rings have (`IORING_FEAT_*`), and the opcodes that it knows, as
/// ranges; `None` where it makes no ring.
fn of_kernel() -> Option<(Vec<&'static str>, String)> {
    let ring = IoUring::new(2).ok()?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).ok()?;
    let known = (0..=u8::MAX).filter(|opcode| probe.is_supported(*opcode));
    let has = |(name, has): &Feature| has(ring.params()).then_some(*name);
    Some((FEATURES.iter().filter_map(has).collect(), ranges(known)))
}

/// A flag's name without its prefix, and whether a ring has it.
type Feature = (&'static str, fn(&Parameters) -> bool);
const FEATURES: [Feature; 16] = [
    ("single_mmap", Parameters::is_feature_single_mmap),
    ("nodrop", Parameters::is_feature_nodrop),
    ("submit_stable", Parameters::is_feature_submit_stable),
    ("rw_cur_pos", Parameters::is_feature_rw_cur_pos),
    ("cur_personality", Parameters::is_feature_cur_personality),
    ("fast_poll", Parameters::is_feature_fast_poll),
    ("poll_32bits", Parameters::is_feature_poll_32bits),
    ("sqpoll_nonfixed", Parameters::is_feature_sqpoll_nonfixed),
    ("ext_arg", Parameters::is_feature_ext_arg),
    ("native_workers", Parameters::is_feature_native_workers),
    ("rsrc_tags", Parameters::is_feature_resource_tagging),
    ("cqe_skip", Parameters::is_feature_skip_cqe_on_success),
    ("linked_file", Parameters::is_feature_linked_file),
    ("recvsend_bundle", Parameters::is_feature_recvsend_bundle),
    ("min_timeout", Parameters::is_feature_min_timeout),
    ("no_iowait", Parameters::is_feature_no_iowait),
];

/// Ascending numbers as `0-5,7`.
fn ranges(numbers: impl Iterator<Item = u8>) -> String {
    let mut ranges: Vec<(u8, u8)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let shown = ranges.into_iter().map(|(first, last)| match last {
        last if last == first => first.to_string(),
        last => format!("{first}-{last}"),
    });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn numbers_that_follow_each_other_are_a_range() {
        assert_eq!(ranges([0, 1, 2, 5, 7, 8].into_iter()), "0-2,5,7-8");
        assert_eq!(ranges(std::iter::empty()), "");
        assert_eq!(ranges(250..=255), "250-255");
    }
}
