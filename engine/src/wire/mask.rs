//! The masking of RFC 6455 §5.3: each byte of a client's payload XOR a byte of a key of four.

use crate::sys::simd::{self, Isa};

/// A masking key, turned to where in the payload the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask([u8; 4]);

/// Above this length the wider builds of the loop pay for asking which one the CPU can run.
const WIDE_FROM: usize = 256;

impl Mask {
    /// The mask of this key, for the start of a payload.
    #[must_use]
    pub const fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// The key, as it stands in the header of the payload that starts here.
    #[must_use]
    pub const fn key(self) -> [u8; 4] {
        self.0
    }

    /// The mask for the bytes that follow after `n` more.
    #[inline]
    #[must_use]
    pub const fn after(self, n: usize) -> Self {
        // Bytes leave at the low end, whatever the machine's order.
        #[expect(clippy::cast_possible_truncation, reason = "the remainder of a division by 4")]
        let turn = (n % 4) as u32 * 8;
        Self(u32::from_le_bytes(self.0).rotate_right(turn).to_le_bytes())
    }

    /// Masks or unmasks bytes in place.
    #[inline]
    pub fn apply(self, bytes: &mut [u8]) {
        if bytes.len() < WIDE_FROM {
            simd::xor(self.0, bytes);
        } else {
            Isa::detected().mask(self.0, bytes);
        }
    }
}
