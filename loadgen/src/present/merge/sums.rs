//! How values of several documents become one: by rules that know units, not every single key, so
//! that what scenarios add to documents is merged, too.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::base::histogram::packed;
use crate::result::document::Run;

/// Parts of a load that add up.
const SUMMED: [&str; 6] =
    ["connections", "messages", "threads", "source_addresses", "publishers", "subscribers"];
/// Parts that may differ without making another load of it. If they do, the first one stands.
const FREE: [&str; 11] = [
    "url",
    "address",
    "origin",
    "authorities",
    "seed",
    "spin_ns",
    "driver",
    "timeout_ns",
    "connect_timeout_ns",
    "warmup_ns",
    "duration_ns",
];
/// Keys of a run's own, of which nothing stands if they differ.
const OWN: [&str; 2] = ["server_pid", "first_source"];
/// Examples of errors that are kept.
const EXAMPLES: usize = 3;

/// The load of all runs together; the name of what differs and must not.
pub(super) fn workload(values: &[&Value]) -> Result<Value, String> {
    plan("", values)
}

fn plan(name: &str, values: &[&Value]) -> Result<Value, String> {
    let Some(first) = values.first() else { return Ok(Value::Null) };
    let key = name.rsplit('.').next().unwrap_or(name);
    if (SUMMED.contains(&key) || key.ends_with("_per_s")) && values.iter().all(|v| v.is_number()) {
        return Ok(sum(values));
    }
    if values.iter().all(|value| value.is_object()) {
        let members = keys(values).into_iter().map(|key| {
            let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            let merged = plan(&name, &member(values, &key))?;
            Ok((key, merged))
        });
        return members.collect::<Result<Map<_, _>, String>>().map(Value::Object);
    }
    if let Some(columns) = columns(values) {
        return columns.iter().map(|values| plan(name, values)).collect();
    }
    match values.iter().all(|value| value == first) {
        true => Ok((*first).clone()),
        false if OWN.contains(&key) => Ok(Value::Null),
        false if FREE.contains(&key) => Ok((*first).clone()),
        false => Err(name.to_owned()),
    }
}

/// Results of all runs together: counts add up, of times the longest one stands, histograms are
/// merged, lists are joined. Other numbers are only kept where they are equal.
pub(super) fn results(values: &[&Value]) -> Result<Value, String> {
    result("", values)
}

fn result(name: &str, values: &[&Value]) -> Result<Value, String> {
    let known: Vec<&Value> = values.iter().copied().filter(|value| !value.is_null()).collect();
    let Some(first) = known.first() else { return Ok(Value::Null) };
    if known.iter().any(|value| value.get(packed::KEY).is_some()) {
        return times(name, &known);
    }
    if known.iter().all(|value| value.is_object()) {
        let members = keys(&known).into_iter().map(|key| {
            let merged = result(&key, &member(&known, &key))?;
            Ok((key, merged))
        });
        return members.collect::<Result<Map<_, _>, String>>().map(Value::Object);
    }
    if let Some(columns) = columns(&known) {
        return columns.iter().map(|values| result(name, values)).collect();
    }
    if known.iter().all(|value| value.is_array()) {
        let all = known.iter().filter_map(|value| value.as_array()).flatten().cloned();
        let most = if name == "examples" { EXAMPLES } else { usize::MAX };
        return Ok(all.take(most).collect());
    }
    if known.iter().all(|value| value.is_boolean()) {
        // Good is what is so in all runs, a flaw what is so in one.
        let is_true = |value: &&Value| **value == true;
        return Ok(json!(match name {
            "good" | "headline" => known.iter().all(is_true),
            _ => known.iter().any(is_true),
        }));
    }
    if known.iter().all(|value| value.is_u64()) {
        return Ok(match name.ends_with("_ns") {
            true => json!(known.iter().filter_map(|value| value.as_u64()).max()),
            false => sum(&known),
        });
    }
    Ok(if known.iter().all(|value| value == first) { (*first).clone() } else { Value::Null })
}

fn times(name: &str, values: &[&Value]) -> Result<Value, String> {
    let mut all = crate::base::histogram::Times::new();
    for value in values {
        if let Some(times) = packed::read(value).map_err(|why| format!("{name}: {why}"))? {
            all.merge(&times);
        }
    }
    Ok(packed::figures(&all))
}

/// Lists of objects of one length, by place.
fn columns<'a>(values: &[&'a Value]) -> Option<Vec<Vec<&'a Value>>> {
    let lists: Vec<&Vec<Value>> = values.iter().filter_map(|value| value.as_array()).collect();
    let length = lists.first()?.len();
    let fits = lists.len() == values.len()
        && lists.iter().all(|list| list.len() == length && list.iter().all(Value::is_object));
    fits.then(|| {
        (0..length).map(|at| lists.iter().filter_map(|list| list.get(at)).collect()).collect()
    })
}

fn keys(values: &[&Value]) -> BTreeSet<String> {
    values.iter().filter_map(|value| value.as_object()).flat_map(Map::keys).cloned().collect()
}

fn member<'a>(values: &[&'a Value], key: &str) -> Vec<&'a Value> {
    values.iter().map(|value| value.get(key).unwrap_or(&Value::Null)).collect()
}

/// Whole numbers stay whole.
fn sum(values: &[&Value]) -> Value {
    let whole = values
        .iter()
        .map(|value| value.as_u64())
        .try_fold(0_u64, |sum, value| sum.checked_add(value?));
    match whole {
        Some(whole) => json!(whole),
        None => json!(values.iter().filter_map(|value| value.as_f64()).sum::<f64>()),
    }
}

/// What the load cost, in all `received` messages.
pub(super) fn cost(runs: &[Run], received: f64) -> Value {
    let costs: Vec<&Value> = runs.iter().map(|run| &run.document["cost"]).collect();
    // Lists and counts cannot fail; there are no histograms here.
    let mut merged = results(&costs).unwrap_or(Value::Null);
    let Some(fields) = merged.as_object_mut() else { return merged };
    // What was measured at the server is of all its work, also of that for other runs.
    for (name, value) in fields.iter_mut().filter(|(name, _)| name.starts_with("server_")) {
        if !name.ends_with("_source") {
            *value = Value::Null;
        }
    }
    let each = |nanos: f64| (received > 0.0).then(|| nanos / received);
    let server = server(runs);
    fields.insert("server_cpu_ns".to_owned(), json!(server.map(|(nanos, _)| nanos)));
    let share = server.and_then(|(_, share)| share);
    fields.insert("server_system_share".to_owned(), json!(share));
    #[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
    let per_message = server.and_then(|(nanos, _)| each(nanos as f64));
    fields.insert("server_cpu_ns_per_message".to_owned(), json!(per_message));
    let generator = fields.get("generator_cpu_ns").and_then(Value::as_array);
    let generator: f64 = generator.into_iter().flatten().filter_map(Value::as_f64).sum();
    fields.insert("generator_cpu_ns_per_message".to_owned(), json!(each(generator)));
    merged
}

/// CPU time of the server and the kernel's share of it. A process that several runs looked at is
/// counted once, as the run saw it that saw most; different processes add up. Nothing, if a run's server
/// was looked at by none.
#[expect(clippy::cast_precision_loss, reason = "times of a run are below 2^53")]
fn server(runs: &[Run]) -> Option<(u64, Option<f64>)> {
    let mut processes = BTreeMap::<(String, u64), (u64, Option<f64>)>::new();
    for run in runs {
        let seen =
            (run.value("cost.server_cpu_ns").as_u64(), run.value("workload.server_pid").as_u64());
        let (Some(nanos), Some(pid)) = seen else { continue };
        // Hosts that cannot be told apart are not the same.
        let host = run.text("identity.boot_id").unwrap_or(&run.name).to_owned();
        let most = processes.entry((host, pid)).or_default();
        if nanos >= most.0 {
            *most = (nanos, run.number("cost.server_system_share"));
        }
    }
    // Messages of a server that nobody looked at would count, and not what they cost it.
    let (read, unread): (Vec<&Run>, Vec<&Run>) =
        runs.iter().partition(|run| run.value("cost.server_cpu_ns").is_u64());
    let servers: BTreeSet<&str> = read.iter().filter_map(|run| run.text("workload.url")).collect();
    let known = |run: &&Run| run.text("workload.url").is_some_and(|url| servers.contains(url));
    if !unread.iter().all(known) {
        return None;
    }
    let total: u64 = processes.values().map(|(nanos, _)| *nanos).sum();
    let system = processes.values().map(|(nanos, share)| Some(*nanos as f64 * (*share)?));
    let system = system.sum::<Option<f64>>().filter(|_| total > 0);
    (!processes.is_empty()).then(|| (total, system.map(|system| system / total as f64)))
}
