//! What messages can hold.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::documents::Folder;
use crate::servers::{Answer, Running};
use crate::{document, loadgen, number};

#[test]
fn messages_of_every_shape_come_back_and_are_counted() {
    static BYTES: AtomicU64 = AtomicU64::new(0);
    let server = Running::echo(|_, bytes| {
        BYTES.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Answer::Send
    });
    let folder = Folder::new("payload");
    std::fs::write(folder.0.join("message"), "grüße aus einer Datei").expect("written");
    let file = format!("@{}", folder.path("message"));
    for shape in [
        "0",
        "uniform:0..2KiB",
        "normal:1KiB,256",
        "lognormal:1KiB,1",
        "list:4*1,64*1,70000*1",
        &file,
        r#"tmpl:{"n":{seq},"c":{conn},"t":{time}}"#,
    ] {
        for (kind, version) in [("--text", "hybi-02"), ("--binary", "rfc6455")] {
            BYTES.store(0, Ordering::Relaxed);
            let run = ["echo", &server.url, "-c", "5", "-n", "500", "--warmup", "0", "-p", shape];
            let more = [kind, "--ws-version", version, "--fragments", "3", "--seed", "9"];
            let (code, document) = document(&[&run[..], &more].concat());
            assert_eq!(code, 0, "{shape}: {document:#}");
            let received = number(&document["outcome"]["received_payload_bytes"]);
            assert_eq!(received, BYTES.load(Ordering::Relaxed) as f64, "{shape}");
            assert_eq!(document["workload"]["traffic"]["fragments"], 3);
        }
    }
}

#[test]
fn a_seed_repeats_what_is_sent() {
    static SUM: AtomicU64 = AtomicU64::new(0);
    let server = Running::echo(|_, bytes| {
        let sum = bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        SUM.fetch_add(sum * (bytes.len() as u64 + 1), Ordering::Relaxed);
        Answer::Send
    });
    let sum_of = |seed: &str| {
        SUM.store(0, Ordering::Relaxed);
        let run = ["echo", &server.url, "-n", "300", "--warmup", "0", "-p", "uniform:0..500"];
        let done = loadgen(&[&run[..], &["--seed", seed]].concat());
        assert!(done.status.success(), "{done:?}");
        SUM.load(Ordering::Relaxed)
    };
    assert_eq!(sum_of("5"), sum_of("5"));
    assert_ne!(sum_of("5"), sum_of("6"));
}

#[test]
fn publications_have_random_sizes_too() {
    let server = Running::relay(0);
    let run = ["broadcast", &server.url, "-c", "4", "-n", "100", "--warmup", "0"];
    let more = ["-p", "uniform:32..5000", "--fragments", "2"];
    let (code, document) = document(&[&run[..], &more].concat());
    assert_eq!(code, 0, "{document:#}");
    assert_eq!(document["outcome"]["delivery_ratio"]["ratio"], 1.0, "{document:#}");
}

#[test]
fn frames_are_as_many_as_asked_for() {
    let server = Running::of_fragments(3);
    for version in ["hybi-02", "rfc6455"] {
        for (fragments, code) in [("3", 0), ("4", 1)] {
            let run = ["echo", &server.url, "-n", "5", "--warmup", "0", "-p", "1000"];
            let more = ["--fragments", fragments, "--ws-version", version];
            let done = loadgen(&[&run[..], &more].concat());
            assert_eq!(done.status.code(), Some(code), "{fragments} in {version}: {done:?}");
        }
    }
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let folder = Folder::new("not-text");
    std::fs::write(folder.0.join("bytes"), [0xFF, 0xFE]).expect("written");
    let file = format!("@{}", folder.path("bytes"));
    let url = "ws://127.0.0.1:1/";
    for (arguments, said) in [
        (&["echo", url, "-p", &file, "--text"][..], "not UTF-8"),
        (&["echo", url, "-p", "@/no/such/file"], "No such file"),
        (&["echo", url, "-p", "tmpl:{sequence}"], "there is no {sequence}"),
        (&["broadcast", url, "-p", "tmpl:{seq}"], "give a size"),
        (&["broadcast", url, "-p", "uniform:31..64"], "larger --payload"),
        (&["echo", url, "--fragments", "2", "--compress"], "cannot be used with"),
    ] {
        let done = loadgen(arguments);
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {done:?}");
        let text = String::from_utf8_lossy(&done.stderr);
        assert!(text.contains(said), "{arguments:?} should say {said:?}: {text}");
    }
}
