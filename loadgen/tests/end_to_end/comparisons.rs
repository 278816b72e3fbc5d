//! `loadgen compare` on real runs, its exit codes and its forms.

use std::path::Path;

use serde_json::Value;

use crate::documents::Folder;
use crate::loadgen;
use crate::servers::{Answer, Running};

/// One short run, and copies of it that are told apart by their numbers.
fn samples(folder: &Folder) -> Vec<String> {
    let server = Running::echo(|_, _| Answer::Send);
    let first = folder.path("first.json");
    let done = loadgen(&["echo", &server.url, "-n", "20", "--warmup", "0", "-o", &first, "-q"]);
    assert!(done.status.success(), "{done:?}");
    let text = std::fs::read_to_string(first).expect("written");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let write = |at: u32| {
        let mut document = document.clone();
        let half = f64::from(at / 6);
        document["identity"]["run_id"] = format!("{at:016x}").into();
        // The second half is a tenth slower.
        document["outcome"]["rate_per_s"] = (1000.0 * (1.0 - half / 10.0) + f64::from(at)).into();
        document["clock"]["window_opened_unix_ns"] = (at % 6 * 1000 + at).into();
        let path = folder.path(&format!("{at}.json"));
        std::fs::write(&path, document.to_string()).expect("written");
        path
    };
    (0..12).map(write).collect()
}

fn change(path: &str, change: impl Fn(&mut Value)) {
    let text = std::fs::read_to_string(path).expect("there");
    let mut document: Value = serde_json::from_str(&text).expect("JSON");
    change(&mut document);
    std::fs::write(path, document.to_string()).expect("written");
}

/// Exit code, standard output and standard error.
fn compare(base: &[String], new: &[String], options: &[&str]) -> (i32, String, String) {
    let words = |paths: &[String]| paths.to_vec();
    let mut arguments = vec!["compare".to_owned()];
    arguments.extend(options.iter().map(|option| (*option).to_owned()));
    arguments.extend(words(base));
    arguments.push("--".to_owned());
    arguments.extend(words(new));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = loadgen(&arguments);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (done.status.code().expect("no signal"), text(done.stdout), text(done.stderr))
}

#[test]
fn a_regression_ends_with_1_and_its_absence_with_0() {
    let folder = Folder::new("compare");
    let paths = samples(&folder);
    let (base, new) = paths.split_at(6);
    let (code, text, error) = compare(base, new, &["--metric", "rate"]);
    assert_eq!(code, 1, "{text}{error}");
    assert!(text.contains("worse (p=0.002)") && text.contains("1,002/s"), "{text}");
    assert!(error.contains("worse than the base: rate"), "{error}");
    assert!(!text.contains("all runs of one side"), "they were in turn: {text}");
    let (code, text, error) = compare(new, base, &["--metric", "rate"]);
    assert_eq!((code, error), (0, String::new()), "{text}");
    assert!(text.contains("better (p=0.002)"), "{text}");
    let (code, text, _) = compare(base, new, &["--metric", "rate", "--threshold", "20%"]);
    assert_eq!(code, 0, "{text}");
    // All other metrics are those of one run.
    let (_, text, _) = compare(base, new, &["--metric", "p99"]);
    assert!(text.contains("~ (p=1.000)"), "{text}");
}

#[test]
fn every_form_tells_the_same() {
    let folder = Folder::new("forms-of-compare");
    let paths = samples(&folder);
    let (base, new) = paths.split_at(6);
    let (code, text, _) = compare(base, new, &["--format", "json"]);
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &document["schema"]), (1, &"ringbolt.loadgen.compare/1".into()));
    let rate = &document["metrics"][0];
    assert_eq!((&rate["metric"], &rate["verdict"]), (&"rate".into(), &"worse".into()));
    assert!(rate["ratio_interval"]["high"].as_f64().is_some_and(|high| high < 1.0), "{rate}");
    assert_eq!(document["regressions"], serde_json::json!(["rate"]));
    let (_, text, _) = compare(base, new, &["--format", "markdown"]);
    assert!(text.contains("| metric | base | new | change |\n|---|---:|---:|:---|"), "{text}");
    let (code, text, _) = compare(base, new, &["--format", "html"]);
    assert_eq!(code, 1);
    assert!(text.starts_with("<!DOCTYPE html>") && text.contains("<polyline"), "{text}");
    assert!(text.contains("worse (p=") && text.contains("1,002/s"), "{text}");
    let file = folder.path("table.md");
    let (code, text, _) = compare(base, new, &["--format", "markdown", "-o", &file]);
    assert_eq!((code, text), (1, String::new()));
    assert!(Path::new(&file).exists());
}

#[test]
fn what_cannot_be_compared_ends_with_3() {
    let folder = Folder::new("incomparable");
    let paths = samples(&folder);
    let (base, new) = paths.split_at(6);
    let (code, text, error) = compare(&base[..4], new, &[]);
    assert_eq!(code, 3, "{text}{error}");
    assert!(text.contains("not enough runs") && error.contains("not enough runs"), "{text}");
    let (code, text, _) = compare(&base[..1], &new[..1], &[]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("of a single run itself") && !text.contains('±'), "no interval: {text}");
    change(&new[2], |document| document["workload"]["connections"] = 77.into());
    change(&new[2], |document| document["environment"]["kernel"]["release"] = "6.1".into());
    let (code, text, error) = compare(base, new, &["--metric", "rate"]);
    assert_eq!(code, 3, "{text}{error}");
    assert!(error.contains("differ in workload.connections"), "{error}");
    assert!(text.contains("workload.connections: 1 -> 1 | 77 (refused)"), "{text}");
    assert!(text.contains("kernel.release") && text.contains("(compared)"), "{text}");
    for name in ["workload.connections", "workload", "workload.*"] {
        let (code, text, _) = compare(base, new, &["--metric", "rate", "--allow-diff", name]);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("(allowed)"), "{text}");
    }
    change(&new[3], |document| document["outcome"]["void"] = true.into());
    let (code, _, error) = compare(base, new, &["--allow-diff", "workload"]);
    assert_eq!(code, 3);
    assert!(error.contains("outcome.void"), "{error}");
}

#[test]
fn wrong_sets_of_runs_end_with_2() {
    let folder = Folder::new("wrong-sets");
    let paths = samples(&folder);
    let (base, new) = paths.split_at(6);
    let (code, _, error) = compare(base, &base[..1], &[]);
    assert_eq!(code, 2);
    assert!(error.contains("given twice"), "{error}");
    let (code, _, error) = compare(base, &["--format".to_owned(), "html".to_owned()], &[]);
    assert!(code == 2 && error.contains("put the options before"), "{error}");
    let (code, _, error) = compare(base, new, &["--allow-diff", "cpu.governer"]);
    assert_eq!(code, 2);
    assert!(error.contains("allows nothing"), "{error}");
    let (code, _, error) = compare(base, &[folder.path("gone.json")], &[]);
    assert!(code == 2 && error.contains("gone.json"), "{error}");
    change(&new[0], |document| document["schema"] = "ringbolt.loadgen/1".into());
    let (code, _, error) = compare(base, new, &[]);
    assert!(code == 2 && error.contains("another version of loadgen"), "{error}");
    std::fs::write(&new[1], "{ \"schema\":").expect("written");
    let (code, _, error) = compare(base, &new[1..], &[]);
    assert!(code == 2 && error.contains("no JSON"), "{error}");
    let (code, _, error) = compare(base, &new[2..], &["--metric", "speed"]);
    assert!(code == 2 && error.contains("p50 to p99.999"), "{error}");
    let done = loadgen(&["compare", &base[0]]);
    assert_eq!(done.status.code(), Some(2));
}
