//! Goals of a run, as `--fail-if` gives them: `p99>5ms` fails when the 99th percentile is above
//! 5 ms.

use std::fmt;

use crate::base::units;

/// A condition under which a run has failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Goal {
    text: String,
    pub(crate) metric: GoalMetric,
    order: Order,
    limit: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum GoalMetric {
    Time(Series, Figure),
    Rate,
    Errors,
    /// Errors per attempt.
    ErrorShare,
    DeliveryRatio,
    Achieved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Series {
    Latency,
    Service,
    Handshake,
    Completion,
    SchedulingDelay,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Figure {
    Percentile(f64),
    Min,
    Mean,
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// What the parser says after what is wrong.
const ALLOWED: &str = "write METRIC>VALUE, with >, >=, < or <=, such as `p99>5ms`, `rate<50k`, \
    `errors>0` or `delivery-ratio<99.9%`. Metrics: p50 to p99.999, min, mean, max of the latency, and with \
    `service.`, `handshake.`, `completion.` or `scheduling-delay.` before them of those times; rate, errors, \
    delivery-ratio, achieved, scheduling-delay (short for scheduling-delay.p99)";

/// Reads a condition.
pub(crate) fn parse(text: &str) -> Result<Goal, String> {
    let wrong = |why: &str| format!("`{text}` is not a condition: {why}; {ALLOWED}");
    let at = text.find(['>', '<']).ok_or_else(|| wrong("it compares nothing"))?;
    let (name, rest) = text.split_at(at);
    let (order, value) = match rest.as_bytes() {
        [b'>', b'=', ..] => (Order::AtLeast, &rest[2..]),
        [b'<', b'=', ..] => (Order::AtMost, &rest[2..]),
        [b'>', ..] => (Order::Above, &rest[1..]),
        _ => (Order::Below, &rest[1..]),
    };
    let (name, value) = (name.trim(), value.trim());
    let metric = metric(name).ok_or_else(|| wrong(&format!("there is no metric `{name}`")))?;
    let (metric, limit) = limit(metric, value).map_err(|why| wrong(&why))?;
    Ok(Goal { text: text.to_owned(), metric, order, limit })
}

fn metric(name: &str) -> Option<GoalMetric> {
    Some(match name {
        "rate" => GoalMetric::Rate,
        "errors" => GoalMetric::Errors,
        "delivery-ratio" | "reach" => GoalMetric::DeliveryRatio,
        "achieved" => GoalMetric::Achieved,
        "scheduling-delay" | "lag" => {
            GoalMetric::Time(Series::SchedulingDelay, Figure::Percentile(99.0))
        }
        _ => {
            let (series, figure) = match name.split_once('.') {
                Some(("service", figure)) => (Series::Service, figure),
                Some(("handshake", figure)) => (Series::Handshake, figure),
                Some(("completion", figure)) => (Series::Completion, figure),
                Some(("scheduling-delay" | "lag", figure)) => (Series::SchedulingDelay, figure),
                Some(("latency", figure)) => (Series::Latency, figure),
                _ => (Series::Latency, name),
            };
            GoalMetric::Time(series, self::figure(figure)?)
        }
    })
}

fn figure(name: &str) -> Option<Figure> {
    Some(match name {
        "min" => Figure::Min,
        "mean" => Figure::Mean,
        "max" => Figure::Max,
        _ => {
            let digits = name.strip_prefix('p')?;
            let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            let percent: f64 = digits.parse().ok().filter(|_| plain)?;
            (percent > 0.0 && percent < 100.0).then_some(Figure::Percentile(percent))?
        }
    })
}

/// The value that a metric is compared with; a share of errors is a metric of its own.
#[expect(clippy::cast_precision_loss, reason = "limits are below 2^53")]
fn limit(metric: GoalMetric, text: &str) -> Result<(GoalMetric, f64), String> {
    let share = |text: &str| {
        // The point is moved in the text: a division would not give the nearest number.
        let share: f64 = match text.strip_suffix('%') {
            Some(percent) => format!("{}e-2", percent.trim()).parse().ok()?,
            None => text.parse().ok()?,
        };
        (0.0..=1.0).contains(&share).then_some(share)
    };
    match metric {
        GoalMetric::Time(..) => Ok((metric, units::duration(text)?.as_nanos() as f64)),
        GoalMetric::Rate => Ok((metric, units::rate(text)?)),
        GoalMetric::Errors if text.ends_with('%') => share(text)
            .map(|share| (GoalMetric::ErrorShare, share))
            .ok_or_else(|| format!("`{text}` is not a share of 0% to 100%")),
        GoalMetric::Errors | GoalMetric::ErrorShare => Ok((metric, units::count(text)? as f64)),
        GoalMetric::DeliveryRatio | GoalMetric::Achieved => share(text)
            .map(|share| (metric, share))
            .ok_or_else(|| format!("`{text}` is not a share of 0 to 1, or of 0% to 100%")),
    }
}

impl Goal {
    /// What its value counts in.
    pub(crate) const fn unit(&self) -> &'static str {
        match self.metric {
            GoalMetric::Time(..) => "ns",
            GoalMetric::Rate => "1/s",
            GoalMetric::Errors => "count",
            GoalMetric::ErrorShare | GoalMetric::DeliveryRatio | GoalMetric::Achieved => "share",
        }
    }

    /// The value as people read it.
    pub(crate) fn show(&self, value: Option<f64>) -> String {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "times are between 0 and a minute"
        )]
        match (value, self.metric) {
            (None, _) => "not measured".to_owned(),
            (Some(value), GoalMetric::Time(..)) => crate::base::format::time(value as u64),
            (Some(value), GoalMetric::Rate) => format!("{}/s", crate::base::format::count(value)),
            (Some(value), GoalMetric::Errors) => format!("{value:.0}"),
            (Some(value), _) => format!("{:.3} %", value * 100.0),
        }
    }
}

/// Whether a run with this value has failed; one that could not measure it has.
pub(crate) fn failed(goal: &Goal, value: Option<f64>) -> bool {
    value.is_none_or(|value| match goal.order {
        Order::Above => value > goal.limit,
        Order::AtLeast => value >= goal.limit,
        Order::Below => value < goal.limit,
        Order::AtMost => value <= goal.limit,
    })
}

impl Goal {
    /// The metric that it is about, as it was written.
    pub(crate) fn name(&self) -> &str {
        self.text.split(['<', '>']).next().unwrap_or_default().trim()
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::{failed, parse};

    #[test]
    fn conditions_are_read() {
        let cases = [
            ("p99>5ms", 5e6, true),
            ("p99 > 5ms", 5e6, false),
            ("p99.9>=5ms", 5e6, true),
            ("service.mean>=1us", 1e3, true),
            ("lag>100us", 1e5, false),
            ("scheduling-delay.p99>100us", 1e5, false),
            ("max<=10ms", 1e7, true),
            ("rate<50k/s", 5e4, false),
            ("errors>0", 0.0, false),
            ("errors>0.5%", 0.005, false),
            ("reach<99.9%", 0.999, false),
            ("delivery-ratio<99.9%", 0.999, false),
            ("achieved<=0.99", 0.99, true),
        ];
        for (text, limit, at_limit) in cases {
            let goal = parse(text).expect(text);
            assert!((goal.limit - limit).abs() < 1e-9 * limit.max(1.0), "{text}: {}", goal.limit);
            let at = if text == "p99>5ms" { limit + 1.0 } else { limit };
            assert_eq!(failed(&goal, Some(at)), at_limit, "{text}");
            assert!(failed(&goal, None), "what was not measured was not met");
            assert_eq!(goal.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_condition_is_answered_with_what_is_allowed() {
        let cases = [
            "",
            "p99",
            "p99=5ms",
            ">5ms",
            "p99>",
            "p99>5",
            "p0>1ms",
            "p100>1ms",
            "pNaN>1ms",
            "p1e1>1ms",
            "latency>1ms",
            "max.p99>1ms",
            "rate>fast",
            "errors>1.5",
            "errors>200%",
            "reach<2",
            "reach<-1%",
            "p99>>5ms",
            "foo.p99>1ms",
        ];
        for text in cases {
            let said = parse(text).expect_err(text);
            assert!(said.contains("p50 to p99.999") && said.contains("achieved"), "{said}");
        }
    }
}
