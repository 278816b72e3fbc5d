//! What compresses and inflates for a shard's connections, within a budget.
//!
//! Without reference to earlier messages a few streams serve all connections: an inflater is lent for
//! the length of a message, and one compressor per window compresses whatever leaves. What a
//! connection keeps between messages is set aside when it opens, so that it is there when needed.

use std::collections::HashMap;

use super::table::ConnectionId;
use crate::config::Compression;
use crate::conn::{Deflater, Inflater};
use crate::handshake::Deflate;
use crate::memory::Ledger;
use crate::metrics::Counters;

/// Inflaters kept for the next compressed messages.
const SPARE_INFLATERS: usize = 16;

/// The inflaters and compressors of one shard, within its budget.
#[derive(Debug)]
pub(crate) struct DeflatePool {
    budget: usize,
    /// What the shard holds all together: there must be room in that, too.
    memory: Ledger,
    /// Bytes in use or set aside, those of `kept` and of `spare` among them.
    used: usize,
    /// Bytes set aside for what connections keep.
    kept: usize,
    #[expect(clippy::vec_box, reason = "they move to connections and back")]
    spare: Vec<Box<Inflater>>,
    /// By the bits of their window.
    deflaters: [Option<Box<Deflater>>; 16],
    /// The compressors that were used lately, one bit for each.
    used_lately: u16,
    /// The compressors of connections whose messages may refer to earlier ones, each made with the
    /// first such message.
    own: HashMap<ConnectionId, Box<Deflater>>,
}

impl DeflatePool {
    pub(super) fn new(settings: Option<Compression>, memory: Ledger) -> Self {
        Self {
            budget: settings.unwrap_or_default().budget_bytes,
            memory,
            used: 0,
            kept: 0,
            spare: Vec::new(),
            deflaters: Default::default(),
            used_lately: 0,
            own: HashMap::new(),
        }
    }

    /// Whether more is kept for reuse than while nothing happens.
    pub(super) const fn keeps_much(&self) -> bool {
        self.used > self.kept
    }

    /// Gives back what was not needed since the last call.
    pub(super) fn tidy(&mut self) {
        self.drop_spares();
        let lately = std::mem::take(&mut self.used_lately);
        for (bits, place) in (0..).zip(&mut self.deflaters) {
            if place.is_some() && lately & (1 << bits) == 0 {
                *place = None;
                self.used -= Deflater::bytes(bits);
            }
        }
        self.own.shrink_to(2 * self.own.len());
    }

    /// Gives back the inflaters that wait for messages.
    pub(super) fn drop_spares(&mut self) {
        self.used -= self.spare.len() * Inflater::BYTES;
        self.spare = Vec::new();
    }

    /// Bytes in use or set aside.
    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// Takes so many bytes of the budget, if they are there; spare inflaters make room.
    fn take(&mut self, bytes: usize) -> bool {
        while self.used + bytes > self.budget && self.spare.pop().is_some() {
            self.used -= Inflater::BYTES;
        }
        let fits = self.used + bytes <= self.budget && self.memory.has_room(bytes);
        if fits {
            self.used += bytes;
        }
        fits
    }

    /// Sets memory aside for something that a connection keeps for as long as it lasts.
    fn keep(&mut self, bytes: usize) -> bool {
        let fits = self.kept + bytes <= self.budget / 2 && self.take(bytes);
        if fits {
            self.kept += bytes;
        }
        fits
    }

    /// What a connection that keeps so many bytes gives back.
    pub(super) const fn release(&mut self, bytes: usize) {
        self.used -= bytes;
        self.kept -= bytes;
    }

    /// What a server can do of what it would agree to, with what that keeps set aside; `None` if
    /// there is no room for even one message under way.
    pub(super) fn agree(&mut self, agreed: Deflate, counters: &mut Counters) -> Option<Deflate> {
        if !self.take(Inflater::BYTES) {
            counters.compression_declined += 1;
            return None;
        }
        self.used -= Inflater::BYTES;
        let mut given = agreed;
        if given.peer_takeover && !self.keep(Inflater::BYTES) {
            given = given.without_peer_takeover();
        }
        if given.takeover && !self.keep(Deflater::bytes(given.window_bits)) {
            given = given.without_takeover();
        }
        counters.takeover_declined += u64::from(given != agreed);
        Some(given)
    }

    /// Sets aside what a client needs on terms that its server has decided: `None` if the server
    /// lets its messages refer to each other and there is no room for that.
    pub(super) fn follow(&mut self, agreed: Deflate, counters: &mut Counters) -> Option<Deflate> {
        if agreed.peer_takeover && !self.keep(Inflater::BYTES) {
            counters.compression_declined += 1;
            return None;
        }
        if agreed.takeover && !self.keep(Deflater::bytes(agreed.window_bits)) {
            counters.takeover_declined += 1;
            return Some(agreed.without_takeover());
        }
        Some(agreed)
    }

    /// Lends an inflater for the length of a message; `None` when the budget is used up.
    pub(super) fn take_inflater(&mut self) -> Option<Box<Inflater>> {
        match self.spare.pop() {
            Some(inflater) => Some(inflater),
            None => self.take(Inflater::BYTES).then(Box::default),
        }
    }

    /// Gets an inflater back.
    pub(super) fn recycle_inflater(&mut self, mut inflater: Box<Inflater>) {
        if self.spare.len() < SPARE_INFLATERS {
            inflater.reset();
            self.spare.push(inflater);
        } else {
            self.used -= Inflater::BYTES;
        }
    }

    /// What compresses for a connection that has room set aside for it, with reference to what it was
    /// sent before.
    pub(super) fn own_deflater(
        &mut self,
        id: ConnectionId,
        window_bits: u8,
        level: u8,
    ) -> &mut Deflater {
        self.own.entry(id).or_insert_with(|| Box::new(Deflater::new(window_bits, level)))
    }

    /// The peer was sent something compressed that was not compressed by its connection's own: its
    /// window holds other bytes now, and what comes next must not refer to what came before.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        if let Some(deflater) = self.own.get_mut(&id) {
            deflater.forget();
        }
    }

    /// The connection needs its deflater no more.
    pub(super) fn drop_deflater(&mut self, id: ConnectionId, window_bits: u8) {
        self.own.remove(&id);
        self.release(Deflater::bytes(window_bits));
    }

    /// What compresses with a window of so many bits, without reference to what came before; `None`
    /// when the budget is used up.
    pub(super) fn deflater(&mut self, window_bits: u8, level: u8) -> Option<&mut Deflater> {
        let index = usize::from(window_bits & 15);
        if self.deflaters[index].is_none() {
            if !self.take(Deflater::bytes(window_bits)) {
                return None;
            }
            self.deflaters[index] = Some(Box::new(Deflater::new(window_bits, level)));
        }
        self.used_lately |= 1 << index;
        let deflater = self.deflaters[index].as_deref_mut()?;
        deflater.forget();
        Some(deflater)
    }

    /// Lends what [`DeflatePool::deflater`] would use, for something that takes several turns.
    pub(super) fn lend_deflater(&mut self, window_bits: u8, level: u8) -> Option<Box<Deflater>> {
        self.deflater(window_bits, level)?;
        self.deflaters[usize::from(window_bits & 15)].take()
    }

    /// Gets it back.
    pub(super) fn return_deflater(&mut self, window_bits: u8, deflater: Box<Deflater>) {
        let place = &mut self.deflaters[usize::from(window_bits & 15)];
        if place.replace(deflater).is_some() {
            self.used -= Deflater::bytes(window_bits);
        }
    }
}

#[cfg(test)]
mod tests;
