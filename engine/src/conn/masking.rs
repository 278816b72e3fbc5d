//! Masking keys: unpredictable, and without a system call for each.

use crate::wire::Mask;

/// Most bytes asked of the kernel at a time: 1,024 keys.
const POOL: usize = 4096;
/// Bytes asked of it first: a connection of its own may send little. Each time they are twice as many.
const FIRST: usize = 64;

/// Masking keys that nobody can predict (RFC 6455 §5.3, §10.3): each is four bytes of the kernel's
/// random source, which are taken up to 4 KiB at a time. Owns no memory until the first key.
#[derive(Default)]
pub struct MaskingKeys {
    pool: Vec<u8>,
    /// Bytes of the pool that were given out.
    used: usize,
}

impl std::fmt::Debug for MaskingKeys {
    /// The keys to come are nobody's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MaskingKeys").finish_non_exhaustive()
    }
}

impl MaskingKeys {
    /// The next key.
    ///
    /// # Panics
    ///
    /// When the kernel has no random bytes to give, which it always has once it has started.
    #[inline]
    pub fn draw(&mut self) -> Mask {
        if let Some(key) = self.pool.get(self.used..).and_then(<[u8]>::first_chunk) {
            self.used += 4;
            return Mask::new(*key);
        }
        self.refilled()
    }

    #[cold]
    fn refilled(&mut self) -> Mask {
        self.pool.resize((2 * self.pool.len()).clamp(FIRST, POOL), 0);
        let filled = getrandom::fill(&mut self.pool);
        // A key that can be predicted is worse than none: scripts could put bytes on the wire.
        assert!(filled.is_ok(), "the kernel gives no random bytes: {filled:?}");
        self.used = 4;
        Mask::new(self.pool.first_chunk().copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{FIRST, MaskingKeys, POOL};

    #[test]
    fn no_key_comes_twice_in_three_pools() {
        let mut keys = MaskingKeys::default();
        let count = 3 * POOL / 4;
        let seen: HashSet<_> = (0..count).map(|_| keys.draw().key()).collect();
        // By chance two of 3,072 random words are the same once in 900 runs; ten never.
        assert!(seen.len() > count - 10, "{} different of {count}", seen.len());
        assert_eq!(format!("{keys:?}"), "MaskingKeys { .. }");
    }

    #[test]
    fn who_draws_few_keys_holds_little_and_asks_for_more_each_time() {
        let mut keys = MaskingKeys::default();
        assert_eq!(keys.pool.capacity(), 0);
        let mut sizes = Vec::new();
        for _ in 0..POOL {
            keys.draw();
            if sizes.last() != Some(&keys.pool.len()) {
                sizes.push(keys.pool.len());
            }
        }
        assert_eq!(sizes, [FIRST, 128, 256, 512, 1024, 2048, POOL]);
    }
}
