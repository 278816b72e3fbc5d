//! Tells what came out: the result on standard output, files where they were asked for, and what
//! was missed on standard error.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use crate::environment::{self, Busy, Files};
use crate::failure::Failure;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::{csv, document, goal, hgrm, hlog, text};

/// The name of the document in a folder of results.
pub(crate) const DOCUMENT: &str = "result.json";

/// Prints the result, and writes the files that were asked for. What cannot be written does not keep the
/// result from being printed.
pub(crate) fn tell(
    plan: &Plan,
    outcome: &Outcome,
    before: &Busy,
    after: &Busy,
) -> Result<(), Failure> {
    let output = &plan.output;
    let wanted = output.json || output.file.is_some() || output.folder.is_some();
    let document =
        wanted.then(|| format!("{:#}\n", document::document(plan, outcome, before, after)));
    let written = write_files(plan, outcome, document.as_deref());
    print(&match document.filter(|_| output.json) {
        Some(document) => document,
        None if output.csv => csv::table(outcome),
        None => text::summary(plan, outcome),
    })?;
    if output.csv {
        // There is no place for them in the table.
        for note in csv::notes(plan, outcome) {
            complain(&format!("note: {note}"));
        }
    }
    written
}

fn write_files(plan: &Plan, outcome: &Outcome, document: Option<&str>) -> Result<(), Failure> {
    let output = &plan.output;
    let log = || hlog::log(plan, outcome).map_err(|why| no_log(&why));
    let percentiles = || hgrm::distribution(outcome.record.latency.histogram());
    if let (Some(path), Some(document)) = (&output.file, document) {
        write(path, document)?;
    }
    if let Some(path) = &output.hgrm {
        write(path, &percentiles())?;
    }
    if let Some(path) = &output.hlog {
        write(path, &log()?)?;
    }
    if let (Some(folder), Some(document)) = (&output.folder, document) {
        fs::create_dir_all(folder).map_err(|e| unwritable(folder, &e))?;
        write(&folder.join(DOCUMENT), document)?;
        write(&folder.join("latency.hgrm"), &percentiles())?;
        write(&folder.join("latency.hlog"), &log()?)?;
        write(&folder.join("seconds.csv"), &csv::table(outcome))?;
        if let Some(config) = environment::kernel_config(&Files::of_this_machine()) {
            write(&folder.join("kernel.config"), &config)?;
        }
    }
    Ok(())
}

/// Says which goals were missed; whether none was.
pub(crate) fn goals(plan: &Plan, outcome: &Outcome) -> bool {
    let mut met = true;
    for goal in &plan.output.goals {
        let value = goal.measure(plan, outcome);
        if goal::failed(goal, value) {
            met = false;
            complain(&format!("failed: {goal}, it was {}", goal.show(value)));
        }
    }
    met
}

/// Prints on standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    printed(std::io::stdout().write_all(text.as_bytes()))
}

/// What became of printing.
pub(crate) fn printed(written: std::io::Result<()>) -> Result<(), Failure> {
    match written.and_then(|()| std::io::stdout().flush()) {
        // Whoever read has gone, and wants no more of it.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::preflight(
            "cannot write to standard output",
            e.to_string(),
            "send it where there is room, or write it to a file with -o",
        )),
        _ => Ok(()),
    }
}

/// Writes a file.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|e| unwritable(path, &e))
}

pub(crate) fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::preflight(
        format!("cannot write {}", path.display()),
        error.to_string(),
        "name a file in a folder that exists and can be written to",
    )
}

fn no_log(why: &str) -> Failure {
    Failure::preflight("cannot make the interval log", why, "leave --hlog out")
}

pub(crate) fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "loadgen: {text}"));
}
