use std::collections::HashSet;

use fastrand::Rng;

use super::{KeyText, answer, insert_noise, key_part, noise, write_key};
use crate::handshake::RequestError;
use crate::handshake::hybi02::looks_like_draft_00;

/// Both keys with their numbers, key_3, the answer.
type Vector = (&'static str, u32, &'static str, u32, &'static [u8; 8], &'static [u8; 16]);

/// The draft's examples of §1.2, §1.3, §5.1 and §5.2.2.
const VECTORS: [Vector; 4] = [
    (
        "4 @1  46546xW%0l 1 5",
        829_309_203,
        "12998 5 Y3 1  .P00",
        259_970_620,
        b"^n:ds[4U",
        b"8jKS'y:G*Co,Wxa-",
    ),
    (
        "18x 6]8vM;54 *(5:  {   U1]8  z [  8",
        155_712_099,
        "1_ tx7X d  <  nw  334J702) 7]o}` 0",
        173_347_027,
        b"Tm[K T2u",
        b"fQJ,fN/4F4!~K~MH",
    ),
    (
        "P388 O503D&ul7 {K%gX( %7  15",
        777_007_543,
        "1 N ?|k UT0or 3o  4 I97N 5-S3O 31",
        114_997_259,
        b"\x47\x30\x22\x2D\x5A\x3F\x47\x58",
        b"0st3Rl&q-2ZU^weu",
    ),
    (
        "3e6b263  4 17 80",
        906_585_445,
        "17  9 G`ZD9   2 2b 7X 3 /r90",
        179_922_739,
        b"WjN}|M(6",
        b"n`9eBk9z$R8pOtVb",
    ),
];

#[test]
fn the_keys_and_answers_of_the_draft() {
    // covers: HS-S-24, HS-S-25, HS-S-26, HS-S-27, HS-S-28, HS-S-29, HS-C-45, HS-C-46
    for (key_1, part_1, key_2, part_2, key_3, expected) in VECTORS {
        assert_eq!(key_part(key_1.as_bytes()), Ok(part_1), "{key_1}");
        assert_eq!(key_part(key_2.as_bytes()), Ok(part_2), "{key_2}");
        assert_eq!(&answer(part_1, part_2, *key_3), expected, "{key_1}");
    }
}

#[test]
fn bad_keys() {
    // covers: HS-S-24, HS-S-25, HS-S-26, HS-S-27, AMB-09
    let cases: [(&[u8], _); 14] = [
        (b"12345", Err(RequestError::KeyWithoutSpace)),
        (b"", Err(RequestError::KeyWithoutSpace)),
        (b"x!y", Err(RequestError::KeyWithoutSpace)),
        (b"1 2 3 4 5", Err(RequestError::KeyRemainder)),
        (b"! # $", Err(RequestError::KeyWithoutDigit)),
        (b"   ", Err(RequestError::KeyWithoutDigit)),
        (b"4294967296 0", Err(RequestError::KeyTooLarge)),
        (b"4294967296 ", Err(RequestError::KeyTooLarge)),
        (b"99999999999999999999999999999999999999 9", Err(RequestError::KeyTooLarge)),
        // 2^64 + 2: must not wrap around.
        (b"18446744073709551618 ", Err(RequestError::KeyTooLarge)),
        (b"4 294967295", Ok(4_294_967_295)),
        (b"0 ", Ok(0)),
        (b"0000000000000000000000000007 ", Ok(7)),
        (b" 1\xFF2\t ", Ok(6)),
    ];
    for (key, expected) in cases {
        assert_eq!(key_part(key), expected, "{}", key.escape_ascii());
    }
}

/// Where characters of one kind stand between those of another, over many keys. Each that is put into
/// a random place is as likely in one gap as in any other, however many came before it.
#[derive(Default)]
struct Gaps {
    /// The first gap, the last one, and the halves of those between.
    seen: [f64; 4],
    expected: [f64; 4],
}

impl Gaps {
    /// Counts the characters of this kind; `ends` gaps before the first and behind the last of the
    /// others are no places for them.
    fn note(&mut self, key: &[u8], is: impl Fn(u8) -> bool, ends: usize) {
        let others = key.iter().filter(|&&b| !is(b)).count();
        let gaps = others + 1 - 2 * ends;
        let part = |gap: usize| match gap {
            0 => 0,
            gap if gap + 1 == gaps => 1,
            gap if gap * 2 < gaps => 2,
            _ => 3,
        };
        let (mut before, mut found) = (0, 0.0);
        for &byte in key {
            if is(byte) {
                self.seen[part(before - ends)] += 1.0;
                found += 1.0;
            } else {
                before += 1;
            }
        }
        for gap in 0..gaps {
            self.expected[part(gap)] += found / f64::from(u32::try_from(gaps).unwrap());
        }
    }

    fn check(&self, what: &str) {
        let Self { seen, expected } = self;
        let right = |(seen, expected): (&f64, &f64)| (seen / expected - 1.0).abs() < 0.1;
        assert!(seen.iter().zip(expected).all(right), "{what} in {seen:?} of {expected:?}");
    }
}

#[test]
fn made_keys_follow_every_step_of_the_draft() {
    // covers: HS-C-19, HS-C-20, HS-C-21, HS-C-22, HS-C-23, HS-C-24, HS-C-25
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let (mut spaces_seen, mut noises_seen, mut bytes_seen) = ([0; 13], [0; 13], [0; 256]);
    let (mut eighths, mut lowest_bits) = ([0; 8], [0; 8]);
    let (mut gaps_of_spaces, mut gaps_of_noise) = (Gaps::default(), Gaps::default());
    const ROUNDS: usize = 24_000;
    for _ in 0..ROUNDS {
        let mut key = Vec::new();
        let number = write_key(&mut rng, &mut key);
        let note = key.escape_ascii();
        assert_eq!(key_part(&key), Ok(number), "{note}");
        let spaces = key.iter().filter(|&&b| b == b' ').count();
        let digits: Vec<u8> = key.iter().copied().filter(u8::is_ascii_digit).collect();
        let noises = key.len() - spaces - digits.len();
        assert!((1..=12).contains(&spaces) && (1..=12).contains(&noises), "{note}");
        let product = u64::from(number) * spaces as u64;
        assert_eq!(String::from_utf8(digits).unwrap(), product.to_string(), "base ten: {note}");
        assert!(key.iter().all(|b| matches!(b, 0x20..=0x7E)), "{note}");
        assert!(key[0] != b' ' && key[key.len() - 1] != b' ', "{note}");
        spaces_seen[spaces] += 1;
        noises_seen[noises] += 1;
        let largest = u64::from(u32::MAX) / spaces as u64;
        eighths[usize::try_from(u64::from(number) * 8 / (largest + 1)).unwrap()] += 1;
        lowest_bits[number as usize % 8] += 1;
        let others: Vec<u8> = key.iter().copied().filter(|&b| b != b' ').collect();
        gaps_of_spaces.note(&key, |b| b == b' ', 1);
        gaps_of_noise.note(&others, |b| !b.is_ascii_digit(), 0);
        key.iter().for_each(|&b| bytes_seen[usize::from(b)] += 1);
    }
    // Each count is expected 2,000 times; 1,600 is nine standard deviations away.
    for count in 1..=12 {
        assert!((1_600..2_400).contains(&spaces_seen[count]), "{count} spaces: {spaces_seen:?}");
        assert!((1_600..2_400).contains(&noises_seen[count]), "{count} others: {noises_seen:?}");
    }
    // 3,000 times each; 2,600 is eight standard deviations away.
    for counts in [eighths, lowest_bits] {
        assert!(counts.iter().all(|count| (2_600..3_400).contains(count)), "numbers: {counts:?}");
    }
    gaps_of_spaces.check("spaces");
    gaps_of_noise.check("other characters");
    for byte in (0x21..0x7F_u8).filter(|b| !b.is_ascii_digit()) {
        // 156,000 characters over 84 kinds: 1,857 each.
        assert!((1_450..2_300).contains(&bytes_seen[usize::from(byte)]), "{byte:#04x}");
    }
}

#[test]
fn the_largest_product_and_zero_make_right_keys() {
    // covers: HS-C-20, HS-C-22, HS-C-23, HS-C-25
    let mut rng = Rng::with_seed(7);
    for (product, spaces) in [(u32::MAX, 1), (u32::MAX / 12 * 12, 12), (0, 12), (0, 1)] {
        for _ in 0..200 {
            let mut key = Vec::new();
            insert_noise(&mut rng, product, spaces, &mut key);
            assert_eq!(key_part(&key), Ok(product / spaces));
            assert!(key[0] != b' ' && key[key.len() - 1] != b' ');
        }
    }
}

#[test]
fn noise_is_every_visible_character_but_the_digits() {
    // covers: HS-C-24
    let mut rng = Rng::with_seed(3);
    let seen: HashSet<u8> = (0..20_000).map(|_| noise(&mut rng)).collect();
    let wanted: HashSet<u8> = (0x21..=0x2F).chain(0x3A..=0x7E).collect();
    assert_eq!(seen, wanted);
}

#[test]
fn a_key_text_takes_bytes_at_any_place() {
    let mut key = KeyText::new(10);
    key.insert(0, b'a');
    key.insert(3, b'z');
    key.insert(2, b'-');
    assert_eq!(&key.bytes[..key.len], b"a1-0z");
}

#[test]
fn the_framing_of_draft_00_is_recognised() {
    // covers: AMB-11
    for bytes in [b"\0Hello\xFF".as_slice(), b"\0Hel", b"\0\xFF", b"\xFF\0", b"\xFF"] {
        assert!(looks_like_draft_00(bytes), "{}", bytes.escape_ascii());
    }
    for bytes in [b"".as_slice(), b"\0", b"\0\0", b"\x04\x05Hello", b"\x84\x03Hel", b"\x01\0"] {
        assert!(!looks_like_draft_00(bytes), "{}", bytes.escape_ascii());
    }
}
