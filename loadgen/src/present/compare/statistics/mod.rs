//! Statistics of a few runs each: nothing is assumed about how their figures are distributed.

mod rank;

pub(crate) use rank::mann_whitney;

/// An interval that holds what it is for with a probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) confidence: f64,
}

/// What is asked of intervals.
pub(crate) const CONFIDENCE: f64 = 0.95;
/// A difference that chance makes less often than this is shown.
pub(crate) const ALPHA: f64 = 0.05;

/// The middle value, or the mean of the two; `None` without values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len().is_multiple_of(2) { sorted[middle - 1].midpoint(upper) } else { upper })
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The interval for the median between two of the values, whatever their distribution: the k-th
/// smallest and the k-th largest, with the largest k that is confident enough. Few values cannot be;
/// then it is the whole range, with the confidence that it has.
pub(crate) fn median_interval(values: &[f64], confidence: f64) -> Option<Interval> {
    let sorted = sorted(values);
    let n = sorted.len();
    // The chance that fewer than k of n values lie below the median, k counted from 1.
    let mut outside = 0.5_f64.powi(i32::try_from(n).ok()?);
    let mut term = outside;
    let mut best = (1, 1.0 - 2.0 * outside);
    for k in 2..=n.div_ceil(2) {
        #[expect(clippy::cast_precision_loss, reason = "runs are few")]
        let step = (n - k + 2) as f64 / (k - 1) as f64;
        term *= step;
        outside += term;
        let inside = 1.0 - 2.0 * outside;
        if inside < confidence {
            break;
        }
        best = (k, inside);
    }
    let (k, confidence) = best;
    Some(Interval {
        low: *sorted.get(k - 1)?,
        high: sorted[n - k],
        confidence: confidence.max(0.0),
    })
}

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2000;

/// The interval of `median(new) / median(base)`, by resampling the runs of both sides; reproducible
/// from `seed`. `None` where a median is not above 0.
pub(crate) fn ratio_interval(base: &[f64], new: &[f64], seed: u64) -> Option<Interval> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut resample = |values: &[f64]| {
        let drawn: Vec<f64> = values.iter().map(|_| values[random.usize(..values.len())]).collect();
        median(&drawn)
    };
    let mut ratios = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let (base, new) = (resample(base)?, resample(new)?);
        if base <= 0.0 {
            return None;
        }
        ratios.push(new / base);
    }
    ratios.sort_by(f64::total_cmp);
    let tail = RESAMPLES / 40;
    Some(Interval { low: ratios[tail], high: ratios[RESAMPLES - 1 - tail], confidence: CONFIDENCE })
}

/// P-values of a family of tests, adjusted after Holm: what chance alone makes of all of them
/// together stays below the level that each is compared with.
pub(crate) fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut highest: f64 = 0.0;
    for (rank, at) in order.into_iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "tests are few")]
        let left = (p_values.len() - rank) as f64;
        highest = highest.max((p_values[at] * left).min(1.0));
        adjusted[at] = highest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::{CONFIDENCE, holm, median, median_interval, ratio_interval};

    fn close(is: f64, expected: f64) {
        assert!((is - expected).abs() < 1e-4, "{is} is not {expected}");
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[5.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn intervals_of_the_median_are_those_of_the_tables() {
        // Ranks and confidence of the sign test's interval, as in Conover, Practical Nonparametric
        // Statistics, and in every table of it.
        let table = [
            (5, 1, 0.9375),
            (6, 1, 0.96875),
            (8, 1, 0.9921875),
            (9, 2, 0.9609),
            (10, 2, 0.9785),
            (12, 3, 0.9614),
            (15, 4, 0.9648),
            (20, 6, 0.9586),
            (25, 8, 0.9567),
            (30, 10, 0.9572),
        ];
        for (n, rank, confidence) in table {
            let values: Vec<f64> = (1..=n).map(f64::from).collect();
            let interval = median_interval(&values, CONFIDENCE).expect("values");
            close(interval.low, f64::from(rank));
            close(interval.high, f64::from(n + 1 - rank));
            close(interval.confidence, confidence);
        }
        assert_eq!(median_interval(&[], CONFIDENCE), None);
        let one = median_interval(&[7.0], CONFIDENCE).expect("a value");
        assert_eq!((one.low, one.high, one.confidence), (7.0, 7.0, 0.0));
    }

    #[test]
    fn adjusted_p_values_are_those_of_holm() {
        // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (is, expected) in adjusted.into_iter().zip([0.03, 0.06, 0.06, 0.02]) {
            close(is, expected);
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }

    #[test]
    fn ratios_of_constants_are_exact_and_of_nothing_are_none() {
        let ratio = ratio_interval(&[2.0; 5], &[3.0; 7], 1).expect("a ratio");
        assert_eq!((ratio.low, ratio.high), (1.5, 1.5));
        assert_eq!(ratio_interval(&[0.0; 5], &[3.0; 5], 1), None);
        assert_eq!(ratio_interval(&[], &[3.0; 5], 1), None);
        let (base, new) = ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 4.0, 6.0, 8.0, 10.0]);
        let ratio = ratio_interval(&base, &new, 1).expect("a ratio");
        assert!(ratio.low < 2.0 && ratio.high > 2.0 && ratio.low >= 0.4, "{ratio:?}");
        assert_eq!(ratio_interval(&base, &new, 1), Some(ratio), "reproducible");
    }
}
