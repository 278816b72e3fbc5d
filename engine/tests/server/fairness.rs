//! A neighbour waits for slices: whoever says much at once is served in turns, and loses nothing by it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::{BINARY, Client, config, echo, frame, frames, pattern, wait_until};

#[test]
fn a_flood_of_small_messages_comes_back_whole_and_in_order() {
    let server = echo(1, config());
    let floods: Vec<_> = (0..8_u64)
        .map(|seed| {
            let mut client = Client::connect(server.address(), "/");
            thread::spawn(move || {
                let messages: Vec<_> =
                    (0..6_000).map(|n| pattern(n % 40, seed.wrapping_mul(n as u64 + 1))).collect();
                let bytes = frames(BINARY, &messages);
                thread::scope(|scope| {
                    let mut other = Client::of(client.stream.try_clone().expect("a handle"));
                    scope.spawn(move || other.send(&bytes));
                    for message in &messages {
                        client.expect(BINARY, message);
                    }
                });
                client.close();
            })
        })
        .collect();
    let mut neighbour = Client::connect(server.address(), "/");
    for n in 0..200 {
        neighbour.send(&frame(BINARY, &pattern(100, n)));
        neighbour.expect(BINARY, &pattern(100, n));
    }
    neighbour.close();
    for flood in floods {
        flood.join().expect("all of it came back");
    }
    let counters = server.wait_for_nothing().counters;
    assert_eq!(counters.messages_in, 8 * 6_000 + 200);
    assert!(counters.reads_deferred > 0, "a read of this says too much for one turn");
}

#[test]
fn a_neighbour_is_served_while_a_flood_goes_on() {
    let server = echo(1, config());
    let address = server.address();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut flood = Client::connect(address, "/");
        let mut reader = Client::of(flood.stream.try_clone().expect("a handle"));
        let bytes = frame(BINARY, b"").repeat(20_000);
        let stop = &stop;
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) && flood.try_send(&bytes) {}
            flood.hang_up();
        });
        scope.spawn(move || while reader.try_frame().is_some() {});
        wait_until("a read was too much", || server.snapshot().counters.reads_deferred > 0);
        let mut neighbour = Client::connect(address, "/");
        for n in 0..100 {
            neighbour.send(&frame(BINARY, &pattern(64, n)));
            neighbour.expect(BINARY, &pattern(64, n));
        }
        neighbour.close();
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_was_sent_before_the_end_is_still_read() {
    let server = echo(1, config());
    for _ in 0..5 {
        let mut client = Client::connect(server.address(), "/");
        client.send(&frame(BINARY, b"").repeat(10_000));
        client.hang_up();
        for _ in 0..10_000 {
            client.expect(BINARY, b"");
        }
        client.expect_end();
    }
    assert_eq!(server.wait_for_nothing().counters.messages_in, 50_000);
}
