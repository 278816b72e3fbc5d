//! What one worker measures: histograms, counts and errors; merged when the run is over.

use std::collections::BTreeMap;
use std::ops::Range;

use ringbolt::{CloseReason, Security};

use crate::base::clock::Nanos;
use crate::base::histogram::Times;
use crate::base::thread_cpu::Switches;
use crate::plan::workload::Timing;
use crate::run::delivery::Spreads;

/// What went wrong, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ErrorClass {
    /// No TCP connection came about.
    Connect,
    /// TLS was not established.
    Tls,
    /// The opening handshake failed.
    Handshake,
    /// No TCP connection, or no answer to the opening handshake, came in time.
    TimedOut,
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

impl ErrorClass {
    /// The name in result documents.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Handshake => "handshake",
            Self::TimedOut => "time_out",
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

/// Errors by class.
#[derive(Debug, Default)]
pub(crate) struct Errors(BTreeMap<ErrorClass, Failed>);

/// What went wrong in one way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) count: u64,
    /// The first few.
    pub(crate) examples: Vec<String>,
    /// How many there were for each reason, where reasons are told apart: the status of a refused
    /// upgrade, the code of a Close, the kernel's error.
    pub(crate) reasons: BTreeMap<String, u64>,
}

/// Examples that are kept of each class.
const EXAMPLES: usize = 3;
/// Reasons that are told apart in each class; the rest is counted under [`OTHER`].
const REASONS: usize = 16;
const OTHER: &str = "another reason";

impl Failed {
    /// The first example.
    pub(crate) fn first(&self) -> &str {
        self.examples.first().map_or("", String::as_str)
    }

    fn reason(&mut self, why: &str, count: u64) {
        let known = self.reasons.len() < REASONS || self.reasons.contains_key(why);
        *self.reasons.entry(if known { why } else { OTHER }.to_owned()).or_default() += count;
    }
}

impl Errors {
    #[cold]
    pub(crate) fn add(&mut self, class: ErrorClass, count: u64, example: impl FnOnce() -> String) {
        if count > 0 {
            let failed = self.0.entry(class).or_default();
            failed.count += count;
            if failed.examples.len() < EXAMPLES {
                failed.examples.push(example());
            }
        }
    }

    /// One more, for this reason.
    #[cold]
    pub(crate) fn because(
        &mut self,
        class: ErrorClass,
        why: &str,
        example: impl FnOnce() -> String,
    ) {
        self.add(class, 1, example);
        self.0.entry(class).or_default().reason(why, 1);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (class, failed) in other.0 {
            let merged = self.0.entry(class).or_default();
            merged.count += failed.count;
            let room = EXAMPLES - merged.examples.len();
            merged.examples.extend(failed.examples.into_iter().take(room));
            for (why, count) in failed.reasons {
                merged.reason(&why, count);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ErrorClass, &Failed)> {
        self.0.iter().map(|(class, failed)| (*class, failed))
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().map(|failed| failed.count).sum()
    }
}

/// Everything that one worker, or all together, measured.
#[derive(Debug)]
pub(crate) struct Stats {
    timing: Timing,
    /// From when a message was due to its reply; messages due in the window.
    pub(crate) latency: Times,
    /// From the actual send to the reply.
    pub(crate) service: Times,
    /// From when a message was due to when the generator came to it: its own lateness, not a wait for
    /// room on the connection.
    pub(crate) scheduling_delay: Times,
    /// The latency of messages due in the warm-up.
    pub(crate) warmup: Times,
    /// From connect to the end of the opening handshake.
    pub(crate) handshake: Times,
    /// The part of opening a connection until TCP stood.
    pub(crate) tcp: Times,
    /// For wss, the part of opening a connection between TCP and the end of the TLS handshake.
    pub(crate) tls: Times,
    /// The last part of opening a connection: request and answer.
    pub(crate) upgrade: Times,
    /// For a storm: the time from our Close to the end of the closing handshake.
    pub(crate) closing: Times,
    /// For broadcasts: the time from when a publication was due to its first delivery.
    pub(crate) first: Times,
    /// To its median delivery.
    pub(crate) median: Times,
    /// To its last one.
    pub(crate) completion: Times,
    /// Publications that did not arrive everywhere, and are in none of the three.
    pub(crate) incomplete: u64,
    /// What was due in each stage of the plan, where it has stages.
    pub(crate) stages: Vec<StageStats>,
    /// Messages due in the window that were sent.
    pub(crate) sent: u64,
    /// Messages due in the window that found no room on their connection, and left later.
    pub(crate) queued: u64,
    /// Right replies that came in the window.
    pub(crate) received: u64,
    /// Bytes of payload in them, and in the replies to messages due in the window.
    pub(crate) received_bytes: u64,
    pub(crate) answered_bytes: u64,
    /// Connections established.
    pub(crate) opened: u64,
    /// Codes of the closing handshakes that ended connections, the server's side of them; 1005 where
    /// there was none (RFC 6455 section 7.1.5), as always in draft-02.
    pub(crate) close_codes: BTreeMap<u16, u64>,
    /// Pings of the server, each of which was answered.
    pub(crate) pings_answered: u64,
    /// Connections that ended without a closing handshake after the run.
    pub(crate) unclean: u64,
    /// TLS sessions by version and cipher suite.
    pub(crate) sessions: BTreeMap<String, u64>,
    /// TLS handshakes that resumed an earlier session.
    pub(crate) resumed: u64,
    pub(crate) errors: Errors,
    /// The messages themselves, where that was asked for.
    pub(crate) traced: Vec<Traced>,
    /// CPU time of the worker's thread in the window.
    pub(crate) cpu: Vec<Nanos>,
    /// How long the thread was ready to run in the window but had no CPU.
    pub(crate) waited: Vec<Nanos>,
    /// How much of the thread's CPU time was spent in the kernel, where that can be told.
    pub(crate) system_shares: Vec<Option<f64>>,
    /// Context switches of all threads in the window.
    pub(crate) switches: Switches,
    /// The driver that the generator ran on.
    pub(crate) driver: Option<ringbolt::SelectedDriver>,
    /// The driver's counters.
    pub(crate) ring: ringbolt::metrics::RingCounters,
}

/// What was due in one stage.
#[derive(Debug, Clone)]
pub(crate) struct StageStats {
    /// When it ends.
    pub(crate) end: Nanos,
    pub(crate) sent: u64,
    pub(crate) latency: Times,
}

impl Stats {
    pub(crate) fn new(timing: Timing) -> Self {
        Self {
            timing,
            latency: Times::new(),
            service: Times::new(),
            scheduling_delay: Times::new(),
            warmup: Times::new(),
            handshake: Times::new(),
            tcp: Times::new(),
            tls: Times::new(),
            upgrade: Times::new(),
            closing: Times::new(),
            first: Times::new(),
            median: Times::new(),
            completion: Times::new(),
            incomplete: 0,
            stages: Vec::new(),
            sent: 0,
            queued: 0,
            received: 0,
            received_bytes: 0,
            answered_bytes: 0,
            opened: 0,
            close_codes: BTreeMap::new(),
            pings_answered: 0,
            unclean: 0,
            sessions: BTreeMap::new(),
            resumed: 0,
            errors: Errors::default(),
            traced: Vec::new(),
            cpu: Vec::new(),
            waited: Vec::new(),
            system_shares: Vec::new(),
            switches: Switches::default(),
            driver: None,
            ring: ringbolt::metrics::RingCounters::default(),
        }
    }

    /// Connections for which the kernel had no port left.
    pub(crate) fn portless(&self) -> u64 {
        // EADDRNOTAVAIL; that the source addresses are this machine's has been checked.
        let is_it = |why: &str| why.ends_with("(os error 99)");
        let connect = self.errors.iter().filter(|(class, _)| *class == ErrorClass::Connect);
        let reasons = connect.flat_map(|(_, failed)| &failed.reasons);
        reasons.filter(|(why, _)| is_it(why)).map(|(_, count)| count).sum()
    }

    /// TLS stands on a connection.
    pub(crate) fn secured(&mut self, security: Security) {
        let kind = format!("{} {}", security.version, security.cipher_suite);
        *self.sessions.entry(kind).or_default() += 1;
        self.resumed += u64::from(security.resumed);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.latency.merge(&other.latency);
        self.service.merge(&other.service);
        self.scheduling_delay.merge(&other.scheduling_delay);
        self.warmup.merge(&other.warmup);
        self.handshake.merge(&other.handshake);
        self.tcp.merge(&other.tcp);
        self.tls.merge(&other.tls);
        self.upgrade.merge(&other.upgrade);
        for (kind, count) in other.sessions {
            *self.sessions.entry(kind).or_default() += count;
        }
        self.resumed += other.resumed;
        self.closing.merge(&other.closing);
        for (code, count) in other.close_codes {
            *self.close_codes.entry(code).or_default() += count;
        }
        self.merge_stages(other.stages);
        self.sent += other.sent;
        self.queued += other.queued;
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.answered_bytes += other.answered_bytes;
        self.opened += other.opened;
        self.pings_answered += other.pings_answered;
        self.unclean += other.unclean;
        self.errors.merge(other.errors);
        self.traced.extend(other.traced);
        self.cpu.extend(other.cpu);
        self.waited.extend(other.waited);
        self.system_shares.extend(other.system_shares);
        self.switches.add(other.switches);
        self.driver = self.driver.take().or_else(|| other.driver.clone());
        self.ring.add(&other.ring);
    }

    /// The window begins at `start` and has stages of these lengths.
    pub(crate) fn set_stages(&mut self, start: Nanos, lengths: impl Iterator<Item = Nanos>) {
        let mut end = start;
        self.stages = lengths
            .map(|length| {
                end += length;
                StageStats { end, sent: 0, latency: Times::new() }
            })
            .collect();
    }

    /// All workers have the same stages; one that never began has none.
    fn merge_stages(&mut self, others: Vec<StageStats>) {
        if self.stages.is_empty() {
            self.stages = others;
            return;
        }
        for (stage, other) in self.stages.iter_mut().zip(others) {
            stage.sent += other.sent;
            stage.latency.merge(&other.latency);
        }
    }

    /// The stage that a time of the window lies in.
    fn stage(&mut self, due: Nanos) -> Option<&mut StageStats> {
        let index = self.stages.partition_point(|stage| stage.end <= due);
        self.stages.get_mut(index)
    }

    /// A message was sent that was due in the window.
    #[inline]
    pub(crate) fn sent(&mut self, sent: Sent, window: &Range<Nanos>) {
        if window.contains(&sent.due) {
            self.sent += 1;
            if let Some(stage) = self.stage(sent.due) {
                stage.sent += 1;
            }
        }
    }

    /// What came of the publications, as all workers together know it.
    pub(crate) fn set_spreads(&mut self, spreads: Spreads) {
        self.first = spreads.first;
        self.median = spreads.median;
        self.completion = spreads.last;
        self.incomplete = spreads.incomplete;
    }

    /// A closing handshake has ended a connection.
    pub(crate) fn closed(&mut self, reason: CloseReason) {
        if let CloseReason::Clean(code) = reason {
            *self.close_codes.entry(code.get()).or_default() += 1;
        }
    }

    /// The generator came to a message that was due, and tried to send it.
    #[inline]
    pub(crate) fn tried(&mut self, due: Nanos, now: Nanos, window: &Range<Nanos>) {
        if self.timing != Timing::Latency && window.contains(&due) {
            self.scheduling_delay.record(now.saturating_sub(due));
        }
    }

    /// Records that a message's reply came, of so many bytes.
    #[inline]
    pub(crate) fn answered(&mut self, sent: Sent, now: Nanos, bytes: u64, window: &Range<Nanos>) {
        let latency = now.saturating_sub(sent.due);
        if window.contains(&sent.due) {
            self.latency.record(latency);
            self.answered_bytes += bytes;
            if let Some(stage) = self.stage(sent.due) {
                stage.latency.record(latency);
            }
            if self.timing == Timing::Service {
                self.service.record(now.saturating_sub(sent.at));
            }
        } else if sent.due < window.start {
            self.warmup.record(latency);
        }
        if window.contains(&now) {
            self.received += 1;
            self.received_bytes += bytes;
        }
    }
}

/// When a message was due and when it was sent; the same in a closed loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) due: Nanos,
    pub(crate) at: Nanos,
}

/// A message that was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traced {
    pub(crate) connection: u32,
    pub(crate) message: u32,
    pub(crate) sent: Sent,
    pub(crate) answered: Nanos,
}

#[cfg(test)]
mod tests {
    use super::{ErrorClass, Errors, Sent, Stats};
    use crate::plan::workload::Timing;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_stall_counts_from_when_messages_were_due() {
        // Due every 10 ms from 0; from 100 ms to 300 ms the server answers nothing and one message
        // is in flight; each takes 1 ms else, one after the other.
        let mut stats = Stats::new(Timing::Service);
        let window = 0..1000 * MS;
        let mut free = 0;
        for due in (0..1000).step_by(10).map(|ms| ms * MS) {
            let at = due.max(free);
            let sent = Sent { due, at };
            free = if (100 * MS..300 * MS).contains(&at) { 300 * MS } else { at + MS };
            stats.tried(due, due + MS, &window);
            stats.sent(sent, &window);
            stats.answered(sent, free, 0, &window);
        }
        assert_eq!((stats.sent, stats.received, stats.latency.len()), (100, 100, 100));
        // The message at 100 ms took 200 ms; the 19 behind it and the catching up are late.
        let near = |is: u64, ms: u64| is.abs_diff(ms * MS) <= ms * MS / 1000 + 1;
        assert!(near(stats.latency.max(), 200), "{}", stats.latency.max());
        assert!(near(stats.service.max(), 200));
        assert!(near(stats.latency.percentile(50.0), 1));
        assert!(near(stats.service.percentile(98.0), 1));
        // The n-th behind it is due 10 n ms later and waits n ms for those before: 200 - 9 n. Ten
        // of a hundred are above the 90th percentile, and that is n = 10.
        assert!(near(stats.latency.percentile(90.0), 110), "{}", stats.latency.percentile(90.0));
        assert!(
            near(stats.scheduling_delay.max(), 1),
            "the server's stall is no delay of the generator's"
        );
    }

    #[test]
    fn all_that_the_rings_of_the_workers_counted_adds_up() {
        let mut whole = Stats::new(Timing::Latency);
        for _ in 0..2 {
            let mut one = Stats::new(Timing::Latency);
            (one.ring.enters, one.ring.completions) = (1, 2);
            (one.ring.buffers_exhausted, one.ring.overflows) = (3, 4);
            whole.merge(one);
        }
        let ring = &whole.ring;
        let counted = [ring.enters, ring.completions, ring.buffers_exhausted, ring.overflows];
        assert_eq!(counted, [2, 4, 6, 8]);
    }

    #[test]
    fn what_was_due_in_the_warm_up_stays_there() {
        let mut stats = Stats::new(Timing::Latency);
        let window = 100..200;
        for (due, now) in [(50, 60), (90, 110), (150, 160), (190, 260), (210, 220)] {
            let sent = Sent { due, at: due };
            stats.sent(sent, &window);
            stats.answered(sent, now, 0, &window);
        }
        assert_eq!((stats.sent, stats.latency.len(), stats.warmup.len()), (2, 2, 2));
        assert_eq!(stats.received, 2, "replies of the window are those that came in it");
        assert!(
            stats.service.is_empty() && stats.scheduling_delay.is_empty(),
            "a closed loop has none"
        );
    }

    #[test]
    fn a_stage_has_what_was_due_in_it() {
        let window = 100..300;
        let stats = |dues: &[u64]| {
            let mut stats = Stats::new(Timing::Service);
            stats.set_stages(window.start, [50, 150].into_iter());
            for due in dues {
                let sent = Sent { due: *due, at: *due };
                stats.sent(sent, &window);
                stats.answered(sent, due + 10, 0, &window);
            }
            stats
        };
        let mut merged = Stats::new(Timing::Service);
        merged.merge(stats(&[99, 100, 149, 150]));
        merged.merge(stats(&[150, 299, 300]));
        let stages: Vec<_> =
            merged.stages.iter().map(|one| (one.sent, one.latency.len())).collect();
        assert_eq!(stages, [(2, 2), (3, 3)]);
    }

    #[test]
    fn errors_keep_their_first_examples_and_their_reasons() {
        let mut errors = Errors::default();
        errors.add(ErrorClass::Lost, 0, || unreachable!("nothing happened"));
        let mut others = Errors::default();
        for number in 0..5 {
            errors.add(ErrorClass::Unanswered, 2, || format!("message {number}"));
            errors.because(ErrorClass::Closed, "code 1001", || format!("connection {number}"));
            others.because(ErrorClass::Closed, &format!("code {number}"), || {
                format!("other {number}")
            });
        }
        errors.merge(others);
        assert_eq!(errors.total(), 20);
        let all: Vec<_> = errors.iter().collect();
        assert_eq!(all.len(), 2);
        let (class, closed) = all[0];
        assert_eq!((class, closed.count, closed.first()), (ErrorClass::Closed, 10, "connection 0"));
        assert_eq!(closed.examples, ["connection 0", "connection 1", "connection 2"]);
        assert_eq!(closed.reasons.len(), 6);
        assert_eq!(closed.reasons["code 1001"], 5);
        assert_eq!((all[1].1.count, all[1].1.reasons.len()), (10, 0));
        for number in 0..100 {
            errors.because(ErrorClass::Connect, &number.to_string(), String::new);
        }
        let connect = &errors.iter().next().expect("some").1.reasons;
        assert_eq!((connect.len(), connect["another reason"]), (17, 84), "bounded");
    }
}
