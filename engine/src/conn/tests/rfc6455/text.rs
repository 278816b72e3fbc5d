//! Text is judged as its bytes arrive (RFC 6455 §8.1): it fails as soon as they cannot become
//! valid, whatever the cuts between frames and reads.

use super::super::split::feed_direct;
use super::super::{Seen, Side, pattern, text};
use super::{BINARY, MORE, PING, ROLES, TEXT, assert_told, peer, side};
use crate::conn::{InvalidUtf8, Limits};
use crate::wire::{Dialect, ProtocolError};

/// Text of every length of character, and how many of its bytes can still become valid.
const BAD: [(&[u8], usize); 8] = [
    (b"\x80after", 0),
    (b"ab\xC0\x80after", 2),
    (b"a\xE0\x9Fafter", 2),
    (b"a\xED\xA0\x80after", 2),
    (b"a\xF0\x8F\xBF\xBFafter", 2),
    (b"\xE6\xBC\xA2\xF4\x90\x80\x80after", 4),
    (b"\xF0\x9F\x92after", 3),
    (b"ok\xC3", 3),
];

#[test]
fn bad_text_fails_at_the_byte_that_cannot_be_valid() {
    for role in ROLES {
        for (bytes, good) in BAD {
            let wire = peer(role, 3, TEXT, bytes);
            let header = wire.len() - bytes.len();
            let mut side = side(role);
            for (i, byte) in wire.iter().enumerate() {
                side.feed(&[*byte]);
                let last = i + 1 == wire.len();
                let failed = i >= header + good || last;
                assert_eq!(!side.seen.is_empty(), failed, "byte {i} of {bytes:02X?}");
                if failed {
                    break;
                }
            }
            assert_eq!(side.seen, [Seen::Failed(ProtocolError::InvalidUtf8)]);
            assert_told(&side, 1007, ProtocolError::InvalidUtf8);
        }
    }
}

#[test]
fn every_cut_into_frames_and_reads_fails_alike() {
    for role in ROLES {
        for (bytes, _) in BAD {
            for cut in 0..=bytes.len() {
                let (first, second) = bytes.split_at(cut);
                let wire = [
                    peer(role, 1, TEXT & MORE, first),
                    peer(role, 2, PING, b""),
                    peer(role, 3, 0x80, second),
                ]
                .concat();
                let mut whole = side(role);
                whole.feed(&wire);
                assert_eq!(whole.seen.last(), Some(&Seen::Failed(ProtocolError::InvalidUtf8)));
                for read in 0..=wire.len() {
                    super::super::split::assert_same(&whole, &wire, &[read], &[]);
                    super::super::split::assert_same(&whole, &wire, &[read], &[true]);
                }
            }
        }
    }
}

#[test]
fn bytes_received_right_into_the_message_are_judged_too() {
    for role in ROLES {
        let mut letters = "ä".repeat(40_000).into_bytes();
        letters.extend(b"\xFF");
        letters.extend([b'x'; 20_000]);
        let wire = peer(role, 9, TEXT, &letters);
        let bad = wire.len() - 20_000;
        let mut side = side(role);
        side.feed(&wire[..4096]);
        for part in wire[4096..bad - 1].chunks(10_007) {
            feed_direct(&mut side, part);
        }
        assert_eq!(side.seen, []);
        feed_direct(&mut side, &wire[bad - 1..bad]);
        assert_eq!(side.seen, [Seen::Failed(ProtocolError::InvalidUtf8)]);
        assert_told(&side, 1007, ProtocolError::InvalidUtf8);
    }
}

#[test]
fn characters_may_be_cut_anywhere() {
    let whole = "aé\u{6F22}\u{1F4A9}z\u{10FFFF}";
    for role in ROLES {
        for first in 0..=whole.len() {
            for second in first..=whole.len() {
                let bytes = whole.as_bytes();
                let mut side = side(role);
                side.feed(&peer(role, 1, TEXT & MORE, &bytes[..first]));
                side.feed(&peer(role, 2, 0, &bytes[first..second]));
                side.feed(&peer(role, 3, 0x80, &bytes[second..]));
                // What was left of one message does not spoil the next.
                side.feed(&peer(role, 4, TEXT & MORE, b"next"));
                side.feed(&peer(role, 5, 0x80, b"!"));
                assert_eq!(side.seen, [text(whole), text("next!")]);
            }
        }
    }
}

#[test]
fn only_text_is_judged_and_the_draft_s_policy_does_not_concern_it() {
    for role in ROLES {
        let limits = Limits::default().with_invalid_utf8(InvalidUtf8::Replace);
        let mut binary = Side::of(Dialect::Rfc6455, role, limits);
        binary.feed(&peer(role, 1, BINARY & MORE, b"\xFF\xFE"));
        binary.feed(&peer(role, 2, 0x80, &pattern(3)));
        assert_eq!(binary.seen, [Seen::Binary(b"\xFF\xFE\x00\x01\x02".to_vec())]);
        let mut whole = Side::of(Dialect::Rfc6455, role, limits);
        whole.feed(&peer(role, 1, TEXT, b"\xFF"));
        assert_told(&whole, 1007, ProtocolError::InvalidUtf8);
    }
}
