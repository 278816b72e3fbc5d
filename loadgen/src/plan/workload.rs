//! What is run: the scenario, what is sent and when, and what of it is measured.

use crate::base::failure::Failure;
use crate::base::units;
use crate::spec::arrivals::{Arrivals, Profile, Stage};
use crate::spec::lifetime::Lifetime;
use crate::spec::options::{ArrivalArgs, LoadArgs, SpanArgs, WindowArgs};
use crate::spec::rate;
use crate::spec::rate::Rate;
use crate::spec::shape::Shape;
use std::time::Duration;

/// What the connections do.
#[derive(Debug, Clone)]
pub(crate) enum Scenario {
    Echo(Traffic),
    Broadcast(Fan),
    /// Connections on a schedule, or as many as possible.
    Storm {
        arrivals: Option<Arrivals>,
    },
    /// Connections that are held, and pinged on a schedule if there is one.
    Idle {
        pings: Option<Arrivals>,
    },
    /// Connections of which each is replaced when it has lived.
    Churn {
        lifetime: Lifetime,
    },
    /// An echo in which some connections stop reading.
    Slow(Traffic, Stalls),
}

/// Which connections stop reading, and what they send all the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stalls {
    pub(crate) connections: u64,
    /// Messages per second of each of them.
    pub(crate) rate: f64,
}

/// The smallest publication: it carries four numbers of eight digits.
pub(crate) const SMALLEST: usize = 32;

/// Who publishes what to whom.
#[derive(Debug, Clone)]
pub(crate) struct Fan {
    pub(crate) traffic: Traffic,
    pub(crate) publishers: u64,
    pub(crate) subscribers: u64,
    /// Publications at once.
    pub(crate) burst: u64,
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

impl Scenario {
    /// What is sent, where anything is.
    pub(crate) const fn traffic(&self) -> Option<&Traffic> {
        match self {
            Self::Echo(traffic) | Self::Slow(traffic, _) => Some(traffic),
            Self::Broadcast(fan) => Some(&fan.traffic),
            Self::Storm { .. } | Self::Idle { .. } | Self::Churn { .. } => None,
        }
    }

    /// Bytes of the longest message.
    pub(crate) fn payload(&self) -> usize {
        self.traffic().map_or(0, |traffic| traffic.payload.largest())
    }

    /// Messages that may wait on one connection without anything being wrong.
    pub(crate) const fn at_once(&self) -> u64 {
        match self {
            Self::Echo(Traffic { pace: Pace::Closed { depth }, .. })
            | Self::Slow(Traffic { pace: Pace::Closed { depth }, .. }, _) => *depth,
            Self::Broadcast(fan) => fan.burst,
            _ => 1,
        }
    }
}

impl Traffic {
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

impl Fan {
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.traffic.pace, Pace::Closed { .. })
    }

    /// The arrivals of bursts, for those of publications.
    #[expect(clippy::cast_precision_loss, reason = "a burst has fewer messages than 2^53")]
    pub(crate) fn bursts(&self, arrivals: &Arrivals) -> Arrivals {
        let profile = arrivals.profile.scaled(1.0 / self.burst as f64);
        Arrivals { profile, ..*arrivals }
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
pub(crate) enum Tells {
    /// Nothing: in a closed loop it is due when it is sent.
    Latency,
    /// How late it was sent, in an open loop.
    Lag,
    /// The latency, and also how long the reply took from the actual send.
    Service,
}
