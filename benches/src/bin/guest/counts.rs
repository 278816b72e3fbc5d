//! What the kernel counts: events by thread, through the histograms of its tracing (tracefs).

use std::collections::BTreeMap;
use std::fs;

use rustix::mount::{MountFlags, mount};

const TRACING: &str = "/sys/kernel/tracing";
const HISTOGRAM: &str = "hist:key=common_pid";

/// What is counted, and the kernel's event for it.
const EVENTS: [(&str, &str); 4] = [
    ("system_calls", "raw_syscalls/sys_enter"),
    ("switches", "sched/sched_switch"),
    ("wakeups", "sched/sched_wakeup"),
    ("completions", "io_uring/io_uring_complete"),
];

/// Counts by thread; what a kernel cannot count is not in it.
pub(crate) type Counts = BTreeMap<&'static str, BTreeMap<u32, u64>>;

/// Counting, from here until it is asked.
#[derive(Debug)]
pub(crate) struct Counter(());

impl Counter {
    pub(crate) fn start() -> Self {
        if fs::metadata(format!("{TRACING}/events")).is_err() {
            let _ = mount("tracefs", TRACING, "tracefs", MountFlags::empty(), None);
        }
        for (_, event) in EVENTS {
            drop(fs::write(format!("{TRACING}/events/{event}/trigger"), HISTOGRAM));
        }
        Self(())
    }

    /// The counts; counting ends.
    pub(crate) fn stop(self) -> Counts {
        let Self(()) = self;
        let mut counts = Counts::new();
        for (name, event) in EVENTS {
            let folder = format!("{TRACING}/events/{event}");
            let Ok(text) = fs::read_to_string(format!("{folder}/hist")) else { continue };
            drop(fs::write(format!("{folder}/trigger"), format!("!{HISTOGRAM}")));
            counts.insert(name, text.lines().filter_map(entry).collect());
        }
        counts
    }
}

/// `{ common_pid:         71 } hitcount:        404`.
fn entry(line: &str) -> Option<(u32, u64)> {
    let rest = line.trim().strip_prefix("{ common_pid:")?;
    let (thread, rest) = rest.split_once('}')?;
    let count = rest.split_once("hitcount:")?.1;
    Some((thread.trim().parse().ok()?, count.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::entry;

    #[test]
    fn lines_of_a_histogram_are_read() {
        let line = "{ common_pid:         71 } hitcount:        404";
        assert_eq!(entry(line), Some((71, 404)));
        assert_eq!(entry("    Hits: 404"), None);
        assert_eq!(entry("# trigger info: hist:keys=common_pid:vals=hitcount:size=2048"), None);
        assert_eq!(entry("{ common_pid: x } hitcount: 1"), None);
    }
}
