use std::collections::{BTreeMap, BTreeSet};

use super::{Subscriptions, Topic, Topics};
use crate::shard::table::ConnectionId;

/// Topics with a plain model beside them: who is subscribed, and what each has got and must get.
struct Model {
    topics: Topics,
    topic: Topic,
    subscriptions: BTreeMap<u32, Subscriptions>,
    /// Per subscriber, the messages that it must get: those that were pending or published while
    /// it was subscribed when their fan-out began.
    got: BTreeMap<u32, Vec<u8>>,
}

const fn id(slot: u32) -> ConnectionId {
    ConnectionId::new(slot, 0)
}

impl Model {
    fn new() -> Self {
        let mut topics = Topics::new(10);
        let topic = topics.open("room", true).expect("room");
        Self { topics, topic, subscriptions: BTreeMap::new(), got: BTreeMap::new() }
    }

    fn subscribe(&mut self, slot: u32) {
        let all = self.subscriptions.entry(slot).or_default();
        assert!(self.topics.subscribe(self.topic, id(slot), all));
        self.got.entry(slot).or_default();
    }

    fn unsubscribe(&mut self, slot: u32) {
        let Some((index, place)) = self.subscriptions.get_mut(&slot).and_then(Vec::pop) else {
            return;
        };
        let subscriptions = &mut self.subscriptions;
        self.topics.unsubscribe(index, place, |moved, index, place| {
            let all = subscriptions.get_mut(&moved.slot()).expect("one that is subscribed");
            let entry = all.iter_mut().find(|entry| entry.0 == index).expect("to this topic");
            entry.1 = place;
        });
        self.check_places();
    }

    /// Every subscriber stands where it believes to stand.
    fn check_places(&self) {
        for (slot, all) in &self.subscriptions {
            for (index, place) in all {
                assert_eq!(self.topics.subscriber(*index, *place as usize), Some(id(*slot)));
            }
        }
    }

    /// Serves the next slice; says whom.
    fn slice(&mut self, max: usize) -> Vec<u32> {
        let Some(slice) = self.topics.next_slice(max, usize::MAX) else { return Vec::new() };
        let mut served = Vec::new();
        for place in slice.from..slice.to {
            let to = self.topics.subscriber(slice.index, place).expect("a subscriber in range");
            served.push(to.slot());
            self.got.get_mut(&to.slot()).expect("known").extend_from_slice(&slice.batch.frames);
        }
        self.topics.finish_slice(slice);
        served
    }
}

#[test]
fn nobody_is_left_out_or_served_twice_while_others_come_and_go() {
    for seed in 0..3_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut model = Model::new();
        let loyal = rng.u32(1..8);
        for slot in 0..loyal {
            model.subscribe(slot);
        }
        let mut published = Vec::new();
        for step in 0..rng.u8(1..60) {
            match rng.u8(..6) {
                0 => {
                    published.push(step);
                    assert!(model.topics.publish(model.topic, None, &[], &[step]));
                    model.topics.skip_forwarding();
                }
                1 => model.subscribe(rng.u32(loyal..loyal + 6)),
                2 | 3 => model.unsubscribe(rng.u32(loyal..loyal + 6)),
                _ => {
                    let served = model.slice(rng.usize(1..5));
                    let distinct: BTreeSet<_> = served.iter().collect();
                    assert_eq!(distinct.len(), served.len(), "seed {seed}");
                }
            }
        }
        while model.topics.is_busy() {
            model.slice(3);
        }
        for slot in 0..loyal {
            assert_eq!(model.got[&slot], published, "seed {seed}, subscriber {slot}");
        }
        for (slot, got) in &model.got {
            let ordered = got.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(ordered, "seed {seed}: {slot} got {got:?}");
        }
    }
}

#[test]
fn a_topic_lives_as_long_as_somebody_needs_it() {
    let mut topics = Topics::new(1);
    let first = topics.open("a", false).expect("room");
    assert_eq!(topics.open("b", false), None, "one is the limit");
    let mut subscriptions = Subscriptions::new();
    assert!(topics.subscribe(first, id(1), &mut subscriptions));
    assert!(topics.subscribe(first, id(1), &mut subscriptions));
    assert_eq!(topics.subscribers(first), 1, "twice is once");
    let (index, place) = subscriptions.pop().expect("subscribed");
    topics.unsubscribe(index, place, |_, _, _| panic!("nobody else is there"));
    assert_eq!(topics.len(), 0);
    let second = topics.open("b", false).expect("room again");
    assert_ne!(first, second);
    assert!(!topics.publish(first, None, b"x", b""), "a stale handle reaches nobody");
    assert!(!topics.subscribe(first, id(2), &mut subscriptions));
    assert_eq!(topics.subscribers(first), 0);
}

#[test]
fn a_topic_with_publications_under_way_is_kept_until_they_are_served() {
    let mut topics = Topics::new(1);
    let topic = topics.open("a", false).expect("room");
    let mut subscriptions = Subscriptions::new();
    assert!(topics.subscribe(topic, id(1), &mut subscriptions));
    assert!(topics.publish(topic, Some(id(1)), b"h", b"p"));
    let (index, place) = subscriptions.pop().expect("subscribed");
    topics.unsubscribe(index, place, |_, _, _| {});
    // The author has gone; other shards still have to be told.
    assert_eq!(topics.len(), 1);
    let (name, frames, messages) = topics.take_unforwarded().expect("a publication");
    assert_eq!((&*name, &*frames, messages), ("a", &b"hp"[..], 1));
    let slice = topics.next_slice(10, usize::MAX).expect("a batch");
    assert_eq!((slice.from, slice.to), (0, 0));
    assert_eq!(slice.batch.authored_by(id(1)).len(), 1);
    topics.finish_slice(slice);
    assert_eq!(topics.len(), 0);
    assert!(!topics.is_busy());
}

#[test]
fn an_author_is_found_among_others() {
    let mut topics = Topics::new(1);
    let topic = topics.open("a", true).expect("room");
    for (by, payload) in [(7, b"1"), (3, b"2"), (7, b"3"), (9, b"4"), (3, b"5")] {
        assert!(topics.publish(topic, Some(id(by)), b"", payload));
    }
    topics.skip_forwarding();
    let slice = topics.next_slice(1, usize::MAX).expect("a batch");
    let parts = |by| -> Vec<_> {
        slice.batch.authored_by(by).iter().map(|part| (part.start, part.end)).collect()
    };
    assert_eq!(parts(id(7)), [(0, 1), (2, 3)]);
    assert_eq!(parts(id(3)), [(1, 2), (4, 5)]);
    assert_eq!(parts(id(9)), [(3, 4)]);
    assert_eq!(parts(id(8)), []);
    assert_eq!(parts(ConnectionId::new(7, 1)), [], "another connection in the same slot");
}

#[test]
fn what_waits_is_bounded() {
    let mut topics = Topics::new(1);
    let topic = topics.open("a", true).expect("room");
    let big = vec![0; 40 << 20];
    assert!(topics.publish(topic, None, b"", &big));
    assert!(!topics.publish(topic, None, b"", &big));
    topics.skip_forwarding();
    assert!(!topics.deliver("a", &big, 1));
    assert!(topics.deliver("b", &big, 1), "nobody is here for it, and nobody misses it");
}

#[test]
fn a_topic_that_was_only_looked_at_is_gone_again() {
    let mut topics = Topics::new(2);
    let looked_at = topics.open("a", false).expect("room");
    let used = topics.open("b", false).expect("room");
    let mut subscriptions = Subscriptions::new();
    assert!(topics.subscribe(used, id(1), &mut subscriptions));
    topics.release_unused();
    assert_eq!((topics.len(), topics.index(looked_at)), (1, None));
    assert!(topics.index(used).is_some());
    assert!(topics.open("c", true).is_some());
    topics.release_unused();
    assert_eq!(topics.len(), 2, "one that is held open stays");
}

#[test]
fn a_slice_is_bounded_by_bytes_and_never_empty() {
    let mut topics = Topics::new(1);
    let topic = topics.open("a", true).expect("room");
    let mut subscriptions: Vec<_> = (0..10).map(|_| Subscriptions::new()).collect();
    for (n, subscriptions) in (0..).zip(&mut subscriptions) {
        assert!(topics.subscribe(topic, id(n), subscriptions));
    }
    assert!(topics.publish(topic, None, b"", &[0; 100]));
    topics.skip_forwarding();
    for (max, bytes, expected) in
        [(10, 350, (0, 3)), (2, 350, (3, 5)), (10, 1, (5, 6)), (10, 9999, (6, 10))]
    {
        let slice = topics.next_slice(max, bytes).expect("a batch");
        assert_eq!((slice.from, slice.to), expected);
        topics.finish_slice(slice);
    }
    assert!(!topics.is_busy());
}
