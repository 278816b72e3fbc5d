use std::collections::{BTreeMap, BTreeSet};

use std::sync::Arc;

use super::{Arrived, Published, Subscriptions, Topic, Topics};
use crate::hub::{Hub, PublishCommand};
use crate::shard::table::ConnectionId;

/// The topics of each of so many shards.
fn shards<const N: usize>(max: usize) -> [Topics; N] {
    let hub = Arc::new(Hub::new(N, 4).expect("wakers"));
    std::array::from_fn(|shard| Topics::new(max, Arc::clone(&hub), shard))
}

fn topics(max: usize) -> Topics {
    let [topics] = shards(max);
    topics
}

/// Topics with a plain model beside them: who is subscribed, and what each has got and must get.
struct Model {
    topics: Topics,
    topic: Topic,
    subscriptions: BTreeMap<u32, Subscriptions>,
    /// Who must still get the batch under way: those that were subscribed when it began, and have been
    /// since.
    owed: BTreeSet<u32>,
    /// Per connection, what it has got and what it had to get.
    got: BTreeMap<u32, Vec<u8>>,
    due: BTreeMap<u32, Vec<u8>>,
}

const fn id(slot: u32) -> ConnectionId {
    ConnectionId::new(slot, 0)
}

impl Model {
    fn new() -> Self {
        let mut topics = topics(10);
        let topic = topics.open("room", true).expect("room");
        Self {
            topics,
            topic,
            subscriptions: BTreeMap::new(),
            owed: BTreeSet::new(),
            got: BTreeMap::new(),
            due: BTreeMap::new(),
        }
    }

    fn subscribe(&mut self, slot: u32) {
        let all = self.subscriptions.entry(slot).or_default();
        assert!(self.topics.subscribe(self.topic, id(slot), all));
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
        // It gives up what it has not got yet.
        self.owed.remove(&slot);
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

    fn is_subscribed(&self, slot: u32) -> bool {
        self.subscriptions.get(&slot).is_some_and(|all| !all.is_empty())
    }

    /// Serves the next slice.
    fn slice(&mut self, max: usize) {
        let begins = !self.topics.is_under_way(self.topic);
        let Some(slice) = self.topics.next_slice(max, usize::MAX) else { return };
        if begins {
            let everybody: Vec<_> = self.subscriptions.keys().copied().collect();
            self.owed = everybody.into_iter().filter(|slot| self.is_subscribed(*slot)).collect();
        }
        let owed = self.owed.len();
        for place in slice.from..slice.to {
            let to = self.topics.subscriber(slice.index, place).expect("a subscriber in range");
            assert!(self.owed.remove(&to.slot()), "{to:?} is not owed this batch, or had it");
            self.got.entry(to.slot()).or_default().extend_from_slice(&slice.batch.frames);
        }
        assert!(owed == 0 || self.owed.len() < owed, "a slice serves somebody");
        self.topics.finish_slice(slice);
        if !self.topics.is_under_way(self.topic) {
            assert!(self.owed.is_empty(), "{:?} were left out", self.owed);
        }
    }

    /// Publishes a message: whoever is subscribed now and until the end must get it.
    fn publish(&mut self, message: u8) {
        let published = self.topics.publish(self.topic, None, &[], &[message]);
        assert_eq!(published, Published::Queued);
        self.topics.skip_forwarding();
        for (slot, all) in &self.subscriptions {
            if !all.is_empty() {
                self.due.entry(*slot).or_default().push(message);
            }
        }
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
        let mut left = BTreeSet::new();
        for step in 0..rng.u8(1..60) {
            match rng.u8(..6) {
                0 => model.publish(step),
                1 => model.subscribe(rng.u32(loyal..loyal + 6)),
                2 | 3 => {
                    let slot = rng.u32(loyal..loyal + 6);
                    model.unsubscribe(slot);
                    left.insert(slot);
                }
                _ => model.slice(rng.usize(1..5)),
            }
        }
        while model.topics.is_busy() {
            model.slice(3);
        }
        for (slot, due) in &model.due {
            let got = model.got.get(slot).map(Vec::as_slice).unwrap_or_default();
            assert!(got.is_sorted(), "seed {seed}: {slot} got {got:?}");
            // Somebody who came later may get a little of what was published before.
            if !left.contains(slot) {
                assert!(got.ends_with(due), "seed {seed}: {slot} got {got:?} of {due:?}");
            }
        }
        assert_eq!(model.got.get(&0), model.due.get(&0), "seed {seed}: one who was there first");
    }
}

#[test]
fn a_topic_lives_as_long_as_somebody_needs_it() {
    let mut topics = topics(1);
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
    let stale = topics.publish(first, None, b"x", b"");
    assert_eq!(stale, Published::Refused, "a stale handle reaches nobody");
    assert!(!topics.subscribe(first, id(2), &mut subscriptions));
    assert_eq!(topics.subscribers(first), 0);
}

#[test]
fn a_topic_with_publications_under_way_is_kept_until_they_are_served() {
    let mut topics = topics(1);
    let topic = topics.open("a", false).expect("room");
    let mut subscriptions = Subscriptions::new();
    assert!(topics.subscribe(topic, id(1), &mut subscriptions));
    assert_eq!(topics.publish(topic, Some(id(1)), b"h", b"p"), Published::Queued);
    let (index, place) = subscriptions.pop().expect("subscribed");
    topics.unsubscribe(index, place, |_, _, _| {});
    // The author has gone; other shards still have to be told.
    assert_eq!(topics.len(), 1);
    topics.skip_forwarding();
    let slice = topics.next_slice(10, usize::MAX).expect("a batch");
    assert_eq!((slice.from, slice.to), (0, 0));
    assert_eq!(slice.batch.authored_by(id(1)).len(), 1);
    topics.finish_slice(slice);
    assert_eq!(topics.len(), 0);
    assert!(!topics.is_busy());
}

#[test]
fn an_author_is_found_among_others() {
    let mut topics = topics(1);
    let topic = topics.open("a", true).expect("room");
    for (by, payload) in [(7, b"1"), (3, b"2"), (7, b"3"), (9, b"4"), (3, b"5")] {
        assert_eq!(topics.publish(topic, Some(id(by)), b"", payload), Published::Queued);
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
fn what_waits_is_bounded_and_publishers_are_slowed_down_long_before() {
    let mut topics = topics(1);
    let topic = topics.open("a", true).expect("room");
    let mut subscriptions = Subscriptions::new();
    assert!(topics.subscribe(topic, id(1), &mut subscriptions));
    let (little, big) = (vec![0; 600 << 10], vec![0; 40 << 20]);
    assert_eq!(topics.publish(topic, None, b"", &little), Published::Queued);
    assert!(!topics.is_crowded());
    assert_eq!(topics.publish(topic, None, b"", &big), Published::Crowded);
    assert!(topics.is_crowded());
    assert_eq!(topics.publish(topic, None, b"", &big), Published::Refused);
    topics.skip_forwarding();
    assert_eq!(topics.deliver("a", &big, 1), Arrived::NoRoom);
    assert_eq!(topics.deliver("b", &big, 1), Arrived::Unneeded, "nobody is here for it");
    // The fan-out makes room.
    let slice = topics.next_slice(10, usize::MAX).expect("a batch");
    topics.finish_slice(slice);
    assert!(!topics.is_crowded());
    assert_eq!(
        topics.deliver("a", &vec![0; 65 << 20], 1),
        Arrived::Queued,
        "larger than the limit"
    );
    assert!(topics.is_crowded());
    assert_eq!(topics.deliver("a", b"x", 1), Arrived::NoRoom);
}

#[test]
fn what_waits_for_other_shards_slows_publishers_down_and_is_bounded() {
    let mut topics = topics(1);
    let topic = topics.open("a", true).expect("room");
    topics.note_outbox(1);
    assert_eq!(topics.publish(topic, None, b"", b"x"), Published::Crowded);
    assert!(topics.is_crowded());
    topics.note_outbox(65 << 20);
    assert_eq!(topics.publish(topic, None, b"", b"x"), Published::Refused);
    topics.note_outbox(0);
    assert!(!topics.is_crowded());
    assert_eq!(topics.publish(topic, None, b"", b"x"), Published::Queued);
    topics.close();
    assert_eq!(topics.publish(topic, None, b"", b"x"), Published::Refused, "it drains");
    topics.note_outbox(0);
    assert_eq!(topics.publish(topic, None, b"", b"x"), Published::Refused, "it still drains");
}

/// The shards that a publication on this one goes to.
fn told(topics: &mut Topics, name: &str) -> Vec<usize> {
    let topic = topics.open(name, false).expect("room");
    assert_eq!(topics.publish(topic, None, b"", b"x"), Published::Queued);
    let mut told = Vec::new();
    topics.forward(|to, command| {
        assert!(matches!(command, PublishCommand::Publication { topic, .. } if &*topic == name));
        told.push(to);
    });
    while let Some(slice) = topics.next_slice(10, usize::MAX) {
        topics.finish_slice(slice);
    }
    topics.release_unused();
    told
}

#[test]
fn only_shards_with_subscribers_are_told() {
    let [mut a, mut b, mut c] = shards(10);
    assert_eq!(told(&mut a, "room"), []);
    let join = |topics: &mut Topics, slot| {
        let (topic, mut all) = (topics.open("room", false).expect("room"), Subscriptions::new());
        assert!(topics.subscribe(topic, id(slot), &mut all));
        move |topics: &mut Topics| topics.unsubscribe(all[0].0, all[0].1, |_, _, _| {})
    };
    let (first, second) = (join(&mut b, 1), join(&mut b, 2));
    assert_eq!(told(&mut a, "room"), [1]);
    let third = join(&mut c, 1);
    assert_eq!(told(&mut a, "room"), [1, 2]);
    assert_eq!(told(&mut b, "room"), [2], "its own are told without mail");
    second(&mut b);
    assert_eq!(told(&mut a, "room"), [1, 2], "one is still there");
    first(&mut b);
    assert_eq!(told(&mut a, "room"), [2]);
    assert_eq!(told(&mut a, "elsewhere"), []);
    third(&mut c);
    assert_eq!(told(&mut a, "room"), []);
    assert_eq!(a.hub.interests.len(), 0, "what nobody needs is forgotten");
}

#[test]
fn a_topic_that_was_only_looked_at_is_gone_again() {
    let mut topics = topics(2);
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
    let mut topics = topics(1);
    let topic = topics.open("a", true).expect("room");
    let mut subscriptions: Vec<_> = (0..10).map(|_| Subscriptions::new()).collect();
    for (n, subscriptions) in (0..).zip(&mut subscriptions) {
        assert!(topics.subscribe(topic, id(n), subscriptions));
    }
    assert_eq!(topics.publish(topic, None, b"", &[0; 100]), Published::Queued);
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
