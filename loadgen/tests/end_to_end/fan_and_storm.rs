//! Broadcasts and storms.

use crate::servers::{Answer, Running};
use crate::{document, number};

#[test]
fn a_broadcast_reaches_everybody() {
    let server = Running::relay(0);
    for threads in ["1", "2"] {
        let (code, document) = document(&[
            "broadcast",
            &server.url,
            "-c",
            "10",
            "--publishers",
            "3",
            "--burst",
            "4",
            "-n",
            "120",
            "--warmup",
            "50ms",
            "-t",
            threads,
            "--text",
        ]);
        let outcome = &document["outcome"];
        assert_eq!(code, 0, "{document:#}");
        assert_eq!(outcome["sent"], 120);
        // Each of 13 connections but the publisher itself.
        assert_eq!(outcome["delivery_ratio"]["expected"], 120 * 12);
        assert_eq!(outcome["delivery_ratio"]["received"], 120 * 12);
        assert_eq!(outcome["received"], 120 * 12);
        assert_eq!(outcome["latency"]["count"], 120 * 12);
        for spread in ["first_delivery", "median_delivery", "completion"] {
            assert_eq!(outcome[spread]["count"], 120, "{spread}: {document:#}");
        }
        assert_eq!(outcome["publications_incomplete"], 0);
        // The first delivery of all is some publication's first, the last some one's last.
        assert_eq!(outcome["first_delivery"]["min_ns"], outcome["latency"]["min_ns"]);
        assert_eq!(outcome["completion"]["max_ns"], outcome["latency"]["max_ns"]);
        let mean = |spread: &str| number(&outcome[spread]["mean_ns"]);
        assert!(mean("first_delivery") <= mean("median_delivery"), "{document:#}");
        assert!(mean("median_delivery") <= mean("completion"), "{document:#}");
    }
}

#[test]
fn publications_that_nobody_sent_are_errors_and_are_not_counted() {
    let server = Running::forging();
    let (code, document) =
        document(&["broadcast", &server.url, "-c", "3", "-n", "10", "--warmup", "0"]);
    assert_eq!(code, 1, "{document:#}");
    let outcome = &document["outcome"];
    assert_eq!(outcome["delivery_ratio"]["received"], 10 * 3, "{document:#}");
    assert_eq!(outcome["errors"]["wrong_payload"]["count"], 10 * 3, "{document:#}");
    assert_eq!(outcome["publications_incomplete"], 0, "{document:#}");
}

#[test]
fn a_broadcast_on_a_schedule_is_complete() {
    let server = Running::relay(0);
    let (code, document) = document(&[
        "broadcast",
        &server.url,
        "-c",
        "5",
        "-r",
        "200",
        "--burst",
        "2",
        "-d",
        "500ms",
        "--warmup",
        "100ms",
    ]);
    let outcome = &document["outcome"];
    assert_eq!(code, 0, "{document:#}");
    assert_eq!(outcome["sent"], 100);
    assert_eq!(outcome["offered"], 500);
    assert_eq!(outcome["delivery_ratio"]["ratio"], 1.0);
}

#[test]
fn lost_publications_show_in_the_reach() {
    let server = Running::relay(10);
    let (code, document) = document(&[
        "broadcast",
        &server.url,
        "-c",
        "4",
        "-r",
        "400",
        "-d",
        "500ms",
        "--warmup",
        "0",
        "--timeout",
        "500ms",
    ]);
    let outcome = &document["outcome"];
    assert_eq!(code, 1, "{document:#}");
    assert_eq!(outcome["sent"], 200);
    assert_eq!(outcome["delivery_ratio"]["expected"], 800);
    assert_eq!(outcome["delivery_ratio"]["received"], 720);
    assert_eq!(outcome["errors"]["lost"]["count"], 80, "{document:#}");
    assert_eq!(outcome["publications_incomplete"], 20, "{document:#}");
    assert_eq!(outcome["completion"]["count"], 180, "{document:#}");
}

#[test]
fn publishers_that_hear_themselves_are_noticed() {
    // An echo is the opposite of a broadcast.
    let server = Running::echo(|_, _| Answer::Send);
    let (code, document) = document(&[
        "broadcast",
        &server.url,
        "-c",
        "2",
        "-r",
        "100",
        "-d",
        "100ms",
        "--warmup",
        "0",
        "--timeout",
        "200ms",
    ]);
    let errors = &document["outcome"]["errors"];
    assert_eq!(code, 1, "{document:#}");
    assert_eq!(errors["duplicate"]["count"], 10, "{document:#}");
    assert_eq!(errors["lost"]["count"], 20, "{document:#}");
}

#[test]
fn a_storm_counts_whole_lives() {
    let server = Running::relay(0);
    let (code, document) =
        document(&["storm", &server.url, "-c", "10", "-n", "300", "--warmup", "50ms"]);
    let outcome = &document["outcome"];
    assert_eq!(code, 0, "{document:#}");
    assert_eq!(outcome["received"], 300);
    assert_eq!(outcome["handshake"]["count"], 300);
    assert!(
        number(&outcome["latency"]["mean_ns"]) > number(&outcome["handshake"]["mean_ns"]),
        "a life is longer than its beginning: {document:#}"
    );
}

#[test]
fn a_storm_on_a_schedule_keeps_it() {
    let server = Running::relay(0);
    let (code, document) = document(&[
        "storm",
        &server.url,
        "-c",
        "20",
        "-r",
        "400",
        "-d",
        "500ms",
        "--warmup",
        "100ms",
    ]);
    let outcome = &document["outcome"];
    assert_eq!(code, 0, "{document:#}");
    assert_eq!(outcome["offered"], 200);
    assert_eq!(outcome["sent"], 200);
    assert_eq!(outcome["latency"]["count"], 200);
}

#[test]
fn a_storm_tells_its_phases_and_the_codes() {
    let server = Running::echo(|_, _| Answer::Send);
    for (version, code) in [("hybi-02", "1005"), ("rfc6455", "1000")] {
        let (exit, document) = document(&[
            "storm",
            &server.url,
            "-c",
            "5",
            "-n",
            "60",
            "--warmup",
            "0",
            "--ws-version",
            version,
        ]);
        let outcome = &document["outcome"];
        assert_eq!(exit, 0, "{document:#}");
        for phase in ["handshake", "handshake_tcp", "handshake_upgrade", "closing"] {
            assert_eq!(outcome[phase]["count"], 60, "{phase}: {document:#}");
        }
        // A phase takes no longer than the whole.
        let longest = |of: &str| number(&outcome[of]["max_ns"]);
        assert!(longest("handshake_tcp") <= longest("handshake"));
        assert!(longest("handshake_upgrade") <= longest("handshake"));
        assert!(longest("closing") <= longest("latency"));
        assert_eq!(outcome["close_codes"][code], 60, "{document:#}");
    }
}
