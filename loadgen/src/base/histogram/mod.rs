//! Histograms of times: what a run measured, with the digits and bounds of all of them.

pub(crate) mod packed;

use hdrhistogram::Histogram;

use crate::base::clock::Nanos;

/// Percentiles that are shown, beside mean and maximum.
pub(crate) const PERCENTILES: [(f64, &str); 5] =
    [(50.0, "p50"), (90.0, "p90"), (99.0, "p99"), (99.9, "p99.9"), (99.99, "p99.99")];

/// The longest time that is told apart; longer ones are counted as saturated.
pub(crate) const LONGEST: Nanos = 60_000_000_000;
/// Decimal digits that a recorded time keeps.
pub(crate) const DIGITS: u8 = 3;

/// Times in nanoseconds, with [`DIGITS`] digits, up to [`LONGEST`].
#[derive(Debug, Clone)]
pub(crate) struct Times {
    histogram: Histogram<u64>,
    saturated: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self::new()
    }
}

impl Times {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST, DIGITS)
            .expect("the bounds are constants that the crate accepts");
        Self { histogram, saturated: 0 }
    }

    #[inline]
    pub(crate) fn record(&mut self, time: Nanos) {
        if time > LONGEST {
            self.saturated += 1;
        }
        self.histogram.saturating_record(time.clamp(1, LONGEST));
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
        self.saturated += other.saturated;
    }

    /// The times of a histogram that was read; `None` if it has other bounds than ours.
    pub(crate) fn from_histogram(histogram: Histogram<u64>) -> Option<Self> {
        let bounds = (histogram.low(), histogram.high(), histogram.sigfig());
        (bounds == (1, LONGEST, DIGITS)).then_some(Self { histogram, saturated: 0 })
    }

    pub(crate) fn len(&self) -> u64 {
        self.histogram.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// Times longer than [`LONGEST`], which count as that long.
    pub(crate) const fn saturated(&self) -> u64 {
        self.saturated
    }

    pub(crate) const fn set_saturated(&mut self, saturated: u64) {
        self.saturated = saturated;
    }

    /// The time that `percent` of all times do not exceed.
    pub(crate) fn percentile(&self, percent: f64) -> Nanos {
        // 99.9 / 100 is a little more than 0.999 in binary, which would turn the 1,998th of 2,000
        // times into the 1,999th; a whole rank stays whole, and half a rank less is inside it.
        let total = self.len().max(1) as f64;
        let rank = (percent * total / 100.0 * (1.0 - 1e-12)).ceil().max(1.0);
        self.histogram.value_at_quantile((rank - 0.5) / total)
    }

    pub(crate) fn max(&self) -> Nanos {
        self.histogram.max()
    }

    pub(crate) fn min(&self) -> Nanos {
        if self.is_empty() { 0 } else { self.histogram.min() }
    }

    pub(crate) fn mean(&self) -> f64 {
        self.histogram.mean()
    }

    pub(crate) const fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Times};

    #[test]
    fn times_keep_three_digits_and_saturate() {
        let mut times = Times::new();
        for time in [0, 1, 1_234_567, 59_990_000_000, LONGEST + 1, u64::MAX] {
            times.record(time);
        }
        assert_eq!((times.len(), times.saturated(), times.min()), (6, 2, 1));
        let third = times.percentile(50.0);
        assert!(third.abs_diff(1_234_567) <= 1_235, "{third}");
        assert!(times.max().abs_diff(LONGEST) <= LONGEST / 1000);
        let mut twice = times.clone();
        twice.merge(&times);
        assert_eq!((twice.len(), twice.saturated()), (12, 4));
    }

    #[test]
    fn percentiles_are_the_times_of_their_whole_ranks() {
        // The times 1 to `total` are told apart one by one, so that each is its own rank.
        let mut times = Times::new();
        for total in 1..=2000_u64 {
            times.record(total);
            for per_mille in [500, 900, 990, 999, 1000] {
                let rank = (per_mille * total).div_ceil(1000);
                let percent = per_mille as f64 / 10.0;
                assert_eq!(times.percentile(percent), rank, "{percent} % of {total}");
            }
        }
    }
}
