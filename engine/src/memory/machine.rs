//! How much memory there is for this process.

use std::path::{Path, PathBuf};

/// What a server takes for its peers if nothing is said: a quarter. The rest is for the kernel's own
/// buffers of the same sockets, which grow to as much, and for the application.
const PART: usize = 4;
/// A machine that tells nothing is taken for one of this many bytes.
const UNKNOWN: usize = 1 << 30;
/// The least that one shard is given.
const LEAST: usize = 16 << 20;

/// Bytes for each of so many shards.
pub(crate) fn share_of_the_machine(shards: usize) -> usize {
    (usable() / PART / shards.max(1)).max(LEAST)
}

/// Bytes that this process may use: what the machine has, or what its control groups allow.
fn usable() -> usize {
    let info = rustix::system::sysinfo();
    let machine = usize::try_from(info.totalram).unwrap_or(usize::MAX);
    let machine = machine.saturating_mul(usize::try_from(info.mem_unit).unwrap_or(1).max(1));
    let machine = if machine == 0 { UNKNOWN } else { machine };
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limit_of(&groups, Path::new("/sys/fs/cgroup"), |file| std::fs::read_to_string(file).ok())
        .map_or(machine, |limit| limit.min(machine))
}

/// The lowest limit of the groups that `/proc/self/cgroup` names and of those around them; none if
/// none is set, or none can be read. Inside a container the path may be that of the host, which is
/// not there: the container's own group is the root then.
fn limit_of(groups: &str, root: &Path, read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let mut lowest = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (base, file) = match controllers {
            "" => (root.to_path_buf(), "memory.max"),
            v1 if v1.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mut group: PathBuf = base.join(path.trim_start_matches('/'));
        loop {
            let limit = read(&group.join(file)).and_then(|text| text.trim().parse::<usize>().ok());
            lowest = lowest.into_iter().chain(limit).min();
            if group == base || !group.pop() {
                break;
            }
        }
    }
    lowest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::{LEAST, limit_of, share_of_the_machine, usable};

    #[test]
    fn the_lowest_limit_on_the_way_up_counts() {
        let files: BTreeMap<&str, &str> = [
            ("/root/memory.max", "max\n"),
            ("/root/a/memory.max", "4096\n"),
            ("/root/a/b/memory.max", "8192\n"),
            ("/root/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/root/memory/c/memory.limit_in_bytes", "1000\n"),
            ("/root/other/memory.max", "1\n"),
        ]
        .into();
        let read = |file: &Path| files.get(file.to_str()?).map(|text| (*text).to_owned());
        let limit = |groups| limit_of(groups, Path::new("/root"), read);
        assert_eq!(limit("0::/a/b\n"), Some(4096));
        assert_eq!(limit("0::/\n"), None, "max is no limit");
        assert_eq!(limit("0::/not/there\n"), None);
        assert_eq!(limit("5:cpu,memory:/c\n0::/a/b\n"), Some(1000));
        assert_eq!(limit("5:cpu:/c\n"), None);
        assert_eq!(limit("nonsense\n"), None);
        assert_eq!(limit(""), None);
    }

    #[test]
    fn every_shard_gets_its_part_of_a_quarter() {
        assert!(usable() > LEAST);
        assert_eq!(share_of_the_machine(1), (usable() / 4).max(LEAST));
        assert_eq!(share_of_the_machine(usize::MAX), LEAST);
        assert_eq!(share_of_the_machine(0), share_of_the_machine(1));
    }
}
