//! The order of the modules of every crate with several: each names those below it, and no other,
//! so that the graph has no cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::none;
use super::source::{Source, closing, line, sources, words};

/// A crate's modules from the lowest to the highest; what lies inside one of them counts as it. A `*`
/// stands for all others of a folder, none of which names another. The root of the crate is above
/// them all.
struct Order {
    /// The folder of the crate's root.
    folder: &'static str,
    modules: &'static [&'static str],
}

const ORDERS: &[Order] = &[
    Order {
        folder: "loadgen/src/",
        modules: &[
            "base::clock",
            "base::failure",
            "base::units",
            "base::format",
            "base::histogram",
            "base::files",
            "base::build",
            "base::thread_cpu",
            "base::output",
            "spec::arrivals",
            "spec::lifetime",
            "spec::shape",
            "spec::goal",
            "spec::rate",
            "spec::options",
            "plan::source",
            "plan::target",
            "plan::tls",
            "plan::workload",
            "plan::limits",
            "plan",
            "run::payload",
            "run::delivery",
            "run::stats",
            "run::control",
            "run::seconds",
            "run::dialler",
            "run::context",
            "run::worker",
            "run::memory",
            "run::cost",
            "run::floor",
            "run::outcome",
            "run::job",
            "run::scenario::echo",
            "run::scenario::storm",
            "run::scenario::*",
            "run::scenario",
            "run::progress",
            "run::preflight",
            "run::runner",
            "result::identity",
            "result::environment",
            "result::goals",
            "result::verdict",
            "result::search",
            "result::document",
            "present::metric",
            "present::arguments",
            "present::hgrm",
            "present::hlog",
            "present::csv",
            "present::trace",
            "present::summary",
            "present::results",
            "present::report",
            "present::compare",
            "present::merge",
            "cli::variables",
            "cli::arguments",
            "cli::words",
            "calibrate",
        ],
    },
    Order {
        folder: "benches/src/bin/bare/",
        modules: &["place", "upgrade", "ring", "epoll", "drive", "storm"],
    },
    Order { folder: "benches/src/bin/guest/", modules: &["counts", "machine", "plan", "runner"] },
    Order { folder: "benches/src/", modules: &["operations"] },
    Order { folder: "benches/peers/common/src/", modules: &["announce", "rooms", "runtime"] },
];

/// The crates whose modules are checked elsewhere, or that are not ours to order.
const OTHERS: &[&str] = &["engine/"];

impl Order {
    /// The rank of the module that this path lies in, with the module's name.
    fn rank(&self, path: &[String]) -> Option<(usize, String)> {
        let place = |(rank, module): (usize, &&str)| {
            let parts: Vec<_> = module.split("::").collect();
            let own = path.get(..parts.len())?;
            let is_in = parts.iter().zip(own).all(|(part, own)| *part == "*" || part == own);
            is_in.then(|| (parts.len(), *module != own.join("::"), rank, own.join("::")))
        };
        let places = self.modules.iter().enumerate().filter_map(place);
        // The innermost one, and its own name before a `*`.
        let best = places.max_by_key(|(depth, any, ..)| (*depth, !any));
        best.map(|(_, _, rank, name)| (rank, name))
    }

    /// Whether a module may name another.
    fn may_name(&self, module: &[String], path: &[String]) -> bool {
        match (self.rank(module), self.rank(path)) {
            (Some((from, own)), Some((to, other))) => to < from || own == other,
            (from, to) => from.is_none() && to.is_some(),
        }
    }

    /// The modules above this file's own and its name, where it belongs to the crate.
    fn module(&self, source: &Source) -> Option<Vec<String>> {
        let inner = source.path.strip_prefix(self.folder)?.strip_suffix(".rs")?;
        let mut module: Vec<_> = inner.split('/').map(str::to_owned).collect();
        module.pop_if(|last| matches!(last.as_str(), "mod" | "lib" | "main"));
        // Each program is a crate of its own.
        (module.first().is_none_or(|first| first != "bin")).then_some(module)
    }

    /// What a file names that stands above it.
    fn upward(&self, module: &[String], source: &Source) -> Vec<String> {
        let mut findings = Vec::new();
        for (at, path) in named(source, module) {
            // Tests of a layer may stand on those above it.
            if source.is_test() || self.may_name(module, &path) {
                continue;
            }
            let (line, path) = (line(&source.code, at), path.join("::"));
            findings.push(format!("{}:{line}: it names `{path}`", source.path));
        }
        findings
    }
}

/// Where a file's own tests stand, if it has some.
fn tests(code: &str) -> Option<Range<usize>> {
    words(code, "mod tests").find_map(|at| {
        let open = at + code[at..].find(['{', ';'])?;
        code[open..].starts_with('{').then(|| open..closing(code, open))
    })
}

/// The paths below the crate's root that a file names, with where each stands.
fn named(source: &Source, module: &[String]) -> Vec<(usize, Vec<String>)> {
    let code = &source.code;
    let tests = tests(code);
    let mut found = Vec::new();
    for (root, starts_at_root) in [("crate::", true), ("super::", false)] {
        for (at, _) in code.match_indices(root) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:$".contains(c)) {
                continue;
            }
            let mut rest = &code[at + root.len()..];
            let mut base = module.to_vec();
            if starts_at_root {
                base.clear();
            } else if !tests.as_ref().is_some_and(|tests| tests.contains(&at)) {
                base.pop();
            }
            while let Some(upper) = rest.strip_prefix("super::") {
                rest = upper;
                base.pop();
            }
            found.extend(members(rest).into_iter().map(|path| (at, [&base[..], &path].concat())));
        }
    }
    found
}

/// The paths that `text` begins with: one, or those of a group in braces.
fn members(text: &str) -> Vec<Vec<String>> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
    let (head, rest) = text.split_at(end.unwrap_or(text.len()));
    let head: Vec<_> =
        head.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
    if !rest.starts_with('{')
        || !text[..text.len() - rest.len()].ends_with("::") && !head.is_empty()
    {
        return vec![head];
    }
    let inner = &rest[1..closing(rest, 0)];
    let (mut depth, mut start, mut paths) = (0, 0, Vec::new());
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let member = inner[start..at].trim();
                start = at + 1;
                match member {
                    "" => {}
                    "self" => paths.push(head.clone()),
                    _ => {
                        paths.extend(members(member).iter().map(|path| [&head[..], path].concat()))
                    }
                }
            }
            _ => {}
        }
    }
    paths
}

#[test]
fn modules_name_those_below_them_only() {
    let mut findings = Vec::new();
    let mut seen = 0;
    for source in sources() {
        let Some((order, module)) =
            ORDERS.iter().find_map(|order| Some((order, order.module(&source)?)))
        else {
            continue;
        };
        if module.is_empty() {
            continue;
        }
        seen += 1;
        let declares_only = !source.code.contains('{');
        if order.rank(&module).is_none() && !declares_only {
            findings.push(format!("{}: it has no place in ORDERS of this test", source.path));
        } else {
            findings.extend(order.upward(&module, &source));
        }
    }
    assert!(seen > 80, "only {seen} files found");
    none(&findings, "modules that name one above them");
}

/// The modules of files that lie in a circle of names: the first of each such path comes back to
/// itself. Tests may close one.
fn circles(names: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let reached = |from: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(next) = open.pop() {
            for to in names.get(next).into_iter().flatten() {
                if seen.insert(to.as_str()) {
                    open.push(to);
                }
            }
        }
        seen
    };
    names.keys().filter(|module| reached(module).contains(module.as_str())).cloned().collect()
}

#[test]
fn files_name_each_other_in_no_circle() {
    let all = sources();
    let mut findings = Vec::new();
    for order in ORDERS {
        let files = all.iter().filter(|source| !source.is_test());
        let files = files.filter_map(|source| Some((order.module(source)?, source)));
        let files: BTreeMap<Vec<String>, &Source> = files.collect();
        let mut names = BTreeMap::<String, BTreeSet<String>>::new();
        for (module, source) in files.iter().filter(|(module, _)| !module.is_empty()) {
            let tests = tests(&source.code).unwrap_or(source.code.len()..source.code.len());
            // A module's own children are named without a root.
            let children =
                files.keys().filter(|file| file.split_last().map(|(_, up)| up) == Some(module));
            let local = children.flat_map(|child| {
                let name = child.last().map_or("", String::as_str);
                let used = words(&source.code, name).filter(|at| {
                    let (before, behind) = source.code.split_at(*at);
                    behind[name.len()..].starts_with("::") && !before.ends_with("::")
                });
                used.map(|at| (at, child.clone()))
            });
            for (at, path) in named(source, module).into_iter().chain(local) {
                // What is named lies in the file of the longest path in front of it.
                let file = (1..=path.len()).rev().find(|&depth| files.contains_key(&path[..depth]));
                let Some(file) = file.map(|depth| &path[..depth]) else { continue };
                if !tests.contains(&at) && file != &module[..] {
                    names.entry(module.join("::")).or_default().insert(file.join("::"));
                }
            }
        }
        findings.extend(circles(&names).iter().map(|module| format!("{}{module}", order.folder)));
    }
    none(&findings, "files that name each other");
}

#[test]
fn a_circle_is_found() {
    let names = |pairs: &[(&str, &str)]| {
        let mut names = BTreeMap::<String, BTreeSet<String>>::new();
        for (from, to) in pairs {
            names.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        circles(&names)
    };
    assert_eq!(names(&[("a", "b"), ("b", "c"), ("a", "c")]), Vec::<String>::new());
    assert_eq!(names(&[("a", "b"), ("b", "c"), ("c", "b")]), ["b", "c"]);
}

#[test]
fn every_crate_of_several_files_has_an_order() {
    let all = sources();
    let mut findings = Vec::new();
    for source in &all {
        let known = OTHERS.iter().any(|folder| source.path.starts_with(folder))
            || ORDERS.iter().any(|order| order.module(source).is_some());
        let submodule = source.path.contains("/src/")
            && !["/main.rs", "/lib.rs"].iter().any(|root| source.path.ends_with(root))
            && !source.path.contains("/src/bin/");
        if submodule && !known {
            findings.push(source.path.clone());
        }
    }
    none(&findings, "files of a crate that has no order");
}

#[test]
fn names_are_told_up_from_down() {
    let order =
        Order { folder: "x/src/", modules: &["low", "high::a", "high::b", "high::*", "high"] };
    let source = |path: &str, code: &str| Source {
        path: path.to_owned(),
        text: code.to_owned(),
        code: code.to_owned(),
    };
    let upward = |path: &str, code: &str| {
        let source = source(path, code);
        let module = order.module(&source).expect("of the crate");
        order.upward(&module, &source).len()
    };
    assert_eq!(upward("x/src/high/a.rs", "use crate::low::{X, y::Z}; use super::a::T;"), 0);
    assert_eq!(upward("x/src/high/a.rs", "use crate::high::{a, b::{C, D}};"), 2);
    assert_eq!(upward("x/src/high/a.rs", "use super::b;"), 1);
    assert_eq!(upward("x/src/high/a.rs", "use super::Parent;"), 1, "the folder is above its files");
    assert_eq!(upward("x/src/high/a.rs", "mod tests { use super::Own; }"), 0);
    assert_eq!(upward("x/src/high/a.rs", "mod tests { use super::super::b::C; }"), 1);
    assert_eq!(upward("x/src/high/c.rs", "use crate::high::{b::B, c::C}; use super::b;"), 0);
    assert_eq!(upward("x/src/high/c.rs", "use super::d::D;"), 1, "neither is above the other");
    assert_eq!(upward("x/src/high/mod.rs", "use crate::high::c::C;"), 0);
    assert_eq!(upward("x/src/high/mod.rs", "use crate::high::b::{self, C}; use a::D;"), 0);
    assert_eq!(upward("x/src/low.rs", "use crate::{low::X, high::Y};"), 1);
    assert_eq!(upward("x/src/low.rs", "crate::OfTheRoot::new()"), 1);
    assert_eq!(upward("x/src/low/tests.rs", "use crate::high::Y;"), 0, "tests stand on anything");
    for order in ORDERS {
        for (rank, module) in order.modules.iter().enumerate() {
            assert!(!order.modules[..rank].contains(module), "{module} has one place");
        }
    }
}
