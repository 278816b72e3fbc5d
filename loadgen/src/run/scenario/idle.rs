//! The idle scenario: connections are held, and pinged if asked for.

use std::collections::VecDeque;
use std::time::Duration;

use clap::Args;
use ringbolt::{Fleet, Message, WebSocket};

use crate::base::clock::Nanos;
use crate::base::failure::Failure;
use crate::base::format::count;
use crate::base::units;
use crate::plan::Parts;
use crate::plan::workload::{Connections, Window, Workload};
use crate::run::context::Context;
use crate::run::job::{Job, Keys, Scenario, ScenarioArgs};
use crate::run::stats::{ErrorClass, Sent};
use crate::run::worker::{Behaviour, Connection, Launch, Thread};
use crate::spec::arrivals::{Arrivals, Process, Profile, Schedule};
use crate::spec::options::{DialArgs, MachineArgs, OutputArgs, SpanArgs, TargetArgs, help};

#[derive(Debug, Clone, Args)]
#[command(
    about = "Open connections and hold them: memory per connection, keep-alive, round trips of pings",
    after_help = EXAMPLES
)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Number of connections [suffixes: k, m]
    #[arg(short, long, env = "LOADGEN_CONNECTIONS", value_name = "N", default_value = "1000",
          value_parser = units::positive, help_heading = "Load")]
    connections: u64,
    /// Interval at which each connection, in turn, pings the server and measures its pong
    #[arg(long, env = "LOADGEN_PING_INTERVAL", value_name = "TIME", value_parser = units::span,
          help_heading = "Load")]
    ping_interval: Option<Duration>,
    #[command(flatten)]
    span: SpanArgs,
    #[arg(long, env = "LOADGEN_SEED", value_name = "N", default_value = "1", help_heading = "Load",
          help = help::SEED)]
    seed: u64,
    #[command(flatten)]
    dial: DialArgs,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "\
The connections are opened and held. With --pid the result has the memory that the server takes for each
(its own, not the kernel's for its sockets), and with --ping-interval the round trips of pings. Pings
from the server are answered and counted. A connection that the server ends is an error.

Examples:
  loadgen idle ws://127.0.0.1:9000/ -c 10k -d 1m --pid $(pidof engine)
  loadgen idle ws://127.0.0.1:9000/ -c 1000 --ping-interval 1s";

impl ScenarioArgs for IdleArgs {
    fn job(self) -> Result<Job, Failure> {
        let Self { target, connections, ping_interval, span, seed, dial, machine, output } = self;
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let pings = ping_interval.map(|every| Arrivals {
            profile: Profile::constant(connections as f64 / every.as_secs_f64()),
            process: Process::Constant,
            seed,
        });
        let window = Window::of(&span);
        let parts = Parts { target, connections, window, seed, dial, machine, output };
        let pings_per_second = pings.as_ref().map(|pings| pings.profile.peak());
        let workload = Workload::of_connections(Connections::Held, connections, pings);
        Ok(Job::new(parts.plan(workload)?, Idle { pings_per_second }))
    }
}

/// Connections are held, and pinged on a schedule if there is one.
#[derive(Debug)]
struct Idle {
    pings_per_second: Option<f64>,
}

pub(super) const KEYS: Keys = Keys::NONE;

impl Scenario for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn unit(&self) -> (&'static str, &'static str) {
        ("ping", "pings")
    }

    fn latency_name(&self) -> &'static str {
        "ping"
    }

    fn headline(&self) -> String {
        match self.pings_per_second {
            None => "idle".to_owned(),
            Some(rate) => format!("idle, {} pings/s", count(rate)),
        }
    }

    fn start(&self, launch: Launch) -> std::io::Result<Thread> {
        launch.worker(|_| Pings::default())
    }
}

/// Holds connections.
#[derive(Debug, Default)]
struct Pings {
    schedule: Option<Schedule>,
    /// Pings without a pong.
    in_flight: u64,
}

/// A connection: its pings without a pong. Each ping carries when it was due.
pub(crate) type PingState = VecDeque<Sent>;

impl Behaviour for Pings {
    type State = PingState;

    fn state(&mut self, _: usize) -> PingState {
        PingState::new()
    }

    fn begin(
        &mut self,
        context: &mut Context,
        _: &mut Fleet<'_, Connection<PingState>>,
        begin: Nanos,
    ) {
        let turns = context.plan.turns(context.plan.connections, context.worker);
        let schedule = |arrivals| Schedule::new(begin, arrivals, turns);
        self.schedule = context.plan.arrivals().map(schedule);
    }

    fn turn(
        &mut self,
        context: &mut Context,
        fleet: &mut Fleet<'_, Connection<PingState>>,
    ) -> Option<Nanos> {
        let schedule = self.schedule.as_mut()?;
        loop {
            let now = context.clock.stamp();
            let due = schedule.due()?;
            if due > now || due >= context.window.end {
                return Some(due);
            }
            let (place, due) = schedule.take()?;
            let Some(mut ws) = fleet.socket(context.ids[place]).filter(WebSocket::is_open) else {
                context.error(ErrorClass::NotSent, 1, || "its connection had ended".to_owned());
                continue;
            };
            let sent = Sent { due, at: now };
            ws.ping(&due.to_be_bytes());
            ws.data_mut().state.push_back(sent);
            self.in_flight += 1;
            context.stats.tried(due, now, &context.window);
            context.stats.sent(sent, &context.window);
        }
    }

    fn message(
        &mut self,
        _: &mut Context,
        _: &mut WebSocket<'_, Connection<PingState>>,
        _: Message<'_>,
    ) {
        // What the server has to say of its own accord is its business.
    }

    fn pong(
        &mut self,
        context: &mut Context,
        ws: &mut WebSocket<'_, Connection<PingState>>,
        payload: &[u8],
    ) {
        let now = context.clock.stamp();
        let state = &mut ws.data_mut().state;
        // A pong may come unasked, and one may answer the last of several pings only (RFC 6455 §5.5.3).
        let answers = |sent: &Sent| sent.due.to_be_bytes() == *payload;
        let Some(at) = state.iter().position(answers) else { return };
        self.in_flight -= at as u64 + 1;
        // Those that were passed over waited as long.
        for sent in state.drain(..=at) {
            context.reply(sent, now, payload.len());
        }
    }

    fn drained(&mut self, _: &mut Context, _: &mut WebSocket<'_, Connection<PingState>>) {}

    fn lost(&mut self, _: &mut Context, state: PingState) -> u64 {
        self.in_flight -= state.len() as u64;
        state.len() as u64
    }

    fn in_flight(&self) -> u64 {
        self.in_flight
    }

    fn give_up(&mut self, context: &mut Context, _: &mut Fleet<'_, Connection<PingState>>) {
        let waited = context.plan.timeout;
        context.error(ErrorClass::Unanswered, self.in_flight, || {
            format!("no pong within {waited:?} of the end of the run")
        });
    }
}
