//! How long connections live that come and go.

use std::time::Duration;

use crate::base::clock::{Nanos, nanos};
use crate::base::units;

/// What lifetimes are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// All the same.
    Constant(Duration),
    /// Exponential with this mean: how long one has lived says nothing of how long it will.
    Exponential(Duration),
    /// Anything between the two alike.
    Uniform(Duration, Duration),
}

/// Reads `10s`, `exponential:10s` or `uniform:5s..15s`.
pub(crate) fn parse(text: &str) -> Result<Lifetime, String> {
    let wrong = |why: &str| format!("{why}; write it like 10s, exponential:10s or uniform:5s..15s");
    let span = |text: &str| units::span(text).map_err(|why| wrong(&why));
    match text.split_once(':') {
        None => Ok(Lifetime::Constant(span(text)?)),
        Some(("constant", mean)) => Ok(Lifetime::Constant(span(mean)?)),
        Some(("exponential", mean)) => Ok(Lifetime::Exponential(span(mean)?)),
        Some(("uniform", range)) => {
            let (from, to) = range
                .split_once("..")
                .ok_or_else(|| wrong(&format!("`{range}` is not a range")))?;
            let from = units::duration(from).map_err(|why| wrong(&why))?;
            let to = span(to)?;
            if from > to {
                return Err(wrong(&format!("`{range}` ends before it begins")));
            }
            Ok(Lifetime::Uniform(from, to))
        }
        Some((name, _)) => Err(wrong(&format!("there are no lifetimes named `{name}`"))),
    }
}

impl Lifetime {
    /// The whole life of one that begins.
    pub(crate) fn draw(self, rng: &mut fastrand::Rng) -> Nanos {
        match self {
            Self::Constant(time) => nanos(time),
            Self::Exponential(mean) => scaled(mean, -(1.0 - rng.f64()).ln()),
            Self::Uniform(from, to) => nanos(from).saturating_add(scaled(to - from, rng.f64())),
        }
    }

    /// What is left of one that is met at any moment: longer lives are met more often, and are at any
    /// point of theirs.
    pub(crate) fn draw_rest(self, rng: &mut fastrand::Rng) -> Nanos {
        match self {
            Self::Constant(time) => scaled(time, rng.f64()),
            Self::Exponential(_) => self.draw(rng),
            Self::Uniform(from, to) => {
                let (from, to) = (from.as_secs_f64(), to.as_secs_f64());
                let met = (from * from + rng.f64() * (to * to - from * from)).sqrt();
                scaled(Duration::from_secs_f64(met), rng.f64())
            }
        }
    }

    /// The average.
    pub(crate) fn mean(self) -> Duration {
        match self {
            Self::Constant(mean) | Self::Exponential(mean) => mean,
            Self::Uniform(from, to) => (from + to) / 2,
        }
    }
}

impl std::fmt::Display for Lifetime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Constant(time) => write!(f, "{time:?}"),
            Self::Exponential(mean) => write!(f, "exponential:{mean:?}"),
            Self::Uniform(from, to) => write!(f, "uniform:{from:?}..{to:?}"),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time of at most some centuries, and not negative"
)]
fn scaled(time: Duration, factor: f64) -> Nanos {
    (time.as_secs_f64() * 1e9 * factor) as Nanos
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Lifetime, parse};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn lifetimes_are_read_and_written() {
        for (text, lifetime) in [
            ("1s", Lifetime::Constant(SECOND)),
            ("exponential:1s", Lifetime::Exponential(SECOND)),
            ("uniform:0..1s", Lifetime::Uniform(Duration::ZERO, SECOND)),
        ] {
            assert_eq!(parse(text), Ok(lifetime));
            assert_eq!(parse(&lifetime.to_string().replace("0ns", "0")), Ok(lifetime));
        }
        for text in ["", "0", "soon", "gamma:1s", "uniform:1s", "uniform:2s..1s", "exponential:0"] {
            assert!(parse(text).expect_err(text).contains("exponential:10s"), "{text}");
        }
    }

    /// The mean of many draws, in seconds.
    fn mean(draw: impl Fn(&mut fastrand::Rng) -> u64) -> f64 {
        let mut rng = fastrand::Rng::with_seed(7);
        (0..100_000).map(|_| draw(&mut rng) as f64 / 1e9).sum::<f64>() / 1e5
    }

    #[test]
    fn means_are_as_asked_and_rests_as_renewal_theory_says() {
        let uniform = Lifetime::Uniform(SECOND, 3 * SECOND);
        // The rest of a life that is met has the mean E[L^2] / (2 E[L]).
        for (lifetime, whole, rest) in [
            (Lifetime::Constant(2 * SECOND), 2.0, 1.0),
            (Lifetime::Exponential(2 * SECOND), 2.0, 2.0),
            (uniform, 2.0, (13.0 / 3.0) / 4.0),
        ] {
            assert_eq!(lifetime.mean(), 2 * SECOND);
            let (is, left) = (mean(|rng| lifetime.draw(rng)), mean(|rng| lifetime.draw_rest(rng)));
            assert!((is - whole).abs() < 0.02, "{lifetime}: {is}");
            assert!((left - rest).abs() < 0.02, "{lifetime}: {left} of {rest}");
        }
    }
}
