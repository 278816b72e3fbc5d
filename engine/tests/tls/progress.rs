//! Whoever makes progress is alive, in TLS, too: slow readers, and closes with much on its way.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use ringbolt::{Config, Driver, Server};
use rustls::ClientConfig;

use crate::endings::{closed, expect_close_notify};
use crate::peer::{Secure, World, config, connect, over};
use crate::support::{
    CLOSE, Client, Fountain, HeldUp, PATIENCE, Running, TEXT, frame, on_time, request,
    small_stream, wait_until,
};

/// Parts that a slow reader needs several times [`IDLE`] for, and that no socket has room for: 5 MiB.
const PARTS: usize = 20;
const IDLE: Duration = Duration::from_millis(700);

fn fountain(world: &World, driver: Driver, change: impl FnOnce(&mut Config)) -> Running {
    let settings = config(driver).with(|config| {
        config.max_outbound_bytes = 64 << 20;
        config.idle_timeout = Duration::from_secs(60);
        config.ping_interval = Duration::ZERO;
    });
    let any = "127.0.0.1:0".parse().expect("an address");
    let builder = Server::builder().bind_tls(any, world.tls()).shards(1);
    Running::new(builder.config(settings.with(change)), || Fountain)
}

/// An established connection whose kernel takes little at a time.
fn small(address: SocketAddr, config: ClientConfig) -> Secure {
    let tcp: TcpStream = small_stream(address);
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    tcp.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let mut client = Client::over(over(tcp, "localhost", config));
    client.send(&request("/"));
    client.finish_opening();
    client
}

#[test]
fn a_peer_that_reads_slowly_is_not_silent() {
    // covers: SEC-05
    let world = World::new();
    for driver in Driver::built() {
        for pings in [0, 3] {
            on_time(IDLE, |timeout| {
                let server = fountain(&world, driver, |config| {
                    config.idle_timeout = timeout;
                    config.ping_interval = timeout.checked_div(pings).unwrap_or_default();
                });
                let mut client = small(server.address(), world.client());
                client.text(&PARTS.to_string());
                client.sip(PARTS, timeout)?;
                client.send(&frame(CLOSE, b""));
                while client.frame().first != CLOSE {}
                expect_close_notify(&mut client);
                drop(client);
                let ended = crate::echo::end(server);
                assert_eq!((closed(&ended, "clean"), closed(&ended, "idle")), (1, 0), "{ended}");
                Ok(())
            });
        }
    }
}

#[test]
fn pings_that_the_peer_s_kernel_takes_are_no_sign_of_life() {
    // covers: SEC-05
    let world = World::new();
    for driver in Driver::built() {
        let server = fountain(&world, driver, |config| {
            config.idle_timeout = IDLE;
            config.ping_interval = IDLE / 3;
        });
        let client = connect(server.address(), world.client());
        wait_until("it is given up", || closed(&server.snapshot(), "idle") == 1);
        drop(client);
        let _ = crate::echo::end(server);
    }
}

#[test]
fn whoever_closes_or_breaks_a_rule_still_gets_all_that_was_sent_before() {
    // covers: CTL-04, CLOSE-08
    let world = World::new();
    for driver in Driver::built() {
        on_time(IDLE, |timeout| {
            let server = fountain(&world, driver, |config| config.close_timeout = timeout);
            let address = server.address();
            let cases =
                [("", frame(CLOSE, b"bye")), (" close", frame(CLOSE, b"")), (" end", vec![])];
            let broken = [("", [frame(TEXT, b"\x80"), vec![0; 20_000]].concat())];
            let readers = cases.into_iter().chain(broken).enumerate().map(|(n, (asked, sent))| {
                let trust = world.client();
                std::thread::spawn(move || {
                    let mut client = small(address, trust);
                    client.text(&format!("{PARTS}{asked}"));
                    client.send(&sent);
                    client.sip(PARTS, timeout)?;
                    match n {
                        0 => client.expect(CLOSE, b"bye"),
                        1 => client.expect(CLOSE, b""),
                        _ => {}
                    }
                    expect_close_notify(&mut client);
                    Ok(())
                })
            });
            let readers: Vec<_> = readers.collect();
            let read = readers.into_iter().map(|reader| reader.join().expect("it gets everything"));
            // Each of them is waited for.
            let read: Vec<Result<(), HeldUp>> = read.collect();
            read.into_iter().collect::<Result<(), _>>()?;
            let ended = crate::echo::end(server);
            assert_eq!((closed(&ended, "clean"), closed(&ended, "timed_out")), (2, 0), "{ended}");
            Ok(())
        });
    }
}

#[test]
fn whoever_hangs_up_still_gets_all_that_was_sent_before() {
    let world = World::new();
    for driver in Driver::built() {
        on_time(IDLE, |timeout| {
            let server = fountain(&world, driver, |config| {
                config.close_timeout = timeout;
                config.pause_reading_bytes = usize::MAX;
            });
            let mut client = small(server.address(), world.client());
            client.text(&PARTS.to_string());
            client.stream.sock.shutdown(Shutdown::Write).expect("it is open");
            client.sip(PARTS, timeout)?;
            expect_close_notify(&mut client);
            // At once, with no more than a word to come.
            for _ in 0..30 {
                let mut client = connect(server.address(), world.client());
                client.send(&frame(TEXT, b"\x80"));
                client.stream.sock.shutdown(Shutdown::Write).expect("it is open");
                expect_close_notify(&mut client);
            }
            let ended = crate::echo::end(server);
            assert_eq!((closed(&ended, "hung_up"), closed(&ended, "protocol")), (1, 30), "{ended}");
            Ok(())
        });
    }
}

#[test]
fn a_drain_waits_for_a_slow_reader() {
    // covers: CLOSE-08, CLOSE-09
    let world = World::new();
    for driver in Driver::built() {
        on_time(IDLE, |timeout| {
            let server = fountain(&world, driver, |config| config.close_timeout = timeout);
            let mut client = small(server.address(), world.client());
            client.text(&PARTS.to_string());
            wait_until("all is sent", || server.snapshot().counters.messages_out == PARTS as u64);
            server.drain(Duration::from_secs(60));
            client.sip(PARTS, timeout)?;
            client.expect(CLOSE, b"");
            client.send(&frame(CLOSE, b""));
            expect_close_notify(&mut client);
            drop(client);
            let ended = server.end(Duration::from_secs(60));
            assert_eq!((closed(&ended, "clean"), closed(&ended, "timed_out")), (1, 0), "{ended}");
            Ok(())
        });
    }
}
