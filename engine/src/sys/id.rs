//! What a connection is called, by the loop that has it and by the kernel.

use std::fmt;

/// Names one connection of one shard, and no other one ever: a slot that is used again has another
/// generation, and one whose generations are used up is not used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    slot: u32,
    generation: u32,
}

/// The last generation of a slot. Those above it are names of other things where ids share 64 bits with
/// them.
pub const GENERATION_MAX: u32 = 0xFEFF_FFFF;

impl ConnectionId {
    /// Only whoever keeps the table makes ids: a shard, or a bench's machine.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// The place in the shard's table: dense, used again after the connection has ended.
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.slot
    }

    /// Tells connections apart that use the same slot one after another.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}
