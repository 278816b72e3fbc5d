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
    /// Sets the driver up that the configuration asks for. [`Driver::Auto`] takes io_uring where it
    /// can be had, and epoll where not; a driver asked for by name is had or an error.
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
        if config.driver != Driver::Epoll {
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
            Self::Epoll(epoll) => epoll.run(started),
        }
    }
}
