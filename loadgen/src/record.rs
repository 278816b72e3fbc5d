//! What one worker measures: histograms, counts and errors; merged when the run is over.

use std::collections::BTreeMap;
use std::ops::Range;

use hdrhistogram::Histogram;

use crate::pace::Nanos;

/// The longest time that is told apart; longer ones are counted as saturated.
pub(crate) const LONGEST: Nanos = 60_000_000_000;
/// Decimal digits that a recorded time keeps.
pub(crate) const DIGITS: u8 = 3;

/// Times in nanoseconds, with [`DIGITS`] digits, up to [`LONGEST`].
#[derive(Debug, Clone)]
pub(crate) struct Times {
    histogram: Histogram<u64>,
    saturated: u64,
}

impl Times {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST, DIGITS)
            .expect("the bounds are constants that the crate accepts");
        Self { histogram, saturated: 0 }
    }

    #[inline]
    pub(crate) fn record(&mut self, time: Nanos) {
        if time > LONGEST {
            self.saturated += 1;
        }
        self.histogram.saturating_record(time.clamp(1, LONGEST));
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
        self.saturated += other.saturated;
    }

    pub(crate) fn len(&self) -> u64 {
        self.histogram.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// Times longer than [`LONGEST`], which count as that long.
    pub(crate) const fn saturated(&self) -> u64 {
        self.saturated
    }

    /// The time that `percent` of all times do not exceed.
    pub(crate) fn percentile(&self, percent: f64) -> Nanos {
        self.histogram.value_at_quantile(percent / 100.0)
    }

    pub(crate) fn max(&self) -> Nanos {
        self.histogram.max()
    }

    pub(crate) fn min(&self) -> Nanos {
        if self.is_empty() { 0 } else { self.histogram.min() }
    }

    pub(crate) fn mean(&self) -> f64 {
        self.histogram.mean()
    }

    pub(crate) const fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }
}

/// What went wrong, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// No TCP connection came about.
    Connect,
    /// The opening handshake failed.
    Handshake,
    /// The server broke a rule of the protocol.
    Protocol,
    /// A message came back changed, or one that nobody had sent.
    WrongPayload,
    /// The connection ended in the middle of the run.
    Closed,
    /// No reply came to a message.
    Unanswered,
    /// A publication did not arrive everywhere.
    Lost,
    /// A publication arrived twice, out of order, or at its publisher.
    Duplicate,
    /// A message that was due could not be sent.
    NotSent,
}

impl Class {
    /// The name in result documents.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::Protocol => "protocol",
            Self::WrongPayload => "wrong_payload",
            Self::Closed => "closed",
            Self::Unanswered => "unanswered",
            Self::Lost => "lost",
            Self::Duplicate => "duplicate",
            Self::NotSent => "not_sent",
        }
    }
}

/// Errors by class, each with its first example.
#[derive(Debug, Default)]
pub(crate) struct Errors(BTreeMap<Class, (u64, String)>);

impl Errors {
    #[cold]
    pub(crate) fn add(&mut self, class: Class, count: u64, example: impl FnOnce() -> String) {
        if count > 0 {
            self.0.entry(class).or_insert_with(|| (0, example())).0 += count;
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (class, (count, example)) in other.0 {
            self.add(class, count, || example);
        }
    }

    /// Class, count and first example.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Class, u64, &str)> {
        self.0.iter().map(|(class, (count, example))| (*class, *count, example.as_str()))
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().map(|(count, _)| count).sum()
    }
}

/// Everything that one worker, or all together, measured.
#[derive(Debug)]
pub(crate) struct Record {
    /// Whether messages are due at times of their own: an open loop.
    paced: bool,
    /// From when a message was due to its reply; messages due in the window.
    pub(crate) latency: Times,
    /// From the actual send to the reply.
    pub(crate) service: Times,
    /// From when a message was due to its actual send.
    pub(crate) lag: Times,
    /// The latency of messages due in the warm-up.
    pub(crate) warmup: Times,
    /// From connect to the end of the opening handshake.
    pub(crate) handshake: Times,
    /// From when a publication was due to its last delivery; of closed loops.
    pub(crate) completion: Times,
    /// Messages due in the window that were sent.
    pub(crate) sent: u64,
    /// Right replies that came in the window.
    pub(crate) received: u64,
    /// Connections established.
    pub(crate) opened: u64,
    /// Connections that ended without a closing handshake after the run.
    pub(crate) unclean: u64,
    pub(crate) errors: Errors,
    /// CPU time of the worker's thread in the window.
    pub(crate) cpu: Vec<Nanos>,
    /// How long the thread was ready to run in the window but had no CPU.
    pub(crate) waited: Vec<Nanos>,
    /// The counters of the ring driver.
    pub(crate) ring: ringbolt::metrics::RingCounters,
}

impl Record {
    pub(crate) fn new(paced: bool) -> Self {
        Self {
            paced,
            latency: Times::new(),
            service: Times::new(),
            lag: Times::new(),
            warmup: Times::new(),
            handshake: Times::new(),
            completion: Times::new(),
            sent: 0,
            received: 0,
            opened: 0,
            unclean: 0,
            errors: Errors::default(),
            cpu: Vec::new(),
            waited: Vec::new(),
            ring: ringbolt::metrics::RingCounters::default(),
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.latency.merge(&other.latency);
        self.service.merge(&other.service);
        self.lag.merge(&other.lag);
        self.warmup.merge(&other.warmup);
        self.handshake.merge(&other.handshake);
        self.completion.merge(&other.completion);
        self.sent += other.sent;
        self.received += other.received;
        self.opened += other.opened;
        self.unclean += other.unclean;
        self.errors.merge(other.errors);
        self.cpu.extend(other.cpu);
        self.waited.extend(other.waited);
        self.ring.enters += other.ring.enters;
        self.ring.completions += other.ring.completions;
    }

    /// A message was sent that was due in the window.
    #[inline]
    pub(crate) fn sent(&mut self, sent: Sent, window: &Range<Nanos>) {
        if window.contains(&sent.due) {
            self.sent += 1;
            if self.paced {
                self.lag.record(sent.at.saturating_sub(sent.due));
            }
        }
    }

    /// Its reply came.
    #[inline]
    pub(crate) fn answered(&mut self, sent: Sent, now: Nanos, window: &Range<Nanos>) {
        let latency = now.saturating_sub(sent.due);
        if window.contains(&sent.due) {
            self.latency.record(latency);
            if self.paced && sent.at != sent.due {
                self.service.record(now.saturating_sub(sent.at));
            }
        } else if sent.due < window.start {
            self.warmup.record(latency);
        }
        if window.contains(&now) {
            self.received += 1;
        }
    }
}

/// When a message was due and when it was sent; the same in a closed loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) due: Nanos,
    pub(crate) at: Nanos,
}
