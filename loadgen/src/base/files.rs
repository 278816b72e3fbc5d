//! The small files below `/proc` and `/sys`. What is missing, unreadable or not as expected is
//! `None`: no file is worth a run.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A tree of such files; that of the machine, or a made one in tests.
#[derive(Debug)]
pub(crate) struct Files(PathBuf);

/// More of one file than this is not read.
const LONGEST: u64 = 4 << 20;

impl Files {
    pub(crate) fn of_this_machine() -> Self {
        Self(PathBuf::from("/"))
    }

    #[cfg(test)]
    pub(crate) fn below(root: impl Into<PathBuf>) -> Self {
        Self(root.into())
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    pub(crate) fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(self.path(path)).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// The text without white space around it; what is no UTF-8 is replaced.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let bytes = self.bytes(path)?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The text on one line, `None` if there is none.
    pub(crate) fn line(&self, path: &str) -> Option<String> {
        let text = self.text(path)?.split_whitespace().collect::<Vec<_>>().join(" ");
        (!text.is_empty()).then_some(text)
    }

    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The value of `key` in a file of lines such as `key : value`.
    pub(crate) fn field(&self, path: &str, key: &str) -> Option<String> {
        field(&self.text(path)?, key)
    }

    /// The names in a folder, sorted; none if it is not there.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        names(&self.path(path))
    }
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The value of the first line `key : value` with this key.
pub(crate) fn field(text: &str, key: &str) -> Option<String> {
    let value = |line: &str| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    text.lines().find_map(value).filter(|value| !value.is_empty())
}

/// The choice that is set in text such as `always [madvise] never`.
pub(crate) fn chosen(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(choice, _)| choice)
}

#[cfg(test)]
mod tests {
    use super::{Files, chosen, field};

    #[test]
    fn fields_and_choices_are_found() {
        let text = "model name\t: Some  CPU\nflags :\nSeccomp:\t2\n";
        assert_eq!(field(text, "model name").as_deref(), Some("Some CPU"));
        assert_eq!(field(text, "Seccomp").as_deref(), Some("2"));
        assert_eq!((field(text, "flags"), field(text, "model")), (None, None));
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen("always madvise"), None);
    }

    #[test]
    fn what_is_not_there_is_none() {
        let files = Files::below("/nowhere/at/all");
        assert_eq!(files.text("proc/cpuinfo"), None);
        assert_eq!(files.number("proc/cpuinfo"), None);
        assert_eq!(files.names("proc"), Vec::<String>::new());
    }
}
