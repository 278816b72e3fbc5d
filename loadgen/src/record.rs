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

    /// The times of a histogram that was read; `None` if it has other bounds than ours.
    pub(crate) fn from_histogram(histogram: Histogram<u64>) -> Option<Self> {
        let bounds = (histogram.low(), histogram.high(), histogram.sigfig());
        (bounds == (1, LONGEST, DIGITS)).then_some(Self { histogram, saturated: 0 })
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

    pub(crate) const fn set_saturated(&mut self, saturated: u64) {
        self.saturated = saturated;
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

/// What is known of a message beside its latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tells {
    /// Nothing: in a closed loop it is due when it is sent.
    Latency,
    /// How late it was sent, in an open loop.
    Lag,
    /// Also how long the reply took from there.
    Service,
}

/// Everything that one worker, or all together, measured.
#[derive(Debug)]
pub(crate) struct Record {
    tells: Tells,
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
    /// The driver that the generator ran on.
    pub(crate) driver: Option<ringbolt::Taken>,
    /// The driver's counters.
    pub(crate) ring: ringbolt::metrics::RingCounters,
}

impl Record {
    pub(crate) fn new(tells: Tells) -> Self {
        Self {
            tells,
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
            driver: None,
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
        self.driver = self.driver.take().or_else(|| other.driver.clone());
        self.ring.enters += other.ring.enters;
        self.ring.completions += other.ring.completions;
    }

    /// A message was sent that was due in the window.
    #[inline]
    pub(crate) fn sent(&mut self, sent: Sent, window: &Range<Nanos>) {
        if window.contains(&sent.due) {
            self.sent += 1;
            if self.tells != Tells::Latency {
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
            if self.tells == Tells::Service {
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

#[cfg(test)]
mod tests {
    use super::{Class, Errors, LONGEST, Record, Sent, Tells, Times};

    const MS: u64 = 1_000_000;

    #[test]
    fn a_stall_counts_from_when_messages_were_due() {
        // Due every 10 ms from 0; from 100 ms to 300 ms the server answers nothing and one message
        // is in flight; each takes 1 ms else, one after the other.
        let mut record = Record::new(Tells::Service);
        let window = 0..1000 * MS;
        let mut free = 0;
        for due in (0..1000).step_by(10).map(|ms| ms * MS) {
            let at = due.max(free);
            let sent = Sent { due, at };
            free = if (100 * MS..300 * MS).contains(&at) { 300 * MS } else { at + MS };
            record.sent(sent, &window);
            record.answered(sent, free, &window);
        }
        assert_eq!((record.sent, record.received, record.latency.len()), (100, 100, 100));
        // The message at 100 ms took 200 ms; the 19 behind it and the catching up are late.
        let near = |is: u64, ms: u64| is.abs_diff(ms * MS) <= ms * MS / 1000 + 1;
        assert!(near(record.latency.max(), 200), "{}", record.latency.max());
        assert!(near(record.service.max(), 200));
        assert!(near(record.latency.percentile(50.0), 1));
        assert!(near(record.service.percentile(98.0), 1));
        // The n-th behind it is due 10 n ms later and waits n ms for those before: 200 - 9 n. Ten
        // of a hundred are above the 90th percentile, and that is n = 10.
        assert!(near(record.latency.percentile(90.0), 110), "{}", record.latency.percentile(90.0));
        assert!(near(record.lag.max(), 190));
    }

    #[test]
    fn what_was_due_in_the_warm_up_stays_there() {
        let mut record = Record::new(Tells::Latency);
        let window = 100..200;
        for (due, now) in [(50, 60), (90, 110), (150, 160), (190, 260), (210, 220)] {
            let sent = Sent { due, at: due };
            record.sent(sent, &window);
            record.answered(sent, now, &window);
        }
        assert_eq!((record.sent, record.latency.len(), record.warmup.len()), (2, 2, 2));
        assert_eq!(record.received, 2, "replies of the window are those that came in it");
        assert!(record.service.is_empty() && record.lag.is_empty(), "a closed loop has none");
    }

    #[test]
    fn times_keep_three_digits_and_saturate() {
        let mut times = Times::new();
        for time in [0, 1, 1_234_567, 59_990_000_000, LONGEST + 1, u64::MAX] {
            times.record(time);
        }
        assert_eq!((times.len(), times.saturated(), times.min()), (6, 2, 1));
        let third = times.percentile(50.0);
        assert!(third.abs_diff(1_234_567) <= 1_235, "{third}");
        assert!(times.max().abs_diff(LONGEST) <= LONGEST / 1000);
        let mut twice = times.clone();
        twice.merge(&times);
        assert_eq!((twice.len(), twice.saturated()), (12, 4));
    }

    #[test]
    fn errors_keep_their_first_example() {
        let mut errors = Errors::default();
        errors.add(Class::Closed, 2, || "first".to_owned());
        errors.add(Class::Lost, 0, || unreachable!("nothing happened"));
        let mut others = Errors::default();
        others.add(Class::Closed, 3, || "second".to_owned());
        others.add(Class::Connect, 1, || "third".to_owned());
        errors.merge(others);
        let all: Vec<_> = errors.iter().collect();
        assert_eq!(all, [(Class::Connect, 1, "third"), (Class::Closed, 5, "first")]);
        assert_eq!(errors.total(), 6);
    }
}
