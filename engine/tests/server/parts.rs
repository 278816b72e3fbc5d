//! Large messages go through in parts: nothing is lost, whatever the pace, and nothing else comes
//! between them.

use std::io::Write as _;
use std::num::NonZeroU32;
use std::sync::mpsc;
use std::thread;

use ringbolt::handshake::UpgradeRequest;
use ringbolt::{Accept, Handler, Message, Part, Reject, Server, Topic, WebSocket};

use crate::support::{
    BINARY, CONTINUATION, Client, MORE, PING, PONG, Relay, Running, TEXT, config, frame, frames,
    letters, pattern, wait_until,
};

/// Large enough that a message of several is received directly into its memory.
const PART: NonZeroU32 = NonZeroU32::new(64 << 10).expect("not zero");

fn relay(shards: usize) -> Running {
    Running::new(Server::builder().shards(shards).config(config()), || Relay(PART))
}

/// The next message, put together from its frames, and how many they were; pongs in between are
/// counted apart.
fn message(client: &mut Client) -> (u8, Vec<u8>, usize, usize) {
    let (mut kind, mut bytes, mut frames, mut pongs) = (None, Vec::new(), 0, 0);
    loop {
        let next = client.frame();
        if next.first == PONG {
            pongs += 1;
            continue;
        }
        let opcode = next.first & !MORE;
        match kind {
            None => kind = Some(opcode),
            Some(_) => assert_eq!(opcode, CONTINUATION, "a message is not interrupted by another"),
        }
        bytes.extend(next.payload);
        frames += 1;
        if next.first & MORE == 0 {
            return (kind.expect("a first frame"), bytes, frames, pongs);
        }
    }
}

#[test]
fn every_size_comes_back_as_it_was_sent() {
    // covers: FR-11, FR-12, FR-13, DATA-01, DATA-02
    let server = relay(1);
    let mut client = Client::connect(server.address(), "/");
    for len in [0, 1, 65_535, 65_536, 65_537, 100_000, 131_072, 300_001, 1 << 20] {
        let bytes = pattern(len, len as u64);
        client.send(&frame(BINARY, &bytes));
        let (kind, back, ..) = message(&mut client);
        assert!(kind == BINARY && back == bytes, "{len} bytes");
        let text = letters(len, len as u64);
        client.send(&frame(TEXT, text.as_bytes()));
        let (kind, back, ..) = message(&mut client);
        assert!(kind == TEXT && back == text.as_bytes(), "{len} letters");
    }
    client.close();
    let end = server.wait_for_nothing();
    assert_eq!((end.counters.messages_in, end.counters.messages_out), (18, 18));
    assert_eq!(end.counters.bytes_in, end.counters.bytes_out);
}

#[test]
fn the_first_part_is_back_before_the_last_is_sent() {
    // covers: FR-11
    let server = relay(1);
    let mut client = Client::connect(server.address(), "/");
    let bytes = pattern(1 << 20, 5);
    let wire = frame(BINARY, &bytes);
    let (front, rest) = wire.split_at(600_000);
    client.send(front);
    let first = client.frame();
    assert_eq!(first.first, BINARY | MORE);
    assert!(first.payload.len() >= PART.get() as usize, "{}", first.payload.len());
    client.send(rest);
    let mut back = first.payload;
    loop {
        let next = client.frame();
        back.extend(next.payload);
        if next.first == CONTINUATION {
            break;
        }
        assert_eq!(next.first, CONTINUATION | MORE);
    }
    assert!(back == bytes);
    client.close();
}

#[test]
fn pings_are_answered_between_parts() {
    // covers: CTL-02, AMB-01
    let server = relay(1);
    let mut client = Client::connect(server.address(), "/");
    let bytes = pattern(900_000, 9);
    let mut wire = Vec::new();
    for (n, piece) in bytes.chunks(90_000).enumerate() {
        wire.extend(frame(if n == 0 { BINARY | MORE } else { CONTINUATION | MORE }, piece));
        wire.extend(frame(PING, b"?"));
    }
    wire.extend(frame(CONTINUATION, b""));
    client.send(&wire);
    let (kind, back, frames, pongs) = message(&mut client);
    assert!(kind == BINARY && back == bytes);
    assert_eq!(pongs, 10);
    assert!(frames > 5, "{frames} frames");
    client.close();
}

#[test]
fn a_late_reader_of_parts_gets_everything() {
    // covers: CONF-05
    let server = relay(1);
    let mut client = Client::connect(server.address(), "/");
    let messages: Vec<_> = (0..40).map(|n| pattern(1 << 20, n)).collect();
    let wire = frames(BINARY, &messages);
    let mut writer = client.stream.try_clone().expect("a second handle");
    let writing = thread::spawn(move || writer.write_all(&wire));
    wait_until("the server pauses", || server.snapshot().counters.read_pauses > 0);
    for sent in &messages {
        let (kind, back, ..) = message(&mut client);
        assert!(kind == BINARY && back == *sent);
    }
    writing.join().expect("no panic").expect("all taken");
    client.close();
    let end = server.wait_for_nothing();
    assert!(end.ring.slow_sends > 0, "{end}");
    assert_eq!(end.counters.sends_refused, 0, "{end}");
}

#[test]
fn many_connections_relay_at_once() {
    let server = relay(2);
    let address = server.address();
    let runs: Vec<_> = (0..8_u64)
        .map(|seed| {
            thread::spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut client = Client::connect(address, "/");
                for n in 0..20 {
                    let bytes = pattern(rng.usize(..1_000_000), seed * 100 + n);
                    let cut = rng.usize(..=bytes.len());
                    let mut wire = frame(BINARY | MORE, &bytes[..cut]);
                    wire.extend(frame(CONTINUATION, &bytes[cut..]));
                    client.send(&wire);
                    let (kind, back, ..) = message(&mut client);
                    assert!(kind == BINARY && back == bytes);
                }
                client.close();
            })
        })
        .collect();
    for (seed, run) in runs.into_iter().enumerate() {
        run.join().unwrap_or_else(|_| panic!("the run with seed {seed} failed"));
    }
    server.wait_for_nothing();
}

/// Tries what must not be possible while a message is under way in parts, and says what happened.
struct Trespasser {
    topic: Topic,
    refused: mpsc::Sender<[bool; 3]>,
}

impl Handler for Trespasser {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, _: Message<'_>) {
        assert!(ws.subscribe(self.topic), "nothing is under way");
        let part = ws.send_part(Part::text(b"x").at(true, true)).is_err();
        let topic = self.topic;
        ws.unsubscribe(topic);
        self.refused.send([part, part, part]).expect("the test listens");
    }

    fn part_bytes(&self) -> Option<NonZeroU32> {
        Some(PART)
    }

    fn on_part(&mut self, ws: &mut WebSocket<'_, ()>, part: Part<'_>) {
        ws.send_part(part).expect("room");
        if part.is_first() {
            let tries = [
                ws.send("between").is_err(),
                ws.send_part(part).is_err(),
                !ws.subscribe(self.topic),
            ];
            self.refused.send(tries).expect("the test listens");
        }
    }
}

#[test]
fn nothing_of_another_message_can_be_sent_between_parts() {
    // covers: FR-11
    let (refused, tries) = mpsc::channel();
    let server = Server::builder().shards(1).config(config()).start(move |shard| Trespasser {
        topic: shard.topic("topic").expect("room"),
        refused: refused.clone(),
    });
    let server = Running::from(server.expect("it starts"));
    let mut client = Client::connect(server.address(), "/");
    let bytes = pattern(500_000, 2);
    client.send(&frame(BINARY, &bytes));
    let (kind, back, ..) = message(&mut client);
    assert!(kind == BINARY && back == bytes);
    assert_eq!(tries.recv(), Ok([true; 3]));
    client.text("subscribe");
    assert_eq!(tries.recv(), Ok([true; 3]), "a subscriber cannot send in parts");
    client.close();
}

#[test]
fn a_peer_that_leaves_half_way_leaves_nothing() {
    // covers: SEC-05
    let server = relay(1);
    for n in 0..20 {
        let mut client = Client::connect(server.address(), "/");
        let wire = frame(BINARY, &pattern(1 << 20, n));
        client.send(&wire[..200_000 + 10_000 * n as usize]);
        let first = client.frame();
        assert_eq!(first.first, BINARY | MORE);
        drop(client);
    }
    server.wait_for_nothing();
}
