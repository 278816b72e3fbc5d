//! The header codec against the draft's examples, against each rule it enforces, and against
//! itself.

mod close;
mod mask;
mod rfc6455;
mod utf8;

use proptest::prelude::*;

use super::hybi02::{decode, encode, encoded_len};
use super::{Dialect, FrameHeader, HEADER_MAX, Opcode, ProtocolError};

/// The largest length that eight bytes with a clear top bit can say.
const LENGTH_MAX: u64 = 0x7FFF_FFFF_FFFF_FFFF;

const OPCODES: [(u8, Opcode); 6] = [
    (0x0, Opcode::Continuation),
    (0x1, Opcode::Close),
    (0x2, Opcode::Ping),
    (0x3, Opcode::Pong),
    (0x4, Opcode::Text),
    (0x5, Opcode::Binary),
];

fn encoded(header: FrameHeader) -> Vec<u8> {
    let mut out = [0xEE; HEADER_MAX];
    let taken = encode(header, &mut out);
    assert!(out[taken..].iter().all(|&byte| byte == 0xEE), "wrote past the header it announced");
    out[..taken].to_vec()
}

/// A header as bytes, and what it says; each is already in its shortest form.
const EXAMPLES: &[(&[u8], FrameHeader)] = &[
    // The draft's own examples, section 4.6.
    (&[0x04, 0x05], FrameHeader::whole(Opcode::Text, 5)),
    (&[0x84, 0x03], FrameHeader::fragment(Opcode::Text, false, 3)),
    (&[0x00, 0x02], FrameHeader::fragment(Opcode::Continuation, true, 2)),
    (&[0x02, 0x05], FrameHeader::whole(Opcode::Ping, 5)),
    (&[0x03, 0x05], FrameHeader::whole(Opcode::Pong, 5)),
    (&[0x05, 0x7E, 0x01, 0x00], FrameHeader::whole(Opcode::Binary, 256)),
    (&[0x05, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0], FrameHeader::whole(Opcode::Binary, 65536)),
    // Where one form of the length ends and the next begins.
    (&[0x04, 0x7D], FrameHeader::whole(Opcode::Text, 125)),
    (&[0x04, 0x7E, 0x00, 0x7E], FrameHeader::whole(Opcode::Text, 126)),
    (&[0x04, 0x7E, 0xFF, 0xFF], FrameHeader::whole(Opcode::Text, 65535)),
    (&[0x04, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0], FrameHeader::whole(Opcode::Text, 65536)),
    (
        &[0x04, 0x7F, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        FrameHeader::whole(Opcode::Text, LENGTH_MAX),
    ),
    // A message in four frames, and one ended by an empty frame.
    (&[0x84, 0x05], FrameHeader::fragment(Opcode::Text, false, 5)),
    (&[0x80, 0x01], FrameHeader::fragment(Opcode::Continuation, false, 1)),
    (&[0x00, 0x01], FrameHeader::fragment(Opcode::Continuation, true, 1)),
    (&[0x84, 0x0C], FrameHeader::fragment(Opcode::Text, false, 12)),
    (&[0x00, 0x00], FrameHeader::fragment(Opcode::Continuation, true, 0)),
    // Empty frames, and a Close with a body.
    (&[0x04, 0x00], FrameHeader::whole(Opcode::Text, 0)),
    (&[0x01, 0x00], FrameHeader::whole(Opcode::Close, 0)),
    (&[0x01, 0x02], FrameHeader::whole(Opcode::Close, 2)),
    (&[0x02, 0x00], FrameHeader::whole(Opcode::Ping, 0)),
];

#[test]
fn reads_and_writes_the_examples() {
    // covers: FR-01, FR-02, FR-05, FR-08, FR-17, CTL-01, AMB-18
    for &(bytes, header) in EXAMPLES {
        assert_eq!(decode(bytes), Ok(Some((header, bytes.len()))), "{bytes:02X?}");
        assert_eq!(encoded(header), bytes, "{header:?}");
    }
}

#[test]
fn payload_behind_the_header_is_not_looked_at() {
    // covers: FR-08, FR-09
    for &(bytes, header) in EXAMPLES {
        for payload in [0x00, 0x80, 0xFF] {
            let mut frame = bytes.to_vec();
            frame.extend([payload; 20]);
            assert_eq!(decode(&frame), Ok(Some((header, bytes.len()))), "{bytes:02X?}");
        }
    }
}

#[test]
fn opcodes_have_the_numbers_of_the_draft() {
    // covers: CTL-01
    for (number, opcode) in OPCODES {
        assert_eq!(decode(&[number, 0]), Ok(Some((FrameHeader::whole(opcode, 0), 2))));
        assert_eq!(encoded(FrameHeader::whole(opcode, 0)), [number, 0]);
        assert_eq!(opcode.is_control(), (1..=3).contains(&number), "{opcode:?}");
    }
}

#[test]
fn more_is_the_top_bit_and_means_not_last() {
    // covers: FR-02
    for (number, opcode) in OPCODES.into_iter().filter(|(_, opcode)| !opcode.is_control()) {
        let open = FrameHeader::fragment(opcode, false, 7);
        assert_eq!(decode(&[0x80 | number, 7]), Ok(Some((open, 2))));
        assert_eq!(encoded(open), [0x80 | number, 7]);
        let last = FrameHeader::fragment(opcode, true, 7);
        assert_eq!(decode(&[number, 7]), Ok(Some((last, 2))));
        assert_eq!(encoded(last), [number, 7]);
    }
}

#[test]
fn longer_forms_of_the_length_are_accepted_and_never_sent() {
    // covers: FR-07
    let five = FrameHeader::whole(Opcode::Text, 5);
    assert_eq!(decode(&[0x04, 0x7E, 0, 5]), Ok(Some((five, 4))));
    assert_eq!(decode(&[0x04, 0x7F, 0, 0, 0, 0, 0, 0, 0, 5]), Ok(Some((five, 10))));
    assert_eq!(encoded(five), [0x04, 5]);
    let medium = FrameHeader::whole(Opcode::Text, 300);
    assert_eq!(decode(&[0x04, 0x7F, 0, 0, 0, 0, 0, 0, 1, 44]), Ok(Some((medium, 10))));
    assert_eq!(encoded(medium), [0x04, 0x7E, 1, 44]);
}

#[test]
fn every_reserved_bit_is_refused() {
    // covers: FR-03, FR-09, EXT-01, AMB-03
    for (number, _) in OPCODES {
        for bit in [0x40, 0x20, 0x10] {
            assert_eq!(decode(&[bit | number]), Err(ProtocolError::ReservedBit), "RSV {bit:02X}");
            assert_eq!(decode(&[bit | number, 0x05]), Err(ProtocolError::ReservedBit));
        }
        for length in [0x80, 0x85, 0xFD, 0xFE, 0xFF] {
            assert_eq!(decode(&[number, length]), Err(ProtocolError::ReservedBit), "RSV4");
        }
    }
    assert_eq!(decode(&[0xF4, 0x81]), Err(ProtocolError::ReservedBit));
}

#[test]
fn every_reserved_opcode_is_refused() {
    // covers: FR-04, EXT-01, AMB-03
    for number in 0x6..=0xF {
        for more in [0x00, 0x80] {
            assert_eq!(decode(&[more | number]), Err(ProtocolError::ReservedOpcode), "{number}");
            assert_eq!(decode(&[more | number, 0x05]), Err(ProtocolError::ReservedOpcode));
        }
    }
}

#[test]
fn top_bit_of_the_long_length_is_refused() {
    // covers: FR-06
    let refused = Err(ProtocolError::LengthTopBit);
    assert_eq!(decode(&[0x04, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 5]), refused);
    assert_eq!(decode(&[0x05, 0x7F, 0xFF]), refused, "the first of the eight bytes suffices");
}

#[test]
fn fragmented_control_frames_are_refused() {
    // covers: AMB-02, FR-16
    for number in 0x1..=0x3 {
        assert_eq!(decode(&[0x80 | number]), Err(ProtocolError::FragmentedControl));
        assert_eq!(decode(&[0x80 | number, 5]), Err(ProtocolError::FragmentedControl));
    }
}

#[test]
fn control_frames_have_no_length_rule_of_their_own() {
    // covers: CTL-10, AMB-06
    let ping = FrameHeader::whole(Opcode::Ping, 126);
    assert_eq!(decode(&[0x02, 0x7E, 0, 126]), Ok(Some((ping, 4))));
}

#[test]
fn waits_at_every_cut_of_every_example() {
    // covers: FR-01
    for &(bytes, _) in EXAMPLES {
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Ok(None), "{bytes:02X?} cut at {cut}");
        }
    }
}

#[test]
fn a_mirrored_reading_of_the_bits_is_not_ours() {
    // covers: AMB-18
    // Opcode in the high half, MORE in the lowest bit, the length shifted: the reading of one
    // early implementation. Its "Hello" must not look like text to us.
    assert_eq!(decode(&[0x40, 0x0A]), Err(ProtocolError::ReservedBit));
}

#[test]
fn errors_are_told_apart_by_name_index_and_section() {
    let mut names: Vec<_> = ProtocolError::ALL.iter().map(|error| error.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ProtocolError::ALL.len(), "two errors share a name");
    for (index, error) in ProtocolError::ALL.into_iter().enumerate() {
        assert_eq!(error.index(), index, "{error:?}");
        let text = error.to_string();
        assert!(text.ends_with(&format!("({})", error.section())), "{text}");
        assert!(error.section().contains('§'), "{text}");
        assert!(error.close_code().is_sendable(), "{text}");
    }
    let mut sentences: Vec<_> = ProtocolError::ALL.iter().map(|error| error.sentence()).collect();
    sentences.sort_unstable();
    sentences.dedup();
    assert_eq!(sentences.len(), ProtocolError::ALL.len(), "two errors read the same");
    assert!(sentences.iter().all(|sentence| sentence.contains(' ')), "{sentences:?}");
}

#[test]
fn the_close_code_says_what_was_wrong() {
    use ProtocolError as E;
    for error in ProtocolError::ALL {
        let code = match error {
            E::InvalidUtf8 | E::InvalidDeflate | E::CloseReason => 1007,
            E::FrameTooLarge | E::MessageTooLarge | E::TooManyFragments => 1009,
            E::CompressionBudget => 1013,
            _ => 1002,
        };
        assert_eq!(error.close_code().get(), code, "{error}");
    }
}

#[test]
fn dialect_has_a_name_for_flags_and_logs() {
    assert_eq!(Dialect::ALL.map(Dialect::name), ["hybi-02", "rfc6455"]);
    for (index, dialect) in Dialect::ALL.into_iter().enumerate() {
        assert_eq!(dialect.index(), index);
        assert_eq!(dialect.to_string().parse(), Ok(dialect));
    }
    let unknown = "hybi-00".parse::<Dialect>().expect_err("no dialect of ours");
    assert_eq!(unknown.to_string(), "no dialect has this name; known are hybi-02 rfc6455");
}

#[test]
fn a_length_that_no_header_can_say_becomes_the_longest_that_one_can() {
    let longest = (1 << 63) - 1;
    for (asked, said) in [(longest - 1, longest - 1), (longest, longest), (1 << 63, longest)] {
        assert_eq!(FrameHeader::whole(Opcode::Binary, asked).payload_len, said);
    }
    assert_eq!(FrameHeader::fragment(Opcode::Binary, false, u64::MAX).payload_len, longest);
}

fn any_header() -> impl Strategy<Value = FrameHeader> {
    let length = prop_oneof![
        0..300_u64,
        65_000..66_000_u64,
        0..=LENGTH_MAX,
        Just(125),
        Just(126),
        Just(0xFFFF),
        Just(0x1_0000),
        Just(LENGTH_MAX),
    ];
    (0..OPCODES.len(), any::<bool>(), length).prop_map(|(which, last, payload_len)| {
        let opcode = OPCODES[which].1;
        FrameHeader::fragment(opcode, last || opcode.is_control(), payload_len)
    })
}

proptest! {
    #[test]
    fn every_legal_header_survives_the_round_trip(header in any_header(), tail in any::<[u8; 4]>()) {
        // covers: FR-01, FR-02, FR-05
        let mut bytes = encoded(header);
        let taken = bytes.len();
        prop_assert_eq!(taken, encoded_len(header.payload_len));
        for cut in 0..taken {
            prop_assert_eq!(decode(&bytes[..cut]), Ok(None));
        }
        bytes.extend(tail);
        prop_assert_eq!(decode(&bytes), Ok(Some((header, taken))));
    }

    #[test]
    fn what_we_send_has_no_reserved_bit_and_no_reserved_opcode(header in any_header()) {
        // covers: FR-03, FR-04, FR-06, FR-09
        let bytes = encoded(header);
        prop_assert_eq!(bytes[0] & 0x70, 0);
        prop_assert!(bytes[0] & 0x0F <= 5);
        prop_assert_eq!(bytes[1] & 0x80, 0);
        if bytes.len() == 10 {
            prop_assert_eq!(bytes[2] & 0x80, 0);
        }
    }

    #[test]
    fn any_bytes_give_the_same_answer_however_they_arrive(bytes in any::<[u8; 14]>()) {
        // covers: FR-01
        // Growing a prefix byte by byte passes through "wait" until one verdict, which then stays.
        let whole = decode(&bytes);
        let first = (0..=bytes.len()).map(|cut| decode(&bytes[..cut])).find(|got| *got != Ok(None));
        prop_assert_eq!(first.unwrap_or(Ok(None)), whole);
        if let Ok(Some((header, taken))) = whole {
            prop_assert!(header.payload_len <= LENGTH_MAX);
            prop_assert!(taken >= encoded_len(header.payload_len));
        }
    }
}
