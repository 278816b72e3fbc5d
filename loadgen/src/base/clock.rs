//! The clock of a run.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the process's epoch.
pub(crate) type Nanos = u64;

pub(crate) const SECOND: Nanos = 1_000_000_000;
/// Later than any time.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// A duration in the clock's unit.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER / 4)
}

/// The one clock of a run: monotonic, shared by all workers, so that times taken on different
/// threads can be subtracted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    epoch: Instant,
    /// The moment of `epoch`, on the kernel's monotonic clock.
    epoch_monotonic: Nanos,
    /// And on the system's, in nanoseconds since 1970.
    epoch_system: Nanos,
}

impl Clock {
    /// Starts at 1 s, so that no time is 0 and times shortly before the start can be named.
    pub(crate) fn new() -> Self {
        let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            epoch: Instant::now(),
            epoch_monotonic: ringbolt::monotonic_nanos(),
            epoch_system: u64::try_from(system.as_nanos()).unwrap_or(0),
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        self.nanos(Instant::now())
    }

    #[inline]
    pub(crate) fn nanos(&self, at: Instant) -> Nanos {
        let past = at.saturating_duration_since(self.epoch);
        START + past.as_secs() * 1_000_000_000 + u64::from(past.subsec_nanos())
    }

    /// A time on the clock that all processes of the machine share.
    pub(crate) const fn monotonic(&self, at: Nanos) -> Nanos {
        (self.epoch_monotonic + at).saturating_sub(START)
    }

    /// A time on the system's clock as that was when the run began, in nanoseconds since 1970.
    pub(crate) const fn since_1970(&self, at: Nanos) -> u64 {
        (self.epoch_system + at).saturating_sub(START)
    }

    /// The time on this clock of a time on the system's; 0 for one long past.
    pub(crate) const fn at_1970(&self, at: u64) -> Nanos {
        (at + START).saturating_sub(self.epoch_system)
    }

    pub(crate) fn instant(&self, at: Nanos) -> Instant {
        self.epoch + Duration::from_nanos(at.saturating_sub(START))
    }
}

const START: Nanos = 1_000_000_000;

/// A clock that is read once per batch of events: everything that one turn of the loop brings had
/// arrived when the turn began.
#[derive(Debug)]
pub(crate) struct BatchClock {
    clock: Clock,
    now: Nanos,
    left: u32,
}

/// Events that one reading of the clock serves at most.
const BATCH: u32 = 64;

impl BatchClock {
    pub(crate) const fn new(clock: Clock) -> Self {
        Self { clock, now: 0, left: 0 }
    }

    /// The time, at most one batch old.
    #[inline]
    pub(crate) fn stamp(&mut self) -> Nanos {
        if self.left == 0 {
            self.now = self.clock.now();
            self.left = BATCH;
        }
        self.left -= 1;
        self.now
    }

    /// The time now.
    pub(crate) fn read(&mut self) -> Nanos {
        self.left = 0;
        self.stamp()
    }

    /// Ends the batch: the loop may sleep now.
    pub(crate) const fn expire(&mut self) {
        self.left = 0;
    }

    pub(crate) const fn clock(&self) -> Clock {
        self.clock
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchClock, Clock};

    #[test]
    fn a_batch_has_one_time_until_it_ends() {
        let mut clock = BatchClock::new(Clock::new());
        let first = clock.stamp();
        while clock.clock().now() == first {}
        assert_eq!(clock.stamp(), first);
        clock.expire();
        let second = clock.stamp();
        assert!(second > first);
        while clock.clock().now() == second {}
        for _ in 0..super::BATCH {
            clock.stamp();
        }
        assert!(clock.stamp() > second, "a long batch reads the clock again");
    }
}
