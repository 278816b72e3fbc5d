//! How secured connections end, from either side.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use ringbolt::Driver;
use ringbolt::metrics::Snapshot;

use crate::peer::{Secure, World, config, connect, stream};
use crate::support::{BINARY, CLOSE, TEXT, frame, pattern, wait_until};

pub(crate) fn closed(snapshot: &Snapshot, name: &str) -> u64 {
    let name = format!("closed_{name}");
    snapshot.rows().find(|(row, _)| *row == name).map_or(0, |(_, n)| n)
}

/// The server ends TLS orderly: its close_notify comes, so that nobody can have cut the stream short.
#[track_caller]
pub(crate) fn expect_close_notify(client: &mut Secure) {
    let mut rest = [0; 64];
    match client.stream.read(&mut rest) {
        Ok(0) => {}
        Ok(n) => panic!("{n} bytes more"),
        // What rustls calls the end of TCP without a close_notify.
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => panic!("no close_notify"),
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn the_closing_handshake_is_followed_by_a_close_notify() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        for _ in 0..20 {
            let mut client = connect(server.address(), world.client());
            client.send(&[frame(TEXT, b"last words"), frame(CLOSE, b"")].concat());
            client.expect_text("last words");
            client.expect(CLOSE, b"");
            expect_close_notify(&mut client);
        }
        let ended = crate::echo::end(server);
        assert_eq!(closed(&ended, "clean"), 20, "{ended}");
    }
}

#[test]
fn a_close_notify_without_a_close_frame_is_answered() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let mut client = connect(server.address(), world.client());
        client.send(&frame(TEXT, b"and"));
        client.expect_text("and");
        client.stream.conn.send_close_notify();
        client.stream.flush().expect("room");
        expect_close_notify(&mut client);
        drop(client);
        let ended = crate::echo::end(server);
        assert_eq!((closed(&ended, "hung_up"), closed(&ended, "tls")), (1, 0), "{ended}");
    }
}

#[test]
fn a_stream_that_is_cut_off_is_a_hang_up_wherever_it_is_cut() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        // In the middle of a record, of the handshake, and of nothing.
        let mut torn = connect(server.address(), world.client());
        let mut record = Vec::new();
        torn.stream.conn.writer().write_all(&frame(BINARY, &pattern(9000, 1))).expect("room");
        torn.stream.conn.write_tls(&mut record).expect("memory");
        torn.stream.sock.write_all(&record[..record.len() / 2]).expect("room");
        let mut young = stream(server.address(), "localhost", world.client());
        let mut hello = Vec::new();
        young.conn.write_tls(&mut hello).expect("memory");
        young.sock.write_all(&hello[..50]).expect("room");
        let idle = connect(server.address(), world.client());
        for sock in [&torn.stream.sock, &young.sock, &idle.stream.sock] {
            sock.shutdown(Shutdown::Write).expect("it is open");
        }
        wait_until("they are gone", || server.snapshot().open == 0);
        drop((torn, young, idle));
        let ended = crate::echo::end(server);
        assert_eq!(closed(&ended, "hung_up"), 3, "{ended}");
    }
}

#[test]
fn a_refused_request_is_answered_inside_tls() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let mut client = stream(server.address(), "localhost", world.client());
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("room");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("a text, and a close_notify at its end");
        assert!(answer.starts_with("HTTP/1.1 4") && answer.ends_with('\n'), "{answer}");
        drop(client);
        crate::echo::end(server);
    }
}

#[test]
fn a_drain_closes_everyone_orderly_and_cuts_who_does_not_answer() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(2, config(driver));
        let mut polite: Vec<_> =
            (0..10).map(|_| connect(server.address(), world.client())).collect();
        let mut rude = connect(server.address(), world.client());
        server.drain(Duration::from_millis(500));
        for client in &mut polite {
            client.expect(CLOSE, b"");
            client.send(&frame(CLOSE, b""));
            expect_close_notify(client);
        }
        rude.expect(CLOSE, b"");
        expect_close_notify(&mut rude);
        let ended = server.end(Duration::ZERO);
        assert_eq!(ended.open, 0, "{ended}");
        assert_eq!((closed(&ended, "clean"), closed(&ended, "timed_out")), (10, 1), "{ended}");
    }
}

#[test]
fn a_drain_without_patience_ends_at_once_whatever_is_under_way() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let open: Vec<_> = (0..10)
            .map(|n| {
                let mut client = connect(server.address(), world.client());
                client.send(&frame(BINARY, &pattern(500_000, n))[..250_000]);
                client
            })
            .collect();
        // One that does not read, so that the server's sends block.
        let mut blocked = connect(server.address(), world.client());
        let message = frame(BINARY, &pattern(200_000, 1));
        blocked.stream.sock.set_nonblocking(true).expect("a flag");
        blocked.stream.conn.set_buffer_limit(None);
        wait_until("sends block", || {
            let conn = &mut blocked.stream.conn;
            if !conn.wants_write() {
                conn.writer().write_all(&message).expect("room");
            }
            drop(conn.write_tls(&mut blocked.stream.sock));
            server.snapshot().ring.slow_sends > 0 && server.snapshot().counters.read_pauses > 0
        });
        let ended = server.end(Duration::ZERO);
        assert_eq!((ended.open, ended.ring.operations_in_flight), (0, 0), "{ended}");
        drop((open, blocked));
    }
}
