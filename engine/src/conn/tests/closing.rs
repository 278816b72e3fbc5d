//! The closing handshake, in both roles, and what may be sent when.

use std::num::NonZeroUsize;

use super::{Seen, Side, frame, pattern, text};
use crate::conn::{Gathered, Message, Outbound, State, halves};
use crate::wire::{CloseCode, Dialect};

#[test]
fn the_peer_starts() {
    // covers: CTL-04, CTL-06, CTL-09, AMB-13, CLOSE-07
    for mut side in sides() {
        side.feed(&[frame(0x01, b"OK"), frame(0x04, b"late"), frame(0x02, b"late")].concat());
        side.feed(b"\xFF\xFF not even a frame");
        assert_eq!(side.seen, [Seen::Close(b"OK".to_vec())], "what follows is discarded");
        assert_eq!(side.wire.bytes, b"\x01\x02OK");
        assert_eq!(side.outbound.state(), State::Closed);
        assert_silent(&mut side);
    }
}

#[test]
fn we_start() {
    // covers: CTL-04, CTL-05, CTL-06, CTL-09, CLOSE-07
    for mut side in sides() {
        side.close();
        assert_eq!(side.wire.bytes, b"\x01\x00");
        assert_eq!(side.outbound.state(), State::CloseSent);
        side.wire.bytes.clear();
        assert_silent(&mut side);
        // The peer may finish what it was saying; pings are answered, for only data is forbidden.
        side.feed(&[frame(0x84, b"He"), frame(0x02, b"?"), frame(0x00, b"llo")].concat());
        assert_eq!(side.seen, [Seen::Ping(b"?".to_vec()), text("Hello")]);
        assert_eq!(side.wire.bytes, frame(0x03, b"?"));
        side.wire.bytes.clear();
        assert_eq!(side.outbound.state(), State::CloseSent);
        side.feed(&[frame(0x01, b""), frame(0x04, b"late")].concat());
        assert_eq!(side.seen.last(), Some(&Seen::Close(vec![])));
        assert_eq!(side.outbound.state(), State::Closed);
        assert_eq!(side.wire.bytes, b"", "no second answer");
        assert_silent(&mut side);
    }
}

#[test]
fn both_start_at_once() {
    // covers: CTL-04, CTL-08, CLOSE-07
    let [mut server, mut client] = sides();
    server.close();
    client.close();
    let (from_server, from_client) =
        (std::mem::take(&mut server.wire.bytes), std::mem::take(&mut client.wire.bytes));
    server.feed(&from_client);
    client.feed(&from_server);
    for side in [server, client] {
        assert_eq!(side.seen, [Seen::Close(vec![])]);
        assert_eq!(side.wire.bytes, b"", "each has sent one and received one");
        assert_eq!(side.outbound.state(), State::Closed);
    }
}

#[test]
fn a_close_between_fragments_ends_the_message() {
    // covers: CTL-04, CTL-06
    let mut side = Side::server();
    side.feed(&[frame(0x84, b"Hel"), frame(0x01, b""), frame(0x00, b"lo")].concat());
    assert_eq!(side.seen, [Seen::Close(vec![])]);
    assert_eq!(side.wire.bytes, b"\x01\x00");
}

#[test]
fn closing_twice_sends_one_close() {
    // covers: CTL-04
    let mut side = Side::server();
    side.close();
    side.outbound.close(CloseCode::NORMAL, "again", &mut side.wire);
    assert_eq!(side.wire.bytes, b"\x01\x00");
    assert_eq!(side.outbound.state(), State::CloseSent);
}

#[test]
fn nothing_is_sent_before_the_connection_is_open() {
    // covers: FR-18
    for role in [crate::conn::Role::Server, crate::conn::Role::Client] {
        let (mut inbound, mut outbound) = halves(Dialect::Hybi02, role);
        let mut wire = Gathered::default();
        assert!(!outbound.message("early".into(), &mut wire));
        assert!(!outbound.ping(b"early", &mut wire));
        outbound.close(CloseCode::NORMAL, "early", &mut wire);
        assert_eq!((wire.as_bytes(), outbound.state()), (b"".as_slice(), State::Opening));
        outbound.opened(Dialect::Hybi02);
        let limits = crate::conn::Limits::default();
        let mut input = frame(0x02, b"now");
        let mut events = inbound.receive(&limits, &mut input);
        assert!(events.next_event(&mut outbound, &mut wire).is_some());
        assert_eq!(wire.as_bytes(), b"\x03\x03now");
    }
}

#[test]
fn both_directions_are_independent() {
    // covers: FR-18, CTL-02, CTL-03
    let mut side = Side::server();
    side.feed(b"\x84\x03Hel\x05");
    assert!(side.outbound.message("reply".into(), &mut side.wire), "inside the peer's message");
    side.feed(b"");
    assert_eq!(side.wire.bytes, b"\x04\x05reply");
}

#[test]
fn a_failure_is_final() {
    // covers: CLOSE-01, CLOSE-07
    let mut side = Side::server();
    side.outbound.fail();
    assert_eq!(side.outbound.state(), State::Failed);
    side.feed(&frame(0x01, b""));
    assert_eq!((side.seen.as_slice(), side.outbound.state()), ([].as_slice(), State::Failed));
    assert_silent(&mut side);
}

#[test]
fn what_is_sent_is_legal_and_shortest() {
    // covers: FR-02, FR-03, FR-04, FR-05, FR-07, FR-09, FR-10, UTF8-04
    for len in [0, 1, 125, 126, 65_535, 65_536] {
        for mut side in sides() {
            let payload = pattern(len);
            let letters = "x".repeat(len);
            assert!(side.outbound.message(payload.as_slice().into(), &mut side.wire));
            assert!(side.outbound.message(letters.as_str().into(), &mut side.wire));
            assert!(side.outbound.ping(&payload, &mut side.wire));
            let expected =
                [frame(0x05, &payload), frame(0x04, letters.as_bytes()), frame(0x02, &payload)];
            assert_eq!(
                side.wire.bytes,
                expected.concat(),
                "{len} bytes, {:?}",
                side.outbound.role()
            );
        }
    }
}

#[test]
fn a_sender_may_cut_anywhere() {
    // covers: FR-11, FR-13, FR-17, UTF8-03
    let whole = "aé\u{6F22}\u{1F4A9}z";
    for fragment in 1..=whole.len() + 1 {
        let mut side = Side::server();
        let size = NonZeroUsize::new(fragment).unwrap();
        assert!(side.outbound.fragmented(whole.into(), size, &mut side.wire));
        let pieces: Vec<&[u8]> = whole.as_bytes().chunks(fragment).collect();
        let mut expected = Vec::new();
        for (i, piece) in pieces.iter().enumerate() {
            let more = if i + 1 < pieces.len() { 0x80 } else { 0 };
            expected.extend(frame(more | if i == 0 { 0x04 } else { 0 }, piece));
        }
        assert_eq!(side.wire.bytes, expected);
        let mut client = Side::client();
        client.feed(&side.wire.bytes);
        assert_eq!(client.seen, [text(whole)]);
    }
    let mut side = Side::server();
    let size = NonZeroUsize::MIN;
    assert!(side.outbound.fragmented(Message::Binary(b""), size, &mut side.wire));
    assert_eq!(side.wire.bytes, b"\x05\x00");
    side.close();
    assert!(!side.outbound.fragmented(Message::Binary(b"x"), size, &mut side.wire));
}

fn sides() -> [Side; 2] {
    [Side::server(), Side::client()]
}

/// After a Close no frame leaves, of any kind.
fn assert_silent(side: &mut Side) {
    let before = side.wire.bytes.len();
    let Side { outbound, wire, .. } = side;
    let outbound: &mut Outbound = outbound;
    assert!(!outbound.message("text".into(), wire));
    assert!(!outbound.message(b"binary".as_slice().into(), wire));
    assert!(!outbound.ping(b"", wire));
    assert!(!outbound.fragmented("text".into(), NonZeroUsize::MIN, wire));
    outbound.close(CloseCode::NORMAL, "", wire);
    assert_eq!(wire.bytes.len(), before, "nothing is sent");
}
