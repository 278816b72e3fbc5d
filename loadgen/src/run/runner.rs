//! The runner: it starts the workers, lets them begin together, reads the clocks of the window, and puts
//! the results together.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringbolt::StartError;
use ringbolt::wire::Dialect;

use crate::base::clock::{NEVER, Nanos, nanos};
use crate::base::failure::Failure;
use crate::plan::Plan;
use crate::plan::workload::{Connections, Length};
use crate::run::control::Control;
use crate::run::cost::{Reading, Readings, ServerProcess};
use crate::run::floor;
use crate::run::job::{Job, Scenario};
use crate::run::memory::{Growth, Memory};
use crate::run::outcome::{DeliveryRatio, Outcome, When};
use crate::run::progress::Progress;
use crate::run::seconds::{Seconds, WorkerSecond};
use crate::run::stats::{ErrorClass, Stats};
use crate::run::worker::{Launch, Thread};

/// Runs the plan. `control` lets a signal end it.
pub(crate) fn run(job: &Job, control: &Arc<Control>) -> Result<Outcome, Failure> {
    let Job { plan, scenario } = job;
    let process = plan.pid.map(ServerProcess::new).transpose()?;
    let (sender, intervals) = mpsc::channel();
    let mut threads = Vec::new();
    let before = plan.pid.and_then(Memory::of);
    let started = control.clock.now();
    for index in 0..plan.threads.len() {
        let launch = Launch {
            plan: Arc::clone(plan),
            control: Arc::clone(control),
            index,
            intervals: sender.clone(),
        };
        let thread = scenario.start(launch).map_err(|e| {
            control.stop();
            no_thread(&e)
        })?;
        threads.push(thread);
    }
    drop(sender);
    let mut runner = Runner {
        plan: Arc::clone(plan),
        control: Arc::clone(control),
        process,
        scenario: Arc::clone(scenario),
        progress: Progress::new(plan),
        intervals,
        seconds: Seconds::default(),
    };
    let edges = runner.measure(&threads, started, before);
    runner.progress.finish();
    runner.collect(threads, &edges)
}

/// What was noted at the edges of the window.
#[derive(Debug, Default)]
struct Edges {
    dialling: Nanos,
    begin: Nanos,
    when: When,
    readings: Option<Readings>,
    memory: Option<Growth>,
    late: Nanos,
}

struct Runner {
    plan: Arc<Plan>,
    control: Arc<Control>,
    process: Option<ServerProcess>,
    scenario: Arc<dyn Scenario>,
    progress: Progress,
    intervals: mpsc::Receiver<WorkerSecond>,
    seconds: Seconds,
}

/// How long after the last handshake the load begins: enough for every worker to hear of it.
const LEAD: Nanos = 5_000_000;
/// How often the runner looks.
const LOOK: Duration = Duration::from_millis(5);

impl Runner {
    /// Everything until the window has closed; connections are opened since `dialled`, and `before`
    /// that the server had so much memory.
    fn measure(&mut self, threads: &[Thread], dialled: Nanos, before: Option<Memory>) -> Edges {
        let control = Arc::clone(&self.control);
        let ended = || threads.iter().any(JoinHandle::is_finished) || control.is_stopped();
        let dials = self.plan.workload.connections != Connections::Cycled;
        let settled = |control: &Control| {
            !dials
                || control.sum(|g| &g.opened) + control.sum(|g| &g.failed) >= self.plan.connections
        };
        while !settled(&control) && !ended() {
            self.progress.show_dialling(&control);
            std::thread::sleep(LOOK);
        }
        let now = control.clock.now();
        let mut edges = Edges { dialling: now - dialled, ..Edges::default() };
        if ended() || (dials && control.sum(|g| &g.opened) == 0) {
            control.stop();
            return edges;
        }
        let soon = now + LEAD;
        let asked = self.plan.window.start_at.map(|at| control.clock.at_1970(at));
        let begin = asked.map_or(soon, |at| at.max(soon));
        edges.late = asked.map_or(0, |at| begin - at);
        let open = begin + nanos(self.plan.window.warmup);
        let close = match self.plan.window.length {
            Length::Time(time) => open.saturating_add(nanos(time)),
            Length::Messages(_) => NEVER - 1,
        };
        control.schedule(begin, open..close);
        edges.begin = begin;
        let ahead = begin.saturating_sub(control.clock.now());
        edges.when.began = since_1970().saturating_add(ahead);
        edges.when.opened = edges.when.began.saturating_add(open - begin);
        // Without a warm-up the server has nothing to do just before. With --start-at that can be long
        // after now.
        self.wait(threads, |control| control.window().start.saturating_sub(LEAD));
        let ahead = if begin == open { self.reading_before(open) } else { None };
        self.wait(threads, |control| control.window().start);
        let first = ahead.or_else(|| self.reading());
        let opened = self.plan.pid.and_then(Memory::of);
        self.wait(threads, |control| control.done().unwrap_or_else(|| control.window().end));
        let done = control.done();
        let mut last = self.reading();
        if let Some(at) = done {
            // Nothing has happened since: the workers close their connections when the window is over.
            last = last.map(|(_, reading)| (at..at, reading));
            control.close_at(at);
        }
        edges.readings = first.zip(last).map(|(first, last)| Readings { first, last });
        let closed = self.plan.pid.and_then(Memory::of);
        edges.memory = (|| Some(Growth { before: before?, opened: opened?, closed: closed? }))();
        edges
    }

    /// What the server has used, and when that was read.
    fn reading(&self) -> Option<(Range<Nanos>, Reading)> {
        let process = self.process.as_ref()?;
        let from = self.control.clock.now();
        let reading = process.read()?;
        Some((from..self.control.clock.now(), reading))
    }

    /// The first reading, if it comes before the load begins, when nothing changes it.
    fn reading_before(&self, begin: Nanos) -> Option<(Range<Nanos>, Reading)> {
        let (when, reading) = self.reading()?;
        (when.end <= begin).then_some((begin..begin, reading))
    }

    /// Waits for a time that may move.
    fn wait(&mut self, threads: &[Thread], until: impl Fn(&Control) -> Nanos) {
        loop {
            let control = Arc::clone(&self.control);
            let now = control.clock.now();
            let left = until(&control).saturating_sub(now);
            if left == 0 || control.is_stopped() {
                return;
            }
            if !self.plan.is_passing()
                && control.sum(|g| &g.live) == 0
                && now > control.begin().saturating_add(LEAD)
            {
                // Every connection is gone: there is nothing more to measure.
                control.close_at(now);
                return;
            }
            if threads.iter().any(JoinHandle::is_finished) {
                control.stop();
                return;
            }
            while let Ok(interval) = self.intervals.try_recv() {
                self.seconds.note(&interval);
            }
            let window = control.window();
            if window.contains(&now) {
                self.seconds.look(&control, now - window.start);
            }
            self.progress.show(&control, &self.seconds);
            std::thread::sleep(LOOK.min(Duration::from_nanos(left)));
        }
    }

    /// Waits for the workers and merges what they measured.
    fn collect(mut self, threads: Vec<Thread>, edges: &Edges) -> Result<Outcome, Failure> {
        let mut merged = Stats::new(self.plan.timing());
        for thread in threads {
            match thread.join() {
                Ok(Ok(stats)) => merged.merge(stats),
                Ok(Err(error)) => return Err(no_ring(&error)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        while let Ok(interval) = self.intervals.try_recv() {
            self.seconds.note(&interval);
        }
        let when = When { ended: since_1970(), ..edges.when };
        let interrupted = self.control.is_stopped();
        if merged.opened == 0 {
            return Err(unreachable(&self.plan, &merged, self.control.is_interrupted()));
        }
        self.scenario.complete(&mut merged);
        let window = self.control.window();
        let missed = edges.readings.as_ref().and_then(|readings| readings.missed(&window));
        let elapsed = if edges.begin == 0 { 0 } else { window.end.saturating_sub(window.start) };
        let audience = merged.opened.saturating_sub(1);
        let offered = self.plan.offered((edges.begin, window), audience).filter(|_| elapsed > 0);
        // A number of messages was asked for: the last of the warm-up do not count among them.
        if matches!(self.plan.window.length, Length::Messages(_)) && !interrupted {
            merged.received = merged.latency.len();
            merged.received_bytes = merged.answered_bytes;
        }
        let delivery_ratio = self.plan.workload.is_broadcast.then(|| DeliveryRatio {
            expected: merged.sent * audience,
            received: merged.latency.len(),
        });
        let held = self.plan.workload.connections == Connections::Held;
        let server = self.process.as_ref().zip(edges.readings.as_ref());
        Ok(Outcome {
            server: server
                .filter(|_| missed.is_none())
                .map(|(process, readings)| process.cost(&readings.first.1, &readings.last.1)),
            server_missed: missed,
            delivery_ratio,
            memory: edges.memory,
            late: edges.late,
            floor: floor::find(self.plan.driver, self.plan.spin),
            open_range: self.seconds.open_range(),
            held: if held { merged.opened } else { 0 },
            stats: merged,
            elapsed,
            offered,
            dialling: edges.dialling,
            intervals: self.seconds.finish(elapsed),
            interrupted,
            when,
        })
    }
}

fn since_1970() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos)
}

fn no_thread(error: &std::io::Error) -> Failure {
    Failure::preflight(
        "cannot start a thread",
        error.to_string(),
        "raise the limit of processes (`ulimit -u`), or use fewer --threads",
    )
}

fn no_ring(error: &StartError) -> Failure {
    Failure::preflight(
        "cannot run connections",
        error.to_string().trim_end_matches('.').to_owned(),
        "let --driver be auto, or run where io_uring is allowed",
    )
}

fn unreachable(plan: &Plan, stats: &Stats, interrupted: bool) -> Failure {
    let first = stats.errors.iter().next();
    let why = first
        .map_or_else(|| "there was no answer".to_owned(), |(_, failed)| failed.first().to_owned());
    if interrupted {
        return Failure::interrupted(
            format!("no connection to {} ({}) was open", plan.url, plan.address),
            first.map_or_else(|| "interrupted".to_owned(), |_| format!("interrupted; {why}")),
            "check that the server answers there, or wait longer",
        );
    }
    let failed = format!("cannot connect to {} ({})", plan.url, plan.address);
    let class = first.map(|(class, _)| class);
    let remedy = remedy(plan, stats, class, &why);
    Failure::unreachable(failed, why, remedy)
}

/// What to do where no connection was open.
fn remedy(plan: &Plan, stats: &Stats, class: Option<ErrorClass>, why: &str) -> &'static str {
    match class {
        // Servers say so themselves, in their own words.
        Some(ErrorClass::Handshake) if why.contains("wss://") || why.contains("HTTPS") => {
            "write wss:// in the URL; --cacert names an authority of your own"
        }
        Some(ErrorClass::Tls) if why.contains("ws:// URL") => {
            "write ws:// in the URL, or the port at which the server speaks TLS"
        }
        Some(ErrorClass::Tls) => {
            "check the host in the URL, --cacert, and --cert; --insecure accepts anybody as the server"
        }
        Some(ErrorClass::Handshake) if why.contains("ended TCP during") => {
            if plan.url.starts_with("wss:") {
                "the URL must name a server of the --ws-version asked for; if its port speaks no TLS, \
                 write ws://"
            } else {
                "the URL must name a server of the --ws-version asked for; if its port speaks TLS, \
                 write wss://"
            }
        }
        Some(ErrorClass::Handshake) if why.contains("status 401") || why.contains("status 403") => {
            "send what the server asks of clients: --origin, --header, --cookie, or NAME:PASSWORD@ in the URL"
        }
        Some(ErrorClass::Handshake) => match plan.request.dialect() {
            Dialect::Hybi02 => {
                "give the URL of a draft-02 WebSocket server; today's are measured with \
                 --ws-version rfc6455 (--origin and --protocol count, too)"
            }
            _ => "give the URL of an RFC 6455 server, and check --origin and --protocol",
        },
        _ if stats.portless() > 0 => {
            "add addresses of this machine with --source, widen the sysctl \
             net.ipv4.ip_local_port_range, or wait a minute until closed connections give theirs back"
        }
        _ if plan.route.proxy().is_some() => {
            "check --proxy, its port, name and password, and whether the proxy lets clients reach the server"
        }
        _ => "start the server, and check the address and the port",
    }
}
