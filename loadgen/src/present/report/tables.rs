//! The tables of a report: results and errors.

use serde_json::Value;

use super::figures::Named;
use super::html::{Cell, table};
use crate::base::format;
use crate::present::metric::{self, Metric};

/// Figures of the result, one row each, as far as any run has them.
const ROWS: [(&str, &str); 14] = [
    ("rate", "rate"),
    ("p50", "p50"),
    ("p90", "p90"),
    ("p99", "p99"),
    ("p99.9", "p99.9"),
    ("max", "max"),
    ("mean", "mean"),
    ("service.p99", "service time p99"),
    ("handshake.p99", "handshake p99"),
    ("scheduling-delay.p99", "generator's scheduling delay p99"),
    ("achieved", "of the offered rate"),
    ("delivery-ratio", "delivery ratio"),
    ("server-cpu", "server's CPU each"),
    ("generator-cpu", "generator's CPU each"),
];

/// A column per run.
pub(super) fn results(runs: &[Named<'_>]) -> String {
    let mut rows: Vec<(String, Vec<Cell>)> = Vec::new();
    for (metric, name) in ROWS {
        let Ok(metric) = metric::parse(metric) else { continue };
        if runs.iter().any(|named| metric.of(named.run).is_some()) {
            rows.push((name.to_owned(), runs.iter().map(|named| figure(&metric, named)).collect()));
        }
    }
    let floor = |named: &Named<'_>| named.run.value("trust.floor.round_trip_p50_ns").as_u64();
    let shown = |named: &Named<'_>| {
        Cell::Number(floor(named).map_or_else(|| "not calibrated".to_owned(), format::time))
    };
    rows.push(("tool's own floor p50".to_owned(), runs.iter().map(shown).collect()));
    let verdict = |named: &Named<'_>| {
        let total = named.run.number("outcome.errors_total").unwrap_or(0.0);
        match (is_void(named), total) {
            (true, _) => Cell::Class("number bad", format!("{total:.0}: no result")),
            (_, 0.0) => Cell::Class("number good", "none".to_owned()),
            (_, total) => Cell::Class("number bad", format!("{total:.0}")),
        }
    };
    rows.push(("errors".to_owned(), runs.iter().map(verdict).collect()));
    let titles = [String::new()].into_iter();
    let titles: Vec<String> =
        titles.chain(runs.iter().map(|named| named.name.to_owned())).collect();
    table("results", &titles, &rows)
}

/// Without a result there is no figure to quote.
fn figure(metric: &Metric, named: &Named<'_>) -> Cell {
    let value = metric.of(named.run).filter(|_| !is_void(named));
    // That is no result; but what the generator could do, a server can, too, and perhaps more.
    let limited = named.run.text("trust.limited_by") == Some("generator");
    let more = if limited && metric.name == "rate" { "none; ≥ " } else { "" };
    Cell::Number(
        value.map_or_else(|| "–".to_owned(), |value| format!("{more}{}", metric.show(value))),
    )
}

fn is_void(named: &Named<'_>) -> bool {
    named.run.value("outcome.void").as_bool().unwrap_or(false)
}

/// Errors by class, with examples.
pub(super) fn errors(runs: &[Named<'_>]) -> String {
    let mut rows = Vec::new();
    for named in runs {
        for (class, error) in named.run.value("outcome.errors").as_object().into_iter().flatten() {
            let examples: Vec<&str> = error["examples"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            rows.push((
                named.name.to_owned(),
                vec![
                    Cell::Text(class.replace('_', " ")),
                    Cell::Number(error["count"].to_string()),
                    Cell::Text(examples.join("\n")),
                ],
            ));
        }
    }
    if rows.is_empty() {
        return "<p class=\"soft\">None in any run.</p>\n".to_owned();
    }
    let titles = ["run", "class", "count", "first examples"].map(ToOwned::to_owned);
    table("errors", &titles, &rows)
}
