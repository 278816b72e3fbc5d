//! The figures of runs that are compared.

use crate::base::format;
use crate::result::document::Run;

/// A figure of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric {
    pub(crate) name: String,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    /// A percentile of a histogram.
    Percentile(&'static str, &'static str, f64),
    /// A number of the document; shown as this.
    Number(&'static str, Shown),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Time,
    Rate,
    Share,
    Count,
}

/// What is compared if nothing is asked for. Six are as many as five runs a side can tell of: their
/// smallest p is 2 in 252, and six times that is still below 5 %.
pub(crate) const DEFAULT: [&str; 6] = ["rate", "p50", "p90", "p99", "p99.9", "server-cpu"];

/// Reads a metric's name.
pub(crate) fn parse(text: &str) -> Result<Metric, String> {
    let number =
        |path, shown| Ok(Metric { name: text.to_owned(), what: What::Number(path, shown) });
    match text {
        "rate" => return number("outcome.rate_per_s", Shown::Rate),
        "achieved" => return number("outcome.achieved", Shown::Share),
        "delivery-ratio" | "reach" => {
            return number("outcome.delivery_ratio.ratio", Shown::Share);
        }
        "errors" => return number("outcome.errors_total", Shown::Count),
        "server-cpu" => return number("cost.server_cpu_ns_per_message", Shown::Time),
        "generator-cpu" => return number("cost.generator_cpu_ns_per_message", Shown::Time),
        "mean" => return number("outcome.latency.mean_ns", Shown::Time),
        "max" => return number("outcome.latency.max_ns", Shown::Time),
        _ => {}
    }
    let (group, series, name) = match text.split_once('.') {
        Some(("service", name)) => ("outcome", "service", name),
        Some(("handshake", name)) => ("outcome", "handshake", name),
        Some(("completion", name)) => ("outcome", "completion", name),
        Some(("scheduling-delay" | "lag", name)) => ("trust", "scheduling_delay", name),
        _ => ("outcome", "latency", text),
    };
    let plain = |digits: &&str| digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let percent = name.strip_prefix('p').filter(plain).and_then(|digits| digits.parse().ok());
    let percent = percent.filter(|percent: &f64| *percent > 0.0 && *percent < 100.0);
    let percent = percent.ok_or_else(|| {
        format!(
            "there is no metric `{text}`; there are rate, p50 to p99.999, mean, max, server-cpu, \
             generator-cpu, achieved, delivery-ratio, errors, and service.p99, handshake.p99, \
             completion.p99 or scheduling-delay.p99"
        )
    })?;
    Ok(Metric { name: text.to_owned(), what: What::Percentile(group, series, percent) })
}

impl Metric {
    /// The metric's value in a run; `None` if it was not measured.
    #[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
    pub(crate) fn of(&self, run: &Run) -> Option<f64> {
        match self.what {
            What::Number(path, _) => run.number(path),
            What::Percentile(group, series, percent) => {
                // The usual ones stand in the document.
                let name = self.name.rsplit_once('p').map_or("", |(_, digits)| digits);
                let key = format!("p{}_ns", name.replace('.', "_"));
                let written = run.document[group][series][key].as_f64();
                written.or_else(|| Some(run.times(group, series)?.percentile(percent) as f64))
            }
        }
    }

    /// Whether more of it is better.
    pub(crate) const fn more_is_better(&self) -> bool {
        matches!(self.what, What::Number(_, Shown::Rate | Shown::Share))
    }

    /// The unit of the values, in documents.
    pub(crate) const fn unit(&self) -> &'static str {
        match self.what {
            What::Percentile(..) | What::Number(_, Shown::Time) => "ns",
            What::Number(_, Shown::Rate) => "1/s",
            What::Number(_, Shown::Share) => "share",
            What::Number(_, Shown::Count) => "count",
        }
    }

    /// A value as people read it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times are between 0 and a minute"
    )]
    pub(crate) fn show(&self, value: f64) -> String {
        match self.unit() {
            "ns" => format::time(value.round() as u64),
            "1/s" => format!("{}/s", format::count(value)),
            "share" => format!("{:.3} %", value * 100.0),
            _ => format!("{value:.0}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT, parse};

    #[test]
    fn names_are_known_or_answered_with_those_that_are() {
        for name in DEFAULT.into_iter().chain([
            "p95",
            "service.p99",
            "scheduling-delay.p99.9",
            "lag.p50",
            "delivery-ratio",
            "reach",
            "max",
        ]) {
            assert_eq!(parse(name).expect(name).name, name);
        }
        for name in ["", "p", "p100", "p1e1", "speed", "service", "handshake.mean"] {
            assert!(parse(name).expect_err(name).contains("p50 to p99.999"), "{name}");
        }
        assert!(parse("rate").expect("known").more_is_better());
        assert!(!parse("p50").expect("known").more_is_better());
    }
}
