//! Which driver runs: the one that was asked for, or the best that this kernel and sandbox allow.

use std::io;

use super::epoll::Epoll;
#[cfg(feature = "tokio-uring")]
use super::tokio_uring::{self, TokioUring};
use super::uring::Uring;
use super::{Listener, Ring};
use crate::config::{Config, Driver, Taken};
use crate::error::StartError;
use crate::shard::machine::Machine;

/// A driver that is set up.
pub(crate) enum Loop<M> {
    Uring(Box<Uring<M>>),
    #[cfg(feature = "tokio-uring")]
    TokioUring(Box<TokioUring<M>>),
    Epoll(Box<Epoll<M>>),
}

impl<M: Machine> Loop<M> {
    /// Sets the driver up that the configuration asks for. [`Driver::Auto`] takes the first
    /// that works: a ring with all that the kernel gives, unless that is too little to be faster,
    /// then tokio-uring, then epoll. A driver asked for by name, or a required feature of the ring,
    /// never falls back: if it does not work, that is an error.
    ///
    /// # Errors
    ///
    /// What the kernel refused, why, and what to do.
    pub(crate) fn new(
        machine: M,
        listeners: Vec<Listener>,
        config: &Config,
    ) -> Result<(Self, Taken), StartError> {
        let required = config.ring.features.required();
        if !tries(config, Driver::Uring) && !required.is_empty() {
            return Err(StartError::no_features(required, config.driver));
        }
        let mut refusals = Refusals::default();
        if tries(config, Driver::Uring) {
            match ring(config) {
                Ok(ring) => {
                    let uring = Uring::new(machine, listeners, ring, &config.ring)?;
                    let taken = uring.taken();
                    return Ok((Self::Uring(Box::new(uring)), taken));
                }
                Err(error) if is_final(config) => return Err(error),
                Err(error) => refusals.add(Driver::Uring, &error),
            }
        }
        #[cfg(feature = "tokio-uring")]
        if tries(config, Driver::TokioUring) {
            match tokio_uring::set_up(&config.ring) {
                Ok(runtime) => {
                    let driver = TokioUring::new(machine, listeners, runtime, &config.ring)?;
                    let taken = driver.taken(refusals.because());
                    return Ok((Self::TokioUring(Box::new(driver)), taken));
                }
                Err(error) if is_final(config) => return Err(error),
                Err(error) => refusals.add(Driver::TokioUring, &error),
            }
        }
        #[cfg(not(feature = "tokio-uring"))]
        if tries(config, Driver::TokioUring)
            && let Err(error) = probe_tokio_uring()
        {
            if is_final(config) {
                return Err(error);
            }
            refusals.add(Driver::TokioUring, &error);
        }
        let epoll = Epoll::new(machine, listeners, &config.ring)?;
        let taken = Taken::new(Driver::Epoll, refusals.because());
        Ok((Self::Epoll(Box::new(epoll)), taken))
    }

    /// Runs until the machine asks to leave, and gives it back.
    ///
    /// # Errors
    ///
    /// Only what makes the driver itself unusable.
    pub(crate) fn run(self, started: impl FnOnce()) -> io::Result<M> {
        match self {
            Self::Uring(uring) => uring.run(started),
            #[cfg(feature = "tokio-uring")]
            Self::TokioUring(driver) => driver.run(started),
            Self::Epoll(epoll) => epoll.run(started),
        }
    }
}

/// Whether the configuration would take this driver.
fn tries(config: &Config, driver: Driver) -> bool {
    config.driver == Driver::Auto || config.driver == driver
}

/// Whether a refusal ends it: what was asked for by name, a driver or a feature of the ring, is not
/// made up for by another driver.
pub(super) fn is_final(config: &Config) -> bool {
    config.driver != Driver::Auto || !config.ring.features.required().is_empty()
}

/// A ring, if it is one that the configured driver takes.
pub(super) fn ring(config: &Config) -> Result<Ring, StartError> {
    let ring = Ring::new(&config.ring)?;
    if config.driver == Driver::Auto && !ring.is_worth_it() {
        return Err(StartError::slow_ring());
    }
    Ok(ring)
}

/// Whether the tokio-uring driver works here.
///
/// # Errors
///
/// What the kernel refused, why, and what to do.
#[cfg(feature = "tokio-uring")]
pub(super) fn probe_tokio_uring() -> Result<(), StartError> {
    tokio_uring::probe()
}

/// Refuses: the tokio-uring driver was left out of this program.
///
/// # Errors
///
/// Always.
#[cfg(not(feature = "tokio-uring"))]
pub(super) fn probe_tokio_uring() -> Result<(), StartError> {
    Err(StartError::new(
        crate::error::StartErrorKind::Ring,
        "cannot run the tokio-uring driver",
        "this program was built without it",
        "build it with the cargo feature `tokio-uring`, or use the driver `uring` or `epoll`",
    ))
}

/// About how many bytes a shard of the tokio-uring driver locks for its registered buffers; `None` if
/// the program has no such driver.
#[cfg(feature = "tokio-uring")]
pub(super) fn locked_bytes(config: &Config) -> Option<u64> {
    Some(tokio_uring::locked_bytes(&config.ring) as u64)
}

/// None: the tokio-uring driver was left out of this program.
#[cfg(not(feature = "tokio-uring"))]
pub(super) const fn locked_bytes(_: &Config) -> Option<u64> {
    None
}

/// Why the rungs above one do not hold.
#[derive(Debug, Default)]
pub(super) struct Refusals(Vec<(Driver, String)>);

impl Refusals {
    pub(super) fn add(&mut self, driver: Driver, error: &StartError) {
        self.0.push((driver, error.cause()));
    }

    /// The one cause of all of them, or each with its driver; `None` if nothing was refused.
    pub(super) fn because(&self) -> Option<String> {
        let (_, first) = self.0.first()?;
        if self.0.iter().all(|(_, cause)| cause == first) {
            return Some(first.clone());
        }
        let rows: Vec<_> =
            self.0.iter().map(|(driver, cause)| format!("{driver}: {cause}")).collect();
        Some(rows.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::Refusals;
    use crate::config::Driver;
    use crate::error::StartError;

    #[test]
    fn causes_are_told_once_or_with_their_drivers() {
        let refused = |errno| StartError::ring(&std::io::Error::from_raw_os_error(errno));
        let mut refusals = Refusals::default();
        assert_eq!(refusals.because(), None);
        refusals.add(Driver::Uring, &refused(libc::EPERM));
        let alone = refusals.because().expect("refused");
        assert!(!alone.contains("uring:"), "{alone}");
        refusals.add(Driver::TokioUring, &refused(libc::EPERM));
        assert_eq!(refusals.because(), Some(alone.clone()));
        refusals.add(Driver::Epoll, &refused(libc::ENOSYS));
        let all = refusals.because().expect("refused");
        assert!(
            all.starts_with(&format!("uring: {alone}; tokio-uring: {alone}; epoll: ")),
            "{all}"
        );
    }
}
