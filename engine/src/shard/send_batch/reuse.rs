//! What a turn keeps for the next ones: how much of it, and until when.

use super::{BLOCK, Chunk, SendBatch};
use crate::conn::Reassembly;
use crate::memory::{Held, Ledger};

/// How much of what a turn keeps for the next ones was used.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Need {
    /// The fewest spare assemblies that there were.
    pub(super) spare: usize,
    pub(super) blocks: usize,
    pub(super) entries: usize,
    pub(super) segments: usize,
}

/// Bytes of assemblies kept for the next messages that span reads.
const SPARE_BYTES: usize = 8 << 20;
/// Most bytes of spare chunks that are kept while nothing needs them.
const SPARE_IDLE_BYTES: usize = 256 << 10;
/// Blocks of the arena that are kept while nothing needs them.
const BLOCKS_IDLE: usize = 4;
/// Entries and segments that there is always room for.
pub(super) const ENTRIES: usize = 1024;

impl SendBatch {
    /// Counts what it holds on this ledger from now on; a driver makes turns before there is one.
    #[inline]
    pub(crate) fn count_on(&mut self, ledger: &Ledger) {
        if self.held.ledger().is_none() {
            self.held = Held::on(Some(ledger));
            self.held.set(self.blocks.len() * BLOCK);
        }
    }

    /// Where its memory counts.
    #[inline]
    pub(crate) const fn memory(&self) -> Option<&Ledger> {
        self.held.ledger()
    }

    /// Gives back what is kept for reuse and was not needed since the last call, but for a little.
    /// Whether there may be more to give back the next time.
    pub(crate) fn tidy(&mut self) -> bool {
        let used = std::mem::take(&mut self.need);
        for _ in 0..used.spare {
            if self.spare_bytes <= SPARE_IDLE_BYTES {
                break;
            }
            // The last ones are the first to be used again.
            let oldest = self.spare.remove(0);
            self.spare_bytes -= oldest.capacity();
        }
        self.spare.shrink_to(64);
        self.need.spare = self.spare.len();
        self.blocks.truncate(used.blocks.max(self.block + 1).max(BLOCKS_IDLE));
        self.held.set(self.blocks.len() * BLOCK);
        self.entries.shrink_to(used.entries.max(ENTRIES));
        self.segments.shrink_to(used.segments.max(ENTRIES));
        self.chunks.shrink_to(ENTRIES);
        self.keeps_much()
    }

    /// Whether more is kept for reuse than while nothing happens.
    pub(crate) fn keeps_much(&self) -> bool {
        self.spare_bytes > SPARE_IDLE_BYTES
            || self.blocks.len() > BLOCKS_IDLE
            || self.segments.capacity() > ENTRIES
    }

    /// Gives back everything that is kept for reuse: memory is short.
    pub(crate) fn drop_spares(&mut self) {
        self.spare.clear();
        self.spare_bytes = 0;
        self.blocks.truncate(self.block + 1);
        self.held.set(self.blocks.len() * BLOCK);
    }

    /// Takes an assembly from those kept for reuse.
    pub fn take_assembly(&mut self) -> Box<Reassembly> {
        match self.spare.pop() {
            Some(assembly) => {
                self.spare_bytes -= assembly.capacity();
                self.need.spare = self.need.spare.min(self.spare.len());
                assembly
            }
            None => Box::new(Reassembly::on(self.memory())),
        }
    }

    /// Gets an assembly back: it stays until the turn is cleared when something sent points into
    /// it.
    pub(crate) fn recycle(&mut self, mut assembly: Box<Reassembly>) {
        if let Some(chunk) = self.promised.take() {
            self.chunks[chunk as usize] = Chunk::Reassembly(assembly);
        } else if self.spare_bytes + assembly.capacity() <= SPARE_BYTES
            && !self.memory().is_some_and(Ledger::is_over)
        {
            assembly.clear();
            self.spare_bytes += assembly.capacity();
            self.spare.push(assembly);
        }
    }
}
