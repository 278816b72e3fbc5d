//! What this kernel and sandbox give: every driver and every ring feature tried, nothing guessed.

use super::{Ring, epoll, ladder};
use crate::config::{Config, Driver, RingFeature, RingFeatures, Taken};
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

/// A rung of the ladder that [`Driver::Auto`] walks down until one holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RungReport {
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
    pub rungs: Vec<RungReport>,
    /// What [`Driver::Auto`] would take; `None` if nothing runs here, or not with the features that
    /// are required.
    pub auto: Option<Taken>,
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
    let by_name = ring(&asked_for(Driver::Uring));
    let tokio_uring = ladder::probe_tokio_uring().err();
    let epoll = epoll::probe().err();
    let drivers = vec![
        DriverReport { driver: Driver::Uring, refused: by_name.as_ref().err().cloned() },
        DriverReport { driver: Driver::TokioUring, refused: tokio_uring.clone() },
        DriverReport { driver: Driver::Epoll, refused: epoll.clone() },
    ];
    let auto = asked_for(Driver::Auto);
    let ring = ring(&auto);
    let rungs = rungs(&ring, tokio_uring.as_ref(), epoll.as_ref());
    let lower = [(Driver::TokioUring, tokio_uring), (Driver::Epoll, epoll)];
    let features = features(config, by_name.ok().as_ref());
    let locked_bytes = ladder::locked_bytes(config);
    Diagnosis { drivers, rungs, auto: takes(&auto, ring, lower), features, locked_bytes }
}

/// What a ring would be used with, if the driver would start.
fn ring(config: &Config) -> Result<Taken, StartError> {
    let mut ring = ladder::ring(config)?;
    if let Err(absent) = ring.register_files(Some(1))
        && config.ring.features.required().contains(RingFeature::Direct)
    {
        return Err(StartError::feature(&absent));
    }
    let taken = Taken::new(Driver::Uring, None);
    Ok(taken.with_features(ring.features(), ring.without().to_vec()))
}

/// The first rung that holds, as [`ladder::Loop::new`] would take it.
fn takes(
    config: &Config,
    ring: Result<Taken, StartError>,
    lower: [(Driver, Option<StartError>); 2],
) -> Option<Taken> {
    let mut refusals = ladder::Refusals::default();
    match ring {
        Ok(taken) => return Some(taken),
        Err(_) if ladder::is_final(config) => return None,
        Err(error) => refusals.add(Driver::Uring, &error),
    }
    for (driver, refused) in lower {
        match refused {
            None => return Some(Taken::new(driver, refusals.because())),
            Some(error) => refusals.add(driver, &error),
        }
    }
    None
}

fn rungs(
    ring: &Result<Taken, StartError>,
    tokio_uring: Option<&StartError>,
    epoll: Option<&StartError>,
) -> Vec<RungReport> {
    let refused = ring.as_ref().err().map(StartError::cause);
    let without = ring.as_ref().ok().filter(|taken| !taken.without.is_empty()).map(|taken| {
        let names: Vec<_> = taken.without.iter().map(|absent| absent.feature.name()).collect();
        format!("it would have to do without {}", names.join(", "))
    });
    let rung = |driver, reduced, why_not| RungReport { driver, reduced, why_not };
    vec![
        rung(Driver::Uring, false, refused.clone().or(without)),
        rung(Driver::Uring, true, refused),
        rung(Driver::TokioUring, false, tokio_uring.map(StartError::cause)),
        rung(Driver::Epoll, false, epoll.map(StartError::cause)),
    ]
}

fn features(config: &Config, taken: Option<&Taken>) -> Vec<FeatureReport> {
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
