//! The second dialect: what differs from draft-02 between frames, and the same however a stream is
//! cut.

use proptest::prelude::*;

use super::{Seen, Side, pattern, text};
use crate::conn::{Limits, Message, Output, Role, State};
use crate::wire::{CloseCode, Dialect, Mask, ProtocolError};

const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// A frame in the shortest form, masked if there is a key; written apart from the code under test.
fn frame(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = super::frame(first, payload);
    if let Some(key) = key {
        bytes[1] |= 0x80;
        let at = bytes.len() - payload.len();
        for (i, byte) in bytes[at..].iter_mut().enumerate() {
            *byte ^= key[i % 4];
        }
        bytes.splice(at..at, key);
    }
    bytes
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, Some([0x37, 0xFA, 0x21, 0x3D]))
}

fn side(role: Role) -> Side {
    Side::speaking(Dialect::Rfc6455, role, Limits::default())
}

/// What a server sees of the bytes, fed in pieces of this size, and what it answers.
fn serve(bytes: &[u8], piece: usize) -> Side {
    let mut side = side(Role::Server);
    for piece in bytes.chunks(piece) {
        side.feed(piece);
    }
    side
}

fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

#[test]
fn a_conversation_is_the_same_in_any_pieces() {
    let stream = [
        masked(FIN | TEXT, "Grüße".as_bytes()),
        masked(TEXT, "κόσ".as_bytes()),
        masked(FIN | PING, b"still there?"),
        masked(CONTINUATION, b""),
        masked(FIN | CONTINUATION, "με".as_bytes()),
        masked(FIN | PONG, b"unasked"),
        masked(FIN | BINARY, &pattern(300)),
        masked(FIN | BINARY, b""),
        frame(FIN | BINARY, &pattern(70_000), Some([0; 4])),
        masked(FIN | CLOSE, &close_payload(1000, "done")),
        masked(FIN | TEXT, b"behind the end"),
    ]
    .concat();
    let answers = [frame(FIN | PONG, b"still there?", None), frame(FIN | CLOSE, b"\x03\xE8", None)];
    for piece in [1, 2, 3, 5, 7, 64, 1400, stream.len()] {
        let side = serve(&stream, piece);
        let expected = [
            text("Grüße"),
            Seen::Ping(b"still there?".to_vec()),
            text("κόσμε"),
            Seen::Pong(b"unasked".to_vec()),
            Seen::Binary(pattern(300)),
            Seen::Binary(Vec::new()),
            Seen::Binary(pattern(70_000)),
            Seen::Close(close_payload(1000, "done")),
        ];
        assert_eq!(side.seen, expected, "pieces of {piece}");
        assert_eq!(side.wire.bytes, answers.concat(), "pieces of {piece}");
        assert_eq!((side.outbound.state(), side.wire.on_loan), (State::Closed, 0));
    }
}

#[test]
fn each_rule_fails_with_its_close_code() {
    use ProtocolError as E;
    let long = pattern(126);
    let cases: [(Vec<u8>, E, u16); 16] = [
        (frame(FIN | TEXT, b"x", None), E::UnmaskedFrame, 1002),
        (masked(FIN | 0x40 | TEXT, b"x"), E::ReservedBit, 1002),
        (masked(FIN | 0x20 | TEXT, b"x"), E::ReservedBit, 1002),
        (masked(FIN | 0x40 | PING, b"x"), E::ReservedBit, 1002),
        (masked(FIN | 0x3, b"x"), E::ReservedOpcode, 1002),
        (masked(FIN | 0xB, b"x"), E::ReservedOpcode, 1002),
        (masked(PING, b"x"), E::FragmentedControl, 1002),
        (masked(FIN | PING, &long), E::ControlTooLarge, 1002),
        (masked(FIN | CONTINUATION, b"x"), E::UnexpectedContinuation, 1002),
        ([masked(TEXT, b"a"), masked(FIN | TEXT, b"b")].concat(), E::ExpectedContinuation, 1002),
        (masked(FIN | TEXT, b"\xC3"), E::InvalidUtf8, 1007),
        (masked(FIN | CLOSE, b"x"), E::ClosePayload, 1002),
        (masked(FIN | CLOSE, &close_payload(1005, "")), E::CloseCode, 1002),
        (masked(FIN | CLOSE, b"\x03\xE8\xFF"), E::InvalidUtf8, 1007),
        (b"\x82\xFE\x00\x7D\0\0\0\0".to_vec(), E::LengthNotMinimal, 1002),
        (b"\x82\xFF\0\0\0\0\0\x10\0\x01\0\0\0\0".to_vec(), E::MessageTooLarge, 1009),
    ];
    for (bytes, error, code) in cases {
        let limits = Limits::default().with_max_frame_bytes(u64::MAX);
        for piece in [1, bytes.len()] {
            let mut side = Side::speaking(Dialect::Rfc6455, Role::Server, limits);
            for piece in bytes.chunks(piece) {
                side.feed(piece);
            }
            assert_eq!(side.seen, [Seen::Failed(error)], "{bytes:02X?}");
            let told = close_payload(code, error.sentence());
            assert_eq!(side.wire.bytes, frame(FIN | CLOSE, &told, None), "{error:?}");
            assert_eq!(side.outbound.state(), State::Failed);
        }
    }
}

#[test]
fn text_fails_at_the_byte_that_cannot_be_right() {
    // In one frame, in two, and received into the message's own memory: always before the end.
    let bad = b"valid so far \xED\xA0\x80 and more".as_slice();
    let certain = b"valid so far \xED\xA0".len();
    let one = masked(FIN | TEXT, bad);
    let header = one.len() - bad.len();
    let mut side = side(Role::Server);
    side.feed(&one[..header + certain - 1]);
    assert_eq!(side.seen, []);
    side.feed(&one[header + certain - 1..header + certain]);
    assert_eq!(side.seen, [Seen::Failed(ProtocolError::InvalidUtf8)]);

    let two = masked(TEXT, &bad[..certain]);
    assert_eq!(serve(&two, two.len()).seen, [Seen::Failed(ProtocolError::InvalidUtf8)]);

    let mut direct = self::side(Role::Server);
    direct.feed(&one[..=header]);
    let (mut memory, remaining) = direct.inbound.take_direct().unwrap();
    let n = certain + 3;
    memory.spare(remaining)[..n].copy_from_slice(&one[header + 1..][..n]);
    direct.inbound.return_direct(memory, n);
    direct.feed(&[]);
    assert_eq!(direct.seen, [Seen::Failed(ProtocolError::InvalidUtf8)]);
}

#[test]
fn what_was_received_into_the_message_is_unmasked() {
    let payload = pattern(10_000);
    let bytes = masked(FIN | BINARY, &payload);
    for first in [9, 10, 11, 12, 13, 4000] {
        let mut side = side(Role::Server);
        side.feed(&bytes[..first]);
        let mut at = first;
        while at < bytes.len() {
            let (mut memory, remaining) = side.inbound.take_direct().unwrap();
            let spare = memory.spare(remaining);
            let n = spare.len().min(1777);
            spare[..n].copy_from_slice(&bytes[at..at + n]);
            side.inbound.return_direct(memory, n);
            side.feed(&[]);
            at += n;
        }
        assert_eq!(side.seen, [Seen::Binary(payload.clone())], "after {first} bytes");
    }
}

#[test]
fn a_client_masks_and_refuses_what_is_masked() {
    let mut client = side(Role::Client);
    assert!(client.outbound.message(Message::Text("Hello"), &mut client.wire));
    assert!(client.outbound.ping(b"?", &mut client.wire));
    client.outbound.close(CloseCode::GOING_AWAY, "bye", &mut client.wire);
    let sent = std::mem::take(&mut client.wire.bytes);
    assert_ne!(&sent[6..11], b"Hello", "one key in four thousand millions would do that");
    let mut server = side(Role::Server);
    server.feed(&sent);
    let expected =
        [text("Hello"), Seen::Ping(b"?".to_vec()), Seen::Close(close_payload(1001, "bye"))];
    assert_eq!(server.seen, expected);
    client.feed(&server.wire.bytes);
    assert_eq!(client.seen, [Seen::Pong(b"?".to_vec()), Seen::Close(vec![0x03, 0xE9])]);
    assert_eq!(client.outbound.state(), State::Closed);

    let mut client = side(Role::Client);
    client.feed(&masked(FIN | TEXT, b"x"));
    assert_eq!(client.seen, [Seen::Failed(ProtocolError::MaskedFrame)]);
    let mut server = side(Role::Server);
    server.feed(&client.wire.bytes);
    let told = close_payload(1002, ProtocolError::MaskedFrame.sentence());
    assert_eq!(server.seen, [Seen::Close(told)]);
}

#[test]
fn after_our_close_a_broken_rule_is_not_told_and_pings_are_not_answered() {
    let mut server = side(Role::Server);
    server.outbound.close(CloseCode::NORMAL, "", &mut server.wire);
    let sent = server.wire.bytes.clone();
    server.feed(&masked(FIN | PING, b"?"));
    server.feed(&masked(FIN | 0x3, b""));
    assert_eq!(server.wire.bytes, sent);
    assert_eq!(server.seen[1..], [Seen::Failed(ProtocolError::ReservedOpcode)]);
}

#[test]
fn every_sentence_fits_a_close_frame() {
    for error in ProtocolError::ALL {
        assert!(error.sentence().len() <= crate::wire::close::REASON_MAX, "{error}");
    }
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A]),
        1 => prop::sample::select(vec![0x88, 0xC1, 0x83]),
    ];
    let payload = prop_oneof![
        4 => prop::collection::vec(any::<u8>().prop_map(|byte| byte & 0x7F), 0..400),
        1 => "\\PC{0,60}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..10),
    ];
    (first, payload, any::<[u8; 4]>()).prop_map(|(first, mut payload, key)| {
        if first & 0x08 != 0 {
            payload.truncate(125);
        }
        frame(first, &payload, Some(key))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Events and answers do not depend on the cuts, nor on which parts go into the message's own
    /// memory.
    #[test]
    fn any_cuts_give_the_same(
        frames in prop::collection::vec(any_frame(), 1..12),
        reads in prop::collection::vec((1_usize..500, any::<bool>()), 1..6),
    ) {
        let stream = frames.concat();
        let whole = serve(&stream, stream.len());
        let mut cut = side(Role::Server);
        let mut rest = &stream[..];
        for (read, direct) in reads.iter().cycle() {
            if rest.is_empty() { break }
            let (part, tail) = rest.split_at(rest.len().min(*read));
            let taken = if *direct { cut.inbound.take_direct() } else { None };
            if let Some((mut memory, remaining)) = taken {
                let spare = memory.spare(remaining);
                let n = spare.len().min(part.len());
                spare[..n].copy_from_slice(&part[..n]);
                cut.inbound.return_direct(memory, n);
                cut.feed(&[]);
                rest = &rest[n..];
            } else {
                cut.feed(part);
                rest = tail;
            }
        }
        prop_assert_eq!(&cut.seen, &whole.seen);
        prop_assert_eq!(&cut.wire.bytes, &whole.wire.bytes);
        prop_assert_eq!(cut.outbound.state(), whole.outbound.state());
    }

    /// What one side sends is what the other sees, whatever the fragments.
    #[test]
    fn messages_arrive(
        messages in prop::collection::vec((any::<bool>(), "\\PC{0,200}"), 1..8),
        fragment in 1_usize..100,
        from_client: bool,
        piece in 1_usize..300,
    ) {
        let (from, to) =
            if from_client { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
        let (mut sender, mut receiver) = (side(from), side(to));
        let mut expected = Vec::new();
        for (is_text, payload) in &messages {
            let message = if *is_text {
                expected.push(text(payload));
                Message::Text(payload)
            } else {
                expected.push(Seen::Binary(payload.clone().into_bytes()));
                Message::Binary(payload.as_bytes())
            };
            let fragment = std::num::NonZeroUsize::new(fragment).unwrap();
            sender.outbound.fragmented(message, fragment, &mut sender.wire);
        }
        for piece in sender.wire.bytes.chunks(piece) {
            receiver.feed(piece);
        }
        prop_assert_eq!(receiver.seen, expected);
    }
}

#[test]
fn a_mask_goes_onto_the_payload_alone() {
    let mut out = b"before".to_vec();
    out.frame(b"header", b"\0\0\0\0\0", Some(Mask::new(*b"keys")));
    assert_eq!(out, b"beforeheaderkeysk");
}
