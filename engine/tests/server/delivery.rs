//! A publication that was taken arrives: at whoever was subscribed, in order, whatever is full, held
//! up, or coming to its end.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use ringbolt::handshake::UpgradeRequest;
use ringbolt::{Accept, Config, Handler, Message, Reject, Server, SlowConsumer, Topic, WebSocket};

use crate::support::{
    BINARY, CLOSE, Client, Running, TEXT, config, frame, frames, pattern, wait_until,
};

/// Rooms by resource name, on shards that can be held up.
#[derive(Debug)]
struct Hall {
    shard: usize,
    /// What a connection is told when it holds its shard up, and how the shard is let go again.
    gate: Arc<Gate>,
}

/// Holds a shard up in a callback.
#[derive(Debug)]
struct Gate {
    entered: mpsc::Sender<usize>,
    go: Mutex<mpsc::Receiver<()>>,
}

impl Gate {
    fn pass(&self, shard: usize) {
        // A test that has failed lets everybody go.
        let waited_for = self.entered.send(shard).is_ok();
        let _ = waited_for && self.go.lock().is_ok_and(|go| go.recv().is_ok());
    }
}

impl Handler for Hall {
    type Data = (String, Option<Topic>);

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_>) -> Result<Accept<Self::Data>, Reject> {
        Ok(Accept::new((request.resource_name().to_owned(), None)))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, Self::Data>) {
        let name = ws.data().0.clone();
        let topic = ws.topic(&name).expect("few topics");
        assert!(ws.subscribe(topic));
        ws.data_mut().1 = Some(topic);
        ws.send(&*self.shard.to_string()).expect("room");
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, Self::Data>, message: Message<'_>) {
        let topic = ws.data().1.expect("subscribed when opened");
        match message {
            Message::Text("/hold") => self.gate.pass(self.shard),
            Message::Text("/missed") => {
                let missed = ws.publications_missed().to_string();
                ws.send(&*missed).expect("room");
            }
            Message::Text("/echo") => ws.send(message).expect("room"),
            // The test goes on when it has been taken, and before anybody has got it.
            Message::Text("/last") => {
                ws.publish(topic, message).expect("little waits");
                self.gate.pass(self.shard);
            }
            _ => ws.publish(topic, message).expect("little waits"),
        }
    }
}

/// A hall, and the other ends of its gate.
struct Open {
    go: mpsc::Sender<()>,
    entered: mpsc::Receiver<usize>,
    /// The last to go: it waits for its shards.
    server: Running,
}

fn open(shards: usize, config: Config) -> Open {
    let ((entered, told), (go, going)) = (mpsc::channel(), mpsc::channel());
    let gate = Arc::new(Gate { entered, go: Mutex::new(going) });
    let builder = Server::builder().shards(shards).config(config);
    let server = builder
        .start(move |shard| Hall { shard: shard.index(), gate: Arc::clone(&gate) })
        .expect("it starts");
    Open { go, entered: told, server: server.into() }
}

impl Open {
    /// A client in a room, and the shard that it is on.
    fn join(&self, room: &str) -> (Client, usize) {
        let mut client = Client::connect(self.server.address(), room);
        let shard = String::from_utf8(client.frame().payload).expect("text");
        (client, shard.parse().expect("a number"))
    }

    /// Joins a room by a connection of this shard.
    fn join_on(&self, room: &str, shard: usize) -> Client {
        // The kernel spreads connections; the chance to miss a shard of two so often is nil.
        let mut tries = (0..200).map(|_| self.join(room)).filter(|(_, on)| *on == shard);
        tries.next().expect("both shards get connections").0
    }

    /// Holds the shard of this client up.
    fn hold(&self, client: &mut Client) {
        client.text("/hold");
        self.entered.recv().expect("it is held up");
    }

    fn let_go(&self) {
        self.go.send(()).expect("it waits");
    }
}

fn sync(client: &mut Client) {
    client.text("/echo");
    client.expect_text("/echo");
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("number {n}")).collect()
}

fn narrow(entries: usize) -> Config {
    config().with(|config| config.mailbox_entries = entries)
}

#[test]
fn nothing_is_lost_to_a_shard_that_is_held_up_and_publishers_wait_for_it() {
    let hall = open(2, narrow(2));
    let mut holder = hall.join_on("/hold", 1);
    let mut pairs: Vec<_> = (0..20)
        .map(|room| {
            let room = format!("/rooms/{room}");
            (hall.join_on(&room, 0), hall.join_on(&room, 1))
        })
        .collect();
    let mut neighbour = hall.join_on("/elsewhere", 0);
    hall.hold(&mut holder);
    // Far more letters than there is room for.
    let texts = numbers(300);
    for (publisher, _) in &mut pairs {
        publisher.send(&frames(TEXT, &texts));
    }
    // Counters of the shard that is not held up.
    let counters = || hall.server.snapshot().counters;
    wait_until("something waits", || counters().publications > 3 * 300);
    for (publisher, _) in &mut pairs {
        publisher.text("more");
    }
    wait_until("all of them are held back", || counters().publisher_pauses == 20);
    for _ in 0..10 {
        sync(&mut neighbour);
    }
    let then = counters().publications;
    // What they send now is not read.
    for (publisher, _) in &mut pairs {
        publisher.text("later");
    }
    for _ in 0..10 {
        sync(&mut neighbour);
    }
    assert_eq!(counters().publications, then, "they were read on");
    hall.let_go();
    for (publisher, subscriber) in &mut pairs {
        for text in &texts {
            subscriber.expect_text(text);
        }
        subscriber.expect_text("more");
        subscriber.expect_text("later");
        sync(publisher);
    }
    let end = hall.server.snapshot().counters;
    assert_eq!((end.publications, end.publications_lost), (20 * 302, 0), "{end:?}");
    assert_eq!(end.publications_refused, 0, "{end:?}");
}

#[test]
fn shards_whose_mailboxes_are_full_towards_each_other_lose_nothing() {
    let hall = open(2, narrow(1));
    let mut rooms: Vec<Vec<_>> = (0..12)
        .map(|room| {
            let room = format!("/both/{room}");
            [0, 1, 0, 1].map(|shard| hall.join_on(&room, shard)).into()
        })
        .collect();
    let count = 400;
    let writers: Vec<_> = rooms
        .iter_mut()
        .enumerate()
        .map(|(n, room)| {
            // Half of the rooms are written to from either shard.
            let mut publisher = room.swap_remove(n % 2);
            thread::spawn(move || {
                for text in numbers(count) {
                    publisher.text(&text);
                }
                sync(&mut publisher);
            })
        })
        .collect();
    for (n, room) in rooms.iter_mut().enumerate() {
        for reader in room {
            for text in numbers(count) {
                assert_eq!(reader.frame().payload, text.as_bytes(), "room {n}");
            }
        }
    }
    for writer in writers {
        writer.join().expect("it was read to its end");
    }
    let end = hall.server.snapshot().counters;
    assert_eq!((end.publications, end.publications_lost), (12 * count as u64, 0), "{end:?}");
}

#[test]
fn shards_without_subscribers_get_no_mail() {
    let hall = open(2, config());
    let mut here = [hall.join_on("/here", 0), hall.join_on("/here", 0)];
    let mut there = hall.join_on("/there", 1);
    let publisher = hall.server.publisher();
    wait_until("those on the wrong shard are gone", || hall.server.snapshot().open == 3);
    for text in numbers(50) {
        here[0].text(&text);
        here[1].expect_text(&text);
        there.text(&text);
    }
    sync(&mut there);
    assert_eq!(hall.server.snapshot().counters.publish_commands, 0);
    for text in numbers(50) {
        publisher.publish("/here", &*text).expect("room");
        publisher.publish("/nowhere", &*text).expect("nobody is no error");
        for client in &mut here {
            client.expect_text(&text);
        }
    }
    assert_eq!(hall.server.snapshot().counters.publish_commands, 50, "one shard, one topic");
    // Interest comes and goes with the first and the last subscriber.
    let mut guest = hall.join_on("/here", 1);
    wait_until("those on the wrong shard are gone", || hall.server.snapshot().open == 4);
    here[0].text("welcome");
    guest.expect_text("welcome");
    here[1].expect_text("welcome");
    assert_eq!(hall.server.snapshot().counters.publish_commands, 51);
    guest.close();
    here[0].text("gone");
    here[1].expect_text("gone");
    sync(&mut there);
    assert_eq!(hall.server.snapshot().counters.publish_commands, 51);
}

#[test]
fn other_threads_publish_to_all_shards_or_to_none() {
    let hall = open(2, narrow(2));
    let mut holder = hall.join_on("/hold", 1);
    let mut readers = [hall.join_on("/all", 0), hall.join_on("/all", 1)];
    let publisher = hall.server.publisher();
    hall.hold(&mut holder);
    let mut taken = Vec::new();
    for text in numbers(50) {
        if publisher.publish("/all", &*text).is_ok() {
            taken.push(text);
        }
    }
    assert_eq!(taken.len(), 2, "as many as there is room for on the shard that is held up");
    hall.let_go();
    sync(&mut holder);
    while publisher.publish("/all", "the end").is_err() {
        thread::yield_now();
    }
    for reader in &mut readers {
        for text in &taken {
            reader.expect_text(text);
        }
        reader.expect_text("the end");
    }
}

/// Whoever is subscribed when a message is published just before a drain gets it.
fn drain_right_after_a_publication(shards: usize) {
    let hall = open(shards, config());
    // More than one slice of the fan-out.
    let mut readers: Vec<_> = (0..600).map(|_| hall.join("/room").0).collect();
    let mut publisher = hall.join("/room").0;
    publisher.text("/last");
    hall.entered.recv().expect("it was published");
    hall.server.drain(Duration::from_secs(60));
    hall.let_go();
    for reader in &mut readers {
        reader.expect_text("/last");
        reader.expect(CLOSE, b"");
        reader.send(&frame(CLOSE, b""));
    }
    publisher.expect(CLOSE, b"");
    publisher.send(&frame(CLOSE, b""));
    drop((readers, publisher));
    let end = hall.server.end(Duration::from_secs(60)).counters;
    assert_eq!((end.deliveries, end.publications_lost), (600, 0), "{end:?}");
}

#[test]
fn a_drain_finishes_the_fan_outs_of_one_shard() {
    // covers: CLOSE-09
    drain_right_after_a_publication(1);
}

#[test]
fn a_drain_finishes_the_fan_outs_of_two_shards() {
    // covers: CLOSE-09
    drain_right_after_a_publication(2);
}

#[test]
fn a_drain_waits_for_full_mailboxes_and_refuses_what_comes_later() {
    let hall = open(2, narrow(1));
    let mut holder = hall.join_on("/hold", 1);
    let mut rooms: Vec<_> = (0..5)
        .map(|n| (hall.join_on(&format!("/{n}"), 0), hall.join_on(&format!("/{n}"), 1)))
        .collect();
    let mut neighbour = hall.join_on("/elsewhere", 0);
    hall.hold(&mut holder);
    for (publisher, _) in &mut rooms {
        publisher.text("taken");
    }
    sync(&mut neighbour);
    hall.server.drain(Duration::from_secs(60));
    let refused = hall.server.publisher().publish("/0", "too late");
    assert!(refused.is_err(), "from the moment of the drain on");
    assert!(hall.server.publisher().publish("/nobody", "too late").is_err());
    hall.let_go();
    for (publisher, reader) in &mut rooms {
        reader.expect_text("taken");
        reader.expect(CLOSE, b"");
        publisher.expect(CLOSE, b"");
    }
    drop((holder, rooms, neighbour));
    let end = hall.server.end(Duration::from_secs(60)).counters;
    assert_eq!((end.publications, end.publications_lost), (5, 0), "{end:?}");
}

#[test]
fn a_drain_waits_half_its_time_for_a_shard_that_is_held_up() {
    let hall = open(2, narrow(1));
    let mut holder = hall.join_on("/hold", 1);
    let mut reader = hall.join_on("/room", 1);
    let mut publishers = [(); 3].map(|()| hall.join_on("/room", 0));
    hall.hold(&mut holder);
    // The mailbox takes one letter of them. Each has a publisher of its own, who is read from no more
    // once his waits for room, and a turn, or they would leave together.
    for publisher in &mut publishers {
        publisher.send(&frames(TEXT, &["to whom it concerns", "/echo"]));
        while publisher.frame().payload != b"/echo" {}
    }
    hall.server.drain(Duration::from_secs(2));
    for publisher in &mut publishers {
        while publisher.frame().first == TEXT {}
    }
    hall.let_go();
    while reader.try_frame().is_some_and(|frame| frame.first == TEXT) {}
    drop((holder, publishers));
    let end = hall.server.end(Duration::ZERO).counters;
    assert!(end.publications_lost >= 2, "what was given up is counted: {end:?}");
}

#[test]
fn what_other_threads_published_before_a_drain_arrives() {
    let hall = open(2, narrow(64));
    let mut readers: Vec<_> = [0, 1].map(|shard| hall.join_on("/race", shard)).into();
    let draining = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (publisher, draining) = (hall.server.publisher(), Arc::clone(&draining));
            thread::spawn(move || {
                let mut taken = 0;
                loop {
                    let over = draining.load(Ordering::SeqCst);
                    let outcome = publisher.publish("/race", &*format!("{writer} {taken}"));
                    match outcome {
                        Ok(()) if over => panic!("taken after the drain began"),
                        Ok(()) => taken += 1,
                        Err(_) if over => return taken,
                        Err(_) => thread::yield_now(),
                    }
                }
            })
        })
        .collect();
    let received: Vec<_> = readers
        .drain(..)
        .map(|mut reader| {
            thread::spawn(move || {
                let mut next = [0; 3];
                let _ = std::iter::from_fn(|| reader.try_frame()).try_for_each(|frame| {
                    if frame.first == CLOSE {
                        return ControlFlow::Break(());
                    }
                    let text = String::from_utf8(frame.payload).expect("text");
                    let (writer, n) = text.split_once(' ').expect("two numbers");
                    let writer: usize = writer.parse().expect("a number");
                    assert_eq!(n.parse(), Ok(next[writer]), "the order of writer {writer}");
                    next[writer] += 1;
                    ControlFlow::Continue(())
                });
                reader.send(&frame(CLOSE, b""));
                next
            })
        })
        .collect();
    wait_until("much was published", || hall.server.snapshot().counters.publish_commands > 500);
    hall.server.drain(Duration::from_secs(60));
    draining.store(true, Ordering::SeqCst);
    let taken: Vec<i32> = writers.into_iter().map(|one| one.join().expect("it ends")).collect();
    for reader in received {
        assert_eq!(reader.join().expect("in order")[..], taken, "what was taken arrives");
    }
}

#[test]
fn a_slow_consumer_can_be_told_what_it_missed() {
    // covers: SEC-05
    let hall = open(
        1,
        config().with(|config| {
            config.max_outbound_bytes = 300_000;
            config.slow_consumer = SlowConsumer::Drop;
        }),
    );
    let (mut publisher, mut reader) = (hall.join("/flood").0, hall.join("/flood").0);
    let mut slow = hall.join("/flood").0;
    let bytes = pattern(60_000, 8);
    let mut sent = 0_u64;
    while hall.server.snapshot().counters.deliveries_dropped < 20 {
        publisher.send(&frame(BINARY, &bytes));
        reader.expect(BINARY, &bytes);
        sent += 1;
        assert!(sent < 5_000, "it was never slow");
    }
    sync(&mut publisher);
    let dropped = hall.server.snapshot().counters.deliveries_dropped;
    for _ in 0..sent - dropped {
        slow.expect(BINARY, &bytes);
    }
    for (client, missed) in [(&mut slow, dropped), (&mut reader, 0), (&mut publisher, 0)] {
        client.text("/missed");
        client.expect_text(&missed.to_string());
    }
}
