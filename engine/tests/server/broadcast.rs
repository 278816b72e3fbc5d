//! Topics: who gets what, in which order, across shards, and what a slow reader costs.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ringbolt::handshake::UpgradeRequest;
use ringbolt::{
    Accept, CloseReason, Config, Handler, Message, Reject, Remote, Server, SlowConsumer, Topic,
    WebSocket,
};

use crate::support::{BINARY, CLOSE, Client, Running, TEXT, config, frame, pattern, wait_until};

/// Rooms by resource name. Text messages that begin with a slash are orders, everything else goes
/// to the others in the room.
#[derive(Debug)]
struct Rooms {
    remotes: Option<mpsc::Sender<Remote>>,
}

impl Handler for Rooms {
    type Data = (String, Option<Topic>);

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_>) -> Result<Accept<Self::Data>, Reject> {
        Ok(Accept::new((request.resource_name().to_owned(), None)))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, Self::Data>) {
        let name = ws.data().0.clone();
        let topic = ws.topic(&name).expect("few topics");
        assert!(ws.subscribe(topic));
        assert!(ws.subscribe(topic), "twice is once");
        ws.data_mut().1 = Some(topic);
        if let Some(remotes) = &self.remotes {
            remotes.send(ws.remote()).expect("the test waits for it");
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, Self::Data>, message: Message<'_>) {
        let topic = ws.data().1.expect("subscribed when opened");
        match message {
            Message::Text("/leave") => ws.unsubscribe(topic),
            Message::Text("/join") => assert!(ws.subscribe(topic)),
            Message::Text("/rejoin") => {
                ws.unsubscribe(topic);
                assert!(ws.subscribe(topic));
            }
            Message::Text("/close") => ws.close(),
            Message::Text("/echo") => ws.send(message).expect("room"),
            _ => ws.publish(topic, message).expect("little waits"),
        }
    }
}

fn rooms(shards: usize, config: Config) -> Running {
    Running::new(Server::builder().shards(shards).config(config), || Rooms { remotes: None })
}

/// A client that is surely subscribed: its order was obeyed, and what it published before was
/// forwarded.
fn join(server: &Running, room: &str) -> Client {
    let mut client = Client::connect(server.address(), room);
    sync(&mut client);
    client
}

fn sync(client: &mut Client) {
    client.text("/echo");
    client.expect_text("/echo");
}

#[test]
fn every_other_subscriber_of_all_shards_gets_a_message_and_the_publisher_does_not() {
    // covers: FR-18
    let server = rooms(2, config());
    let mut clients: Vec<_> = (0..24).map(|_| join(&server, "/room")).collect();
    let mut outsider = join(&server, "/elsewhere");
    // Connections are spread over the shards by the kernel: with 24 both surely have some.
    for (author, n) in [(0, 1), (23, 2), (11, 3)] {
        let text = format!("message {n}");
        clients[author].text(&text);
        for (index, client) in clients.iter_mut().enumerate() {
            if index != author {
                client.expect_text(&text);
            }
        }
    }
    let bytes = pattern(700_000, 5);
    clients[5].send(&frame(BINARY, &bytes));
    for (index, client) in clients.iter_mut().enumerate() {
        if index != 5 {
            client.expect(BINARY, &bytes);
        }
    }
    for client in clients.iter_mut().chain([&mut outsider]) {
        sync(client);
    }
    let now = server.snapshot();
    assert_eq!(now.counters.publications, 4, "{now}");
    assert_eq!(now.counters.deliveries, 4 * 23, "{now}");
    assert_eq!(now.topics, 3, "two shards have the room, one has the other: {now}");
    drop((clients, outsider));
    let end = server.wait_for_nothing();
    assert_eq!(end.topics, 0, "topics disappear with their last subscriber: {end}");
}

#[test]
fn each_publishers_order_holds_for_every_subscriber() {
    let server = rooms(2, config());
    let messages = 2_000;
    let mut readers: Vec<_> = (0..6).map(|_| join(&server, "/order")).collect();
    let writers: Vec<_> = (0..4).map(|_| join(&server, "/order")).collect();
    let writers: Vec<_> = writers
        .into_iter()
        .enumerate()
        .map(|(writer, mut client)| {
            thread::spawn(move || {
                let wire: Vec<u8> = (0..messages)
                    .flat_map(|n| frame(TEXT, format!("{writer} {n}").as_bytes()))
                    .collect();
                client.send(&wire);
                // Its neighbours' messages, and none of its own.
                let mut next = [0; 4];
                for _ in 0..3 * messages {
                    check_order(&client.frame().payload, &mut next);
                }
                assert_eq!(next[writer], 0, "one's own messages do not come back");
                client
            })
        })
        .collect();
    for reader in &mut readers {
        let mut next = [0; 4];
        for _ in 0..4 * messages {
            check_order(&reader.frame().payload, &mut next);
        }
        assert_eq!(next, [messages; 4]);
    }
    for writer in writers {
        drop(writer.join().expect("every writer gets the others'"));
    }
}

fn check_order(payload: &[u8], next: &mut [usize; 4]) {
    let text = std::str::from_utf8(payload).expect("text");
    let (writer, n) = text.split_once(' ').expect("two numbers");
    let (writer, n): (usize, usize) = (writer.parse().expect("one"), n.parse().expect("one"));
    assert_eq!(n, next[writer], "the order of writer {writer}");
    next[writer] += 1;
}

#[test]
fn subscribers_come_and_go_while_a_large_room_is_served() {
    let server = rooms(1, config());
    // More than one slice of the fan-out.
    let mut members: Vec<_> = (0..700).map(|_| join(&server, "/busy")).collect();
    let mut publisher = join(&server, "/busy");
    let address = server.address();
    let changing = thread::spawn(move || {
        let mut rng = fastrand::Rng::with_seed(11);
        let mut guests = Vec::new();
        for _ in 0..300 {
            let mut guest = Client::connect(address, "/busy");
            match rng.u8(..4) {
                0 => guest.text("/leave"),
                1 => guest.text("/rejoin"),
                2 => drop(guests.pop()),
                _ => {}
            }
            guests.push(guest);
        }
    });
    let rounds = 60;
    for n in 0..rounds {
        publisher.text(&format!("round {n}"));
        thread::sleep(Duration::from_millis(1));
    }
    changing.join().expect("guests come and go");
    for member in &mut members {
        for n in 0..rounds {
            member.expect_text(&format!("round {n}"));
        }
        sync(member);
    }
    drop((members, publisher));
    let end = server.wait_for_nothing();
    assert_eq!((end.topics, end.counters.deliveries_dropped), (0, 0), "{end}");
}

#[test]
fn leaving_and_joining_take_effect() {
    let server = rooms(1, config());
    let mut publisher = join(&server, "/door");
    let mut guest = join(&server, "/door");
    publisher.text("one");
    guest.expect_text("one");
    guest.text("/leave");
    sync(&mut guest);
    publisher.text("two");
    sync(&mut publisher);
    guest.text("/join");
    sync(&mut guest);
    publisher.text("three");
    guest.expect_text("three");
    // The last word of a callback counts.
    guest.text("/rejoin");
    sync(&mut guest);
    publisher.text("four");
    guest.expect_text("four");
}

#[test]
fn other_threads_publish_and_address_single_connections() {
    // covers: CTL-05
    let (remotes, inbox) = mpsc::channel();
    let server = Running::new(Server::builder().shards(2).config(config()), move || Rooms {
        remotes: Some(remotes.clone()),
    });
    let mut clients = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..10 {
        clients.push(join(&server, "/far"));
        addresses.push(inbox.recv().expect("it opened"));
    }
    let publisher = server.publisher();
    let publishing = thread::spawn(move || {
        for n in 0..100 {
            publisher.publish("/far", &*format!("all {n}")).expect("room");
        }
        publisher.publish("/nobody", "here").expect("nobody is no error");
    });
    publishing.join().expect("published");
    for client in &mut clients {
        for n in 0..100 {
            client.expect_text(&format!("all {n}"));
        }
    }
    for (n, remote) in addresses.iter().enumerate() {
        remote.send(&*format!("you are {n}")).expect("room");
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.expect_text(&format!("you are {n}"));
    }
    let before = server.snapshot();
    assert_eq!(before.counters.messages_out, 20, "ten echoes and ten addressed: {before}");
    assert_eq!(before.counters.bytes_out, 10 * ("/echo".len() + "you are 0".len()) as u64);
    for (remote, mut client) in addresses.iter().zip(clients) {
        remote.close().expect("room");
        remote.send("too late").expect("it is taken, and dropped");
        client.expect(CLOSE, b"");
        client.send(&frame(CLOSE, b""));
        client.expect_end();
    }
    let end = server.wait_for_nothing();
    assert_eq!(end.counters.messages_out, 20, "nothing follows a Close: {end}");
    for remote in addresses {
        remote.send("gone").expect("a stale address is no error");
    }
}

/// Publishes to a room in which one reads and one does not, until `enough`.
fn flood(
    server: &Running,
    enough: impl Fn(&ringbolt::metrics::Snapshot) -> bool,
) -> (u64, Client, Client) {
    let mut publisher = join(server, "/flood");
    let mut reader = join(server, "/flood");
    let slow = join(server, "/flood");
    let bytes = pattern(60_000, 8);
    let wire = frame(BINARY, &bytes);
    let mut sent = 0;
    while !enough(&server.snapshot()) {
        publisher.send(&wire);
        reader.expect(BINARY, &bytes);
        sent += 1;
        assert!(sent < 5_000, "it was never slow");
    }
    sync(&mut publisher);
    (sent, slow, reader)
}

#[test]
fn a_slow_consumer_is_closed_and_counted() {
    // covers: SEC-05
    let server = rooms(1, config().with(|config| config.max_outbound_bytes = 300_000));
    let index = CloseReason::SlowConsumer.index();
    let (sent, mut slow, mut reader) = flood(&server, |now| now.closed[index] > 0);
    // What the kernel had taken may still arrive; then it ends.
    let mut received = 0;
    while slow.try_frame().is_some() {
        received += 1;
    }
    assert!(received < sent, "it got everything");
    sync(&mut reader);
    let end = server.snapshot();
    assert_eq!((end.closed[index], end.open), (1, 1), "the publisher has gone, too: {end}");
    assert_eq!(end.counters.deliveries_dropped, 0, "{end}");
}

#[test]
fn a_slow_consumer_misses_messages_whole_and_the_counts_add_up() {
    // covers: FR-12
    let server = rooms(
        1,
        config().with(|config| {
            config.max_outbound_bytes = 300_000;
            config.slow_consumer = SlowConsumer::Drop;
        }),
    );
    let (sent, mut slow, reader) = flood(&server, |now| now.counters.deliveries_dropped >= 20);
    let counted = server.snapshot().counters;
    assert_eq!(counted.publications, sent);
    assert_eq!(counted.deliveries + counted.deliveries_dropped, 2 * sent);
    let bytes = pattern(60_000, 8);
    let due = sent - counted.deliveries_dropped;
    for _ in 0..due {
        slow.expect(BINARY, &bytes);
    }
    // It catches up and lives.
    sync(&mut slow);
    drop(reader);
}

#[test]
fn topics_are_bounded() {
    // covers: CONF-03, SEC-05
    #[derive(Debug)]
    struct Greedy;
    impl Handler for Greedy {
        type Data = ();

        fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
            Ok(Accept::new(()))
        }

        fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
            let Message::Text(name) = message else { return };
            let answer = match ws.topic(name) {
                Some(topic) => {
                    ws.subscribe(topic);
                    "subscribed"
                }
                None => "full",
            };
            ws.send(answer).expect("room");
        }
    }
    let server = Running::new(
        Server::builder().shards(1).config(config().with(|config| config.max_topics = 3)),
        || Greedy,
    );
    let mut client = Client::connect(server.address(), "/");
    let mut answers = Vec::new();
    for name in ["a", "b", "a", "c", "d"] {
        client.text(name);
        answers.push(String::from_utf8(client.frame().payload).expect("text"));
    }
    assert_eq!(answers, ["subscribed", "subscribed", "subscribed", "subscribed", "full"]);
    client.close();
    assert_eq!(server.wait_for_nothing().topics, 0);
}

#[test]
fn many_topics_at_once_keep_to_themselves() {
    let server = rooms(2, config());
    let mut rooms: Vec<_> = (0..40)
        .map(|room| {
            let name = format!("/rooms/{room}");
            (0..3).map(|_| join(&server, &name)).collect::<Vec<_>>()
        })
        .collect();
    for (room, members) in rooms.iter_mut().enumerate() {
        for (n, member) in members.iter_mut().enumerate() {
            member.text(&format!("from {n} in {room}"));
        }
    }
    for (room, members) in rooms.iter_mut().enumerate() {
        for (n, member) in members.iter_mut().enumerate() {
            let received: BTreeSet<_> =
                (0..2).map(|_| String::from_utf8(member.frame().payload).expect("text")).collect();
            let others: BTreeSet<_> =
                (0..3).filter(|o| *o != n).map(|o| format!("from {o} in {room}")).collect();
            assert_eq!(received, others);
        }
    }
    wait_until("forty rooms on at most two shards", || {
        (40..=80).contains(&server.snapshot().topics)
    });
}

#[test]
fn a_full_mailbox_refuses_and_what_it_took_is_delivered() {
    // covers: CONF-03
    let server = Running::new(
        Server::builder().shards(1).config(config().with(|config| config.mailbox_entries = 2)),
        || Rooms { remotes: None },
    );
    let mut client = join(&server, "/full");
    let publisher = server.publisher();
    let (mut taken, mut refused) = (0, 0);
    while refused == 0 || taken == 0 {
        match publisher.publish("/full", &*format!("number {taken}")) {
            Ok(()) => taken += 1,
            Err(_) => refused += 1,
        }
        assert!(taken < 1_000_000, "it never fills");
    }
    for n in 0..taken {
        client.expect_text(&format!("number {n}"));
    }
    sync(&mut client);
}
