//! What the run costs the server: CPU time of a process, from the kernel's own accounts.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::base::clock::Nanos;
use crate::base::failure::Failure;
use crate::base::thread_cpu::{Switches, Ticks};

/// Where the numbers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CpuSource {
    /// `/proc/PID/task/*/schedstat`: nanoseconds per thread.
    Schedstat,
    /// `/proc/PID/stat`: clock ticks of 10 ms.
    Ticks,
}

impl CpuSource {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Schedstat => "schedstat",
            Self::Ticks => "stat ticks",
        }
    }
}

/// A process whose CPU time is read.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    root: PathBuf,
    source: CpuSource,
}

/// What it had used at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// By thread, or all under 0.
    nanos: BTreeMap<u32, Nanos>,
    /// By thread: how long it was ready to run but had no CPU.
    waited: BTreeMap<u32, Nanos>,
    ticks: Ticks,
    /// By thread.
    switches: BTreeMap<u32, Switches>,
}

/// What it had used as the window opened and as it closed, and when that was read: from when on, and
/// until when.
#[derive(Debug)]
pub(crate) struct Readings {
    pub(crate) first: (Range<Nanos>, Reading),
    pub(crate) last: (Range<Nanos>, Reading),
}

impl Readings {
    /// By how much they miss the edges of the window, if that is more than can be passed over.
    pub(crate) fn missed(&self, window: &Range<Nanos>) -> Option<Nanos> {
        missed(window, &self.first.0, &self.last.0)
    }
}

fn missed(window: &Range<Nanos>, first: &Range<Nanos>, last: &Range<Nanos>) -> Option<Nanos> {
    // The thread that reads may lose its CPU in the middle.
    let by = |read: &Range<Nanos>, edge| read.start.abs_diff(edge).max(read.end.abs_diff(edge));
    let missed = by(first, window.start).saturating_add(by(last, window.end));
    let length = window.end.saturating_sub(window.start);
    (missed > MISSED.max(length / MISSED_SHARE)).then_some(missed)
}

/// Readings miss the window by this much on any busy machine.
const MISSED: Nanos = 20_000_000;
/// Missing the window by this part of it is less than what runs differ by.
const MISSED_SHARE: Nanos = 50;

/// What it used between two readings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cost {
    pub(crate) nanos: Nanos,
    /// The CPU time of each thread that did anything and can be told apart.
    pub(crate) threads: Vec<Nanos>,
    /// The longest that one of the threads was ready to run but had no CPU; `None` where the kernel does
    /// not account for that.
    pub(crate) waited: Option<Nanos>,
    /// Context switches of the threads that were there at the end.
    pub(crate) switches: Switches,
    /// How much of it was spent in the kernel, by the coarser ticks; `None` for too few of them.
    pub(crate) system_share: Option<f64>,
    pub(crate) source: CpuSource,
}

/// Accounts of the process and of its threads differ by so many ticks, since each is rounded.
const FEW: Nanos = 3;
/// Length of the kernel's clock tick as `/proc` shows it: USER_HZ is 100 on every Linux.
const TICK: Nanos = 10_000_000;

impl ServerProcess {
    /// The process of this number.
    pub(crate) fn new(pid: u32) -> Result<Self, Failure> {
        Self::at(PathBuf::from(format!("/proc/{pid}"))).ok_or_else(|| {
            Failure::preflight(
                format!("cannot read the CPU time of process {pid}"),
                format!("/proc/{pid} is not there or not readable"),
                "give --pid the number of a running server, for example `--pid $(pidof engine)`",
            )
        })
    }

    fn at(root: PathBuf) -> Option<Self> {
        let mut this = Self { root, source: CpuSource::Schedstat };
        let exact = this.schedstat(0).is_some_and(|threads| threads.values().any(|n| *n > 0));
        if !exact {
            this.source = CpuSource::Ticks;
        }
        this.read().map(|_| this)
    }

    /// What it has used so far; `None` once it is gone.
    pub(crate) fn read(&self) -> Option<Reading> {
        let ticks = Ticks::of(&self.root)?;
        let (nanos, waited) = match self.source {
            CpuSource::Schedstat => (self.schedstat(0)?, self.schedstat(1)?),
            CpuSource::Ticks => {
                (BTreeMap::from([(0, (ticks.user + ticks.system) * TICK)]), BTreeMap::new())
            }
        };
        Some(Reading { nanos, waited, ticks, switches: self.of_threads(Switches::of)? })
    }

    /// What it used between two readings.
    pub(crate) fn cost(&self, before: &Reading, after: &Reading) -> Cost {
        let threads: Vec<Nanos> =
            grown(&before.nanos, &after.nanos).filter(|nanos| *nanos > 0).collect();
        let waited = grown(&before.waited, &after.waited).max();
        let mut switches = Switches::default();
        for (thread, after) in &after.switches {
            switches.add(after.since(before.switches.get(thread).copied().unwrap_or_default()));
        }
        let ticks = after.ticks.since(before.ticks);
        let system_share = ticks.system_share();
        let nanos = threads.iter().sum();
        let whole = (ticks.user + ticks.system) * TICK;
        if whole > nanos + nanos / MISSED_SHARE + FEW * TICK {
            // Threads that have ended meanwhile are in the process's own account only.
            return Cost {
                nanos: whole,
                threads: Vec::new(),
                waited,
                switches,
                system_share,
                source: CpuSource::Ticks,
            };
        }
        Cost { nanos, threads, waited, switches, system_share, source: self.source }
    }

    /// A number of each thread's account: 0 its time on a CPU, 1 its waiting for one.
    fn schedstat(&self, number: usize) -> Option<BTreeMap<u32, Nanos>> {
        self.of_threads(|folder| {
            let text = fs::read_to_string(folder.join("schedstat")).ok()?;
            text.split_whitespace().nth(number)?.parse().ok()
        })
    }

    /// What can be read of each thread.
    fn of_threads<T>(&self, read: impl Fn(&Path) -> Option<T>) -> Option<BTreeMap<u32, T>> {
        let threads = fs::read_dir(self.root.join("task")).ok()?;
        let one = |entry: fs::DirEntry| {
            let thread: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((thread, read(&entry.path())?))
        };
        Some(threads.filter_map(Result::ok).filter_map(one).collect())
    }
}

/// By how much each thread's number has grown; those of new threads from nothing.
fn grown<'a>(
    before: &'a BTreeMap<u32, Nanos>,
    after: &'a BTreeMap<u32, Nanos>,
) -> impl Iterator<Item = Nanos> + 'a {
    after.iter().map(|(thread, now)| now.saturating_sub(before.get(thread).copied().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{CpuSource, ServerProcess, TICK, missed};

    fn write_stat(root: &std::path::Path, user: u64, system: u64) {
        let text = format!("7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 {user} {system} 0 0");
        fs::write(root.join("stat"), text).expect("written");
    }

    #[test]
    fn a_process_that_works_costs_time() {
        let process = ServerProcess::new(std::process::id()).expect("this process");
        let before = process.read().expect("alive");
        let begin = std::time::Instant::now();
        while begin.elapsed() < std::time::Duration::from_millis(60) {
            std::hint::black_box(());
        }
        let cost = process.cost(&before, &process.read().expect("alive"));
        assert!(cost.nanos > 0, "{cost:?}");
    }

    #[test]
    fn readings_beside_the_window_are_not_of_it() {
        const MS: u64 = 1_000_000;
        let (short, long) = (100 * MS..200 * MS, 100 * MS..10_100 * MS);
        let read = |window, from: [u64; 2], until: [u64; 2]| {
            missed(window, &(from[0] * MS..from[1] * MS), &(until[0] * MS..until[1] * MS))
        };
        assert_eq!(read(&short, [101, 101], [205, 205]), None);
        assert_eq!(read(&short, [110, 110], [211, 211]), Some(21 * MS));
        assert_eq!(read(&short, [89, 89], [190, 190]), Some(21 * MS), "early misses it, too");
        assert_eq!(read(&short, [100, 122], [200, 200]), Some(22 * MS), "reading took too long");
        assert_eq!(read(&long, [200, 200], [10_200, 10_200]), None, "2 % of the window");
        assert_eq!(read(&long, [10_100, 10_100], [10_101, 10_101]), Some(10_001 * MS));
    }

    #[test]
    fn threads_are_summed_and_new_ones_count_from_their_birth() {
        let root = std::env::temp_dir().join(format!("loadgen-cost-{}", std::process::id()));
        for thread in ["7", "8"] {
            fs::create_dir_all(root.join("task").join(thread)).expect("made");
        }
        let account = |thread: &str, text: &str| {
            fs::write(root.join("task").join(thread).join("schedstat"), text).expect("written");
        };
        write_stat(&root, 10, 20);
        account("7", "1000 5 6\n");
        account("8", "2000 5 6\n");
        let switched = |thread: &str, voluntary: u64, involuntary: u64| {
            let text = format!(
                "voluntary_ctxt_switches:\t{voluntary}\nnonvoluntary_ctxt_switches:\t{involuntary}\n"
            );
            fs::write(root.join("task").join(thread).join("status"), text).expect("written");
        };
        switched("7", 100, 10);
        let process = ServerProcess::at(root.clone()).expect("readable");
        assert_eq!(process.source, CpuSource::Schedstat);
        let before = process.read().expect("alive");
        fs::create_dir_all(root.join("task/9")).expect("made");
        account("7", "1500 12 6\n");
        account("9", "40 5 6\n");
        switched("7", 104, 11);
        switched("9", 1, 0);
        write_stat(&root, 11, 22);
        let cost = process.cost(&before, &process.read().expect("alive"));
        assert_eq!((cost.nanos, &cost.threads[..]), (540, &[500, 40][..]));
        assert_eq!(cost.waited, Some(7));
        assert_eq!((cost.switches.voluntary, cost.switches.involuntary), (5, 1));
        assert_eq!((cost.source, cost.system_share), (CpuSource::Schedstat, None));
        // Thread 8 works on, and ends: only the process's own account has it.
        write_stat(&root, 21, 42);
        fs::remove_dir_all(root.join("task/8")).expect("removed");
        let cost = process.cost(&before, &process.read().expect("alive"));
        assert_eq!((cost.nanos, cost.source), (33 * TICK, CpuSource::Ticks));
        assert_eq!((cost.threads.len(), cost.system_share), (0, Some(22.0 / 33.0)));
        fs::create_dir_all(root.join("task/8")).expect("made");
        account("7", "0 0 0");
        account("8", "0 0 0");
        account("9", "0 0 0");
        let coarse = ServerProcess::at(root.clone()).expect("readable");
        assert_eq!(coarse.source, CpuSource::Ticks);
        let before = coarse.read().expect("alive");
        write_stat(&root, 22, 43);
        let cost = coarse.cost(&before, &coarse.read().expect("alive"));
        assert_eq!((cost.nanos, cost.system_share), (2 * TICK, None));
        fs::remove_dir_all(root).expect("removed");
    }
}
