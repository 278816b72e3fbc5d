//! How much is done for one connection before the others have their turn.

/// Bytes that are inflated in the time of a step.
const INFLATED_BYTES: usize = 128;

/// Work that may still be done, in steps: a step is about what it takes to read one small frame and to
/// answer it, a tenth of a microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work(u32);

impl Work {
    /// More work than anybody ever has to do.
    pub(crate) const UNBOUNDED: Self = Self(u32::MAX);

    pub(crate) const fn steps(steps: u32) -> Self {
        Self(steps)
    }

    /// How many steps are left.
    pub(crate) const fn left(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) const fn is_spent(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(crate) const fn spend(&mut self, steps: u32) {
        self.0 = self.0.saturating_sub(steps);
    }

    /// Bytes that may be inflated.
    pub(crate) const fn inflates(self) -> usize {
        (self.0 as usize).saturating_mul(INFLATED_BYTES)
    }

    /// Counts bytes that were inflated; `stopped` if there were as many as there may be.
    pub(crate) fn inflated(&mut self, bytes: usize, stopped: bool) {
        let steps = bytes.div_ceil(INFLATED_BYTES);
        self.spend(if stopped { self.0 } else { u32::try_from(steps).unwrap_or(u32::MAX) });
    }

    /// Steps that it takes to compress so many bytes.
    pub(crate) fn to_compress(bytes: usize) -> u32 {
        u32::try_from(bytes / 32).unwrap_or(u32::MAX)
    }
}
