//! When the runs were, on the clocks of their hosts, and their seconds side by side.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::base::clock::SECOND;
use crate::base::failure::Failure;
use crate::base::format;
use crate::base::histogram::{Times, packed};
use crate::result::document::{self, Run};
use crate::run::seconds::{Second, summary};

/// The windows of the runs.
#[derive(Debug)]
pub(super) struct Windows {
    /// From and to, in nanoseconds since 1970.
    windows: Vec<(u64, u64)>,
    /// How far each clock may be from true time.
    errors: Vec<Option<u64>>,
    /// Whether all runs had the same clock.
    one_clock: bool,
}

impl Windows {
    pub(super) fn of(runs: &[Run]) -> Result<Self, Failure> {
        let refuse = |run: &Run| {
            Failure::usage(
                format!("cannot merge {}", run.name),
                "it does not tell when its window was",
                "give runs that were not given up before they began to measure",
            )
        };
        let window = |run: &Run| {
            let at = |key: &str| run.document["clock"][key].as_u64();
            let window = (at("window_opened_unix_ns"), at("window_closed_unix_ns"));
            match window {
                (Some(from), Some(to)) if 0 < from && from < to => Ok((from, to)),
                _ => Err(refuse(run)),
            }
        };
        let boots: BTreeSet<Option<&str>> =
            runs.iter().map(|run| run.text("identity.boot_id")).collect();
        Ok(Self {
            windows: runs.iter().map(window).collect::<Result<_, _>>()?,
            errors: runs.iter().map(|run| run.value("clock.error_ns").as_u64()).collect(),
            one_clock: boots.len() == 1 && !boots.contains(&None),
        })
    }

    pub(super) fn opened(&self) -> u64 {
        self.windows.iter().map(|(from, _)| *from).min().unwrap_or(0)
    }

    pub(super) fn closed(&self) -> u64 {
        self.windows.iter().map(|(_, to)| *to).max().unwrap_or(0)
    }

    /// From the first one's beginning to the last one's end.
    pub(super) fn length(&self) -> u64 {
        self.closed().saturating_sub(self.opened())
    }

    /// What is in all windows.
    pub(super) fn common(&self) -> u64 {
        let from = self.windows.iter().map(|(from, _)| *from).max().unwrap_or(0);
        let to = self.windows.iter().map(|(_, to)| *to).min().unwrap_or(0);
        to.saturating_sub(from)
    }

    /// The time that the runs share, as a part of all time in which anything was measured, by their
    /// clocks.
    pub(super) fn overlap(&self) -> f64 {
        share(self.common(), self.length())
    }

    /// What it is at least, by what is known of the clocks.
    pub(super) fn sure_overlap(&self) -> f64 {
        let error = self.clock_error().unwrap_or(0);
        share(self.common().saturating_sub(error), self.length())
    }

    /// How far two of the clocks may be apart; `None` if nobody knows.
    pub(super) fn clock_error(&self) -> Option<u64> {
        if self.one_clock {
            return Some(0);
        }
        let mut errors = self.errors.iter().copied().collect::<Option<Vec<u64>>>()?;
        errors.sort_unstable();
        Some(errors.iter().rev().take(2).fold(0, |sum, error| sum.saturating_add(*error)))
    }

    /// How far the worst of the clocks may be from true time.
    pub(super) fn distance_from_true_time(&self) -> Option<u64> {
        self.errors.iter().copied().collect::<Option<Vec<u64>>>()?.into_iter().max()
    }

    /// What speaks against the sums.
    pub(super) fn notes(&self) -> Vec<String> {
        /// Less in common than this shows in the sums.
        const WHOLE: f64 = 0.99;
        let mut notes = Vec::new();
        if self.overlap() < WHOLE {
            notes.push(format!(
                "the windows share {:.1} % of {}: the rate is of all of it, and lower than while \
                 all runs were there",
                self.overlap() * 100.0,
                format::time(self.length())
            ));
        }
        match self.clock_error() {
            None => notes.push(
                "nothing is known of how far the hosts' clocks are apart: whether the runs were \
                 at the same time, and their seconds beside each other, rest on the clocks alone"
                    .to_owned(),
            ),
            Some(0) => {}
            Some(error) => notes.push(format!(
                "the hosts' clocks may be {} apart: the time series is not sharper than that",
                format::time(error)
            )),
        }
        notes
    }
}

#[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What several runs tell of about the same second.
#[derive(Debug)]
struct Together {
    times: Times,
    errors: u64,
    connections: Option<u64>,
    length: u64,
}

/// More seconds than a month has are no time series.
const MOST_SECONDS: u64 = 31 * 86_400;

/// The time series of all runs: each second goes to that second of the merged window which it is
/// nearest to. Also how far the worst one is from there.
pub(super) fn intervals(runs: &[Run], windows: &Windows) -> Result<(Vec<Value>, u64), String> {
    let opened = windows.opened();
    let mut seconds = BTreeMap::<u64, Together>::new();
    let mut worst = 0;
    for run in runs {
        for row in run.intervals() {
            let start = row["start_unix_ns"].as_u64().filter(|start| *start >= opened);
            let offset = start
                .ok_or_else(|| format!("{}: an interval does not lie in the window", run.name))?
                - opened;
            let second = offset.saturating_add(SECOND / 2) / SECOND;
            if second > MOST_SECONDS {
                return Err(format!("{}: an interval does not lie in the window", run.name));
            }
            worst = worst.max(offset.abs_diff(second * SECOND));
            add(seconds.entry(second).or_insert_with(nothing), row)
                .map_err(|why| format!("{}: intervals: {why}", run.name))?;
        }
    }
    let count = seconds.last_key_value().map_or(0, |(last, _)| last + 1);
    let rows = (0..count).map(|second| seconds.remove(&second).unwrap_or_else(nothing));
    let (rows, lengths): (Vec<Second>, Vec<u64>) = rows
        .zip(0..)
        .map(|(together, second)| {
            let mut row = summary(second, &together.times);
            (row.errors, row.connections) = (together.errors, together.connections);
            (row, if together.length == 0 { SECOND } else { together.length })
        })
        .unzip();
    let mut rows = document::intervals(&rows, opened, windows.length());
    for (row, length) in rows.iter_mut().zip(lengths) {
        // A second that lies across the end of the window is as long as it was in its run.
        row["length_ns"] = json!(length);
    }
    Ok((rows, worst))
}

fn nothing() -> Together {
    Together { times: Times::new(), errors: 0, connections: None, length: 0 }
}

fn add(together: &mut Together, row: &Value) -> Result<(), String> {
    if let Some(packed) = row[packed::KEY].as_str() {
        together.times.merge(&packed::unpack(packed)?);
    }
    let number = |key: &str| row[key].as_u64();
    together.errors = together.errors.saturating_add(number("errors").unwrap_or(0));
    together.connections = match (together.connections, number("connections")) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    };
    together.length = together.length.max(number("length_ns").unwrap_or(0)).min(SECOND);
    Ok(())
}
