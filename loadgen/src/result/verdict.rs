//! How far a run can be trusted, and what limited it.

use crate::base::clock::Nanos;
use crate::base::format;
use crate::plan::{Plan, source};
use crate::run::floor::Floor;
use crate::run::outcome::Outcome;

impl Outcome {
    /// Whether the run has a result worth quoting: nothing went wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.stats.errors.total() == 0
    }

    /// Whether so much went wrong that rates and percentiles mean nothing.
    pub(crate) fn is_void(&self) -> bool {
        is_void(self.stats.errors.total(), self.messages() + self.held)
    }

    /// Whether there is a rate to quote: something was measured, little went wrong, and it was not
    /// the generator that limited it.
    pub(crate) fn has_headline(&self, plan: &Plan) -> bool {
        self.messages() + self.held > 0
            && self.elapsed > 0
            && !self.is_void()
            && self.limiter(plan) != Some(Limiter::Generator)
    }

    /// What kept the run from being faster, or its latency from being lower, as far as can be told.
    pub(crate) fn limiter(&self, plan: &Plan) -> Option<Limiter> {
        if self.achieved().is_some_and(|share| share < ACHIEVED) {
            let generator = self.is_busy(plan) || self.starved() > STARVED;
            return Some(if generator { Limiter::Generator } else { Limiter::Server });
        }
        if plan.arrivals().is_none() && plan.spin.is_zero() && self.is_busy(plan) {
            // Both may be at their end; then it is the server's.
            return Some(if self.server_load() > BUSY {
                Limiter::Server
            } else {
                Limiter::Generator
            });
        }
        let (lag, latency) =
            (self.stats.scheduling_delay.percentile(99.0), self.stats.latency.percentile(99.0));
        let late = lag > LAG_FLOOR && lag > latency / LAG_LIMIT;
        late.then_some(Limiter::Generator)
    }

    /// Whether a thread of the generator had no time left.
    fn is_busy(&self, plan: &Plan) -> bool {
        let busiest = self.busiest();
        (busiest > BUSY && plan.spin.is_zero()) || busiest + self.starved() > BUSY
    }

    fn busiest(&self) -> f64 {
        self.generator_load().into_iter().fold(0.0, f64::max)
    }

    /// What limited the run, in words; empty if nothing speaks against the numbers.
    pub(crate) fn verdicts(&self, plan: &Plan) -> Vec<String> {
        let mut verdicts = Vec::new();
        let (busiest, starved) = (self.busiest(), self.starved());
        let limiter = self.limiter(plan);
        if let Some(achieved) = self.achieved().filter(|share| *share < ACHIEVED) {
            let limiter = limiter.unwrap_or(Limiter::Server).name();
            verdicts.push(format!(
                "the {limiter} limited the run: only {:.1} % of the offered rate was reached",
                achieved * 100.0
            ));
        } else if limiter == Some(Limiter::Generator) && plan.arrivals().is_none() {
            verdicts.push(format!(
                "the generator limited the run: one of its threads was busy, or waited for a CPU, \
                 for {:.0} % of the window; add --threads, or set a --rate",
                (busiest + starved).min(1.0) * 100.0
            ));
        }
        if starved > STARVED {
            verdicts.push(format!(
                "a generator thread waited for a CPU for {:.0} % of the window: something else \
                 ran there; give it CPUs of its own with --cpus",
                starved * 100.0
            ));
        }
        verdicts.extend(self.server_verdicts());
        verdicts.extend(self.lag_verdict(self.is_busy(plan) || starved > STARVED));
        verdicts.extend(self.floor_verdict(plan));
        if self.late > 0 {
            verdicts.push(format!(
                "the load began {} after --start-at: the connections were not open before",
                format::time(self.late)
            ));
        }
        let queued = self.stats.queued;
        if queued > 0 {
            verdicts.push(format!(
                "{queued} messages were due while their connection had no room for them, by --depth \
                 or because the server did not read: their latency holds the wait"
            ));
        }
        if plan.tls.as_ref().is_some_and(|tls| !tls.verified) {
            verdicts.push(
                "whoever answered was accepted as the server: --insecure does not verify certificates"
                    .to_owned(),
            );
        }
        let portless = self.stats.portless();
        if portless > 0 {
            verdicts.push(format!(
                "for {portless} connections there was no port left: one source address has {} of them \
                 for one server, and a closed connection keeps its own for a minute; add addresses \
                 of this machine with --source, or widen net.ipv4.ip_local_port_range",
                source::ports()
            ));
        }
        let saturated = self.stats.latency.saturated();
        if saturated > 0 {
            verdicts.push(format!("{saturated} times were longer than a minute, counted as one"));
        }
        verdicts
    }

    /// What speaks against the server's CPU time, and its rate.
    fn server_verdicts(&self) -> Vec<String> {
        let mut verdicts = Vec::new();
        let kept = self.server_kept_waiting();
        if kept > SERVER_STARVED {
            verdicts.push(format!(
                "a thread of the server was ready to run but had no CPU for {:.0} % of the window: \
                 something else ran there, or the server has more threads than CPUs",
                kept * 100.0
            ));
        }
        if let Some(missed) = self.server_missed {
            verdicts.push(format!(
                "the server's CPU time is left out: it was read {} beside the window, because the \
                 thread that reads it had no CPU; leave it one, or run the load at a lower priority",
                format::time(missed)
            ));
        }
        verdicts
    }

    /// Whether what was measured is mostly what the generator measures of nothing.
    fn floor_verdict(&self, plan: &Plan) -> Option<String> {
        // A floor that was raised by other work says nothing.
        let sound = |floor: &&Floor| floor.waited_share <= STARVED;
        let floor =
            self.floor.as_ref().filter(sound).filter(|_| plan.workload.traffic.is_some())?;
        let (median, least) = (self.stats.latency.percentile(50.0), floor.round_trip_p50_ns);
        (!self.stats.latency.is_empty() && median < 2 * least).then(|| {
            format!(
                "half of the latency is below twice the tool's own floor, {}: most of it is the \
                 generator's and the kernel's",
                format::time(least)
            )
        })
    }

    /// Whether the generator itself was late enough to be seen in the latency.
    fn lag_verdict(&self, short_of_cpu: bool) -> Option<String> {
        let stats = &self.stats;
        let (lag, latency) =
            (stats.scheduling_delay.percentile(99.0), stats.latency.percentile(99.0));
        if lag <= LAG_FLOOR || lag <= latency / LAG_NOTED {
            return None;
        }
        let share = if lag > latency / LAG_LIMIT {
            "more than half of the latency, so that the generator limited it"
        } else {
            "more than a tenth of the latency"
        };
        let why = if short_of_cpu {
            "it was short of CPU time"
        } else {
            "--spin would keep it closer to the schedule"
        };
        Some(format!(
            "the generator was late, by {} at p99, which is {share}: {why}",
            format::time(lag)
        ))
    }
}

/// What kept a run from being faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limiter {
    Generator,
    Server,
}

impl Limiter {
    /// The name in sentences and result documents.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Generator => "generator",
            Self::Server => "server",
        }
    }
}

/// Whether more than one in a hundred of what was attempted went wrong.
pub(crate) const fn is_void(errors: u64, good: u64) -> bool {
    errors > 0 && errors.saturating_mul(100) > good.saturating_add(errors)
}

/// A thread that is on a CPU for more than this share of the window has nothing left.
const BUSY: f64 = 0.95;
/// More of the window than this without a CPU shows in the latency.
pub(crate) const STARVED: f64 = 0.02;
/// Share of the window that a server's thread may wait for a CPU. It is large, because a thread
/// that is woken for every message waits a moment each time.
const SERVER_STARVED: f64 = 0.2;
/// Less of the offered rate than this is a failure to keep up.
const ACHIEVED: f64 = 0.99;
/// Lag above this part of the latency, both at p99, is noted.
const LAG_NOTED: Nanos = 10;
/// Lag above this part of it makes it the generator's latency.
const LAG_LIMIT: Nanos = 2;
/// Lag below this is not worth a word.
const LAG_FLOOR: Nanos = 20_000;

#[cfg(test)]
mod tests;
