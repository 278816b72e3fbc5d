//! Which run this is, and which program made it.

use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use crate::base::build;
use crate::base::files::Files;
use crate::plan::Plan;

pub(crate) fn value(plan: &Plan, began: u64, ended: u64) -> Value {
    let boot = Files::of_this_machine().line("proc/sys/kernel/random/boot_id");
    json!({
        "run_id": run_id(began, boot.as_deref()),
        "started_utc": utc(began),
        "ended_utc": utc(ended),
        "measured_commit": plan.output.commit,
        "boot_id": boot,
        "tool": build::tool(),
    })
}

/// Sixteen hexadecimal digits that no other run has.
pub(crate) fn run_id(began: u64, boot: Option<&str>) -> String {
    let seed = format!("{began} {} {}", std::process::id(), boot.unwrap_or_default());
    Sha1::digest(seed).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A time since 1970 in nanoseconds, as RFC 3339 writes it.
pub(crate) fn utc(nanos: u64) -> String {
    let (seconds, millis) = (nanos / 1_000_000_000, nanos / 1_000_000 % 1000);
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day at their end: eras of 400 of them.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn days_and_times_are_those_of_the_calendar() {
        let shown = |seconds: u64| utc(seconds * 1_000_000_000);
        assert_eq!(shown(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(shown(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(shown(1_709_251_199), "2024-02-29T23:59:59.000Z");
        assert_eq!(shown(1_735_689_600), "2025-01-01T00:00:00.000Z");
        assert_eq!(utc(1_000_000_000_123_456_789), "2001-09-09T01:46:40.123Z");
    }
}
