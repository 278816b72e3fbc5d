//! Merged runs whose truth is known.

use serde_json::{Value, json};

use super::time::{Windows, intervals};
use super::{check_set, document};
use crate::base::clock::SECOND;
use crate::base::histogram::{Times, packed};
use crate::result::document::{Run, SCHEMA};

const MS: u64 = 1_000_000;
/// Some second of 2001.
const EPOCH: u64 = 1_000_000_000 * SECOND;

fn times(all: impl IntoIterator<Item = u64>) -> Value {
    let mut times = Times::new();
    all.into_iter().for_each(|time| times.record(time));
    packed::figures(&times)
}

/// Ten seconds that begin `start` after the epoch, with a reply of `latency` in each of them.
fn run(name: &str, start: u64, latency: u64) -> Run {
    let opened = EPOCH + start;
    let row = |second: u64| {
        json!({
            "second": second, "start_unix_ns": opened + second * SECOND, "length_ns": SECOND,
            "received": 1, "errors": 0, "connections": 5,
            "hdr_v2_deflate_base64": times([latency])["hdr_v2_deflate_base64"],
        })
    };
    let document = json!({
        "schema": SCHEMA,
        "identity": {
            "run_id": name, "boot_id": "one", "started_utc": format!("{start:020}"),
            "ended_utc": format!("{:020}", start + 10 * SECOND), "measured_commit": "c",
        },
        "clock": {
            "window_opened_unix_ns": opened, "window_closed_unix_ns": opened + 10 * SECOND,
            "error_ns": 3 * MS,
        },
        "environment": { "cpu": { "model": "m" }, "kernel": { "release": "6" } },
        "workload": {
            "scenario": "echo", "connections": 5, "rate_per_s": 1.0, "url": format!("ws://{name}"),
            "seed": 7, "messages": null, "server_pid": 42, "spin_ns": 0,
            "traffic": { "payload_bytes": 64, "depth": null },
            "stages": [{ "duration_ns": 5, "rate_to_per_s": 2.5 }],
        },
        "outcome": {
            "good": true, "headline": true, "void": false, "interrupted": false, "unit": "message",
            "elapsed_ns": 10 * SECOND, "connected_in_ns": latency, "connections_opened": 5,
            "received": 10, "offered": 20, "achieved": 0.5, "rate_per_s": 1.0, "errors_total": 0,
            "delivery_ratio": { "expected": 4, "received": 3, "ratio": 0.75 }, "errors": {},
            "latency": times(vec![latency; 10]), "service": null,
            "close_codes": { "1000": 5 },
            "stages": [{ "sent": 10, "latency": times([latency]) }],
        },
        "intervals": (0..10).map(row).collect::<Vec<_>>(),
        "cost": {
            "server_cpu_ns": 500, "server_system_share": 0.5, "server_cpu_source": "ticks",
            "server_cpu_ns_per_message": 50.0, "generator_cpu_ns": [10, 20],
            "generator_cpu_ns_per_message": 3.0, "generator_peak_memory_bytes": 1000,
        },
        "trust": {
            "scheduling_delay": times([latency]), "generator_load": [0.5], "limited_by": null,
            "notes": [format!("note of {name}")],
        },
    });
    Run { name: name.to_owned(), document }
}

fn merge(runs: &[Run]) -> Value {
    let windows = Windows::of(runs).expect("windows");
    document(runs, &windows).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn counts_add_up_and_percentiles_are_of_all_times() {
    let merged = merge(&[run("a", 0, MS), run("b", 0, 100 * MS)]);
    let outcome = &merged["outcome"];
    assert_eq!((&outcome["received"], &outcome["latency"]["count"]), (&json!(20), &json!(20)));
    let near = |value: &Value, ms: u64| {
        value.as_u64().is_some_and(|nanos| nanos.abs_diff(ms * MS) <= ms * MS / 500)
    };
    // The mean of both medians would be 50 ms.
    assert!(near(&outcome["latency"]["p50_ns"], 1), "{outcome:#}");
    assert!(near(&outcome["latency"]["p90_ns"], 100), "{outcome:#}");
    assert_eq!(outcome["rate_per_s"], 2.0);
    assert_eq!(outcome["achieved"], 0.5);
    assert_eq!(outcome["connected_in_ns"], 100 * MS);
    assert_eq!(outcome["delivery_ratio"], json!({ "expected": 8, "received": 6, "ratio": 0.75 }));
    assert_eq!(outcome["close_codes"], json!({ "1000": 10 }));
    assert_eq!(outcome["stages"][0]["sent"], 20);
    assert_eq!(outcome["stages"][0]["latency"]["count"], 2);
    assert_eq!(outcome["service"], Value::Null);
    let workload = &merged["workload"];
    assert_eq!((&workload["connections"], &workload["seed"]), (&json!(10), &json!(7)));
    assert_eq!((&workload["rate_per_s"], &workload["messages"]), (&json!(2.0), &Value::Null));
    assert_eq!(workload["stages"], json!([{ "duration_ns": 5, "rate_to_per_s": 5.0 }]));
    assert_eq!(merged["identity"]["started_utc"], format!("{:020}", 0));
    assert_eq!(merged["identity"]["measured_commit"], "c");
    assert_eq!(merged["trust"]["notes"], json!(["a: note of a", "b: note of b"]));
    assert_eq!(merged["merged"]["runs"][1]["workload"]["url"], "ws://b");
    assert_eq!(merged["merged"]["overlap_share"], 1.0);
}

#[test]
fn a_server_that_two_runs_measured_worked_once() {
    let (one, mut two) = (run("a", 0, MS), run("b", 0, MS));
    two.document["cost"]["server_cpu_ns"] = json!(600);
    let cost = |runs: &[Run]| merge(runs)["cost"].clone();
    let same = cost(&[one.clone(), two.clone()]);
    assert_eq!(
        (&same["server_cpu_ns"], &same["server_cpu_ns_per_message"]),
        (&json!(600), &json!(30.0))
    );
    assert_eq!(same["server_cpu_source"], "ticks");
    assert_eq!(same["generator_cpu_ns"], json!([10, 20, 10, 20]));
    assert_eq!(same["generator_cpu_ns_per_message"], 3.0);
    assert_eq!(same["generator_peak_memory_bytes"], 2000);
    two.document["identity"]["boot_id"] = json!("two");
    assert_eq!(cost(&[one.clone(), two.clone()])["server_cpu_ns"], 1100);
    two.document["cost"]["server_cpu_ns"] = Value::Null;
    let unread = cost(&[one.clone(), two.clone()]);
    assert_eq!(
        unread["server_cpu_ns"],
        Value::Null,
        "messages of b would count, and not their cost"
    );
    assert_eq!(unread["server_cpu_ns_per_message"], Value::Null);
    two.document["workload"]["url"] = json!("ws://a");
    assert_eq!(cost(&[one, two])["server_cpu_ns"], 500);
}

#[test]
fn seconds_are_aligned_by_the_clock() {
    let runs = [run("a", 0, MS), run("b", 1_300 * MS, 9 * MS)];
    let windows = Windows::of(&runs).expect("windows");
    let (rows, error) = intervals(&runs, &windows).expect("intervals");
    assert_eq!(error, 300 * MS);
    let column = |key: &str| rows.iter().map(|row| row[key].as_u64()).collect::<Vec<_>>();
    assert_eq!(column("received"), [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1].map(Some));
    assert_eq!(column("connections"), [5, 10, 10, 10, 10, 10, 10, 10, 10, 10, 5].map(Some));
    assert_eq!(column("second"), (0..11).map(Some).collect::<Vec<_>>());
    assert_eq!(column("length_ns"), vec![Some(SECOND); 11]);
    assert!(rows[0]["max_ns"].as_u64() < Some(2 * MS) && rows[1]["max_ns"].as_u64() > Some(8 * MS));
    // Seconds of which no run tells are there, and empty.
    let apart = [run("a", 0, MS), run("b", 12_000 * MS, MS)];
    let windows = Windows::of(&apart).expect("windows");
    let (rows, error) = intervals(&apart, &windows).expect("intervals");
    assert_eq!((rows.len(), error, windows.common()), (22, 0, 0));
    assert_eq!((&rows[11]["received"], &rows[11]["length_ns"]), (&json!(0), &json!(SECOND)));
}

#[test]
fn the_overlap_is_what_the_clocks_can_tell() {
    let mut runs = [run("a", 0, MS), run("b", 1_000 * MS, MS), run("c", 500 * MS, MS)];
    let windows = |runs: &[Run]| Windows::of(runs).expect("windows");
    let one = windows(&runs);
    assert_eq!((one.length(), one.common(), one.clock_error()), (11 * SECOND, 9 * SECOND, Some(0)));
    assert!((one.overlap() - 9.0 / 11.0).abs() < 1e-9 && one.sure_overlap() == one.overlap());
    assert!(one.notes()[0].contains("share 81.8 % of 11.0 s"), "{:?}", one.notes());
    runs[1].document["identity"]["boot_id"] = json!("two");
    runs[1].document["clock"]["error_ns"] = json!(1_000 * MS);
    let hosts = windows(&runs);
    assert_eq!(hosts.clock_error(), Some(1_003 * MS), "the two worst");
    assert_eq!(hosts.distance_from_true_time(), Some(1_000 * MS));
    assert!(hosts.sure_overlap() < 0.73, "{}", hosts.sure_overlap());
    assert!(hosts.notes()[1].contains("1.00 s apart"), "{:?}", hosts.notes());
    runs[2].document["clock"]["error_ns"] = Value::Null;
    let unknown = windows(&runs);
    assert_eq!((unknown.clock_error(), unknown.distance_from_true_time()), (None, None));
    assert!(unknown.notes()[1].contains("nothing is known"), "{:?}", unknown.notes());
    runs[0].document["clock"]["window_closed_unix_ns"] = json!(EPOCH);
    assert!(Windows::of(&runs).is_err(), "an empty window");
}

#[test]
fn different_loads_do_not_add_up() {
    let refused = |path: [&str; 2], value: Value| {
        let mut other = run("b", 0, MS);
        other.document["workload"][path[0]][path[1]] = value;
        let runs = [run("a", 0, MS), other];
        let windows = Windows::of(&runs).expect("windows");
        document(&runs, &windows).expect_err("refused").to_string()
    };
    let text = refused(["traffic", "payload_bytes"], json!(65));
    assert!(text.contains("differ in workload.traffic.payload_bytes"), "{text}");
    assert!(refused(["traffic", "new"], json!(1)).contains("workload.traffic.new"));
    let mut closed = run("b", 0, MS);
    closed.document["workload"]["rate_per_s"] = Value::Null;
    let runs = [run("a", 0, MS), closed];
    let text = document(&runs, &Windows::of(&runs).expect("windows")).expect_err("refused");
    assert!(text.to_string().contains("workload.rate_per_s"), "{text}");
}

#[test]
fn what_is_wrong_with_one_is_wrong_with_all() {
    let mut bad = run("b", 0, MS);
    let outcome = &mut bad.document["outcome"];
    (outcome["good"], outcome["interrupted"]) = (json!(false), json!(true));
    (outcome["headline"], outcome["errors_total"]) = (json!(false), json!(1));
    outcome["errors"] =
        json!({ "closed": { "count": 1, "examples": ["x"], "reasons": { "1006": 1 } } });
    bad.document["trust"]["limited_by"] = json!("server");
    bad.document["environment"]["cpu"]["model"] = json!("n");
    let mut worse = bad.clone();
    worse.document["identity"]["run_id"] = json!("c");
    worse.document["trust"]["limited_by"] = json!("generator");
    worse.document["outcome"]["errors"]["closed"]["examples"] = json!(["y", "z", "zz"]);
    let merged = merge(&[run("a", 0, MS), bad, worse]);
    let outcome = &merged["outcome"];
    for (key, is) in [("good", false), ("interrupted", true), ("headline", false), ("void", true)] {
        assert_eq!(outcome[key], is, "{key}");
    }
    let closed = json!({ "count": 2, "examples": ["x", "y", "z"], "reasons": { "1006": 2 } });
    assert_eq!(outcome["errors"], json!({ "closed": closed }));
    assert_eq!(merged["trust"]["limited_by"], "generator");
    let notes = merged["trust"]["notes"].to_string();
    assert!(notes.contains("differ in cpu.model; shown is that of a"), "{notes}");
}

#[test]
fn sets_that_are_none_are_refused() {
    let refused = |runs: &[Run]| check_set(runs).expect_err("refused").to_string();
    assert!(refused(&[run("a", 0, MS)]).contains("nothing to merge"));
    assert!(refused(&[run("a", 0, MS), run("a", 0, MS)]).contains("given twice"));
    let mut merged = run("b", 0, MS);
    merged.document["merged"] = json!({});
    assert!(refused(&[run("a", 0, MS), merged]).contains("merged before"));
}

#[test]
fn broken_histograms_and_intervals_are_told() {
    let refused = |change: fn(&mut Value)| {
        let mut broken = run("b", 0, MS);
        change(&mut broken.document);
        let runs = [run("a", 0, MS), broken];
        document(&runs, &Windows::of(&runs).expect("windows")).expect_err("refused").to_string()
    };
    let text =
        refused(|d| d["outcome"]["stages"][0]["latency"] = json!({ "hdr_v2_deflate_base64": "%" }));
    assert!(text.contains("latency: its histogram"), "{text}");
    let text = refused(|d| d["intervals"][3]["hdr_v2_deflate_base64"] = json!("HIST"));
    assert!(text.contains("b: intervals: its histogram"), "{text}");
    let text = refused(|d| d["intervals"][3]["start_unix_ns"] = json!(5));
    assert!(text.contains("does not lie in the window"), "{text}");
    let text = refused(|d| d["intervals"][3]["start_unix_ns"] = json!(u64::MAX));
    assert!(text.contains("does not lie in the window"), "{text}");
}
