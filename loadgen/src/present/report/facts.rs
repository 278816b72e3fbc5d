//! What was run, by which program, where: what the runs share, and before it what they do not.

use std::collections::BTreeMap;

use serde_json::Value;

use super::figures::Named;
use super::html::{Cell, table};
use crate::base::format;

/// Facts of a run by group and name; what is not known is left out.
type Facts = BTreeMap<(usize, String), String>;

/// The groups of facts, in the order of interest; others follow under `OTHER`.
const GROUPS: [&str; 9] = [
    "workload",
    "identity",
    "kernel",
    "io_uring",
    "cpu",
    "machine",
    "network",
    "limits",
    "placement",
];
const OTHER: &str = "other";

/// The tables of differences and of common facts.
pub(super) fn tables(runs: &[Named<'_>]) -> String {
    let all: Vec<Facts> = runs.iter().map(|named| of_run(named)).collect();
    let Some(first) = all.first() else { return String::new() };
    let mut keys: Vec<&(usize, String)> = all.iter().flat_map(BTreeMap::keys).collect();
    keys.sort();
    keys.dedup();
    let (shared, different): (Vec<_>, Vec<_>) = keys
        .into_iter()
        .partition(|key| all.iter().all(|facts| facts.get(*key) == first.get(*key)));
    let mut out = String::new();
    if !different.is_empty() {
        let mut titles = vec!["differs".to_owned()];
        titles.extend(runs.iter().map(|named| named.name.to_owned()));
        out += &table("different", &titles, &rows(&different, &all));
    }
    let title = if runs.len() == 1 { "value" } else { "the same in all" };
    let titles = [String::new(), title.to_owned()];
    out + &table("facts", &titles, &rows(&shared, &all[..1]))
}

/// A row for each of these facts, with a column per run; each group has a heading.
fn rows(keys: &[&(usize, String)], runs: &[Facts]) -> Vec<(String, Vec<Cell>)> {
    let mut rows = Vec::new();
    let mut last = None;
    for key in keys {
        let (group, name) = key;
        if last.replace(group) != Some(group) {
            rows.push(((*GROUPS.get(*group).unwrap_or(&OTHER)).to_owned(), Vec::new()));
        }
        let value = |facts: &Facts| {
            Cell::Text(facts.get(*key).cloned().unwrap_or_else(|| "\u{2013}".to_owned()))
        };
        rows.push((name.clone(), runs.iter().map(value).collect()));
    }
    rows
}

fn of_run(named: &Named<'_>) -> Facts {
    let mut facts = Facts::new();
    for group in ["workload", "identity"] {
        flatten(place(group), "", named.run.value(group), &mut facts);
    }
    let environment = named.run.value("environment").as_object();
    for (group, value) in environment.into_iter().flatten() {
        let at = place(group);
        // A group that is not known keeps its name.
        let name = if at == GROUPS.len() { group } else { "" };
        flatten(at, name, value, &mut facts);
    }
    facts
}

fn place(group: &str) -> usize {
    GROUPS.iter().position(|known| *known == group).unwrap_or(GROUPS.len())
}

fn flatten(group: usize, name: &str, value: &Value, facts: &mut Facts) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                flatten(group, &name, value, facts);
            }
        }
        Value::Null => {}
        Value::Array(list) if list.is_empty() => {}
        Value::Array(list) => {
            let list: Vec<_> = list.iter().map(show).collect();
            facts.insert((group, name.to_owned()), list.join(", "));
        }
        other => {
            let (name, value) = with_unit(name, other);
            facts.insert((group, name.to_owned()), value);
        }
    }
}

/// A value that has its unit in the name, with it; and the name without.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what does not fit is not shown this way"
)]
fn with_unit<'a>(name: &'a str, value: &Value) -> (&'a str, String) {
    let number = value.as_f64().filter(|number| (0.0..9e15).contains(number));
    let unit = |suffix| Some((name.strip_suffix(suffix)?, number?));
    if let Some((name, bytes)) = unit("_bytes") {
        (name, size(bytes))
    } else if let Some((name, nanos)) = unit("_ns") {
        (name, format::time(nanos as u64))
    } else if let Some((name, share)) = unit("_share") {
        (name, format!("{:.1} %", share * 100.0))
    } else if let Some((name, rate)) = unit("_per_s") {
        (name, format!("{}/s", format::count(rate)))
    } else {
        (name, show(value))
    }
}

fn size(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value.fract() != 0.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

fn show(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Named, size, tables, with_unit};
    use crate::result::document::sample::run;

    #[test]
    fn units_move_from_the_name_to_the_value() {
        assert_eq!(
            with_unit("memory_bytes", &json!(25_276_502_016_u64)),
            ("memory", "23.5 GiB".into())
        );
        assert_eq!(with_unit("warmup_ns", &json!(1_000_000_000)), ("warmup", "1.00 s".into()));
        assert_eq!(with_unit("busy_share", &json!(0.068_51)), ("busy", "6.9 %".into()));
        assert_eq!(with_unit("rate_per_s", &json!(2000.0)), ("rate", "2,000/s".into()));
        assert_eq!(with_unit("timer_hz", &json!(250)), ("timer_hz", "250".into()));
        assert_eq!(with_unit("odd_ns", &json!("soon")), ("odd_ns", "soon".into()));
        assert_eq!(with_unit("odd_ns", &json!(-1)), ("odd_ns", "-1".into()));
        assert_eq!(
            (size(0.0), size(64.0), size(8_388_608.0)),
            ("0 B".into(), "64 B".into(), "8 MiB".to_owned())
        );
    }

    #[test]
    fn what_differs_stands_first_and_apart() {
        let (one, mut other) = (run("a", 1.0), run("b", 1.0));
        other.document["environment"]["cpu"]["governor"] = json!("powersave");
        other.document["environment"]["strange"] = json!({ "thing": 1 });
        let html = tables(&[Named { name: "A", run: &one }, Named { name: "B", run: &other }]);
        let (different, same) = html.split_once("class=\"facts\"").expect("two tables");
        assert!(different.contains("<th scope=\"row\">governor</th>"), "{different}");
        assert!(
            different.contains("powersave") && different.contains("strange.thing"),
            "{different}"
        );
        assert!(same.contains("connections") && !same.contains("governor"), "{same}");
        let alone = tables(&[Named { name: "A", run: &one }]);
        assert!(!alone.contains("differs") && alone.contains("governor"), "{alone}");
    }
}
