//! Text in pieces against the standard library's judgement of the whole.

use proptest::prelude::*;

use crate::wire::utf8::{NotUtf8, Validator};

/// Whether some continuation makes the bytes valid: they are, or only their end is cut.
fn can_become_valid(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}

/// What the validator says, fed with these pieces, and which piece it refused.
fn feed<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Result<bool, NotUtf8>, usize) {
    let mut validator = Validator::default();
    let mut fed = 0;
    for piece in pieces {
        fed += piece.len();
        if let Err(error) = validator.feed(piece) {
            return (Err(error), fed);
        }
    }
    (Ok(validator.is_complete()), fed)
}

/// Valid and invalid sequences, at the borders of what RFC 3629 §4 allows.
const SEQUENCES: &[&[u8]] = &[
    b"plain",
    "κόσμε".as_bytes(),
    b"\xC2\x80",
    b"\xDF\xBF",
    b"\xE0\xA0\x80",
    b"\xED\x9F\xBF",
    b"\xEE\x80\x80",
    b"\xEF\xBF\xBF",
    b"\xF0\x90\x80\x80",
    b"\xF4\x8F\xBF\xBF",
    b"\x80",
    b"\xBF",
    b"\xC0\x80",
    b"\xC1\xBF",
    b"\xC2\x41",
    b"\xE0\x9F\xBF",
    b"\xE1\x80\x41",
    b"\xED\xA0\x80",
    b"\xED\xBF\xBF",
    b"\xF0\x8F\xBF\xBF",
    b"\xF0\x90\x41\x80",
    b"\xF4\x90\x80\x80",
    b"\xF5\x80\x80\x80",
    b"\xF8\x88\x80\x80\x80",
    b"\xFC\x84\x80\x80\x80\x80",
    b"\xFE",
    b"\xFF",
];

#[test]
fn a_text_that_ends_inside_a_character_is_not_complete() {
    for text in ["\u{e9}", "\u{20ac}", "\u{1f980}", "a\u{1f980}"] {
        let bytes = text.as_bytes();
        for end in 0..=bytes.len() {
            let complete = text.is_char_boundary(end);
            let said = (Ok(complete), end);
            assert_eq!(feed([&bytes[..end]]), said, "{end} bytes of {text:?}");
            assert_eq!(feed(bytes[..end].chunks(1)), said, "{end} bytes of {text:?}");
        }
    }
}

/// Byte by byte, a refusal comes with the byte that makes it certain, and not before.
fn refused_as_soon_as_certain(bytes: &[u8]) {
    let (outcome, fed) = feed(bytes.chunks(1));
    match (1..=bytes.len()).find(|&n| !can_become_valid(&bytes[..n])) {
        Some(first) => assert_eq!((outcome, fed), (Err(NotUtf8), first), "{bytes:02X?}"),
        None => {
            let valid = std::str::from_utf8(bytes).is_ok();
            assert_eq!((outcome, fed), (Ok(valid), bytes.len()), "{bytes:02X?}");
        }
    }
}

#[test]
fn refuses_as_soon_as_the_bytes_cannot_become_valid() {
    for sequence in SEQUENCES {
        refused_as_soon_as_certain(sequence);
        let long: Vec<u8> = [&[b'a'; 70], *sequence, &[b'z'; 70]].concat();
        refused_as_soon_as_certain(&long);
    }
}

#[test]
fn every_pair_of_bytes_in_front_of_continuations() {
    for first in 0x80..=0xFF {
        for second in 0..=0xFF {
            refused_as_soon_as_certain(&[first, second, 0x80, 0x80]);
        }
    }
}

#[test]
fn any_two_cuts_of_a_long_text_give_the_same() {
    for sequence in SEQUENCES {
        let text: Vec<u8> = ["aäあ😀".as_bytes(), *sequence, "😀あäa".as_bytes()].concat();
        let expected = std::str::from_utf8(&text).is_ok();
        for cut in 0..=text.len() {
            for second in cut..=text.len() {
                let pieces = [&text[..cut], &text[cut..second], &text[second..]];
                let (outcome, _) = feed(pieces);
                assert_eq!(outcome == Ok(true), expected, "{text:02X?} at {cut}, {second}");
            }
        }
    }
}

proptest! {
    #[test]
    fn pieces_are_judged_as_the_whole(
        text in proptest::collection::vec("[ -~]{0,40}|\\PC{0,20}", 0..8),
        noise in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        sizes in proptest::collection::vec(1_usize..100, 1..6),
    ) {
        let mut bytes = text.concat().into_bytes();
        if let (Some((at, byte)), false) = (noise, bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, tail) = rest.split_at(rest.len().min(*size));
            pieces.push(piece);
            rest = tail;
        }
        let (outcome, fed) = feed(pieces);
        prop_assert_eq!(outcome == Ok(true), std::str::from_utf8(&bytes).is_ok());
        prop_assert_eq!(outcome.is_ok(), can_become_valid(&bytes[..fed]));
    }
}
