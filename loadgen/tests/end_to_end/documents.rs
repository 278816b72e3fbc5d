//! The result document and the files beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::servers::{Answer, Running};
use crate::{document, loadgen, validate};

/// A folder that is gone when the test is over.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loadgen-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("made");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("removed");
    }
}

/// A run of two seconds with everything that `--out` writes.
fn run_into(folder: &Folder) -> Value {
    let server = Running::echo(|_, _| Answer::Send);
    let path = folder.path("out");
    let done = loadgen(&[
        "echo",
        &server.url,
        "-c",
        "3",
        "-d",
        "1500ms",
        "-r",
        "300",
        "--warmup",
        "200ms",
        "--out",
        &path,
        "--commit",
        "abc123",
    ]);
    assert!(done.status.success(), "{done:?}");
    let text = std::fs::read_to_string(Path::new(&path).join("result.json")).expect("written");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_folder_holds_all_forms_and_they_agree() {
    let folder = Folder::new("forms");
    let document = run_into(&folder);
    assert_eq!(validate(&document), Ok(()));
    assert_eq!(document["identity"]["measured_commit"], "abc123");
    let read = |name: &str| {
        std::fs::read_to_string(folder.0.join("out").join(name)).unwrap_or_else(|e| panic!("{e}"))
    };
    let rows: Vec<Vec<u64>> = read("seconds.csv")
        .lines()
        .skip(1)
        .map(|line| line.split(',').map(|word| word.parse().expect("a number")).collect())
        .collect();
    let intervals = document["intervals"].as_array().expect("rows");
    assert_eq!((rows.len(), intervals.len()), (2, 2));
    let received: u64 = rows.iter().map(|row| row[3]).sum();
    assert_eq!(document["outcome"]["received"], received);
    for (row, interval) in rows.iter().zip(intervals) {
        let keys = ["second", "start_unix_ns", "length_ns", "received", "errors", "connections"];
        for (at, key) in keys.into_iter().enumerate() {
            assert_eq!(interval[key], row[at], "{key}");
        }
    }
    assert_eq!(intervals[1]["length_ns"], 500_000_000);
    let log = read("latency.hlog");
    let lines = |line: &&str| !line.starts_with(['#', '"']);
    let data: Vec<&str> = log.lines().filter(lines).collect();
    assert!(data[0].starts_with("Tag=warmup,0.000,0.200,"), "{log}");
    assert!(data[1].starts_with("0.200,1.000,") && data[2].starts_with("1.200,0.500,"), "{log}");
    let mine = intervals[0]["hdr_v2_deflate_base64"].as_str().expect("packed");
    assert_eq!(data[1].rsplit(',').next(), Some(mine));
    assert!(read("latency.hgrm").contains("1/(1-Percentile)"));
    let kernel = &document["environment"]["kernel"];
    if kernel["config_sha1"].is_string() {
        assert!(read("kernel.config").contains("\nCONFIG_HZ="), "{kernel}");
    }
}

#[test]
fn the_schema_describes_every_key() {
    fn look(path: &str, schema: &Value) {
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            let said = ["description", "$ref", "const"].iter().any(|word| value[word].is_string());
            assert!(said, "{path}.{key} has no description");
        }
        for (key, value) in schema.as_object().into_iter().flatten() {
            look(&format!("{path}.{key}"), value);
        }
    }
    let schema = include_str!("../../schema/result-3.json");
    look("", &serde_json::from_str(schema).expect("JSON"));
}

#[test]
fn histograms_and_logs_are_read_by_another_implementation() {
    let folder = Folder::new("reader");
    run_into(&folder);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // scripts/interop installs the package there.
    let installed = here.join("../target/interop/venv/bin/python");
    let python = if installed.exists() { installed } else { PathBuf::from("python3") };
    let script = here.join("tests/interop/hdr_reader.py");
    let done = Command::new(python).arg(script).arg(folder.path("out")).output();
    match done {
        Ok(done) if done.status.code() == Some(77) => {
            println!("skipped: the Python package hdrhistogram is not installed");
        }
        Ok(done) => {
            assert!(done.status.success(), "{done:?}");
            assert!(String::from_utf8_lossy(&done.stdout).contains("450 replies"), "{done:?}");
        }
        Err(error) => println!("skipped: there is no python3: {error}"),
    }
}

#[test]
fn every_scenario_keeps_to_the_schema() {
    let echo = Running::echo(|_, _| Answer::Send);
    let relay = Running::relay(0);
    let runs: [&[&str]; 4] = [
        &["echo", &echo.url, "-n", "20", "--warmup", "0", "--fail-if", "errors>0"],
        &["broadcast", &relay.url, "-c", "3", "-n", "20", "--warmup", "0"],
        &["broadcast", &relay.url, "-c", "3", "-d", "300ms", "-r", "50", "--warmup", "0"],
        &["storm", &echo.url, "-c", "3", "-n", "20", "--warmup", "0"],
    ];
    for arguments in runs {
        let (code, document) = document(arguments);
        assert_eq!(code, 0, "{document:#}");
    }
}

#[test]
fn the_schema_refuses_what_is_not_in_it() {
    let server = Running::echo(|_, _| Answer::Send);
    let (_, good) = document(&["echo", &server.url, "-n", "5", "--warmup", "0"]);
    let broken = |change: fn(&mut Value)| {
        let mut document = good.clone();
        change(&mut document);
        validate(&document).is_err()
    };
    assert!(broken(|document| document["schema"] = json!("ringbolt.loadgen/1")));
    assert!(broken(|document| document["outcome"]["received"] = json!(-1)));
    assert!(broken(|document| document["outcome"]["latency"]["p99_ns"] = json!("5 ms")));
    assert!(broken(|document| document["environment"]["cpu"]["new"] = json!(1)));
    assert!(broken(|document| {
        document.as_object_mut().expect("an object").remove("trust");
    }));
    assert!(broken(|document| document["outcome"]["latency"]["hdr_v2_deflate_base64"] = json!("")));
}

#[test]
fn a_missed_goal_ends_with_99_and_says_so() {
    let server = Running::echo(|_, _| Answer::Send);
    let run = ["echo", &server.url, "-n", "20", "--warmup", "0"];
    let with = |goals: &[&str]| {
        let goals: Vec<&str> = goals.iter().flat_map(|goal| ["--fail-if", goal]).collect();
        let done = loadgen(&[&run[..], &goals].concat());
        assert!(String::from_utf8_lossy(&done.stdout).contains("messages/s"), "still a result");
        (done.status.code(), String::from_utf8(done.stderr).expect("UTF-8"))
    };
    assert_eq!(with(&["p99>1h", "errors>0", "rate<0.1", "mean>=1m"]), (Some(0), String::new()));
    let (code, text) = with(&["max>1ns", "errors>0", "rate<100m/s"]);
    assert_eq!(code, Some(99));
    assert!(text.contains("failed: max>1ns, it was ") && text.contains("rate<100m/s"), "{text}");
    assert!(!text.contains("errors>0"), "{text}");
}

#[test]
fn csv_is_for_pipes() {
    let server = Running::echo(|_, _| Answer::Send);
    let done = loadgen(&["echo", &server.url, "-n", "20", "--warmup", "0", "--csv"]);
    let text = String::from_utf8(done.stdout).expect("UTF-8");
    assert!(text.starts_with("second,start_unix_ns,length_ns,received,"), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
    // What speaks against the numbers has no place in the table.
    let slow = Running::echo(|_, _| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        Answer::Send
    });
    let run = ["echo", &slow.url, "-r", "200", "--depth", "1", "-d", "300ms", "--warmup", "0"];
    let done = loadgen(&[&run[..], &["--csv"]].concat());
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("loadgen: note: ") && said.contains("had no room for them"), "{said}");
    assert!(!String::from_utf8_lossy(&done.stdout).contains("note"));
}
