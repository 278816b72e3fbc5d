//! Several shards on one thread, without a kernel: each test says who runs when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::conn::Message;
#[cfg(feature = "sim")]
use crate::fault::{self, Fault};
use crate::handler::{Handler, Serve};
use crate::handshake::{ServerPolicy, UpgradeRequest};
use crate::hub::{Hub, Publisher};
use crate::outcome::{Accept, Reject};
use crate::shard::Shard;
use crate::shard::machine::{Action, Machine, Next};
use crate::shard::send_batch::{Lease, SendBatch};
use crate::shard::socket::WebSocket;
use crate::shard::table::ConnectionId;
use crate::wire::{self, FrameHeader, HEADER_MAX, Opcode, hybi02};

const REQUEST: &[u8] = b"GET /demo HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\nSec-WebSocket-Draft: 2\r\n\
    Origin: http://example.com\r\n\r\n^n:ds[4U";

/// Everybody in one room; counts what is refused.
struct Room {
    refused: u64,
}

impl Handler for Room {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, ()>) {
        let room = ws.topic("room").expect("one topic");
        assert!(ws.subscribe(room));
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        let room = ws.topic("room").expect("one topic");
        self.refused += u64::from(ws.publish(room, message).is_err());
    }
}

/// A shard, and what it has sent.
struct Node {
    shard: Shard<Serve<Room>>,
    sends: SendBatch,
    now: Instant,
    /// The first byte of each message sent, by connection.
    got: BTreeMap<u32, Vec<u8>>,
    closed: usize,
    /// What it wants the driver to do.
    exit: bool,
    reads: Vec<ConnectionId>,
}

fn nodes<const N: usize>(entries: usize) -> ([Node; N], Publisher) {
    let hub = Arc::new(Hub::new(N, entries).expect("wakers"));
    let config = Config::new().with(|config| {
        config.policy = ServerPolicy::new();
        config.mailbox_entries = entries;
    });
    let (config, now) = (Arc::new(config), Instant::now());
    let nodes = std::array::from_fn(|index| Node {
        shard: Shard::new(
            Serve(Room { refused: 0 }),
            Arc::clone(&config),
            Arc::clone(&hub),
            index,
            now,
        ),
        sends: SendBatch::default(),
        now,
        got: BTreeMap::new(),
        closed: 0,
        exit: false,
        reads: Vec::new(),
    });
    (nodes, Publisher { hub })
}

impl Node {
    fn open(&mut self) -> ConnectionId {
        let id = self.shard.accepted(0, &mut self.sends, self.now).expect("room");
        self.receive(id, REQUEST);
        self.sends.clear();
        self.shard.settled();
        id
    }

    fn receive(&mut self, id: ConnectionId, bytes: &[u8]) {
        let (mut bytes, lease) = (bytes.to_vec(), Lease::NOWHERE);
        self.shard.received(id, &mut bytes, &lease, &mut self.sends, self.now);
    }

    fn publish(&mut self, by: ConnectionId, byte: u8) {
        let mut frame = [0; HEADER_MAX];
        let len = hybi02::encode(FrameHeader::whole(Opcode::Binary, 1), &mut frame);
        frame[len] = byte;
        self.receive(by, &frame[..=len]);
    }

    /// One turn of the loop, whose sends all go through.
    fn run(&mut self) -> Next {
        while let Some(action) = self.shard.poll_action() {
            match action {
                Action::Close(id) => self.shard.released(id),
                Action::Exit => self.exit = true,
                Action::Receive(id) => self.reads.push(id),
                _ => {}
            }
        }
        let next = self.shard.run(&mut self.sends, self.now);
        for entry in self.sends.entries() {
            let got = self.got.entry(entry.id.slot()).or_default();
            for segment in self.sends.segments(entry) {
                let bytes = self.sends.resolve(segment).expect("nothing goes back in place");
                for (header, payload) in wire::frames(bytes) {
                    match header.opcode {
                        Opcode::Binary => got.extend(payload.first()),
                        _ => self.closed += 1,
                    }
                }
            }
        }
        self.sends.took_lease();
        self.sends.clear();
        self.shard.settled();
        next
    }

    /// Turns until there is nothing to do.
    fn settle(&mut self) -> Next {
        loop {
            let next = self.run();
            if !next.busy {
                return next;
            }
        }
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = self.shard.snapshot().counters;
        counters.iter().find(|(of, _)| *of == name).expect("a counter").1
    }

    fn got(&self, id: ConnectionId) -> &[u8] {
        self.got.get(&id.slot()).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether the shard reads from the connection.
    fn reads(&mut self, id: ConnectionId) -> bool {
        self.shard.want(id) != crate::shard::machine::ReadInterest::Nothing
    }
}

/// Shards that sleep and wake as on a driver, until all of them sleep.
fn until_all_sleep(nodes: &mut [Node]) {
    let mut rounds = 0;
    while nodes.iter().any(|node| !node.shard.mailbox().expect("a shard has one").is_empty()) {
        nodes.iter_mut().for_each(|node| _ = node.settle());
        rounds += 1;
        assert!(rounds < 10_000, "they keep each other awake for ever");
    }
}

#[test]
fn boxes_that_are_full_towards_each_other_lose_nothing_and_wake_nobody_in_vain() {
    for entries in [1, 2, 7] {
        let ([mut a, mut b, mut c], _) = nodes::<3>(entries);
        let (first, second, third) = (a.open(), b.open(), c.open());
        let mut due = Vec::new();
        for byte in 0..200 {
            a.publish(first, byte);
            b.publish(second, byte);
            // Commands leave, and nobody takes them in.
            if byte % 3 == 0 {
                a.shard.forward_publications();
                b.shard.forward_publications();
            }
            due.push(byte);
        }
        assert!(!a.reads(first) && !b.reads(second) && c.reads(third), "publishers wait");
        let mut all = [a, b, c];
        all.iter_mut().for_each(|node| _ = node.run());
        until_all_sleep(&mut all);
        let [mut a, mut b, c] = all;
        assert_eq!([a.got(first), b.got(second)], [&due; 2], "each gets the other's");
        let mut both = [&due[..], &due].concat();
        both.sort_unstable();
        let mut got = c.got(third).to_vec();
        got.sort_unstable();
        assert_eq!(got, both);
        assert!(a.reads(first) && b.reads(second), "they are read again");
        assert!(a.reads.contains(&first) && b.reads.contains(&second), "the drivers are told");
        for node in [&a, &b, &c] {
            assert_eq!(node.counter("publications_lost"), 0);
            assert_eq!(node.shard.app.0.refused, 0);
        }
    }
}

#[test]
fn a_letter_that_finds_too_much_waiting_waits_with_all_behind_it() {
    let ([mut a, mut b], publisher) = nodes::<2>(64);
    let readers: Vec<_> = (0..2_600).map(|_| b.open()).collect();
    let mut sent = Vec::new();
    // A fan-out takes eleven turns, and each brings a command: 64 MiB are there before it is over.
    for byte in 0..11 {
        let payload = vec![byte; 9 << 20];
        if b.shard.post.stalled.is_none() {
            assert!(publisher.publish("room", &*payload).is_ok(), "the box was emptied");
            sent.push(byte);
        }
        b.run();
    }
    assert_eq!(sent.len(), 9, "one in the fan-out, seven that wait for it, one that has no room");
    assert!(publisher.publish("room", &[100][..]).is_ok(), "there is room in the box itself");
    sent.push(100);
    b.run();
    a.settle();
    b.settle();
    assert!(b.shard.post.stalled.is_none() && b.shard.context.mailbox.has_no_letters());
    for reader in readers {
        assert_eq!(b.got(reader), sent);
    }
    assert_eq!(b.counter("publications_lost"), 0);
}

#[test]
fn a_drain_closes_when_everything_has_been_delivered() {
    let ([mut a, mut b], publisher) = nodes::<2>(1);
    let author = a.open();
    let readers: Vec<_> = (0..600).map(|_| b.open()).collect();
    for byte in 0..3 {
        a.publish(author, byte);
        a.run();
    }
    publisher.hub.drain(a.now + Duration::from_secs(10));
    let next = a.settle();
    a.publish(author, 9);
    assert_eq!(a.shard.app.0.refused, 1, "the drain has begun");
    assert_eq!(next.deadline, Some(a.now + Duration::from_secs(5)), "half of it");
    assert!(!a.exit && a.closed == 0, "the other shard may have something for it");
    let mut both = [a, b];
    until_all_sleep(&mut both);
    [a, b] = both;
    for reader in &readers {
        assert_eq!(b.got(*reader), [0, 1, 2]);
    }
    assert_eq!([a.closed, b.closed], [1, 600], "each was told");
    assert_eq!(a.counter("publications_lost") + b.counter("publications_lost"), 0);
}

#[test]
fn a_shard_that_is_gone_holds_nobody_up() {
    let ([mut a, b], publisher) = nodes::<2>(1);
    let author = a.open();
    let mut b = b;
    let _reader = b.open();
    for byte in 0..3 {
        a.publish(author, byte);
        a.run();
    }
    assert!(!a.reads(author));
    drop(b);
    until_all_sleep(std::slice::from_mut(&mut a));
    assert!(a.reads(author), "nobody waits for it");
    a.publish(author, 4);
    a.settle();
    assert!(publisher.publish("room", &[5][..]).is_ok());
    publisher.hub.drain(a.now + Duration::from_secs(10));
    a.settle();
    assert_eq!(a.closed, 1, "the drain does not wait for it either");
}

#[test]
fn a_drain_gives_up_after_half_its_time_and_counts_what_is_lost() {
    let ([mut a, mut b], publisher) = nodes::<2>(1);
    let author = a.open();
    let reader = b.open();
    for byte in 0..3 {
        a.publish(author, byte);
        a.run();
    }
    publisher.hub.drain(a.now + Duration::from_secs(10));
    a.settle();
    assert_eq!(a.closed, 0);
    a.now += Duration::from_secs(5);
    a.settle();
    assert_eq!((a.closed, a.counter("publications_lost")), (1, 2), "one is in the other's box");
    // The other one, who was held up, has time for what it has, though not for more.
    b.settle();
    assert_eq!(b.got(reader), [0]);
}

#[test]
fn a_drain_without_time_waits_for_nothing() {
    let ([mut a, mut b], publisher) = nodes::<2>(1);
    let author = a.open();
    let _reader = b.open();
    for byte in 0..3 {
        a.publish(author, byte);
        a.run();
    }
    publisher.hub.drain(a.now);
    for node in [&mut a, &mut b] {
        (0..3).for_each(|_| _ = node.run());
        assert!(node.exit, "cut at once");
    }
}

#[test]
fn a_place_that_was_taken_before_the_drain_is_waited_for() {
    let ([mut a, mut b], publisher) = nodes::<2>(4);
    let (_, reader) = (a.open(), b.open());
    let mailbox = &publisher.hub.mailboxes[1];
    let weight = crate::hub::Weight::of(1);
    assert_eq!(mailbox.reserve_politely(weight), crate::hub::Reservation::Made);
    publisher.hub.drain(a.now + Duration::from_secs(10));
    let mut both = [a, b];
    until_all_sleep(&mut both);
    [a, b] = both;
    assert_eq!([a.closed, b.closed], [1, 0], "only one has to wait");
    mailbox.cancel(weight);
    b.settle();
    assert_eq!((b.closed, b.got(reader)), (1, &[][..]), "it was given back");
}

/// Every fault of this part of the shard is seen by one of the tests above.
#[cfg(feature = "sim")]
#[test]
fn faults_are_seen() {
    let tests: [(Fault, fn()); 3] = [
        (
            Fault::MailDroppedWhenBoxFull,
            boxes_that_are_full_towards_each_other_lose_nothing_and_wake_nobody_in_vain,
        ),
        (
            Fault::LetterDroppedWhenTopicFull,
            a_letter_that_finds_too_much_waiting_waits_with_all_behind_it,
        ),
        (Fault::DrainCutsFanOuts, a_drain_closes_when_everything_has_been_delivered),
    ];
    for (fault, test) in tests {
        let seen = std::thread::spawn(move || {
            fault::put_back(fault);
            test();
        });
        assert!(seen.join().is_err(), "{fault:?} is not seen");
    }
}
