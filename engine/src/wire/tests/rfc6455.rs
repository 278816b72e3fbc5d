//! The second dialect's headers against the RFC's examples, each rule, and themselves.

use proptest::prelude::*;

use crate::wire::rfc6455::{decode, encode, encoded_len};
use crate::wire::{FrameHeader, HEADER_MAX, Mask, Opcode, ProtocolError};

const KEY: Mask = Mask::new([0x37, 0xFA, 0x21, 0x3D]);

fn encoded(header: FrameHeader) -> Vec<u8> {
    let mut out = [0xEE; HEADER_MAX];
    let taken = encode(header, &mut out);
    assert!(out[taken..].iter().all(|&byte| byte == 0xEE), "wrote past the header it announced");
    out[..taken].to_vec()
}

/// Headers and what they say; the first are those of section 5.7.
const EXAMPLES: &[(&[u8], FrameHeader)] = &[
    (&[0x81, 0x05], FrameHeader::whole(Opcode::Text, 5)),
    (&[0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D], FrameHeader::whole(Opcode::Text, 5).masked(Some(KEY))),
    (&[0x01, 0x03], FrameHeader::fragment(Opcode::Text, false, 3)),
    (&[0x80, 0x02], FrameHeader::fragment(Opcode::Continuation, true, 2)),
    (&[0x89, 0x05], FrameHeader::whole(Opcode::Ping, 5)),
    (&[0x8A, 0x85, 0x37, 0xFA, 0x21, 0x3D], FrameHeader::whole(Opcode::Pong, 5).masked(Some(KEY))),
    (&[0x82, 0x7E, 0x01, 0x00], FrameHeader::whole(Opcode::Binary, 256)),
    (&[0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0], FrameHeader::whole(Opcode::Binary, 65536)),
    // Where one form of the length ends and the next begins.
    (&[0x81, 0x7D], FrameHeader::whole(Opcode::Text, 125)),
    (&[0x81, 0x7E, 0x00, 0x7E], FrameHeader::whole(Opcode::Text, 126)),
    (&[0x81, 0x7E, 0xFF, 0xFF], FrameHeader::whole(Opcode::Text, 65535)),
    (
        &[0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x37, 0xFA, 0x21, 0x3D],
        FrameHeader::whole(Opcode::Text, u64::MAX >> 1).masked(Some(KEY)),
    ),
    (&[0x88, 0x00], FrameHeader::whole(Opcode::Close, 0)),
    (&[0x88, 0x7D], FrameHeader::whole(Opcode::Close, 125)),
];

#[test]
fn reads_and_writes_the_examples() {
    for &(bytes, header) in EXAMPLES {
        assert_eq!(decode(bytes), Ok(Some((header, bytes.len()))), "{bytes:02X?}");
        assert_eq!(encoded(header), bytes, "{header:?}");
        let key = if header.mask.is_some() { 4 } else { 0 };
        assert_eq!(encoded_len(header.payload_len) + key, bytes.len());
    }
}

#[test]
fn a_cut_header_waits_for_more() {
    for (bytes, _) in EXAMPLES {
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Ok(None), "{bytes:02X?} cut at {cut}");
        }
    }
}

#[test]
fn rsv1_is_told_and_the_other_reserved_bits_are_refused() {
    let compressed = FrameHeader { compressed: true, ..FrameHeader::whole(Opcode::Text, 5) };
    assert_eq!(decode(&[0xC1, 0x05]), Ok(Some((compressed, 2))));
    assert_eq!(encoded(compressed), [0xC1, 0x05]);
    for reserved in [0x20, 0x10, 0x30] {
        for rest in [0x81, 0x01, 0xC2, 0x89] {
            let refused = Err(ProtocolError::ReservedBit);
            assert_eq!(decode(&[rest | reserved]), refused, "by the first byte alone");
        }
    }
}

#[test]
fn reserved_opcodes_are_refused() {
    for number in (0x3..=0x7).chain(0xB..=0xF) {
        assert_eq!(decode(&[0x80 | number]), Err(ProtocolError::ReservedOpcode), "{number:#x}");
    }
}

#[test]
fn control_frames_are_whole_and_short() {
    for number in [0x8, 0x9, 0xA] {
        assert_eq!(decode(&[number, 0]), Err(ProtocolError::FragmentedControl));
        for short in [126, 127] {
            assert_eq!(decode(&[0x80 | number, short]), Err(ProtocolError::ControlTooLarge));
            assert_eq!(decode(&[0x80 | number, 0x80 | short]), Err(ProtocolError::ControlTooLarge));
        }
    }
}

#[test]
fn a_length_is_in_its_shortest_form() {
    for mask in [0, 0x80] {
        for len in [0_u16, 5, 125] {
            let [high, low] = len.to_be_bytes();
            let refused = Err(ProtocolError::LengthNotMinimal);
            assert_eq!(decode(&[0x82, 126 | mask, high, low]), refused, "{len}");
        }
        for len in [0_u64, 125, 126, 65535] {
            let mut bytes = vec![0x82, 127 | mask];
            bytes.extend(len.to_be_bytes());
            assert_eq!(decode(&bytes), Err(ProtocolError::LengthNotMinimal), "{len}");
        }
        assert_eq!(decode(&[0x82, 127 | mask, 0x80]), Err(ProtocolError::LengthTopBit));
    }
}

fn any_header() -> impl Strategy<Value = FrameHeader> {
    let opcode = prop_oneof![
        Just(Opcode::Continuation),
        Just(Opcode::Text),
        Just(Opcode::Binary),
        Just(Opcode::Close),
        Just(Opcode::Ping),
        Just(Opcode::Pong),
    ];
    let length = prop_oneof![0..300_u64, 65_000..66_000_u64, 0..=u64::MAX >> 1];
    let key = proptest::option::of(any::<[u8; 4]>());
    (opcode, any::<[bool; 2]>(), length, key).prop_map(|(opcode, [last, compressed], len, key)| {
        let control = opcode.is_control();
        let len = if control { len % 126 } else { len };
        let header = FrameHeader::fragment(opcode, last || control, len).masked(key.map(Mask::new));
        FrameHeader { compressed, ..header }
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(header in any_header(), behind: Vec<u8>) {
        let mut bytes = encoded(header);
        let taken = bytes.len();
        bytes.extend(behind);
        prop_assert_eq!(decode(&bytes), Ok(Some((header, taken))));
    }

    #[test]
    fn what_is_read_is_written_back(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
        if let Ok(Some((header, taken))) = decode(&bytes) {
            prop_assert_eq!(encoded(header), &bytes[..taken]);
        }
    }

    #[test]
    fn an_error_stands_whatever_follows(
        bytes in proptest::collection::vec(any::<u8>(), 1..15),
        behind: Vec<u8>,
    ) {
        if let Err(error) = decode(&bytes) {
            let mut longer = bytes.clone();
            longer.extend(behind);
            prop_assert_eq!(decode(&longer), Err(error));
        }
    }
}
