//! Quantities as people type them: `64KiB`, `10k`, `1m30s`, `0-3,5`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes. A bare number is bytes; k, m, g and KiB, MiB, GiB are powers of 1,024; kB,
/// MB, GB powers of 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

/// A number of things. k, m, g are powers of 1,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u64);

/// A length of time, `1m30s`. Only a zero needs no unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// CPUs by number: `0-3,5`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cpus(pub(crate) Vec<usize>);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text)?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return Err(format!("`{unit}` is not a unit of bytes; write 4096, 64KiB or 1m")),
        };
        number.checked_mul(factor).map(Self).ok_or_else(|| "that is too much".to_owned())
    }
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text)?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" => 1,
            "k" => 1_000,
            "m" => 1_000_000,
            "g" => 1_000_000_000,
            _ => return Err(format!("`{unit}` is not a unit of a count; write 5000, 5k or 1m")),
        };
        number.checked_mul(factor).map(Self).ok_or_else(|| "that is too much".to_owned())
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut sum = Duration::ZERO;
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Self(sum));
        }
        if rest.is_empty() {
            return Err("no time is given; write 10s, 500ms or 1m30s".to_owned());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let tail = &rest[digits..];
            let letters = tail.bytes().take_while(|b| !b.is_ascii_digit()).count();
            let (unit, next) = tail.split_at(letters);
            let number: u64 = rest[..digits]
                .parse()
                .map_err(|_| format!("`{rest}` does not begin with a whole number"))?;
            let nanos: u64 = match unit {
                "ns" => 1,
                "us" | "µs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" | "min" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                "" => return Err(format!("`{text}` has no unit; write {text}s or {text}ms")),
                _ => return Err(format!("`{unit}` is not a unit of time; use ms, s, m or h")),
            };
            let part = number.checked_mul(nanos).map(Duration::from_nanos);
            sum = part.and_then(|part| sum.checked_add(part)).ok_or("that is too long")?;
            rest = next;
        }
        Ok(Self(sum))
    }
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            |part: &str| format!("`{part}` is neither the number of a CPU nor a range such as 0-3");
        let mut cpus = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().map_err(|_| wrong(part))?;
            let last: usize = last.trim().parse().map_err(|_| wrong(part))?;
            if last < first {
                return Err(format!("the range `{part}` is backwards"));
            }
            if last >= 1 << 16 {
                return Err(format!("no machine has a CPU {last}"));
            }
            cpus.extend(first..=last);
        }
        let mut sorted = cpus.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() < cpus.len() {
            return Err("a CPU is named twice: each shard needs its own".to_owned());
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for Bytes {
    /// In the largest unit that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = |shift: &u32| self.0 != 0 && self.0.trailing_zeros() >= *shift;
        match units.iter().find(|(shift, _)| whole(shift)) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// The number in front and the unit behind it.
fn split(text: &str) -> Result<(u64, &str), String> {
    let text = text.trim();
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'_').count();
    let (number, unit) = text.split_at(digits);
    let number = number.replace('_', "");
    if number.is_empty() {
        return Err(format!("`{text}` does not begin with a whole number"));
    }
    Ok((number.parse().map_err(|_| "that is too much".to_owned())?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Bytes, Count, Cpus, Span};

    #[test]
    fn bytes_take_binary_and_decimal_units() {
        let rows = [
            ("0", 0),
            ("4096", 4096),
            ("4_096", 4096),
            ("64KiB", 64 << 10),
            ("64 kib", 64 << 10),
            ("1m", 1 << 20),
            ("2g", 2 << 30),
            ("5kB", 5_000),
            ("5MB", 5_000_000),
        ];
        for (text, bytes) in rows {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "k", "1.5m", "-1", "1x", "99999999999999999999", "18446744073709551615k"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_are_shown_as_they_could_be_typed() {
        for text in ["1MiB", "64KiB", "3GiB", "1000B", "0B", "1025KiB"] {
            let bytes: Bytes = text.parse().expect("it is one");
            assert_eq!(bytes.to_string(), text);
        }
    }

    #[test]
    fn counts_are_decimal() {
        assert_eq!("10k".parse(), Ok(Count(10_000)));
        assert_eq!("1M".parse(), Ok(Count(1_000_000)));
        assert!("1KiB".parse::<Count>().is_err());
    }

    #[test]
    fn spans_add_up_and_need_a_unit() {
        assert_eq!("1m30s".parse(), Ok(Span(Duration::from_secs(90))));
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        assert_eq!("50us".parse(), Ok(Span(Duration::from_micros(50))));
        assert_eq!("0".parse(), Ok(Span(Duration::ZERO)));
        for text in ["", "10", "s", "10x", "1m30", "99999999999h", "-1s", "1.5s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        let hint = "10".parse::<Span>().expect_err("no unit");
        assert!(hint.contains("10s"), "{hint}");
    }

    #[test]
    fn cpus_are_numbers_and_ranges() {
        assert_eq!("0-3,5".parse(), Ok(Cpus(vec![0, 1, 2, 3, 5])));
        assert_eq!("7".parse(), Ok(Cpus(vec![7])));
        for text in ["", "a", "3-1", "0,0", "0-2,1", "1-", "0-99999999"] {
            assert!(text.parse::<Cpus>().is_err(), "{text}");
        }
    }
}
