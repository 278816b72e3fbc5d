//! Times, counts and sizes as people read them.

use super::clock::Nanos;

/// A time with three digits and its unit.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn time(nanos: Nanos) -> String {
    let (value, unit) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..999_500 => (nanos as f64 / 1e3, "µs"),
        999_500..999_500_000 => (nanos as f64 / 1e6, "ms"),
        _ => (nanos as f64 / 1e9, "s"),
    };
    match value {
        ..9.995 => format!("{value:.2} {unit}"),
        ..99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// A number with its thousands apart.
pub(crate) fn count(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of things, such as `1 thread` or `2 threads`.
pub(crate) fn number(n: u64, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// A size in the unit that shows it whole.
pub(crate) fn bytes(size: usize) -> String {
    match size {
        _ if size > 0 && size.is_multiple_of(1 << 20) => format!("{} MiB", size >> 20),
        _ if size > 0 && size.is_multiple_of(1 << 10) => format!("{} KiB", size >> 10),
        _ => format!("{size} B"),
    }
}

/// A size in MiB.
#[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::{bytes, count, number, time};

    #[test]
    fn times_keep_three_digits() {
        let shown = [999, 1_000, 12_345, 999_499, 999_500, 9_994_999, 99_960_000, 60_000_000_000];
        let expected =
            ["999 ns", "1.00 µs", "12.3 µs", "999 µs", "1.00 ms", "9.99 ms", "100 ms", "60.0 s"];
        assert_eq!(shown.map(time), expected);
    }

    #[test]
    fn counts_and_sizes_are_readable() {
        assert_eq!(count(1_234_567.4), "1,234,567");
        assert_eq!(count(123.0), "123");
        assert_eq!(count(0.5), "0.5");
        assert_eq!(
            [0, 1, 2].map(|n| number(n, "message")),
            ["0 messages", "1 message", "2 messages"]
        );
        assert_eq!(
            [0, 64, 16_384, 65_537, 1 << 20].map(bytes),
            ["0 B", "64 B", "16 KiB", "65537 B", "1 MiB"]
        );
    }
}
