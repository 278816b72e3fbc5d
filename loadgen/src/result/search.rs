//! Finds the highest rate that keeps a goal: `--rate '@p99<5ms'`.
//!
//! Rates grow by a factor until one does not keep it (or shrink until one does), and then halve the
//! distance, in proportion, until the two are close. Each is a run of its own.

use crate::base::failure::Failure;
use crate::base::units;
use crate::plan::Plan;
use crate::result::goals;
use crate::result::verdict::Limiter;
use crate::run::outcome::Outcome;
use crate::spec::goal::{self, Goal};
use crate::spec::rate;

/// How rates grow until one is too high.
const GROWTH: f64 = 4.0;
/// A kept rate and one that is not are close enough when they differ by less than this.
const CLOSE: f64 = 1.05;
/// Runs at most.
const STEPS: usize = 16;
/// Nothing lower than this is tried.
const LOWEST: f64 = 1.0;

/// A search under way, and what came of it.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) goal: Goal,
    pub(crate) steps: Vec<Step>,
}

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) rate: f64,
    /// What the goal is about.
    pub(crate) value: Option<f64>,
    /// Why the rate was not kept; `None` if it was.
    pub(crate) missed: Option<&'static str>,
}

impl Search {
    pub(crate) const fn new(goal: Goal) -> Self {
        Self { goal, steps: Vec::new() }
    }

    /// The highest rate that was kept.
    pub(crate) fn kept(&self) -> Option<f64> {
        let kept = self.steps.iter().filter(|step| step.missed.is_none());
        kept.map(|step| step.rate).reduce(f64::max)
    }

    /// The lowest rate that was not.
    fn missed(&self) -> Option<f64> {
        let missed = self.steps.iter().filter(|step| step.missed.is_some());
        missed.map(|step| step.rate).reduce(f64::min)
    }

    /// The rate to try next; `None` when the search is over.
    pub(crate) fn next(&self) -> Option<f64> {
        if self.steps.len() >= STEPS {
            return None;
        }
        match (self.kept(), self.missed()) {
            (None, None) => Some(rate::FIRST),
            (Some(kept), None) => Some(kept * GROWTH).filter(|rate| *rate <= units::RATE_MAX),
            (None, Some(missed)) => (missed > LOWEST).then(|| (missed / GROWTH).max(LOWEST)),
            (Some(kept), Some(missed)) => {
                (missed / kept > CLOSE).then(|| three_digits((kept * missed).sqrt()))
            }
        }
    }

    /// Judges a run at this rate, and says whether it kept the goal.
    pub(crate) fn judge(&mut self, rate: f64, plan: &Plan, outcome: &Outcome) -> bool {
        let value = goals::measure(&self.goal, plan, outcome);
        let missed = if !outcome.is_good() {
            Some("errors")
        } else if outcome.limiter(plan) == Some(Limiter::Generator) {
            Some("the generator was the limit")
        } else if outcome.limiter(plan) == Some(Limiter::Server) {
            Some("the rate was not reached")
        } else if !value.is_some_and(|_| goal::failed(&self.goal, value)) {
            Some("the goal was missed")
        } else {
            None
        };
        self.steps.push(Step { rate, value, missed });
        missed.is_none()
    }

    /// There was no run at this rate.
    pub(crate) fn failed(&mut self, rate: f64) {
        self.steps.push(Step { rate, value: None, missed: Some("the run failed") });
    }

    /// Refuses plans that cannot be run again and again, and goals that a run cannot tell of.
    pub(crate) fn check(&self, plan: &Plan) -> Result<(), Failure> {
        if plan.window.start_at.is_some() {
            return Err(Failure::usage(
                format!("cannot search for a rate by `{}` together with --start-at", self.goal),
                "a search takes several runs, and each begins when the one before has ended",
                "leave --start-at out, or give a rate",
            ));
        }
        plan.check(&self.goal).map_err(|why| {
            Failure::usage(
                format!("no rate can be found by `{}`", self.goal),
                why,
                "give a goal of the latency, such as '@p99<5ms'",
            )
        })
    }
}

/// Rates that people can read.
fn three_digits(rate: f64) -> f64 {
    let unit = 10_f64.powf(rate.log10().floor() - 2.0);
    (rate / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use super::{CLOSE, STEPS, Search, Step};
    use crate::spec::rate::{Rate, parse};

    /// The rates that are tried when those up to `limit` are kept.
    fn tried(limit: f64) -> Search {
        let Ok(Rate::Highest(goal)) = parse("@p99<5ms") else { panic!("a goal") };
        let mut search = Search::new(goal);
        while let Some(rate) = search.next() {
            let missed = (rate > limit).then_some("the goal was missed");
            search.steps.push(Step { rate, value: None, missed });
        }
        search
    }

    #[test]
    fn the_limit_is_found_from_below_in_few_runs() {
        for limit in [3.0, 999.0, 1000.0, 1234.0, 60_000.0, 5e6] {
            let search = tried(limit);
            let kept = search.kept().expect("a rate");
            assert!(kept <= limit && kept * CLOSE * 1.01 >= limit, "{kept} for {limit}");
            assert!(search.steps.len() <= STEPS, "{limit}: {:?}", search.steps);
        }
        assert_eq!(tried(0.0).kept(), None, "nothing is kept");
        assert!(tried(0.0).steps.len() < 8);
        assert!(tried(f64::INFINITY).kept().is_some_and(|rate| rate > 1e7));
    }
}
