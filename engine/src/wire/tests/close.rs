//! Close codes and reasons (RFC 6455 §5.5.1, §7.4).

use crate::wire::close::{REASON_MAX, parse};
use crate::wire::{CloseCode, ClosePayload, ProtocolError};

#[test]
fn a_code_is_one_that_may_be_sent() {
    let sendable = |code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    for code in 0..=u16::MAX {
        let bytes = code.to_be_bytes();
        let parsed = parse(&bytes).map(|(code, reason)| (code.get(), reason));
        let expected = if sendable(code) { Ok((code, "")) } else { Err(ProtocolError::CloseCode) };
        assert_eq!(parsed, expected);
        assert_eq!(CloseCode::new(code).is_some(), sendable(code));
    }
}

#[test]
fn an_empty_payload_has_no_status_and_one_byte_is_refused() {
    assert_eq!(parse(b""), Ok((CloseCode::NO_STATUS, "")));
    assert_eq!(parse(b"\x03"), Err(ProtocolError::ClosePayload));
}

#[test]
fn a_reason_is_text() {
    assert_eq!(parse(b"\x03\xE8bye"), Ok((CloseCode::NORMAL, "bye")));
    assert_eq!(parse("\u{3}\u{b5}".as_bytes()), Err(ProtocolError::CloseCode), "code 962");
    assert_eq!(parse(b"\x03\xE8\xC3"), Err(ProtocolError::CloseReason));
}

#[test]
fn what_is_written_is_read_back() {
    let long = "x".repeat(REASON_MAX);
    for reason in ["", "bye", "tschüß", &long] {
        let payload = ClosePayload::new(CloseCode::GOING_AWAY, reason);
        assert_eq!(parse(payload.as_bytes()), Ok((CloseCode::GOING_AWAY, reason)));
        assert_eq!((payload.code(), payload.reason()), (CloseCode::GOING_AWAY, reason));
    }
    let code = CloseCode::GOING_AWAY;
    assert_eq!((code.to_string(), format!("{code:?}")), ("1001".into(), "CloseCode(1001)".into()));
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    // Two bytes each, so that the limit of 123 falls inside one.
    let payload = ClosePayload::new(CloseCode::NORMAL, &"ü".repeat(100));
    assert_eq!(payload.as_bytes().len(), 2 + 122);
    assert_eq!(parse(payload.as_bytes()), Ok((CloseCode::NORMAL, &*"ü".repeat(61))));
}

#[test]
fn codes_that_never_travel_give_an_empty_payload() {
    for code in [CloseCode::NO_STATUS, CloseCode::ABNORMAL, CloseCode::TLS_FAILED] {
        assert!(!code.is_sendable());
        assert_eq!(ClosePayload::new(code, "unseen").as_bytes(), b"");
    }
}
