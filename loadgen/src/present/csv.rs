//! The time series as comma-separated values (RFC 4180): a header, and a row per second.

use std::fmt::Write as _;

use crate::base::clock::SECOND;
use crate::plan::Plan;
use crate::run::outcome::Outcome;

const HEADER: &str = "second,start_unix_ns,length_ns,received,errors,connections,p50_ns,p90_ns,\
                      p99_ns,p99_9_ns,max_ns";

/// What is to be known of a run before its seconds are believed.
pub(crate) fn notes(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let mut notes = outcome.verdicts(plan);
    if outcome.is_void() {
        notes.insert(0, "no result: more than 1 % of what was attempted went wrong".to_owned());
    }
    notes
}

pub(crate) fn table(outcome: &Outcome) -> String {
    let mut out = format!("{HEADER}\r\n");
    for row in &outcome.intervals {
        let offset = row.second.saturating_mul(SECOND);
        let start = outcome.when.opened.saturating_add(offset);
        let length = outcome.elapsed.saturating_sub(offset).min(SECOND);
        let connections = row.connections.map_or_else(String::new, |n| n.to_string());
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "{},{start},{length},{},{},{connections},{},{},{},{},{}\r\n",
            row.second, row.received, row.errors, row.p50, row.p90, row.p99, row.p999, row.max
        );
    }
    out
}
