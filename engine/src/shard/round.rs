//! A neighbour waits for slices: what a connection has read goes to the application in slices, and what
//! is left of it waits here for the next turns.
//!
//! What counts is work, not bytes: a read of 64 KiB may be one message, ten thousand empty ones, or
//! sixty mebibytes once it is inflated. Each connection has so many steps per turn ([`Work`]), and fewer
//! the more of them want more than that. Whoever used more than his share, since compressing an answer
//! cannot be cut, waits in proportion. Nothing is received for a connection that has input left.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::machine::{Action, Machine as _};
use super::send_batch::SendBatch;
use super::slot::Ending;
use super::table::ConnectionId;
use super::{Application, LIST_KEPT, Shard};
use crate::conn::Work;
use crate::fault::{Fault, SMALL_WORLD, is_back};
use crate::memory::{Held, Ledger};

/// Steps in one turn of all connections together that have input left.
const TURN_STEPS: u32 = if SMALL_WORLD { 32 } else { 2048 };
/// Steps of one connection, at least: about what a send and a receive cost besides.
const SLICE_MIN: u32 = if SMALL_WORLD { 4 } else { 32 };
/// And at most.
const SLICE_MAX: u32 = if SMALL_WORLD { 16 } else { 1024 };
/// By how much of itself the count of those with input left falls per turn.
const FALL: u32 = 16;

/// Input that was received and not read yet.
#[derive(Debug)]
pub(crate) struct Deferred {
    bytes: Vec<u8>,
    /// Bytes of it that were read.
    read: usize,
    /// What came behind it: the peer's end (`None`), or an error number.
    end: Option<Option<i32>>,
    /// The connection is not read from, and so it is not in the queue.
    parked: bool,
    held: Held,
}

impl Deferred {
    fn new(ledger: &Ledger) -> Self {
        let held = Held::on(Some(ledger));
        Self { bytes: Vec::new(), read: 0, end: None, parked: false, held }
    }

    fn push(&mut self, input: &[u8]) {
        if self.read > self.bytes.len() / 2 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        // Not twice as much as there is: these are few pieces, and they may be of many connections.
        self.bytes.reserve_exact(input.len());
        self.bytes.extend_from_slice(input);
        self.held.set(self.bytes.capacity() + size_of::<Self>());
    }
}

/// What a connection has done lately.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Worked {
    /// In this turn, whose number comes round.
    turn: u16,
    /// So many steps, with what it had too much in the turns before.
    steps: u16,
}

/// Which connections have input left, and whose turn it is.
#[derive(Debug)]
pub(super) struct Round {
    /// Connections with input left that are read from, in turn, each once.
    queue: VecDeque<ConnectionId>,
    /// The input that is left of these and of others.
    inputs: HashMap<ConnectionId, Deferred>,
    turn: u16,
    /// How many connections had input left lately, times [`FALL`].
    crowd: u32,
    /// Steps of each connection in this turn.
    slice: u32,
    /// What is read comes from `inputs`.
    pub(super) slicing: bool,
    /// Bytes at the end of it that are left still, if it is not done.
    left: Option<usize>,
}

impl Default for Round {
    fn default() -> Self {
        let (queue, inputs) = Default::default();
        Self { queue, inputs, turn: 0, crowd: 0, slice: SLICE_MAX, slicing: false, left: None }
    }
}

impl Round {
    /// Gives back room in its lists that was not needed lately.
    pub(super) fn tidy(&mut self) {
        self.queue.shrink_to(LIST_KEPT);
        self.inputs.shrink_to(LIST_KEPT);
    }

    /// Bytes of memory that a connection's input takes.
    pub(super) fn footprint(&self, id: ConnectionId) -> usize {
        self.inputs.get(&id).map_or(0, |deferred| deferred.held.bytes())
    }

    /// Whether the peer of a connection with input left is gone: it takes nothing more of what waits for it.
    fn is_gone(&self, id: ConnectionId) -> bool {
        self.inputs.get(&id).is_some_and(|deferred| matches!(deferred.end, Some(Some(_))))
    }

    /// What a connection may do in this turn.
    #[inline]
    pub(super) fn left(&self, worked: &mut Worked) -> Work {
        if is_back(Fault::NoSlices) {
            return Work::UNBOUNDED;
        }
        if worked.turn != self.turn {
            let owed = if u32::from(worked.steps) > SLICE_MAX { self.owed(*worked) } else { 0 };
            *worked = Worked { turn: self.turn, steps: owed };
        }
        Work::steps(self.slice.saturating_sub(worked.steps.into()))
    }

    /// What is left to wait for, of what was too much for a slice when it was done.
    #[cold]
    fn owed(&self, worked: Worked) -> u16 {
        let turns = u32::from(self.turn.wrapping_sub(worked.turn));
        let paid = u16::try_from(turns.saturating_mul(self.slice)).unwrap_or(u16::MAX);
        worked.steps.saturating_sub(paid)
    }

    /// Counts what it did.
    #[inline]
    pub(super) fn note(worked: &mut Worked, steps: u32) {
        worked.steps = worked.steps.saturating_add(u16::try_from(steps).unwrap_or(u16::MAX));
    }

    /// The next turn.
    pub(super) fn next(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        let now = u32::try_from(self.queue.len()).unwrap_or(u32::MAX / FALL) * FALL;
        self.crowd = now.max(self.crowd - self.crowd.div_ceil(FALL));
        self.slice = (TURN_STEPS * FALL / self.crowd.max(FALL)).clamp(SLICE_MIN, SLICE_MAX);
    }
}

impl<A: Application> Shard<A> {
    /// Keeps what is left of a read until the connection's next slice.
    #[cold]
    pub(super) fn defer(&mut self, id: ConnectionId, rest: &[u8]) {
        if self.round.slicing {
            self.round.left = Some(rest.len());
            return;
        }
        let Some(slot) = self.table.find(id) else { return };
        self.context.counters.reads_deferred += 1;
        slot.deferred = true;
        slot.greedy();
        let mut deferred = Deferred::new(&self.context.memory);
        deferred.push(rest);
        self.round.queue.push_back(id);
        self.round.inputs.insert(id, deferred);
    }

    /// What came while input is left is read behind it.
    #[cold]
    pub(super) fn defer_more(&mut self, id: ConnectionId, input: &[u8]) {
        if let Some(deferred) = self.round.inputs.get_mut(&id) {
            deferred.push(input);
        }
    }

    /// Whether the end that came has to wait for the input before it.
    pub(super) fn defer_end(&mut self, id: ConnectionId, error: Option<i32>) -> bool {
        let Some(deferred) = self.round.inputs.get_mut(&id) else { return false };
        // The first one says why.
        deferred.end.get_or_insert(error);
        self.unpark(id);
        true
    }

    /// The connection may be read from again, or ends: its input stands in line again.
    #[cold]
    pub(super) fn unpark(&mut self, id: ConnectionId) {
        if let Some(deferred) = self.round.inputs.get_mut(&id)
            && std::mem::take(&mut deferred.parked)
        {
            self.round.queue.push_back(id);
        }
    }

    /// Reads the next slices of what waits.
    pub(super) fn read_deferred(&mut self, sends: &mut SendBatch, now: Instant) {
        let mut left = TURN_STEPS;
        for _ in 0..self.round.queue.len() {
            let Some(id) = self.round.queue.pop_front() else { break };
            let steps = self.read_slice(id, sends, now);
            left = left.saturating_sub(steps);
            if left == 0 {
                break;
            }
        }
        self.round.next();
    }

    /// Whether anybody's input can go on in the next turn.
    pub(super) fn has_input_left(&self) -> bool {
        !self.round.queue.is_empty()
    }

    /// Whether a connection's input waits until something else has happened.
    fn keeps_input(&mut self, id: ConnectionId) -> bool {
        let pause = self.context.settings.pause_reading_bytes;
        let paused = self.table.find(id).is_some_and(|slot| slot.is_paused(pause));
        paused && !self.round.is_gone(id)
    }

    /// Reads a slice of what a connection has left; says how many steps that took.
    fn read_slice(&mut self, id: ConnectionId, sends: &mut SendBatch, now: Instant) -> u32 {
        if self.keeps_input(id) {
            if let Some(deferred) = self.round.inputs.get_mut(&id) {
                deferred.parked = true;
            }
            return 0;
        }
        let Some(mut deferred) = self.round.inputs.remove(&id) else { return 0 };
        let Some(slot) = self.table.find(id) else { return 0 };
        let mut steps = 0;
        // What comes from a connection that ends is dropped.
        if slot.ending == Ending::No {
            slot.heard = self.tick;
            let before = self.round.left(&mut slot.worked);
            let input = deferred.bytes.get_mut(deferred.read..).unwrap_or_default();
            let len = input.len();
            self.round.slicing = true;
            let _ = self.read(id, input, len, None, sends);
            self.round.slicing = false;
            if let Some(slot) = self.table.find(id) {
                steps = before.left().saturating_sub(self.round.left(&mut slot.worked).left());
            }
        }
        if let Some(unread) = self.round.left.take() {
            deferred.read = deferred.bytes.len() - unread;
            self.round.inputs.insert(id, deferred);
            self.round.queue.push_back(id);
        } else if let Some(slot) = self.table.find(id) {
            slot.deferred = false;
            self.requested.push(Action::Receive(id));
            if let Some(error) = deferred.end {
                self.hung_up(id, error, sends, now);
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests;
