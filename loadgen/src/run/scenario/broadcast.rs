//! The broadcast scenario: what a publisher sends goes to every other connection.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use ringbolt::{Fleet, Message, WebSocket};
use serde_json::{Value, json};

use crate::base::clock::{Nanos, nanos};
use crate::base::failure::Failure;
use crate::base::format::number;
use crate::base::units;
use crate::plan::Parts;
use crate::plan::workload::{Pace, Traffic, Window, Workload};
use crate::run::context::Context;
use crate::run::delivery::{Arrived, Deliveries, Sheet};
use crate::run::job::{Job, Keys, Scenario, ScenarioArgs};
use crate::run::outcome::Outcome;
use crate::run::payload::{Payload, WORD};
use crate::run::stats::{ErrorClass, Sent, Stats};
use crate::run::worker::{Behaviour, Connection, Launch, Thread, send};
use crate::spec::arrivals::Schedule;
use crate::spec::options::{DialArgs, LoadArgs, MachineArgs, OutputArgs, TargetArgs, WindowArgs};
use crate::spec::rate::Rate;
use crate::spec::shape::Shape;

/// Numbers in a publication: publisher, number, and the time when it was due in two halves.
const WORDS: usize = 4;
/// The smallest publication.
const SMALLEST: usize = WORDS * WORD;
/// How often a publisher looks whether the other threads' subscribers have everything.
const LOOK: Nanos = 50_000;

#[derive(Debug, Clone, Args)]
#[command(
    about = "Publish to connections that all hear each other, and measure delivery",
    after_help = EXAMPLES
)]
pub(crate) struct BroadcastArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Connections that only listen [suffixes: k, m]
    #[arg(short = 'c', long, alias = "connections", env = "LOADGEN_SUBSCRIBERS", value_name = "N",
          default_value = "1", value_parser = units::positive, help_heading = "Load")]
    subscribers: u64,
    /// Connections that publish, in addition to the subscribers; they hear each other, but not
    /// themselves
    #[arg(long, env = "LOADGEN_PUBLISHERS", value_name = "N", default_value = "1",
          value_parser = units::positive, help_heading = "Load")]
    publishers: u64,
    /// Publications that a publisher sends at once
    #[arg(long, env = "LOADGEN_BURST", value_name = "N", default_value = "1",
          value_parser = units::at_once, help_heading = "Load")]
    burst: u64,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    dial: DialArgs,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "\
Every message of a publisher must reach every other connection: its subscribers and the other
publishers. The delivery ratio is the share that did. `first`, `median` and `last` say when publications that reached
everybody came to the first, the middle and the last of them. Without --rate a publisher sends when its
last message has reached everybody.

Examples:
  loadgen broadcast ws://127.0.0.1:9000/room -c 1000            one publisher, 1,000 listeners
  loadgen broadcast ws://127.0.0.1:9000/room -c 1000 -r 100/s   100 publications per second
  loadgen broadcast ws://127.0.0.1:9000/room --publishers 10 --burst 16";

impl ScenarioArgs for BroadcastArgs {
    fn rate(&mut self) -> Option<&mut Rate> {
        self.load.when.rate.as_mut()
    }

    fn job(self) -> Result<Job, Failure> {
        let Self { target, subscribers, publishers, burst, window, load, .. } = self;
        let load = load.of_senders(publishers)?;
        if !matches!(load.payload, Shape::Sizes(_)) {
            return Err(Failure::usage(
                format!("publications cannot be `{}`", load.payload),
                "each carries its number and time, by which its deliveries are known",
                "give a size, or sizes, as --payload",
            ));
        }
        if load.payload.smallest() < SMALLEST {
            return Err(Failure::usage(
                format!("publications of {} bytes are too small", load.payload.smallest()),
                format!("each carries its number and time in {} bytes", SMALLEST),
                "give a larger --payload",
            ));
        }
        let window = Window::new(&window, &load.when.stage, load.when.fixed());
        let traffic = Traffic::new(&load, None, window.warmup);
        let parts = Parts {
            target,
            connections: subscribers + publishers,
            window,
            seed: load.when.seed,
            dial: self.dial,
            machine: self.machine,
            output: self.output,
        };
        let workload = Workload {
            burst,
            is_broadcast: true,
            ..Workload::of_messages(traffic.clone(), publishers)
        };
        let tally = Tally::new(publishers);
        let fan = Fan { traffic, publishers, subscribers, burst };
        Ok(Job::new(parts.plan(workload)?, Broadcast { fan, tally }))
    }
}

/// Who publishes what to whom.
#[derive(Debug, Clone)]
struct Fan {
    traffic: Traffic,
    publishers: u64,
    subscribers: u64,
    /// Publications at once.
    burst: u64,
}

impl Fan {
    const fn is_closed(&self) -> bool {
        matches!(self.traffic.pace, Pace::Closed { .. })
    }
}

/// Every message of a publisher goes to all other connections.
#[derive(Debug)]
struct Broadcast {
    fan: Fan,
    tally: Arc<Tally>,
}

pub(super) const KEYS: Keys = Keys { workload: &["fan"], outcome: &[] };

impl Scenario for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn unit(&self) -> (&'static str, &'static str) {
        ("delivery", "deliveries")
    }

    fn latency_name(&self) -> &'static str {
        "delivery"
    }

    fn headline(&self) -> String {
        let fan = &self.fan;
        format!(
            "broadcast of {}, {} to {}, bursts of {}",
            fan.traffic.describe(),
            number(fan.publishers, "publisher"),
            number(fan.subscribers, "subscriber"),
            fan.burst
        )
    }

    fn workload(&self) -> Vec<(&'static str, Value)> {
        let fan = json!({
            "publishers": self.fan.publishers,
            "subscribers": self.fan.subscribers,
            "burst": self.fan.burst,
        });
        vec![("fan", fan)]
    }

    fn write_counts(&self, out: &mut String, outcome: &Outcome) -> fmt::Result {
        let ratio = outcome.delivery_ratio.and_then(|ratio| Some((ratio, ratio.share()?)));
        let Some((ratio, share)) = ratio else { return Ok(()) };
        writeln!(
            out,
            "  {:<12} {:.4} %: {} of {} deliveries, of {} publications",
            "delivered",
            share * 100.0,
            ratio.received,
            ratio.expected,
            outcome.stats.sent
        )
    }

    fn start(&self, launch: Launch) -> std::io::Result<Thread> {
        let (fan, tally) = (self.fan.clone(), Arc::clone(&self.tally));
        launch.worker(move |context| Publications::new(&fan, tally, context))
    }

    fn complete(&self, stats: &mut Stats) {
        stats.set_spreads(self.tally.deliveries.spreads());
    }
}

/// How far each publisher is, over all threads.
#[derive(Debug)]
struct Tally {
    counts: Box<[Count]>,
    deliveries: Deliveries,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Count {
    /// Deliveries that its publications should have: to those that were connected at the time.
    expected: AtomicU64,
    delivered: AtomicU64,
    /// Publications that may have left: nobody else makes them, so other ones are forged.
    published: AtomicU64,
}

impl Tally {
    fn new(publishers: u64) -> Arc<Self> {
        let counts = (0..publishers).map(|_| Count::default()).collect();
        Arc::new(Self { counts, deliveries: Deliveries::default() })
    }
}

/// Publishes, and measures when publications arrive.
#[derive(Debug)]
struct Publications {
    fan: Fan,
    payload: Payload<WORDS>,
    tally: Arc<Tally>,
    schedule: Option<Schedule>,
    /// The publishers among this worker's connections.
    publishers: Vec<Publisher>,
    /// Deliveries that the tally has not been told of, by publisher.
    delivered: Vec<u64>,
    news: bool,
    /// The deliveries of this turn.
    sheet: Sheet,
    /// Deliveries that the next publication is to have: connections but one.
    audience: u64,
    worker: usize,
    workers: usize,
}

/// What is known of a publisher of this worker.
#[derive(Debug)]
struct Publisher {
    /// The connection's number, among all connections and among the publishers.
    number: usize,
    next: u32,
    /// When the last burst was due.
    last: Nanos,
    /// Whether deliveries of the last burst are awaited.
    waits: bool,
    /// Deliveries that were given up.
    forgiven: u64,
    /// Publications that found no room.
    owed: VecDeque<Nanos>,
}

/// A connection: the number that it expects next of each publisher.
#[derive(Debug)]
pub(crate) struct ListenerState {
    number: usize,
    expected: Box<[u32]>,
}

impl Publications {
    fn new(fan: &Fan, tally: Arc<Tally>, context: &Context) -> Self {
        let (worker, workers) = (context.worker, context.plan.threads.len());
        let mine = (0..tally.counts.len()).filter(|number| number % workers == worker);
        let publisher = |number| Publisher {
            number,
            next: 0,
            last: 0,
            waits: false,
            forgiven: 0,
            owed: VecDeque::new(),
        };
        Self {
            payload: Payload::new(
                &fan.traffic.payload,
                fan.traffic.text,
                fan.traffic.seed,
                context.clock.clock(),
            ),
            publishers: mine.map(publisher).collect(),
            delivered: vec![0; tally.counts.len()],
            fan: fan.clone(),
            tally,
            schedule: None,
            news: false,
            sheet: Sheet::default(),
            audience: 0,
            worker,
            workers,
        }
    }

    /// Sends one publication; says whether there was room.
    fn publish(
        &mut self,
        context: &mut Context,
        ws: &mut WebSocket<'_, Connection<ListenerState>>,
        index: usize,
        sent: Sent,
    ) -> bool {
        let publisher = &mut self.publishers[index];
        let number = u32::try_from(publisher.number).unwrap_or(u32::MAX);
        let [low, high] = halves(sent.due);
        let message = self.payload.write([number, publisher.next, low, high], sent.due);
        let count = &self.tally.counts[publisher.number];
        count.published.store(u64::from(publisher.next) + 1, Ordering::Release);
        if !send(ws, message, self.fan.traffic.fragments) {
            return false;
        }
        if context.window.contains(&sent.due) {
            let (name, next) = (publisher.number, publisher.next);
            self.tally.deliveries.published(name, next, sent.due, self.audience);
        }
        publisher.next = publisher.next.wrapping_add(1);
        self.tally.counts[publisher.number].expected.fetch_add(self.audience, Ordering::Relaxed);
        context.stats.sent(sent, &context.window);
        true
    }

    /// A burst of one publisher that is due.
    fn burst(
        &mut self,
        context: &mut Context,
        fleet: &mut Fleet<'_, Connection<ListenerState>>,
        index: usize,
        due: Option<Nanos>,
    ) {
        let place = self.publishers[index].number / self.workers;
        let Some(mut ws) = fleet.socket(context.ids[place]) else {
            // Its end has been counted as an error.
            return;
        };
        self.audience = context.control.sum(|gauge| &gauge.live).saturating_sub(1);
        let at = context.clock.read();
        let due = due.unwrap_or(at);
        self.publishers[index].last = due;
        for _ in 0..self.fan.burst {
            if self.fan.is_closed() && !context.may_send(at) {
                return;
            }
            self.publishers[index].waits = true;
            context.stats.tried(due, at, &context.window);
            let behind = !self.publishers[index].owed.is_empty();
            if behind || !self.publish(context, &mut ws, index, Sent { due, at }) {
                self.publishers[index].owed.push_back(due);
                context.stats.queued += u64::from(context.window.contains(&due));
            }
        }
    }

    /// Tells the tally of this turn's deliveries.
    fn flush(&mut self) {
        self.sheet.hand_in(&self.tally.deliveries);
        if std::mem::take(&mut self.news) {
            for (count, delivered) in self.tally.counts.iter().zip(&mut self.delivered) {
                if *delivered > 0 {
                    count.delivered.fetch_add(std::mem::take(delivered), Ordering::Relaxed);
                }
            }
        }
    }

    /// Deliveries that a publisher's publications still lack.
    fn missing(&self, number: usize) -> u64 {
        let count = &self.tally.counts[number];
        let delivered = count.delivered.load(Ordering::Relaxed);
        count.expected.load(Ordering::Relaxed).saturating_sub(delivered)
    }

    /// The next bursts of a closed loop: of the publishers whose last has arrived everywhere.
    fn turn_closed(
        &mut self,
        context: &mut Context,
        fleet: &mut Fleet<'_, Connection<ListenerState>>,
    ) -> Option<Nanos> {
        let mut next = None;
        for index in 0..self.publishers.len() {
            let now = context.clock.stamp();
            let publisher = &self.publishers[index];
            let missing = self.missing(publisher.number).saturating_sub(publisher.forgiven);
            let patience = nanos(context.plan.timeout);
            if publisher.waits && (missing > 0 || !publisher.owed.is_empty()) {
                if now < publisher.last.saturating_add(patience) {
                    let look = if self.workers > 1 { LOOK } else { patience };
                    next = Some(now + look).min(next.or(Some(Nanos::MAX)));
                    continue;
                }
                self.publishers[index].forgiven += missing;
            }
            self.publishers[index].waits = false;
            self.burst(context, fleet, index, None);
        }
        next
    }

    fn turn_open(
        &mut self,
        context: &mut Context,
        fleet: &mut Fleet<'_, Connection<ListenerState>>,
    ) -> Option<Nanos> {
        let mut schedule = self.schedule.take()?;
        while let Some(due) = schedule.due()
            && due < context.window.end
            && due <= context.clock.stamp()
        {
            let Some((index, due)) = schedule.take() else { break };
            self.burst(context, fleet, index, Some(due));
        }
        let next = schedule.due();
        self.schedule = Some(schedule);
        next
    }
}

impl Behaviour for Publications {
    type State = ListenerState;

    fn state(&mut self, place: usize) -> ListenerState {
        let number = place * self.workers + self.worker;
        ListenerState { number, expected: vec![0; self.tally.counts.len()].into_boxed_slice() }
    }

    fn begin(
        &mut self,
        context: &mut Context,
        _: &mut Fleet<'_, Connection<ListenerState>>,
        begin: Nanos,
    ) {
        if let Pace::Open { arrivals, .. } = &self.fan.traffic.pace {
            let turns = context.plan.turns(self.fan.publishers, self.worker);
            self.schedule =
                Some(Schedule::new(begin, &context.plan.workload.bursts(arrivals), turns));
        }
    }

    fn turn(
        &mut self,
        context: &mut Context,
        fleet: &mut Fleet<'_, Connection<ListenerState>>,
    ) -> Option<Nanos> {
        self.flush();
        if self.fan.is_closed() {
            self.turn_closed(context, fleet)
        } else {
            self.turn_open(context, fleet)
        }
    }

    #[inline]
    fn message(
        &mut self,
        context: &mut Context,
        ws: &mut WebSocket<'_, Connection<ListenerState>>,
        message: Message<'_>,
    ) {
        let now = context.clock.stamp();
        let state = &mut ws.data_mut().state;
        let own = state.number;
        let read = self.payload.read(message);
        let known = read.and_then(|[publisher, number, low, high]| {
            let publisher = publisher as usize;
            let expected = state.expected.get_mut(publisher)?;
            Some((publisher, number, u64::from(low) | u64::from(high) << 32, expected))
        });
        let Some((publisher, number, due, expected)) = known else {
            return context.error(ErrorClass::WrongPayload, 1, || {
                format!("connection {own}: {} bytes that nobody published", message.payload().len())
            });
        };
        if publisher == own {
            return context.error(ErrorClass::Duplicate, 1, || {
                format!("publisher {own} got its own publication {number}")
            });
        }
        if number < *expected {
            return context.error(ErrorClass::Duplicate, 1, || {
                format!("connection {own}: publication {number} of {publisher} arrived twice, or out of order")
            });
        }
        let published = self.tally.counts[publisher].published.load(Ordering::Acquire);
        if u64::from(number) >= published {
            return context.error(ErrorClass::WrongPayload, 1, || {
                format!(
                    "connection {own}: publication {number} of {publisher}, which never sent it"
                )
            });
        }
        *expected = number.wrapping_add(1);
        self.delivered[publisher] += 1;
        self.news = true;
        let arrived = Arrived { publisher, number, due, at: now, count: 1 };
        self.sheet.note(arrived, &context.window);
        // When it left its publisher is not known here (`Timing::Lag`).
        context.reply(Sent { due, at: due }, now, message.payload().len());
    }

    fn drained(
        &mut self,
        context: &mut Context,
        ws: &mut WebSocket<'_, Connection<ListenerState>>,
    ) {
        let number = ws.data().state.number;
        let Some(index) = self.publishers.iter().position(|p| p.number == number) else { return };
        while let Some(due) = self.publishers[index].owed.pop_front() {
            let at = context.clock.stamp();
            if !self.publish(context, ws, index, Sent { due, at }) {
                return self.publishers[index].owed.push_front(due);
            }
        }
    }

    fn lost(&mut self, _: &mut Context, _: ListenerState) -> u64 {
        // What it will not receive shows in the delivery ratio.
        0
    }

    fn in_flight(&self) -> u64 {
        let owed: usize = self.publishers.iter().map(|publisher| publisher.owed.len()).sum();
        let missing: u64 = (0..self.tally.counts.len()).map(|number| self.missing(number)).sum();
        missing + owed as u64
    }

    fn settle(&mut self, _: &mut Context, _: &mut Fleet<'_, Connection<ListenerState>>) {
        self.flush();
    }

    fn give_up(&mut self, context: &mut Context, _: &mut Fleet<'_, Connection<ListenerState>>) {
        let owed: usize = self.publishers.iter().map(|publisher| publisher.owed.len()).sum();
        context.error(ErrorClass::NotSent, owed as u64, || "the server took no more".to_owned());
        // The tally is everybody's: one tells.
        if self.worker == 0 {
            let missing: u64 =
                (0..self.tally.counts.len()).map(|number| self.missing(number)).sum();
            let waited = context.plan.timeout;
            context.error(ErrorClass::Lost, missing, || {
                format!("publications had not arrived {waited:?} after the end of the run")
            });
        }
    }
}

/// A time as two numbers, the low half first.
fn halves(time: Nanos) -> [u32; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "both halves are kept")]
    [time as u32, (time >> 32) as u32]
}
