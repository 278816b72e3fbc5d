//! What the kernel's accounts say of a thread, or of all threads of a process.

use std::fs;
use std::path::Path;

use ringbolt::thread_cpu_nanos;

use crate::base::clock::Nanos;

/// What this thread has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ThreadUsage {
    pub(crate) cpu: Nanos,
    /// How long it was ready to run but had no CPU; 0 if the kernel does not account for that.
    pub(crate) waited: Nanos,
    /// In clock ticks of 10 ms.
    ticks: Ticks,
    switches: Switches,
}

/// CPU time by where it was spent, in clock ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ticks {
    pub(crate) user: u64,
    pub(crate) system: u64,
}

/// How often threads gave up their CPU, or lost it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Switches {
    /// To wait for something.
    pub(crate) voluntary: u64,
    /// Because something else was to run.
    pub(crate) involuntary: u64,
}

impl ThreadUsage {
    /// This thread's.
    pub(crate) fn of_this_thread() -> Self {
        let folder = Path::new("/proc/thread-self");
        let text = fs::read_to_string(folder.join("schedstat")).unwrap_or_default();
        let waited = text.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        Self {
            cpu: thread_cpu_nanos(),
            waited: waited.unwrap_or(0),
            ticks: Ticks::of(folder).unwrap_or_default(),
            switches: Switches::of(folder).unwrap_or_default(),
        }
    }

    /// What was used since an earlier moment.
    pub(crate) const fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            waited: self.waited.saturating_sub(before.waited),
            ticks: self.ticks.since(before.ticks),
            switches: self.switches.since(before.switches),
        }
    }

    pub(crate) const fn switches(&self) -> Switches {
        self.switches
    }

    /// How much of the CPU time was spent in the kernel; `None` for too few ticks.
    pub(crate) fn system_share(&self) -> Option<f64> {
        self.ticks.system_share()
    }
}

impl Ticks {
    /// Reads the counts of the thread or process that has this folder below `/proc`.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join("stat")).ok()?;
        // The name, in brackets, may hold anything.
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_whitespace().skip(11);
        Some(Self { user: fields.next()?.parse().ok()?, system: fields.next()?.parse().ok()? })
    }

    pub(crate) const fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }

    /// The share of the kernel; `None` for too few of them to tell.
    #[expect(clippy::cast_precision_loss, reason = "ticks of a run are below 2^53")]
    pub(crate) fn system_share(self) -> Option<f64> {
        const FEW: u64 = 10;
        let all = self.user + self.system;
        (all >= FEW).then(|| self.system as f64 / all as f64)
    }
}

impl Switches {
    /// Reads the counts of the thread that has this folder below `/proc`.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join("status")).ok()?;
        let number = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().parse().ok()
        };
        Some(Self {
            voluntary: number("voluntary_ctxt_switches:")?,
            involuntary: number("nonvoluntary_ctxt_switches:")?,
        })
    }

    pub(crate) const fn since(self, before: Self) -> Self {
        Self {
            voluntary: self.voluntary.saturating_sub(before.voluntary),
            involuntary: self.involuntary.saturating_sub(before.involuntary),
        }
    }

    pub(crate) const fn add(&mut self, other: Self) {
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
    }
}

#[cfg(test)]
mod tests {
    use super::{Switches, ThreadUsage, Ticks};

    #[test]
    fn a_thread_that_sleeps_gives_up_its_cpu() {
        let before = ThreadUsage::of_this_thread();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let used = ThreadUsage::of_this_thread().since(&before);
        assert!(used.switches().voluntary > 0, "{used:?}");
    }

    #[test]
    fn files_are_read_by_name_and_junk_is_nothing() {
        let root = std::env::temp_dir().join(format!("loadgen-account-{}", std::process::id()));
        std::fs::create_dir_all(&root).expect("made");
        let write =
            |name: &str, text: &str| std::fs::write(root.join(name), text).expect("written");
        write("stat", "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 30 70 0 0");
        write("status", "Name:\tx\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t2\n");
        assert_eq!(Ticks::of(&root).and_then(Ticks::system_share), Some(0.7));
        assert_eq!(Switches::of(&root), Some(Switches { voluntary: 5, involuntary: 2 }));
        write("stat", "7 (a");
        write("status", "voluntary_ctxt_switches: x");
        assert_eq!((Ticks::of(&root), Switches::of(&root)), (None, None));
        std::fs::remove_dir_all(root).expect("removed");
    }
}
