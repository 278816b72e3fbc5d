//! A small closed-loop client: as many messages in flight as asked for, and what they cost the
//! server's process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use ringbolt::client::Handler;
use ringbolt::handshake::{ClientRequest, UpgradeResponse, Url};
use ringbolt::{Clients, CloseReason, Config, ConnectionId, Fleet, Message, WebSocket};

/// Most opening handshakes under way at once.
const OPENING: usize = 256;
/// Connections from one address of ours: it has about 28,000 ports.
const PER_ADDRESS: usize = 20_000;

/// Which server, from where, and for how long.
#[derive(Args)]
pub(crate) struct Target {
    /// The server's address
    pub(crate) server: SocketAddr,
    /// The server's process, whose CPU time is counted
    #[arg(long)]
    pub(crate) pid: u32,
    /// CPU to run on; any if not given
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// Seconds that are measured
    #[arg(short, value_name = "SECONDS", default_value_t = 2.0)]
    pub(crate) duration: f64,
    /// Seconds before that
    #[arg(long, value_name = "SECONDS", default_value_t = 0.3)]
    pub(crate) warmup: f64,
}

impl Target {
    pub(crate) fn pin(&self) -> Result<(), String> {
        crate::place::pin(self.cpu)
    }
}

/// What is sent.
#[derive(Args)]
pub(crate) struct Drive {
    #[command(flatten)]
    target: Target,
    /// Connections
    #[arg(short, value_name = "N", default_value_t = 100)]
    connections: usize,
    /// Bytes per message
    #[arg(short, value_name = "BYTES", default_value_t = 64)]
    payload: usize,
    /// Messages in flight per connection, or in one burst with --fanout
    #[arg(long, value_name = "N", default_value_t = 1)]
    depth: usize,
    /// One connection publishes, all others receive; the next burst follows the last delivery
    #[arg(long)]
    fanout: bool,
    /// Microseconds to look for completions before sleeping
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    spin: u64,
}

pub(crate) fn run(drive: Drive) -> Result<(), Box<dyn std::error::Error>> {
    drive.target.pin()?;
    ringbolt::raise_file_limit();
    let url = Url::parse(&format!("ws://{}/", drive.target.server))?;
    let request = ClientRequest::builder(url, "http://localhost").build()?;
    let mut config = Config::default();
    config.ring.spin = Duration::from_micros(drive.spin);
    let timed = drive.connections == 1 && drive.depth == 1;
    let driver = Driver {
        request: Arc::new(request),
        payload: vec![b'x'; drive.payload],
        drive,
        ids: Vec::new(),
        asked: 0,
        phase: Phase::Opening,
        messages: 0,
        due: 0,
        lost: 0,
        timed,
        sent: Instant::now(),
        times: Vec::with_capacity(if timed { 1 << 20 } else { 0 }),
    };
    let (driver, _) = Clients::new(config).run(driver)?;
    if driver.lost > 0 {
        return Err(format!("{} connections were lost", driver.lost).into());
    }
    Ok(())
}

/// What the server's process used since the window began.
pub(crate) struct Cost {
    pid: u32,
    since: Instant,
    before: u64,
    cpu: u64,
}

impl Cost {
    /// Begins a window at a count of things done.
    pub(crate) fn start(pid: u32, now: Instant, done: u64) -> Self {
        Self { pid, since: now, before: done, cpu: cpu_nanos(pid) }
    }

    /// Ends the window: one line of JSON.
    #[expect(clippy::print_stdout, reason = "the result")]
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub(crate) fn report(&self, now: Instant, done: u64, times: &[u32]) {
        let (count, cpu) = (done - self.before, cpu_nanos(self.pid) - self.cpu);
        let seconds = (now - self.since).as_secs_f64();
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let at = |percent: usize| sorted.get(sorted.len() * percent / 100).copied();
        let quantile = |percent| at(percent).map_or_else(|| "null".to_owned(), |ns| ns.to_string());
        println!(
            "{{\"count\": {count}, \"seconds\": {seconds:.4}, \"server_cpu_ns\": {cpu}, \
             \"ns_each\": {:.1}, \"per_second\": {:.0}, \"server_busy\": {:.3}, \
             \"p50_ns\": {}, \"p99_ns\": {}}}",
            cpu as f64 / count.max(1) as f64,
            count as f64 / seconds,
            cpu as f64 / 1e9 / seconds,
            quantile(50),
            quantile(99),
        );
    }
}

/// CPU time of all threads of a process, user and system.
fn cpu_nanos(pid: u32) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

enum Phase {
    Opening,
    Warm(Instant),
    Measured(Instant, Cost),
    Done,
}

struct Driver {
    drive: Drive,
    request: Arc<ClientRequest>,
    payload: Vec<u8>,
    ids: Vec<ConnectionId>,
    asked: usize,
    phase: Phase,
    messages: u64,
    /// Deliveries of the burst still to come.
    due: usize,
    lost: usize,
    /// Whether round trips are timed: with one message in flight.
    timed: bool,
    sent: Instant,
    times: Vec<u32>,
}

impl Driver {
    fn open(&mut self, fleet: &mut Fleet<'_, ()>) {
        while self.asked < self.drive.connections && self.asked - self.ids.len() < OPENING {
            let host = u8::try_from(2 + self.asked / PER_ADDRESS).unwrap_or(u8::MAX);
            let loopback = self.drive.target.server.ip() == Ipv4Addr::LOCALHOST;
            let from = loopback.then(|| Ipv4Addr::new(127, 0, 0, host).into());
            let request = Arc::clone(&self.request);
            if fleet.connect(request, from, self.drive.target.server, ()).is_err() {
                return;
            }
            self.asked += 1;
        }
    }

    fn start(&mut self, fleet: &mut Fleet<'_, ()>) {
        if self.drive.fanout {
            return self.burst(fleet);
        }
        for &id in &self.ids {
            self.sent = Instant::now();
            send(fleet, id, &self.payload, self.drive.depth);
        }
    }

    fn burst(&mut self, fleet: &mut Fleet<'_, ()>) {
        self.due = self.drive.depth * self.ids.len().saturating_sub(1);
        if let Some(&publisher) = self.ids.first() {
            send(fleet, publisher, &self.payload, self.drive.depth);
        }
    }
}

fn send(fleet: &mut Fleet<'_, ()>, id: ConnectionId, payload: &[u8], times: usize) {
    let Some(mut ws) = fleet.socket(id) else { return };
    for _ in 0..times {
        if ws.send(Message::Binary(payload)).is_err() {
            ws.end();
        }
    }
}

impl Handler for Driver {
    type Data = ();

    fn on_turn(&mut self, fleet: &mut Fleet<'_, ()>, now: Instant) -> Option<Instant> {
        let (warmup, duration) = (self.drive.target.warmup, self.drive.target.duration);
        if self.lost > 0 {
            fleet.stop();
        }
        match &self.phase {
            Phase::Opening if self.ids.len() < self.drive.connections => {
                self.open(fleet);
                return None;
            }
            Phase::Opening => {
                self.phase = Phase::Warm(now + Duration::from_secs_f64(warmup));
                self.start(fleet);
            }
            Phase::Warm(until) if now >= *until => {
                let cost = Cost::start(self.drive.target.pid, now, self.messages);
                self.times.clear();
                self.phase = Phase::Measured(now + Duration::from_secs_f64(duration), cost);
            }
            Phase::Measured(until, cost) if now >= *until => {
                cost.report(now, self.messages, &self.times);
                self.phase = Phase::Done;
                fleet.stop();
                return None;
            }
            Phase::Warm(_) | Phase::Measured(..) | Phase::Done => {}
        }
        if self.drive.fanout && self.due == 0 {
            self.burst(fleet);
        }
        match &self.phase {
            Phase::Warm(until) | Phase::Measured(until, _) => Some(*until),
            Phase::Opening | Phase::Done => None,
        }
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, ()>, _: &UpgradeResponse<'_>) {
        self.ids.push(ws.id());
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        self.messages += 1;
        if self.drive.fanout {
            self.due = self.due.saturating_sub(1);
            return;
        }
        if self.timed {
            let now = Instant::now();
            let took = now - std::mem::replace(&mut self.sent, now);
            self.times.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
        }
        if ws.send(message).is_err() {
            ws.end();
        }
    }

    fn on_close(&mut self, (): (), _: CloseReason) {
        self.lost += 1;
    }
}
