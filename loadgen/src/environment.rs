//! Where a run took place: what of the machine and the kernel changes the numbers.

use std::fs;

use serde_json::{Value, json};

use crate::source;

/// What is known; `null` for what the kernel does not tell.
pub(crate) fn value(file_limit: u64) -> Value {
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({
        "kernel_release": read("/proc/sys/kernel/osrelease"),
        "kernel_version": read("/proc/sys/kernel/version"),
        "architecture": std::env::consts::ARCH,
        "cpu_model": cpu_model(),
        "cpus_usable": cpus,
        "mitigations": mitigations(),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "clock_source": read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "load_average": read("/proc/loadavg"),
        "file_limit": file_limit,
        "ports_per_source_address": source::ports(),
        "somaxconn": read("/proc/sys/net/core/somaxconn"),
    })
}

fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Each weakness of the CPU that the kernel works around, and how.
fn mitigations() -> serde_json::Map<String, Value> {
    let entries = fs::read_dir("/sys/devices/system/cpu/vulnerabilities");
    let named = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let text = fs::read_to_string(entry.path()).ok()?.trim().to_owned();
        (text != "Not affected").then_some((name, Value::String(text)))
    };
    entries.into_iter().flatten().filter_map(Result::ok).filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_says_what_it_is() {
        let value = super::value(7);
        assert!(value["kernel_release"].as_str().is_some_and(|text| text.contains('.')), "{value}");
        assert_eq!(value["file_limit"], 7);
        assert!(value["cpus_usable"].as_u64().is_some_and(|n| n > 0), "{value}");
    }
}
