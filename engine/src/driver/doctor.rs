//! What this kernel and sandbox give: every driver and every ring feature tried, nothing guessed.

use super::Ring;
use super::fallback::{self, ROWS, Refusals};
use crate::config::{Config, Driver, RingFeature, RingFeatures, SelectedDriver};
use crate::error::StartError;

/// A driver, and why it does not work here if it does not.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DriverReport {
    /// The driver.
    pub driver: Driver,
    /// What keeps it from running here; `None` if it runs.
    pub refused: Option<StartError>,
}

/// One of the drivers that [`Driver::Auto`] tries in turn, until one works.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackReport {
    /// The driver.
    pub driver: Driver,
    /// Whether it is the ring without features that were wanted.
    pub reduced: bool,
    /// Why it does not hold here; `None` if it does.
    pub why_not: Option<String>,
}

/// Something that the kernel's rings may have.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FeatureReport {
    /// The feature.
    pub feature: RingFeature,
    /// Whether it works here; `None` if there is no ring to try it on.
    pub here: Option<bool>,
    /// What keeps it from working.
    pub because: Option<String>,
    /// Whether the ring driver would use it with these settings.
    pub used: bool,
}

/// What [`diagnose`] found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Diagnosis {
    /// Every driver, the best first, each as if it were asked for by name.
    pub drivers: Vec<DriverReport>,
    /// What [`Driver::Auto`] tries, in its order.
    pub fallbacks: Vec<FallbackReport>,
    /// What [`Driver::Auto`] would take; `None` if nothing runs here, or not with the features that
    /// are required.
    pub auto: Option<SelectedDriver>,
    /// What the ring driver can use.
    pub features: Vec<FeatureReport>,
    /// About how many bytes of memory each shard of the tokio-uring driver locks with these settings,
    /// for its registered buffers; `None` if the program was built without that driver.
    pub locked_bytes: Option<u64>,
}

/// Tries every driver with these settings, and every feature of a ring. Takes a moment, opens no
/// port and leaves nothing behind.
#[must_use]
pub fn diagnose(config: &Config) -> Diagnosis {
    let asked_for = |driver| config.clone().with(|config| config.driver = driver);
    let by_name: Vec<_> =
        ROWS.iter().map(|row| (row.driver, (row.probe)(&asked_for(row.driver)))).collect();
    let auto = asked_for(Driver::Auto);
    let unasked: Vec<_> = ROWS.iter().map(|row| (row.driver, (row.probe)(&auto))).collect();
    let ring = by_name.iter().find(|(driver, _)| driver.has_ring_features());
    let features = features(config, ring.and_then(|(_, taken)| taken.as_ref().ok()));
    let fallbacks = unasked.iter().flat_map(|(driver, taken)| fallbacks(*driver, taken)).collect();
    let report = |(driver, taken): (_, Result<_, _>)| DriverReport { driver, refused: taken.err() };
    Diagnosis {
        drivers: by_name.into_iter().map(report).collect(),
        fallbacks,
        auto: takes(&auto, unasked),
        features,
        locked_bytes: ROWS.iter().find_map(|row| (row.locked_bytes)(config)),
    }
}

/// The first driver that works, as [`Loop::new`](super::Loop::new) would take it.
fn takes(
    config: &Config,
    fallbacks: Vec<(Driver, Result<SelectedDriver, StartError>)>,
) -> Option<SelectedDriver> {
    let mut refusals = Refusals::default();
    for (driver, taken) in fallbacks {
        match taken {
            Ok(taken) => return Some(SelectedDriver { because: refusals.because(), ..taken }),
            Err(_) if fallback::is_final(config) => return None,
            Err(error) => refusals.add(driver, error),
        }
    }
    None
}

/// What [`Driver::Auto`] makes of one driver: a ring is tried with everything first, and is good enough
/// with less.
fn fallbacks(driver: Driver, taken: &Result<SelectedDriver, StartError>) -> Vec<FallbackReport> {
    let refused = taken.as_ref().err().map(StartError::cause);
    let fallback_row = |reduced, why_not| FallbackReport { driver, reduced, why_not };
    if !driver.has_ring_features() {
        return vec![fallback_row(false, refused)];
    }
    let without = taken.as_ref().ok().filter(|taken| !taken.without.is_empty()).map(|taken| {
        let names: Vec<_> = taken.without.iter().map(|absent| absent.feature.name()).collect();
        format!("it would have to do without {}", names.join(", "))
    });
    vec![fallback_row(false, refused.clone().or(without)), fallback_row(true, refused)]
}

fn features(config: &Config, taken: Option<&SelectedDriver>) -> Vec<FeatureReport> {
    let mut all = config.ring.clone();
    all.features = RingFeatures::want(crate::config::FeatureSet::ALL);
    let ring = Ring::new(&all).ok().map(|mut ring| {
        // Told by what it has then.
        drop(ring.register_files(Some(1)));
        ring
    });
    let row = |feature| {
        let absent = ring
            .as_ref()
            .and_then(|ring| ring.without().iter().find(|absent| absent.feature == feature));
        FeatureReport {
            feature,
            here: ring.as_ref().map(|_| absent.is_none()),
            because: absent.map(|absent| absent.because.clone()),
            used: taken.is_some_and(|taken| taken.features.contains(feature)),
        }
    };
    RingFeature::ALL.into_iter().map(row).collect()
}
