//! What this kernel and sandbox give: every driver and every ring feature tried, nothing guessed.

use super::{epoll, ladder};
use crate::config::{Config, Driver, FeatureSet, RingFeature, RingFeatures, Taken};
use crate::error::StartError;
use crate::sys::ring::Ring;

/// A driver, and why it cannot be had if it cannot.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DriverReport {
    /// The driver.
    pub driver: Driver,
    /// What keeps it from running here; `None` if it runs.
    pub refused: Option<StartError>,
}

/// Something that the kernel's rings may have.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FeatureReport {
    /// The feature.
    pub feature: RingFeature,
    /// Whether it works here; `None` if no ring can be had to try.
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
    /// Every driver, the best first.
    pub drivers: Vec<DriverReport>,
    /// What [`Driver::Auto`] would take; `None` if nothing runs here.
    pub auto: Option<Taken>,
    /// What the ring driver can use.
    pub features: Vec<FeatureReport>,
}

/// Tries every driver with these settings, and every feature of a ring. Takes a moment, opens no
/// port and leaves nothing behind.
#[must_use]
pub fn diagnose(config: &Config) -> Diagnosis {
    let auto = config.clone().with(|config| config.driver = Driver::Auto);
    let by_name = config.clone().with(|config| config.driver = Driver::Uring);
    let (used, refused) = match ladder::ring(&by_name) {
        Ok(mut ring) => {
            let outcome = ring.register_files(Some(1));
            let features = ring.features();
            let required =
                outcome.is_err() && config.ring.features.required().contains(RingFeature::Direct);
            let refused = outcome.err().filter(|_| required);
            (features, refused.map(|absent| StartError::feature(&absent)))
        }
        Err(error) => (FeatureSet::NONE, Some(error)),
    };
    let epoll = epoll::probe().err();
    let drivers = vec![
        DriverReport { driver: Driver::Uring, refused },
        DriverReport { driver: Driver::Epoll, refused: epoll },
    ];
    let taken = auto_takes(&auto, &drivers, used);
    Diagnosis { drivers, auto: taken, features: features(config, used) }
}

/// The first rung that holds, as [`ladder::Loop::new`] would take it.
fn auto_takes(config: &Config, drivers: &[DriverReport], used: FeatureSet) -> Option<Taken> {
    let slow = ladder::ring(config).err();
    let mut because = None;
    for row in drivers {
        let ring = row.driver == Driver::Uring;
        let refused = row.refused.clone().or_else(|| slow.clone().filter(|_| ring));
        match refused {
            None if ring => {
                return Some(Taken::new(row.driver, None).with_features(used, Vec::new()));
            }
            None => return Some(Taken::new(row.driver, because)),
            Some(_) if ring && !config.ring.features.required().is_empty() => return None,
            Some(error) => because = because.or_else(|| Some(error.cause())),
        }
    }
    None
}

fn features(config: &Config, used: FeatureSet) -> Vec<FeatureReport> {
    let mut all = config.ring.clone();
    all.features = RingFeatures::want(FeatureSet::ALL);
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
            used: used.contains(feature),
        }
    };
    RingFeature::ALL.into_iter().map(row).collect()
}
