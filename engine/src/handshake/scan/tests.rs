use fastrand::Rng;

use super::{FIELDS_MAX, Head, HeadLimits, ScanError, Strictness};
use crate::sys::simd::Isa;

/// A head's length, its first line's length, and its fields.
type Found = (usize, usize, Vec<(usize, usize, usize)>);

/// The oracle: one byte after the other.
fn naive(
    strictness: Strictness,
    limits: &HeadLimits,
    bytes: &[u8],
) -> Result<Option<Found>, ScanError> {
    let strict = strictness == Strictness::Strict;
    let bytes = &bytes[..bytes.len().min(limits.max_bytes())];
    let (mut line, mut first_line, mut colon, mut fields) = (0, None, None, Vec::new());
    let mut field = 0;
    let mut after_cr = false;
    for (i, &byte) in bytes.iter().enumerate() {
        if !strict && i == line && colon.is_none() && matches!(byte, b' ' | b'\t') {
            // A fold: the field before is not over.
            if let Some((start, its_colon, _)) = fields.pop() {
                (field, colon) = (start, Some(its_colon));
            }
        }
        let in_name = first_line.is_some() && colon.is_none();
        if in_name && i == line {
            field = i;
        }
        if after_cr {
            match byte {
                b'\n' if in_name => return Ok(Some((i + 1, first_line.unwrap(), fields))),
                b'\n' if first_line.is_none() => first_line = Some(i - 1),
                b'\n' => fields.push((field, colon.take().unwrap(), i - 1)),
                _ => return Err(ScanError::BareCarriageReturn),
            }
            (after_cr, line) = (false, i + 1);
            continue;
        }
        match byte {
            b'\r' if in_name && i > line => return Err(ScanError::NoColon),
            b'\r' => after_cr = true,
            b'\n' => return Err(ScanError::BareLineFeed),
            b':' if in_name && i == line => return Err(ScanError::EmptyName),
            b':' if in_name && fields.len() == limits.max_fields() => {
                return Err(ScanError::TooManyFields);
            }
            b':' if in_name => colon = Some(i),
            0..=0x20 | 0x7F.. if in_name && strict => return Err(ScanError::NameByte),
            0..0x20 | 0x7F if byte != b'\t' && !in_name && strict => {
                return Err(ScanError::ControlByte);
            }
            _ => {}
        }
        if !after_cr && i - line >= limits.max_line_bytes() {
            return Err(ScanError::LineTooLong);
        }
    }
    if bytes.len() == limits.max_bytes() { Err(ScanError::HeadTooLarge) } else { Ok(None) }
}

fn found(head: &Head, len: usize) -> Found {
    let fields = (0..head.complete_fields()).map(|i| head.field(i).unwrap()).collect();
    assert_eq!(head.field(head.complete_fields()), None);
    (len, head.first_line().unwrap(), fields)
}

/// Scans `bytes` with calls that end at these places, and at the end.
fn scan(
    mut head: Head,
    limits: &HeadLimits,
    bytes: &[u8],
    cuts: impl IntoIterator<Item = usize>,
) -> Result<Option<Found>, ScanError> {
    for cut in cuts {
        if let Some(len) = head.scan(limits, &bytes[..cut])? {
            return Ok(Some(found(&head, len)));
        }
    }
    Ok(head.scan(limits, bytes)?.map(|len| found(&head, len)))
}

/// A well-formed head, with lengths that put line ends on either side of every block's border.
fn random_head(rng: &mut Rng) -> Vec<u8> {
    let mut head = b"GET /".to_vec();
    head.extend((0..rng.usize(..90)).map(|_| rng.u8(0x21..0x7F)));
    head.extend_from_slice(b" HTTP/1.1\r\n");
    for _ in 0..rng.usize(..12) {
        let token =
            b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-!#$%&'*+.^_`|~";
        head.extend((0..rng.usize(1..30)).map(|_| token[rng.usize(..token.len())]));
        head.extend_from_slice(b": ");
        let value = |rng: &mut Rng| if rng.u8(..20) == 0 { b'\t' } else { rng.u8(0x20..0x7F) };
        head.extend((0..rng.usize(..120)).map(|_| value(rng)));
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Breaks a head at up to three places, mostly with the bytes that matter.
fn damage(rng: &mut Rng, head: &mut Vec<u8>) {
    for _ in 0..rng.usize(..4) {
        let at = rng.usize(..head.len());
        let evil = *rng.choice(b"\r\n:\0\t \x7F\x80\xFF\x1Fa").unwrap();
        match rng.u8(..4) {
            0 => head[at] = evil,
            1 => head.insert(at, evil),
            2 => drop(head.splice(at..at, *rng.choice(&[*b"\r\n ", *b"\r\n\t"]).unwrap())),
            _ => drop(head.remove(at)),
        }
    }
}

fn small(rng: &mut Rng) -> HeadLimits {
    HeadLimits::default()
        .with_max_bytes(rng.usize(..900))
        .with_max_line_bytes(rng.usize(..150))
        .with_max_fields(rng.usize(..12))
}

/// One copy of the oracle tests for an instruction set, if this processor has it.
macro_rules! oracle {
    ($name:ident, $isa:literal) => {
        mod $name {
            use super::*;

            /// The heads to try, with an unused reader for them.
            fn each(mut rounds: u32, mut test: impl FnMut(&mut Rng, Head, &HeadLimits, &[u8])) {
                let Some(isa) =
                    Isa::all().into_iter().find(|isa| format!("{isa:?}").contains($isa))
                else {
                    return println!("this processor has no {}", $isa);
                };
                let seed = fastrand::u64(..);
                println!("seed {seed}");
                let mut rng = Rng::with_seed(seed);
                while rounds > 0 {
                    rounds -= 1;
                    let mut bytes = random_head(&mut rng);
                    damage(&mut rng, &mut bytes);
                    bytes.extend((0..rng.usize(..9)).map(|_| rng.u8(..)));
                    let limits = if rng.bool() { HeadLimits::default() } else { small(&mut rng) };
                    let strictness =
                        *rng.choice(&[Strictness::Strict, Strictness::Letter]).unwrap();
                    test(&mut rng, Head::with_isa(strictness, isa), &limits, &bytes);
                }
            }

            #[test]
            fn every_length_is_scanned_as_by_the_oracle() {
                // covers: HS-S-05, CONF-02, CONF-03
                each(150, |_, head, limits, bytes| {
                    for len in 0..=bytes.len() {
                        let bytes = &bytes[..len];
                        let expected = naive(head.strictness, limits, bytes);
                        let is = scan(head.clone(), limits, bytes, []);
                        assert_eq!(is, expected, "{limits:?} {:?}", bytes.escape_ascii());
                    }
                });
            }

            #[test]
            fn every_split_is_scanned_like_the_whole() {
                // covers: HS-S-05, CONF-03
                each(150, |rng, head, limits, bytes| {
                    let expected = naive(head.strictness, limits, bytes);
                    let note = format!("{limits:?} {:?}", bytes.escape_ascii());
                    for cut in 0..=bytes.len() {
                        let is = scan(head.clone(), limits, bytes, [cut]);
                        assert_eq!(is, expected, "cut at {cut}: {note}");
                    }
                    let each_byte = scan(head.clone(), limits, bytes, 0..=bytes.len());
                    assert_eq!(each_byte, expected, "byte by byte: {note}");
                    let mut cuts: Vec<_> = (0..6).map(|_| rng.usize(..=bytes.len())).collect();
                    cuts.sort_unstable();
                    let pieces = scan(head, limits, bytes, cuts.iter().copied());
                    assert_eq!(pieces, expected, "cut at {cuts:?}: {note}");
                });
            }
        }
    };
}

oracle!(swar, "Swar");
#[cfg(target_arch = "x86_64")]
oracle!(sse2, "Sse2");
#[cfg(target_arch = "x86_64")]
oracle!(avx2, "Avx2");
#[cfg(target_arch = "aarch64")]
oracle!(neon, "Neon");

#[test]
fn httparse_finds_the_same_fields_in_well_formed_heads() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    for _ in 0..500 {
        let bytes = random_head(&mut rng);
        let mut places = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut places);
        let len = request.parse(&bytes).unwrap().unwrap();
        let mut head = Head::new(Strictness::Strict);
        assert_eq!(head.scan(&HeadLimits::default(), &bytes), Ok(Some(len)));
        assert_eq!(head.complete_fields(), request.headers.len());
        for (i, theirs) in request.headers.iter().enumerate() {
            let (start, colon, end) = head.field(i).unwrap();
            assert_eq!(&bytes[start..colon], theirs.name.as_bytes());
            // httparse trims the value, we leave that to others.
            assert_eq!(bytes[colon + 1..end].trim_ascii(), theirs.value.trim_ascii());
        }
    }
}

#[test]
fn a_byte_that_was_passed_is_not_looked_at_again() {
    let bytes = random_head(&mut Rng::with_seed(1));
    let mut head = Head::new(Strictness::Strict);
    let mut blank = bytes.clone();
    for cut in 1..bytes.len() {
        assert_eq!(head.scan(&HeadLimits::default(), &blank[..cut]), Ok(None));
        blank[..head.scanned()].fill(0); // would be an error in any place
    }
    assert_eq!(head.scan(&HeadLimits::default(), &blank), Ok(Some(bytes.len())));
}

#[test]
fn limits_are_inclusive_and_take_effect_at_the_first_byte_beyond() {
    // covers: CONF-03
    let bytes = b"GET / HTTP/1.1\r\nabc: def\r\ng: h\r\n\r\n";
    let scan = |limits: HeadLimits, len| {
        Head::new(Strictness::Strict).scan(&limits, &bytes[..len]).map(|len| len.is_some())
    };
    let limits = HeadLimits::default();
    assert_eq!(scan(limits.with_max_bytes(bytes.len()), bytes.len()), Ok(true));
    assert_eq!(scan(limits.with_max_bytes(20), 19), Ok(false));
    assert_eq!(scan(limits.with_max_bytes(20), 20), Err(ScanError::HeadTooLarge));
    assert_eq!(scan(limits.with_max_line_bytes(14), bytes.len()), Ok(true));
    assert_eq!(scan(limits.with_max_line_bytes(14), 15), Ok(false), "the CR does not count");
    assert_eq!(scan(limits.with_max_line_bytes(13), 13), Ok(false));
    assert_eq!(scan(limits.with_max_line_bytes(13), 14), Err(ScanError::LineTooLong));
    assert_eq!(scan(limits.with_max_fields(2), bytes.len()), Ok(true));
    assert_eq!(scan(limits.with_max_fields(1), 27), Ok(false));
    assert_eq!(scan(limits.with_max_fields(1), 28), Err(ScanError::TooManyFields));
}

#[test]
fn a_line_s_limit_goes_before_what_is_wrong_behind_it() {
    // covers: CONF-03
    let limits = HeadLimits::default().with_max_line_bytes(20).with_max_fields(0);
    for wrong in ["\0", ":", "\0\r\n", "\r\n", "\n"] {
        let bytes = format!("GET / HTTP/1.1\r\n{}{wrong}", "a".repeat(21));
        let whole = scan(Head::new(Strictness::Strict), &limits, bytes.as_bytes(), []);
        assert_eq!(whole, Err(ScanError::LineTooLong), "{wrong:?}");
        let bytes = format!("GET / HTTP/1.1\r\n{}\0{wrong}", "a".repeat(20));
        let whole = scan(Head::new(Strictness::Strict), &limits, bytes.as_bytes(), []);
        assert_eq!(whole, Err(ScanError::NameByte), "{wrong:?}");
    }
}

#[test]
fn a_field_is_complete_with_its_line_end() {
    let bytes = b"GET / HTTP/1.1\r\na: b\r\nc: d\r\n\r\n";
    let complete = |len| {
        let mut head = Head::new(Strictness::Strict);
        assert_eq!(head.scan(&HeadLimits::default(), &bytes[..len]), Ok(None));
        assert_eq!(head.field(head.complete_fields()), None);
        head.complete_fields()
    };
    assert_eq!([15, 16, 17, 18, 21].map(complete), [0; 5]);
    assert_eq!([22, 23, 24, 27].map(complete), [1; 4]);
    assert_eq!([28, 29].map(complete), [2; 2]);
}

#[test]
fn a_folded_field_is_one_and_complete_when_the_next_line_has_begun() {
    // covers: AMB-22
    let bytes = b"HTTP/1.1 101 x\r\na: b\r\n\tc: d\r\n e\r\nf: g\r\n\r\n";
    let mut head = Head::new(Strictness::Letter);
    let complete: Vec<_> = (16..=bytes.len())
        .map(|len| {
            let done = head.scan(&HeadLimits::default(), &bytes[..len]).unwrap();
            assert_eq!(done.is_some(), len == bytes.len());
            head.complete_fields()
        })
        .collect();
    let first = complete.iter().position(|count| *count == 1).unwrap() + 16;
    let second = complete.iter().position(|count| *count == 2).unwrap() + 16;
    assert_eq!((bytes[first - 1], second), (b'f', bytes.len()));
    assert!(head.is_folded());
    let value = |i| head.field(i).map(|(_, colon, end)| &bytes[colon + 1..end]);
    assert_eq!(value(0), Some(b" b\r\n\tc: d\r\n e".as_slice()));
    assert_eq!(value(1), Some(b" g".as_slice()));
    let mut strict = Head::new(Strictness::Strict);
    assert_eq!(strict.scan(&HeadLimits::default(), bytes), Err(ScanError::NameByte));
    assert!(!strict.is_folded());
}

#[test]
fn a_space_behind_the_first_line_begins_a_name() {
    let bytes = b"HTTP/1.1 101 x\r\n a: b\r\n\r\n";
    let mut head = Head::new(Strictness::Letter);
    assert_eq!(head.scan(&HeadLimits::default(), bytes), Ok(Some(bytes.len())));
    assert_eq!((head.complete_fields(), head.is_folded()), (1, false));
}

#[test]
fn what_the_world_sends_fits_by_default() {
    // covers: CONF-03
    let mut bytes = b"GET / HTTP/1.1\r\n".to_vec();
    for _ in 0..99 {
        bytes.extend_from_slice(b"a: b\r\n");
    }
    bytes.extend_from_slice(b"Cookie: ");
    bytes.resize(bytes.len() + 8192 - 8, b'x');
    bytes.extend_from_slice(b"\r\n\r\n");
    let mut head = Head::new(Strictness::Strict);
    assert_eq!(head.scan(&HeadLimits::default(), &bytes), Ok(Some(bytes.len())));
    assert_eq!(head.complete_fields(), 100);
}

#[test]
fn the_most_fields_and_the_largest_head_fit() {
    let limits = HeadLimits::default()
        .with_max_bytes(usize::MAX)
        .with_max_line_bytes(usize::MAX)
        .with_max_fields(usize::MAX);
    assert_eq!((limits.max_fields(), limits.max_bytes()), (FIELDS_MAX, 65_535));
    let mut bytes = b"GET / HTTP/1.1\r\n".to_vec();
    for _ in 0..FIELDS_MAX {
        bytes.extend_from_slice(b"a: b\r\n");
    }
    let mut large = bytes.clone();
    bytes.extend_from_slice(b"\r\n");
    let mut head = Head::new(Strictness::Strict);
    assert_eq!(head.scan(&limits, &bytes), Ok(Some(bytes.len())));
    assert_eq!(head.complete_fields(), FIELDS_MAX);
    large.truncate(large.len() - 2);
    large.resize(65_535 - 4, b'x');
    large.extend_from_slice(b"\r\n\r\n");
    let mut head = Head::new(Strictness::Strict);
    assert_eq!(head.scan(&limits, &large), Ok(Some(65_535)));
    assert_eq!(head.field(FIELDS_MAX - 1).unwrap().2, 65_531);
}
