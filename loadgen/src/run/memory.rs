//! What memory a process has, from `/proc`.

use std::fs;
use std::path::{Path, PathBuf};

/// The memory of a process at one moment, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What is resident, pages shared with others included.
    pub(crate) rss: u64,
    /// Resident memory with shared pages divided among those who share them; `None` where the
    /// kernel does not say, as for processes of other users.
    pub(crate) pss: Option<u64>,
}

/// The memory of the server before the first connection, when the measurement began, and when it
/// ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Growth {
    pub(crate) before: Memory,
    pub(crate) opened: Memory,
    pub(crate) closed: Memory,
}

impl Memory {
    /// The memory of the process with this number; `None` if it is gone.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::at(&PathBuf::from(format!("/proc/{pid}")))
    }

    fn at(root: &Path) -> Option<Self> {
        if let Ok(text) = fs::read_to_string(root.join("smaps_rollup"))
            && let (Some(rss), pss @ Some(_)) = (field(&text, "Rss:"), field(&text, "Pss:"))
        {
            return Some(Self { rss, pss });
        }
        let status = fs::read_to_string(root.join("status")).ok()?;
        Some(Self { rss: field(&status, "VmRSS:")?, pss: None })
    }

    /// The better of the two figures.
    pub(crate) fn bytes(self) -> u64 {
        self.pss.unwrap_or(self.rss)
    }
}

impl Growth {
    /// Bytes that each of so many connections took.
    #[expect(clippy::cast_precision_loss, reason = "memory is below 2^53 bytes")]
    pub(crate) fn per_connection(&self, connections: u64) -> Option<f64> {
        let (before, opened) = (self.before.bytes() as f64, self.opened.bytes() as f64);
        (connections > 0).then(|| (opened - before) / connections as f64)
    }
}

/// A number of `kB` behind its name.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::{Growth, Memory};

    #[test]
    fn this_process_has_memory_and_a_dead_one_none() {
        let memory = Memory::of(std::process::id()).expect("we live");
        assert!(memory.rss > 0 && memory.pss.is_some_and(|pss| pss <= memory.rss), "{memory:?}");
        assert_eq!(Memory::of(u32::MAX), None);
    }

    #[test]
    fn what_the_kernel_hides_is_taken_from_elsewhere() {
        let root = std::env::temp_dir().join(format!("loadgen-memory-{}", std::process::id()));
        std::fs::create_dir_all(&root).expect("made");
        std::fs::write(root.join("status"), "Name:\tx\nVmRSS:\t  12 kB\n").expect("written");
        assert_eq!(Memory::at(&root), Some(Memory { rss: 12_288, pss: None }));
        std::fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn connections_share_the_growth() {
        let of = |pss| Memory { rss: 0, pss: Some(pss) };
        let growth = Growth { before: of(1000), opened: of(3000), closed: of(9000) };
        assert_eq!(growth.per_connection(10), Some(200.0));
        assert_eq!(growth.per_connection(0), None);
    }
}
