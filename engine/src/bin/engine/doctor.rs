//! `engine doctor`: what this machine gives the engine, and what that means.

use std::fs;
use std::process::ExitCode;

use ringbolt::{Config, Diagnosis, RingFeature, diagnose, raise_file_limit};
use serde::Serialize;

use crate::args::DoctorArgs;
use crate::output;
use crate::serve::connections_by_files;

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
    /// What of the ring auto would use.
    auto_ring_features: Vec<&'static str>,
    /// What auto tries, in its order.
    fallback: Vec<FallbackRow>,
    drivers: Vec<DriverRow>,
    ring_features: Vec<FeatureRow>,
    limits: Vec<Limit>,
}

#[derive(Debug, Serialize)]
struct FallbackRow {
    driver: &'static str,
    /// Whether it is the ring without features that were wanted.
    reduced: bool,
    holds: bool,
    why_not: Option<String>,
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
    why_not: Option<String>,
    /// Whether the ring driver would use it: it may be switched off, or have a better one beside it.
    used: bool,
    gives: &'static str,
}

/// A limit of the machine, as it stands, and what it means for connections.
#[derive(Debug, Serialize)]
struct Limit {
    name: &'static str,
    value: String,
    means: String,
}

pub(crate) fn run(args: &DoctorArgs) -> ExitCode {
    let config = Config::new().with(|config| config.ring.features = args.ring_features);
    let report = Report::new(&diagnose(&config));
    let text = if args.json {
        serde_json::to_string_pretty(&report).expect("plain data") + "\n"
    } else {
        report.table()
    };
    if let Err(code) = output::print(&text) {
        return code;
    }
    if report.auto.is_some() { ExitCode::SUCCESS } else { ExitCode::from(UNAVAILABLE) }
}

impl Report {
    fn new(found: &Diagnosis) -> Self {
        let drivers = found.drivers.iter().map(|row| DriverRow {
            name: row.driver.name(),
            usable: row.refused.is_none(),
            why_not: row.refused.as_ref().map(ToString::to_string),
        });
        let fallback = found.fallbacks.iter().map(|row| FallbackRow {
            driver: row.driver.name(),
            reduced: row.reduced,
            holds: row.why_not.is_none(),
            why_not: row.why_not.clone(),
        });
        let features = found.features.iter().map(|row| FeatureRow {
            name: row.feature.name(),
            since_kernel: row.feature.since(),
            here: row.here,
            why_not: row.because.clone(),
            used: row.used,
            gives: row.feature.gives(),
        });
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            schema: "ringbolt.doctor/1",
            kernel: setting("kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
            cpus,
            auto: found.auto.as_ref().map(|taken| taken.driver.to_string()),
            auto_because: found.auto.as_ref().and_then(|taken| taken.because.clone()),
            auto_ring_features: found.auto.as_ref().map_or_else(Vec::new, |taken| {
                taken.features.iter().map(RingFeature::name).collect()
            }),
            fallback: fallback.collect(),
            drivers: drivers.collect(),
            ring_features: features.collect(),
            limits: limits(found, cpus as u64),
        }
    }

    fn table(&self) -> String {
        let auto = self.auto.as_deref().unwrap_or("nothing");
        let mut out =
            format!("kernel {}, {} CPUs; --driver auto takes {auto}", self.kernel, self.cpus);
        if let Some(because) = &self.auto_because {
            out += &format!(", because {because}");
        }
        out += "\n\nWhat auto tries, in this order; it takes the first that works\n";
        // A required feature that does not work ends the walk.
        let mut taken = self.auto.is_none();
        for row in &self.fallback {
            let state = match (row.holds, taken) {
                (true, false) => "taken",
                (true, true) => "works",
                (false, _) => "no",
            };
            taken |= row.holds;
            let ring = match row.driver {
                _ if row.reduced => ", reduced",
                "uring" => ", full",
                _ => "",
            };
            let why_not = row.why_not.as_deref().unwrap_or_default();
            let row = format!("  {state:<6}{:<18}{why_not}", format!("{}{ring}", row.driver));
            out += row.trim_end();
            out += "\n";
        }
        out += "\nDrivers, if asked for by name\n";
        for row in &self.drivers {
            let state = if row.usable { "usable" } else { "no" };
            out += &format!("  {state:<8}{}\n", row.name);
            if let Some(why) = &row.why_not {
                out += &format!("          {why}\n");
            }
        }
        out += "\nFeatures of io_uring that this kernel has, and those that the ring driver uses\n";
        for row in &self.ring_features {
            let here = match (row.here, row.used) {
                (Some(true), true) => "used",
                // Switched off, or a better one is used instead.
                (Some(true), false) => "off",
                (Some(false), _) => "no",
                (None, _) => "?",
            };
            out +=
                &format!("  {here:<6}{:<18}since {:<6}{}\n", row.name, row.since_kernel, row.gives);
            if let Some(why) = &row.why_not {
                out += &format!("        {why}\n");
            }
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

/// What limits a server that takes the best driver, with one shard per CPU and one listener.
fn limits(found: &Diagnosis, cpus: u64) -> Vec<Limit> {
    let features = found.auto.as_ref().map(|taken| taken.features);
    let direct = features.is_some_and(|features| features.contains(RingFeature::Direct));
    let files = raise_file_limit();
    let mut limits = vec![Limit {
        name: "open files (ulimit -Hn)",
        value: files.to_string(),
        means: meaning_of_files(files, cpus, direct),
    }];
    let mut add = |name: &'static str, means: &dyn Fn(&str) -> String| {
        if let Some(value) = setting(name) {
            let means = means(&value);
            limits.push(Limit { name, value, means });
        }
    };
    add("kernel/io_uring_disabled", &|value| {
        match value {
            "0" => "everyone may use io_uring",
            "1" => "root and the group of kernel/io_uring_group may use io_uring",
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
    add("net/ipv4/tcp_rmem", &|_| {
        "smallest, usual and largest receive buffer, in bytes".to_owned()
    });
    add("net/ipv4/tcp_wmem", &|_| "smallest, usual and largest send buffer, in bytes".to_owned());
    limits.extend(locked_memory(found.locked_bytes));
    limits.extend(memory());
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

fn meaning_of_files(files: u64, shards: u64, direct: bool) -> String {
    if direct {
        let count = connections_by_files(files, 1, 1, direct);
        format!("about {count} connections per shard, in its ring's own file table (direct)")
    } else {
        let count = connections_by_files(files, shards, 1, direct);
        format!("about {count} connections per process")
    }
}

/// What of the process's memory the kernel may be told to keep in place; `shard` bytes of it are the
/// registered buffers of a shard of the tokio-uring driver, if there is that.
fn locked_memory(shard: Option<u64>) -> Option<Limit> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let row = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    let value = row.split_whitespace().next()?.to_owned();
    let means = meaning_of_locked(value.parse().ok(), shard);
    Some(Limit { name: "locked memory (ulimit -l)", value, means })
}

/// What the limit of locked memory means, in shards and sends; `None` is no limit.
fn meaning_of_locked(limit: Option<u64>, shard: Option<u64>) -> String {
    let Some(bytes) = limit else {
        return "no limit on registered buffers and sends without a copy (zc-send)".to_owned();
    };
    let sends = bytes / (32 << 10);
    let sends = format!("{sends} sends of 32 KiB under way without a copy (zc-send)");
    let Some(shard) = shard else { return sends };
    format!(
        "registered buffers of {} shards on tokio-uring, about {} KiB each (others use the heap), or \
         {sends}; does not bind a process with CAP_IPC_LOCK",
        bytes / shard.max(1),
        shard >> 10
    )
}

/// Memory that is left, and the connections that it has room for.
fn memory() -> Option<Limit> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let row = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = row.split_whitespace().next()?.parse().ok()?;
    Some(Limit {
        name: "available memory",
        value: format!("{kibibytes} KiB"),
        means: format!(
            "about {} idle connections, at 5 KiB each in the kernel and the process",
            kibibytes / 5
        ),
    })
}

#[cfg(test)]
mod tests {
    use ringbolt::{Config, diagnose};

    use super::{Report, meaning_of_files, meaning_of_locked};

    #[test]
    fn the_document_has_each_limit_and_what_it_means() {
        let report = Report::new(&diagnose(&Config::new()));
        let document = serde_json::to_value(&report).expect("plain data");
        let limits = document["limits"].as_array().expect("a list");
        for name in [
            "open files (ulimit -Hn)",
            "net/ipv4/ip_local_port_range",
            "locked memory (ulimit -l)",
            "net/core/somaxconn",
        ] {
            let limit = limits.iter().find(|limit| limit["name"] == name);
            let limit = limit.unwrap_or_else(|| panic!("no {name} in {document}"));
            for key in ["value", "means"] {
                let text = limit[key].as_str().expect("text");
                assert!(!text.is_empty(), "{key} of {name}");
            }
        }
    }

    #[test]
    fn open_files_are_shared_by_the_shards_unless_each_has_a_table() {
        assert_eq!(meaning_of_files(1000, 2, false), "about 986 connections per process");
        assert_eq!(meaning_of_files(10, 2, false), "about 0 connections per process");
        for (files, count) in [(1000, 1000), (1 << 30, 1 << 20)] {
            let meaning = meaning_of_files(files, 2, true);
            assert!(
                meaning.starts_with(&format!("about {count} connections per shard")),
                "{meaning}"
            );
        }
    }

    #[test]
    fn locked_memory_is_told_in_shards_and_sends() {
        let shard = Some(3 << 20);
        let meaning = meaning_of_locked(Some(8 << 20), shard);
        for part in ["of 2 shards on tokio-uring", "about 3072 KiB each", "or 256 sends of 32 KiB"]
        {
            assert!(meaning.contains(part), "{part} in {meaning}");
        }
        assert!(meaning_of_locked(None, shard).starts_with("no limit"));
        // The program may be without that driver.
        let sends = "256 sends of 32 KiB under way without a copy (zc-send)";
        assert_eq!(meaning_of_locked(Some(8 << 20), None), sends);
    }
}
