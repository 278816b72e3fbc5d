//! A connection of RFC 6455, both roles.

use std::sync::Arc;
use std::time::Instant;

use fastrand::Rng;

use super::{CLOSING, Connection, ConnectionConfig, Failure, Side, State, join};
use crate::handshake::{ClientRequest, Url};
use crate::wire::{CloseCode, Dialect, ProtocolError};

/// Both sides, open, nothing to transmit.
fn pair() -> (Side, Side) {
    let now = Instant::now();
    let url = Url::parse("ws://example.com/demo").unwrap();
    let request = Arc::new(ClientRequest::rfc6455(url).protocols(["sample"]).build().unwrap());
    let config = Arc::new(ConnectionConfig::default());
    let connection = Connection::client(&config, &request, &mut Rng::with_seed(3), now);
    let (mut server, mut client) = (Side::server(), Side { connection, now, seen: Vec::new() });
    join(&mut server, &mut client, usize::MAX);
    assert_eq!(server.seen, ["request /demo", "message hello"]);
    assert_eq!(client.seen, [r#"opened Some("sample") ["a=1"]"#]);
    for side in [&mut server, &mut client] {
        assert_eq!((side.connection.state(), side.connection.dialect()), {
            (State::Open, Dialect::Rfc6455)
        });
        side.seen.clear();
    }
    (server, client)
}

#[test]
fn a_life() {
    for read in [1, 2, 7, 64, usize::MAX] {
        let (mut server, mut client) = pair();
        for word in ["echo", "ping", "close"] {
            assert!(client.connection.send(word));
            join(&mut server, &mut client, read);
        }
        let heard = ["message echo", "message ping", "Pong([63])", "message close"];
        assert_eq!(server.seen[..4], heard);
        assert_eq!(server.seen[4..], ["Close([3, 232])"], "1000, as we had said");
        assert_eq!(client.seen, ["message echo", "Ping([63])", "Close([3, 232])"]);
        assert!(server.connection.closed_cleanly() && client.connection.closed_cleanly());
        assert!(server.connection.is_over() && !client.connection.is_over());
        assert_eq!(client.connection.handle_eof(), None);
        assert!(client.connection.is_over());
    }
}

#[test]
fn clients_mask_and_servers_do_not() {
    let (mut server, mut client) = pair();
    assert!(client.connection.send("same") && client.connection.send("same"));
    let sent = client.take();
    assert_eq!((sent[..2].to_vec(), sent.len()), (vec![0x81, 0x84], 20));
    assert_ne!(sent[2..6], sent[12..16], "another key");
    server.feed(&sent);
    assert_eq!(server.seen, ["message same", "message same"]);
    assert!(server.connection.send("echo"));
    assert_eq!(server.take(), b"\x81\x04echo");
}

#[test]
fn codes_and_reasons_are_told() {
    let (mut server, mut client) = pair();
    client.connection.close_with(CloseCode::GOING_AWAY, "page left", client.now);
    assert!(!client.connection.send("late"));
    server.feed(&client.take());
    assert_eq!(server.seen, [format!("Close({:?})", b"\x03\xE9page left")]);
    assert_eq!(server.take(), b"\x88\x02\x03\xE9");
    assert!(server.connection.closed_cleanly());
}

#[test]
fn a_server_tells_what_was_broken_and_is_over() {
    let (mut server, _) = pair();
    server.feed(b"\x81\x00");
    let failure = Failure::Protocol(ProtocolError::UnmaskedFrame);
    assert_eq!(server.failure(), Some(failure));
    let told = server.take();
    assert_eq!(told[..4], [0x88, 32, 3, 0xEA]);
    assert_eq!(told[4..], *ProtocolError::UnmaskedFrame.sentence().as_bytes());
    assert!(server.connection.is_over());
    assert_eq!(server.connection.poll_timeout(), None);
}

#[test]
fn a_client_that_told_what_was_broken_waits_for_the_servers_end() {
    for ended in [true, false] {
        let (_, mut client) = pair();
        // Draft-00's framing begins so; nobody mistakes it for that here.
        client.feed(b"\x00\x01");
        let expected = Failure::Protocol(ProtocolError::UnexpectedContinuation);
        assert_eq!(client.failure(), Some(expected));
        assert_eq!(client.take()[0], 0x88);
        assert!(!client.connection.is_over(), "the server ends TCP (RFC 6455 §7.1.1)");
        let deadline = client.connection.poll_timeout();
        assert_eq!(deadline, client.now.checked_add(CLOSING));
        if ended {
            assert_eq!(client.connection.handle_eof(), None);
        } else {
            assert_eq!(client.connection.handle_timeout(client.now + CLOSING), None);
        }
        assert!(client.connection.is_over());
        assert_eq!(client.connection.poll_timeout(), None);
        assert_eq!(client.failure(), Some(expected));
    }
}
