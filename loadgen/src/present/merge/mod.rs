//! `loadgen merge`: runs of several processes or hosts that drove one server at the same time, as
//! one run.
//!
//! Counts add up and histograms are merged; percentiles are those of the merged histograms, never
//! means of percentiles. What each run was and where stays in the document.

mod sums;
mod time;

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::base::failure::Failure;
use crate::base::files::Files;
use crate::base::{build, format, output};
use crate::present::arguments::MergeArgs;
use crate::present::compare::unlike;
use crate::result::document::{Run, SCHEMA, read_all};
use crate::result::identity;
use crate::result::verdict::is_void;

use time::Windows;

/// Reads the runs and writes the one that they make together.
pub(crate) fn run(args: &MergeArgs) -> Result<ExitCode, Failure> {
    let runs = read_all(&args.runs)?;
    check_set(&runs)?;
    let windows = Windows::of(&runs)?;
    if windows.sure_overlap() < args.min_overlap || windows.common() == 0 {
        return Err(Failure::not_comparable(
            format!(
                "the runs were not at the same time: their windows share {:.1} % of {}",
                windows.sure_overlap() * 100.0,
                format::time(windows.length())
            ),
            format!(
                "{:.0} % are asked for, or their rates do not add up",
                args.min_overlap * 100.0
            ),
            "start the runs at the same time, for the same --duration, or allow it with \
             --min-overlap",
        ));
    }
    let document = format!("{:#}\n", document(&runs, &windows)?);
    match &args.output {
        Some(path) => output::write(path, &document)?,
        None => output::print(&document)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Several runs, each of them once.
fn check_set(runs: &[Run]) -> Result<(), Failure> {
    let remedy = "give the results of runs that were made at the same time, each once";
    if runs.len() < 2 {
        return Err(Failure::usage("there is nothing to merge", "one run is not several", remedy));
    }
    let mut seen = BTreeSet::new();
    for run in runs {
        let id = run.text("identity.run_id").unwrap_or_default();
        if !seen.insert(id) {
            return Err(Failure::usage(
                format!("the run {id} is given twice, the second time as {}", run.name),
                "it would count twice",
                remedy,
            ));
        }
        if run.document["merged"].is_object() {
            return Err(Failure::usage(
                format!("{} has been merged before", run.name),
                "how far its clocks are apart could not be told any more",
                "merge all of the runs at once",
            ));
        }
    }
    Ok(())
}

fn document(runs: &[Run], windows: &Windows) -> Result<Value, Failure> {
    let documents: Vec<&Value> = runs.iter().map(|run| &run.document).collect();
    let group = |name: &str| documents.iter().map(|document| &document[name]).collect::<Vec<_>>();
    let workload = sums::workload(&group("workload")).map_err(|name| {
        Failure::not_comparable(
            format!("cannot merge: the runs differ in workload.{name}"),
            "then their latencies are of different things",
            "merge runs of the same load; counts and rates may differ",
        )
    })?;
    let unreadable = |why: String| {
        Failure::usage(
            "cannot merge the histograms",
            why,
            "give files as `loadgen ... -o FILE` has written them",
        )
    };
    let mut outcome = sums::results(&group("outcome")).map_err(unreadable)?;
    // Connections that are held are what idle runs attempt.
    let held = if workload["scenario"] == "idle" { "connections_opened" } else { "" };
    let held = outcome[held].as_u64().unwrap_or(0);
    complete(&mut outcome, windows, held);
    let received = outcome["received"].as_f64().unwrap_or(0.0);
    let (intervals, alignment) = time::intervals(runs, windows).map_err(unreadable)?;
    Ok(json!({
        "schema": SCHEMA,
        "identity": who(&group("identity")),
        "clock": {
            "window_opened_unix_ns": windows.opened(),
            "window_closed_unix_ns": windows.closed(),
            "error_ns": windows.distance_from_true_time(),
        },
        "environment": documents.first().map(|first| first["environment"].clone()),
        "workload": workload,
        "outcome": outcome,
        "intervals": intervals,
        "cost": sums::cost(runs, received),
        "trust": trust(runs, windows, &group("trust")).map_err(unreadable)?,
        "goals": [],
        "merged": {
            "runs": runs.iter().map(member).collect::<Vec<_>>(),
            "overlap_share": windows.overlap(),
            "clock_error_ns": windows.clock_error(),
            "alignment_error_ns": alignment,
        },
    }))
}

/// What does not add up, but follows from the sums.
#[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
fn complete(outcome: &mut Value, windows: &Windows, held: u64) {
    let count = |key: &str| outcome[key].as_u64().unwrap_or(0);
    let (received, errors) = (count("received"), count("errors_total"));
    let is_void = is_void(errors, received + held);
    let ratio = |a: &Value, b: &Value| Some(a.as_f64()? / b.as_f64().filter(|b| *b > 0.0)?);
    let achieved = ratio(&outcome["received"], &outcome["offered"]);
    let length = windows.length();
    outcome["achieved"] = json!(achieved);
    outcome["elapsed_ns"] = json!(length);
    outcome["rate_per_s"] = json!(received as f64 * 1e9 / length.max(1) as f64);
    outcome["void"] = json!(is_void);
    outcome["headline"] = json!(outcome["headline"] == true && !is_void);
    if outcome["delivery_ratio"].is_object() {
        let share =
            ratio(&outcome["delivery_ratio"]["received"], &outcome["delivery_ratio"]["expected"]);
        outcome["delivery_ratio"]["ratio"] = json!(share);
    }
}

/// A run of its own, that lasted from the first start to the last end.
fn who(identities: &[&Value]) -> Value {
    // RFC 3339 in one form sorts as text does.
    let times = |key: &str| {
        let mut times: Vec<&str> = identities.iter().filter_map(|of| of[key].as_str()).collect();
        times.sort_unstable();
        times
    };
    let common = |key: &str| {
        let first = identities.first().map(|first| &first[key]);
        first.filter(|first| identities.iter().all(|of| &of[key] == *first)).cloned()
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    let boot = Files::of_this_machine().line("proc/sys/kernel/random/boot_id");
    json!({
        "run_id": identity::run_id(now, boot.as_deref()),
        "started_utc": times("started_utc").first(),
        "ended_utc": times("ended_utc").last(),
        "measured_commit": common("measured_commit"),
        "boot_id": common("boot_id"),
        "tool": build::tool(),
    })
}

/// What a run was, without what it measured.
fn member(run: &Run) -> Value {
    let mut member = json!({ "name": run.name });
    for group in ["identity", "clock", "environment", "workload"] {
        member[group] = run.document[group].clone();
    }
    member
}

fn trust(runs: &[Run], windows: &Windows, trusts: &[&Value]) -> Result<Value, String> {
    let mut merged = sums::results(trusts)?;
    let is_limited = |by: &&str| trusts.iter().any(|trust| trust["limited_by"] == *by);
    merged["limited_by"] = json!(["generator", "server"].into_iter().find(is_limited));
    let mut notes = windows.notes();
    let different = unlike(runs);
    if !different.is_empty() {
        notes.push(format!(
            "the environments differ in {}; shown is that of {}",
            different.join(", "),
            runs.first().map_or("", |run| run.name.as_str())
        ));
    }
    for run in runs {
        let told = run.value("trust.notes").as_array().into_iter().flatten();
        notes.extend(told.filter_map(Value::as_str).map(|note| format!("{}: {note}", run.name)));
    }
    merged["notes"] = json!(notes);
    Ok(merged)
}

#[cfg(test)]
mod tests;
