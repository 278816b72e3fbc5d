//! Which driver runs: the one that was asked for, or the best that this kernel and sandbox allow.

use std::io;

use super::Listener;
use super::epoll::Epoll;
use super::uring::Uring;
use crate::config::{Config, Driver, Taken};
use crate::error::StartError;
use crate::shard::machine::Machine;
use crate::sys::ring::Ring;

/// A driver that is set up.
pub(crate) enum Loop<M> {
    Uring(Box<Uring<M>>),
    #[cfg(feature = "tokio-uring")]
    TokioUring(Box<super::tokio_uring::TokioUring<M>>),
    Epoll(Box<Epoll<M>>),
}

impl<M: Machine> Loop<M> {
    /// Sets the driver up that the configuration asks for. [`Driver::Auto`] takes the first
    /// that can be had of the ring, tokio-uring and epoll; a driver asked for by name is had or an error.
    ///
    /// # Errors
    ///
    /// What the kernel refused, why, and what to do.
    pub(crate) fn new(
        machine: M,
        listeners: Vec<Listener>,
        config: &Config,
    ) -> Result<(Self, Taken), StartError> {
        let mut because = None;
        if matches!(config.driver, Driver::Auto | Driver::Uring) {
            match Ring::new(&config.ring) {
                Ok(ring) => {
                    let uring = Uring::new(machine, listeners, ring, &config.ring);
                    let taken = Taken { driver: Driver::Uring, because };
                    return Ok((Self::Uring(Box::new(uring)), taken));
                }
                Err(error) if config.driver == Driver::Uring => return Err(error),
                Err(error) => because = Some(error.cause()),
            }
        }
        if matches!(config.driver, Driver::Auto | Driver::TokioUring) {
            match probe_tokio_uring() {
                #[cfg(feature = "tokio-uring")]
                Ok(()) => {
                    let driver =
                        super::tokio_uring::TokioUring::new(machine, listeners, &config.ring)?;
                    let taken = Taken { driver: Driver::TokioUring, because };
                    return Ok((Self::TokioUring(Box::new(driver)), taken));
                }
                #[cfg(not(feature = "tokio-uring"))]
                Ok(()) => {}
                Err(error) if config.driver == Driver::TokioUring => return Err(error),
                // What kept the ring from running keeps its runtime, too, or says more.
                Err(error) => because = because.or_else(|| Some(error.cause())),
            }
        }
        let epoll = Epoll::new(machine, listeners, &config.ring)?;
        Ok((Self::Epoll(Box::new(epoll)), Taken { driver: Driver::Epoll, because }))
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

/// Whether the tokio-uring driver can be had.
///
/// # Errors
///
/// What the kernel refused, why, and what to do.
#[cfg(feature = "tokio-uring")]
pub(super) fn probe_tokio_uring() -> Result<(), StartError> {
    super::tokio_uring::probe()
}

/// It was left out of this program.
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
        "build it with the cargo feature `tokio-uring`, or take the driver `uring` or `epoll`",
    ))
}
