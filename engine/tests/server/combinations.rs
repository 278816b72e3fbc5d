//! The same tests again on rings without some of their features: this program runs itself with
//! another list of them.

use std::process::{Command, Stdio};

use ringbolt::RingFeature;

/// What tests of rings read it from.
const LIST: &str = "RINGBOLT_TEST_RING_FEATURES";

/// Tests that are about something else.
const ELSEWHERE: [&str; 7] = [
    "combinations::",
    "process::",
    "bad_input::",
    "chat::",
    "rfc6455_clients::",
    "a_callback_that_sends_and_ends_mixes_nothing_up",
    "keep_alive_pings",
];
/// Tests that take long and say much the same as others; for all features and none.
const SIMILAR: [&str; 8] = [
    "a_late_reader_of_small_messages",
    "a_late_reader_of_large_messages",
    "a_late_reader_of_parts",
    "a_message_that_nobody_finishes",
    "many_connections_relay_at_once",
    "nothing_is_left_of_them_with_timeouts",
    "subscribers_come_and_go_while_a_large_room",
    "the_loop_serves_its_mail_under_any_load",
];

#[track_caller]
fn run_with(list: &str, skipped: &[&str]) {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.arg("--quiet").args(["--test-threads", "4"]).stdin(Stdio::null()).env(LIST, list);
    for name in ELSEWHERE.iter().chain(skipped) {
        command.args(["--skip", name]);
    }
    let output = command.output().expect("it runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "with {LIST}={list} in the environment:\n{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[test]
fn with_all_features_and_with_none() {
    run_with("all", &[]);
    run_with("none", &[]);
}

/// Every other feature, from this one on.
fn with_one_switched_off(first: usize) {
    for feature in RingFeature::ALL.into_iter().skip(first).step_by(2) {
        match feature {
            // Used where the better one is not.
            RingFeature::CoopTaskrun => run_with("all,-defer-taskrun,-coop-taskrun", &SIMILAR),
            _ => run_with(&format!("all,-{feature}"), &SIMILAR),
        }
    }
}

#[test]
fn with_one_feature_in_two_switched_off() {
    with_one_switched_off(0);
}

#[test]
fn with_one_of_the_other_features_switched_off() {
    with_one_switched_off(1);
}

#[test]
fn with_random_pairs_switched_off() {
    let mut rng = fastrand::Rng::new();
    for _ in 0..2 {
        let mut all = RingFeature::ALL;
        rng.shuffle(&mut all);
        // The list in the failure's text says what the seed would.
        run_with(&format!("all,-{},-{}", all[0], all[1]), &SIMILAR);
    }
}
