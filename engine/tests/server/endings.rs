//! How connections end, and what one that misbehaves costs its neighbours: nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringbolt::handshake::UpgradeRequest;
use ringbolt::metrics::Snapshot;
use ringbolt::{Accept, CloseReason, Handler, Message, Reject, RingFeature, Server, WebSocket};

use crate::support::{
    BINARY, CLOSE, CONTINUATION, Client, MORE, PATIENCE, PING, PONG, Running, TEXT, config, echo,
    frame, pattern, request, wait_until,
};

const SHORT: Duration = Duration::from_millis(200);

/// How many connections ended for this reason.
fn closed(snapshot: &Snapshot, name: &str) -> u64 {
    let index = CloseReason::NAMES.iter().position(|n| *n == name).expect("a reason");
    snapshot.closed[index]
}

/// Closes a socket with a reset instead of an orderly end.
fn reset(client: Client) {
    let socket = socket2::Socket::from(client.stream);
    socket.set_linger(Some(Duration::ZERO)).expect("a linger");
    drop(socket);
}

#[test]
fn the_server_ends_tcp_once_both_close_frames_are_through() {
    // covers: CTL-04, CTL-06, CTL-07, CTL-09, AMB-13, AMB-14, CLOSE-05, CLOSE-07
    let server = echo(1, config());
    let mut client = Client::connect(server.address(), "/");
    // What follows the Close is discarded.
    client.send(&[frame(TEXT, b"before"), frame(CLOSE, b"OK"), frame(TEXT, b"after")].concat());
    client.expect_text("before");
    client.expect(CLOSE, b"OK");
    client.expect_end();
    let end = {
        drop(client);
        server.wait_for_nothing()
    };
    assert_eq!((closed(&end, "clean"), end.counters.messages_in), (1, 1), "{end}");
}

#[test]
fn a_connection_without_a_close_frame_is_not_clean() {
    // covers: CLOSE-07, FR-01
    let server = echo(1, config());
    let idle = Client::connect(server.address(), "/");
    idle.hang_up();
    let mut cut = Client::connect(server.address(), "/");
    cut.send(&frame(BINARY, &pattern(1000, 1))[..500]);
    cut.hang_up();
    cut.expect_end();
    let broken = Client::connect(server.address(), "/");
    reset(broken);
    wait_until("all three are over", || server.snapshot().open == 0);
    let end = server.wait_for_nothing();
    assert_eq!((closed(&end, "clean"), closed(&end, "hung_up")), (0, 2), "{end}");
    assert_eq!(closed(&end, "transport"), 1, "{end}");
    drop(idle);
}

#[test]
fn a_half_closed_peer_still_gets_what_it_asked_for() {
    // covers: CTL-04
    let server = echo(
        1,
        config().with(|config| {
            // Everything is read, to the end of the stream, before anything is taken.
            config.pause_reading_bytes = 64 << 20;
            config.max_outbound_bytes = 64 << 20;
        }),
    );
    let mut client = Client::connect(server.address(), "/");
    let bytes = pattern(900_000, 4);
    let count = 16;
    client.send(&frame(BINARY, &bytes).repeat(count));
    client.send(&frame(CLOSE, b"bye"));
    client.hang_up();
    wait_until("the Close is read", || closed(&server.snapshot(), "clean") == 1);
    // The end of the stream is right behind it.
    std::thread::sleep(Duration::from_millis(50));
    for _ in 0..count {
        client.expect(BINARY, &bytes);
    }
    client.expect(CLOSE, b"bye");
    client.expect_end();
    let end = server.wait_for_nothing();
    assert!(end.ring.slow_sends > 0, "everything fitted into the sockets: {end}");
}

#[test]
fn a_refused_request_is_answered_even_when_more_of_it_follows() {
    // covers: CLOSE-04, HS-S-08
    let server = echo(1, config());
    for n in 0..50 {
        let mut client = Client::raw(server.address());
        client.send(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n12345678");
        wait_until("it is refused", || closed(&server.snapshot(), "request") > n);
        // More comes all the same, as from a browser with a body. It must not turn the orderly end
        // of the answer into a reset, which on a real network overtakes the answer.
        for _ in 0..10 {
            client.send(&[b'x'; 50_000]);
        }
        let mut answer = Vec::new();
        client.stream.read_to_end(&mut answer).expect("an orderly end");
        assert!(answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    server.wait_for_nothing();
}

#[test]
fn a_handshake_that_takes_too_long_is_given_up() {
    // covers: CONF-03, SEC-05
    let server = echo(1, config().with(|config| config.handshake_timeout = SHORT));
    let begun = Instant::now();
    let mut silent = Client::raw(server.address());
    let mut slow = Client::raw(server.address());
    slow.send(&request("/")[..100]);
    // Everything but the eight bytes that end it.
    let mut almost = Client::raw(server.address());
    let whole = request("/");
    almost.send(&whole[..whole.len() - 8]);
    silent.expect_end();
    slow.expect_end();
    almost.expect_end();
    assert!(begun.elapsed() >= SHORT, "given up after {:?}", begun.elapsed());
    let mut healthy = Client::connect(server.address(), "/");
    let end = server.snapshot();
    assert_eq!(closed(&end, "timed_out"), 3, "{end}");
    std::thread::sleep(2 * SHORT);
    healthy.expect_alive();
}

#[test]
fn keep_alive_pings_tell_the_living_from_the_dead() {
    // covers: CTL-02, CTL-11
    let server = echo(
        1,
        config().with(|config| {
            config.idle_timeout = Duration::from_millis(1500);
            config.ping_interval = SHORT;
        }),
    );
    let begun = Instant::now();
    let mut dead = Client::connect(server.address(), "/");
    let mut living = Client::connect(server.address(), "/");
    let answering = std::thread::spawn(move || {
        let mut pings = 0;
        // Twice as long as a silent connection lives.
        while begun.elapsed() < Duration::from_secs(3) {
            let ping = living.frame();
            assert_eq!(ping.first, PING);
            living.send(&frame(PONG, &ping.payload));
            pings += 1;
        }
        // A last ping may be under way.
        living.send(&frame(TEXT, b"still here"));
        loop {
            let frame = living.frame();
            if frame.first == TEXT {
                break pings;
            }
        }
    });
    let mut talking = Client::connect(server.address(), "/");
    let chatting = std::thread::spawn(move || {
        // Each answer is the next frame: no ping in between, unless a busy machine kept this thread
        // from talking.
        let mut said = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            talking.text("are you there?");
            let silent = std::mem::replace(&mut said, Instant::now()).elapsed();
            while let answer = talking.frame()
                && answer.first != TEXT
            {
                assert!(silent >= SHORT / 2, "pinged {silent:?} after the last word");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let mut pings = 0;
    while let Some(ping) = dead.try_frame() {
        assert_eq!(ping.first, PING);
        pings += 1;
    }
    let lived = begun.elapsed();
    assert!(lived >= Duration::from_millis(1500), "ended after {lived:?}");
    assert!(pings >= 2, "{pings} pings to the one that did not answer");
    let answered = answering.join().expect("the one that answers is not ended");
    assert!(answered >= 5, "{answered} pings in three seconds");
    chatting.join().expect("one that talks is not pinged");
    let end = server.snapshot();
    assert_eq!(closed(&end, "idle"), 1, "{end}");
    assert!(end.counters.pings_out >= pings + answered, "{end}");
}

#[test]
fn without_pings_a_silent_connection_is_ended_and_a_talking_one_is_not() {
    // covers: SEC-05
    let server = echo(
        1,
        config().with(|config| {
            // Much shorter than the handshake's: kept all the same.
            config.idle_timeout = Duration::from_millis(400);
            config.ping_interval = Duration::ZERO;
        }),
    );
    let begun = Instant::now();
    let mut silent = Client::connect(server.address(), "/");
    let mut talking = Client::connect(server.address(), "/");
    while begun.elapsed() < Duration::from_millis(1200) {
        talking.expect_alive();
        std::thread::sleep(Duration::from_millis(50));
    }
    silent.expect_end();
    talking.expect_alive();
    assert_eq!(closed(&server.snapshot(), "idle"), 1);
}

#[test]
fn with_keep_alive_off_nothing_ends_a_silent_connection_but_it_can_still_time_out() {
    // covers: CLOSE-08
    let server = Running::new(
        Server::builder().shards(1).config(config().with(|config| {
            config.idle_timeout = Duration::ZERO;
            config.ping_interval = Duration::ZERO;
            config.handshake_timeout = Duration::from_millis(100);
            config.close_timeout = SHORT;
        })),
        || OnCommand,
    );
    let mut client = Client::connect(server.address(), "/");
    std::thread::sleep(Duration::from_millis(500));
    client.text("close");
    client.expect(CLOSE, b"");
    let asked = Instant::now();
    // The Close is never answered.
    client.expect_end();
    assert!(asked.elapsed() >= SHORT / 2, "given up after {:?}", asked.elapsed());
    let end = server.wait_for_nothing();
    assert_eq!((closed(&end, "timed_out"), closed(&end, "clean")), (1, 0), "{end}");
}

#[test]
fn a_peer_that_does_not_end_tcp_is_cut_after_the_close_timeout() {
    // covers: CLOSE-08, AMB-14, CTL-07
    let server = echo(1, config().with(|config| config.close_timeout = SHORT));
    let mut client = Client::connect(server.address(), "/");
    client.send(&frame(CLOSE, b""));
    client.expect(CLOSE, b"");
    client.expect_end();
    // The client keeps its side open; the server does not wait for ever.
    let end = server.wait_for_nothing();
    assert_eq!(closed(&end, "clean"), 1, "{end}");
}

/// Does what it is told by text messages.
#[derive(Debug)]
struct OnCommand;

impl Handler for OnCommand {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        match message {
            Message::Text("close") => ws.close(),
            Message::Text("end") => ws.end(),
            Message::Text("close and send") => {
                ws.close();
                assert!(ws.send("too late").is_err(), "nothing may follow a Close");
            }
            Message::Text(_) if !ws.is_open() => {}
            Message::Text(_) => ws.send(message).expect("room"),
            Message::Binary(_) => {
                ws.send(message).expect("room");
                ws.end();
            }
        }
    }
}

#[test]
fn the_server_may_start_the_closing_handshake() {
    // covers: CTL-05, CTL-07, CTL-08, CLOSE-09, FR-18
    let server = Running::new(Server::builder().shards(1).config(config()), || OnCommand);
    let mut client = Client::connect(server.address(), "/");
    client.text("close and send");
    // Messages may still arrive until the peer has answered; it sends its own Close at the same
    // time.
    client.expect(CLOSE, b"");
    client.send(&[frame(TEXT, b"not answered"), frame(CLOSE, b"")].concat());
    client.expect_end();
    drop(client);
    let end = server.wait_for_nothing();
    assert_eq!((closed(&end, "clean"), end.counters.messages_in), (1, 2), "{end}");
    let mut ended = Client::connect(server.address(), "/");
    ended.text("end");
    ended.expect_end();
    let end = server.wait_for_nothing();
    assert_eq!(closed(&end, "ended"), 1, "{end}");
}

#[test]
fn a_callback_that_sends_and_ends_mixes_nothing_up() {
    // covers: DATA-02
    let server = Running::new(Server::builder().shards(1).config(config()), || OnCommand);
    // Large enough to be assembled, so that they are sent from memory that is used again.
    let runs: Vec<_> = (0..8_u64)
        .map(|seed| {
            let address = server.address();
            std::thread::spawn(move || {
                for n in 0..40 {
                    let mut client = Client::connect(address, "/");
                    let bytes = pattern(20_000, seed * 1000 + n);
                    client.send(&frame(BINARY, &bytes));
                    let mut received = Vec::new();
                    while let Some(part) = client.take(1) {
                        received.extend(part);
                    }
                    let expected = frame(BINARY, &bytes);
                    assert!(expected.starts_with(&received), "bytes of another connection");
                }
            })
        })
        .collect();
    for run in runs {
        run.join().expect("no mix");
    }
    server.wait_for_nothing();
}

#[test]
fn one_that_misbehaves_does_not_disturb_its_neighbours() {
    // covers: SEC-01, SEC-03, SEC-06, DATA-03, FR-03, FR-04, FR-06, FR-11, UTF8-02, CTL-10
    let server = echo(1, config());
    let mut healthy = Client::connect(server.address(), "/");
    let huge = [TEXT, 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    let streams: [(&str, Vec<u8>); 12] = [
        ("2^63-1 bytes announced", huge.to_vec()),
        ("the top bit of a length", [&[TEXT, 127, 0x80][..], &[0; 7]].concat()),
        (
            "one byte above the limit",
            [&[BINARY, 127, 0, 0, 0, 0, 0, 0x10, 0, 1][..], &[7; 100]].concat(),
        ),
        ("a message above the limit", {
            let part = frame(BINARY | MORE, &pattern(1 << 20, 1));
            [part, frame(CONTINUATION, b"x")].concat()
        }),
        ("a reserved bit", frame(TEXT | 0x40, b"x")),
        ("RSV4, where others mask", vec![TEXT, 0x85, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("a reserved opcode", frame(0xB, b"")),
        ("a continuation of nothing", frame(CONTINUATION, b"x")),
        ("a message inside a message", [frame(TEXT | MORE, b"a"), frame(TEXT, b"b")].concat()),
        ("a fragmented ping", frame(PING | MORE, b"x")),
        ("text that is no UTF-8", frame(TEXT, b"\x80\x81")),
        ("a ping above the limit", frame(PING, &pattern(70_000, 2))),
    ];
    for (n, (what, stream)) in streams.iter().enumerate() {
        let mut client = Client::connect(server.address(), "/");
        client.text("good so far");
        client.expect_text("good so far");
        client.try_send(stream);
        assert_eq!(client.take(1), None, "{what} ends the connection");
        healthy.expect_alive();
        assert_eq!(closed(&server.snapshot(), "protocol"), n as u64 + 1, "{what}");
    }
    healthy.close();
    let end = server.wait_for_nothing();
    assert_eq!(end.protocol_errors.iter().sum::<u64>(), streams.len() as u64, "{end}");
}

#[test]
fn bad_text_is_replaced_where_that_is_wanted() {
    // covers: UTF8-02
    let server = echo(
        1,
        config().with(|config| {
            config.limits = config.limits.with_invalid_utf8(ringbolt::conn::InvalidUtf8::Replace);
        }),
    );
    let mut client = Client::connect(server.address(), "/");
    client.send(&frame(TEXT, b"a\x80\x81b"));
    client.expect_text("a\u{FFFD}\u{FFFD}b");
    client.close();
}

#[test]
fn a_flood_of_pings_from_one_that_does_not_read_is_bounded() {
    // covers: CTL-02, CTL-03
    let server = echo(1, config());
    let mut healthy = Client::connect(server.address(), "/");
    let flood = Client::connect(server.address(), "/");
    flood.stream.set_nonblocking(true).expect("a flag");
    let pings = frame(PING, &[b'p'; 100]).repeat(600);
    let mut taken = 0;
    let mut at = 0;
    // Until neither side's buffers take more: the server has stopped reading.
    let mut refused = Instant::now();
    while refused.elapsed() < Duration::from_millis(500) {
        match (&flood.stream).write(&pings[at..]) {
            Ok(n) => {
                at = (at + n) % pings.len();
                taken += n;
                refused = Instant::now();
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(e) => panic!("after {taken} bytes: {e}"),
        }
        assert!(taken < 200 << 20, "nothing bounds it");
    }
    healthy.expect_alive();
    let paused = server.snapshot();
    assert!(paused.counters.read_pauses > 0, "{paused}");
    // It reads after all: every whole ping is answered, in order.
    let mut reader: &TcpStream = &flood.stream;
    reader.set_nonblocking(false).expect("a flag");
    reader.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let whole = taken / 102;
    let mut left = whole * 102;
    let mut buffer = [0; 1 << 16];
    while left > 0 {
        let n = reader.read(&mut buffer).expect("pongs");
        assert!(n > 0, "ended with {left} bytes to come");
        left -= n;
    }
    assert_eq!(server.snapshot().counters.pings_in, whole as u64);
    healthy.expect_alive();
}

#[test]
fn a_message_that_nobody_finishes_holds_no_more_than_it_sent() {
    // covers: SEC-06
    let server = echo(1, config().with(|config| config.ping_interval = Duration::ZERO));
    let mut clients: Vec<_> = (0..50).map(|_| Client::connect(server.address(), "/")).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let whole = frame(BINARY, &pattern(1_000_000, n as u64));
        client.send(&whole[..n * 15_000 + 3]);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let bytes = pattern(1_000_000, n as u64);
        let whole = frame(BINARY, &bytes);
        client.send(&whole[n * 15_000 + 3..]);
        client.expect(BINARY, &bytes);
    }
    drop(clients);
    server.wait_for_nothing();
}

#[test]
fn large_control_frames_pass_where_they_are_allowed() {
    // covers: CTL-02, CTL-10, AMB-06
    let server = echo(
        1,
        config().with(|config| config.limits = config.limits.with_max_control_bytes(1 << 20)),
    );
    let mut client = Client::connect(server.address(), "/");
    let bytes = pattern(1 << 20, 9);
    client.send(&[frame(PING, &bytes), frame(TEXT, b"next")].concat());
    client.expect(PONG, &bytes);
    client.expect_text("next");
    client.send(&frame(CLOSE, &bytes));
    client.expect(CLOSE, &bytes);
    client.expect_end();
}

#[test]
fn a_drain_says_close_to_everyone_and_cuts_who_does_not_answer() {
    // covers: CLOSE-09, CTL-07, CLOSE-08
    let server = echo(2, config());
    let address = server.address();
    let mut polite: Vec<_> = (0..20).map(|_| Client::connect(address, "/")).collect();
    let mut rude = Client::connect(address, "/");
    let mut opening = Client::raw(address);
    opening.send(b"GET / HT");
    wait_until("all are there", || server.snapshot().open == 22);
    server.drain(PATIENCE);
    opening.expect_end();
    for client in &mut polite {
        client.expect(CLOSE, b"");
        client.send(&frame(CLOSE, b""));
        client.expect_end();
    }
    drop(polite);
    rude.expect(CLOSE, b"");
    wait_until("nobody new is let in", || TcpStream::connect(address).is_err());
    // Who answers had time; from now on there is less.
    let begun = Instant::now();
    server.drain(Duration::from_millis(300));
    rude.expect_end();
    assert!(begun.elapsed() >= Duration::from_millis(200), "cut after {:?}", begun.elapsed());
    wait_until("the shards have ended", || server.is_finished());
    let end = server.end(Duration::ZERO);
    assert_eq!(end.open, 0, "{end}");
    assert_eq!((closed(&end, "clean"), closed(&end, "timed_out")), (20, 1), "{end}");
    assert_eq!(end.ring.buffers_held, 0, "{end}");
}

#[test]
fn a_drain_is_over_as_soon_as_the_last_connection_is() {
    // covers: CTL-07
    let server = echo(1, config());
    let mut client = Client::connect(server.address(), "/");
    let begun = Instant::now();
    server.drain(Duration::from_secs(60));
    client.expect(CLOSE, b"");
    client.send(&frame(CLOSE, b""));
    client.expect_end();
    drop(client);
    let end = server.end(Duration::from_secs(60));
    assert!(begun.elapsed() < Duration::from_secs(4), "took {:?}", begun.elapsed());
    assert_eq!(closed(&end, "clean"), 1, "{end}");
}

#[test]
fn a_drain_without_patience_ends_at_once_whatever_is_under_way() {
    let server = echo(2, config());
    let clients: Vec<_> = (0..50)
        .map(|n| {
            let mut client = Client::connect(server.address(), "/");
            client.send(&frame(BINARY, &pattern(1_000_000, n))[..500_000]);
            client
        })
        .collect();
    let blocked = Client::connect(server.address(), "/");
    blocked.stream.set_nonblocking(true).expect("a flag");
    let wire = frame(BINARY, &pattern(100_000, 1));
    wait_until("sends block", || {
        let _ = (&blocked.stream).write(&wire);
        server.snapshot().ring.slow_sends > 0
    });
    let begun = Instant::now();
    let end = server.end(Duration::ZERO);
    assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
    // What was sent without a copy is the kernel's until the peer has it.
    let owed = end.ring.zero_copy_sends;
    assert!(end.open == 0 && end.ring.operations_in_flight <= owed, "{end}");
    drop(clients);
}

#[test]
fn the_end_of_one_connection_never_reaches_into_the_next() {
    // covers: HS-S-34, CLOSE-05
    // The kernel shuts sockets down on a thread of its own, by number: a number that had been given
    // to a newcomer by then would cut the newcomer.
    for direct in [true, false] {
        let server = echo(
            1,
            config().with(|config| {
                if !direct {
                    config.ring.features = config.ring.features.forbid(RingFeature::Direct);
                }
            }),
        );
        let address = server.address();
        let ending: Vec<_> = (0..3)
            .map(|_| {
                std::thread::spawn(move || {
                    for _ in 0..1_500 {
                        let mut client = Client::raw(address);
                        client.send(b"POST / HTTP/1.1\r\n\r\n");
                        client.hang_up();
                        while client.take(1).is_some() {}
                    }
                })
            })
            .collect();
        for _ in 0..1_500 {
            let mut client = Client::connect(address, "/");
            client.expect_alive();
            client.close();
        }
        for thread in ending {
            thread.join().expect("every end is orderly");
        }
        let end = server.wait_for_nothing();
        assert_eq!((closed(&end, "transport"), end.ring.blocked_sends), (0, 0), "{end}");
    }
}
