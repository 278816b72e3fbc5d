//! Text: what is UTF-8, and what happens to what is not.

use super::{Seen, Side, frame, text};
use crate::conn::{InvalidUtf8, Limits, Role, State};
use crate::wire::ProtocolError;

/// Not UTF-8, and how the standard algorithm reads it.
const BAD: [(&[u8], &str); 8] = [
    (b"\x80\x81", "\u{FFFD}\u{FFFD}"),
    (b"ok\xFFok", "ok\u{FFFD}ok"),
    (b"\xC0\x80", "\u{FFFD}\u{FFFD}"),
    (b"\xED\xA0\x80", "\u{FFFD}\u{FFFD}\u{FFFD}"),
    (b"\xF4\x90\x80\x80", "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}"),
    (b"\xE2\x82", "\u{FFFD}"),
    (b"\xE2\x82x", "\u{FFFD}x"),
    (b"a\xF0\x9F\x92", "a\u{FFFD}"),
];

#[test]
fn a_server_closes_by_default() {
    // covers: UTF8-02, SEC-03
    for (bytes, _) in BAD {
        let stream = [frame(0x04, bytes), frame(0x04, b"more")].concat();
        let (seen, answer, state) = Side::serve(&stream);
        assert_eq!(seen, [Seen::Failed(ProtocolError::InvalidUtf8)], "{bytes:02X?}");
        assert_eq!((answer.as_slice(), state), (b"".as_slice(), State::Failed));
    }
}

#[test]
fn a_server_may_replace() {
    // covers: UTF8-02
    let limits = Limits::default().with_invalid_utf8(InvalidUtf8::Replace);
    assert_replaces(Role::Server, limits);
}

#[test]
fn a_client_always_replaces() {
    // covers: UTF8-01
    assert_replaces(Role::Client, Limits::default());
    assert_replaces(Role::Client, Limits::default().with_invalid_utf8(InvalidUtf8::Close));
}

#[test]
fn a_character_may_be_cut_between_frames() {
    // covers: UTF8-03, FR-13
    let whole = "aé\u{6F22}\u{1F4A9}z";
    for cut in 0..=whole.len() {
        let (first, second) = whole.as_bytes().split_at(cut);
        let stream = [frame(0x84, first), frame(0x02, b"\xFF"), frame(0x00, second)].concat();
        let (seen, _, _) = Side::serve(&stream);
        assert_eq!(seen, [Seen::Ping(vec![0xFF]), text(whole)], "cut at {cut}");
    }
}

#[test]
fn text_is_judged_at_its_end() {
    // covers: UTF8-02, UTF8-03
    let mut side = Side::server();
    side.feed(&frame(0x84, b"\xF0\x9F"));
    assert_eq!(side.seen, [], "it may still become a character");
    side.feed(&frame(0x00, b"x"));
    assert_eq!(side.seen, [Seen::Failed(ProtocolError::InvalidUtf8)]);
}

#[test]
fn only_text_is_judged() {
    // covers: DATA-02, CTL-09
    for (bytes, _) in BAD {
        let stream = [frame(0x05, bytes), frame(0x03, bytes), frame(0x01, bytes)].concat();
        let (seen, _, _) = Side::serve(&stream);
        let payload = || bytes.to_vec();
        let expected = [Seen::Binary(payload()), Seen::Pong(payload()), Seen::Close(payload())];
        assert_eq!(seen, expected);
    }
}

#[test]
fn long_text_is_judged_like_short() {
    // covers: DATA-01, UTF8-02
    for at in [0, 63, 64, 511, 9_999] {
        let mut bytes = vec![b'x'; 10_000];
        assert_eq!(Side::serve(&frame(0x04, &bytes)).0, [Seen::Text("x".repeat(10_000))]);
        bytes[at] = 0xFF;
        let (seen, _, _) = Side::serve(&frame(0x04, &bytes));
        assert_eq!(seen, [Seen::Failed(ProtocolError::InvalidUtf8)], "bad byte at {at}");
    }
}

/// The connection lives on, and the text reads the same whether it came whole or in pieces.
fn assert_replaces(role: Role, limits: Limits) {
    for (bytes, read) in BAD {
        let mut side = Side::new(role, limits);
        let (first, second) = bytes.split_at(1);
        side.feed(&frame(0x04, bytes));
        side.feed(&[frame(0x84, first), frame(0x00, second)].concat());
        side.feed(&frame(0x04, b"more"));
        assert_eq!(side.seen, [text(read), text(read), text("more")], "{bytes:02X?}");
        assert_eq!(side.outbound.state(), State::Open);
    }
}
