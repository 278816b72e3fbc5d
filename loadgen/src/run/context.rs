//! What a worker's scenario writes its results on, and the edges of what is measured.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use ringbolt::handshake::Refusal;
use ringbolt::{CloseReason, ConnectionId};

use crate::base::clock::{BatchClock, NEVER, Nanos, SECOND, nanos};
use crate::base::histogram::Times;
use crate::base::thread_cpu::ThreadUsage;
use crate::plan::Plan;
use crate::plan::workload::Length;
use crate::run::control::Control;
use crate::run::dialler::classify;
use crate::run::seconds::WorkerSecond;
use crate::run::stats::{ErrorClass, Sent, Stats};

/// What a worker's scenario writes its results on.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) plan: Arc<Plan>,
    pub(crate) control: Arc<Control>,
    pub(crate) worker: usize,
    pub(crate) clock: BatchClock,
    pub(crate) stats: Stats,
    /// What is measured, as of this turn.
    pub(crate) window: Range<Nanos>,
    /// The worker's connections, by place.
    pub(crate) ids: Vec<ConnectionId>,
    /// Messages that may still be sent in the window.
    quota: Option<u64>,
    received: u64,
    /// Established connections that have not ended.
    pub(crate) live: u64,
    last_reply: Nanos,
    /// How the server refused the connection that is about to end.
    pub(crate) refusal: Option<Refusal>,
    interval: Box<Times>,
    interval_end: Nanos,
    intervals: mpsc::Sender<WorkerSecond>,
    /// What this thread had used when the window opened.
    usage_at_open: Option<ThreadUsage>,
}

impl Context {
    pub(crate) fn new(
        plan: Arc<Plan>,
        control: Arc<Control>,
        worker: usize,
        intervals: mpsc::Sender<WorkerSecond>,
    ) -> Self {
        let quota = match plan.window.length {
            Length::Messages(n) => Some(plan.quota(n, worker)),
            Length::Time(_) => None,
        };
        let timing = plan.timing();
        Self {
            clock: BatchClock::new(control.clock),
            plan,
            control,
            worker,
            stats: Stats::new(timing),
            window: NEVER..NEVER,
            ids: Vec::new(),
            quota,
            received: 0,
            live: 0,
            last_reply: 0,
            refusal: None,
            interval: Box::new(Times::new()),
            interval_end: NEVER,
            intervals,
            usage_at_open: None,
        }
    }

    /// Whether a message may be sent now in a closed loop; if so, it is counted.
    #[inline]
    pub(crate) fn may_send(&mut self, now: Nanos) -> bool {
        if now >= self.window.end {
            return false;
        }
        match &mut self.quota {
            Some(left) if now >= self.window.start => match left.checked_sub(1) {
                Some(rest) => {
                    *left = rest;
                    true
                }
                None => false,
            },
            _ => true,
        }
    }

    /// A right reply of so many bytes came.
    #[inline]
    pub(crate) fn reply(&mut self, sent: Sent, now: Nanos, bytes: usize) {
        self.received += 1;
        self.last_reply = now;
        self.stats.answered(sent, now, bytes as u64, &self.window);
        if self.window.contains(&now) {
            self.interval.record(now.saturating_sub(sent.due));
        }
    }

    #[cold]
    pub(crate) fn error(
        &mut self,
        class: ErrorClass,
        count: u64,
        example: impl FnOnce() -> String,
    ) {
        self.stats.errors.add(class, count, example);
        self.control.gauge(self.worker).errors.fetch_add(count, Ordering::Relaxed);
    }

    /// A connection ended, or never came about, that should have stayed.
    #[cold]
    pub(crate) fn ended(&mut self, number: u64, reason: CloseReason, established: bool) {
        let (class, mut why) = classify(reason, established);
        let mut said = String::new();
        if let Some(refusal) = self.refusal.take() {
            let (status, phrase) = (refusal.status(), refusal.phrase());
            why = format!("the server refused with status {status} {phrase}").trim_end().to_owned();
            // It may be another one for each connection: not a kind of error of its own.
            let reason = refusal.reason().map(|reason| reason.trim_end_matches('.'));
            said = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        }
        let example = || format!("connection {number}: {why}{said}");
        self.stats.errors.because(class, &why, example);
        self.control.gauge(self.worker).errors.fetch_add(1, Ordering::Relaxed);
    }

    /// The load begins.
    pub(crate) fn begin(&mut self, now: Nanos) {
        self.window = self.control.window();
        let lengths = self.plan.window.stages.iter().map(|stage| nanos(stage.length));
        self.stats.set_stages(self.window.start, lengths);
        self.last_reply = now;
    }

    /// Looks at the edges of the window; says whether it is over.
    pub(crate) fn turn(&mut self, now: Nanos) -> bool {
        self.window = self.control.window();
        if now >= self.window.start && self.usage_at_open.is_none() {
            self.usage_at_open = Some(ThreadUsage::of_this_thread());
        }
        self.turn_interval(now);
        let over = now >= self.window.end;
        if over {
            let now = ThreadUsage::of_this_thread();
            let used = now.since(&self.usage_at_open.unwrap_or(now));
            self.stats.cpu.push(used.cpu);
            self.stats.waited.push(used.waited);
            self.stats.system_shares.push(used.system_share());
            self.stats.switches.add(used.switches());
        }
        over
    }

    /// When to look again, if the scenario has something to do at `due`.
    pub(crate) fn next(&self, now: Nanos, due: Option<Nanos>) -> Nanos {
        let edge = if now < self.window.start { self.window.start } else { self.window.end };
        due.unwrap_or(NEVER).min(edge).min(self.interval_end).min(now + LOOK)
    }

    /// With a number of messages to measure: tells when there are no more to come.
    pub(crate) fn note_done(&self, now: Nanos, in_flight: impl Fn() -> u64, alive: bool) {
        let gauge = self.control.gauge(self.worker);
        if self.quota.is_none() || gauge.done.load(Ordering::Relaxed) > 0 {
            return;
        }
        if now < self.window.start {
            return;
        }
        let quiet = now.saturating_sub(self.last_reply) > nanos(self.plan.timeout);
        let complete = self.quota == Some(0) && in_flight() == 0;
        if complete || quiet || !alive {
            let at = if complete { self.last_reply } else { now };
            gauge.done.store(at.max(self.window.start + 1), Ordering::Relaxed);
        }
    }

    /// Ends the second that is over.
    fn turn_interval(&mut self, now: Nanos) {
        if self.interval_end == NEVER {
            self.interval_end = self.window.start.saturating_add(SECOND);
        }
        while now >= self.interval_end.min(self.window.end) {
            let second = self.interval_end.saturating_sub(self.window.start) / SECOND - 1;
            if !self.interval.is_empty() {
                let latency = std::mem::replace(&mut self.interval, Box::new(Times::new()));
                // Nobody listens any more when the run was given up.
                drop(self.intervals.send(WorkerSecond { second, latency }));
            }
            if now >= self.window.end {
                return;
            }
            self.interval_end += SECOND;
        }
    }

    /// Tells the runner how far this worker is.
    pub(crate) fn show(&self) {
        let gauge = self.control.gauge(self.worker);
        gauge.received.store(self.received, Ordering::Relaxed);
        gauge.live.store(self.live, Ordering::Relaxed);
    }
}

/// How often a worker looks at least whether the run has been stopped.
pub(crate) const LOOK: Nanos = 50_000_000;
