//! Connections that stop reading: what they go on sending, and what happens to them.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::Args;
use ringbolt::wire::CloseCode;
use ringbolt::{CloseReason, Fleet, Message, WebSocket};
use serde_json::{Value, json};

use crate::base::clock::Nanos;
use crate::base::failure::Failure;
use crate::base::format::{count, mebibytes, number};
use crate::base::histogram::Times;
use crate::base::histogram::packed::figures;
use crate::base::units;
use crate::plan::Parts;
use crate::plan::workload::{Traffic, Window, Workload};
use crate::run::context::Context;
use crate::run::dialler::classify;
use crate::run::job::{Job, Keys, Scenario, ScenarioArgs};
use crate::run::scenario::echo::{self, Echoes, HasEchoState};
use crate::run::worker::{Behaviour, Connection, Launch, Thread};
use crate::spec::arrivals::{Schedule, Turns};
use crate::spec::options::{
    DialArgs, LoadArgs, MachineArgs, OutputArgs, TargetArgs, WindowArgs, help,
};
use crate::spec::rate::Rate;

#[derive(Debug, Clone, Args)]
#[command(
    about = "Let some connections stop reading: what the server does, and what the others notice",
    after_help = EXAMPLES
)]
pub(crate) struct SlowArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Number of connections, including the slow ones [suffixes: k, m]
    #[arg(short, long, env = "LOADGEN_CONNECTIONS", value_name = "N", default_value = "100",
          value_parser = units::positive, help_heading = "Load")]
    connections: u64,
    /// Share of the connections that stop reading when the load begins, but go on sending
    #[arg(long, env = "LOADGEN_SLOW", value_name = "PERCENT", default_value = "10%",
          value_parser = units::percent, help_heading = "Load")]
    slow: f64,
    /// Messages per second that each slow connection sends, for as long as the server takes them
    #[arg(long, env = "LOADGEN_SLOW_RATE", value_name = "RATE", default_value = "1000",
          value_parser = units::rate, help_heading = "Load")]
    slow_rate: f64,
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
An echo in which some connections stop reading, as a client whose network stalls does. The latency is
that of the others. The result says what the server did with the slow ones: whether it closed them, with
which code and after how long, whether it stopped reading from them, or kept everything in its memory
(--pid). When the load is over they read again, and their replies are counted.

Examples:
  loadgen slow ws://127.0.0.1:9000/ -c 100 --slow 10% --pid $(pidof engine)
  loadgen slow ws://127.0.0.1:9000/ -c 1000 -r 10k -p 1KiB --slow-rate 10k";

impl ScenarioArgs for SlowArgs {
    fn rate(&mut self) -> Option<&mut Rate> {
        self.load.when.rate.as_mut()
    }

    fn job(self) -> Result<Job, Failure> {
        let Self { target, connections, slow, slow_rate, window, depth, load, .. } = self;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count"
        )]
        let stalled = ((connections as f64 * slow).round() as u64).max(1);
        if stalled >= connections {
            return Err(Failure::usage(
                format!("{stalled} of {connections} connections cannot be slow"),
                "the latency of the others is what is measured",
                "give more --connections, or a smaller --slow",
            ));
        }
        let load = load.of_senders(connections - stalled)?;
        let window = Window::new(&window, &load.when.stage, load.when.fixed());
        let traffic = Traffic::new(&load, depth, window.warmup);
        let stalls = Stalls { connections: stalled, rate: slow_rate };
        let parts = Parts {
            target,
            connections,
            window,
            seed: load.when.seed,
            dial: self.dial,
            machine: self.machine,
            output: self.output,
        };
        let mut plan = parts.plan(Workload::of_messages(traffic.clone(), connections - stalled))?;
        plan.output.trace = self.trace;
        Ok(Job::new(plan, Slow { traffic, stalls, stats: Arc::default() }))
    }
}

/// Which connections stop reading, and what they send all the same.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stalls {
    connections: u64,
    /// Messages per second of each of them.
    rate: f64,
}

/// An echo in which some connections stop reading.
#[derive(Debug)]
struct Slow {
    traffic: Traffic,
    stalls: Stalls,
    /// What their workers have handed in.
    stats: Arc<Mutex<SlowStats>>,
}

impl Slow {
    fn stats(&self) -> MutexGuard<'_, SlowStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) const KEYS: Keys = Keys { workload: &["stalls"], outcome: &["slow"] };

impl Scenario for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn unit(&self) -> (&'static str, &'static str) {
        ("message", "messages")
    }

    fn latency_name(&self) -> &'static str {
        "latency"
    }

    fn headline(&self) -> String {
        format!(
            "echo of {}; {} not reading, sending {}/s each",
            self.traffic.describe(),
            number(self.stalls.connections, "connection"),
            count(self.stalls.rate)
        )
    }

    fn workload(&self) -> Vec<(&'static str, Value)> {
        let Stalls { connections, rate } = self.stalls;
        vec![("stalls", json!({ "connections": connections, "rate_per_s": rate }))]
    }

    fn outcome(&self) -> Vec<(&'static str, Value)> {
        let stats = self.stats();
        let slow = json!({
            "connections": stats.connections,
            "sent": stats.sent,
            "sent_payload_bytes": stats.sent_bytes,
            "refused": stats.refused,
            "received": stats.received,
            "ends": stats.ends,
            "cut_after": figures(&stats.cut),
        });
        vec![("slow", slow)]
    }

    fn write_connections(&self, out: &mut String) -> fmt::Result {
        let slow = self.stats();
        if slow.connections == 0 {
            return Ok(());
        }
        write!(out, "  {:<12} {} connections sent {} ", "slow", slow.connections, slow.sent)?;
        writeln!(
            out,
            "messages, {} MiB; {} found no room",
            mebibytes(slow.sent_bytes),
            slow.refused
        )?;
        for (end, count) in &slow.ends {
            writeln!(out, "  {:<12} {count} {end}", "")?;
        }
        Ok(())
    }

    fn times(&self) -> Vec<(&'static str, Times)> {
        vec![("cut after", self.stats().cut.clone())]
    }

    fn start(&self, launch: Launch) -> std::io::Result<Thread> {
        let (traffic, stalls, stats) = (self.traffic.clone(), self.stalls, Arc::clone(&self.stats));
        launch.worker(move |context| SlowEchoes::new(&traffic, stalls, stats, context))
    }
}

/// What all slow connections together met.
#[derive(Debug, Default)]
pub(crate) struct SlowStats {
    /// Connections that stopped reading.
    pub(crate) connections: u64,
    /// Messages that the server's side has taken from them.
    pub(crate) sent: u64,
    /// Bytes of payload in them.
    pub(crate) sent_bytes: u64,
    /// Replies to them that came once they read again.
    pub(crate) received: u64,
    /// Messages that were due and found no room, because the server had stopped reading, too.
    pub(crate) refused: u64,
    /// What became of how many.
    pub(crate) ends: BTreeMap<String, u64>,
    /// How long those stalled that the server cut while they did, as far as that could be seen.
    pub(crate) cut: Times,
}

impl SlowStats {
    pub(crate) fn merge(&mut self, other: Self) {
        self.connections += other.connections;
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        self.received += other.received;
        self.refused += other.refused;
        for (end, count) in other.ends {
            *self.ends.entry(end).or_default() += count;
        }
        self.cut.merge(&other.cut);
    }
}

/// The slow connections of a worker, the last ones among its places; the others echo.
#[derive(Debug)]
struct SlowEchoes {
    echoes: Echoes<SlowState>,
    stalls: Stalls,
    /// The place of the first.
    first: usize,
    schedule: Option<Schedule>,
    /// Replies that are to come when they read again.
    awaited: u64,
    released: bool,
    stats: SlowStats,
    /// Where the stats of all workers come together.
    all: Arc<Mutex<SlowStats>>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct SlowState {
    echo: echo::EchoState,
    /// Set for one that stops reading.
    stalled: Option<Box<Stalled>>,
}

impl From<echo::EchoState> for SlowState {
    fn from(echo: echo::EchoState) -> Self {
        Self { echo, stalled: None }
    }
}

impl HasEchoState for SlowState {
    fn echo(&self) -> &echo::EchoState {
        &self.echo
    }

    fn echo_mut(&mut self) -> &mut echo::EchoState {
        &mut self.echo
    }
}

/// What is known of one slow connection.
#[derive(Debug, Default, Clone, Copy)]
struct Stalled {
    begun: Nanos,
    sent: u64,
    received: u64,
    refused: u64,
    code: Option<CloseCode>,
    noted: bool,
}

impl SlowEchoes {
    fn new(
        traffic: &Traffic,
        stalls: Stalls,
        all: Arc<Mutex<SlowStats>>,
        context: &Context,
    ) -> Self {
        let quick = context.plan.share(context.plan.senders(), context.worker);
        let first = usize::try_from(quick).unwrap_or(usize::MAX);
        Self {
            echoes: Echoes::new(traffic, context),
            stalls,
            first,
            schedule: None,
            awaited: 0,
            released: false,
            stats: SlowStats::default(),
            all,
        }
    }

    /// They stop reading.
    fn stall(
        &mut self,
        context: &Context,
        fleet: &mut Fleet<'_, Connection<SlowState>>,
        begin: Nanos,
    ) {
        let own = context.ids.len().saturating_sub(self.first);
        let connections = self.stalls.connections;
        let (offset, stride) = (context.worker as u64, context.plan.threads.len() as u64);
        let turns = Turns { offset, stride, connections, here: own as u64 };
        #[expect(clippy::cast_precision_loss, reason = "counts of connections are below 2^53")]
        let rate = self.stalls.rate * connections as f64;
        self.schedule = Some(Schedule::steady(begin, rate, turns));
        for id in context.ids.iter().skip(self.first) {
            let Some(mut ws) = fleet.socket(*id) else { continue };
            ws.hold_reading(true);
            if let Some(stalled) = &mut ws.data_mut().state.stalled {
                stalled.begun = begin;
                self.stats.connections += 1;
            }
        }
    }

    /// Says whether another message is due at `now`, and where; else when the next is.
    fn next(&mut self, now: Nanos, end: Nanos) -> Result<usize, Option<Nanos>> {
        let Some(schedule) = &mut self.schedule else { return Err(None) };
        match schedule.due() {
            Some(due) if due <= now && due < end => {
                let (place, _) = schedule.take().ok_or(None)?;
                Ok(self.first.saturating_add(place))
            }
            due => Err(due),
        }
    }

    /// A message of a slow connection was sent, or found no room.
    fn tried(&mut self, stalled: &mut Stalled, bytes: Option<usize>) {
        match bytes {
            Some(bytes) => {
                stalled.sent += 1;
                self.awaited += 1;
                self.stats.sent += 1;
                self.stats.sent_bytes += bytes as u64;
            }
            None => {
                stalled.refused += 1;
                self.stats.refused += 1;
            }
        }
    }

    /// A reply came: it had been on its way, or they read again.
    fn received(&mut self, stalled: &mut Stalled) {
        if stalled.received < stalled.sent {
            self.awaited -= 1;
        }
        stalled.received += 1;
        self.stats.received += 1;
    }

    /// They read again, and what they have missed comes.
    fn release(&mut self, context: &Context, fleet: &mut Fleet<'_, Connection<SlowState>>) {
        if std::mem::replace(&mut self.released, true) {
            return;
        }
        for id in context.ids.iter().skip(self.first) {
            if let Some(mut ws) = fleet.socket(*id) {
                ws.hold_reading(false);
            }
        }
    }

    /// Replies that are awaited now.
    const fn awaited(&self) -> u64 {
        if self.released { self.awaited } else { 0 }
    }

    /// A slow connection has ended.
    fn ended(&mut self, context: &mut Context, stalled: &mut Stalled, reason: CloseReason) {
        self.awaited -= stalled.sent.saturating_sub(stalled.received);
        let how = match (reason, stalled.code) {
            (_, Some(code)) if code != CloseCode::NO_STATUS => {
                format!("closed by the server with code {code}")
            }
            (CloseReason::Clean(_), _) => "closed by the server, without a code".to_owned(),
            (reason, _) => format!("cut: {}", classify(reason, true).1),
        };
        if !self.released {
            let now = context.clock.stamp();
            self.stats.cut.record(now.saturating_sub(stalled.begun));
        }
        self.stats.note(stalled, how);
    }

    /// What became of those that are still there.
    fn judge(&mut self, context: &Context, fleet: &mut Fleet<'_, Connection<SlowState>>) {
        for place in self.first..context.ids.len() {
            let Some(mut ws) = fleet.socket(context.ids[place]) else { continue };
            let Some(stalled) = &mut ws.data_mut().state.stalled else { continue };
            let missing = stalled.received < stalled.sent;
            let how = match (missing, stalled.refused > 0) {
                (true, _) => "kept, with replies left out",
                (false, true) => {
                    "kept and held back: the server stopped reading, and left nothing out"
                }
                (false, false) => "kept: the server took everything, and left nothing out",
            };
            self.stats.note(stalled, how.to_owned());
        }
    }

    /// Sends what is due on the slow connections; says when to come again.
    fn turn_slow(
        &mut self,
        context: &mut Context,
        fleet: &mut Fleet<'_, Connection<SlowState>>,
    ) -> Option<Nanos> {
        let mut next = None;
        for _ in 0..TURN_MAX {
            let place = match self.next(context.clock.stamp(), context.window.end) {
                Ok(place) => place,
                Err(due) => {
                    next = due;
                    break;
                }
            };
            let socket = context.ids.get(place).and_then(|id| fleet.socket(*id));
            if let Some(mut ws) = socket.filter(WebSocket::is_open) {
                self.send_slow(context, &mut ws);
            }
            next = Some(context.clock.stamp());
        }
        next
    }

    fn send_slow(&mut self, context: &mut Context, ws: &mut WebSocket<'_, Connection<SlowState>>) {
        let due = context.clock.stamp();
        let bytes = self.echoes.send_on(ws, due);
        if let Some(stalled) = &mut ws.data_mut().state.stalled {
            self.tried(stalled, bytes);
        }
    }
}

impl SlowStats {
    fn note(&mut self, stalled: &mut Stalled, how: String) {
        if !std::mem::replace(&mut stalled.noted, true) {
            *self.ends.entry(how).or_default() += 1;
        }
    }
}

/// Most messages of slow connections in one turn of the loop.
const TURN_MAX: usize = 4096;

impl Behaviour for SlowEchoes {
    type State = SlowState;

    fn state(&mut self, place: usize) -> SlowState {
        let mut state = self.echoes.state(place);
        state.stalled = (place >= self.first).then(Box::default);
        state
    }

    fn begin(
        &mut self,
        context: &mut Context,
        fleet: &mut Fleet<'_, Connection<SlowState>>,
        begin: Nanos,
    ) {
        self.stall(context, fleet, begin);
        self.echoes.begin(context, fleet, begin);
    }

    fn turn(
        &mut self,
        context: &mut Context,
        fleet: &mut Fleet<'_, Connection<SlowState>>,
    ) -> Option<Nanos> {
        let slow = self.turn_slow(context, fleet);
        let next = self.echoes.turn(context, fleet);
        [slow, next].into_iter().flatten().min()
    }

    #[inline]
    fn message(
        &mut self,
        context: &mut Context,
        ws: &mut WebSocket<'_, Connection<SlowState>>,
        message: Message<'_>,
    ) {
        match &mut ws.data_mut().state.stalled {
            Some(stalled) => self.received(stalled),
            None => self.echoes.message(context, ws, message),
        }
    }

    fn drained(&mut self, context: &mut Context, ws: &mut WebSocket<'_, Connection<SlowState>>) {
        self.echoes.drained(context, ws);
    }

    fn closing(&mut self, state: &mut SlowState, code: CloseCode) {
        if let Some(stalled) = &mut state.stalled {
            stalled.code = Some(code);
        }
    }

    fn expected(
        &mut self,
        context: &mut Context,
        state: &mut SlowState,
        reason: CloseReason,
    ) -> bool {
        let Some(stalled) = &mut state.stalled else { return false };
        self.ended(context, stalled, reason);
        true
    }

    fn lost(&mut self, context: &mut Context, state: SlowState) -> u64 {
        self.echoes.lost(context, state)
    }

    fn in_flight(&self) -> u64 {
        self.echoes.in_flight() + self.awaited()
    }

    fn settle(&mut self, context: &mut Context, fleet: &mut Fleet<'_, Connection<SlowState>>) {
        self.release(context, fleet);
    }

    fn give_up(&mut self, context: &mut Context, fleet: &mut Fleet<'_, Connection<SlowState>>) {
        self.judge(context, fleet);
        self.echoes.give_up(context, fleet);
    }

    fn finish(self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).merge(self.stats);
    }
}
