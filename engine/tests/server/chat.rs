//! The example `chat`, with people in it.

use ringbolt::Server;

use crate::chat_example::Chat;
use crate::support::{Client, PATIENCE, Running, config};

fn join(server: &Server, room: &str, name: &str) -> Client {
    Client::connect(server.address(), &format!("{room}?name={name}"))
}

#[test]
fn people_meet_talk_and_leave() {
    let builder = Server::builder().shards(2).config(config());
    let server = Running::from(builder.start(Chat::new).expect("it starts"));
    let mut ann = join(&server, "/lobby", "ann");
    let other = join(&server, "/elsewhere", "zoe");
    let names: Vec<_> = (0..9).map(|n| format!("guest{n}")).collect();
    let mut guests: Vec<Client> = Vec::new();
    for name in &names {
        let guest = join(&server, "/lobby", name);
        for present in [&mut ann].into_iter().chain(&mut guests) {
            present.expect_text(&format!("* {name} joins"));
        }
        guests.push(guest);
    }
    guests[3].text("hello");
    ann.expect_text("guest3: hello");
    for (n, guest) in guests.iter_mut().enumerate() {
        if n != 3 {
            guest.expect_text("guest3: hello");
        }
    }
    drop(guests.remove(0));
    ann.expect_text("* guest0 leaves");
    for guest in &mut guests {
        guest.expect_text("* guest0 leaves");
    }
    // Nobody heard of it elsewhere.
    other.stream.set_nonblocking(true).expect("a flag");
    assert!(std::io::Read::read(&mut &other.stream, &mut [0]).is_err());
    drop((ann, guests, other));
    assert_eq!(server.wait_for_nothing().topics, 0);
    server.end(PATIENCE);
}

#[test]
fn nobody_comes_in_without_a_name() {
    // covers: SEC-03
    let builder = Server::builder().shards(1).config(config());
    let server = Running::from(builder.start(Chat::new).expect("it starts"));
    for resource in ["/lobby", "/lobby?name=", "/lobby?name=%3Cb%3E", "/lobby?nam=ann"] {
        let mut client = Client::raw(server.address());
        client.send(&crate::support::request(resource));
        assert!(client.head().starts_with("HTTP/1.1 400 "), "{resource}");
    }
}
