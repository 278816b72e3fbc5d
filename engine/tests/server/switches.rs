//! Every combination of the ring's features that the flags allow, each for the length of a short
//! session: messages of all kinds of sizes, to one and to all, across shards, and every way to end.

use ringbolt::{Config, Driver, FeatureSet, Message, RingFeature, RingFeatures, Server};

use crate::support::{BINARY, Client, PATIENCE, Room, Running, TEXT, config, frame, pattern};

/// Binary messages come back, text goes to all others.
fn room() -> Room {
    Room(|ws, topic, message| match message {
        Message::Text(_) => ws.publish(topic, message).expect("little waits"),
        Message::Binary(_) => ws.send(message).expect("little waits"),
    })
}

/// Whether the driver tells this set from others: it leaves out what needs something that is off,
/// and the second best beside the best.
fn is_its_own(features: FeatureSet) -> bool {
    let (best, second) = (RingFeature::DeferTaskrun, RingFeature::CoopTaskrun);
    features.iter().all(|one| one.needs().is_none_or(|other| features.contains(other)))
        && !(features.contains(best) && features.contains(second))
}

/// All such sets.
fn sets() -> impl Iterator<Item = FeatureSet> {
    (0..1_u32 << RingFeature::ALL.len())
        .map(|bits| {
            let all = RingFeature::ALL.into_iter().enumerate();
            all.filter(|(index, _)| bits >> index & 1 != 0)
                .fold(FeatureSet::NONE, |set, (_, feature)| set.with(feature))
        })
        .filter(|set| is_its_own(*set))
}

fn settings(features: FeatureSet) -> Config {
    config().with(|config| {
        config.driver = Driver::Uring;
        config.ring.features = RingFeatures::want(features);
        config.ring.zero_copy_bytes = 1 << 10;
        // Fewer than connections and pieces of messages, so that some have to wait.
        (config.ring.small_buffers, config.ring.large_buffers) = (2, 2);
    })
}

fn expect_service(features: FeatureSet) {
    let server = Running::new(Server::builder().shards(2).config(settings(features)), room);
    let taken = server.driver();
    let missing = taken.without.iter().map(|absent| absent.feature);
    assert_eq!(taken.features, missing.fold(features, FeatureSet::without), "{taken:?}");
    let mut clients = [(); 4].map(|()| Client::connect(server.address(), "/"));
    for (client, seed) in clients.iter_mut().zip(1..) {
        for len in [0, 3, 5_000, 150_000] {
            let message = pattern(len, seed);
            client.send(&frame(BINARY, &message));
            client.expect(BINARY, &message);
        }
    }
    let text = "to all others ".repeat(200);
    clients[0].text(&text);
    clients[1..].iter_mut().for_each(|client| client.expect(TEXT, text.as_bytes()));
    let [orderly, half, gone, last] = clients;
    orderly.close();
    half.hang_up();
    drop(gone);
    let mut half = half;
    half.expect_end();
    drop(last);
    server.wait_for_nothing();
    let end = server.end(PATIENCE);
    assert_eq!((end.counters.messages_in, end.counters.publications), (17, 1), "{end}");
}

/// One combination in four, from this one on.
#[expect(clippy::print_stdout, reason = "the last one is shown when it fails")]
fn every_fourth(first: usize) {
    for features in sets().skip(first).step_by(4) {
        println!("features: {features}");
        expect_service(features);
    }
}

#[test]
fn there_are_many() {
    // Five states of the receive's features, three of the task work's, two of each other's.
    assert_eq!(sets().count(), (5 * 3) << (RingFeature::ALL.len() - 5));
}

#[test]
fn the_first_quarter_of_all_combinations_serves() {
    every_fourth(0);
}

#[test]
fn the_second_quarter_of_all_combinations_serves() {
    every_fourth(1);
}

#[test]
fn the_third_quarter_of_all_combinations_serves() {
    every_fourth(2);
}

#[test]
fn the_last_quarter_of_all_combinations_serves() {
    every_fourth(3);
}
