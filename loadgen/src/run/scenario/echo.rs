//! The echo scenario: every message comes back, in order on each connection.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::path::PathBuf;

use clap::Args;
use ringbolt::{Fleet, Message, WebSocket};

use crate::base::clock::Nanos;
use crate::base::failure::Failure;
use crate::base::units;
use crate::plan::Parts;
use crate::plan::workload::{Pace, Traffic, Window, Workload};
use crate::run::context::Context;
use crate::run::job::{Job, Keys, Scenario, ScenarioArgs};
use crate::run::payload::Payload;
use crate::run::stats::{ErrorClass, Sent, Traced};
use crate::run::worker::{Behaviour, Connection, Launch, Thread, send};
use crate::spec::arrivals::Schedule;
use crate::spec::options::{
    DialArgs, LoadArgs, MachineArgs, OutputArgs, TargetArgs, WindowArgs, help,
};
use crate::spec::rate::Rate;

#[derive(Debug, Clone, Args)]
#[command(
    about = "Send messages that the server sends back, and measure the round trip",
    after_help = EXAMPLES
)]
pub(crate) struct EchoArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Number of connections [suffixes: k, m]
    #[arg(short, long, env = "LOADGEN_CONNECTIONS", value_name = "N", default_value = "1",
          value_parser = units::positive, help_heading = "Load")]
    connections: u64,
    #[command(flatten)]
    window: WindowArgs,
    #[arg(long, env = "LOADGEN_DEPTH", value_name = "N", value_parser = units::at_once,
          help_heading = "Load", help = help::DEPTH)]
    depth: Option<u64>,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    dial: DialArgs,
    #[command(flatten)]
    machine: MachineArgs,
    #[arg(long, env = "LOADGEN_TRACE", value_name = "FILE", help_heading = "Output",
          help = help::TRACE)]
    trace: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "\
Examples:
  loadgen echo ws://127.0.0.1:9000/ -c 1000            as fast as replies come back
  loadgen echo ws://127.0.0.1:9000/ -c 1000 -r 50k/s   50,000 messages per second, on schedule
  loadgen echo ws://127.0.0.1:9000/ -p 1MiB --depth 4  large messages, four in flight";

impl ScenarioArgs for EchoArgs {
    fn rate(&mut self) -> Option<&mut Rate> {
        self.load.when.rate.as_mut()
    }

    fn job(self) -> Result<Job, Failure> {
        let Self { target, connections, window, depth, load, dial, machine, trace, output } = self;
        let load = load.of_senders(connections)?;
        let window = Window::new(&window, &load.when.stage, load.when.fixed());
        let traffic = Traffic::new(&load, depth, window.warmup);
        let seed = load.when.seed;
        let parts = Parts { target, connections, window, seed, dial, machine, output };
        let mut plan = parts.plan(Workload::of_messages(traffic.clone(), connections))?;
        plan.output.trace = trace;
        Ok(Job::new(plan, Echo { traffic }))
    }
}

/// Every message comes back.
#[derive(Debug)]
struct Echo {
    traffic: Traffic,
}

pub(super) const KEYS: Keys = Keys::NONE;

impl Scenario for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn unit(&self) -> (&'static str, &'static str) {
        ("message", "messages")
    }

    fn latency_name(&self) -> &'static str {
        "latency"
    }

    fn headline(&self) -> String {
        format!("echo of {}", self.traffic.describe())
    }

    fn start(&self, launch: Launch) -> std::io::Result<Thread> {
        let traffic = self.traffic.clone();
        launch.worker(move |context| Echoes::<EchoState>::new(&traffic, context))
    }
}

/// Sends messages and judges their echoes.
#[derive(Debug)]
pub(crate) struct Echoes<L> {
    payload: Payload<2>,
    fragments: Option<u64>,
    pace: Pace,
    /// Most messages in flight on a connection.
    depth: usize,
    schedule: Option<Schedule>,
    /// Whether every message is to be told of.
    traces: bool,
    /// Messages that are due or sent and have no reply yet.
    in_flight: u64,
    worker: usize,
    workers: usize,
    states: PhantomData<fn() -> L>,
}

/// One connection's messages in flight.
#[derive(Debug)]
pub(crate) struct EchoState {
    /// The connection's number in the run, which its messages carry.
    number: u32,
    next: u32,
    expected: u32,
    sent: VecDeque<Sent>,
    /// When messages were due that found no room; they leave as soon as there is.
    waiting: VecDeque<Nanos>,
}

/// What a scenario keeps per connection where messages are to come back.
pub(crate) trait HasEchoState: From<EchoState> {
    fn echo(&self) -> &EchoState;
    fn echo_mut(&mut self) -> &mut EchoState;
}

impl HasEchoState for EchoState {
    fn echo(&self) -> &EchoState {
        self
    }

    fn echo_mut(&mut self) -> &mut EchoState {
        self
    }
}

impl<L: HasEchoState> Echoes<L> {
    pub(crate) fn new(traffic: &Traffic, context: &Context) -> Self {
        let depth = match traffic.pace {
            Pace::Closed { depth } | Pace::Open { depth: Some(depth), .. } => depth,
            Pace::Open { depth: None, .. } => u64::MAX,
        };
        Self {
            states: PhantomData,
            depth: usize::try_from(depth).unwrap_or(usize::MAX),
            payload: Payload::new(
                &traffic.payload,
                traffic.text,
                traffic.seed,
                context.clock.clock(),
            ),
            fragments: traffic.fragments,
            pace: traffic.pace.clone(),
            schedule: None,
            traces: context.plan.output.trace.is_some(),
            in_flight: 0,
            worker: context.worker,
            workers: context.plan.threads.len(),
        }
    }

    /// Sends a message that is due, and says whether there was room.
    #[inline]
    fn send(
        &mut self,
        context: &mut Context,
        ws: &mut WebSocket<'_, Connection<L>>,
        sent: Sent,
    ) -> bool {
        if self.send_on(ws, sent.due).is_none() {
            return false;
        }
        ws.data_mut().state.echo_mut().sent.push_back(sent);
        self.in_flight += 1;
        context.stats.sent(sent, &context.window);
        true
    }

    /// Sends what is due on the schedule of an open loop; says when the next is.
    fn turn_open(
        &mut self,
        context: &mut Context,
        fleet: &mut Fleet<'_, Connection<L>>,
    ) -> Option<Nanos> {
        let mut schedule = self.schedule.take()?;
        // No more in one turn: replies, and whoever wants to stop the run, have their turn, too.
        for _ in 0..TURN_MAX {
            let now = context.clock.stamp();
            let is_due = |due: &Nanos| *due < context.window.end && *due <= now;
            if schedule.due().filter(is_due).is_none() {
                break;
            }
            let Some((place, due)) = schedule.take() else { break };
            let Some(mut ws) = fleet.socket(context.ids[place]) else {
                context.error(ErrorClass::NotSent, 1, || "its connection had ended".to_owned());
                continue;
            };
            if self.in_flight >= OVERDUE_MAX {
                context.error(ErrorClass::NotSent, 1, || TOO_LATE.to_owned());
                continue;
            }
            context.stats.tried(due, now, &context.window);
            let state = ws.data().state.echo();
            let behind = !state.waiting.is_empty() || state.sent.len() >= self.depth;
            if behind || !self.send(context, &mut ws, Sent { due, at: now }) {
                ws.data_mut().state.echo_mut().waiting.push_back(due);
                self.in_flight += 1;
                context.stats.queued += u64::from(context.window.contains(&due));
            }
        }
        let next = schedule.due();
        self.schedule = Some(schedule);
        next
    }

    /// Sends the connection's next message; says how long it was, `None` if there was no room.
    #[inline]
    pub(crate) fn send_on(
        &mut self,
        ws: &mut WebSocket<'_, Connection<L>>,
        due: Nanos,
    ) -> Option<usize> {
        let state = ws.data().state.echo();
        let message = self.payload.write([state.next, state.number], due);
        let bytes = message.payload().len();
        if !send(ws, message, self.fragments) {
            return None;
        }
        let state = ws.data_mut().state.echo_mut();
        state.next = state.next.wrapping_add(1);
        Some(bytes)
    }

    /// Sends the next message of a closed loop.
    #[inline]
    fn send_next(
        &mut self,
        context: &mut Context,
        ws: &mut WebSocket<'_, Connection<L>>,
        now: Nanos,
    ) {
        if context.may_send(now) && !self.send(context, ws, Sent { due: now, at: now }) {
            // There is room for what is in flight: the server is closing the connection.
            context.error(ErrorClass::NotSent, 1, || NO_ROOM.to_owned());
        }
    }
}

/// Most messages that are sent in one turn of the loop.
const TURN_MAX: usize = 65_536;
/// Most messages of a worker that wait for their turn or their reply; what is due beyond them is
/// an error, so that a rate out of reach ends in a sentence and not in a lack of memory.
const OVERDUE_MAX: u64 = 4_000_000;
const TOO_LATE: &str = "4,000,000 messages were overdue: the rate is out of reach";

const NO_ROOM: &str = "the connection takes no more messages: it is closing";

impl<L: HasEchoState> Behaviour for Echoes<L> {
    type State = L;

    fn state(&mut self, place: usize) -> L {
        let number = u32::try_from(place * self.workers + self.worker).unwrap_or(u32::MAX);
        let sent = VecDeque::new();
        EchoState { number, next: 0, expected: 0, sent, waiting: VecDeque::new() }.into()
    }

    fn begin(&mut self, context: &mut Context, fleet: &mut Fleet<'_, Connection<L>>, begin: Nanos) {
        match &self.pace {
            Pace::Open { arrivals, .. } => {
                let turns = context.plan.turns(context.plan.senders(), self.worker);
                self.schedule = Some(Schedule::new(begin, arrivals, turns));
            }
            Pace::Closed { .. } => {
                let senders = context.plan.share(context.plan.senders(), self.worker);
                let senders = usize::try_from(senders).unwrap_or(usize::MAX);
                for place in 0..context.ids.len().min(senders) {
                    let Some(mut ws) = fleet.socket(context.ids[place]) else { continue };
                    for _ in 0..self.depth {
                        let now = context.clock.stamp();
                        self.send_next(context, &mut ws, now);
                    }
                }
            }
        }
    }

    fn turn(
        &mut self,
        context: &mut Context,
        fleet: &mut Fleet<'_, Connection<L>>,
    ) -> Option<Nanos> {
        self.turn_open(context, fleet)
    }

    #[inline]
    fn message(
        &mut self,
        context: &mut Context,
        ws: &mut WebSocket<'_, Connection<L>>,
        message: Message<'_>,
    ) {
        let now = context.clock.stamp();
        let state = ws.data_mut().state.echo_mut();
        let Some(sent) = state.sent.pop_front() else {
            let number = state.number;
            context.error(ErrorClass::WrongPayload, 1, || {
                format!("connection {number}: a message arrived that answers none of those sent")
            });
            return;
        };
        let (expected, number) = (state.expected, state.number);
        state.expected = expected.wrapping_add(1);
        self.in_flight -= 1;
        if self.payload.matches(message, [expected, number], sent.due) {
            context.reply(sent, now, message.payload().len());
            if self.traces && context.window.contains(&sent.due) {
                let traced = Traced { connection: number, message: expected, sent, answered: now };
                context.stats.traced.push(traced);
            }
        } else {
            let mut why = || self.payload.difference(message, [expected, number], sent.due);
            context.error(ErrorClass::WrongPayload, 1, || {
                format!("connection {number}, message {expected}: {}", why())
            });
        }
        if self.schedule.is_none() {
            self.send_next(context, ws, now);
        } else if !ws.data().state.echo().waiting.is_empty() {
            self.drained(context, ws);
        }
    }

    fn drained(&mut self, context: &mut Context, ws: &mut WebSocket<'_, Connection<L>>) {
        while ws.data().state.echo().sent.len() < self.depth
            && let Some(due) = ws.data_mut().state.echo_mut().waiting.pop_front()
        {
            let at = context.clock.stamp();
            self.in_flight -= 1;
            if !self.send(context, ws, Sent { due, at }) {
                ws.data_mut().state.echo_mut().waiting.push_front(due);
                self.in_flight += 1;
                return;
            }
        }
    }

    fn lost(&mut self, context: &mut Context, state: L) -> u64 {
        let state = state.echo();
        let (lost, waiting) = (state.sent.len() as u64, state.waiting.len() as u64);
        context.error(ErrorClass::NotSent, waiting, || NO_ROOM.to_owned());
        self.in_flight -= lost + waiting;
        lost
    }

    fn in_flight(&self) -> u64 {
        self.in_flight
    }

    fn give_up(&mut self, context: &mut Context, _: &mut Fleet<'_, Connection<L>>) {
        let waited = context.plan.timeout;
        context.error(ErrorClass::Unanswered, self.in_flight, || {
            format!("no reply within {waited:?} of the end of the run")
        });
    }
}
