//! Publications that leave together, and who published which of them.

use crate::memory::{Held, Ledger, Share};
use crate::shard::packing::Packing;
use crate::shard::table::ConnectionId;
use crate::wire::{self, Dialect};

/// Part of a batch that one local connection published, one message behind the other: it does not get
/// it back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Authored {
    pub(crate) by: ConnectionId,
    /// Where it lies among the frames; a batch is shorter than 4 GiB by far.
    pub(super) start: u32,
    pub(super) end: u32,
    pub(crate) messages: u32,
}

impl Authored {
    pub(crate) const fn start(&self) -> usize {
        self.start as usize
    }

    pub(crate) const fn end(&self) -> usize {
        self.end as usize
    }
}

/// Publications that leave together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The publications as frames, in the dialect that is encoded first.
    pub(crate) frames: Share,
    /// The frames in other dialects, once there was a subscriber of one.
    pub(super) translated: [Option<Share>; Dialect::ALL.len()],
    /// The frames compressed, by the bits of the window, once there was a subscriber with that
    /// window.
    pub(super) packed: Vec<(u8, Share)>,
    /// What it is being compressed with for the subscriber whose turn it is.
    pub(crate) packing: Option<Packing>,
    pub(crate) messages: u64,
    /// By author, and in order for each.
    pub(super) authored: Vec<Authored>,
    /// The memory of the list of authors; where it counts, the frames do.
    pub(super) held: Held,
}

impl Batch {
    /// The batch as a server of this dialect sends it. The frames lie at the same places in all.
    pub(crate) fn encoded(&mut self, dialect: Dialect) -> &Share {
        if dialect == wire::FIRST {
            return &self.frames;
        }
        self.translated[dialect.index()].get_or_insert_with(|| {
            let mut frames = self.frames.to_vec();
            wire::translate(&mut frames, dialect);
            Share::new(self.held.ledger(), frames)
        })
    }

    /// The batch compressed with a window of so many bits, if it is. Its frames lie at other places.
    pub(crate) fn packed(&self, bits: u8) -> Option<&Share> {
        self.packed.iter().find(|(of, _)| *of == bits).map(|(_, packed)| packed)
    }

    /// Keeps it compressed with such a window.
    pub(crate) fn keep_packed(&mut self, bits: u8, frames: Vec<u8>) {
        self.packed.push((bits, Share::exact(self.held.ledger(), frames)));
    }

    /// Whether there is memory to have it once more.
    pub(crate) fn may_be_packed(&self) -> bool {
        self.held.ledger().is_none_or(|ledger| ledger.has_room(self.frames.len()))
    }

    /// Memory for something that is kept with it.
    pub(crate) fn memory(&self) -> Option<&Ledger> {
        self.held.ledger()
    }

    /// The parts that `id` published, in order.
    pub(crate) fn authored_by(&self, id: ConnectionId) -> &[Authored] {
        let key = |part: &Authored| (part.by.slot(), part.by.generation());
        let wanted = (id.slot(), id.generation());
        let from = self.authored.partition_point(|part| key(part) < wanted);
        let rest = self.authored.get(from..).unwrap_or_default();
        let len = rest.partition_point(|part| key(part) == wanted);
        rest.get(..len).unwrap_or_default()
    }
}
