//! What no linter sees: budgets, where `unsafe` lives, which layer may know which, leftovers; and
//! the table that says which test holds which rule of the protocol.

#![expect(clippy::duplicate_mod, reason = "a client's cases are a server's with other frames")]

#[expect(dead_code, reason = "the cases are listed here and run elsewhere")]
#[path = "../rfc6455_clients/cases.rs"]
mod client_cases;
#[expect(dead_code, reason = "the cases are listed here and run elsewhere")]
#[path = "../rfc6455/codec.rs"]
mod codec;
mod conformance;
mod layers;
mod pages;
mod source;
#[path = "../rfc6455/table.rs"]
mod table;

use std::os::unix::fs::PermissionsExt;

use source::{Source, body_ranges, closing, line, sources, walk, words, workspace};

/// Lines of a file without its tests.
const FILE_MAX: usize = 600;
/// Lines of a file with its tests, and of a file of tests.
const FILE_WITH_TESTS_MAX: usize = 900;
/// Lines of a function's body, without blank lines and comments.
const FUNCTION_MAX: usize = 70;

/// The modules of the engine from the lowest to the highest. A module may name those below it.
const LAYERS: &[&str] = &[
    "sys",
    "fault",
    "memory",
    "wire",
    "handshake",
    "conn",
    "drivers",
    "error",
    "credentials",
    "config",
    "outcome",
    "metrics",
    "hub",
    "shard",
    "tls",
    "driver",
    "handler",
    "client",
    "server",
    "bench",
    "sim",
    "bin",
];

/// What of `sys` is plain data: names, numbers and traits, which every layer may know.
const SYS_DATA: &[&str] = &["batch", "counters", "features", "id", "lease", "look"];

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|name| *name == module)
}

/// Whether the module `from` may name `to`, and the module `inner` inside it.
fn may_know(from: &str, to: &str, inner: &str) -> bool {
    if from == to {
        return true;
    }
    // Kernel objects are for the loops and those above them; the handshake has the scanner's wider
    // builds, the wire those of masking, the hub what wakes a shard from another thread.
    let object = to == "sys" && rank(from) < rank("driver") && !SYS_DATA.contains(&inner);
    let lent = match from {
        "handshake" | "wire" => inner == "simd",
        "hub" => inner == "waker",
        _ => false,
    };
    rank(to) < rank(from) && (!object || lent)
}

/// Fails with one line per finding.
fn none(findings: &[String], what: &str) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}

#[test]
fn files_are_within_their_budget() {
    let mut findings = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > FILE_WITH_TESTS_MAX {
            findings.push(format!("{}: {lines} lines, {FILE_WITH_TESTS_MAX} at most", source.path));
        }
        let own = lines - test_lines(&source);
        if own > FILE_MAX && !source.is_test() {
            findings.push(format!("{}: {own} lines, {FILE_MAX} at most", source.path));
        }
    }
    none(&findings, "files that are too long");
}

/// The lines of the modules called `tests` in a file.
fn test_lines(source: &Source) -> usize {
    words(&source.code, "mod tests")
        .filter_map(|at| {
            let open = at + source.code[at..].find(['{', ';'])?;
            let length = source.code[at..=closing(&source.code, open)].lines().count();
            source.code[open..].starts_with('{').then_some(length)
        })
        .sum()
}

#[test]
fn functions_are_within_their_budget() {
    let mut findings = Vec::new();
    let mut seen = 0;
    for source in sources() {
        for body in body_ranges(&source.code) {
            seen += 1;
            let inner = &source.code[body.range.start + 1..body.range.end];
            let lines = inner.lines().filter(|line| !line.trim().is_empty()).count();
            if lines > FUNCTION_MAX {
                findings.push(format!("{}: `{}` has {lines} lines", source.path, body.name));
            }
        }
    }
    assert!(seen > 20, "only {seen} functions found");
    none(&findings, &format!("functions above {FUNCTION_MAX} lines"));
}

#[test]
fn unsafe_code_lives_in_sys_only() {
    let mut findings = Vec::new();
    for source in sources() {
        // An allocator that counts can only be written with it.
        let counting = source.path == "engine/tests/allocations/counting.rs";
        let sys = source.path.starts_with("engine/src/sys/") || counting;
        if let Some(at) = words(&source.code, "unsafe").next().filter(|_| !sys) {
            findings.push(format!("{}:{}", source.path, line(&source.code, at)));
        }
    }
    none(&findings, "`unsafe` outside engine/src/sys");
}

#[test]
fn imports_point_down_the_layers() {
    let mut findings = Vec::new();
    let mut seen = 0;
    for source in sources() {
        let Some(module) = source.module() else { continue };
        let Some(&from) = module.first() else { continue };
        if rank(from).is_none() {
            findings.push(format!("{}: `{from}` has no place in LAYERS of this test", source.path));
        }
        for (at, path) in crate_paths(&source, module.len()) {
            seen += 1;
            let to = path[0].as_str();
            let inner = path.get(1).map_or("", String::as_str);
            // Tests of a layer may stand on those above it, but for those of the lowest.
            let above = source.is_test() && from != "sys";
            if rank(to).is_some() && !may_know(from, to, inner) && !above {
                let line = line(&source.code, at);
                findings.push(format!(
                    "{}:{line}: `{from}` names `{}`",
                    source.path,
                    path.join("::")
                ));
            }
        }
    }
    assert!(seen > 3, "only {seen} imports found");
    none(&findings, "names of a higher layer");
}

/// The paths from the crate's root that a file names, each as its first two parts, with where it
/// stands. `depth` is how many modules the file is below the root.
fn crate_paths(source: &Source, depth: usize) -> Vec<(usize, Vec<String>)> {
    let code = &source.code;
    let roots = ["crate::".to_owned(), "super::".repeat(depth)];
    let mut found = Vec::new();
    for root in roots.iter().filter(|root| !root.is_empty()) {
        for (at, _) in code.match_indices(root.as_str()) {
            let whole = !code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
            let rest = &code[at + root.len()..];
            if !whole || rest.starts_with("super::") {
                continue;
            }
            match rest.strip_prefix('{') {
                None => found.push((at, path(rest))),
                Some(_) => found.extend(members(rest).into_iter().map(|member| (at, path(member)))),
            }
        }
    }
    found
}

/// The members of the group in braces that `rest` begins with, nested groups left as they are.
fn members(rest: &str) -> Vec<&str> {
    let inner = &rest[1..closing(rest, 0)];
    let mut depth = 0;
    let parts = inner.split(move |c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// The first two parts of a path.
fn path(text: &str) -> Vec<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
    let parts = text[..end.unwrap_or(text.len())].split("::");
    parts.take(2).map(str::to_owned).collect()
}

#[test]
fn layers_tell_up_from_down() {
    assert!(may_know("conn", "wire", "") && !may_know("wire", "conn", ""));
    assert!(may_know("shard", "hub", "") && !may_know("conn", "hub", ""));
    assert!(may_know("driver", "sys", "ring") && !may_know("shard", "sys", "ring"));
    assert!(may_know("handshake", "sys", "simd") && !may_know("conn", "sys", "simd"));
    assert!(!may_know("handshake", "sys", "ring") && !may_know("handshake", "sys", ""));
    assert!(may_know("conn", "sys", "batch") && may_know("hub", "sys", "waker"));
    for layer in &LAYERS[1..] {
        assert!(!may_know("sys", layer, ""), "{layer}");
    }
    for (rank, layer) in LAYERS.iter().enumerate() {
        assert!(!LAYERS[..rank].contains(layer), "{layer} has one place");
    }
    let text = "use crate::{wire::{A, B}, sys::ring::X}; use super::super::conn; crate::shard::f()";
    let source = Source {
        path: "engine/src/wire/deep.rs".to_owned(),
        text: text.to_owned(),
        code: text.to_owned(),
    };
    let found: Vec<_> = crate_paths(&source, 2).into_iter().map(|(_, path)| path).collect();
    let expected = [&["wire", ""][..], &["sys", "ring"], &["shard", "f"], &["conn"]];
    assert_eq!(found, expected);
}

#[test]
fn protocol_errors_cite_their_section() {
    let all = sources();
    let source = all.iter().find(|source| source.path == "engine/src/wire/error.rs");
    let text = &source.expect("the file of ProtocolError").text;
    let body = text.split_once("pub enum ProtocolError {").expect("the enum").1;
    let body = body.split_once("\n}").expect("its end").0;
    let mut docs = String::new();
    let mut findings = Vec::new();
    let mut seen = 0;
    for line in body.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            docs.push_str(doc);
        } else if line.starts_with(char::is_uppercase) {
            seen += 1;
            // A rule of the draft is named by its id, too.
            let draft = docs.contains("draft-02 §") && !conformance::ids(&docs).is_empty();
            if !draft && !docs.contains("(RFC ") {
                findings.push(line.to_owned());
            }
            docs.clear();
        }
    }
    assert_eq!(seen, ringbolt::wire::ProtocolError::ALL.len(), "variants read and variants there");
    none(&findings, "variants whose docs name no section or no rule");
}

#[test]
fn nothing_is_left_over() {
    let marks = [concat!("FIX", "ME"), concat!("XX", "X"), concat!("TO", "DO")];
    let macros = [concat!("to", "do!"), concat!("unimpl", "emented!"), concat!("db", "g!")];
    let mut findings = Vec::new();
    for source in sources() {
        for (number, (text, code)) in source.text.lines().zip(source.code.lines()).enumerate() {
            let marked = marks.iter().any(|mark| words(text, mark).next().is_some());
            let unfinished = macros.iter().any(|name| code.contains(name));
            let ignored = code.contains("#[ignore");
            let silenced = code.contains("#[allow(") || code.contains("#![allow(");
            if marked || unfinished || ignored || silenced {
                findings.push(format!("{}:{}: {}", source.path, number + 1, text.trim()));
            }
        }
    }
    none(&findings, "leftovers");
}

/// Bytes that all results together may have in git.
const RESULTS_MAX: usize = 3 << 20;

#[test]
fn results_are_what_people_read() {
    if !workspace().join(".git").exists() {
        // Sources from an archive: nothing is kept or left out there.
        return;
    }
    let listed = std::process::Command::new("git")
        .args(["ls-files", "-z", "results"])
        .current_dir(workspace())
        .output()
        .expect("git is there: it is how the sources came");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("file names are text");
    let names: Vec<_> = names.split('\0').filter(|name| !name.is_empty()).collect();
    let sizes = names.iter().filter_map(|name| workspace().join(name).metadata().ok());
    let bytes = sizes.map(|file| usize::try_from(file.len()).expect("a size")).sum::<usize>();
    assert!(bytes <= RESULTS_MAX, "results/ holds {bytes} bytes, {RESULTS_MAX} at most");
    let windows = names.iter().filter(|name| name.contains("/runs/") || name.contains("/logs/"));
    let windows: Vec<_> = windows.map(ToString::to_string).collect();
    none(&windows, "documents and logs of single windows");
}

#[test]
fn every_file_is_part_of_a_crate() {
    let all = sources();
    let mut findings = Vec::new();
    for source in all.iter().filter(|source| !is_crate_root(&source.path)) {
        let (folder, file) = source.path.rsplit_once('/').expect("a folder");
        // `a/b/mod.rs` is named by the owner of `a`, `a/b.rs` by the owner of `a` too.
        let (folder, name) = match file {
            "mod.rs" => folder.rsplit_once('/').expect("a folder"),
            _ => (folder, file.trim_end_matches(".rs")),
        };
        let declares = |other: &&Source| {
            let by_module = owns(&other.path, folder)
                && words(&other.code, "mod").any(|at| {
                    let rest = other.code[at + 3..].trim_start();
                    rest.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(';'))
                });
            let by_path = other.text.contains(&format!("/{file}\""));
            other.path != source.path && (by_module || by_path)
        };
        if all.iter().find(declares).is_none() {
            findings.push(source.path.clone());
        }
    }
    none(&findings, "files that no module names");
}

/// Whether a file is a crate of its own, by cargo's conventions.
fn is_crate_root(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    match parts[..] {
        [_, "build.rs"] | [.., "src", "lib.rs" | "main.rs"] => true,
        [.., "src", "bin", _] | [.., "src", "bin", _, "main.rs"] => true,
        [_, "tests" | "benches" | "examples", ref inner @ ..] => {
            inner.len() == 1 || inner.len() == 2 && inner[1] == "main.rs"
        }
        ["engine", "fuzz", "fuzz_targets", _] | ["benches", "micro", _] => true,
        _ => false,
    }
}

/// Whether the file at `path` may declare the modules that lie in `folder`.
fn owns(path: &str, folder: &str) -> bool {
    let (own, file) = path.rsplit_once('/').expect("a folder");
    let root = is_crate_root(path) || file == "mod.rs";
    if root { own == folder } else { path.trim_end_matches(".rs") == folder }
}

#[test]
fn scripts_can_be_run() {
    let root = workspace();
    let mut files = Vec::new();
    for folder in ["scripts", ".ci", "engine/tests/interop"] {
        walk(&root.join(folder), &mut files);
    }
    let mut findings = Vec::new();
    let mut seen = 0;
    for path in files {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if !text.starts_with("#!") {
            continue;
        }
        seen += 1;
        let mode = path.metadata().expect("metadata").permissions().mode();
        if mode & 0o111 != 0o111 {
            findings.push(format!("{}: mode {mode:o}", path.display()));
        }
        let shell = text.lines().next().is_some_and(|first| first.contains("bash"));
        if shell && !text.contains("set -euo pipefail") {
            findings.push(format!("{}: goes on after an error", path.display()));
        }
    }
    assert!(seen > 0, "no script found");
    none(&findings, "scripts that cannot be run as they are");
}
