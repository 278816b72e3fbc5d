//! Compressed messages (RFC 7692): however a stream is cut, and what is kept of them.

use super::super::{Seen, Side};
use super::{BINARY, CLOSE, MORE, PING, ROLES, TEXT, peer, side};
use crate::conn::{Deflater, Role};
use crate::handshake::Deflate;
use crate::wire::ProtocolError;

const RSV1: u8 = 0x40;

fn packed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::new(15, 6).deflate(message, &mut out);
    out
}

fn agreed(role: Role) -> Side {
    let mut side = side(role);
    side.inbound.inflate(Deflate::of(15, false, false));
    side
}

fn stream(role: Role) -> Vec<u8> {
    let text = packed("κόσμε, κόσμε, κόσμε".as_bytes());
    let (front, back) = text.split_at(text.len() / 2);
    let zeros = packed(&[0; 9000]);
    let frames: [(u8, &[u8]); 8] = [
        (TEXT | RSV1, &packed(b"one")),
        ((TEXT | RSV1) & MORE, front),
        (PING, b"between"),
        (0x80, back),
        (TEXT, b"plain"),
        (BINARY | RSV1, &zeros),
        (BINARY | RSV1, &packed(b"")),
        (BINARY | RSV1, &packed(&super::pattern(300))),
    ];
    (1..).zip(frames).flat_map(|(n, (first, payload))| peer(role, n, first, payload)).collect()
}

#[test]
fn any_single_cut_and_byte_by_byte() {
    for role in ROLES {
        let stream = stream(role);
        let mut whole = agreed(role);
        whole.feed(&stream);
        let expected = [
            super::super::text("one"),
            Seen::Ping(b"between".to_vec()),
            super::super::text("κόσμε, κόσμε, κόσμε"),
            super::super::text("plain"),
            Seen::Binary(vec![0; 9000]),
            Seen::Binary(Vec::new()),
            Seen::Binary(super::pattern(300)),
        ];
        assert_eq!(whole.seen, expected);
        assert_eq!(whole.wire.on_loan, 0);
        for cut in 0..=stream.len() {
            let mut side = agreed(role);
            side.feed(&stream[..cut]);
            assert!(side.inbound.take_direct().is_none() || cut < stream.len());
            let mut side = agreed(role);
            side.feed(&stream[..cut]);
            side.feed(&stream[cut..]);
            assert_eq!(side.seen, expected, "cut at {cut}");
        }
        let mut side = agreed(role);
        for byte in &stream {
            side.feed(std::slice::from_ref(byte));
        }
        assert_eq!(side.seen, expected, "byte by byte");
        assert!(side.inbound.capacity() == 0, "nothing is kept between messages");
    }
}

/// Messages that refer to each other, plain ones and control frames between them.
fn stream_with_takeover(role: Role) -> (Vec<u8>, Vec<Seen>) {
    let mut deflater = Deflater::new(15, 6);
    let mut compressed = |message: &[u8]| {
        let mut out = Vec::new();
        deflater.deflate(message, &mut out);
        out
    };
    let line = "a line that is said again and again, ".repeat(3);
    let once = compressed(line.as_bytes());
    let again = compressed(line.as_bytes());
    assert!(again.len() * 4 < once.len(), "the second one refers to the first");
    let third = compressed(line.as_bytes());
    let (front, back) = third.split_at(third.len() / 2);
    let frames: [(u8, &[u8]); 8] = [
        (TEXT | RSV1, &once),
        (TEXT, b"plain"),
        (TEXT | RSV1, &again),
        ((BINARY | RSV1) & MORE, front),
        (PING, b"between"),
        (0x80, back),
        (TEXT | RSV1, &compressed(b"")),
        (BINARY | RSV1, &compressed(&line.as_bytes()[7..])),
    ];
    let stream =
        (1..).zip(frames).flat_map(|(n, (first, payload))| peer(role, n, first, payload)).collect();
    let expected = vec![
        super::super::text(&line),
        super::super::text("plain"),
        super::super::text(&line),
        Seen::Ping(b"between".to_vec()),
        Seen::Binary(line.as_bytes().to_vec()),
        super::super::text(""),
        Seen::Binary(line.as_bytes()[7..].to_vec()),
    ];
    (stream, expected)
}

#[test]
fn messages_that_refer_to_others_at_every_cut() {
    for role in ROLES {
        let (stream, expected) = stream_with_takeover(role);
        for cut in 0..=stream.len() {
            let mut side = side(role);
            side.inbound.inflate(Deflate::of(15, false, true));
            side.feed(&stream[..cut]);
            side.feed(&stream[cut..]);
            assert_eq!(side.seen, expected, "cut at {cut}");
            assert!(side.inbound.keeps_inflater());
            assert_eq!((side.inbound.capacity(), side.wire.on_loan), (0, 0));
        }
        // Without an agreement they refer to nothing.
        let mut without = agreed(role);
        without.feed(&stream);
        assert_eq!(without.seen.last(), Some(&Seen::Failed(ProtocolError::InvalidDeflate)));
    }
}

#[test]
fn a_kept_inflater_does_not_make_plain_messages_go_through_it() {
    let mut server = side(Role::Server);
    server.inbound.inflate(Deflate::of(15, false, true));
    server.feed(&peer(Role::Server, 1, TEXT | RSV1, &packed(b"one")));
    // Beyond what is taken compressed, and received into its own memory.
    let frame = peer(Role::Server, 2, BINARY, &super::pattern(9000));
    server.feed(&frame[..5000]);
    let (memory, left) = server.inbound.take_direct().expect("it is plain");
    assert_eq!(left, u64::try_from(frame.len()).unwrap() - 5000);
    server.inbound.return_direct(memory, 0);
    server.feed(&frame[5000..]);
    assert_eq!(server.seen, [super::super::text("one"), Seen::Binary(super::pattern(9000))]);
}

#[test]
fn what_is_compressed_is_never_received_into_the_message() {
    let mut server = agreed(Role::Server);
    let frame = peer(Role::Server, 1, BINARY | RSV1, &packed(&super::pattern(3000)));
    server.feed(&frame[..20]);
    assert!(server.inbound.remaining() > 0);
    assert!(server.inbound.take_direct().is_none());
    server.feed(&frame[20..]);
    assert_eq!(server.seen, [Seen::Binary(super::pattern(3000))]);
}

#[test]
fn rsv1_on_a_frame_that_begins_no_message_is_named() {
    // RFC 7692 §6.1.
    for role in ROLES {
        for (before, first) in [
            (Some(TEXT & MORE), 0x80 | RSV1),
            (Some(TEXT & MORE | RSV1), 0x80 | RSV1),
            (None, 0x80 | RSV1),
            (None, PING | RSV1),
            (None, CLOSE | RSV1),
        ] {
            let mut side = agreed(role);
            if let Some(before) = before {
                side.feed(&peer(role, 1, before, b""));
            }
            side.feed(&peer(role, 2, first, b""));
            assert_eq!(side.seen, [Seen::Failed(ProtocolError::CompressionBit)], "{first:02X}");
        }
    }
}

#[test]
fn without_an_agreement_rsv1_is_refused() {
    let mut server = side(Role::Server);
    server.feed(&peer(Role::Server, 1, TEXT | RSV1, &packed(b"one")));
    assert_eq!(server.seen, [Seen::Failed(ProtocolError::ReservedBit)]);
}
