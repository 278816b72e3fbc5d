//! Masking against the formula of RFC 6455 §5.3, for every build of the loop.

use crate::sys::simd::Isa;
use crate::wire::Mask;

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// Octet i of the transformed data is octet i of the original XOR octet i MOD 4 of the key.
fn by_the_formula(bytes: &mut [u8]) {
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte ^= KEY[i % 4];
    }
}

fn sample(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect()
}

#[test]
fn the_example_of_the_rfc() {
    let mut payload = *b"\x7f\x9f\x4d\x51\x58";
    Mask::new(KEY).apply(&mut payload);
    assert_eq!(&payload, b"Hello");
}

#[test]
fn every_build_equals_the_formula_at_every_length_and_alignment() {
    for len in (0..300).chain([1000, 4096, 5001]) {
        let mut expected = sample(len);
        by_the_formula(&mut expected);
        for offset in 0..64_usize.min(len + 1) {
            let mut room = vec![0xA5; offset];
            room.extend(sample(len));
            room.push(0xA5);
            for isa in Isa::all() {
                let mut copy = room.clone();
                isa.mask(KEY, &mut copy[offset..offset + len]);
                assert_eq!(copy[offset..offset + len], expected, "{isa:?} {len} at {offset}");
                assert!(copy[..offset].iter().chain(&copy[offset + len..]).all(|&b| b == 0xA5));
            }
            let mut copy = room.clone();
            Mask::new(KEY).apply(&mut copy[offset..offset + len]);
            assert_eq!(copy[offset..offset + len], expected, "{len} at {offset}");
        }
    }
}

#[test]
fn in_pieces_it_is_the_same() {
    let mut expected = sample(700);
    by_the_formula(&mut expected);
    for cut in 0..=700 {
        let mut copy = sample(700);
        let (front, back) = copy.split_at_mut(cut);
        Mask::new(KEY).apply(front);
        Mask::new(KEY).after(cut).apply(back);
        assert_eq!(copy, expected, "cut at {cut}");
    }
}

#[test]
fn the_key_turns_with_every_byte_however_many() {
    for n in [0, 1, 2, 3, 1 << 29, usize::MAX] {
        let turned: [u8; 4] = std::array::from_fn(|i| KEY[(i + n % 4) % 4]);
        assert_eq!(Mask::new(KEY).after(n).key(), turned, "after {n} bytes");
    }
}
