//! Which driver runs: the one that was asked for, or the best that this kernel and sandbox allow.
//!
//! The loops are made of the table in [`crate::drivers`]. The module of a driver has
//!
//! - `set_up(&Config)`: what it needs of the kernel, or why the kernel refuses it;
//! - `probe(&Config)`: the same, and what would come of it, for the doctor;
//! - `locked_bytes(&Config)`: about how much memory a shard of it locks, if that is much;
//! - a type with `new(machine, listeners, what set_up made, &Config)`, `selected(because)` and `run(started)`.

use std::io;

use super::Listener;
use crate::config::{Config, Driver, SelectedDriver};
use crate::drivers::for_each_driver;
use crate::error::{StartError, StartErrorKind};
use crate::shard::machine::Machine;

/// A driver as the doctor sees it.
pub(super) struct Row {
    pub(super) driver: Driver,
    /// Whether it works here, and what it would use.
    pub(super) probe: fn(&Config) -> Result<SelectedDriver, StartError>,
    /// About how many bytes a shard of it locks, if that is much.
    pub(super) locked_bytes: fn(&Config) -> Option<u64>,
}

macro_rules! loops {
    ($($(#[doc = $doc:literal])+
       { $driver:ident, $name:literal, cfg($($built:tt)*), ring_features: $features:literal, $module:ident })*) => {
        /// A driver that is set up.
        pub(crate) enum Loop<M> {
            $(#[cfg($($built)*)] $driver(Box<super::$module::$driver<M>>),)*
        }

        impl<M: Machine> Loop<M> {
            /// The first driver that the configuration takes and that works here.
            fn first(
                machine: M,
                listeners: Vec<Listener>,
                config: &Config,
            ) -> Result<(Self, SelectedDriver), StartError> {
                let mut refusals = Refusals::default();
                $(if tries(config, Driver::$driver) {
                    #[cfg($($built)*)]
                    match super::$module::set_up(config) {
                        Ok(kernel) => {
                            let driver = super::$module::$driver::new(machine, listeners, kernel, config)?;
                            let taken = driver.selected(refusals.because());
                            return Ok((Self::$driver(Box::new(driver)), taken));
                        }
                        Err(error) => refusals.add(Driver::$driver, error),
                    }
                    #[cfg(not($($built)*))]
                    refusals.add(Driver::$driver, left_out(Driver::$driver));
                    if is_final(config) {
                        return Err(refusals.last());
                    }
                })*
                Err(refusals.last())
            }

            /// Runs until the machine asks to leave, and gives it back.
            ///
            /// # Errors
            ///
            /// Only what makes the driver itself unusable.
            pub(crate) fn run(self, started: impl FnOnce()) -> io::Result<M> {
                match self {
                    $(#[cfg($($built)*)] Self::$driver(driver) => driver.run(started),)*
                }
            }
        }

        /// The drivers, the best first.
        pub(super) const ROWS: &[Row] = &[$({
            #[cfg($($built)*)]
            let row = Row {
                driver: Driver::$driver,
                probe: super::$module::probe,
                locked_bytes: super::$module::locked_bytes,
            };
            #[cfg(not($($built)*))]
            let row = Row {
                driver: Driver::$driver,
                probe: |_| Err(left_out(Driver::$driver)),
                locked_bytes: |_| None,
            };
            row
        },)*];
    };
}
for_each_driver!(loops);

impl<M: Machine> Loop<M> {
    /// Sets the driver up that the configuration asks for. [`Driver::Auto`] takes the first that
    /// works here, in the order of the table; a ring that lacks what makes it faster than epoll is passed over.
    /// A driver asked for by name, or a required feature of the ring, never falls back.
    ///
    /// # Errors
    ///
    /// What the kernel refused, why, and what to do.
    pub(crate) fn new(
        machine: M,
        listeners: Vec<Listener>,
        config: &Config,
    ) -> Result<(Self, SelectedDriver), StartError> {
        let required = config.ring.features.required();
        if !config.driver.has_ring_features() && !required.is_empty() {
            return Err(StartError::no_features(required, config.driver));
        }
        Self::first(machine, listeners, config)
    }
}

/// A driver that was left out of this program.
#[cfg_attr(feature = "tokio-uring", expect(dead_code, reason = "all drivers are in this program"))]
fn left_out(driver: Driver) -> StartError {
    StartError::new(
        StartErrorKind::Ring,
        format!("cannot run the {driver} driver"),
        "this program was built without it",
        "build it with the cargo feature of the driver's name, or use another driver: `engine doctor` \
         lists those that run here",
    )
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

/// Why the drivers before one do not work here.
#[derive(Debug, Default)]
pub(super) struct Refusals(Vec<(Driver, StartError)>);

impl Refusals {
    pub(super) fn add(&mut self, driver: Driver, error: StartError) {
        self.0.push((driver, error));
    }

    /// The error of the one that was tried last.
    fn last(&self) -> StartError {
        self.0.last().expect("every driver has a row in the table").1.clone()
    }

    /// The one cause of all of them, or each with its driver; `None` if nothing was refused.
    pub(super) fn because(&self) -> Option<String> {
        let first = self.0.first()?.1.cause();
        if self.0.iter().all(|(_, error)| error.cause() == first) {
            return Some(first);
        }
        let rows: Vec<_> =
            self.0.iter().map(|(driver, error)| format!("{driver}: {}", error.cause())).collect();
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
        refusals.add(Driver::Uring, refused(libc::EPERM));
        let alone = refusals.because().expect("refused");
        assert!(!alone.contains("uring:"), "{alone}");
        refusals.add(Driver::TokioUring, refused(libc::EPERM));
        assert_eq!(refusals.because(), Some(alone.clone()));
        refusals.add(Driver::Epoll, refused(libc::ENOSYS));
        let all = refusals.because().expect("refused");
        assert!(
            all.starts_with(&format!("uring: {alone}; tokio-uring: {alone}; epoll: ")),
            "{all}"
        );
    }
}
