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
