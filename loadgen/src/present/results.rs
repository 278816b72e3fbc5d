//! Tells what came out: the result on standard output, files where they were asked for, and what
//! was missed on standard error.

use std::fs;

use crate::base::failure::Failure;
use crate::base::files::Files;
use crate::base::output::{self, DOCUMENT, complain, unwritable};
use crate::plan::Plan;
use crate::present::{csv, hgrm, hlog, summary};
use crate::result::environment::{self, Busy};
use crate::result::search::Search;
use crate::result::{document, goals};
use crate::run::job::Job;
use crate::run::outcome::Outcome;
use crate::spec::goal;

/// Prints the result, and writes the files that were asked for. What cannot be written does not keep the
/// result from being printed.
pub(crate) fn write_all(
    job: &Job,
    outcome: &Outcome,
    search: Option<&Search>,
    before: &Busy,
    after: &Busy,
) -> Result<(), Failure> {
    let plan = &job.plan;
    let asked = &plan.output;
    let has_document = asked.json || asked.file.is_some() || asked.folder.is_some();
    let document = has_document
        .then(|| format!("{:#}\n", document::document(job, outcome, search, before, after)));
    let written = write_files(plan, outcome, document.as_deref());
    output::print(&match document.filter(|_| asked.json) {
        Some(document) => document,
        None if asked.csv => csv::table(outcome),
        None => summary::summary(job, outcome, search),
    })?;
    if asked.csv {
        // There is no place for them in the table.
        for note in csv::notes(plan, outcome) {
            complain(&format!("note: {note}"));
        }
    }
    written
}

fn write_files(plan: &Plan, outcome: &Outcome, document: Option<&str>) -> Result<(), Failure> {
    let asked = &plan.output;
    let log = || hlog::log(plan, outcome).map_err(|why| no_log(&why));
    let percentiles = || hgrm::distribution(outcome.stats.latency.histogram());
    if let (Some(path), Some(document)) = (&asked.file, document) {
        output::write(path, document)?;
    }
    if let Some(path) = &asked.hgrm {
        output::write(path, &percentiles())?;
    }
    if let Some(path) = &asked.hlog {
        output::write(path, &log()?)?;
    }
    if let (Some(folder), Some(document)) = (&asked.folder, document) {
        fs::create_dir_all(folder).map_err(|e| unwritable(folder, &e))?;
        output::write(&folder.join(DOCUMENT), document)?;
        output::write(&folder.join("latency.hgrm"), &percentiles())?;
        output::write(&folder.join("latency.hlog"), &log()?)?;
        output::write(&folder.join("seconds.csv"), &csv::table(outcome))?;
        if let Some(config) = environment::kernel_config(&Files::of_this_machine()) {
            output::write(&folder.join("kernel.config"), &config)?;
        }
    }
    Ok(())
}

/// Says which goals were missed; whether none was.
pub(crate) fn goals(plan: &Plan, outcome: &Outcome) -> bool {
    let mut met = true;
    for goal in &plan.output.goals {
        let value = goals::measure(goal, plan, outcome);
        if goal::failed(goal, value) {
            met = false;
            complain(&format!("failed: {goal}, it was {}", goal.show(value)));
        }
    }
    met
}

fn no_log(why: &str) -> Failure {
    Failure::preflight("cannot make the interval log", why, "leave --hlog out")
}
