//! What goals are measured by.

use crate::base::histogram::Times;
use crate::plan::Plan;
use crate::run::outcome::{DeliveryRatio, Outcome};
use crate::spec::goal::{Figure, Goal, GoalMetric, Series};

/// The metric's value in this run; `None` if nothing of it was measured.
#[expect(clippy::cast_precision_loss, reason = "times and counts of a run are below 2^53")]
pub(crate) fn measure(goal: &Goal, plan: &Plan, outcome: &Outcome) -> Option<f64> {
    let stats = &outcome.stats;
    let errors = stats.errors.total() as f64;
    match goal.metric {
        GoalMetric::Time(series, figure) => {
            let times = match series {
                Series::Latency => &stats.latency,
                Series::Service => &stats.service,
                Series::Handshake => &stats.handshake,
                Series::Completion => &stats.completion,
                Series::SchedulingDelay => &stats.scheduling_delay,
            };
            of(figure, times)
        }
        GoalMetric::Rate => Some(outcome.rate()),
        GoalMetric::Errors => Some(errors),
        GoalMetric::ErrorShare => {
            let attempts = outcome.messages() as f64 + errors;
            (attempts > 0.0).then(|| errors / attempts)
        }
        GoalMetric::DeliveryRatio => outcome.delivery_ratio.and_then(DeliveryRatio::share),
        GoalMetric::Achieved => outcome.achieved().filter(|_| plan.rate().is_some()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
fn of(figure: Figure, times: &Times) -> Option<f64> {
    (!times.is_empty()).then(|| match figure {
        Figure::Percentile(percent) => times.percentile(percent) as f64,
        Figure::Min => times.min() as f64,
        Figure::Mean => times.mean(),
        Figure::Max => times.max() as f64,
    })
}
