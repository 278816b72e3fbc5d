//! What is to be done: a plan, and the scenario that it is of.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::base::failure::Failure;
use crate::base::histogram::Times;
use crate::plan::Plan;
use crate::run::outcome::Outcome;
use crate::run::stats::Stats;
use crate::run::worker::{Launch, Thread};
use crate::spec::rate::Rate;

/// A plan and its scenario.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) plan: Arc<Plan>,
    pub(crate) scenario: Arc<dyn Scenario>,
}

impl Job {
    pub(crate) fn new(plan: Plan, scenario: impl Scenario + 'static) -> Self {
        Self { plan: Arc::new(plan), scenario: Arc::new(scenario) }
    }
}

/// What the connections of a run do, and how it is told.
pub(crate) trait Scenario: fmt::Debug + Send + Sync {
    /// The name on the command line and in documents.
    fn name(&self) -> &'static str;

    /// What is counted, one and many.
    fn unit(&self) -> (&'static str, &'static str);

    /// What the main latency is called.
    fn latency_name(&self) -> &'static str;

    /// What is run, in some words.
    fn headline(&self) -> String;

    /// What it adds to the document's workload, by key.
    fn workload(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// What it adds to the document's outcome, by key.
    fn outcome(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// Writes what the summary says of messages and connections besides their counts.
    fn write_counts(&self, out: &mut String, outcome: &Outcome) -> fmt::Result {
        let _ = (out, outcome);
        Ok(())
    }

    /// Writes what the summary says of how connections fared.
    fn write_connections(&self, out: &mut String) -> fmt::Result {
        let _ = out;
        Ok(())
    }

    /// Times of its own, with their names in the summary.
    fn times(&self) -> Vec<(&'static str, Times)> {
        Vec::new()
    }

    /// Whether opening handshakes are something else than what the main latency is of.
    fn tells_handshakes(&self) -> bool {
        true
    }

    /// Starts the thread of a worker.
    fn start(&self, launch: Launch) -> std::io::Result<Thread>;

    /// All threads have ended: adds to what they measured what only all of them together know.
    fn complete(&self, stats: &mut Stats) {
        let _ = stats;
    }
}

/// The command line of a scenario.
pub(crate) trait ScenarioArgs {
    /// The rate that was asked for, where the scenario has one.
    fn rate(&mut self) -> Option<&mut Rate> {
        None
    }

    /// Makes a job of it, or says why it makes none.
    fn job(self) -> Result<Job, Failure>;
}

/// The keys that a scenario adds to documents; in those of others they are `null`.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) workload: &'static [&'static str],
    pub(crate) outcome: &'static [&'static str],
}

impl Keys {
    pub(crate) const NONE: Self = Self { workload: &[], outcome: &[] };
}
