//! RFC 7692's own examples, every cut, and limits.

#[path = "../../../tests/rfc6455/window.rs"]
mod window;

use proptest::prelude::*;

use super::{Deflater, Inflater};
use crate::conn::Reassembly;
use crate::wire::ProtocolError;
use window::Window;

const NO_LIMIT: u64 = 1 << 30;

fn inflated(
    inflater: &mut Inflater,
    parts: &[&[u8]],
    limit: u64,
) -> Result<Vec<u8>, ProtocolError> {
    let mut out = Reassembly::default();
    for part in parts {
        inflater.inflate(part, &mut out, limit, &mut { usize::MAX })?;
    }
    inflater.finish(&mut out, limit, &mut { usize::MAX })?;
    Ok(out.split().1.to_vec())
}

#[test]
fn a_message_that_was_given_up_leaves_nothing_behind() {
    for level in 1..=9 {
        for (given_up, len) in [(1, 1), (100, 1), (100, 600), (5000, 3)] {
            let mut deflater = Deflater::new(15, level);
            deflater.add(&vec![b'a'; given_up], &mut Vec::new());
            deflater.forget();
            let (message, mut compressed) = (b"bcd".repeat(len), Vec::new());
            deflater.deflate(&message, &mut compressed);
            let said = inflated(&mut Inflater::default(), &[&compressed], NO_LIMIT);
            assert_eq!(said, Ok(message), "level {level}, {given_up} bytes given up");
        }
    }
}

#[test]
fn the_strict_receiver_is_strict() {
    // Random bytes twice: the second time they are as far away as they are many.
    let mut rng = fastrand::Rng::with_seed(1);
    let bytes: Vec<u8> = (0..2000).map(|_| rng.u8(..)).collect();
    for (len, fits) in [(200, 8), (400, 9), (2000, 11)] {
        let twice = bytes[..len].repeat(2);
        let mut compressed = Vec::new();
        Deflater::new(15, 6).deflate(&twice, &mut compressed);
        assert!(compressed.len() < len * 3 / 2);
        assert_eq!(Window::new(fits).inflate(&compressed), Ok(twice));
        let why = Window::new(fits - 1).inflate(&compressed).unwrap_err();
        assert!(why.contains("back with a window of"), "{why}");
    }
    let mut window = Window::new(15);
    assert_eq!(window.inflate(HELLO[0]), Ok(b"Hello".to_vec()));
    assert_eq!(window.inflate(b"\xf2\x00\x11\x00\x00"), Ok(b"Hello".to_vec()));
    window.forget();
    assert!(window.inflate(b"\xf2\x00\x11\x00\x00").is_err(), "nothing to refer to");
}

/// "Hello" as sections 7.2.3.1 to 7.2.3.5 compress it.
const HELLO: &[&[u8]] = &[
    b"\xf2\x48\xcd\xc9\xc9\x07\x00",
    b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
    b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
    b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
];

#[test]
fn the_examples_of_the_rfc_at_every_cut() {
    for message in HELLO {
        for cut in 0..=message.len() {
            let (front, back) = message.split_at(cut);
            let out = inflated(&mut Inflater::default(), &[front, back], NO_LIMIT);
            assert_eq!(out.as_deref(), Ok(&b"Hello"[..]), "{message:02X?} at {cut}");
        }
    }
}

#[test]
fn the_window_slides_from_message_to_message() {
    // §7.2.3.2: the second "Hello" refers to the first.
    let mut inflater = Inflater::default();
    for message in [HELLO[0], b"\xf2\x00\x11\x00\x00"] {
        assert_eq!(inflated(&mut inflater, &[message], NO_LIMIT).as_deref(), Ok(&b"Hello"[..]));
    }
    inflater.reset();
    let outcome = inflated(&mut inflater, &[b"\xf2\x00\x11\x00\x00"], NO_LIMIT);
    assert_eq!(outcome, Err(ProtocolError::InvalidDeflate), "nothing to refer to");
}

#[test]
fn an_empty_message_is_one_byte() {
    // §7.2.3.6, the first time and after others.
    let mut deflater = Deflater::new(15, 6);
    for _ in 0..3 {
        let mut out = Vec::new();
        deflater.deflate(b"", &mut out);
        assert_eq!(out, [0]);
        assert_eq!(inflated(&mut Inflater::default(), &[&out], NO_LIMIT).as_deref(), Ok(&b""[..]));
        deflater.deflate(b"between", &mut out);
    }
}

#[test]
fn garbage_is_refused() {
    for garbage in [&b"\xFF\xFF\xFF"[..], b"\x06", b"\x00\x05\x00\x00\x00Hello"] {
        let outcome = inflated(&mut Inflater::default(), &[garbage], NO_LIMIT);
        assert_eq!(outcome, Err(ProtocolError::InvalidDeflate), "{garbage:02X?}");
    }
}

#[test]
fn a_message_is_refused_at_the_limit_while_it_inflates() {
    let mut bomb = Vec::new();
    Deflater::new(15, 9).deflate(&vec![0; 64 << 20], &mut bomb);
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    let mut out = Reassembly::default();
    let outcome = Inflater::default().inflate(&bomb, &mut out, 100_000, &mut { usize::MAX });
    assert_eq!(outcome, Err(ProtocolError::MessageTooLarge));
    assert!(out.capacity() <= 300_000, "memory follows what may be kept: {}", out.capacity());
}

#[test]
fn the_limit_itself_is_allowed() {
    let mut compressed = Vec::new();
    Deflater::new(15, 6).deflate(&[7; 5000], &mut compressed);
    for (limit, fits) in [(4999, false), (5000, true), (5001, true)] {
        let outcome = inflated(&mut Inflater::default(), &[&compressed], limit);
        assert_eq!(outcome.is_ok(), fits, "{limit}");
    }
}

#[test]
fn data_behind_a_last_block_goes_on() {
    // Two of §7.2.3.4 as one message; the byte behind the block belongs to its end alone.
    let twice = [&HELLO[2][..7], HELLO[2]].concat();
    let out = inflated(&mut Inflater::default(), &[&twice], NO_LIMIT);
    assert_eq!(out.as_deref(), Ok(&b"HelloHello"[..]));
}

proptest! {
    #[test]
    fn what_was_compressed_is_inflated(
        seed: u64,
        lens in proptest::collection::vec(0_usize..20_000, 1..5),
        noisy: bool,
        window in 9_u8..=15,
        level in 1_u8..=9,
        takeover: bool,
        piece in 1_usize..5000,
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut deflater, mut inflater) = (Deflater::new(window, level), Inflater::default());
        for len in lens {
            let letters = if noisy { 256 } else { 4 };
            let message: Vec<u8> =
                (0..len).map(|_| u8::try_from(rng.u32(..letters)).unwrap()).collect();
            let mut compressed = Vec::new();
            deflater.deflate(&message, &mut compressed);
            let parts: Vec<_> = compressed.chunks(piece).collect();
            let out = inflated(&mut inflater, &parts, len as u64);
            prop_assert_eq!(out.as_deref(), Ok(&message[..]));
            if !takeover {
                deflater.forget();
                inflater.reset();
            }
        }
    }

    /// Each window keeps to itself: nothing is referred to that a receiver of that window has let go
    /// of.
    #[test]
    fn no_message_refers_farther_than_its_window(
        seed: u64,
        window in 9_u8..=15,
        level in 1_u8..=9,
        takeover: bool,
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut deflater = Deflater::new(window, level);
        let mut strict = Window::new(window);
        // One page again and again, at distances below, at and above the window.
        let page: Vec<u8> = (0..(1_usize << window)).map(|_| rng.u8(..)).collect();
        for _ in 0..4 {
            let shift = rng.usize(..page.len());
            let message = [&page[shift..], &page[..rng.usize(..=shift)]].concat();
            let mut compressed = Vec::new();
            deflater.deflate(&message, &mut compressed);
            prop_assert_eq!(strict.inflate(&compressed), Ok(message));
            if !takeover {
                deflater.forget();
                strict.forget();
            }
        }
    }

    /// A receiver with a window, what was compressed for all, and what was compressed for it alone:
    /// all of it inflates, in whatever order, if the compressor of its own forgets at the right time.
    #[test]
    fn what_is_compressed_for_all_fits_between(
        seed: u64,
        steps in proptest::collection::vec((0_u8..3, 0_usize..600), 1..20),
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut own, mut shared) = (Deflater::new(15, 6), Deflater::new(12, 6));
        let mut inflater = Inflater::default();
        let text: Vec<u8> = (0..600).map(|_| b'a' + rng.u8(..4)).collect();
        for (step, len) in steps {
            let mut compressed = Vec::new();
            match step {
                0 => own.deflate(&text[..len], &mut compressed),
                1 => {
                    shared.forget();
                    shared.deflate(&text[600 - len..], &mut compressed);
                    own.forget();
                }
                // Compressed in vain and sent as it is: the peer's window does not see it.
                _ => {
                    own.deflate(&text[len / 2..], &mut compressed);
                    own.forget();
                    continue;
                }
            }
            let expected = if step == 0 { &text[..len] } else { &text[600 - len..] };
            let out = inflated(&mut inflater, &[&compressed], NO_LIMIT);
            prop_assert_eq!(out.as_deref(), Ok(expected));
        }
    }

    #[test]
    fn no_bytes_inflate_past_the_limit(bytes: Vec<u8>, limit in 0_u64..5000) {
        let mut out = Reassembly::default();
        let _ = Inflater::default().inflate(&bytes, &mut out, limit, &mut { usize::MAX });
        prop_assert!(out.len() as u64 <= limit);
    }
}
