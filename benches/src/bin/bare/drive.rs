//! A small closed-loop client: as many messages in flight as asked for, and what they cost the
//! server's process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use ringbolt::client::Handler;
use ringbolt::handshake::{ClientRequest, Url};
use ringbolt::{Clients, CloseReason, Config, ConnectionId, Fleet, Message, WebSocket};

/// How the server is driven.
#[derive(Args)]
pub(crate) struct Drive {
    /// The server's address
    server: SocketAddr,
    /// The server's process, whose CPU time is counted
    #[arg(long)]
    pid: u32,
    /// CPU to run on
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// Connections
    #[arg(short, default_value_t = 100)]
    connections: usize,
    /// Bytes per message
    #[arg(short, default_value_t = 64)]
    payload: usize,
    /// Messages in flight per connection, or in one burst with --fanout
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// One connection publishes, all others receive; the next burst follows the last delivery
    #[arg(long)]
    fanout: bool,
    /// Seconds that are measured
    #[arg(short, default_value_t = 2.0)]
    duration: f64,
    /// Seconds before that
    #[arg(long, default_value_t = 0.3)]
    warmup: f64,
    /// Microseconds to look for completions before sleeping
    #[arg(long, default_value_t = 0)]
    spin: u64,
}

pub(crate) fn run(drive: Drive) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(id) = drive.cpu {
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
    ringbolt::raise_file_limit();
    let url = Url::parse(&format!("ws://{}/", drive.server)).map_err(|e| format!("{e:?}"))?;
    let request = ClientRequest::builder(url, "http://localhost").build()?;
    let mut config = Config::default();
    config.ring.spin = Duration::from_micros(drive.spin);
    let payload = vec![b'x'; drive.payload];
    let driver = Driver {
        drive,
        request: Arc::new(request),
        payload,
        ids: Vec::new(),
        asked: 0,
        phase: Phase::Opening,
        messages: 0,
        due: 0,
        lost: 0,
    };
    let (driver, _) = Clients::new(config).run(driver)?;
    if driver.lost > 0 {
        return Err(format!("{} connections were lost", driver.lost).into());
    }
    Ok(())
}

enum Phase {
    Opening,
    Warm { until: Instant },
    Measured { since: Instant, until: Instant, messages: u64, cpu: u64 },
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
}

impl Driver {
    fn burst(&mut self, fleet: &mut Fleet<'_, ()>) {
        self.due = self.drive.depth * (self.ids.len() - 1);
        if let Some(mut ws) = fleet.socket(self.ids[0]) {
            for _ in 0..self.drive.depth {
                let _ = ws.send(Message::Binary(&self.payload));
            }
        }
    }

    #[expect(clippy::print_stdout, reason = "the result")]
    fn report(&self, since: Instant, now: Instant, before: u64, cpu: u64) {
        let messages = self.messages - before;
        let cpu = cpu_nanos(self.drive.pid) - cpu;
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let (messages, cpu, seconds) = (messages as f64, cpu as f64, (now - since).as_secs_f64());
        println!(
            "{{\"messages\": {messages}, \"seconds\": {seconds:.4}, \"server_cpu_ns\": {cpu}, \
             \"ns_per_message\": {:.1}, \"per_second\": {:.0}, \"server_busy\": {:.3}}}",
            cpu / messages,
            messages / seconds,
            cpu / 1e9 / seconds,
        );
    }
}

impl Handler for Driver {
    type Data = ();

    fn on_turn(&mut self, fleet: &mut Fleet<'_, ()>, now: Instant) -> Option<Instant> {
        let count = self.drive.connections;
        match self.phase {
            Phase::Opening => {
                while self.asked < count && self.asked - self.ids.len() < 256 {
                    let from = u8::try_from(2 + self.asked / 20_000).unwrap_or(2);
                    let from = Ipv4Addr::new(127, 0, 0, from).into();
                    let request = Arc::clone(&self.request);
                    if fleet.connect(request, Some(from), self.drive.server, ()).is_err() {
                        break;
                    }
                    self.asked += 1;
                }
                if self.ids.len() == count {
                    let until = now + Duration::from_secs_f64(self.drive.warmup);
                    self.phase = Phase::Warm { until };
                    if self.drive.fanout {
                        self.burst(fleet);
                    } else {
                        for &id in &self.ids {
                            let Some(mut ws) = fleet.socket(id) else { continue };
                            for _ in 0..self.drive.depth {
                                let _ = ws.send(Message::Binary(&self.payload));
                            }
                        }
                    }
                }
                None
            }
            Phase::Warm { until } => {
                if now >= until {
                    let until = now + Duration::from_secs_f64(self.drive.duration);
                    let cpu = cpu_nanos(self.drive.pid);
                    self.phase =
                        Phase::Measured { since: now, until, messages: self.messages, cpu };
                }
                if self.drive.fanout && self.due == 0 {
                    self.burst(fleet);
                }
                Some(until)
            }
            Phase::Measured { since, until, messages, cpu } => {
                if now >= until {
                    self.report(since, now, messages, cpu);
                    self.phase = Phase::Done;
                    fleet.stop();
                    return None;
                }
                if self.drive.fanout && self.due == 0 {
                    self.burst(fleet);
                }
                Some(until)
            }
            Phase::Done => None,
        }
    }

    fn on_open(
        &mut self,
        ws: &mut WebSocket<'_, ()>,
        _: &ringbolt::handshake::UpgradeResponse<'_>,
    ) {
        self.ids.push(ws.id());
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        self.messages += 1;
        if self.drive.fanout {
            self.due -= 1;
        } else {
            let _ = ws.send(message);
        }
    }

    fn on_close(&mut self, (): (), _: CloseReason) {
        self.lost += 1;
    }
}

/// CPU time of all threads of a process.
fn cpu_nanos(pid: u32) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
        .sum()
}
