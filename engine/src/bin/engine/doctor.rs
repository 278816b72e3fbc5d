//! `engine doctor`: what this machine gives the engine, and what that means.

use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;

use ringbolt::{Config, Diagnosis, diagnose, raise_file_limit};
use serde::Serialize;

/// No driver runs here (EX_UNAVAILABLE).
const UNAVAILABLE: u8 = 69;

/// The document of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    kernel: String,
    cpus: usize,
    auto: Option<String>,
    auto_because: Option<String>,
    drivers: Vec<DriverRow>,
    ring_features: Vec<FeatureRow>,
    limits: Vec<Limit>,
}

#[derive(Debug, Serialize)]
struct DriverRow {
    name: &'static str,
    usable: bool,
    why_not: Option<String>,
}

#[derive(Debug, Serialize)]
struct FeatureRow {
    name: &'static str,
    since_kernel: &'static str,
    here: Option<bool>,
    gives: &'static str,
}

/// A limit of the machine, as it stands, and what it means for connections.
#[derive(Debug, Serialize)]
struct Limit {
    name: &'static str,
    value: String,
    means: String,
}

pub(crate) fn run(json: bool) -> ExitCode {
    let report = Report::new(&diagnose(&Config::new()));
    let text = if json {
        serde_json::to_string_pretty(&report).expect("plain data") + "\n"
    } else {
        report.table()
    };
    // Whoever reads it may have had enough, as `head` has.
    drop(io::stdout().write_all(text.as_bytes()));
    if report.auto.is_some() { ExitCode::SUCCESS } else { ExitCode::from(UNAVAILABLE) }
}

impl Report {
    fn new(found: &Diagnosis) -> Self {
        let drivers = found.drivers.iter().map(|row| DriverRow {
            name: row.driver.name(),
            usable: row.refused.is_none(),
            why_not: row.refused.as_ref().map(ToString::to_string),
        });
        let features = found.features.iter().map(|row| FeatureRow {
            name: row.name,
            since_kernel: row.since,
            here: row.here,
            gives: row.gives,
        });
        Self {
            schema: "ringbolt.doctor/1",
            kernel: setting("kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            auto: found.auto.as_ref().map(|taken| taken.driver.to_string()),
            auto_because: found.auto.as_ref().and_then(|taken| taken.because.clone()),
            drivers: drivers.collect(),
            ring_features: features.collect(),
            limits: limits(),
        }
    }

    fn table(&self) -> String {
        let auto = self.auto.as_deref().unwrap_or("nothing: no driver runs here");
        let mut out = format!(
            "kernel {}, {} CPUs; --driver auto takes {auto}\n\nDrivers\n",
            self.kernel, self.cpus
        );
        for row in &self.drivers {
            let state = if row.usable { "usable" } else { "no" };
            out += &format!("  {:<13}{state}\n", row.name);
            if let Some(why) = &row.why_not {
                out += &format!("          {why}\n");
            }
        }
        out += "\nWhat rings have here\n";
        for row in &self.ring_features {
            let here = match row.here {
                Some(true) => "yes",
                Some(false) => "no",
                None => "?",
            };
            out +=
                &format!("  {here:<4}{:<30}since {:<6}{}\n", row.name, row.since_kernel, row.gives);
        }
        out += "\nLimits\n";
        for limit in &self.limits {
            out += &format!("  {:<36}{:<26}{}\n", limit.name, limit.value, limit.means);
        }
        out
    }
}

/// A value below /proc/sys.
fn setting(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn limits() -> Vec<Limit> {
    let files = raise_file_limit();
    let mut limits = vec![Limit {
        name: "open files (ulimit -Hn)",
        value: files.to_string(),
        means: format!("about {} connections per process", files.saturating_sub(64)),
    }];
    let mut add = |name: &'static str, means: &dyn Fn(&str) -> String| {
        if let Some(value) = setting(name) {
            let means = means(&value);
            limits.push(Limit { name, value, means });
        }
    };
    add("kernel/io_uring_disabled", &|value| {
        match value {
            "0" => "io_uring is allowed to everybody",
            "1" => "io_uring is for root and the group of kernel/io_uring_group",
            _ => "io_uring is forbidden",
        }
        .to_owned()
    });
    add("fs/nr_open", &|value| format!("ulimit -n can be raised to {value}"));
    add("fs/file-max", &|_| "files of all processes together".to_owned());
    add("net/core/somaxconn", &|value| {
        format!("{value} connections may wait to be accepted, per shard")
    });
    add("net/ipv4/tcp_max_syn_backlog", &|value| format!("{value} may be half open, per shard"));
    add("net/ipv4/ip_local_port_range", &|value| {
        let ports: Vec<u32> = value.split(' ').filter_map(|port| port.parse().ok()).collect();
        let count = match ports[..] {
            [low, high] if high >= low => high - low + 1,
            _ => 0,
        };
        format!("{count} connections from one address to one server")
    });
    add("net/ipv4/tcp_rmem", &|_| "least, usual and most bytes of a receive buffer".to_owned());
    add("net/ipv4/tcp_wmem", &|_| "least, usual and most bytes of a send buffer".to_owned());
    if let Ok(quota) = fs::read_to_string("/sys/fs/cgroup/cpu.max") {
        let quota = quota.trim().to_owned();
        let means = if quota.starts_with("max") {
            "no quota of CPU time".to_owned()
        } else {
            "microseconds of CPU time per period: use no more shards than that allows".to_owned()
        };
        limits.push(Limit { name: "cgroup cpu.max", value: quota, means });
    }
    limits
}
