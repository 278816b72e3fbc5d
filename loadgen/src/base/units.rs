//! Units on the command line: `5k` connections, `16KiB` of payload, `1m30s`, `50k/s`.

use std::time::Duration;

/// A count with an optional decimal suffix: `5000`, `5k`, `1.5m`.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a count; write it like 5000, 5k or 1.5m");
    let (number, scale) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'm' | 'M')) => (&text[..at], 1e6),
        _ => (text, 1.0),
    };
    whole(number, scale).ok_or_else(wrong)
}

/// A count of at least one.
pub(crate) fn positive(text: &str) -> Result<u64, String> {
    match count(text)? {
        0 => Err(format!("`{text}` must be at least 1")),
        n => Ok(n),
    }
}

/// Events per second: `50000`, `50k`, `50k/s`, `0.5/s`.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a rate; write it like 200, 50k or 50k/s");
    let plain = text.strip_suffix("/s").unwrap_or(text);
    let (number, scale) = match plain.char_indices().last() {
        Some((at, 'k' | 'K')) => (&plain[..at], 1e3),
        Some((at, 'm' | 'M')) => (&plain[..at], 1e6),
        _ => (plain, 1.0),
    };
    let rate = decimal(number).ok_or_else(wrong)? * scale;
    match rate {
        _ if rate > RATE_MAX => Err(format!("`{text}` is too much; 100m/s is the highest rate")),
        _ if rate > 0.0 => Ok(rate),
        _ => Err(format!("`{text}` must be above 0")),
    }
}

/// Far beyond what one process reaches; more would only pile up.
pub(crate) const RATE_MAX: f64 = 100e6;
/// The largest payload.
pub(crate) const SIZE_MAX: u64 = 1 << 30;
/// The most messages in flight or in a burst.
const AT_ONCE_MAX: u64 = 100_000;

/// Messages in flight on one connection, or in one burst.
pub(crate) fn at_once(text: &str) -> Result<u64, String> {
    match positive(text)? {
        n if n > AT_ONCE_MAX => Err(format!("`{text}` is too many; {AT_ONCE_MAX} is the most")),
        n => Ok(n),
    }
}

/// A share such as `5%`.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a percentage; write it like 5% or 0.5%");
    let number = decimal(text.strip_suffix('%').unwrap_or(text)).ok_or_else(wrong)?;
    if number <= 1000.0 { Ok(number / 100.0) } else { Err(wrong()) }
}

/// A time above zero.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("`{text}` must be above 0")),
        time => Ok(time),
    }
}

/// A moment in nanoseconds since 1970: `2026-01-31T12:00:00.5Z` (RFC 3339, in UTC), or seconds.
pub(crate) fn moment(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "`{text}` is not a time; write it like 2026-01-31T12:00:00Z, or as seconds since 1970"
        )
    };
    let nanos =
        |seconds: f64| u64::try_from(Duration::try_from_secs_f64(seconds).ok()?.as_nanos()).ok();
    if let Some(seconds) = decimal(text) {
        return nanos(seconds).ok_or_else(wrong);
    }
    let (date, time) =
        text.strip_suffix('Z').and_then(|utc| utc.split_once('T')).ok_or_else(wrong)?;
    let [year, month, day] = fields(date, '-').ok_or_else(wrong)?;
    let [hour, minute, second] = fields(time, ':').ok_or_else(wrong)?;
    let whole = |field: &str| field.parse::<u32>().map_err(|_| wrong());
    let (year, month, day) = (whole(year)?, whole(month)?, whole(day)?);
    let (hour, minute) = (whole(hour)?, whole(minute)?);
    let second = decimal(second).ok_or_else(wrong)?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, 28 + u32::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days_of_month = lengths.get((month as usize).wrapping_sub(1)).copied().unwrap_or(0);
    if !(1970..10_000).contains(&year) || !(1..=days_of_month).contains(&day) {
        return Err(wrong());
    }
    if hour > 23 || minute > 59 || second >= 61.0 {
        return Err(wrong());
    }
    let before = year - 1;
    let leaps = before / 4 - before / 100 + before / 400 - 477;
    let months: u32 = lengths.iter().take(month as usize - 1).sum();
    let days = (year - 1970) * 365 + leaps + months + day - 1;
    let minutes = u64::from(days) * 1440 + u64::from(hour) * 60 + u64::from(minute);
    nanos(second).map(|rest| minutes * 60_000_000_000 + rest).ok_or_else(wrong)
}

fn fields(text: &str, separator: char) -> Option<[&str; 3]> {
    text.split(separator).collect::<Vec<_>>().try_into().ok()
}

/// Bytes: `64`, `64B`, `16KiB`, `1MiB`, `64kB`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let wrong = || format!("`{text}` is not a size; write it like 64, 16KiB or 1MiB");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "KiB" | "K" | "k" => 1024.0,
        "MiB" | "M" => 1024.0 * 1024.0,
        "GiB" | "G" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    match whole(number, scale).ok_or_else(wrong)? {
        n if n > SIZE_MAX => Err(format!("`{text}` is too much; 1GiB is the largest message")),
        n => usize::try_from(n).map_err(|_| wrong()),
    }
}

/// A time: `250us`, `5ms`, `10s`, `1m30s`, `1h`; a unit is required except for 0.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write it like 500ms, 10s or 1m30s");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let seconds = decimal(number).ok_or_else(wrong)? * seconds;
        sum += Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
        rest = tail;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(sum) }
}

/// CPU numbers: `0`, `0,2`, `0-3,8`.
pub(crate) fn cpus(text: &str) -> Result<CpuList, String> {
    let wrong = || format!("`{text}` is not a list of CPUs; write it like 0, 0,2 or 0-3");
    let mut list = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.parse().map_err(|_| wrong())?;
        let last: usize = last.parse().map_err(|_| wrong())?;
        if first > last || last > 65_535 {
            return Err(wrong());
        }
        list.extend(first..=last);
    }
    Ok(CpuList(list))
}

/// The CPUs that threads are pinned to, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CpuList(pub(crate) Vec<usize>);

fn decimal(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain { text.parse().ok() } else { None }
}

fn whole(number: &str, scale: f64) -> Option<u64> {
    let value = decimal(number)? * scale;
    let exact = value.fract() == 0.0 && value < 9e15;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked: a whole number from 0 to 9e15"
    )]
    exact.then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CpuList, count, cpus, duration, moment, percent, positive, rate, size};

    #[test]
    fn units_mean_what_they_say() {
        assert_eq!(count("5000"), Ok(5000));
        assert_eq!(count("5k"), Ok(5000));
        assert_eq!(count("1.5m"), Ok(1_500_000));
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("65536"), Ok(65_536));
        assert_eq!(size("16KiB"), Ok(16_384));
        assert_eq!(size("1MiB"), Ok(1 << 20));
        assert_eq!(size("1.5kB"), Ok(1500));
        assert_eq!(rate("50k/s"), Ok(50_000.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!((percent("5%"), percent("0.5")), (Ok(0.05), Ok(0.005)));
        for (text, quarters) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00Z", 951_782_400 * 4),
            ("2024-02-29T23:59:59Z", 1_709_251_199 * 4),
            ("2025-01-01T00:00:00.25Z", 1_735_689_600 * 4 + 1),
            ("1735689600.25", 1_735_689_600 * 4 + 1),
        ] {
            assert_eq!(moment(text), Ok(quarters * 250_000_000), "{text}");
        }
        assert_eq!(cpus("0-2,7"), Ok(CpuList(vec![0, 1, 2, 7])));
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        for text in ["", "k", "-1", "5x", "1.5", "1e3", "inf", "NaN", "1.2.3"] {
            assert!(count(text).is_err(), "{text:?}");
        }
        for text in ["", "5", "s", "5 s", "-1s", "5parsec", "1s5", "1..5s"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
        for text in ["", "KiB", "5kib", "1.5", "5 B"] {
            assert!(size(text).is_err(), "{text:?}");
        }
        for text in ["", "0", "5/m", "-5", "k/s"] {
            assert!(rate(text).is_err(), "{text:?}");
        }
        for text in ["", "a", "3-1", "1,,2", "1-"] {
            assert!(cpus(text).is_err(), "{text:?}");
        }
        for text in [
            "",
            "soon",
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-00-01T00:00:00Z",
            "2025-01-00T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:60:00Z",
            "2025-01-01T00:00:61Z",
            "2025-01-01T00:00Z",
            "2025-01-01T00:00:00",
            "1969-12-31T00:00:00Z",
            "99999999999999",
        ] {
            assert!(moment(text).is_err(), "{text:?}");
        }
        for text in ["", "%", "-1%", "5%%", "1e3%", "2000%", "five"] {
            assert!(percent(text).is_err(), "{text:?}");
        }
        assert!(positive("0").is_err());
    }
}
