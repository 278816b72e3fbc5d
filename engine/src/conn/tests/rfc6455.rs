//! RFC 6455 on one connection: masks, strict text, close codes, and the cuts of a stream.

mod closing;
mod compressed;
mod split;
mod text;

use super::{Seen, Side, Wire, frame, key, pattern};
use crate::conn::{Event, Limits, Message, Role, State};
use crate::wire::{ClosePayload, Dialect, ProtocolError};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
/// Clears FIN.
const MORE: u8 = 0x7F;

fn side(role: Role) -> Side {
    Side::of(Dialect::Rfc6455, role, Limits::default())
}

/// A frame as the peer of `role` sends it: masked with the n-th key if that is a client. Written
/// apart from the code under test.
fn peer(role: Role, n: u32, first: u8, payload: &[u8]) -> Vec<u8> {
    match role {
        Role::Client => frame(first, payload),
        Role::Server => masked(key(n), first, payload),
    }
}

/// A frame masked with `key`.
fn masked(key: [u8; 4], first: u8, payload: &[u8]) -> Vec<u8> {
    let bytes: Vec<u8> =
        payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % key.len()]).collect();
    let mut frame = frame(first, &bytes);
    let header = frame.len() - bytes.len();
    frame[1] |= 0x80;
    frame.splice(header..header, key);
    frame
}

/// What `role` itself sends, its `n`-th frame.
fn own(role: Role, n: u32, first: u8, payload: &[u8]) -> Vec<u8> {
    peer(role.peer(), n, first, payload)
}

const ROLES: [Role; 2] = [Role::Server, Role::Client];

#[test]
fn the_examples_of_the_rfc() {
    // RFC 6455 §5.7.
    let mut server = side(Role::Server);
    server.feed(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    server.feed(b"\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    assert_eq!(server.seen, [super::text("Hello"), Seen::Ping(b"Hello".to_vec())]);
    assert_eq!(server.wire.bytes, b"\x8a\x05Hello");
    let mut client = side(Role::Client);
    client.feed(b"\x81\x05Hello\x01\x03Hel\x80\x02lo\x8a\x05Hello");
    let pong = Seen::Pong(b"Hello".to_vec());
    assert_eq!(client.seen, [super::text("Hello"), super::text("Hello"), pong]);
}

#[test]
fn masks_are_taken_off_at_every_alignment() {
    // RFC 6455 §5.3: whatever the place in memory, the length, and the cut.
    for offset in 0..9 {
        for len in [0, 1, 3, 4, 7, 8, 9, 31, 64, 125, 126, 255, 256, 300] {
            let payload = pattern(len);
            let wire = masked([0xA1, 0x02, 0xF3, 0x54], BINARY, &payload);
            let mut input = [vec![0; offset], wire.clone()].concat();
            let mut server = side(Role::Server);
            let mut events = server.inbound.receive(&server.limits, &mut input[offset..]);
            match events.next_event(&mut server.outbound, &mut server.wire) {
                Some(Event::Message(Message::Binary(bytes), _)) => assert_eq!(bytes, payload),
                other => panic!("{other:?}"),
            }
            let cut = (wire.len() - len + offset).min(wire.len());
            let mut server = side(Role::Server);
            server.feed(&wire[..cut]);
            server.feed(&wire[cut..]);
            assert_eq!(server.seen, [Seen::Binary(payload)], "{len} bytes cut at {cut}");
        }
    }
}

#[test]
fn the_wrong_masking_ends_the_connection() {
    // RFC 6455 §5.1.
    for (role, error) in
        [(Role::Server, ProtocolError::UnmaskedFrame), (Role::Client, ProtocolError::MaskedFrame)]
    {
        for first in [TEXT, BINARY, PING, PONG, CLOSE] {
            let mut side = side(role);
            side.feed(&own(role, 7, first, b""));
            assert_eq!(side.seen, [Seen::Failed(error)], "{first:02X}");
            assert_told(&side, 1002, error);
        }
    }
}

#[test]
fn rsv1_has_no_meaning_without_an_extension() {
    // RFC 6455 §5.2.
    for role in ROLES {
        for first in [TEXT, BINARY, PING, CLOSE, TEXT & MORE] {
            let mut side = side(role);
            side.feed(&peer(role, 1, first | 0x40, b""));
            assert_eq!(side.seen, [Seen::Failed(ProtocolError::ReservedBit)]);
            assert_told(&side, 1002, ProtocolError::ReservedBit);
        }
    }
}

#[test]
fn clients_mask_every_frame_with_another_key() {
    // RFC 6455 §5.3.
    let mut client = side(Role::Client);
    let size = std::num::NonZeroUsize::new(3).unwrap();
    let Side { outbound, wire, .. } = &mut client;
    assert!(outbound.message("Hello".into(), wire));
    assert!(outbound.fragmented("Hello".into(), size, wire));
    assert!(outbound.ping(b"?", wire));
    assert!(outbound.message(pattern(70_000).as_slice().into(), wire));
    client.feed(&peer(Role::Client, 0, PING, b"!"));
    let expected = [
        masked(key(1), TEXT, b"Hello"),
        masked(key(2), TEXT & MORE, b"Hel"),
        masked(key(3), 0x80, b"lo"),
        masked(key(4), PING, b"?"),
        masked(key(5), BINARY, &pattern(70_000)),
        masked(key(6), PONG, b"!"),
    ];
    assert!(client.wire.bytes == expected.concat());
    let mut server = side(Role::Server);
    server.feed(&client.wire.bytes);
    assert_eq!(server.seen.len(), 5);
}

#[test]
fn servers_mask_nothing() {
    let mut server = side(Role::Server);
    let Side { outbound, wire, .. } = &mut server;
    assert!(outbound.message("Hello".into(), wire));
    assert!(!outbound.ping(&[b'x'; 126], wire), "longer than a control frame may be");
    assert!(outbound.ping(&[b'x'; 125], wire));
    assert_eq!(wire.bytes, [frame(TEXT, b"Hello"), frame(PING, &[b'x'; 125])].concat());
    assert_eq!(wire.keys, 0);
}

#[test]
fn limits_are_told_as_too_big() {
    // RFC 6455 §7.4.1, §10.4: judged before anything is kept.
    let limits = Limits::default().with_max_frame_bytes(1000).with_max_message_bytes(1500);
    let limits = limits.with_max_fragments(3);
    let rows: [(Vec<Vec<u8>>, ProtocolError); 3] = [
        (vec![masked(key(1), BINARY, &[0; 1001])], ProtocolError::FrameTooLarge),
        (
            vec![masked(key(1), BINARY & MORE, &[0; 1000]), masked(key(2), 0x80, &[0; 501])],
            ProtocolError::MessageTooLarge,
        ),
        (
            vec![
                masked(key(1), BINARY & MORE, b""),
                masked(key(1), 0, b""),
                masked(key(1), 0, b""),
                masked(key(1), 0x80, b""),
            ],
            ProtocolError::TooManyFragments,
        ),
    ];
    for (frames, error) in rows {
        let mut server = Side::of(Dialect::Rfc6455, Role::Server, limits);
        // The last frame's header alone is enough.
        let (last, before) = frames.split_last().unwrap();
        server.feed(&before.concat());
        server.feed(&last[..last.len().min(8)]);
        assert_eq!(server.seen, [Seen::Failed(error)]);
        assert_told(&server, 1009, error);
        assert_eq!(server.inbound.capacity(), 0, "nothing is kept");
    }
}

#[test]
fn nothing_is_held_after_the_end() {
    for last in [peer(Role::Server, 3, CLOSE, b""), b"\xFF\xFF".to_vec()] {
        let mut server = side(Role::Server);
        server.feed(&masked(key(1), BINARY & MORE, &pattern(5000)));
        server.feed(&masked(key(2), PING, b"abc")[..7]);
        assert!(server.inbound.capacity() > 0 && server.wire.on_loan == 2);
        server.feed(&masked(key(2), PING, b"abc")[7..]);
        server.feed(&last);
        assert!(server.outbound.state().is_over());
        assert_eq!((server.inbound.capacity(), server.wire.on_loan), (0, 0));
    }
}

#[test]
fn every_rule_is_told_in_words_that_fit() {
    // RFC 6455 §5.5.1.
    for error in ProtocolError::ALL {
        let payload = ClosePayload::new(error.close_code(), error.sentence());
        assert_eq!((payload.code(), payload.reason()), (error.close_code(), error.sentence()));
    }
}

/// The peer was told with this code, and nothing else left.
#[track_caller]
fn assert_told(side: &Side, code: u16, error: ProtocolError) {
    let payload = [&code.to_be_bytes()[..], error.sentence().as_bytes()].concat();
    assert_eq!(side.wire.bytes, own(side.outbound.role(), 1, CLOSE, &payload));
    assert_eq!(side.outbound.state(), State::Failed);
}

/// What an output took, of the tests that look at it alone.
#[test]
fn an_output_masks_a_copy() {
    use crate::conn::{Gathered, Output as _};
    let payload = pattern(40);
    let (mut wire, mut gathered) = (Wire::default(), Gathered::default());
    let mask = crate::wire::Mask::new(key(9));
    wire.frame(b"\x82\xA8", &payload, Some(mask));
    gathered.frame(b"\x82\xA8", &payload, Some(mask));
    assert_eq!(wire.bytes, gathered.as_bytes());
    assert_eq!(payload, pattern(40), "the caller's bytes are as they were");
    gathered.clear();
    assert!(gathered.as_bytes().is_empty());
    assert_ne!(gathered.masking_key(), gathered.masking_key());
}
