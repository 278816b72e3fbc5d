//! Memory: who has to go when there is too much of it, and what is given back when it is not needed.
//!
//! What is held for peers counts on the shard's ledger (`crate::memory`). Once it is more than the
//! budget, what is kept for reuse goes first, then the connections that hold the most, in order, until
//! an eighth of the budget is free; so the next look at all connections is that much memory away.

use std::time::{Duration, Instant};

use super::machine::Action;
use super::send_batch::SendBatch;
use super::slot::{Ending, Slot};
use super::table::ConnectionId;
use super::topics::SUBSCRIPTION;
use super::{Application, BatchOutput, LIST_KEPT, Shard};
use crate::conn::{Role, State};
use crate::fault::{self, Fault};
use crate::outcome::CloseReason;
use crate::wire::CloseCode;

/// What was not needed for this long is given back.
const TIDY: Duration = Duration::from_secs(1);
/// When so many bytes were given back to the allocator, it is asked to give them to the system.
const TRIM_BYTES: usize = 16 << 20;
/// The least time from one such request to the next: it walks through all that is free.
const TRIM_PAUSE: Duration = Duration::from_secs(10);

/// When memory is given back.
#[derive(Debug, Default)]
pub(super) struct Tidying {
    /// When it is next looked at; `None` while nothing is kept that could be given back.
    at: Option<Instant>,
    /// Bytes given back to the allocator since it gave any to the system.
    freed: usize,
    trimmed: Option<Instant>,
}

/// Bytes that a connection holds.
struct Holding {
    received: usize,
    queued: usize,
}

impl Holding {
    /// What a slot says of it, beside the input that is left.
    fn of<D>(slot: &Slot<D>, input: usize) -> Self {
        let opening = slot.opening.as_ref().map_or(0, |opening| opening.held());
        let subscriptions = slot.side.subscriptions.capacity() * SUBSCRIPTION;
        Self {
            received: slot.inbound.capacity()
                + opening
                + slot.side.send.elsewhere as usize
                + input
                + subscriptions,
            queued: slot.side.send.footprint(),
        }
    }

    const fn all(&self) -> usize {
        self.received + self.queued
    }
}

impl<A: Application> Shard<A> {
    /// Ends the connections that hold the most, if more is held than may be.
    #[inline]
    pub(super) fn relieve(&mut self, sends: &mut SendBatch) {
        if self.context.memory.is_over() {
            self.relieve_now(sends);
        }
    }

    #[cold]
    fn relieve_now(&mut self, sends: &mut SendBatch) {
        if fault::is_back(Fault::NoMemoryBudget) {
            return;
        }
        sends.drop_spares();
        self.context.deflate_pool.drop_spares();
        self.count_others();
        let budget = self.context.memory.budget();
        let target = budget - budget / 8;
        let mut excess = self.context.memory.held().saturating_sub(target);
        // All who hold less than this hold an eighth of the budget at most: they are not the cause.
        let little = budget / 8 / self.table.len().max(1);
        let mut holders = Vec::new();
        for (id, slot) in self.table.entries() {
            let holding = Holding::of(slot, self.round.footprint(id));
            let ends = slot.ending != Ending::No && holding.queued <= holding.received;
            if ends || slot.ending == Ending::Now {
                // It will be free when the kernel has let go of it.
                excess = excess.saturating_sub(holding.all());
            } else if holding.all() > little {
                holders.push((holding.all(), id));
            }
        }
        holders.sort_unstable_by_key(|(holding, _)| std::cmp::Reverse(*holding));
        for (holding, id) in holders {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(holding);
            self.end_holder(id, sends);
        }
    }

    /// Ends a connection for what it holds. Who sent too much is told to try again later, if its
    /// dialect has words for it and it reads; who has not read what it was sent will not read why.
    fn end_holder(&mut self, id: ConnectionId, sends: &mut SendBatch) {
        let Some(slot) = self.table.find(id) else { return };
        let Holding { received, queued } = Holding::of(slot, self.round.footprint(id));
        if queued > received || slot.ending != Ending::No {
            return self.finish(id, CloseReason::Memory, Ending::Now);
        }
        if slot.state() == State::Opening {
            if slot.side.outbound.role() == Role::Server {
                self.refuse(id, 503, "The server has no memory for this now.", sends);
            }
            return self.finish(id, CloseReason::Memory, Ending::Fin);
        }
        let role = slot.side.outbound.role();
        let mut out = BatchOutput {
            id,
            send: &mut slot.side.send,
            sends,
            deflate_pool: &mut self.context.deflate_pool,
        };
        let code = CloseCode::TRY_AGAIN_LATER;
        let told = slot.side.outbound.tell(code, "no memory for more now", &mut out);
        let ending = match role {
            _ if !told => Ending::Now,
            Role::Server => Ending::Fin,
            Role::Client => Ending::Await,
        };
        self.finish(id, CloseReason::Memory, ending);
    }

    /// What compression takes counts, too, though it has a budget of its own, and so do commands that wait
    /// for room.
    pub(super) fn count_others(&mut self) {
        let used = self.context.deflate_pool.used() + self.post.waiting_bytes();
        self.context.memory.change(&mut self.others, used);
    }

    // ---- giving back

    /// Gives back what was not needed lately. Says when that has to be looked at again.
    pub(super) fn tidy(&mut self, sends: &mut SendBatch, now: Instant) -> Option<Instant> {
        let Some(at) = self.tidying.at else {
            if self.keeps_much(sends) {
                self.tidying.at = Some(now + TIDY);
            }
            return self.tidying.at;
        };
        if now >= at {
            self.tidy_now(sends, now);
        }
        self.tidying.at
    }

    fn keeps_much(&self, sends: &SendBatch) -> bool {
        sends.keeps_much()
            || self.context.memory.crest() >= self.context.memory.held() + TRIM_BYTES
            || self.context.keeps_much()
            || self.table.keeps_much()
            || self.tidying.freed >= TRIM_BYTES
    }

    #[cold]
    fn tidy_now(&mut self, sends: &mut SendBatch, now: Instant) {
        let before = self.context.memory.take_crest();
        sends.tidy();
        self.context.tidy();
        self.count_others();
        let pages = self.table.tidy();
        self.round.tidy();
        self.expired.shrink_to(LIST_KEPT);
        self.requested.shrink_to(LIST_KEPT);
        self.due.shrink_to(LIST_KEPT);
        self.scratch.shrink_to(LIST_KEPT);
        // The driver's tables are as long as ours were.
        self.requested.push(Action::Tidy);
        self.tidying.freed += before.saturating_sub(self.context.memory.held()) + pages;
        let rested = self.tidying.trimmed.is_none_or(|last| now >= last + TRIM_PAUSE);
        if self.tidying.freed >= TRIM_BYTES && rested {
            self.tidying.freed = 0;
            self.tidying.trimmed = Some(now);
            (self.trim)();
        }
        self.tidying.at = self.keeps_much(sends).then(|| now + TIDY);
    }
}

#[cfg(test)]
mod tests;
