//! Keys for what clients mask (RFC 6455 §5.3): nobody may guess the next one (§10.3).

use std::hash::{BuildHasher as _, RandomState};

use crate::wire::Mask;

/// Bytes asked of the kernel at once: a thousand keys for one system call.
const POOL: usize = 4096;

/// Masking keys from the kernel's random source, drawn in advance.
#[derive(Debug, Default)]
pub struct MaskingKeys {
    pool: Vec<[u8; 4]>,
}

impl MaskingKeys {
    /// The next key.
    #[inline]
    pub fn draw(&mut self) -> Mask {
        loop {
            if let Some(key) = self.pool.pop() {
                return Mask::new(key);
            }
            self.refill();
        }
    }

    #[cold]
    fn refill(&mut self) {
        let mut bytes = [0; POOL];
        if getrandom::fill(&mut bytes).is_err() {
            // No such source: a keyed hash, whose key the standard library got elsewhere.
            let state = RandomState::new();
            for (n, word) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                *word = state.hash_one(n).to_ne_bytes();
            }
        }
        self.pool.extend_from_slice(bytes.as_chunks().0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{MaskingKeys, POOL};

    #[test]
    fn keys_differ_beyond_one_filling() {
        let mut keys = MaskingKeys::default();
        let drawn: HashSet<_> = (0..POOL).map(|_| keys.draw().key()).collect();
        // Two of 4,096 random keys are the same once in 500 runs; a dozen never.
        assert!(drawn.len() > POOL - 12, "{} different", drawn.len());
    }
}
