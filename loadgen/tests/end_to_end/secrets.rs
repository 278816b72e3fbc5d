//! A name and a password in a URL are sent, and written nowhere.

use std::path::Path;
use std::process::Output;

use crate::servers::authorized;
use crate::{command, document, loadgen};

/// `user:p@ss-w0rd` in every form in which it may turn up.
const SECRETS: [&str; 6] = ["us%65r", "user:", "p%40ss", "p@ss", "w0rd", "dXNlcjpwQHNzLXcwcmQ"];
const VALUE: &str = "Basic dXNlcjpwQHNzLXcwcmQ=";

fn with_password(url: &str) -> String {
    url.replacen("://", "://us%65r:p%40ss-w0rd@", 1)
}

#[track_caller]
fn hides(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[track_caller]
fn says_nothing(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    hides(&text);
    text
}

fn files(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let bytes = std::fs::read(entry.path()).expect("a file");
        all.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    all
}

#[test]
fn credentials_of_a_url_are_sent_in_both_dialects_and_shown_nowhere() {
    let server = authorized(VALUE);
    let url = with_password(&server.url);
    for version in ["hybi-02", "rfc6455"] {
        let folder =
            std::env::temp_dir().join(format!("loadgen-secrets-{version}-{}", std::process::id()));
        let path = folder.to_str().expect("text");
        let run = ["echo", &url, "-n", "20", "--warmup", "0", "--ws-version", version];
        let output = loadgen(&[&run[..], &["--out", path]].concat());
        let said = says_nothing(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let written = files(&folder);
        assert!(written.len() > 2, "{written:?}");
        written.iter().for_each(|text| hides(text));
        let (code, found) = document(&run);
        hides(&found.to_string());
        assert_eq!((code, &found["workload"]["field_names"][0]), (0, &"Authorization".into()));
        assert_eq!(found["workload"]["url"], server.url);
        let page = folder.join("page.html");
        let page = page.to_str().expect("text");
        let report = loadgen(&["report", path, "-o", page]);
        assert_eq!(report.status.code(), Some(0), "{}", says_nothing(&report));
        files(&folder).iter().for_each(|text| hides(text));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
    let storm = loadgen(&["storm", &url, "-n", "5", "-c", "1", "--csv"]);
    assert_eq!(storm.status.code(), Some(0), "{}", says_nothing(&storm));
    // A field that was typed goes before.
    let own = ["echo", &url, "-n", "1", "--warmup", "0", "-H", "authorization: Bearer w0rd"];
    let refused = loadgen(&own);
    assert!(says_nothing(&refused).contains("403"), "{refused:?}");
    let bare = ["echo", &server.url, "-n", "1", "--warmup", "0", "-H"];
    let typed = loadgen(&[&bare[..], &["Authorization: Basic dXNlcjpwQHNzLXcwcmQ="]].concat());
    assert_eq!(typed.status.code(), Some(0), "{}", says_nothing(&typed));
}

#[test]
fn errors_and_help_show_no_password() {
    let wrong = |words: &[&str]| {
        let output = loadgen(words);
        let said = says_nothing(&output);
        assert_ne!(output.status.code(), Some(0), "{said}");
        said
    };
    for url in [
        "http://us%65r:p%40ss-w0rd@127.0.0.1/",
        "ws://us%65r:p%40ss-w0rd@127.0.0.1:x/",
        "ws://us%65r:p%40ss-w0rd/more@127.0.0.1/",
        "ws:us%65r:p%40ss-w0rd@127.0.0.1",
        "ws://us%65r:p%40ss-w0rd%0a@127.0.0.1/",
        "ws://us%65r:p%40ss-w0rd@127.0.0.1/#x",
        "ws://us%65r:p%40ss-w0rd@127.0.0.1:1/",
        "ws://us%65r:p%40ss-w0rd@no-such-host.invalid/",
    ] {
        wrong(&["echo", url, "-d", "1s"]);
        // As an argument too many, and in the wrong place.
        wrong(&["echo", "ws://127.0.0.1:1/", url]);
        wrong(&["echo", "ws://127.0.0.1:1/", "--depth", url]);
        wrong(&["echo", "ws://127.0.0.1:1/", &format!("--depth={url}")]);
        let help = command(&["echo", "--help"]).env("LOADGEN_URL", url).output().expect("it runs");
        assert_eq!(help.status.code(), Some(0), "{}", says_nothing(&help));
    }
    let plan = std::env::temp_dir().join(format!("loadgen-secret-{}.toml", std::process::id()));
    let url = "ws://us%65r:p%40ss-w0rd@127.0.0.1:1/";
    std::fs::write(&plan, format!("scenario = 'echo'\nurl = '{url}'\ndepth = '{url}'\n"))
        .expect("written");
    let said = wrong(&["run", plan.to_str().expect("text")]);
    assert!(said.contains("depth"), "{said}");
    std::fs::remove_file(&plan).expect("removed");
}
