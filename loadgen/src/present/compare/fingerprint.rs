//! What two sets of runs have in common besides what is compared: machine, settings, workload.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::result::document::Run;

/// A fact that is not the same in all runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) name: String,
    /// The values that occur on each side.
    pub(crate) base: Vec<String>,
    pub(crate) new: Vec<String>,
    pub(crate) standing: Standing,
}

/// What a difference means for the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// This is what people compare: kernels, programs.
    Compared,
    /// The difference was allowed by name.
    Allowed,
    /// The difference makes the sides unequal.
    Refused,
}

impl Standing {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Compared => "compared",
            Self::Allowed => "allowed",
            Self::Refused => "refused",
        }
    }
}

/// What changes from run to run on the same machine with the same load.
const VOLATILE: [&str; 14] = [
    "machine.load_before",
    "machine.load_after",
    "machine.busy_share",
    "machine.stolen_share",
    "machine.memory_available_bytes",
    "machine.swap_used_bytes",
    "workload.url",
    "workload.address",
    "workload.origin",
    "workload.server_pid",
    "workload.first_source",
    "tool.cargo_lock_sha1",
    "tool.uncommitted_changes",
    "tool.rustc",
];
/// What comparisons are made for.
const COMPARED: [&str; 5] =
    ["kernel", "io_uring", "tool.commit", "tool.version", "measured.commit"];

/// The differences between and within the sides, by name.
pub(crate) fn differences(base: &[Run], new: &[Run], allowed: &[String]) -> Vec<Difference> {
    let (base, new) = (values(base), values(new));
    let names: BTreeSet<&String> = base.keys().chain(new.keys()).collect();
    let none = BTreeSet::new();
    let one = |name: &String| {
        let (base, new) = (base.get(name).unwrap_or(&none), new.get(name).unwrap_or(&none));
        let bad = |values: &BTreeSet<String>| is_flaw(name) && values.contains("true");
        let same = base.len() == 1 && base == new;
        (!same || bad(base)).then(|| Difference {
            name: name.clone(),
            base: base.iter().cloned().collect(),
            new: new.iter().cloned().collect(),
            standing: standing(name, allowed),
        })
    };
    names.into_iter().filter_map(one).collect()
}

/// The names of what the environments of runs have not in common.
pub(crate) fn unlike(runs: &[Run]) -> Vec<String> {
    let Some((first, rest)) = runs.split_first() else { return Vec::new() };
    let is_environment = |name: &str| {
        let group = name.split('.').next().unwrap_or(name);
        first.document["environment"].get(group).is_some()
    };
    differences(std::slice::from_ref(first), rest, &[])
        .into_iter()
        .map(|difference| difference.name)
        .filter(|name| is_environment(name))
        .collect()
}

fn standing(name: &str, allowed: &[String]) -> Standing {
    if allowed.iter().any(|allowed| covers(allowed, name)) {
        Standing::Allowed
    } else if COMPARED.iter().any(|compared| covers(compared, name)) {
        Standing::Compared
    } else {
        Standing::Refused
    }
}

/// Whether `group` names this fact, or a group that it is in.
fn covers(group: &str, name: &str) -> bool {
    let group = group.strip_suffix(".*").unwrap_or(group);
    name.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether any of the runs has a fact of this name.
pub(crate) fn is_known(runs: &[&[Run]], name: &str) -> bool {
    runs.iter().any(|runs| values(runs).keys().any(|key| covers(name, key)))
}

/// Facts that must not be true of a run, whether or not they differ.
fn is_flaw(name: &str) -> bool {
    matches!(name, "outcome.void" | "outcome.interrupted")
}

/// Each fact of the runs, with the values that it has in them.
fn values(runs: &[Run]) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::<String, BTreeSet<String>>::new();
    for run in runs {
        let mut note = |name: String, value: &Value| {
            if !VOLATILE.contains(&name.as_str()) {
                all.entry(name).or_default().insert(show(value));
            }
        };
        for group in run.value("environment").as_object().into_iter().flatten() {
            flatten(group.0, group.1, &mut note);
        }
        flatten("workload", run.value("workload"), &mut note);
        flatten("tool", run.value("identity.tool"), &mut note);
        note("measured.commit".to_owned(), run.value("identity.measured_commit"));
        for flaw in ["void", "interrupted"] {
            note(format!("outcome.{flaw}"), &run.document["outcome"][flaw]);
        }
    }
    all
}

fn flatten(name: &str, value: &Value, note: &mut impl FnMut(String, &Value)) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                flatten(&format!("{name}.{key}"), value, note);
            }
        }
        _ => note(name.to_owned(), value),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "not known".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Standing, covers, differences};
    use crate::result::document::sample::run;
    use serde_json::json;

    #[test]
    fn groups_cover_their_facts() {
        assert!(covers("cpu", "cpu.governor") && covers("cpu.*", "cpu.governor"));
        assert!(covers("cpu.governor", "cpu.governor"));
        assert!(!covers("cpu", "cpus.x") && !covers("cpu.gov", "cpu.governor"));
    }

    #[test]
    fn what_differs_is_told_with_what_it_means() {
        let mut other = run("b", 1.0);
        other.document["environment"]["cpu"]["governor"] = json!("powersave");
        other.document["environment"]["kernel"]["release"] = json!("6.12");
        other.document["environment"]["machine"]["load_before"] = json!(7.5);
        other.document["workload"]["connections"] = json!(11);
        let found = |allowed: &[&str]| {
            let allowed: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
            differences(&[run("a", 1.0)], std::slice::from_ref(&other), &allowed)
                .into_iter()
                .map(|difference| (difference.name, difference.standing))
                .collect::<Vec<_>>()
        };
        let expected = |cpu| {
            vec![
                ("cpu.governor".to_owned(), cpu),
                ("kernel.release".to_owned(), Standing::Compared),
                ("workload.connections".to_owned(), Standing::Refused),
            ]
        };
        assert_eq!(found(&[]), expected(Standing::Refused));
        assert_eq!(found(&["cpu.governor"]), expected(Standing::Allowed));
    }

    #[test]
    fn a_run_without_a_result_is_a_flaw_on_both_sides() {
        let mut void = run("a", 1.0);
        void.document["outcome"]["void"] = json!(true);
        let found = differences(&[void.clone()], &[void], &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].name.as_str(), found[0].standing),
            ("outcome.void", Standing::Refused)
        );
    }
}
