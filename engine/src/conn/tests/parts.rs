//! Messages that are handed over in parts, and sent in parts.

use proptest::prelude::*;

use super::split::feed_direct;
use super::{Seen, Side, frame, pattern, text};
use crate::conn::{InvalidUtf8, Limits, Message, Part, Role, State};
use crate::wire::{CloseCode, Dialect, ProtocolError};

fn limits(part_bytes: u32) -> Limits {
    Limits::default().with_part_bytes(part_bytes)
}

fn server(part_bytes: u32) -> Side {
    Side::new(Role::Server, limits(part_bytes))
}

/// What was seen with parts put together again, each message with the lengths of its parts.
fn joined(seen: &[Seen]) -> Vec<(Seen, Vec<usize>)> {
    let mut out = Vec::new();
    let (mut bytes, mut lens) = (Vec::new(), Vec::new());
    for one in seen {
        let Seen::Part(part, [is_text, first, last]) = one else {
            out.push((one.clone(), Vec::new()));
            continue;
        };
        assert_eq!(*first, lens.is_empty(), "only the first part says that it is: {seen:?}");
        bytes.extend(part);
        lens.push(part.len());
        if *last {
            let whole = std::mem::take(&mut bytes);
            let message = if *is_text {
                Seen::Text(String::from_utf8(whole).expect("only valid text is finished"))
            } else {
                Seen::Binary(whole)
            };
            out.push((message, std::mem::take(&mut lens)));
        }
    }
    out
}

#[test]
fn a_large_message_comes_in_parts_and_a_small_one_whole() {
    // covers: FR-12, FR-14
    let mut side = server(1000);
    let wire = [frame(0x05, &pattern(3500)), frame(0x04, b"small")].concat();
    for read in wire.chunks(600) {
        side.feed(read);
    }
    let seen = joined(&side.seen);
    assert_eq!(seen[0].0, Seen::Binary(pattern(3500)));
    assert_eq!(seen[0].1, [1196, 1200, 1104], "two reads each, and what is left");
    assert_eq!(seen[1..], [(text("small"), vec![])]);
    assert_eq!(side.wire.on_loan, 0);
    assert!(!side.inbound.is_mid_message());
}

#[test]
fn a_message_that_is_whole_in_one_read_stays_whole() {
    let mut side = server(10);
    side.feed(&frame(0x05, &pattern(5000)));
    assert_eq!(side.seen, [Seen::Binary(pattern(5000))]);
}

#[test]
fn memory_follows_the_part_and_not_the_message() {
    // covers: CONF-03
    let mut side = server(4096);
    let mut most = 0;
    for read in frame(0x05, &pattern(1 << 20)).chunks(1000) {
        side.feed(read);
        most = most.max(side.inbound.capacity());
    }
    assert!(most <= 16 << 10, "{most} bytes held at once");
}

#[test]
fn fragments_and_control_frames_between_parts() {
    // covers: FR-11, FR-14, CTL-02, AMB-01
    let mut side = server(100);
    for piece in 0..10 {
        side.feed(&frame(if piece == 0 { 0x84 } else { 0x80 }, &[b'a'; 60]));
        side.feed(b"\x02\x01?");
    }
    side.feed(&frame(0x00, b"end"));
    let pings = side.seen.iter().filter(|one| **one == Seen::Ping(b"?".to_vec())).count();
    assert_eq!(pings, 10);
    side.seen.retain(|one| matches!(one, Seen::Part(..)));
    assert_eq!(
        joined(&side.seen),
        [(text(&("a".repeat(600) + "end")), vec![120, 120, 120, 120, 120, 3])]
    );
}

#[test]
fn an_empty_last_frame_ends_a_message_in_parts() {
    // covers: FR-13
    let mut side = server(4);
    side.feed(b"\x85\x04abcd");
    side.feed(b"\x00\x00");
    assert_eq!(joined(&side.seen), [(Seen::Binary(b"abcd".to_vec()), vec![4, 0])]);
}

#[test]
fn text_fails_at_the_byte_that_cannot_be_right() {
    // covers: UTF8-03
    for dialect in Dialect::ALL {
        // A client of draft-02 replaces; servers of both close.
        let mut side = Side::of(dialect, Role::Server, limits(4));
        let (first, more) = match dialect {
            Dialect::Hybi02 => (0x84, 0x80),
            Dialect::Rfc6455 => (0x01, 0x00),
        };
        let masked = |first: u8, payload: &[u8]| {
            let mut bytes = frame(first, payload);
            if dialect == Dialect::Rfc6455 {
                bytes[1] |= 0x80;
                bytes.splice(2..2, [0; 4]);
            }
            bytes
        };
        // A character cut between two parts is no fault.
        side.feed(&masked(first, "abcä".as_bytes().split_last().expect("bytes").1));
        side.feed(&masked(more, &[0xA4, b'x', b'y', b'z', 0xC3]));
        assert_eq!(side.seen.len(), 2, "{:?}", side.seen);
        side.feed(&masked(more, b"no"));
        assert_eq!(side.seen.last(), Some(&Seen::Failed(ProtocolError::InvalidUtf8)));
        assert_eq!(side.outbound.state(), State::Failed);
    }
}

#[test]
fn text_that_ends_inside_a_character_fails() {
    // covers: UTF8-03
    let mut side = server(4);
    side.feed(b"\x84\x04abcd");
    side.feed(b"\x00\x01\xC3");
    assert_eq!(side.seen.last(), Some(&Seen::Failed(ProtocolError::InvalidUtf8)));
}

#[test]
fn text_whose_bad_sequences_are_replaced_comes_whole() {
    // covers: UTF8-01, UTF8-02
    let replace = limits(4).with_invalid_utf8(InvalidUtf8::Replace);
    for mut side in [Side::new(Role::Client, limits(4)), Side::new(Role::Server, replace)] {
        side.feed(b"\x84\x06abc\xFFde");
        side.feed(b"\x00\x01f");
        assert_eq!(side.seen, [text("abc\u{FFFD}def")]);
    }
}

#[test]
fn what_was_handed_over_counts_against_the_limit() {
    // covers: CONF-03, SEC-06
    let limit = limits(100).with_max_message_bytes(1000);
    let mut side = Side::new(Role::Server, limit);
    for piece in 0..5 {
        side.feed(&frame(if piece == 0 { 0x85 } else { 0x80 }, &pattern(200)));
    }
    assert_eq!(side.seen.len(), 5);
    side.feed(&frame(0x80, b"!"));
    assert_eq!(side.seen.last(), Some(&Seen::Failed(ProtocolError::MessageTooLarge)));
    assert_eq!(side.wire.on_loan, 0);

    // The next message starts from nothing.
    let mut side = Side::new(Role::Server, limit);
    for _ in 0..3 {
        side.feed(&frame(0x85, &pattern(500)));
        side.feed(&frame(0x00, &pattern(500)));
    }
    assert!(side.seen.iter().all(|one| matches!(one, Seen::Part(..))), "{:?}", side.seen);
}

#[test]
fn parts_leave_in_order_or_not_at_all() {
    // covers: FR-11, FR-14, CTL-05
    let mut side = server(0);
    let Side { outbound, wire, .. } = &mut side;
    let part = |bytes, first, last| Part::binary(bytes).at(first, last);
    assert!(!outbound.part(part(b"x", false, false), wire), "none is under way");
    assert!(outbound.part(part(b"ab", true, false), wire));
    assert!(!outbound.can_send());
    assert!(!outbound.part(part(b"x", true, false), wire), "one is under way");
    assert!(!outbound.message(Message::Text("x"), wire));
    let one = std::num::NonZeroUsize::MIN;
    assert!(!outbound.fragmented(Message::Text("x"), one, wire));
    assert!(outbound.ping(b"?", wire), "control frames may stand between");
    assert!(outbound.part(part(b"cd", false, false), wire));
    assert!(outbound.part(part(b"", false, true), wire));
    assert!(outbound.message(Message::Text("x"), wire));
    assert_eq!(wire.bytes, b"\x85\x02ab\x02\x01?\x80\x02cd\x00\x00\x04\x01x");
}

#[test]
fn a_message_in_parts_may_be_cut_off_by_a_close() {
    // covers: CTL-05, CTL-06
    let mut side = server(0);
    let Side { outbound, wire, .. } = &mut side;
    assert!(outbound.part(Part::text(b"a").at(true, false), wire));
    outbound.close(CloseCode::NORMAL, "", wire);
    assert!(!outbound.part(Part::text(b"b").at(false, true), wire));
    assert_eq!(wire.bytes, b"\x84\x01a\x01\x00");
}

proptest! {
    #[test]
    fn put_together_the_parts_are_the_message_however_it_is_cut(
        part_bytes in 1_u32..300,
        messages in prop::collection::vec((any::<bool>(), prop::collection::vec(0_usize..400, 1..5)), 1..5),
        reads in prop::collection::vec(1_usize..500, 1..40),
        direct in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        for (is_text, lens) in &messages {
            let whole: Vec<u8> = "zwölf Boxkämpfer ".bytes().cycle().take(lens.iter().sum()).collect();
            let valid = std::str::from_utf8(&whole).is_ok();
            let is_text = *is_text && valid;
            let mut at = 0;
            for (n, len) in lens.iter().enumerate() {
                let opcode = if n > 0 { 0 } else if is_text { 4 } else { 5 };
                let more = if n + 1 < lens.len() { 0x80 } else { 0 };
                wire.extend(frame(opcode | more, &whole[at..at + len]));
                at += len;
            }
            expected.push(if is_text {
                Seen::Text(String::from_utf8(whole).expect("looked at"))
            } else {
                Seen::Binary(whole)
            });
        }
        let mut side = server(part_bytes);
        let mut rest = &wire[..];
        for n in 0.. {
            if rest.is_empty() {
                break;
            }
            let read = rest.len().min(reads[n % reads.len()]);
            if direct[n % direct.len()] {
                feed_direct(&mut side, &rest[..read]);
            } else {
                side.feed(&rest[..read]);
            }
            rest = &rest[read..];
        }
        let seen = joined(&side.seen);
        for (_, lens) in &seen {
            for len in lens.iter().rev().skip(1) {
                prop_assert!(*len >= part_bytes as usize, "{lens:?}");
            }
        }
        let messages: Vec<_> = seen.into_iter().map(|(message, _)| message).collect();
        prop_assert_eq!(messages, expected);
        prop_assert_eq!(side.wire.on_loan, 0);
    }
}
