//! The kernel: which one, how it was built, and how it was started.

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use crate::base::files::{Files, chosen};

pub(super) fn value(files: &Files) -> Value {
    let release = files.line("proc/sys/kernel/osrelease");
    let config = config(files, release.as_deref());
    let set = |key: &str| config.as_deref().and_then(|config| setting(config, key));
    json!({
        "release": release,
        "version": files.line("proc/sys/kernel/version"),
        "build_id": files.bytes("sys/kernel/notes").and_then(|notes| build_id(&notes)),
        "architecture": std::env::consts::ARCH,
        "command_line": files.line("proc/cmdline").map(|text| what_matters(&text)),
        "preemption": preemption(files, config.as_deref()),
        "timer_hz": set("CONFIG_HZ").and_then(|hz| hz.parse::<u64>().ok()),
        "config_sha1": config.as_deref().map(sha1),
        "security_modules": files.line("sys/kernel/security/lsm"),
        "tainted": files.number("proc/sys/kernel/tainted"),
    })
}

/// What the linker has named this very build, among the notes (ELF, "Note Section") of the kernel: words
/// for the lengths of name and description and for the type, then both, each filled up to whole words.
fn build_id(mut notes: &[u8]) -> Option<String> {
    const GNU_BUILD_ID: u32 = 3;
    while let Some((head, rest)) = notes.split_at_checked(12) {
        let word = |at| head.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let (name_length, length, kind) = (word(0)?, word(4)?, word(8)?);
        let whole = |length: u32| usize::try_from(length.checked_next_multiple_of(4)?).ok();
        let (name, rest) = rest.split_at_checked(whole(name_length)?)?;
        let (description, rest) = rest.split_at_checked(whole(length)?)?;
        if kind == GNU_BUILD_ID && name == b"GNU\0" {
            let bytes = description.get(..usize::try_from(length).ok()?)?;
            return Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        notes = rest;
    }
    None
}

/// Parameters that change speed; the others are nobody's business.
const MATTER: [&str; 21] = [
    "mitigations",
    "isolcpus",
    "nohz",
    "nohz_full",
    "rcu_nocbs",
    "idle",
    "preempt",
    "intel_idle",
    "processor",
    "transparent_hugepage",
    "hugepages",
    "hugepagesz",
    "threadirqs",
    "skew_tick",
    "tsc",
    "clocksource",
    "psi",
    "cpuidle",
    "cpuidle_haltpoll",
    "haltpoll",
    "nosmt",
];

fn what_matters(text: &str) -> String {
    let matters = |word: &&str| {
        let name = word.split(['=', '.']).next().unwrap_or_default();
        MATTER.contains(&name)
    };
    // What follows is for the first process, not for the kernel.
    let words = text.split(' ').take_while(|word| *word != "--");
    words.filter(matters).collect::<Vec<_>>().join(" ")
}

/// The configuration that the running kernel was built with, where it is kept.
pub(crate) fn whole_config(files: &Files) -> Option<String> {
    config(files, files.line("proc/sys/kernel/osrelease").as_deref())
}

/// The configuration that it was built with, where it is kept.
fn config(files: &Files, release: Option<&str>) -> Option<String> {
    /// Most bytes that a configuration may unpack to; those of kernels have a tenth of it.
    const LONGEST: u64 = 8 << 20;
    if let Some(packed) = files.bytes("proc/config.gz") {
        let mut text = String::new();
        let read = GzDecoder::new(packed.as_slice()).take(LONGEST).read_to_string(&mut text);
        return read.ok().map(|_| text);
    }
    let release = release.filter(|release| !release.contains('/'))?;
    files.text(&format!("boot/config-{release}"))
}

fn setting<'a>(config: &'a str, key: &str) -> Option<&'a str> {
    config.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

fn preemption(files: &Files, config: Option<&str>) -> Option<String> {
    if let Some(text) = files.line("sys/kernel/debug/sched/preempt") {
        // `none voluntary (full) lazy`
        let text = text.replace('(', "[").replace(')', "]");
        return chosen(&text).map(ToOwned::to_owned);
    }
    let config = config?;
    let models = [
        ("CONFIG_PREEMPT_RT", "real time"),
        ("CONFIG_PREEMPT_LAZY", "lazy"),
        ("CONFIG_PREEMPT_VOLUNTARY", "voluntary"),
        ("CONFIG_PREEMPT_NONE", "none"),
        ("CONFIG_PREEMPT", "full"),
    ];
    let model = models.into_iter().find(|(key, _)| setting(config, key) == Some("y"))?.1;
    let dynamic = setting(config, "CONFIG_PREEMPT_DYNAMIC") == Some("y");
    Some(if dynamic { format!("{model} (dynamic)") } else { model.to_owned() })
}

fn sha1(text: &str) -> String {
    Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{build_id, setting, what_matters};

    #[test]
    fn the_command_line_keeps_what_changes_speed() {
        let text = "console=ttyS0 mitigations=off haltpoll.guest=0 root=/dev/vda -- psi=1 secret";
        assert_eq!(what_matters(text), "mitigations=off haltpoll.guest=0");
    }

    #[test]
    fn settings_are_whole_names() {
        let config = "CONFIG_HZ_250=y\nCONFIG_HZ=250\n# CONFIG_X is not set\n";
        assert_eq!(setting(config, "CONFIG_HZ"), Some("250"));
        assert_eq!(setting(config, "CONFIG_X"), None);
    }
    #[test]
    fn the_build_id_is_found_among_other_notes() {
        let note = |name: &[u8], kind: u32, description: &[u8]| {
            let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("short").to_ne_bytes();
            let whole = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                bytes
            };
            let head = [length(name), length(description), kind.to_ne_bytes()].concat();
            [head, whole(name), whole(description)].concat()
        };
        let other = note(b"Linux\0", 6, b"12345");
        let notes = [other.clone(), note(b"GNU\0", 3, &[0xab, 1]), other.clone()].concat();
        assert_eq!(build_id(&notes).as_deref(), Some("ab01"));
        assert_eq!(build_id(&other), None);
        for end in 0..notes.len() {
            build_id(&notes[..end]);
        }
        assert_eq!(build_id(&[0xff; 64]), None);
    }
}
