//! Looking for something to do before sleeping, within a budget.

use std::time::{Duration, Instant};

/// How long the budget is counted over.
const WINDOW: Duration = Duration::from_millis(100);

/// The budget for looking before sleeping.
#[derive(Debug)]
pub(crate) struct Spin {
    limit: Duration,
    budget_percent: u32,
    window: Instant,
    wasted: Duration,
}

impl Spin {
    /// Looks for `limit` at a time, and for `budget_percent` of all time in vain at most.
    pub(crate) fn new(limit: Duration, budget_percent: u32) -> Self {
        Self { limit, budget_percent, window: Instant::now(), wasted: Duration::ZERO }
    }

    pub(crate) const fn is_on(&self) -> bool {
        !self.limit.is_zero()
    }

    /// Whether there is budget to look now.
    pub(crate) fn may_begin(&mut self, now: Instant) -> bool {
        if now - self.window > WINDOW {
            self.window = now;
            self.wasted = Duration::ZERO;
        }
        self.wasted * 100 <= WINDOW * self.budget_percent
    }

    /// Whether it was looked for long enough in vain; counts that if so. Yields the core's other
    /// thread a moment if not.
    pub(crate) fn is_over(&mut self, begin: Instant, now: Instant) -> bool {
        if now - begin >= self.limit {
            self.wasted += now - begin;
            return true;
        }
        for _ in 0..8 {
            std::hint::spin_loop();
        }
        false
    }
}
