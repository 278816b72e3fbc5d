//! What came out of a run, and how far it can be trusted.

use crate::calibrate::Floor;
use crate::cost::Cost;
use crate::memory::Growth;
use crate::pace::Nanos;
use crate::plan::{Plan, Scenario};
use crate::record::Record;
use crate::search::Search;
use crate::seconds::{OpenRange, Second};

/// A run's results.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) record: Record,
    /// Length of what was measured.
    pub(crate) elapsed: Nanos,
    /// Replies that the schedule of an open loop asked for in the window.
    pub(crate) offered: Option<u64>,
    /// For a broadcast, the share of deliveries that were made.
    pub(crate) reach: Option<Reach>,
    /// How long it took to open all connections.
    pub(crate) dialling: Nanos,
    pub(crate) server: Option<Cost>,
    /// By how much the server's CPU time was read too far beside the window to be of it; there is
    /// no `server` then.
    pub(crate) server_missed: Option<Nanos>,
    /// How the memory of the server grew, if its number was given.
    pub(crate) memory: Option<Growth>,
    /// Connections open at once in the window.
    pub(crate) open_range: Option<OpenRange>,
    /// Connections that were to be held, where that is what is measured.
    pub(crate) held: u64,
    pub(crate) intervals: Vec<Second>,
    /// How long after the time that was asked for the load began.
    pub(crate) late: Nanos,
    /// What the generator measures against a server that does nothing.
    pub(crate) floor: Option<Floor>,
    /// What a search for the highest rate tried; this run is the best of it.
    pub(crate) search: Option<Search>,
    /// By a signal.
    pub(crate) interrupted: bool,
    pub(crate) when: When,
}

/// The run on the system's clock: nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct When {
    /// When the load began.
    pub(crate) began: u64,
    /// When the window opened.
    pub(crate) opened: u64,
    /// When the last connection had ended.
    pub(crate) ended: u64,
}

/// How many of the deliveries that publications of the window should have had there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) expected: u64,
    pub(crate) received: u64,
}

impl Reach {
    /// Received per expected.
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
    pub(crate) fn share(self) -> Option<f64> {
        (self.expected > 0).then(|| self.received as f64 / self.expected as f64)
    }
}

impl Outcome {
    /// What counts: replies, or deliveries, in the window.
    pub(crate) const fn messages(&self) -> u64 {
        self.record.received
    }

    /// Per second.
    #[expect(clippy::cast_precision_loss, reason = "counts and times of a run are below 2^53")]
    pub(crate) fn rate(&self) -> f64 {
        if self.elapsed == 0 { 0.0 } else { self.messages() as f64 * 1e9 / self.elapsed as f64 }
    }

    /// Messages answered in the window per message that the schedule asked for.
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
    pub(crate) fn achieved(&self) -> Option<f64> {
        let offered = self.offered.filter(|n| *n > 0)?;
        Some(self.messages() as f64 / offered as f64)
    }

    /// CPU nanoseconds of the server per message.
    #[expect(clippy::cast_precision_loss, reason = "counts and times of a run are below 2^53")]
    pub(crate) fn server_nanos(&self) -> Option<f64> {
        let cost = self.server.as_ref()?;
        (self.messages() > 0).then(|| cost.nanos as f64 / self.messages() as f64)
    }

    /// CPU nanoseconds of the generator's threads per message.
    #[expect(clippy::cast_precision_loss, reason = "counts and times of a run are below 2^53")]
    pub(crate) fn generator_nanos(&self) -> Option<f64> {
        let nanos: u64 = self.record.cpu.iter().sum();
        (self.messages() > 0).then(|| nanos as f64 / self.messages() as f64)
    }

    /// The share of the window that each of the generator's threads was on a CPU.
    #[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
    pub(crate) fn generator_load(&self) -> Vec<f64> {
        let window = self.elapsed.max(1) as f64;
        self.record.cpu.iter().map(|nanos| *nanos as f64 / window).collect()
    }

    /// Whether the run has a result worth quoting: nothing went wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.record.errors.total() == 0
    }

    /// Whether so much went wrong that rates and percentiles mean nothing.
    pub(crate) fn is_void(&self) -> bool {
        is_void(self.record.errors.total(), self.messages() + self.held)
    }

    /// Whether there is a rate to quote: something was measured, little went wrong, and it was not
    /// the generator that limited it.
    pub(crate) fn has_headline(&self, plan: &Plan) -> bool {
        self.messages() + self.held > 0
            && self.elapsed > 0
            && !self.is_void()
            && self.limiter(plan) != Some(Limiter::Generator)
    }

    /// What kept the run from being faster, or its latency from being lower, as far as can be told.
    pub(crate) fn limiter(&self, plan: &Plan) -> Option<Limiter> {
        if self.achieved().is_some_and(|share| share < ACHIEVED) {
            let generator = self.is_busy(plan) || self.starved() > STARVED;
            return Some(if generator { Limiter::Generator } else { Limiter::Server });
        }
        if plan.arrivals().is_none() && plan.spin.is_zero() && self.is_busy(plan) {
            // Both may be at their end; then it is the server's.
            return Some(if self.server_load() > BUSY {
                Limiter::Server
            } else {
                Limiter::Generator
            });
        }
        let (lag, latency) =
            (self.record.lag.percentile(99.0), self.record.latency.percentile(99.0));
        let late = lag > LAG_FLOOR && lag > latency / LAG_LIMIT;
        late.then_some(Limiter::Generator)
    }

    /// Whether a thread of the generator had no time left.
    fn is_busy(&self, plan: &Plan) -> bool {
        let busiest = self.busiest();
        (busiest > BUSY && plan.spin.is_zero()) || busiest + self.starved() > BUSY
    }

    fn busiest(&self) -> f64 {
        self.generator_load().into_iter().fold(0.0, f64::max)
    }

    /// The share of the window that the busiest of the server's threads was on a CPU; 0 if threads
    /// were not told apart.
    #[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
    fn server_load(&self) -> f64 {
        let busiest = self.server.as_ref().and_then(|cost| cost.threads.iter().max());
        busiest.map_or(0.0, |nanos| *nanos as f64 / self.elapsed.max(1) as f64)
    }

    /// The longest that a thread of the server waited for a CPU, as a share of the window.
    #[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
    fn server_kept_waiting(&self) -> f64 {
        let waited = self.server.as_ref().and_then(|cost| cost.waited).unwrap_or(0);
        waited as f64 / self.elapsed.max(1) as f64
    }

    /// The longest that a thread of the generator waited for a CPU, as a share of the window.
    #[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
    pub(crate) fn starved(&self) -> f64 {
        let longest = self.record.waited.iter().max().copied().unwrap_or(0);
        longest as f64 / self.elapsed.max(1) as f64
    }

    /// What limited the run, in words; empty if nothing speaks against the numbers.
    pub(crate) fn verdicts(&self, plan: &Plan) -> Vec<String> {
        let mut verdicts = Vec::new();
        let (busiest, starved) = (self.busiest(), self.starved());
        let limiter = self.limiter(plan);
        if let Some(achieved) = self.achieved().filter(|share| *share < ACHIEVED) {
            let limiter = limiter.unwrap_or(Limiter::Server).name();
            verdicts.push(format!(
                "the {limiter} limited the run: only {:.1} % of the offered rate was reached",
                achieved * 100.0
            ));
        } else if limiter == Some(Limiter::Generator) && plan.arrivals().is_none() {
            verdicts.push(format!(
                "the generator limited the run: one of its threads was busy, or waited for a CPU, \
                 for {:.0} % of the window; add --threads, or set a --rate",
                (busiest + starved).min(1.0) * 100.0
            ));
        }
        if starved > STARVED {
            verdicts.push(format!(
                "a generator thread waited for a CPU for {:.0} % of the window: something else \
                 ran there; give it CPUs of its own with --cpus",
                starved * 100.0
            ));
        }
        verdicts.extend(self.server_verdicts());
        verdicts.extend(self.lag_verdict(self.is_busy(plan) || starved > STARVED));
        verdicts.extend(self.floor_verdict(plan));
        if self.late > 0 {
            verdicts.push(format!(
                "the load began {} after --start-at: the connections were not open before",
                crate::text::time(self.late)
            ));
        }
        let queued = self.record.queued;
        if queued > 0 {
            verdicts.push(format!(
                "{queued} messages were due while their connection had no room for them, by --depth \
                 or because the server did not read: their latency holds the wait"
            ));
        }
        if plan.tls.as_ref().is_some_and(|tls| !tls.verified) {
            verdicts.push(
                "whoever answered was accepted as the server: --insecure does not verify certificates"
                    .to_owned(),
            );
        }
        let portless = self.record.portless();
        if portless > 0 {
            verdicts.push(format!(
                "for {portless} connections there was no port left: one source address has {} of them \
                 for one server, and a closed connection keeps its own for a minute; add addresses \
                 of this machine with --source, or widen net.ipv4.ip_local_port_range",
                crate::source::ports()
            ));
        }
        let saturated = self.record.latency.saturated();
        if saturated > 0 {
            verdicts.push(format!("{saturated} times were longer than a minute, counted as one"));
        }
        verdicts
    }

    /// What speaks against the server's CPU time, and its rate.
    fn server_verdicts(&self) -> Vec<String> {
        let mut verdicts = Vec::new();
        let kept = self.server_kept_waiting();
        if kept > SERVER_STARVED {
            verdicts.push(format!(
                "a thread of the server was ready to run but had no CPU for {:.0} % of the window: \
                 something else ran there, or the server has more threads than CPUs",
                kept * 100.0
            ));
        }
        if let Some(missed) = self.server_missed {
            verdicts.push(format!(
                "the server's CPU time is left out: it was read {} beside the window, because the \
                 thread that reads it had no CPU; leave it one, or run the load at a lower priority",
                crate::text::time(missed)
            ));
        }
        verdicts
    }

    /// Whether what was measured is mostly what the generator measures of nothing.
    fn floor_verdict(&self, plan: &Plan) -> Option<String> {
        // A floor that was raised by other work says nothing.
        let sound = |floor: &&Floor| floor.waited_share <= STARVED;
        let floor =
            self.floor.as_ref().filter(sound).filter(|_| plan.scenario.traffic().is_some())?;
        let (median, least) = (self.record.latency.percentile(50.0), floor.round_trip_p50_ns);
        (!self.record.latency.is_empty() && median < 2 * least).then(|| {
            format!(
                "half of the latency is below twice the tool's own floor, {}: most of it is the \
                 generator's and the kernel's",
                crate::text::time(least)
            )
        })
    }

    /// Whether the generator itself was late enough to be seen in the latency.
    fn lag_verdict(&self, short_of_cpu: bool) -> Option<String> {
        let record = &self.record;
        let (lag, latency) = (record.lag.percentile(99.0), record.latency.percentile(99.0));
        if lag <= LAG_FLOOR || lag <= latency / LAG_NOTED {
            return None;
        }
        let share = if lag > latency / LAG_LIMIT {
            "more than half of the latency, so that the generator limited it"
        } else {
            "more than a tenth of the latency"
        };
        let why = if short_of_cpu {
            "it was short of CPU time"
        } else {
            "--spin would keep it closer to the schedule"
        };
        Some(format!(
            "the generator was late, by {} at p99, which is {share}: {why}",
            crate::text::time(lag)
        ))
    }
}

/// What kept a run from being faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limiter {
    Generator,
    Server,
}

impl Limiter {
    /// The name in sentences and result documents.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Generator => "generator",
            Self::Server => "server",
        }
    }
}

/// Whether more than one in a hundred of what was attempted went wrong.
pub(crate) const fn is_void(errors: u64, good: u64) -> bool {
    errors > 0 && errors.saturating_mul(100) > good.saturating_add(errors)
}

/// What is counted, one and many.
pub(crate) const fn unit(scenario: &Scenario) -> (&'static str, &'static str) {
    match scenario {
        Scenario::Echo(_) | Scenario::Slow(..) => ("message", "messages"),
        Scenario::Idle { .. } => ("ping", "pings"),
        Scenario::Broadcast(_) => ("delivery", "deliveries"),
        Scenario::Storm { .. } | Scenario::Churn { .. } => ("connection", "connections"),
    }
}

/// What the main latency is called.
pub(crate) const fn latency_name(scenario: &Scenario) -> &'static str {
    match scenario {
        Scenario::Echo(_) | Scenario::Slow(..) => "latency",
        Scenario::Idle { .. } => "ping",
        Scenario::Churn { .. } => "opening",
        Scenario::Broadcast(_) => "delivery",
        Scenario::Storm { .. } => "cycle",
    }
}

/// A thread that is on a CPU for more than this share of the window has nothing left.
const BUSY: f64 = 0.95;
/// More of the window than this without a CPU shows in the latency.
pub(crate) const STARVED: f64 = 0.02;
/// Share of the window that a server's thread may wait for a CPU. It is large, because a thread
/// that is woken for every message waits a moment each time.
const SERVER_STARVED: f64 = 0.2;
/// Less of the offered rate than this is a failure to keep up.
const ACHIEVED: f64 = 0.99;
/// Lag above this part of the latency, both at p99, is noted.
const LAG_NOTED: Nanos = 10;
/// Lag above this part of it makes it the generator's latency.
const LAG_LIMIT: Nanos = 2;
/// Lag below this is not worth a word.
const LAG_FLOOR: Nanos = 20_000;

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::{Outcome, Reach, When};
    use crate::account::Switches;
    use crate::args::{Cli, Command};
    use crate::cost::{Cost, Source};
    use crate::plan::Plan;
    use crate::record::{Class, Record, Sent};

    const MS: u64 = 1_000_000;

    fn plan(options: &[&str]) -> Plan {
        let words = [&["loadgen", "echo", "ws://127.0.0.1:9/", "-t", "1"], options].concat();
        let Command::Measure(scenario) = Cli::parse_from(&words).command else {
            panic!("no scenario: {words:?}");
        };
        Plan::new(*scenario).expect("a plan")
    }

    /// A second with one reply per millisecond, each 100 µs after it was due and `lag` ns of it
    /// before it was sent; the thread ran `cpu` and waited `waited` of it.
    fn outcome(plan: &Plan, lag: u64, cpu: u64, waited: u64) -> Outcome {
        let mut record = Record::new(plan.tells());
        for due in (0..1000).map(|ms| ms * MS) {
            let sent = Sent { due, at: due + lag };
            record.tried(due, due + lag, &(0..1000 * MS));
            record.sent(sent, &(0..1000 * MS));
            record.answered(sent, due + 100_000, 0, &(0..1000 * MS));
        }
        record.cpu = vec![cpu];
        record.waited = vec![waited];
        Outcome {
            record,
            elapsed: 1000 * MS,
            offered: plan.rate().map(|_| 1000),
            reach: None,
            dialling: 0,
            server: None,
            server_missed: None,
            memory: None,
            open_range: None,
            held: 0,
            late: 0,
            floor: None,
            search: None,
            intervals: Vec::new(),
            interrupted: false,
            when: When::default(),
        }
    }

    fn cost(nanos: u64) -> Cost {
        let (threads, switches) = (vec![nanos], Switches::default());
        Cost {
            nanos,
            threads,
            waited: Some(0),
            switches,
            system_share: None,
            source: Source::Ticks,
        }
    }

    #[test]
    fn connections_without_a_port_are_explained() {
        let closed = plan(&[]);
        let mut short = outcome(&closed, 0, 0, 0);
        for (class, errno) in [(Class::Connect, 99), (Class::Connect, 111), (Class::Closed, 99)] {
            let why = std::io::Error::from_raw_os_error(errno).to_string();
            short.record.errors.because(class, &why, || why.clone());
        }
        let said = short.verdicts(&closed).join("\n");
        let ports = crate::source::ports();
        assert!(said.contains("for 1 connections there was no port left"), "{said}");
        assert!(
            said.contains(&format!("has {ports} of them")) && said.contains("--source"),
            "{said}"
        );
    }

    #[test]
    fn a_run_that_nothing_speaks_against_has_no_notes() {
        let open = plan(&["-r", "1000"]);
        let good = outcome(&open, 5_000, 500 * MS, 10 * MS);
        assert_eq!(good.verdicts(&open), Vec::<String>::new());
        assert!(good.is_good() && !good.is_void());
        assert_eq!(good.achieved(), Some(1.0));
        assert!((good.rate() - 1000.0).abs() < 1e-9);
        assert_eq!(good.generator_nanos(), Some(500_000.0));
    }

    #[test]
    fn the_limiter_is_named() {
        let (closed, open) = (plan(&[]), plan(&["-r", "2000"]));
        let said = |outcome: &Outcome, plan: &Plan| outcome.verdicts(plan).join("\n");
        let busy = outcome(&closed, 0, 970 * MS, 0);
        assert!(said(&busy, &closed).contains("for 97 % of the window"));
        let robbed = outcome(&closed, 0, 500 * MS, 460 * MS);
        assert!(
            said(&robbed, &closed).contains("for 96 % of the window")
                && !robbed.has_headline(&closed)
        );
        assert!(!busy.has_headline(&closed));
        let text = crate::text::summary(&closed, &busy);
        assert!(text.contains("the server takes at least 1,000 messages/s"), "{text}");
        let mut both = outcome(&closed, 0, 970 * MS, 0);
        both.server = Some(cost(990 * MS));
        assert!(both.has_headline(&closed), "the server was at its end, too");
        both.server = Some(Cost { threads: vec![330 * MS; 3], ..cost(990 * MS) });
        assert!(!both.has_headline(&closed), "none of its threads was");
        let mut behind = outcome(&open, 5_000, 500 * MS, 0);
        behind.offered = Some(2000);
        assert!(said(&behind, &open).contains("the server limited the run: only 50.0 %"));
        assert!(behind.has_headline(&open));
        behind.record.cpu = vec![980 * MS];
        assert!(said(&behind, &open).contains("the generator limited the run"));
        assert!(!behind.has_headline(&open));
        let slightly = outcome(&open, 30_000, 500 * MS, 0);
        assert!(slightly.has_headline(&open) && said(&slightly, &open).contains("a tenth"));
        let late = outcome(&open, 60_000, 500 * MS, 0);
        assert!(said(&late, &open).contains("late, by 60.0 µs at p99"), "{}", said(&late, &open));
        assert!(!late.has_headline(&open), "more than half of the latency is the generator's");
        let mut queued = outcome(&open, 5_000, 500 * MS, 0);
        queued.record.queued = 7;
        assert!(queued.has_headline(&open) && said(&queued, &open).contains("7 messages were due"));
        let mut held_up = outcome(&open, 5_000, 500 * MS, 0);
        held_up.server = Some(Cost { waited: Some(400 * MS), ..cost(300 * MS) });
        assert!(said(&held_up, &open).contains("had no CPU for 40 % of the window"));
        let mut missed = outcome(&open, 5_000, 500 * MS, 0);
        missed.server_missed = Some(1_500 * MS);
        assert!(said(&missed, &open).contains("left out: it was read 1.50 s beside the window"));
        let starved = outcome(&open, 5_000, 500 * MS, 100 * MS);
        assert!(said(&starved, &open).contains("waited for a CPU for 10 %"));
    }

    #[test]
    fn one_error_spoils_a_run_and_one_in_a_hundred_voids_it() {
        let plan = plan(&[]);
        let mut outcome = outcome(&plan, 0, 0, 0);
        outcome.record.errors.add(Class::Unanswered, 10, || "no reply".to_owned());
        assert!(!outcome.is_good() && !outcome.is_void());
        assert!(crate::text::summary(&plan, &outcome).contains("messages/s"));
        outcome.record.errors.add(Class::Unanswered, 10, || "no reply".to_owned());
        assert!(outcome.is_void());
        let text = crate::text::summary(&plan, &outcome);
        assert!(text.contains("No result") && !text.contains("messages/s"), "{text}");
        assert!(text.contains("20 unanswered, the first: no reply"), "{text}");
    }

    #[test]
    fn reach_is_received_per_expected() {
        assert_eq!(Reach { expected: 200, received: 150 }.share(), Some(0.75));
        assert_eq!(Reach { expected: 0, received: 0 }.share(), None);
    }
}
