//! Close frames with codes and reasons, in both roles (RFC 6455 §5.5.1, §7).

use super::super::{Seen, Side, frame};
use super::{CLOSE, MORE, PING, PONG, ROLES, TEXT, assert_told, own, peer, side};
use crate::conn::{Event, Role, State};
use crate::wire::{CloseCode, ProtocolError};

fn said(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason].concat()
}

#[test]
fn codes_that_may_be_sent_are_answered_and_others_refused() {
    // RFC 6455 §7.4.1 and §7.4.2: the whole table, at its edges.
    for role in ROLES {
        for code in (0..=1020).chain([1999, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65_535]) {
            let legal = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            let mut side = side(role);
            side.feed(&peer(role, 5, CLOSE, &said(code, b"because")));
            if legal {
                assert_eq!(side.seen, [Seen::Close(said(code, b"because"))]);
                assert_eq!(side.wire.bytes, own(role, 1, CLOSE, &said(code, b"")), "{code}");
                assert_eq!(side.outbound.state(), State::Closed);
            } else {
                assert_eq!(side.seen, [Seen::Failed(ProtocolError::CloseCode)], "{code}");
                assert_told(&side, 1002, ProtocolError::CloseCode);
            }
        }
    }
}

#[test]
fn payloads_that_say_nothing_or_nonsense() {
    for role in ROLES {
        let mut silent = side(role);
        silent.feed(&peer(role, 1, CLOSE, b""));
        assert_eq!(silent.seen, [Seen::Close(vec![])]);
        assert_eq!(silent.wire.bytes, own(role, 1, CLOSE, b""), "empty for empty");
        let mut one = side(role);
        one.feed(&peer(role, 1, CLOSE, b"\x03"));
        assert_told(&one, 1002, ProtocolError::ClosePayload);
        let mut bad = side(role);
        bad.feed(&peer(role, 1, CLOSE, &said(1000, b"\xC3")));
        assert_told(&bad, 1007, ProtocolError::CloseReason);
    }
}

#[test]
fn the_application_hears_code_and_reason() {
    let mut client = side(Role::Client);
    let mut input = frame(CLOSE, &said(4001, "märz".as_bytes()));
    let mut events = client.inbound.receive(&client.limits, &mut input);
    match events.next_event(&mut client.outbound, &mut client.wire) {
        Some(Event::Close(frame)) => {
            assert_eq!((frame.code.get(), frame.reason), (4001, "märz"));
        }
        other => panic!("{other:?}"),
    }
    let mut server = side(Role::Server);
    let mut input = peer(Role::Server, 1, CLOSE, b"");
    let mut events = server.inbound.receive(&server.limits, &mut input);
    match events.next_event(&mut server.outbound, &mut server.wire) {
        Some(Event::Close(frame)) => {
            assert_eq!((frame.code, frame.reason), (CloseCode::NO_STATUS, ""));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn we_start_with_a_code_and_no_data_is_sent_after_it() {
    for role in ROLES {
        let mut side = side(role);
        let Side { outbound, wire, .. } = &mut side;
        outbound.close(CloseCode::GOING_AWAY, "maintenance", wire);
        outbound.close(CloseCode::NORMAL, "again", wire);
        assert!(!outbound.message("late".into(), wire) && !outbound.ping(b"late", wire));
        assert_eq!(wire.bytes, own(role, 1, CLOSE, &said(1001, b"maintenance")));
        // The peer may finish what it was saying; even a broken rule is not answered.
        side.feed(&[peer(role, 1, TEXT, b"still"), peer(role, 2, PING, b"?")].concat());
        assert_eq!(side.outbound.state(), State::CloseSent);
        let sent =
            [own(role, 1, CLOSE, &said(1001, b"maintenance")), own(role, 2, PONG, b"?")].concat();
        assert_eq!(side.wire.bytes, sent);
        let mut broken = side;
        broken.feed(b"\xF0");
        assert_eq!(broken.seen.last(), Some(&Seen::Failed(ProtocolError::ReservedBit)));
        assert_eq!(broken.wire.bytes, sent);
        assert_eq!(broken.outbound.state(), State::Failed);
    }
}

#[test]
fn what_follows_a_close_is_not_read() {
    for role in ROLES {
        let mut side = side(role);
        let late = [peer(role, 2, TEXT, b"late"), b"\xFF\xFF".to_vec()].concat();
        side.feed(&[peer(role, 1, CLOSE, &said(1000, b"")), late.clone()].concat());
        side.feed(&late);
        assert_eq!(side.seen, [Seen::Close(said(1000, b""))]);
        assert_eq!(side.outbound.state(), State::Closed);
    }
}

#[test]
fn a_close_stands_between_fragments() {
    for role in ROLES {
        let mut side = side(role);
        side.feed(&peer(role, 1, TEXT & MORE, b"Hel"));
        side.feed(&peer(role, 2, CLOSE, &said(1001, b"")));
        assert_eq!(side.seen, [Seen::Close(said(1001, b""))]);
        assert_eq!(side.wire.bytes, own(role, 1, CLOSE, &said(1001, b"")));
    }
}

#[test]
fn unsendable_codes_and_long_reasons_are_made_fit() {
    let mut side = side(Role::Client);
    side.outbound.close(CloseCode::ABNORMAL, "nobody reads this", &mut side.wire);
    assert_eq!(side.wire.bytes, own(Role::Client, 1, CLOSE, b""));
    let mut server = super::side(Role::Server);
    server.outbound.close(CloseCode::NORMAL, &"ü".repeat(100), &mut server.wire);
    let reason = "ü".repeat(61);
    assert_eq!(server.wire.bytes, frame(CLOSE, &said(1000, reason.as_bytes())));
}

#[test]
fn a_ping_between_our_close_and_the_peers_is_answered() {
    // RFC 6455 §5.5.2: unless the peer's Close was received. §5.5.1 forbids data only.
    for role in ROLES {
        let mut side = side(role);
        side.close();
        let sent = side.wire.bytes.len();
        side.feed(&peer(role, 1, PING, b"?"));
        assert_eq!(side.wire.bytes[sent..], own(role, 2, PONG, b"?"), "{role:?}");
        let sent = side.wire.bytes.len();
        let both = [peer(role, 2, CLOSE, &[]), peer(role, 3, PING, b"too late")].concat();
        side.feed(&both);
        assert_eq!(side.wire.bytes.len(), sent, "after both Closes nothing is answered");
        assert_eq!(side.outbound.state(), State::Closed);
    }
}
