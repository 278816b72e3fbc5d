//! What the simulator looks at.

use super::slot::Ending;
use super::table::ConnectionId;
use super::{Application, Shard};
use crate::conn::State;
use crate::metrics::Counters;

impl<A: Application> Shard<A> {
    pub(crate) const fn counters(&self) -> &Counters {
        &self.context.counters
    }

    /// Bytes on the ledger of what does not count by itself.
    pub(crate) const fn held_by_others(&self) -> usize {
        self.others
    }

    /// Bytes of memory that the ranges take which wait to be sent on a connection, without what they are
    /// ranges of.
    pub(crate) fn queue_memory(&mut self, id: ConnectionId) -> usize {
        self.table.find(id).map_or(0, |slot| slot.side.send.queue_memory())
    }

    /// Whether the idle timeout runs for a connection.
    pub(crate) fn is_open(&mut self, id: ConnectionId) -> bool {
        let slot = self.table.find(id);
        slot.is_some_and(|slot| {
            slot.ending == Ending::No && !slot.closing && slot.state() == State::Open
        })
    }

    /// Whether input of a connection waits for its next slice.
    pub(crate) fn has_input_of(&mut self, id: ConnectionId) -> bool {
        self.table.find(id).is_some_and(|slot| slot.deferred)
    }
}
