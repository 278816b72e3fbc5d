//! Whoever makes progress is alive: peers that read and write slowly, and those that do neither.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use ringbolt::metrics::Snapshot;
use ringbolt::{CloseReason, Config, Server};

use crate::support::{
    BINARY, CLOSE, Client, Fountain, HeldUp, PART, PATIENCE, PAUSES, Pace, Running, TEXT, config,
    echo, frame, on_time, pattern, wait_until,
};

/// Parts that a slow reader needs several times [`IDLE`] for, and that no socket has room for: 5 MiB.
const PARTS: usize = 20;
const IDLE: Duration = Duration::from_millis(800);
/// Far longer than anything takes here.
const LONG: Duration = Duration::from_secs(60);

fn closed(snapshot: &Snapshot, name: &str) -> u64 {
    let index = CloseReason::NAMES.iter().position(|n| *n == name).expect("a reason");
    snapshot.closed[index]
}

/// Settings under which everything may wait that is sent.
fn roomy(change: impl FnOnce(&mut Config)) -> Config {
    let settings = config().with(|config| {
        config.max_outbound_bytes = 64 << 20;
        config.idle_timeout = LONG;
        config.ping_interval = Duration::ZERO;
    });
    settings.with(change)
}

fn fountain(config: Config) -> Running {
    Running::new(Server::builder().shards(1).config(config), || Fountain)
}

/// The stream ends, and not with a reset.
#[track_caller]
fn expect_orderly_end(client: &mut Client) {
    let rest = client.stream.read(&mut [0; 64]);
    assert!(matches!(rest, Ok(0)), "an orderly end, not {rest:?}");
}

#[test]
fn a_peer_that_reads_slowly_and_steadily_is_not_silent() {
    // covers: SEC-05
    for pings in [0, 3] {
        on_time(IDLE, |timeout| {
            let server = fountain(roomy(|config| {
                config.idle_timeout = timeout;
                config.ping_interval = timeout.checked_div(pings).unwrap_or_default();
            }));
            let mut client = Client::small(server.address());
            client.text(&PARTS.to_string());
            client.sip(PARTS, timeout)?;
            client.send(&frame(CLOSE, b""));
            while client.frame().first != CLOSE {}
            client.expect_end();
            drop(client);
            let end = server.wait_for_nothing();
            assert_eq!((closed(&end, "clean"), closed(&end, "idle")), (1, 0), "{end}");
            assert!(end.ring.slow_sends > 0, "everything fitted into the sockets: {end}");
            Ok(())
        });
    }
}

#[test]
fn what_was_sent_back_is_read_slowly_while_more_is_sent() {
    on_time(IDLE, |timeout| {
        let server = echo(
            1,
            config().with(|config| {
                config.idle_timeout = timeout;
                config.ping_interval = timeout / 3;
            }),
        );
        let mut client = Client::small(server.address());
        let messages: Vec<_> = (0..PARTS).map(|n| frame(BINARY, &vec![n as u8; PART])).collect();
        let mut writer = client.stream.try_clone().expect("a second handle");
        let writing = std::thread::spawn(move || {
            messages.iter().try_for_each(|message| writer.write_all(message))
        });
        client.sip(PARTS, timeout)?;
        writing.join().expect("it ends").expect("the server takes all of it");
        drop(client);
        let end = server.wait_for_nothing();
        assert_eq!(closed(&end, "idle"), 0, "{end}");
        Ok(())
    });
}

#[test]
fn a_peer_that_writes_one_message_slowly_is_not_silent() {
    // covers: SEC-05
    on_time(IDLE, |timeout| {
        let server = echo(
            1,
            config().with(|config| {
                config.idle_timeout = timeout;
                config.ping_interval = Duration::ZERO;
            }),
        );
        let mut client = Client::connect(server.address(), "/");
        let bytes = pattern(1_000_000, 1);
        let message = frame(BINARY, &bytes);
        let (slow, fast) = message.split_at(300_000);
        let mut pace = Pace::new(timeout);
        // Less in all this time than one receive has room for.
        for piece in slow.chunks(4096) {
            pace.step()?;
            client.send(piece);
            std::thread::sleep(timeout / PAUSES);
        }
        pace.step()?;
        client.send(fast);
        client.expect(BINARY, &bytes);
        assert_eq!(closed(&server.snapshot(), "idle"), 0);
        Ok(())
    });
}

#[test]
fn one_that_takes_nothing_is_ended_even_while_it_is_not_read_from() {
    // covers: SEC-05
    let server = fountain(roomy(|config| {
        config.idle_timeout = IDLE;
        config.close_timeout = IDLE;
    }));
    let mut client = Client::small(server.address());
    let asked = Instant::now();
    client.text("40");
    wait_until("it is given up", || server.snapshot().open == 0);
    assert!(asked.elapsed() >= IDLE, "given up after {:?}", asked.elapsed());
    let end = server.wait_for_nothing();
    assert_eq!(closed(&end, "idle"), 1, "{end}");
}

#[test]
fn a_drain_waits_for_a_slow_reader_longer_than_a_closing_handshake_may_take() {
    // covers: CLOSE-08, CLOSE-09
    on_time(IDLE, |timeout| {
        let server = fountain(roomy(|config| config.close_timeout = timeout));
        let mut client = Client::small(server.address());
        client.text(&PARTS.to_string());
        wait_until("all is sent", || server.snapshot().counters.messages_out == PARTS as u64);
        server.drain(LONG);
        client.sip(PARTS, timeout)?;
        client.expect(CLOSE, b"");
        client.send(&frame(CLOSE, b""));
        expect_orderly_end(&mut client);
        drop(client);
        let end = server.end(LONG);
        assert_eq!((closed(&end, "clean"), closed(&end, "timed_out")), (1, 0), "{end}");
        Ok(())
    });
}

#[test]
fn whoever_closes_still_gets_all_that_was_sent_before() {
    // covers: CTL-04, CLOSE-08
    on_time(IDLE, |timeout| {
        let server = fountain(roomy(|config| config.close_timeout = timeout));
        let address = server.address();
        let readers = ["", " close", " end"].map(|asked| {
            std::thread::spawn(move || {
                let mut client = Client::small(address);
                client.text(&format!("{PARTS}{asked}"));
                client.send(&frame(CLOSE, b"bye"));
                client.sip(PARTS, timeout)?;
                match asked {
                    "" => client.expect(CLOSE, b"bye"),
                    " close" => client.expect(CLOSE, b""),
                    _ => {}
                }
                expect_orderly_end(&mut client);
                Ok(())
            })
        });
        let read = readers.map(|reader| reader.join().expect("it gets everything"));
        read.into_iter().collect::<Result<Vec<()>, HeldUp>>()?;
        server.wait_for_nothing();
        Ok(())
    });
}

#[test]
fn whoever_hangs_up_still_gets_all_that_was_sent_before() {
    // Its end is read at once, or when little waits.
    for pause_reading_bytes in [usize::MAX, 256 << 10] {
        on_time(IDLE, |timeout| {
            let server = fountain(roomy(|config| {
                config.close_timeout = timeout;
                config.pause_reading_bytes = pause_reading_bytes;
            }));
            let mut client = Client::small(server.address());
            client.text(&PARTS.to_string());
            client.hang_up();
            client.sip(PARTS, timeout)?;
            expect_orderly_end(&mut client);
            drop(client);
            let end = server.wait_for_nothing();
            assert_eq!(closed(&end, "hung_up"), 1, "{end}");
            Ok(())
        });
    }
}

#[test]
fn whoever_breaks_a_rule_still_gets_all_that_was_sent_before() {
    on_time(IDLE, |timeout| {
        let server = fountain(roomy(|config| config.close_timeout = timeout));
        let mut client = Client::small(server.address());
        client.text(&PARTS.to_string());
        client.send(&frame(TEXT, b"\x80"));
        // More comes all the same.
        client.send(&pattern(20_000, 2));
        client.sip(PARTS, timeout)?;
        expect_orderly_end(&mut client);
        drop(client);
        let end = server.wait_for_nothing();
        assert_eq!(closed(&end, "protocol"), 1, "{end}");
        Ok(())
    });
}

#[test]
fn one_that_was_silent_for_too_long_is_not_reset() {
    let server = echo(
        1,
        config().with(|config| {
            config.idle_timeout = Duration::from_millis(300);
            config.ping_interval = Duration::ZERO;
        }),
    );
    let mut client = Client::connect(server.address(), "/");
    client.text("not read yet");
    wait_until("it is given up", || closed(&server.snapshot(), "idle") == 1);
    // It does not know, and what it says now is not read any more.
    for _ in 0..20 {
        client.text("late");
        std::thread::sleep(Duration::from_millis(2));
    }
    client.expect_text("not read yet");
    expect_orderly_end(&mut client);
    drop(client);
    server.wait_for_nothing();
}

#[test]
fn a_flood_holds_no_connection_that_has_ended() {
    // covers: SEC-05
    let server = echo(1, config().with(|config| config.close_timeout = IDLE));
    let client = Client::connect(server.address(), "/");
    client.stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let mut stream = &client.stream;
    let flood = [0x80; 16 << 10];
    let begun = Instant::now();
    let error = loop {
        match stream.write_all(&flood) {
            Ok(()) => assert!(begun.elapsed() < PATIENCE, "it is still read"),
            Err(e) => break e.kind(),
        }
    };
    let gone = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(gone.contains(&error), "{error}");
    let end = server.wait_for_nothing();
    assert_eq!(closed(&end, "protocol"), 1, "{end}");
}

#[test]
fn what_comes_to_one_that_is_not_read_from_is_progress() {
    // Also where a read was under way when that began, and the driver has it.
    let timeout = Duration::from_secs(3);
    let server = fountain(config().with(|config| {
        config.max_outbound_bytes = 64 << 20;
        config.idle_timeout = timeout;
        config.ping_interval = Duration::ZERO;
    }));
    let mut client = Client::small(server.address());
    client.text(&PARTS.to_string());
    wait_until("all is sent", || server.snapshot().counters.messages_out == PARTS as u64);
    std::thread::sleep(timeout / 2);
    let said = Instant::now();
    client.text("1");
    wait_until("it is given up", || closed(&server.snapshot(), "idle") == 1);
    assert!(said.elapsed() >= timeout, "given up after {:?}", said.elapsed());
    drop(client);
    server.wait_for_nothing();
}
