//! Keys and answers (RFC 6455 §1.3, §4.1, §4.2.2).

mod exchange;

use super::key::encode;
use super::{KEY_LEN, answer, is_key, is_token, write_key};
use crate::handshake::common::list;

#[test]
fn the_example_of_the_rfc() {
    assert_eq!(&answer(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn base64_at_every_remainder() {
    // RFC 4648 §10.
    for (bytes, text) in [
        (&b""[..], &b""[..]),
        (b"f", b"Zg=="),
        (b"fo", b"Zm8="),
        (b"foo", b"Zm9v"),
        (b"foob", b"Zm9vYg=="),
        (b"fooba", b"Zm9vYmE="),
        (b"foobar", b"Zm9vYmFy"),
        (b"\xFB\xFF\xFE", b"+//+"),
    ] {
        let mut out = vec![b'='; text.len()];
        encode(bytes, &mut out);
        assert_eq!(out, text);
    }
}

#[test]
fn a_key_is_sixteen_bytes_in_base64() {
    for key in ["dGhlIHNhbXBsZSBub25jZQ==", "x3JJHMbDL1EzLkh9GBhXDw==", "AQIDBAUGBwgJCgsMDQ4PEC=="]
    {
        assert!(is_key(key.as_bytes()), "{key}");
    }
    for key in [
        "",
        "==",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "GhlIHNhbXBsZSBub25jZQ==",
        "ddGhlIHNhbXBsZSBub25jZQ==",
        "dGhlIHNhbXBsZSBub25j=Q==",
        "dGhlIHNhbXBsZSBub25j-Q==",
        "dGhlIHNhbXBsZSBub25j Q==",
    ] {
        assert!(!is_key(key.as_bytes()), "{key}");
    }
}

#[test]
fn written_keys_are_keys_differ_and_come_with_their_answers() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut keys = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let mut key = Vec::new();
        let expected = write_key(&mut rng, &mut key);
        let key = <[u8; KEY_LEN]>::try_from(key).unwrap();
        assert!(is_key(&key));
        assert_eq!(answer(&key), expected);
        keys.insert(key);
    }
    assert_eq!(keys.len(), 100);
}

#[test]
fn lists_and_tokens() {
    let of = |text: &'static str| list(text).collect::<Vec<_>>();
    assert_eq!(of("keep-alive, Upgrade"), ["keep-alive", "Upgrade"]);
    assert_eq!(of(" ,a,,\tb ,"), ["a", "b"]);
    assert_eq!(of(" , "), [""; 0]);
    assert!(is_token("chat.v1~!#$%&'*+-^_`|"));
    for no_token in ["", "a b", "a\tb", "(a)", "a,b", "a;b", "\"a\"", "a=b", "ä", "a/b"] {
        assert!(!is_token(no_token), "{no_token}");
    }
}

/// The bytes of a text in base64, whose padding is left away.
fn decode(text: &[u8]) -> Vec<u8> {
    let digit =
        |letter: &u8| super::key::ALPHABET.iter().position(|known| known == letter).unwrap();
    let groups = text.chunks(4).flat_map(|letters| {
        let bits = letters.iter().fold(0, |bits, letter| bits << 6 | digit(letter));
        let bytes = u32::try_from(bits << (6 * (4 - letters.len()))).unwrap().to_be_bytes();
        bytes[1..letters.len()].to_vec()
    });
    groups.collect()
}

#[test]
fn a_key_is_any_sixteen_bytes() {
    // §4.1 item 7.
    let mut rng = fastrand::Rng::with_seed(8);
    let keys: Vec<[u8; 16]> = (0..4_096)
        .map(|_| {
            let mut key = Vec::new();
            write_key(&mut rng, &mut key);
            decode(key.strip_suffix(b"==").unwrap()).try_into().unwrap()
        })
        .collect();
    crate::handshake::client::tests::assert_random(&keys);
}
