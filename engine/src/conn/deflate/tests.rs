//! RFC 7692's own examples, every cut, and limits.

use proptest::prelude::*;

use super::{Deflater, Inflater};
use crate::conn::Assembly;
use crate::wire::ProtocolError;

const NO_LIMIT: u64 = 1 << 30;

fn inflated(
    inflater: &mut Inflater,
    parts: &[&[u8]],
    limit: u64,
) -> Result<Vec<u8>, ProtocolError> {
    let mut out = Assembly::default();
    for part in parts {
        inflater.inflate(part, &mut out, limit)?;
    }
    inflater.finish(&mut out, limit)?;
    Ok(out.split().1.to_vec())
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
            let out = inflated(&mut Inflater::new(15), &[front, back], NO_LIMIT);
            assert_eq!(out.as_deref(), Ok(&b"Hello"[..]), "{message:02X?} at {cut}");
        }
    }
}

#[test]
fn the_window_slides_from_message_to_message() {
    // §7.2.3.2: the second "Hello" refers to the first.
    let mut inflater = Inflater::new(15);
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
        assert_eq!(inflated(&mut Inflater::new(15), &[&out], NO_LIMIT).as_deref(), Ok(&b""[..]));
        deflater.deflate(b"between", &mut out);
    }
}

#[test]
fn garbage_is_refused() {
    for garbage in [&b"\xFF\xFF\xFF"[..], b"\x06", b"\x00\x05\x00\x00\x00Hello"] {
        let outcome = inflated(&mut Inflater::new(15), &[garbage], NO_LIMIT);
        assert_eq!(outcome, Err(ProtocolError::InvalidDeflate), "{garbage:02X?}");
    }
}

#[test]
fn a_message_is_refused_at_the_limit_while_it_inflates() {
    let mut bomb = Vec::new();
    Deflater::new(15, 9).deflate(&vec![0; 64 << 20], &mut bomb);
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    let mut out = Assembly::default();
    let outcome = Inflater::new(15).inflate(&bomb, &mut out, 100_000);
    assert_eq!(outcome, Err(ProtocolError::MessageTooLarge));
    assert!(out.capacity() <= 300_000, "memory follows what may be kept: {}", out.capacity());
}

#[test]
fn the_limit_itself_is_allowed() {
    let mut compressed = Vec::new();
    Deflater::new(15, 6).deflate(&[7; 5000], &mut compressed);
    for (limit, fits) in [(4999, false), (5000, true), (5001, true)] {
        let outcome = inflated(&mut Inflater::new(15), &[&compressed], limit);
        assert_eq!(outcome.is_ok(), fits, "{limit}");
    }
}

#[test]
fn data_behind_a_last_block_goes_on() {
    // Two of §7.2.3.4 as one message; the byte behind the block belongs to its end alone.
    let twice = [&HELLO[2][..7], HELLO[2]].concat();
    let out = inflated(&mut Inflater::new(15), &[&twice], NO_LIMIT);
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
        let (mut deflater, mut inflater) = (Deflater::new(window, level), Inflater::new(window));
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
                deflater.reset();
                inflater.reset();
            }
        }
    }

    #[test]
    fn no_bytes_inflate_past_the_limit(bytes: Vec<u8>, limit in 0_u64..5000) {
        let mut out = Assembly::default();
        let _ = Inflater::new(15).inflate(&bytes, &mut out, limit);
        prop_assert!(out.len() as u64 <= limit);
    }
}
