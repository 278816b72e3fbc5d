//! `loadgen report` and `loadgen merge` on real runs.

use serde_json::Value;

use crate::documents::Folder;
use crate::loadgen;
use crate::servers::{Answer, Running};

/// Exit code, standard output and standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let done = loadgen(arguments);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (done.status.code().expect("no signal"), text(done.stdout), text(done.stderr))
}

fn measured(folder: &Folder, name: &str, options: &[&str]) -> String {
    let server = Running::echo(|seen, _| if seen == 30 { Answer::Nothing } else { Answer::Send });
    let path = folder.path(name);
    let fixed = ["echo", &server.url, "--warmup", "0", "-q", "-o", &path, "--timeout", "300ms"];
    let (code, _, error) = run(&[&fixed[..], options].concat());
    assert!(code == 0 || code == 1, "{error}");
    path
}

#[test]
fn a_report_shows_what_its_runs_tell() {
    let folder = Folder::new("report");
    let good = measured(&folder, "good.json", &["-r", "20", "-d", "1200ms"]);
    let bad = measured(&folder, "bad.json", &["-r", "100", "-d", "1200ms"]);
    let (code, page, error) = run(&["report", &good]);
    assert_eq!((code, error), (0, String::new()));
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{page}");
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("@import"));
    for title in ["Latency by percentile", "Replies per second", "Latency of each second"] {
        assert_eq!(page.matches(&format!("aria-label=\"{title}\"")).count(), 2, "{title}: {page}");
    }
    assert!(page.contains("None in any run"), "{page}");
    assert!(!page.contains("Errors in each second"), "{page}");
    let file = folder.path("both.html");
    let (code, out, error) = run(&["report", &good, &bad, "-o", &file, "--title", "A & B"]);
    assert_eq!((code, out, error), (0, String::new(), String::new()));
    let page = std::fs::read_to_string(file).expect("written");
    assert!(page.contains("<h1>A &amp; B</h1>") && page.contains(">unanswered</td>"), "{page}");
    assert!(page.contains("p99 of each second") && page.contains("class=\"legend\""), "{page}");
    let document: Value =
        serde_json::from_str(&std::fs::read_to_string(&bad).expect("there")).expect("JSON");
    let example = document["outcome"]["errors"]["unanswered"]["examples"][0].as_str();
    assert!(page.contains(example.expect("an example")), "{document:#}");
}

#[test]
fn reports_that_cannot_be_made_say_why() {
    let folder = Folder::new("no-report");
    let good = measured(&folder, "good.json", &["-n", "10"]);
    let (code, _, error) = run(&["report"]);
    assert!(code == 2 && error.contains("RUN"), "{error}");
    let (code, _, error) = run(&["report", &folder.path("gone.json")]);
    assert!(code == 2 && error.contains("gone.json"), "{error}");
    let (code, _, error) = run(&["report", &good, "-o", &folder.path("no/such/page.html")]);
    assert!(code == 3 && error.contains("cannot write"), "{error}");
    let many = vec![good.as_str(); 25];
    let (code, _, error) = run(&[&["report"][..], &many].concat());
    assert!(code == 2 && error.contains("cannot show 25 runs"), "{error}");
}

/// Two runs against one server, at the same time.
fn side_by_side(folder: &Folder, scenario: &[&str], options: &[&str]) -> [String; 2] {
    let paths = ["a.json", "b.json"].map(|name| folder.path(name));
    let children = paths.each_ref().map(|path| {
        let fixed = ["--warmup", "0", "-q", "-t", "1", "-o", path];
        let mut command = crate::command(&[scenario, &fixed[..], options].concat());
        command.stdout(std::process::Stdio::null()).spawn().expect("runs")
    });
    for mut child in children {
        assert!(child.wait().expect("ended").success());
    }
    paths
}

fn read(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("there")).expect("JSON")
}

#[test]
fn runs_side_by_side_are_merged_into_one_that_keeps_to_the_schema() {
    let folder = Folder::new("merge");
    let server = Running::echo(|_, _| Answer::Send);
    let scenarios: [(&[&str], &[&str]); 4] = [
        (&["idle", &server.url], &["-d", "1500ms", "-c", "3"]),
        (&["churn", &server.url], &["-d", "1500ms", "-c", "2"]),
        (&["echo", &server.url], &["-r", "50", "-d", "1500ms", "-c", "2"]),
        (&["storm", &server.url], &["-r", "20", "-d", "1500ms", "-c", "2"]),
    ];
    for (scenario, options) in scenarios {
        let [a, b] = side_by_side(&folder, scenario, options);
        let merged = folder.path("merged.json");
        // Both were started at once; how far apart they came to run is the machine's affair.
        let (code, out, error) = run(&["merge", &a, &b, "-o", &merged, "--min-overlap", "5%"]);
        assert_eq!((code, out, error), (0, String::new(), String::new()));
        let [a, b, merged] = [&a, &b, &merged].map(|path| read(path));
        crate::validate(&merged).unwrap_or_else(|e| panic!("not as its schema says: {e}"));
        let sum = |path: &str| {
            let of = |document: &Value| document.pointer(path).and_then(Value::as_u64);
            assert_eq!(of(&merged), Some(of(&a).expect(path) + of(&b).expect(path)), "{path}");
        };
        if merged["workload"]["rate_per_s"].is_number() {
            sum("/outcome/offered");
            sum("/outcome/latency/count");
        }
        sum("/outcome/received");
        sum("/outcome/connections_opened");
        sum("/workload/connections");
        if merged["outcome"]["handshake"].is_object() {
            sum("/outcome/handshake/count");
        }
        let rows = merged["intervals"].as_array().expect("intervals").iter();
        let received: u64 = rows.filter_map(|row| row["received"].as_u64()).sum();
        assert_eq!(Some(received), merged["outcome"]["received"].as_u64());
        assert_eq!(merged["merged"]["clock_error_ns"], 0, "one machine");
    }
    let merged = folder.path("merged.json");
    let (code, page, error) = run(&["report", &merged]);
    assert!(code == 0 && page.contains("Latency by percentile"), "{error}");
}

#[test]
fn runs_that_do_not_belong_together_are_not_merged() {
    let folder = Folder::new("no-merge");
    let first = measured(&folder, "first.json", &["-r", "20", "-d", "400ms"]);
    let second = measured(&folder, "second.json", &["-r", "20", "-d", "400ms"]);
    let (code, out, error) = run(&["merge", &first, &second]);
    assert_eq!((code, out.as_str()), (3, ""), "{error}");
    assert!(error.contains("not at the same time") && error.contains("--min-overlap"), "{error}");
    let (code, _, error) = run(&["merge", &first, &second, "--min-overlap", "0"]);
    assert_eq!(code, 3, "nothing in common is never a merged run: {error}");
    let (code, _, error) = run(&["merge", &first]);
    assert!(code == 2 && error.contains("nothing to merge"), "{error}");
    let (code, _, error) = run(&["merge", &first, &first]);
    assert!(code == 2 && error.contains("given twice"), "{error}");
    let other = folder.path("other.json");
    let mut document = read(&first);
    document["identity"]["run_id"] = "0123456789abcdef".into();
    document["workload"]["traffic"]["payload_bytes"] = 7.into();
    std::fs::write(&other, document.to_string()).expect("written");
    let (code, _, error) = run(&["merge", &first, &other]);
    assert!(code == 3 && error.contains("workload.traffic.payload_bytes"), "{error}");
    let (code, _, error) = run(&["merge", &first, &folder.path("gone.json")]);
    assert!(code == 2 && error.contains("gone.json"), "{error}");
}
