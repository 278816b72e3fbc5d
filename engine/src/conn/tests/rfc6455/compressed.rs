//! Compressed messages (RFC 7692): however a stream is cut, and what is kept of them.

use super::super::{Seen, Side};
use super::{BINARY, CLOSE, MORE, PING, ROLES, TEXT, peer, side};
use crate::conn::{Deflater, Role, Work};
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

#[test]
fn in_slices_of_any_size_a_stream_says_the_same() {
    for role in ROLES {
        let stream = stream(role);
        let mut whole = agreed(role);
        whole.feed(&stream);
        for steps in 2..100 {
            let mut side = agreed(role);
            let slices = side.feed_in_slices(&stream, steps);
            assert_eq!(side.seen, whole.seen, "{steps}");
            assert_eq!(
                (side.wire.bytes, side.wire.on_loan),
                (whole.wire.bytes.clone(), 0),
                "{steps}"
            );
            // Nine thousand zeros alone are more than seventy steps.
            assert!(
                slices > 70 / usize::try_from(steps).expect("it is small"),
                "{steps}: {slices}"
            );
        }
    }
}

#[test]
fn in_slices_and_cut_into_reads_too() {
    for role in ROLES {
        let stream = stream(role);
        let mut whole = agreed(role);
        whole.feed(&stream);
        for cut in 0..=stream.len() {
            for steps in [2, 5, 30] {
                let mut side = agreed(role);
                side.feed_in_slices(&stream[..cut], steps);
                side.feed_in_slices(&stream[cut..], steps);
                assert_eq!(side.seen, whole.seen, "{cut} {steps}");
            }
        }
    }
}

#[test]
fn a_slice_inflates_no_more_than_its_share() {
    let zeros = packed(&vec![0; 1 << 20]);
    assert!(zeros.len() < 2000, "all of it in one small read");
    let stream = peer(Role::Server, 1, BINARY | RSV1, &zeros);
    let mut side = agreed(Role::Server);
    let mut input = stream.clone();
    let (mut from, mut held, mut slices) = (0, 0, 0);
    while side.seen.is_empty() {
        slices += 1;
        let events = side.inbound.receive(&side.limits, &mut input[from..]);
        let mut events = events.within(Work::steps(64));
        if let Some(event) = events.next_event(&mut side.outbound, &mut side.wire) {
            side.seen.push(Seen::of(&event));
        }
        from = stream.len() - events.unread();
        let now = side.inbound.capacity();
        assert!(now <= 2 * held + 2 * 64 * 128, "{held} to {now} bytes in one slice");
        held = now;
    }
    assert_eq!(side.seen, [Seen::Binary(vec![0; 1 << 20])]);
    assert!((128..=134).contains(&slices), "63 steps of 128 bytes each: {slices}");
}

#[test]
fn bad_text_and_bad_bytes_are_found_in_slices_too() {
    let long = [&"x".repeat(5000).into_bytes()[..], b"\xFF", &[b'y'; 5000]].concat();
    // A stored block, and behind it one of a kind that there is not (RFC 1951 section 3.2.3).
    let mut garbage = vec![0x00, 0xB8, 0x0B, 0x47, 0xF4];
    garbage.extend([b'x'; 3000]);
    garbage.push(0x06);
    let rows = [
        (TEXT | RSV1, packed(&long), ProtocolError::InvalidUtf8),
        (BINARY | RSV1, garbage, ProtocolError::InvalidDeflate),
        (BINARY | RSV1, packed(&vec![0; (1 << 20) + 1]), ProtocolError::MessageTooLarge),
    ];
    for (first, payload, error) in rows {
        for steps in [3, 17, 90] {
            let mut side = agreed(Role::Server);
            side.feed_in_slices(&peer(Role::Server, 1, first, &payload), steps);
            assert_eq!(side.seen, [Seen::Failed(error)], "{steps}");
            assert_eq!(side.wire.on_loan, 0);
        }
    }
}
