//! Rates: as many per second as was said, or the highest that keeps a goal.

use crate::base::units;
use crate::spec::goal::{self, Goal};

/// What `--rate` asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rate {
    /// So many per second.
    Fixed(f64),
    /// The highest that keeps this.
    Highest(Goal),
}

/// Reads `50k/s` or `@p99<5ms`.
pub(crate) fn parse(text: &str) -> Result<Rate, String> {
    match text.strip_prefix('@') {
        Some(goal) => goal::parse(goal).map(Rate::Highest),
        None => units::rate(text).map(Rate::Fixed),
    }
}

/// The rate of the first run.
pub(crate) const FIRST: f64 = 1000.0;

#[cfg(test)]
mod tests {
    use super::{Rate, parse};

    #[test]
    fn rates_and_goals_are_told_apart() {
        assert_eq!(parse("50k/s"), Ok(Rate::Fixed(50_000.0)));
        assert!(matches!(parse("@p99 < 5ms"), Ok(Rate::Highest(_))));
        assert!(parse("@fast").is_err_and(|why| why.contains("p50 to p99.999")));
    }
}
