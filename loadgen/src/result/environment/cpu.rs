//! The CPU: which one, what of its power saving and boosting is on, what slows it down for safety.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::base::files::{Files, field};

pub(super) fn value(files: &Files) -> Value {
    let info = files.text("proc/cpuinfo").unwrap_or_default();
    let flags = field(&info, "flags").unwrap_or_default();
    let flag = |name: &str| flags.split(' ').any(|flag| flag == name);
    let usable = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({
        "model": field(&info, "model name"),
        "vendor": field(&info, "vendor_id"),
        "family_model_stepping": signature(&info),
        "microcode": field(&info, "microcode"),
        "usable": usable,
        "online": files.line("sys/devices/system/cpu/online"),
        "sockets": distinct(&info, &["physical id"]),
        "cores": distinct(&info, &["physical id", "core id"]),
        "hyper_threads": files.number("sys/devices/system/cpu/smt/active").map(|on| on == 1),
        "caches": caches(files),
        "numa_nodes": nodes(files),
        "governor": files.line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "frequency_driver": files.line("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver"),
        "turbo": turbo(files),
        "idle_driver": files.line("sys/devices/system/cpu/cpuidle/current_driver"),
        "idle_states": idle_states(files),
        "isolated": files.line("sys/devices/system/cpu/isolated"),
        "tickless": files.line("sys/devices/system/cpu/nohz_full"),
        "clock_source": files.line(
            "sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "tsc": TSC.into_iter().filter(|name| flag(name)).collect::<Vec<_>>(),
        "mitigations": mitigations(files),
    })
}

/// Flags that say how far the CPU's own counter can be relied on.
const TSC: [&str; 4] = ["constant_tsc", "nonstop_tsc", "tsc_reliable", "tsc_known_freq"];

fn signature(info: &str) -> Option<String> {
    let part = |key| field(info, key);
    Some(format!("{}/{}/{}", part("cpu family")?, part("model")?, part("stepping")?))
}

/// How many different values the processors have of these fields together.
fn distinct(info: &str, keys: &[&str]) -> Option<usize> {
    let values = |processor: &str| -> Option<Vec<String>> {
        keys.iter().map(|key| field(processor, key)).collect()
    };
    let found: BTreeSet<_> = info.split("\n\n").filter_map(values).collect();
    (!found.is_empty()).then_some(found.len())
}

/// Size of each cache that the first CPU sees.
fn caches(files: &Files) -> Option<Map<String, Value>> {
    let root = "sys/devices/system/cpu/cpu0/cache";
    let one = |name: String| {
        let read = |file: &str| files.line(&format!("{root}/{name}/{file}"));
        let kind = match read("type")?.as_str() {
            "Data" => "d",
            "Instruction" => "i",
            _ => "",
        };
        Some((format!("l{}{kind}", read("level")?), Value::String(read("size")?)))
    };
    let caches: Map<_, _> = files.names(root).into_iter().filter_map(one).collect();
    (!caches.is_empty()).then_some(caches)
}

fn nodes(files: &Files) -> Option<usize> {
    let is_node = |name: &String| {
        name.strip_prefix("node").is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let nodes = files.names("sys/devices/system/node").iter().filter(|name| is_node(name)).count();
    (nodes > 0).then_some(nodes)
}

fn turbo(files: &Files) -> Option<bool> {
    let intel = files.number("sys/devices/system/cpu/intel_pstate/no_turbo").map(|off| off == 0);
    intel.or_else(|| files.number("sys/devices/system/cpu/cpufreq/boost").map(|on| on == 1))
}

/// The sleep states that are allowed, by their names.
fn idle_states(files: &Files) -> Option<Vec<String>> {
    let root = "sys/devices/system/cpu/cpu0/cpuidle";
    let state = |name: String| {
        let read = |file: &str| files.line(&format!("{root}/{name}/{file}"));
        let off = read("disable").is_some_and(|off| off != "0");
        if off { None } else { read("name") }
    };
    let states: Vec<_> = files.names(root).into_iter().filter_map(state).collect();
    (!states.is_empty()).then_some(states)
}

/// Each weakness of the CPU that the kernel knows of, and how it works around it.
fn mitigations(files: &Files) -> Map<String, Value> {
    let root = "sys/devices/system/cpu/vulnerabilities";
    let one = |name: String| {
        let text = files.line(&format!("{root}/{name}"))?;
        (text != "Not affected").then_some((name, Value::String(text)))
    };
    files.names(root).into_iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::{distinct, signature};

    #[test]
    fn processors_are_counted_by_what_they_share() {
        let info = "processor: 0\nphysical id: 0\ncore id: 0\ncpu family: 6\nmodel: 1\nstepping: 2\n\n\
                    processor: 1\nphysical id: 0\ncore id: 0\n\n\
                    processor: 2\nphysical id: 1\ncore id: 0";
        assert_eq!(distinct(info, &["physical id"]), Some(2));
        assert_eq!(distinct(info, &["physical id", "core id"]), Some(2));
        assert_eq!(distinct(info, &["cpu"]), None);
        assert_eq!(signature(info).as_deref(), Some("6/1/2"));
    }
}
