//! What a plan knows of its scenario: what is sent and when, and what of it is measured.

use std::time::Duration;

use crate::base::failure::Failure;
use crate::base::units;
use crate::spec::arrivals::{Arrivals, Profile, Stage};
use crate::spec::options::{ArrivalArgs, LoadArgs, SpanArgs, WindowArgs};
use crate::spec::rate::{self, Rate};
use crate::spec::shape::Shape;

/// What a plan knows of its scenario.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    /// What is sent, where anything is.
    pub(crate) traffic: Option<Traffic>,
    /// The schedule of what is done where nothing is sent: of connections, or of pings.
    pub(crate) schedule: Option<Arrivals>,
    /// Connections that do what is measured: the first ones.
    pub(crate) senders: u64,
    /// Messages that one of them sends at once.
    pub(crate) burst: u64,
    /// Whether a message goes to every other connection, and none comes back.
    pub(crate) is_broadcast: bool,
    pub(crate) connections: Connections,
}

/// What the connections are there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    /// To send on them: all are open before the load begins.
    Used,
    /// To be there: all are open before the load begins, and that they stay is what is measured.
    Held,
    /// To live for a while: all are open before the load begins, and each is replaced when it ends.
    Replaced,
    /// To be opened and closed by the load itself.
    Cycled,
}

impl Workload {
    /// Messages that `senders` connections send, each of which comes back.
    pub(crate) const fn of_messages(traffic: Traffic, senders: u64) -> Self {
        Self {
            traffic: Some(traffic),
            schedule: None,
            senders,
            burst: 1,
            is_broadcast: false,
            connections: Connections::Used,
        }
    }

    /// Connections that nothing is sent on.
    pub(crate) const fn of_connections(
        connections: Connections,
        count: u64,
        schedule: Option<Arrivals>,
    ) -> Self {
        Self { traffic: None, schedule, senders: count, burst: 1, is_broadcast: false, connections }
    }

    /// Bytes of the longest message.
    pub(crate) fn payload(&self) -> usize {
        self.traffic.as_ref().map_or(0, |traffic| traffic.payload.largest())
    }

    /// Messages that may wait on one connection without anything being wrong.
    pub(crate) fn at_once(&self) -> u64 {
        match self.traffic.as_ref().map(|traffic| &traffic.pace) {
            Some(Pace::Closed { depth }) => self.burst.max(*depth),
            _ => self.burst,
        }
    }

    /// The schedule of an open loop: of messages, publications, connections or pings.
    pub(crate) const fn arrivals(&self) -> Option<&Arrivals> {
        match &self.traffic {
            Some(Traffic { pace: Pace::Open { arrivals, .. }, .. }) => Some(arrivals),
            Some(_) => None,
            None => self.schedule.as_ref(),
        }
    }

    /// The arrivals of bursts, for those of messages.
    #[expect(clippy::cast_precision_loss, reason = "a burst has fewer messages than 2^53")]
    pub(crate) fn bursts(&self, arrivals: &Arrivals) -> Arrivals {
        let profile = arrivals.profile.scaled(1.0 / self.burst as f64);
        Arrivals { profile, ..*arrivals }
    }
}

/// What is sent, and when.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    pub(crate) pace: Pace,
    pub(crate) payload: Shape,
    /// Frames of each message.
    pub(crate) fragments: Option<u64>,
    pub(crate) text: bool,
    pub(crate) seed: u64,
}

/// When messages are sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Pace {
    /// The next when a reply came, with so many in flight on each connection.
    Closed { depth: u64 },
    /// On a schedule of all connections; what is due beyond `depth` in flight on its connection
    /// waits.
    Open { arrivals: Arrivals, depth: Option<u64> },
}

/// What is measured.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) warmup: Duration,
    pub(crate) length: Length,
    /// The parts that it has, where they were asked for.
    pub(crate) stages: Vec<Stage>,
    /// When the load is to begin, in nanoseconds since 1970; else as soon as it can.
    pub(crate) start_at: Option<u64>,
}

/// How long the measurement lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Time(Duration),
    Messages(u64),
}

impl Traffic {
    /// What people read of it.
    pub(crate) fn describe(&self) -> String {
        let pace = match &self.pace {
            Pace::Closed { depth: 1 } => "closed loop".to_owned(),
            Pace::Closed { depth } => format!("closed loop, {depth} in flight each"),
            Pace::Open { arrivals, depth: None } => arrivals.describe(),
            Pace::Open { arrivals, depth: Some(depth) } => {
                format!("{}, at most {depth} in flight each", arrivals.describe())
            }
        };
        let kind = if self.text { "text" } else { "binary" };
        let frames = match self.fragments {
            Some(n) if n > 1 => format!(" in {n} frames"),
            _ => String::new(),
        };
        format!("{} {kind}{frames}, {pace}", self.payload)
    }

    pub(crate) fn new(args: &LoadArgs, depth: Option<u64>, warmup: Duration) -> Self {
        let pace = match args.when.arrivals(warmup) {
            Some(arrivals) => Pace::Open { arrivals, depth },
            None => Pace::Closed { depth: depth.unwrap_or(1) },
        };
        let (payload, fragments) = (args.payload.clone(), args.fragments);
        Self { pace, payload, fragments, text: args.text, seed: args.when.seed }
    }
}

impl LoadArgs {
    /// A rate of each connection as that of all that send.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub(crate) fn of_senders(mut self, senders: u64) -> Result<Self, Failure> {
        if let Some(each) = self.rate_per_conn {
            let all = each * senders as f64;
            if all > units::RATE_MAX {
                return Err(Failure::usage(
                    format!("{senders} connections cannot send {each} messages per second each"),
                    format!("{} is the highest rate of all together", units::RATE_MAX),
                    "give a lower --rate-per-conn, or fewer connections",
                ));
            }
            self.when.rate = Some(Rate::Fixed(all));
        }
        Ok(self)
    }
}

impl ArrivalArgs {
    /// The rate; that of a search is set for each of its runs.
    pub(crate) const fn fixed(&self) -> Option<f64> {
        match &self.rate {
            Some(Rate::Fixed(rate)) => Some(*rate),
            Some(Rate::Highest(_)) => Some(rate::FIRST),
            None => None,
        }
    }

    /// The schedule asked for, when `warmup` comes before the measurement.
    pub(crate) fn arrivals(&self, warmup: Duration) -> Option<Arrivals> {
        let profile = match self.fixed() {
            Some(rate) => Profile::constant(rate),
            None if self.stage.is_empty() => return None,
            None => Profile::staged(warmup, &self.stage),
        };
        Some(Arrivals { profile, process: self.arrival, seed: self.seed })
    }
}

impl Window {
    pub(crate) fn of(args: &SpanArgs) -> Self {
        let SpanArgs { duration, warmup, start_at } = *args;
        Self { warmup, length: Length::Time(duration), stages: Vec::new(), start_at }
    }

    pub(crate) fn new(args: &WindowArgs, stages: &[Stage], rate: Option<f64>) -> Self {
        let length = match (args.messages, rate) {
            _ if !stages.is_empty() => Length::Time(stages.iter().map(|stage| stage.length).sum()),
            (None, _) => Length::Time(args.span.duration),
            // On a schedule a number of messages is a duration.
            #[expect(clippy::cast_precision_loss, reason = "a run sends fewer than 2^53")]
            (Some(n), Some(rate)) => {
                Length::Time(Duration::from_secs_f64((n as f64 / rate).min(1e9)))
            }
            (Some(n), None) => Length::Messages(n),
        };
        Self { length, stages: stages.to_vec(), ..Self::of(&args.span) }
    }
}

/// What is known of a message beside its latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    /// Nothing: in a closed loop it is due when it is sent.
    Latency,
    /// How late it was sent, in an open loop.
    Lag,
    /// The latency, and also how long the reply took from the actual send.
    Service,
}
