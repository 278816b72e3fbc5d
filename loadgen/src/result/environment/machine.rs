//! The machine around the CPU: real, virtual or emulated, its memory, what confines the process,
//! and what else was going on.

use serde_json::{Value, json};

use crate::base::files::{Files, chosen, field};

/// How busy the machine was at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Busy {
    load: Option<f64>,
    ticks: Option<Ticks>,
}

/// Clock ticks of all CPUs since the machine started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    stolen: u64,
    all: u64,
}

impl Busy {
    pub(crate) fn read(files: &Files) -> Self {
        let load = files.text("proc/loadavg");
        Self {
            load: load.and_then(|text| text.split(' ').next()?.parse().ok()),
            ticks: files.text("proc/stat").and_then(|text| ticks(&text)),
        }
    }
}

fn ticks(text: &str) -> Option<Ticks> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let numbers: Option<Vec<u64>> =
        line.split_whitespace().take(8).map(|word| word.parse().ok()).collect();
    let [user, nice, system, idle, waiting, interrupts, soft, stolen] = *numbers?.as_slice() else {
        return None;
    };
    let busy = user + nice + system + interrupts + soft;
    Some(Ticks { busy, stolen, all: busy + stolen + idle + waiting })
}

pub(super) fn value(files: &Files, before: &Busy, after: &Busy) -> Value {
    let info = files.text("proc/cpuinfo").unwrap_or_default();
    let (kind, hypervisor) = kind(files, &info);
    let between = before.ticks.zip(after.ticks);
    #[expect(clippy::cast_precision_loss, reason = "ticks are below 2^53")]
    let share = |part: fn(Ticks) -> u64| {
        let (before, after) = between?;
        let all = after.all.checked_sub(before.all).filter(|all| *all > 0)?;
        Some(part(after).saturating_sub(part(before)) as f64 / all as f64)
    };
    let (cpu_max, memory_max) = cgroup(files);
    json!({
        "kind": kind,
        "hypervisor": hypervisor,
        "memory_bytes": kib(files, "MemTotal"),
        "memory_available_bytes": kib(files, "MemAvailable"),
        "swap_used_bytes": kib(files, "SwapTotal").zip(kib(files, "SwapFree"))
            .map(|(total, free)| total.saturating_sub(free)),
        "transparent_huge_pages": files.line("sys/kernel/mm/transparent_hugepage/enabled")
            .and_then(|text| chosen(&text).map(ToOwned::to_owned)),
        "huge_pages": files.number("proc/sys/vm/nr_hugepages"),
        "container": container(files),
        "cgroup_cpu_max": cpu_max,
        "cgroup_memory_max_bytes": memory_max,
        "seccomp": files.field("proc/self/status", "Seccomp").map(|mode| match mode.as_str() {
            "0" => "off".to_owned(),
            "1" => "strict".to_owned(),
            "2" => "filter".to_owned(),
            other => other.to_owned(),
        }),
        "load_before": before.load,
        "load_after": after.load,
        "busy_share": share(|ticks| ticks.busy),
        "stolen_share": share(|ticks| ticks.stolen),
    })
}

/// Bare, virtual or emulated, and by what.
fn kind(files: &Files, info: &str) -> (Option<&'static str>, Option<String>) {
    let model = field(info, "model name");
    let named = ["sys/hypervisor/type", "sys/class/dmi/id/sys_vendor"];
    let hypervisor = named.into_iter().find_map(|path| files.line(path));
    let virtual_flag =
        field(info, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    // Only an emulator shows a CPU of this name, unless a user asked for it.
    let tcg = model.as_deref().is_some_and(|model| model.contains("QEMU TCG"))
        || files
            .line("sys/devices/system/clocksource/clocksource0/available_clocksource")
            .is_some_and(|clocks| !clocks.contains("kvm-clock"))
            && model.as_deref().is_some_and(|model| model.starts_with("QEMU Virtual CPU"));
    match (info.is_empty(), tcg, virtual_flag) {
        (true, ..) => (None, hypervisor),
        (_, true, _) => (Some("emulated"), hypervisor),
        (_, _, true) => (Some("virtual"), hypervisor),
        // The vendor of real hardware is no hypervisor.
        _ => (Some("bare"), None),
    }
}

fn kib(files: &Files, key: &str) -> Option<u64> {
    let text = files.field("proc/meminfo", key)?;
    text.strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn container(files: &Files) -> Option<&'static str> {
    let marks = [(".dockerenv", "docker"), ("run/.containerenv", "podman")];
    marks.into_iter().find(|(mark, _)| files.exists(mark)).map(|(_, name)| name)
}

/// CPU time and memory that this process's control group may use; `None` for no limit.
fn cgroup(files: &Files) -> (Option<String>, Option<u64>) {
    let text = files.text("proc/self/cgroup").unwrap_or_default();
    let path = |controller: &str| {
        text.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let path = path.trim_matches('/').to_owned();
            controllers.split(',').any(|name| name == controller).then_some(path)
        })
    };
    let unified = path("").unwrap_or_default();
    let cpu = files.line(&format!("sys/fs/cgroup/{unified}/cpu.max"));
    let memory = files.number(&format!("sys/fs/cgroup/{unified}/memory.max"));
    let memory = memory.or_else(|| {
        let path = path("memory")?;
        files.number(&format!("sys/fs/cgroup/memory/{path}/memory.limit_in_bytes"))
    });
    // The old interface shows the largest number for no limit.
    (cpu.filter(|cpu| !cpu.starts_with("max")), memory.filter(|bytes| *bytes < 1 << 60))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Busy, Ticks, ticks, value};
    use crate::base::files::Files;

    #[test]
    fn ticks_are_told_apart() {
        let text = "cpu  10 1 5 100 2 3 4 7 0 0\ncpu0 1 1 1 1 1 1 1 1";
        assert_eq!(ticks(text), Some(Ticks { busy: 23, stolen: 7, all: 132 }));
        assert_eq!(ticks("cpu 1 2 3"), None);
        let files = Files::below("/nowhere/at/all");
        let at =
            |busy, stolen, all| Busy { load: Some(1.0), ticks: Some(Ticks { busy, stolen, all }) };
        let value = value(&files, &at(10, 0, 100), &at(60, 20, 200));
        assert_eq!((&value["busy_share"], &value["stolen_share"]), (&json!(0.5), &json!(0.2)));
    }
}
