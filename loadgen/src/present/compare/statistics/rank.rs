//! The rank-sum test of Mann and Whitney (Wilcoxon's), two-sided.

/// More values than this are compared by the normal approximation.
const EXACT_MAX: usize = 60;

/// The chance of ranks at least as far apart as these if both sides are drawn from one
/// distribution. Exact for up to [`EXACT_MAX`] values, ties included: it then counts over every way
/// to deal the values to the sides. 1 if a side is empty.
pub(crate) fn mann_whitney(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 1.0;
    }
    if a.len() + b.len() > EXACT_MAX {
        return mann_whitney_normal(a, b);
    }
    let ranks = doubled_ranks(a, b);
    let (own, all) = (ranks[..a.len()].iter().sum::<usize>(), ranks.iter().sum::<usize>());
    let ways = ways(&ranks, a.len(), all);
    // Twice the ranks, times the number of values, so that everything is whole.
    let centre = all * a.len();
    let distance = |sum: usize| (sum * ranks.len()).abs_diff(centre);
    let far = ways.iter().enumerate().filter(|(sum, _)| distance(*sum) >= distance(own));
    let total: f64 = ways.iter().sum();
    far.map(|(_, ways)| ways).sum::<f64>() / total
}

/// Each value's rank among all, twice: first those of `a`, then those of `b`. Equal values share
/// their ranks evenly.
fn doubled_ranks(a: &[f64], b: &[f64]) -> Vec<usize> {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let rank = |value: &f64| {
        let below = all.iter().filter(|other| other.total_cmp(value).is_lt()).count();
        let equal = all.iter().filter(|other| other.total_cmp(value).is_eq()).count();
        2 * below + equal + 1
    };
    all.iter().map(rank).collect()
}

/// By the sum of their ranks, in how many ways `take` of the values can be taken.
fn ways(ranks: &[usize], take: usize, all: usize) -> Vec<f64> {
    // Exact: not even 60 values, 30 of them taken, make 2^53 twenty times over, and sums of whole
    // numbers lose at most their last digit there.
    let mut ways = vec![vec![0.0; all + 1]; take + 1];
    ways[0][0] = 1.0;
    for rank in ranks {
        for taken in (1..=take).rev() {
            let (fewer, more) = ways.split_at_mut(taken);
            let (from, to) = (&fewer[taken - 1], &mut more[0]);
            for (to, from) in to[*rank..].iter_mut().zip(from) {
                *to += from;
            }
        }
    }
    ways.swap_remove(take)
}

/// The p-value by the normal approximation, corrected for ties and for the steps of the ranks.
#[expect(clippy::cast_precision_loss, reason = "runs are far fewer than 2^53")]
fn mann_whitney_normal(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 1.0;
    }
    let ranks = doubled_ranks(a, b);
    let (m, n, all) = (a.len() as f64, b.len() as f64, ranks.len() as f64);
    let own: usize = ranks[..a.len()].iter().sum();
    let off = (own as f64 / 2.0 - m * (all + 1.0) / 2.0).abs();
    let mut sorted = ranks;
    sorted.sort_unstable();
    let ties: f64 = sorted
        .chunk_by(|a, b| a == b)
        .map(|group| (group.len() as f64).powi(3) - group.len() as f64)
        .sum();
    let variance = m * n / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let z = (off - 0.5).max(0.0) / variance.sqrt();
    two_tails(z)
}

/// The chance that a standard normal value is at least `z` from 0.
fn two_tails(z: f64) -> f64 {
    const STEPS: i32 = 200;
    let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if z < 3.0 {
        // The series of the distribution function about 0.
        let (mut term, mut sum) = (z, z);
        for step in 1..STEPS {
            term *= z * z / f64::from(2 * step + 1);
            sum += term;
        }
        return 2.0f64.mul_add(-(density * sum), 1.0).clamp(0.0, 1.0);
    }
    // The continued fraction of its tail.
    let fraction = (1..STEPS).rev().fold(z, |below, step| z + f64::from(step) / below);
    2.0 * density / fraction
}

#[cfg(test)]
mod tests {
    use super::{mann_whitney, mann_whitney_normal, two_tails};

    fn close(is: f64, expected: f64) {
        assert!((is - expected).abs() < 1e-9, "{is} is not {expected}");
    }

    #[test]
    fn known_samples_have_their_published_p() {
        // The example of scipy.stats.mannwhitneyu: exact and asymptotic.
        let (a, b) = ([19.0, 22.0, 16.0, 29.0, 24.0], [20.0, 11.0, 17.0, 12.0]);
        close(mann_whitney(&a, &b), 1.0 / 9.0);
        close(mann_whitney_normal(&a, &b), 0.111_346_886_533_140_41);
        // Sides that do not overlap: one of the orders, and its mirror.
        let low = [1.0, 2.0, 3.0, 4.0, 5.0];
        let high = [6.0, 7.0, 8.0, 9.0, 10.0];
        close(mann_whitney(&low, &high), 2.0 / 252.0);
        close(mann_whitney(&high, &low), 2.0 / 252.0);
        close(mann_whitney(&low[..4], &high[..4]), 2.0 / 70.0);
    }

    #[test]
    fn critical_values_are_those_of_mann_and_whitneys_table() {
        // Two-sided at 5 %: U = 2 for 5 and 5, U = 13 for 8 and 8, U = 23 for 10 and 10 are the
        // largest that are significant.
        for (n, critical) in [(5_usize, 2_usize), (8, 13), (10, 23)] {
            let p = |u: usize| {
                // One side ahead, except for as many inversions as U counts.
                let b: Vec<f64> = (0..n).map(|i| (i + n) as f64).collect();
                let mut left = u;
                let a: Vec<f64> = (0..n)
                    .rev()
                    .map(|i| {
                        let over = left.min(n);
                        left -= over;
                        i as f64 / 100.0 + if over > 0 { (n + over) as f64 - 0.9 } else { 0.0 }
                    })
                    .collect();
                mann_whitney(&a, &b)
            };
            assert!(p(critical) <= 0.05 && p(critical + 1) > 0.05, "{n}: {}", p(critical));
        }
    }

    #[test]
    fn ties_share_their_ranks() {
        // Four values, three of them equal: every way to deal them is as far from the middle.
        close(mann_whitney(&[1.0, 1.0], &[1.0, 2.0]), 1.0);
        close(mann_whitney(&[3.0; 6], &[3.0; 6]), 1.0);
        close(mann_whitney_normal(&[3.0; 6], &[3.0; 6]), 1.0);
        // Two groups of equals: 2 of 70 ways are as extreme.
        close(mann_whitney(&[1.0; 4], &[2.0; 4]), 2.0 / 70.0);
        // One of each side changed places: sums of doubled ranks are 5 for low and 13 for high; the
        // number of high ones on a side is hypergeometric, and 1 or 3 of 4 is 32 of 70.
        close(mann_whitney(&[1.0, 1.0, 1.0, 2.0], &[2.0, 2.0, 2.0, 1.0]), 34.0 / 70.0);
    }

    #[test]
    fn large_samples_go_over_into_the_approximation() {
        let a: Vec<f64> = (0..30).map(|i| f64::from(i * 2)).collect();
        let b: Vec<f64> = (0..30).map(|i| f64::from(i * 2 + 13)).collect();
        let (exact, normal) = (mann_whitney(&a, &b), mann_whitney_normal(&a, &b));
        assert!((exact - normal).abs() < 0.002, "{exact} {normal}");
        let more: Vec<f64> = (0..31).map(|i| f64::from(i * 2 + 13)).collect();
        close(mann_whitney(&a, &more), mann_whitney_normal(&a, &more));
    }

    #[test]
    fn normal_tails_are_those_of_the_tables() {
        close(two_tails(0.0), 1.0);
        close(two_tails(1.0), 0.317_310_507_863);
        close(two_tails(1.959_963_984_540_054), 0.05);
        close(two_tails(2.575_829_303_548_901), 0.01);
        close(two_tails(4.0), 6.334_248_366_6e-5);
    }
}
