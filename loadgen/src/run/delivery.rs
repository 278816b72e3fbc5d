//! Who got a publication first, in the middle and last: put together from what all threads saw.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::base::clock::Nanos;
use crate::base::histogram::Times;

/// Deliveries of one publication that a worker took note of at one time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) publisher: usize,
    pub(crate) number: u32,
    pub(crate) due: Nanos,
    pub(crate) at: Nanos,
    pub(crate) count: u64,
}

/// The board that all workers write on.
#[derive(Debug, Default)]
pub(crate) struct Deliveries(Mutex<Board>);

#[derive(Debug, Default)]
struct Board {
    under_way: HashMap<(usize, u32), Publication>,
    spreads: Spreads,
}

/// A publication that has not arrived everywhere.
#[derive(Debug, Default)]
struct Publication {
    due: Nanos,
    /// Known once its publisher's worker has told.
    expected: Option<u64>,
    arrived: u64,
    times: Vec<(Nanos, u64)>,
}

/// For publications that arrived everywhere: the times from when each was due to its first, its
/// median and its last delivery.
#[derive(Debug, Default)]
pub(crate) struct Spreads {
    pub(crate) first: Times,
    pub(crate) median: Times,
    pub(crate) last: Times,
    /// Publications that did not arrive everywhere; they are in none of the others.
    pub(crate) incomplete: u64,
}

impl Deliveries {
    /// A publication due in the window has left, to so many.
    pub(crate) fn published(&self, publisher: usize, number: u32, due: Nanos, audience: u64) {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let publication = board.under_way.entry((publisher, number)).or_default();
        publication.due = due;
        publication.expected = Some(audience);
        board.complete((publisher, number));
    }

    /// What a worker saw in one turn; `arrived` is empty afterwards.
    pub(crate) fn take(&self, arrived: &mut Vec<Arrived>) {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for one in arrived.drain(..) {
            let name = (one.publisher, one.number);
            let publication = board.under_way.entry(name).or_default();
            publication.due = one.due;
            publication.arrived += one.count;
            publication.times.push((one.at, one.count));
            board.complete(name);
        }
    }

    /// What came of the publications due in the window, when the run is over.
    pub(crate) fn spreads(&self) -> Spreads {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.spreads.incomplete = board.under_way.len() as u64;
        std::mem::take(&mut board.spreads)
    }
}

impl Board {
    /// Closes the account of a publication that has arrived everywhere.
    fn complete(&mut self, name: (usize, u32)) {
        let whole =
            |one: &Publication| one.expected.is_some_and(|expected| one.arrived >= expected);
        if !self.under_way.get(&name).is_some_and(whole) {
            return;
        }
        let Some(mut publication) = self.under_way.remove(&name) else { return };
        publication.times.sort_unstable();
        let due = publication.due;
        let [Some(first), Some(median), Some(last)] =
            [1, publication.arrived.div_ceil(2), publication.arrived].map(|n| publication.nth(n))
        else {
            // Nobody was there to get it.
            return;
        };
        self.spreads.first.record(first.saturating_sub(due));
        self.spreads.median.record(median.saturating_sub(due));
        self.spreads.last.record(last.saturating_sub(due));
    }
}

impl Publication {
    /// When the `n`-th of its deliveries came; they are in order.
    fn nth(&self, n: u64) -> Option<Nanos> {
        let mut before = 0;
        self.times.iter().find_map(|(at, count)| {
            before += count;
            (before >= n).then_some(*at)
        })
    }
}

/// What a worker saw in a turn, deliveries that belong together as one.
#[derive(Debug, Default)]
pub(crate) struct Sheet(Vec<Arrived>);

impl Sheet {
    /// One delivery, if its publication is one of the window's.
    #[inline]
    pub(crate) fn note(&mut self, one: Arrived, window: &Range<Nanos>) {
        if !window.contains(&one.due) {
            return;
        }
        match self.0.last_mut() {
            Some(last)
                if (last.publisher, last.number, last.at)
                    == (one.publisher, one.number, one.at) =>
            {
                last.count += one.count;
            }
            _ => self.0.push(one),
        }
    }

    /// Tells the board.
    pub(crate) fn hand_in(&mut self, board: &Deliveries) {
        if !self.0.is_empty() {
            board.take(&mut self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrived, Deliveries, Sheet};

    fn arrived(number: u32, at: u64) -> Arrived {
        Arrived { publisher: 0, number, due: 100, at, count: 1 }
    }

    #[test]
    fn first_median_and_last_are_of_all_workers() {
        let board = Deliveries::default();
        let window = 100..200;
        let (mut one, mut other) = (Sheet::default(), Sheet::default());
        // Five deliveries at 110, 120, 120, 150 and 400, on two workers, one of which is ahead of
        // the publisher's.
        for at in [120, 120, 400] {
            one.note(arrived(7, at), &window);
        }
        assert_eq!(one.0.len(), 2, "what comes at one time is one note");
        one.hand_in(&board);
        board.published(0, 7, 100, 5);
        for at in [150, 110] {
            other.note(arrived(7, at), &window);
        }
        // Another publication lacks one; a third was due in the warm-up.
        board.published(0, 8, 100, 2);
        other.note(arrived(8, 130), &window);
        other.note(Arrived { due: 99, ..arrived(6, 101) }, &window);
        other.hand_in(&board);
        // And one that nobody could get.
        board.published(0, 9, 100, 0);
        let spreads = board.spreads();
        assert_eq!((spreads.first.len(), spreads.incomplete), (1, 1));
        assert_eq!((spreads.first.max(), spreads.median.max(), spreads.last.max()), (10, 20, 300));
    }
}
