//! A comparison as people and programs read it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::comparison::{Cell, Change, Comparison, Row};
use crate::present::compare::statistics::Interval;
use crate::result::document::Run;

/// Columns of the table.
const COLUMNS: [&str; 4] = ["metric", "base", "new", "change"];

pub(super) fn text(comparison: &Comparison) -> String {
    let mut out = String::new();
    for (side, runs) in sides(comparison) {
        let _ = writeln!(out, "{side:<5}{}", describe(runs));
    }
    if !comparison.differences.is_empty() {
        out.push_str("\nDifferent between the runs:\n");
    }
    for difference in &comparison.differences {
        let (base, new) = (difference.base.join(" | "), difference.new.join(" | "));
        let standing = difference.standing.name();
        let _ = writeln!(out, "  {}: {base} -> {new} ({standing})", difference.name);
    }
    let cells: Vec<[String; 4]> = std::iter::once(COLUMNS.map(ToOwned::to_owned))
        .chain(comparison.rows.iter().map(cells))
        .collect();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max();
    let widths = [0, 1, 2].map(|column| width(column).unwrap_or(0));
    out.push('\n');
    for [metric, base, new, change] in &cells {
        let [a, b, c] = widths;
        let _ = writeln!(out, "  {metric:<a$}  {base:>b$}  {new:>c$}  {change}");
    }
    let _ = writeln!(out, "\n{}", legend(comparison));
    for warning in &comparison.warnings {
        let _ = writeln!(out, "\nNote: {warning}.");
    }
    out
}

pub(super) fn markdown(comparison: &Comparison) -> String {
    let mut out = String::new();
    for (side, runs) in sides(comparison) {
        let _ = writeln!(out, "- **{side}**: {}", cell_text(&describe(runs)));
    }
    if !comparison.differences.is_empty() {
        out.push_str("\n| different | base | new | |\n|---|---|---|---|\n");
    }
    for difference in &comparison.differences {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            cell_text(&difference.name),
            cell_text(&difference.base.join(", ")),
            cell_text(&difference.new.join(", ")),
            difference.standing.name()
        );
    }
    let _ = writeln!(out, "\n| {} |\n|---|---:|---:|:---|", COLUMNS.join(" | "));
    for row in comparison.rows.iter().map(cells) {
        let _ = writeln!(out, "| {} |", row.map(|cell| cell_text(&cell)).join(" | "));
    }
    let _ = writeln!(out, "\n{}", legend(comparison));
    for warning in &comparison.warnings {
        let _ = writeln!(out, "\n> Note: {}.", cell_text(warning));
    }
    out
}

/// Text that cannot end a cell, or be taken for markup.
fn cell_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '~' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

/// The version of the JSON document's form.
const SCHEMA: &str = "ringbolt.loadgen.compare/1";

pub(super) fn json(comparison: &Comparison) -> Value {
    let side = |runs: &[Run]| -> Vec<Value> {
        let one = |run: &Run| json!({ "name": run.name, "run_id": run.value("identity.run_id") });
        runs.iter().map(one).collect()
    };
    json!({
        "schema": SCHEMA,
        "base": side(&comparison.base),
        "new": side(&comparison.new),
        "differences": comparison.differences.iter().map(|difference| json!({
            "name": difference.name,
            "base": difference.base,
            "new": difference.new,
            "standing": difference.standing.name(),
        })).collect::<Vec<_>>(),
        "metrics": comparison.rows.iter().map(json_row).collect::<Vec<_>>(),
        "regressions": comparison.regressions(),
        "threshold_share": comparison.threshold,
        "warnings": comparison.warnings,
    })
}

fn json_row(row: &Row) -> Value {
    let interval = |interval: &Interval| {
        json!({
            "low": interval.low, "high": interval.high, "confidence": interval.confidence,
        })
    };
    let cell = |cell: &Cell| json!({ "runs": cell.runs, "median": cell.median, "interval": interval(&cell.interval) });
    let (verdict, p, ratio) = match &row.change {
        Change::NotEnoughRuns => ("not enough runs", None, None),
        Change::Nothing { p } => ("nothing shown", Some(*p), None),
        Change::Shown { p, ratio, worse } => {
            (if *worse { "worse" } else { "better" }, Some(*p), ratio.as_ref())
        }
    };
    json!({
        "metric": row.metric.name,
        "unit": row.metric.unit(),
        "more_is_better": row.metric.more_is_better(),
        "base": cell(&row.base),
        "new": cell(&row.new),
        "verdict": verdict,
        "p_adjusted": p,
        "ratio": ratio.map(|(ratio, _)| ratio),
        "ratio_interval": ratio.map(|(_, of)| interval(of)),
    })
}

pub(super) fn sides(comparison: &Comparison) -> [(&'static str, &[Run]); 2] {
    [("base", &comparison.base), ("new", &comparison.new)]
}

/// What a side is: how many runs, of what, on what.
pub(super) fn describe(runs: &[Run]) -> String {
    let count = match runs.len() {
        1 => "1 run".to_owned(),
        n => format!("{n} runs"),
    };
    let Some(first) = runs.first() else { return count };
    let told = [
        ("", "workload.scenario"),
        ("kernel ", "environment.kernel.release"),
        ("loadgen on ", "environment.io_uring.driver"),
        ("commit ", "identity.measured_commit"),
    ];
    let told = told.iter().filter_map(|(name, path)| {
        let value = first.text(path)?;
        Some(format!(", {name}{value}"))
    });
    count + &told.collect::<String>()
}

/// A row's texts.
pub(super) fn cells(row: &Row) -> [String; 4] {
    let cell = |cell: &Cell| {
        let (low, high) = (cell.interval.low, cell.interval.high);
        let off = (cell.median - low).max(high - cell.median);
        let median = row.metric.show(cell.median);
        // One run says nothing about where others would lie.
        if cell.median > 0.0 && cell.interval.confidence > 0.0 {
            format!("{median} ±{:.1} %", off / cell.median * 100.0)
        } else {
            median
        }
    };
    [row.metric.name.clone(), cell(&row.base), cell(&row.new), change(&row.change)]
}

fn change(change: &Change) -> String {
    match change {
        Change::NotEnoughRuns => "not enough runs".to_owned(),
        Change::Nothing { p } => format!("~ (p={p:.3})"),
        Change::Shown { p, ratio, worse } => {
            let verdict = if *worse { "worse" } else { "better" };
            let percent = |ratio: f64| format!("{:+.2} %", (ratio - 1.0) * 100.0);
            let by = ratio.map_or_else(String::new, |(ratio, interval)| {
                let (low, high) = (percent(interval.low), percent(interval.high));
                format!("{} [{low} to {high}] ", percent(ratio))
            });
            format!("{by}{verdict} (p={p:.3})")
        }
    }
}

/// What the figures in the table are.
pub(super) fn legend(comparison: &Comparison) -> String {
    let confidence = comparison.rows.iter().flat_map(|row| [row.base, row.new]);
    let least = confidence.map(|cell| cell.interval.confidence).fold(1.0, f64::min);
    let interval = match (least * 1000.0).floor() / 10.0 {
        0.0 => ", and of a single run itself".to_owned(),
        percent => format!(
            ", with the half-width of an interval that holds the true one with at least {percent:.1} %"
        ),
    };
    format!(
        "Medians of the runs{interval}. p: Mann-Whitney U, adjusted for {} metrics; ~: nothing shown.",
        comparison.rows.len()
    )
}
