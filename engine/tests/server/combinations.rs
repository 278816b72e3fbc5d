//! The same tests again on rings without some of their features: this program runs itself with
//! another list of them.
//!
//! All features, none, and eleven lists between: together they have every three features in every
//! state, on and off, beside each other, so whatever takes three switches to break is found here.
//! `switches` takes every single combination, if for a short while.

use std::collections::BTreeSet;

use ringbolt::{Driver, FeatureSet, RingFeature};

use crate::variant::{DRIVER, RING_FEATURES, run_again};

/// Tests that are about something else.
const ELSEWHERE: [&str; 5] = [
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

/// As many features as there are rows that make the table below.
const FEATURES: usize = RingFeature::ALL.len();

#[track_caller]
fn run_with(features: FeatureSet, skipped: &[&str]) {
    let list = if features.is_empty() {
        "none".to_owned()
    } else {
        // Wanted, and not required: other kernels may lack some.
        let off = RingFeature::ALL.into_iter().filter(|one| !features.contains(*one));
        off.fold("all".to_owned(), |list, one| format!("{list},-{one}"))
    };
    let variant = [(DRIVER, Driver::Uring.name()), (RING_FEATURES, &list)];
    run_again(&variant, &[&ELSEWHERE, skipped].concat());
}

/// A row of the table: Paley's matrix for the prime 11, whose entries tell squares from others.
fn row(number: usize) -> FeatureSet {
    const SQUARES: [usize; 5] = [1, 3, 4, 5, 9];
    RingFeature::ALL.into_iter().enumerate().fold(FeatureSet::NONE, |set, (column, feature)| {
        let place = (column + FEATURES - number) % FEATURES;
        if SQUARES.contains(&place) { set } else { set.with(feature) }
    })
}

/// One row in three, from this one on.
fn with_a_third_of_the_rows(first: usize) {
    (first..FEATURES).step_by(3).for_each(|number| run_with(row(number), &SIMILAR));
}

#[test]
fn every_three_features_are_in_every_state_beside_each_other() {
    let table: Vec<_> = (0..FEATURES).map(row).chain([FeatureSet::ALL, FeatureSet::NONE]).collect();
    let all = RingFeature::ALL;
    for (a, b, c) in (0..FEATURES)
        .flat_map(|a| (0..a).flat_map(move |b| (0..b).map(move |c| (all[a], all[b], all[c]))))
    {
        let states: BTreeSet<_> =
            table.iter().map(|set| [set.contains(a), set.contains(b), set.contains(c)]).collect();
        assert_eq!(states.len(), 8, "{a}, {b} and {c} only as {states:?}");
    }
}

#[test]
fn with_all_features_and_with_none() {
    run_with(FeatureSet::ALL, &[]);
    run_with(FeatureSet::NONE, &[]);
}

#[test]
fn with_the_first_third_of_the_table() {
    with_a_third_of_the_rows(0);
}

#[test]
fn with_the_second_third_of_the_table() {
    with_a_third_of_the_rows(1);
}

#[test]
fn with_the_last_third_of_the_table() {
    with_a_third_of_the_rows(2);
}
