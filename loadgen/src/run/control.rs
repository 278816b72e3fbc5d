//! What the workers and the thread that conducts them share.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::base::clock::{Clock, NEVER, Nanos};

/// The times of the run, set once it is clear when it begins, and how far each worker is.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) clock: Clock,
    begin: AtomicU64,
    open: AtomicU64,
    close: AtomicU64,
    stop: AtomicBool,
    interrupt: AtomicBool,
    gauges: Box<[Gauge]>,
}

/// One worker's progress, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gauge {
    /// Connections established so far.
    pub(crate) opened: AtomicU64,
    /// Connections that could not be established.
    pub(crate) failed: AtomicU64,
    /// Connections open now.
    pub(crate) live: AtomicU64,
    /// Right replies so far, warm-up included.
    pub(crate) received: AtomicU64,
    /// Errors so far.
    pub(crate) errors: AtomicU64,
    /// When the worker had nothing more to measure; 0 while it has.
    pub(crate) done: AtomicU64,
}

impl Control {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            clock: Clock::new(),
            begin: AtomicU64::new(NEVER),
            open: AtomicU64::new(NEVER),
            close: AtomicU64::new(NEVER),
            stop: AtomicBool::new(false),
            interrupt: AtomicBool::new(false),
            gauges: (0..workers).map(|_| Gauge::default()).collect(),
        }
    }

    /// Lets the load begin, and says when it is measured.
    pub(crate) fn schedule(&self, begin: Nanos, window: Range<Nanos>) {
        self.open.store(window.start, Ordering::Relaxed);
        self.close.store(window.end, Ordering::Relaxed);
        self.begin.store(begin, Ordering::Release);
    }

    /// When the load begins; [`NEVER`] while that is not known.
    pub(crate) fn begin(&self) -> Nanos {
        self.begin.load(Ordering::Acquire)
    }

    /// What is measured.
    #[inline]
    pub(crate) fn window(&self) -> Range<Nanos> {
        self.open.load(Ordering::Relaxed)..self.close.load(Ordering::Relaxed)
    }

    /// Ends the measurement earlier.
    pub(crate) fn close_at(&self, at: Nanos) {
        self.close.fetch_min(at, Ordering::Relaxed);
    }

    /// Ends the run, whatever stage it is in.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.close_at(self.clock.now());
    }

    /// Ends it because a user wants that: what came out so far is told.
    pub(crate) fn interrupt(&self) {
        self.interrupt.store(true, Ordering::Relaxed);
        self.stop();
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// How long to wait for what is under way when the measurement is over, `wanted` being for a run
    /// that nobody has interrupted.
    pub(crate) fn patience(&self, wanted: Nanos) -> Nanos {
        /// Somebody sits before the terminal.
        const INTERRUPTED: Nanos = 2_000_000_000;
        if self.is_interrupted() { wanted.min(INTERRUPTED) } else { wanted }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn gauge(&self, worker: usize) -> &Gauge {
        &self.gauges[worker]
    }

    /// One figure of all workers, added up.
    pub(crate) fn sum(&self, field: impl Fn(&Gauge) -> &AtomicU64) -> u64 {
        self.gauges.iter().map(|gauge| field(gauge).load(Ordering::Relaxed)).sum()
    }

    /// When the last worker was done; `None` while one is not.
    pub(crate) fn done(&self) -> Option<Nanos> {
        let times = self.gauges.iter().map(|gauge| gauge.done.load(Ordering::Relaxed));
        times.clone().all(|at| at > 0).then(|| times.max().unwrap_or(0))
    }
}
