//! When messages are to be sent. The schedule of an open loop is fixed before the run and never
//! moves: a late message is late, and its latency counts from when it was due.

use std::time::Instant;

/// Nanoseconds since the process's epoch.
pub(crate) type Nanos = u64;

/// The one clock of a run: monotonic, shared by all workers, so that times taken on different
/// threads can be subtracted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    /// Starts at 1 s, so that no time is 0 and times shortly before the start can be named.
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now() }
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

    pub(crate) fn instant(&self, at: Nanos) -> Instant {
        self.epoch + std::time::Duration::from_nanos(at.saturating_sub(START))
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

/// A constant rate, dealt round robin: message `k` of the run is due at `k / rate` and belongs to
/// connection `k mod connections`. A worker has every `stride`-th connection.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    start: Nanos,
    period: f64,
    /// All connections of the run.
    connections: u64,
    stride: u64,
    /// This worker's connections, and its number.
    lanes: u64,
    offset: u64,
    round: u64,
    lane: u64,
    due: Nanos,
}

impl Schedule {
    /// `lanes` is how many of the `connections` the worker `offset` of `stride` workers has.
    pub(crate) fn new(
        start: Nanos,
        rate: f64,
        connections: u64,
        (offset, stride): (u64, u64),
        lanes: u64,
    ) -> Self {
        let mut this = Self {
            start,
            period: 1e9 / rate,
            connections,
            stride,
            lanes,
            offset,
            round: 0,
            lane: 0,
            due: 0,
        };
        this.due = this.time();
        this
    }

    /// When the next message is due; `None` if this worker has no connection.
    #[inline]
    pub(crate) fn due(&self) -> Option<Nanos> {
        (self.lanes > 0).then_some(self.due)
    }

    /// Takes the next message: the connection, by its place among the worker's, and when it is due.
    #[inline]
    pub(crate) fn take(&mut self) -> (usize, Nanos) {
        let taken = (usize::try_from(self.lane).unwrap_or(usize::MAX), self.due);
        self.lane += 1;
        if self.lane >= self.lanes {
            self.lane = 0;
            self.round += 1;
        }
        self.due = self.time();
        taken
    }

    /// How many messages of all workers are due in `[from, to)`.
    pub(crate) fn offered(rate: f64, start: Nanos, from: Nanos, to: Nanos) -> u64 {
        let time = |number: u64| start + ceil(number as f64 * (1e9 / rate));
        let before = |at: Nanos| {
            let mut number = ceil(at.saturating_sub(start) as f64 * rate / 1e9).saturating_sub(2);
            while time(number) < at {
                number += 1;
            }
            number
        };
        before(to).saturating_sub(before(from))
    }

    fn time(&self) -> Nanos {
        let number = self.round * self.connections + self.lane * self.stride + self.offset;
        self.start + ceil(number as f64 * self.period)
    }
}

/// The first whole number not below `value`, which is a time or count of a run: far below 2^53.
fn ceil(value: f64) -> u64 {
    // A billionth of a nanosecond off is on time.
    let whole = (value - 1e-6).ceil().max(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and below 2^53 for runs shorter than 100 days"
    )]
    {
        whole as u64
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchClock, Clock, Schedule};

    /// Everything that three workers send in the first second, merged by time.
    fn merged(rate: f64, connections: u64, workers: u64) -> Vec<(u64, u64)> {
        let mut all = Vec::new();
        for worker in 0..workers {
            let lanes = (connections + workers - 1 - worker) / workers;
            let mut schedule = Schedule::new(1000, rate, connections, (worker, workers), lanes);
            while let Some(due) = schedule.due()
                && due < 1_000_001_000
            {
                let (lane, at) = schedule.take();
                assert_eq!(at, due);
                all.push((at, lane as u64 * workers + worker));
            }
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn workers_together_keep_the_rate_and_the_round() {
        for (rate, connections, workers) in [(7.0, 5, 3), (1000.0, 10, 3), (333.0, 2, 3)] {
            let all = merged(rate, connections, workers);
            let expected = Schedule::offered(rate, 1000, 1000, 1_000_001_000);
            assert_eq!(all.len() as u64, expected, "{rate}/s over {connections}");
            for (k, (at, connection)) in all.iter().enumerate() {
                let exact = 1000.0 + k as f64 * 1e9 / rate;
                assert!((*at as f64 - exact).abs() <= 1.0, "message {k} at {at}, not {exact}");
                assert_eq!(*connection, k as u64 % connections, "message {k}");
            }
        }
    }

    #[test]
    fn a_schedule_does_not_drift() {
        // 1e9/3 has no end in binary or decimal.
        let mut schedule = Schedule::new(0, 3.0, 1, (0, 1), 1);
        for _ in 0..3_000_000 {
            schedule.take();
        }
        assert_eq!(schedule.due(), Some(1_000_000 * 1_000_000_000));
    }

    #[test]
    fn offered_counts_a_window_without_its_end() {
        assert_eq!(Schedule::offered(10.0, 500, 500, 1_000_000_500), 10);
        assert_eq!(Schedule::offered(10.0, 0, 0, 1), 1);
        assert_eq!(Schedule::offered(10.0, 0, 1, 100_000_000), 0);
        assert_eq!(Schedule::offered(10.0, 0, 1, 100_000_001), 1);
    }

    #[test]
    fn a_worker_without_connections_has_nothing_due() {
        assert_eq!(Schedule::new(0, 1.0, 1, (1, 2), 0).due(), None);
    }

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
