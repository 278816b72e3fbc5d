//! What is held for peers stays within the budget, is told in bytes that are really held, and is given
//! back.

use ringbolt::metrics::Snapshot;
use ringbolt::{CloseReason, Server, SlowConsumer};

use crate::rfc6455;
use crate::support::{
    BINARY, Client, PART, PING, PONG, Room, Running, TEXT, config, echo, frame, pattern, wait_until,
};

/// What one connection may have waiting.
const OUTBOUND: usize = 1 << 20;
/// What a shard may hold in all.
const BUDGET: usize = 16 << 20;
/// What remains when nobody is there any more: assemblies, an arena, and the smallest tables.
const KEPT: u64 = 640 << 10;

fn closed(snapshot: &Snapshot, name: &str) -> u64 {
    let index = CloseReason::NAMES.iter().position(|n| *n == name).expect("a reason");
    snapshot.closed[index]
}

/// Everybody is gone, and so is what was held for them.
#[track_caller]
fn expect_given_back(server: &Running) -> Snapshot {
    server.wait_for_nothing();
    wait_until("memory is given back", || server.snapshot().memory_bytes <= KEPT);
    server.snapshot()
}

/// One room: what anybody says goes to all others.
fn room() -> Room {
    Room(|ws, topic, message| {
        // Whoever ends for what waits on him is no subscriber any more.
        let _ = ws.publish(topic, message);
    })
}

#[test]
fn empty_publications_to_those_who_stopped_reading_stay_within_their_limits() {
    // covers: SEC-06
    const READERS: usize = 10;
    const EACH: usize = 2_000;
    const ROUNDS: usize = 100;
    for policy in [SlowConsumer::Drop, SlowConsumer::Close] {
        let settings = config().with(|config| {
            config.max_outbound_bytes = OUTBOUND;
            config.slow_consumer = policy;
        });
        let server = Running::new(Server::builder().shards(1).config(settings), room);
        let readers: Vec<_> = (0..READERS).map(|_| Client::small(server.address())).collect();
        let mut author = Client::connect(server.address(), "/");
        // More than all the buffers of a connection take: what is published stays.
        let mut round = 0;
        while (server.snapshot().memory_bytes as usize) < OUTBOUND / 2 {
            author.send(&frame(BINARY, &pattern(PART / 2, round)));
            author.send(&frame(PING, b""));
            author.expect(PONG, b"");
            round += 1;
            assert!(round < 1_000, "the readers' buffers take everything");
        }
        let empty = frame(TEXT, b"").repeat(EACH);
        for _ in 0..ROUNDS {
            author.send(&empty);
            author.send(&frame(PING, b""));
            author.expect(PONG, b"");
        }
        // Each reader has what he may have at most, and what the author just sent is under way.
        let full = server.snapshot();
        let most = (READERS * OUTBOUND + OUTBOUND) as u64;
        assert!(full.memory_peak_bytes <= most, "{} bytes: {full}", full.memory_peak_bytes);
        let expected = (round as usize + EACH * ROUNDS) as u64;
        assert_eq!(full.counters.publications, expected, "{full}");
        drop((readers, author));
        expect_given_back(&server);
    }
}

#[test]
fn messages_that_nobody_finishes_share_a_budget() {
    // covers: SEC-06
    const LEN: usize = 1_000_000;
    const SENT: usize = 900_000;
    const CLIENTS: u64 = 48;
    let server = echo(
        1,
        config().with(|config| {
            config.memory_budget = Some(BUDGET);
            // Those who are told why are not cut before they have heard it.
            config.close_timeout = std::time::Duration::from_secs(60);
        }),
    );
    let address = server.address();
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        // Both dialects, by turns.
        let today = n % 2 == 1;
        let bytes = pattern(LEN, n);
        let (mut client, whole) = if today {
            let message = rfc6455::frame(rfc6455::BINARY, &bytes);
            (rfc6455::connect(address, "/"), message)
        } else {
            (Client::connect(address, "/"), frame(BINARY, &bytes))
        };
        client.try_send(&whole[..SENT]);
        clients.push((client, whole, today));
    }
    wait_until("some had to go", || closed(&server.snapshot(), "memory") > 0);
    // Those who are ended hold nothing, though their peers have not answered yet.
    wait_until("the rest fits", || server.snapshot().memory_bytes <= BUDGET as u64);
    let (mut served, mut told) = (0, 0);
    for (client, whole, today) in &mut clients {
        client.try_send(&whole[SENT..]);
        match client.try_frame() {
            Some(answer) if answer.first == rfc6455::CLOSE && *today => {
                assert_eq!(answer.payload[..2], 1013_u16.to_be_bytes());
                told += 1;
            }
            Some(answer) => {
                assert_eq!(answer.payload.len(), LEN);
                served += 1;
            }
            None => {}
        }
    }
    drop(clients);
    let end = expect_given_back(&server);
    assert_eq!(served + closed(&end, "memory"), CLIENTS, "told {told}: {end}");
    assert!(served > 0 && told > 0, "{served} served, {told} told: {end}");
    // The budget, and what one turn brings.
    assert!(end.memory_peak_bytes < 2 * BUDGET as u64, "{end}");
}
