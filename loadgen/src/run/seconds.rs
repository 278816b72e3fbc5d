//! The seconds of the window, one after the other: what interval logs and time series show.
//!
//! A second that every worker has told about is packed, so that long runs do not keep a histogram
//! of each.

use std::collections::BTreeMap;

use crate::base::clock::{Nanos, SECOND};
use crate::base::histogram::{Times, packed};
use crate::run::control::Control;

/// One second of the window; the last one may be shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Second {
    pub(crate) second: u64,
    /// Replies that came in it.
    pub(crate) received: u64,
    pub(crate) p50: Nanos,
    pub(crate) p90: Nanos,
    pub(crate) p99: Nanos,
    pub(crate) p999: Nanos,
    pub(crate) max: Nanos,
    /// The histogram in its packed form; empty for a second without replies.
    pub(crate) packed: String,
    /// Errors that were seen in it.
    pub(crate) errors: u64,
    /// Connections open at its end; `None` if nobody looked.
    pub(crate) connections: Option<u64>,
}

/// A second of the window, as one worker saw it.
#[derive(Debug)]
pub(crate) struct WorkerSecond {
    pub(crate) second: u64,
    pub(crate) latency: Box<Times>,
}

/// What the workers tell while the run lasts.
#[derive(Debug, Default)]
pub(crate) struct Seconds {
    open: BTreeMap<u64, Times>,
    packed: BTreeMap<u64, Second>,
    marks: BTreeMap<u64, Mark>,
    open_range: Option<OpenRange>,
}

/// How many connections were open at once in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenRange {
    pub(crate) least: u64,
    pub(crate) most: u64,
}

/// The gauges at the end of a second.
#[derive(Debug, Clone, Copy)]
struct Mark {
    errors: u64,
    connections: u64,
}

/// Seconds that are kept open for workers that are late to tell.
const OPEN: usize = 3;

impl Seconds {
    /// A worker tells of one of its seconds.
    pub(crate) fn note(&mut self, interval: &WorkerSecond) {
        let second = interval.second;
        if let Some(packed) = self.packed.remove(&second) {
            // Late beyond expectation, but not lost.
            let times = packed::unpack(&packed.packed).unwrap_or_else(|_| Times::new());
            self.open.insert(second, times);
        }
        self.open
            .entry(second)
            .and_modify(|times| times.merge(&interval.latency))
            .or_insert_with(|| (*interval.latency).clone());
        while self.open.len() > OPEN {
            self.pack_first();
        }
    }

    /// Reads the gauges, `now` being so far into the window.
    pub(crate) fn look(&mut self, control: &Control, now: Nanos) {
        let mark = Mark {
            errors: control.sum(|gauge| &gauge.errors),
            connections: control.sum(|gauge| &gauge.live),
        };
        self.marks.insert(now / SECOND, mark);
        let open = mark.connections;
        let range = self.open_range.get_or_insert(OpenRange { least: open, most: open });
        *range = OpenRange { least: range.least.min(open), most: range.most.max(open) };
    }

    /// How many connections were open at once, as far as anybody looked.
    pub(crate) const fn open_range(&self) -> Option<OpenRange> {
        self.open_range
    }

    /// Percentiles of the last second that is known.
    pub(crate) fn latest<const N: usize>(&self, percents: [f64; N]) -> Option<[Nanos; N]> {
        let last = self.open.values().next_back()?;
        Some(percents.map(|percent| last.percentile(percent)))
    }

    /// Every second of a window of this length, also those without a reply.
    pub(crate) fn finish(mut self, window: Nanos) -> Vec<Second> {
        while !self.open.is_empty() {
            self.pack_first();
        }
        let mut errors_before = 0;
        let told = self.packed.last_key_value().map_or(0, |(second, _)| second + 1);
        let mut all = Vec::new();
        for second in 0..window.div_ceil(SECOND).max(told) {
            let empty = || summary(second, &Times::new());
            let mut row = self.packed.remove(&second).unwrap_or_else(empty);
            if let Some(mark) = self.marks.get(&second) {
                row.errors = mark.errors.saturating_sub(errors_before);
                row.connections = Some(mark.connections);
                errors_before = mark.errors.max(errors_before);
            }
            all.push(row);
        }
        all
    }

    fn pack_first(&mut self) {
        if let Some((second, times)) = self.open.pop_first() {
            self.packed.insert(second, summary(second, &times));
        }
    }
}

/// A second's figures, without what the gauges tell.
pub(crate) fn summary(second: u64, times: &Times) -> Second {
    Second {
        second,
        received: times.len(),
        p50: times.percentile(50.0),
        p90: times.percentile(90.0),
        p99: times.percentile(99.0),
        p999: times.percentile(99.9),
        max: times.max(),
        packed: if times.is_empty() { String::new() } else { packed::pack(times) },
        errors: 0,
        connections: None,
    }
}

#[cfg(test)]
mod tests {
    use super::Seconds;
    use crate::base::clock::SECOND;

    use crate::base::histogram::{Times, packed};
    use crate::run::control::Control;
    use crate::run::seconds::WorkerSecond;

    fn interval(second: u64, time: u64) -> WorkerSecond {
        let mut latency = Box::new(Times::new());
        latency.record(time);
        WorkerSecond { second, latency }
    }

    #[test]
    fn every_second_has_its_row_and_late_workers_count() {
        let mut seconds = Seconds::default();
        for second in [0, 1, 2, 4, 5, 6] {
            seconds.note(&interval(second, 1_000 * (second + 1)));
        }
        seconds.note(&interval(0, 5_000));
        let control = Control::new(1);
        for (at, errors) in [(SECOND / 2, 1), (SECOND - 1, 2), (3 * SECOND / 2, 7)] {
            control.gauge(0).errors.store(errors, std::sync::atomic::Ordering::Relaxed);
            seconds.look(&control, at);
        }
        assert_eq!(seconds.latest([99.0]), Some([7_000 + 3]));
        let rows = seconds.finish(8 * SECOND - 1);
        let received: Vec<_> = rows.iter().map(|row| row.received).collect();
        assert_eq!(received, [2, 1, 1, 0, 1, 1, 1, 0]);
        assert_eq!((rows[0].errors, rows[1].errors, rows[2].errors), (2, 5, 0));
        assert_eq!((rows[0].connections, rows[2].connections), (Some(0), None));
        let first = packed::unpack(&rows[0].packed).expect("a histogram");
        assert_eq!((first.len(), first.min() / 10, first.max() / 10), (2, 100, 500));
        assert!(rows[3].packed.is_empty());
    }
}
