//! The key of RFC 6455 §4: sixteen random bytes in base64, and the SHA-1 of it and a constant.

use fastrand::Rng;
use sha1::{Digest, Sha1};

/// Characters of a key: sixteen bytes in base64.
pub const KEY_LEN: usize = 24;
/// Characters of the server's answer: twenty bytes in base64.
pub const ANSWER_LEN: usize = 28;
/// What every server appends to the key, so that nobody answers who does not know the protocol
/// (§1.3).
const CONSTANT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The alphabet of base64 (RFC 4648 §4).
pub(super) const ALPHABET: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Whether this is a key: sixteen bytes in base64 (§4.2.1 item 5). The bits that base64 leaves over
/// may be anything, as in the RFC's own example of §4.1.
#[must_use]
pub fn is_key(key: &[u8]) -> bool {
    let Some(letters) = key.strip_suffix(b"==") else { return false };
    letters.len() == KEY_LEN - 2
        && letters.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// The value of `Sec-WebSocket-Accept` that answers a key (§4.2.2 item 5.4).
#[must_use]
pub fn answer(key: &[u8; KEY_LEN]) -> [u8; ANSWER_LEN] {
    let digest = Sha1::new().chain_update(key).chain_update(CONSTANT).finalize();
    let mut text = [b'='; ANSWER_LEN];
    encode(&digest, &mut text);
    text
}

/// Appends a new random key to `out` and returns the answer to it (§4.1 item 7).
pub fn write_key(rng: &mut Rng, out: &mut Vec<u8>) -> [u8; ANSWER_LEN] {
    let mut key = [b'='; KEY_LEN];
    encode(&rng.u128(..).to_be_bytes(), &mut key);
    out.extend_from_slice(&key);
    answer(&key)
}

/// Writes base64 into `text`, which holds the padding already.
pub(super) fn encode(bytes: &[u8], text: &mut [u8]) {
    for (group, place) in bytes.chunks(3).zip(text.chunks_mut(4)) {
        let mut word = [0; 4];
        for (to, from) in word.iter_mut().skip(1).zip(group) {
            *to = *from;
        }
        let word = u32::from_be_bytes(word);
        // A group of n bytes makes n + 1 letters.
        for (letter, shift) in place.iter_mut().take(group.len() + 1).zip([18, 12, 6, 0]) {
            let index = (word >> shift & 0x3F) as usize;
            *letter = ALPHABET.get(index).copied().unwrap_or(b'=');
        }
    }
}
