//! The percentile distribution in the text form that HdrHistogram's plotters read, in
//! milliseconds.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// Steps per halving of the distance to 100 %.
const TICKS: u32 = 5;
/// Nanoseconds per unit of the file.
const UNIT: f64 = 1e6;

/// The distribution of times in nanoseconds.
pub(crate) fn distribution(histogram: &Histogram<u64>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_distribution(&mut out, histogram);
    out
}

#[expect(clippy::cast_precision_loss, reason = "times and counts of a run are below 2^53")]
fn write_distribution(out: &mut String, histogram: &Histogram<u64>) -> std::fmt::Result {
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS) {
        let value = histogram.highest_equivalent(step.value_iterated_to()).min(histogram.max());
        let quantile = step.quantile_iterated_to();
        count += step.count_since_last_iteration();
        write!(out, "{:>12.6} {quantile:>2.12} {count:>10}", value as f64 / UNIT)?;
        if quantile < 1.0 {
            writeln!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
        } else {
            writeln!(out)?;
        }
    }
    writeln!(
        out,
        "#[Mean    = {:>12.6}, StdDeviation   = {:>12.6}]",
        histogram.mean() / UNIT,
        histogram.stdev() / UNIT
    )?;
    let max = if histogram.is_empty() { 0 } else { histogram.max() };
    writeln!(
        out,
        "#[Max     = {:>12.6}, Total count    = {:>12}]",
        max as f64 / UNIT,
        histogram.len()
    )?;
    writeln!(out, "#[Buckets = {:>12}, SubBuckets     = {SUB_BUCKETS:>12}]", histogram.buckets())
}

/// What three digits need.
const SUB_BUCKETS: u32 = 2048;

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::distribution;

    /// The rows' numbers, and the lines of the footer.
    fn parse(text: &str) -> (Vec<Vec<f64>>, Vec<&str>) {
        let mut lines = text.lines();
        let header = lines.next().expect("a header");
        let titles: Vec<_> = header.split_whitespace().collect();
        assert_eq!(titles, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        assert_eq!(lines.next(), Some(""), "a plotter skips two lines");
        let (footer, rows): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with('#'));
        let numbers = |line: &&str| {
            line.split_whitespace().map(|word| word.parse().expect("a number")).collect()
        };
        (rows.iter().map(numbers).collect(), footer)
    }

    #[test]
    fn known_values_stand_where_they_belong() {
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds");
        // 1 ms to 1,000 ms, one each: the p-th percentile is 10 p ms.
        for time in 1..=1000_u64 {
            histogram.record(time * 1_000_000).expect("in bounds");
        }
        let text = distribution(&histogram);
        let (rows, footer) = parse(&text);
        for row in &rows {
            let (value, percentile, count) = (row[0], row[1], row[2]);
            assert!((value - percentile * 1000.0).abs() <= value / 1000.0 + 1.0, "{row:?}");
            assert!((value - count).abs() <= value / 1000.0 + 1.0, "{row:?}");
            if let Some(inverse) = row.get(3) {
                assert!((inverse - 1.0 / (1.0 - percentile)).abs() < 0.01 * inverse, "{row:?}");
            }
        }
        assert!(rows.windows(2).all(|pair| pair[0][1] <= pair[1][1] && pair[0][2] <= pair[1][2]));
        let half = rows.iter().find(|row| row[1] >= 0.5).expect("a median");
        assert!((half[0] - 500.0).abs() <= 1.0, "{half:?}");
        let last = rows.last().expect("rows");
        assert_eq!((last[1], last[2], last.len()), (1.0, 1000.0, 3));
        assert!(footer[0].starts_with("#[Mean    =   500."), "{}", footer[0]);
        assert!(footer[1].contains("Total count    =         1000"), "{}", footer[1]);
        assert!(footer[2].starts_with("#[Buckets = "), "{}", footer[2]);
    }

    #[test]
    fn nothing_measured_is_an_empty_table() {
        let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds");
        let text = distribution(&histogram);
        let (rows, footer) = parse(&text);
        assert!(rows.is_empty(), "{text}");
        assert!(footer[1].contains("Total count    =            0"), "{text}");
    }
}
