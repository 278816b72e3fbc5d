//! Axes: where values stand, and which of them are written down.

/// How values become places between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    /// From 0 or from somewhere.
    Linear {
        low: f64,
        high: f64,
    },
    Log {
        low: f64,
        high: f64,
    },
}

/// Values that are shown at their places.
pub(crate) type Ticks = Vec<(f64, String)>;

impl Scale {
    /// A scale from 0 to a round number above all values.
    pub(crate) fn from_zero(highest: f64) -> Self {
        Self::Linear { low: 0.0, high: if highest > 0.0 { highest * 1.05 } else { 1.0 } }
    }

    /// From zero, or in decades if the values are far apart; values must be above 0 then.
    pub(crate) fn fitting(values: impl Iterator<Item = f64> + Clone) -> Self {
        /// On a line, a twentieth of the height is hardly told from nothing.
        const FAR: f64 = 20.0;
        let high = values.clone().fold(0.0, f64::max);
        let low = values.filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        if low.is_finite() && high > low * FAR {
            Self::Log { low: low / 1.3, high: high * 1.3 }
        } else {
            Self::from_zero(high)
        }
    }

    /// Where a value stands, kept within the scale.
    pub(crate) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { low, high } => (value - low) / (high - low),
            Self::Log { low, high } => (value.max(low) / low).ln() / (high / low).ln(),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// About so many values to write down.
    pub(crate) fn ticks(self, about: usize, show: impl Fn(f64) -> String) -> Ticks {
        let values = match self {
            Self::Linear { low, high } => linear(low, high, about),
            Self::Log { low, high } => decades(low, high, about),
        };
        values.into_iter().map(|value| (self.place(value), show(value))).collect()
    }
}

/// Multiples of 1, 2 or 5 times a power of ten.
#[expect(clippy::cast_precision_loss, reason = "ticks are few")]
fn linear(low: f64, high: f64, about: usize) -> Vec<f64> {
    let raw = (high - low) / about.max(1) as f64;
    if !raw.is_finite() || raw <= 0.0 {
        return vec![low];
    }
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= raw);
    let step = step.unwrap_or(power * 10.0);
    let first = (low / step).ceil();
    (0..=2 * about)
        .map(|n| (first + n as f64) * step)
        .take_while(|value| *value <= high * (1.0 + 1e-9))
        .collect()
}

/// Powers of ten, with 2 and 5 between them if these are few.
fn decades(low: f64, high: f64, about: usize) -> Vec<f64> {
    let (first, last) = (low.log10().floor(), high.log10().ceil());
    if !(first.is_finite() && last.is_finite()) || last - first > 40.0 {
        return vec![low];
    }
    #[expect(clippy::cast_possible_truncation, reason = "exponents are small")]
    let exponents = first as i32..=last as i32;
    let with = |factors: &[f64]| -> Vec<f64> {
        exponents
            .clone()
            .flat_map(|exponent| factors.iter().map(move |f| f * 10f64.powi(exponent)))
            .filter(|value| (low..=high).contains(value))
            .collect()
    };
    let finest = with(&[1.0, 2.0, 5.0]);
    if finest.len() <= about + 2 { finest } else { with(&[1.0]) }
}

#[cfg(test)]
mod tests {
    use super::{Scale, decades, linear};

    #[test]
    fn ticks_are_round() {
        assert_eq!(linear(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(linear(0.0, 0.7, 4), [0.0, 0.2, 0.4, 0.6000000000000001]);
        assert_eq!(linear(3.0, 3.0, 4), [3.0]);
        assert_eq!(decades(0.9, 120.0, 9), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(decades(0.9, 120_000.0, 6), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5]);
    }

    #[test]
    fn scales_fit_their_values() {
        let fitting = |values: &[f64]| Scale::fitting(values.iter().copied());
        assert!(matches!(fitting(&[1.0, 100.0]), Scale::Log { .. }));
        assert!(matches!(fitting(&[1.0, 2.0]), Scale::Linear { .. }));
        assert!(matches!(fitting(&[]), Scale::Linear { .. }));
        assert!(matches!(fitting(&[0.0, 0.0]), Scale::Linear { .. }));
        let scale = Scale::Log { low: 1.0, high: 100.0 };
        assert!((scale.place(10.0) - 0.5).abs() < 1e-12);
        assert_eq!((scale.place(0.0), scale.place(1e9)), (0.0, 1.0));
        assert_eq!(Scale::Linear { low: 1.0, high: 1.0 }.place(1.0), 0.0);
    }
}
