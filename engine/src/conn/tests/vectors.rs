//! The frames of draft-02 §4.6, of pywebsocket's tests, and those derived from the rules.

use super::{Seen, Side, frame, pattern, text};
use crate::conn::State;
use crate::wire::ProtocolError;

#[test]
fn text_frames_of_the_draft() {
    // covers: FR-01, FR-02, FR-09, FR-10, FR-11, FR-12, FR-14, DATA-01, AMB-18
    assert_answer(b"\x04\x05Hello", &[text("Hello")], b"");
    assert_answer(b"\x84\x03Hel\x00\x02lo", &[text("Hello")], b"");
}

#[test]
fn ping_and_pong_of_the_draft() {
    // covers: CTL-01, CTL-02, CTL-11, AMB-05
    assert_answer(b"\x02\x05Hello", &[Seen::Ping(b"Hello".to_vec())], b"\x03\x05Hello");
    assert_answer(b"\x03\x05Hello", &[Seen::Pong(b"Hello".to_vec())], b"");
}

#[test]
fn binary_frames_of_the_draft() {
    // covers: FR-05, FR-08, DATA-02
    let payload: Vec<u8> = (0..=255).collect();
    let stream = [b"\x05\x7E\x01\x00", payload.as_slice()].concat();
    assert_answer(&stream, &[Seen::Binary(payload)], b"");

    let payload = pattern(65_536);
    let stream = [b"\x05\x7F\x00\x00\x00\x00\x00\x01\x00\x00", payload.as_slice()].concat();
    assert_answer(&stream, &[Seen::Binary(payload)], b"");
}

#[test]
fn lengths_at_the_edges_of_each_form() {
    // covers: FR-01, FR-05
    let cases: [(usize, &[u8]); 4] = [
        (125, b"\x04\x7D"),
        (126, b"\x04\x7E\x00\x7E"),
        (65_535, b"\x04\x7E\xFF\xFF"),
        (65_536, b"\x04\x7F\x00\x00\x00\x00\x00\x01\x00\x00"),
    ];
    for (len, header) in cases {
        let payload = "x".repeat(len);
        let stream = [header, payload.as_bytes()].concat();
        assert_eq!(stream, frame(0x04, payload.as_bytes()));
        assert_answer(&stream, &[Seen::Text(payload)], b"");
    }
}

#[test]
fn messages_in_many_frames() {
    // covers: FR-11, FR-12, FR-13, FR-17, DATA-01, UTF8-03
    let four = b"\x84\x05Hello\x80\x01 \x80\x05World\x00\x01!";
    assert_answer(four, &[text("Hello World!")], b"");
    // U+6F22 U+5B57, cut inside both characters.
    let kanji = b"\x84\x02\xE6\xBC\x80\x02\xA2\xE5\x00\x02\xAD\x97";
    assert_answer(kanji, &[text("\u{6F22}\u{5B57}")], b"");
    assert_answer(b"\x84\x0CHello World!\x00\x00", &[text("Hello World!")], b"");
    // Empty first, middle and last; then nothing but empty ones.
    assert_answer(b"\x84\x00\x80\x02Hi\x80\x00\x00\x00", &[text("Hi")], b"");
    assert_answer(b"\x85\x00\x80\x00\x00\x00", &[Seen::Binary(vec![])], b"");
}

#[test]
fn empty_frames() {
    // covers: FR-17, CTL-02, CTL-04, CTL-09
    assert_answer(b"\x04\x00", &[text("")], b"");
    assert_answer(b"\x05\x00", &[Seen::Binary(vec![])], b"");
    assert_answer(b"\x02\x00", &[Seen::Ping(vec![])], b"\x03\x00");
    assert_answer(b"\x01\x00", &[Seen::Close(vec![])], b"\x01\x00");
}

#[test]
fn close_with_a_body_is_answered_with_it() {
    // covers: CTL-04, CTL-09, AMB-13, AMB-16
    assert_answer(b"\x01\x02OK", &[Seen::Close(b"OK".to_vec())], b"\x01\x02OK");
}

#[test]
fn lengths_need_not_be_shortest() {
    // covers: FR-07
    assert_answer(b"\x04\x7E\x00\x05Hello", &[text("Hello")], b"");
    assert_answer(b"\x04\x7F\x00\x00\x00\x00\x00\x00\x00\x05Hello", &[text("Hello")], b"");
    let ping = b"\x02\x7E\x00\x02hi";
    assert_answer(ping, &[Seen::Ping(b"hi".to_vec())], b"\x03\x02hi");
}

#[test]
fn ping_inside_a_message() {
    // covers: FR-16, AMB-01, CTL-02, CTL-03
    let stream = b"\x84\x03Hel\x02\x01!\x00\x02lo";
    assert_answer(stream, &[Seen::Ping(b"!".to_vec()), text("Hello")], b"\x03\x01!");
}

#[test]
fn reserved_bits() {
    // covers: FR-03, FR-09, EXT-01, AMB-03
    for header in [[0x44, 0x05], [0x24, 0x05], [0x14, 0x05], [0x04, 0x85], [0xF4, 0x81]] {
        assert_refused(&header, ProtocolError::ReservedBit);
    }
    // A masked frame of a later draft: its mask bit is RSV4 here.
    assert_refused(b"\x04\x85\x01\x02\x03\x04Iglmn", ProtocolError::ReservedBit);
}

#[test]
fn reserved_opcodes() {
    // covers: FR-04, EXT-01, AMB-03
    for opcode in 0x06..=0x0F {
        assert_refused(&[opcode, 0x05], ProtocolError::ReservedOpcode);
        assert_refused(&[opcode, 0x00], ProtocolError::ReservedOpcode);
    }
}

#[test]
fn the_top_bit_of_the_long_length() {
    // covers: FR-06
    let stream = b"\x04\x7F\x80\x00\x00\x00\x00\x00\x00\x05Hello";
    assert_refused(stream, ProtocolError::LengthTopBit);
    // The bit alone shows it; the other seven bytes need not come.
    assert_refused(b"\x05\x7F\x80", ProtocolError::LengthTopBit);
}

#[test]
fn fragmented_control_frames() {
    // covers: AMB-02
    for first in [0x81, 0x82, 0x83] {
        assert_refused(&frame(first, b"Hello"), ProtocolError::FragmentedControl);
    }
}

#[test]
fn frames_out_of_order() {
    // covers: FR-11
    assert_refused(b"\x00\x05Hello", ProtocolError::UnexpectedContinuation);
    assert_refused(b"\x80\x05Hello", ProtocolError::UnexpectedContinuation);
    assert_refused(b"\x84\x05Hello\x84\x05World", ProtocolError::ExpectedContinuation);
    assert_refused(b"\x84\x05Hello\x05\x00", ProtocolError::ExpectedContinuation);
}

#[test]
fn the_sentinel_framing_before_this_draft_is_named_to_a_client_at_its_beginning() {
    // covers: AMB-11
    use ProtocolError as E;
    for (stream, client, server) in [
        (b"\x00Hello\xFF".as_slice(), E::OlderFraming, E::UnexpectedContinuation),
        (b"\x00 ", E::OlderFraming, E::UnexpectedContinuation),
        (b"\x00\xFF", E::OlderFraming, E::ReservedBit),
        (b"\xFF\x00", E::OlderFraming, E::ReservedBit),
        (b"\xFF", E::OlderFraming, E::ReservedBit),
        // A pong before it is no message.
        (b"\x03\x00\x00Hello\xFF", E::OlderFraming, E::UnexpectedContinuation),
        (b"\x00\x1FHello", E::UnexpectedContinuation, E::UnexpectedContinuation),
        (b"\x80\x20Hello", E::UnexpectedContinuation, E::UnexpectedContinuation),
        (b"\xFE\x00", E::ReservedBit, E::ReservedBit),
        // Text that begins with another letter than those of ASCII.
        (b"\x00\xC3\xA4", E::OlderFraming, E::ReservedBit),
        (b"\x04\x01a\x00Hello\xFF", E::UnexpectedContinuation, E::UnexpectedContinuation),
        (b"\x04\x01a\xFF\x00", E::ReservedBit, E::ReservedBit),
    ] {
        for size in [1, 2, 3, usize::MAX] {
            for (mut side, error) in [(Side::client(), client), (Side::server(), server)] {
                stream.chunks(size).for_each(|part| side.feed(part));
                assert_eq!(side.seen.last(), Some(&Seen::Failed(error)), "{stream:02X?} {size}");
            }
        }
    }
}

#[test]
fn a_continuation_after_the_last_one() {
    // covers: FR-11
    let (seen, _, state) = Side::serve(b"\x84\x01a\x00\x01b\x00\x01c");
    let expected = [text("ab"), Seen::Failed(ProtocolError::UnexpectedContinuation)];
    assert_eq!((seen.as_slice(), state), (expected.as_slice(), State::Failed));
}

#[test]
fn an_incomplete_frame_waits() {
    // covers: FR-01
    let whole = [b"\x04\x7E\x00\x80".as_slice(), &[b'x'; 128]].concat();
    for cut in 0..whole.len() {
        let mut side = Side::server();
        side.feed(&whole[..cut]);
        assert_eq!(side.seen, [], "cut at {cut}");
        assert_eq!(side.inbound.is_mid_message(), cut > 0, "cut at {cut}");
        let payload_left = whole.len() - cut;
        let remaining = if cut < 4 { 0 } else { payload_left as u64 };
        assert_eq!(side.inbound.remaining(), remaining, "cut at {cut}");
        side.feed(&whole[cut..]);
        assert_eq!(side.seen, [Seen::Text("x".repeat(128))]);
        assert!(!side.inbound.is_mid_message());
    }
}

/// The stream gives these events and this answer, in either role.
fn assert_answer(stream: &[u8], events: &[Seen], answer: &[u8]) {
    for mut side in [Side::server(), Side::client()] {
        side.feed(stream);
        assert_eq!(side.seen, events, "{:02X?}", &stream[..stream.len().min(16)]);
        assert_eq!(side.wire.bytes, answer, "{:02X?}", &stream[..stream.len().min(16)]);
        assert_eq!(side.wire.on_loan, 0, "every assembly is back");
    }
}

/// The stream ends the connection in either role: one failure, no answer, nothing read after it.
fn assert_refused(stream: &[u8], error: ProtocolError) {
    for mut side in [Side::server(), Side::client()] {
        side.feed(stream);
        side.feed(b"\x02\x00\x04\x00");
        assert_eq!(side.seen, [Seen::Failed(error)], "{stream:02X?}");
        assert_eq!(side.wire.bytes, b"", "{stream:02X?}");
        assert_eq!(side.outbound.state(), State::Failed, "{stream:02X?}");
    }
}
