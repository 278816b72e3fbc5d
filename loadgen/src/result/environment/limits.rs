//! Limits that explain where a run ends.

use serde_json::{Value, json};

use crate::base::files::Files;
use crate::plan::source;

/// `open_files` is what the run was given.
pub(super) fn value(files: &Files, open_files: u64) -> Value {
    let limits = files.text("proc/self/limits").unwrap_or_default();
    let of = |name: &str| row(&limits, name).unwrap_or((None, None));
    let (files_soft, files_hard) = of("Max open files");
    let (locked_soft, locked_hard) = of("Max locked memory");
    let (processes, _) = of("Max processes");
    json!({
        "open_files_of_run": open_files,
        "open_files_soft": files_soft,
        "open_files_hard": files_hard,
        "locked_memory_soft_bytes": locked_soft,
        "locked_memory_hard_bytes": locked_hard,
        "processes_soft": processes,
        "nr_open": files.number("proc/sys/fs/nr_open"),
        "file_max": files.number("proc/sys/fs/file-max"),
        "ports_per_source_address": source::ports(),
    })
}

/// Soft and hard limit; `None` for "unlimited", too.
fn row(limits: &str, name: &str) -> Option<(Option<u64>, Option<u64>)> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let mut words = rest.split_whitespace().map(|word| word.parse().ok());
    Some((words.next()?, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::row;

    #[test]
    fn rows_have_a_soft_and_a_hard_limit() {
        let text = "Max open files            1024                 unlimited            files";
        assert_eq!(row(text, "Max open files"), Some((Some(1024), None)));
        assert_eq!(row(text, "Max locked memory"), None);
    }
}
