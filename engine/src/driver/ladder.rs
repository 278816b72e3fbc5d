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
    Epoll(Box<Epoll<M>>),
}

impl<M: Machine> Loop<M> {
    /// Sets the driver up that the configuration asks for. [`Driver::Auto`] takes the first rung
    /// that holds: a ring with all that the kernel gives, unless that is too little to be faster,
    /// then epoll. A driver asked for by name is had or an error, and so is a feature of the ring.
    ///
    /// # Errors
    ///
    /// What the kernel refused, why, and what to do.
    pub(crate) fn new(
        machine: M,
        listeners: Vec<Listener>,
        config: &Config,
    ) -> Result<(Self, Taken), StartError> {
        let auto = config.driver == Driver::Auto;
        let mut because = None;
        if auto || config.driver == Driver::Uring {
            match ring(config) {
                Ok(ring) => {
                    let uring = Uring::new(machine, listeners, ring, &config.ring)?;
                    let taken = uring.taken(because);
                    return Ok((Self::Uring(Box::new(uring)), taken));
                }
                // What was asked for by name is not made up for by another driver.
                Err(error) if !auto || !config.ring.features.required().is_empty() => {
                    return Err(error);
                }
                Err(error) => because = Some(error.cause()),
            }
        }
        let epoll = Epoll::new(machine, listeners, &config.ring)?;
        Ok((Self::Epoll(Box::new(epoll)), Taken::new(Driver::Epoll, because)))
    }

    /// Runs until the machine asks to leave, and gives it back.
    ///
    /// # Errors
    ///
    /// Only what makes the driver itself unusable.
    pub(crate) fn run(self, started: impl FnOnce()) -> io::Result<M> {
        match self {
            Self::Uring(uring) => uring.run(started),
            Self::Epoll(epoll) => epoll.run(started),
        }
    }
}

/// A ring, if it is one that the configured driver takes.
pub(super) fn ring(config: &Config) -> Result<Ring, StartError> {
    let ring = Ring::new(&config.ring)?;
    if config.driver == Driver::Auto && !ring.is_worth_it() {
        return Err(StartError::slow_ring());
    }
    Ok(ring)
}
