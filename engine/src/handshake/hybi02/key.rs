//! The keys of draft-02 §5: two whose digits and spaces hide a number each, eight raw bytes, and their MD5.

use fastrand::Rng;
use md5::{Digest, Md5};

use crate::handshake::RequestError;

/// Bytes of key_3, which follow the client's head.
pub const KEY_3_LEN: usize = 8;
/// Bytes of the server's answer, which follow its head.
pub const ANSWER_LEN: usize = 16;
/// The number in a key: its digits as one number, divided by the count of its spaces (§5.2.2
/// steps 4 to 7; HS-S-24).
///
/// # Errors
///
/// A key without a space or a digit, a number above 32 bits (AMB-09), or one that the count of
/// spaces does not divide.
pub fn key_part(key: &[u8]) -> Result<u32, RequestError> {
    let mut number = 0_u64;
    let mut digits = false;
    let mut spaces = 0_u32;
    for &byte in key {
        match byte {
            b'0'..=b'9' => {
                digits = true;
                number = number * 10 + u64::from(byte - b'0');
                if number > u64::from(u32::MAX) {
                    number = TOO_LARGE;
                }
            }
            b' ' => spaces += 1,
            _ => {}
        }
    }
    if spaces == 0 {
        return Err(RequestError::KeyWithoutSpace);
    }
    if !digits {
        return Err(RequestError::KeyWithoutDigit);
    }
    let Ok(number) = u32::try_from(number) else { return Err(RequestError::KeyTooLarge) };
    if number % spaces != 0 {
        return Err(RequestError::KeyRemainder);
    }
    Ok(number / spaces)
}

/// Above 32 bits for good: times ten plus a digit it still is, and still fits in 64.
const TOO_LARGE: u64 = 1 << 32;

/// The sixteen bytes that a server must answer with (§5.2.2 steps 8 and 9; HS-C-45, HS-C-46): the MD5 of both numbers,
/// big-endian, and key_3.
#[must_use]
pub fn answer(part_1: u32, part_2: u32, key_3: [u8; KEY_3_LEN]) -> [u8; ANSWER_LEN] {
    let mut challenge = [0; 16];
    let (parts, end) = challenge.split_at_mut(8);
    let (first, second) = parts.split_at_mut(4);
    first.copy_from_slice(&part_1.to_be_bytes());
    second.copy_from_slice(&part_2.to_be_bytes());
    end.copy_from_slice(&key_3);
    Md5::digest(challenge).into()
}

/// Appends a new random key to `out` and returns its number (§5.1 steps 19 to 25; HS-C-19 to HS-C-25).
pub fn write_key(rng: &mut Rng, out: &mut Vec<u8>) -> u32 {
    let spaces = rng.u32(1..=12);
    let number = rng.u32(0..=u32::MAX / spaces);
    insert_noise(rng, number * spaces, spaces, out);
    number
}

/// Appends a key made of this product, random characters and this many spaces (steps 23 to 25).
fn insert_noise(rng: &mut Rng, product: u32, spaces: u32, out: &mut Vec<u8>) {
    let mut key = KeyText::new(product);
    for _ in 0..rng.u32(1..=12) {
        let (at, byte) = (rng.usize(0..=key.len), noise(rng));
        key.insert(at, byte);
    }
    for _ in 0..spaces {
        // At least one digit and one other character are there, so a middle exists.
        let at = rng.usize(1..key.len);
        key.insert(at, b' ');
    }
    out.extend_from_slice(key.bytes.get(..key.len).unwrap_or_default());
}

/// A character of U+0021 to U+002F or U+003A to U+007E, each as likely as the others.
fn noise(rng: &mut Rng) -> u8 {
    let byte = rng.u8(0x21..=0x7E - 10);
    if byte < b'0' { byte } else { byte + 10 }
}

/// A key in the making: ten digits, twelve other characters and twelve spaces at most.
struct KeyText {
    bytes: [u8; 34],
    len: usize,
}

impl KeyText {
    fn new(product: u32) -> Self {
        let mut key = Self { bytes: [0; 34], len: 0 };
        let mut rest = product;
        loop {
            key.insert(0, b'0' + (rest % 10).to_le_bytes()[0]);
            rest /= 10;
            if rest == 0 {
                return key;
            }
        }
    }

    fn insert(&mut self, at: usize, byte: u8) {
        if let Some(room) = self.bytes.get_mut(at..=self.len)
            && let Some(moved) = room.len().checked_sub(1)
        {
            room.copy_within(..moved, 1);
            if let Some(first) = room.first_mut() {
                *first = byte;
            }
            self.len += 1;
        }
    }
}

#[cfg(test)]
mod tests;
