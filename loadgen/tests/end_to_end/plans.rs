//! Plan files, searches, completions and manual pages.

use crate::documents::Folder;
use crate::servers::{Answer, Running};
use crate::{command, document, loadgen};

/// A folder with a plan in it, and the plan's path.
fn plan(name: &str, text: &str) -> (Folder, String) {
    let folder = Folder::new(name);
    let path = folder.path("plan.toml");
    std::fs::write(&path, text).expect("written");
    (folder, path)
}

#[test]
fn a_plan_stands_behind_what_was_typed() {
    let server = Running::echo(|_, _| Answer::Send);
    let text = format!(
        "scenario = \"echo\"\nurl = \"{}\"\nconnections = 3\nmessages = \"40\"\nwarmup = \"0\"\n\
         text = true\ncompress = false\nfail-if = [\"errors>0\", \"p99>1h\"]\nseed = 7\n",
        server.url
    );
    let (_folder, path) = plan("plan", &text);
    let (code, whole) = document(&["run", &path]);
    assert_eq!(code, 0, "{whole:#}");
    let workload = &whole["workload"];
    assert_eq!((&workload["connections"], &workload["messages"]), (&3.into(), &40.into()));
    assert_eq!((&workload["seed"], &workload["traffic"]["kind"]), (&7.into(), &"text".into()));
    assert_eq!(whole["goals"].as_array().map(Vec::len), Some(2));
    // What is typed goes first, also where it excludes what the file says.
    let (_, typed) = document(&["run", &path, "-c", "2", "--binary", "-d", "100ms"]);
    let workload = &typed["workload"];
    assert_eq!((&workload["connections"], &workload["messages"]), (&2.into(), &().into()));
    assert_eq!(workload["traffic"]["kind"], "binary", "{typed:#}");
    let (_, same) = document(&["echo", "--plan", &path, "-n", "5"]);
    assert_eq!(same["workload"]["messages"], 5);
    // The environment goes before the file, too.
    let mut command = command(&["run", &path, "--json"]);
    let done = command.env("LOADGEN_CONNECTIONS", "4").output().expect("runs");
    let document: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(document["workload"]["connections"], 4);
}

#[test]
fn a_plan_has_stages() {
    let server = Running::echo(|_, _| Answer::Send);
    let text = "scenario = \"echo\"\nstage = [\"200ms:100\", \"200ms:100..200\"]\nwarmup = \"0\"\n";
    let (_folder, path) = plan("stages", text);
    let (code, document) = document(&["run", &path, &server.url]);
    assert_eq!(code, 0, "{document:#}");
    assert_eq!(document["workload"]["stages"].as_array().map(Vec::len), Some(2));
    assert_eq!(document["outcome"]["offered"], 50, "{document:#}");
    // What is in the environment goes before what it excludes in the file.
    let mut command = command(&["run", &path, &server.url, "-n", "10", "--json"]);
    let done = command.env("LOADGEN_RATE", "5k").output().expect("runs");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let document: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(document["workload"]["rate_per_s"], 5000.0, "{document:#}");
}

#[test]
fn what_an_option_requires_may_stand_in_the_plan_and_the_other_way_round() {
    let server = Running::compressing();
    let halves = [
        ("compress", "true", "--compress-takeover=both"),
        ("compress-takeover", "\"both\"", "--compress"),
    ];
    for (key, value, typed) in halves {
        let text = format!("scenario = \"echo\"\nws-version = \"rfc6455\"\n{key} = {value}\n");
        let (_folder, path) = plan("halves", &text);
        let (code, document) = document(&["run", &path, &server.url, typed, "-n", "10"]);
        assert_eq!(code, 0, "{typed}: {document:#}");
        assert_eq!(document["workload"]["compression_takeover"]["sent"], true, "{document:#}");
    }
    // Nowhere, it is missed.
    let text = "scenario = \"echo\"\nws-version = \"rfc6455\"\ncompress-takeover = \"both\"\n";
    let (_folder, path) = plan("half", text);
    let done = loadgen(&["run", &path, &server.url]);
    let errors = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{errors}");
    assert!(errors.contains("--compress"), "{errors}");
}

#[test]
fn a_wrong_plan_ends_with_78_and_says_where() {
    for (text, said) in [
        ("scenario = \"echo\"\nspeed = 5\n", "there is no key `speed`"),
        ("scenario = \"echo\"\nduration = \"10\"\n", "write it like 500ms"),
        ("scenario = \"echo\"\nrate = 5\nstage = \"1s:5\"\n", "cannot be used with"),
        ("scenario = \"echo\"\ntext = \"yes\"\n", "neither true nor false"),
        ("scenario = \"echo\"\nrate = { a = 1 }\n", "neither text, number nor list"),
        ("scenario = \"echo\"\nplan = \"x\"\n", "there is no key `plan`"),
        ("url = \"ws://127.0.0.1/\"\n", "does not name its scenario"),
        ("scenario = \n", "line 1"),
    ] {
        let (_folder, path) = plan("wrong", text);
        let done = loadgen(&["run", &path]);
        let errors = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(78), "{text}: {errors}");
        assert!(errors.contains(said), "{text} should say {said:?}: {errors}");
    }
    let done = loadgen(&["run", "/no/such/plan"]);
    assert_eq!(done.status.code(), Some(78), "{done:?}");
    let (_folder, path) = plan("other", "scenario = \"storm\"\n");
    let done = loadgen(&["echo", "--plan", &path]);
    assert!(String::from_utf8_lossy(&done.stderr).contains("not echo"), "{done:?}");
}

#[test]
fn a_search_finds_a_rate_and_shows_its_way() {
    // Each message takes the server a millisecond: it has no more than 1,000 a second.
    let server = Running::echo(|_, _| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        Answer::Send
    });
    let run = ["echo", &server.url, "-c", "4", "-d", "300ms", "--warmup", "0"];
    let (code, document) = document(&[&run[..], &["-r", "@p50<50ms"]].concat());
    let search = &document["outcome"]["search"];
    assert_eq!(code, 0, "{search:#}");
    let kept = search["kept_rate_per_s"].as_f64().expect("a rate");
    assert!(kept < 1100.0, "{search:#}");
    assert_eq!(document["workload"]["rate_per_s"], kept, "the run shown is the one that kept it");
    let steps = search["steps"].as_array().expect("steps");
    assert!((2..=16).contains(&steps.len()), "{search:#}");

    let done = loadgen(&[&run[..], &["-r", "@max<1ns"]].concat());
    let text = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.code(), Some(99), "{done:?}");
    assert!(text.contains("No rate was found") && text.contains("the goal was missed"), "{text}");
    for wrong in [&["-r", "@reach>1%"][..], &["-r", "@p50<50ms", "--start-at", "4102444800"]] {
        let done = loadgen(&[&run[..], wrong].concat());
        assert_eq!(done.status.code(), Some(2), "{done:?}");
    }
}

#[test]
fn the_floor_stands_beside_the_results_that_it_is_of() {
    let folder = Folder::new("floor");
    let with = |arguments: &[&str]| {
        let mut command = command(arguments);
        // Nothing of the environment changes a calibration, nor do settings of other runs.
        command.env("XDG_STATE_HOME", &folder.0).env("LOADGEN_CONNECTIONS", "2");
        let done = command.output().expect("runs");
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).expect("UTF-8")
    };
    let server = Running::echo(|_, _| Answer::Send);
    let run = ["echo", &server.url, "-n", "20", "--warmup", "0"];
    assert!(with(&run).contains("`loadgen calibrate` measures it"));
    let floor = with(&["calibrate", "-d", "200ms", "--json"]);
    let floor: serde_json::Value = serde_json::from_str(&floor).expect("JSON");
    assert!(floor["round_trip_p50_ns"].as_u64().is_some_and(|p50| p50 > 0), "{floor:#}");
    let document: serde_json::Value =
        serde_json::from_str(&with(&[&run[..], &["--json"]].concat())).expect("JSON");
    assert_eq!(crate::validate(&document), Ok(()));
    assert_eq!(document["trust"]["floor"], floor);
    let other: serde_json::Value =
        serde_json::from_str(&with(&[&run[..], &["--json", "--driver", "epoll"]].concat()))
            .expect("JSON");
    assert_eq!(
        other["trust"]["floor"],
        serde_json::Value::Null,
        "another driver has another floor"
    );
    assert!(with(&run).contains("round trip "));
}

#[test]
fn completions_and_manual_pages_are_of_the_same_definitions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let done = loadgen(&["completions", shell]);
        let text = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && text.contains("ping-interval"), "{shell}: {done:?}");
    }
    assert_eq!(loadgen(&["completions", "tcsh"]).status.code(), Some(2));
    let folder = Folder::new("man");
    let done = loadgen(&["man", &folder.path("pages")]);
    assert!(done.status.success(), "{done:?}");
    for page in ["loadgen.1", "loadgen-echo.1", "loadgen-compare.1"] {
        let text = std::fs::read_to_string(folder.0.join("pages").join(page)).expect(page);
        assert!(text.contains(".SH NAME") && text.contains("loadgen"), "{page}: {text}");
    }
    let done = loadgen(&["man", "/dev/null/x"]);
    assert_eq!(done.status.code(), Some(3), "{done:?}");
}
