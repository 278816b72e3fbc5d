//! Atomics and queues of which every order and every permitted value is tried.
//!
//! A fence can be left out by the line on which it stands, so that the models can show that they see it.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::{Mutex, OnceLock};

use loom::cell::Cell;
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

use super::Numbered;

/// The line of the fence that is left out.
pub(crate) static LEFT_OUT: OnceLock<u32> = OnceLock::new();
/// The lines of all that were met.
pub(crate) static FENCES: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

#[track_caller]
pub(crate) fn fence(order: Ordering) {
    let line = Location::caller().line();
    if LEFT_OUT.get() == Some(&line) {
        return;
    }
    FENCES.lock().expect("nobody panics with it").insert(line);
    loom::sync::atomic::fence(order);
}

/// loom orders what is written to one place only in part: it does not know that nothing comes between
/// what a swap reads and what it writes, and lets a thread read what a swap wrote long ago. So a store is
/// a swap, too, which it takes for the newest.
#[derive(Debug, Default)]
pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub(crate) fn load(&self, order: Ordering) -> bool {
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: bool, order: Ordering) {
        self.0.swap(value, order);
    }

    pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
        self.0.swap(value, order)
    }
}

/// More than any model puts into one queue.
const PLACES: usize = 4;

/// A queue for one reader that orders as little as a queue may: who takes something sees what was done
/// before it was put there, and nothing else is promised. It can miss what was put there unless
/// something else says that it is there, and forgets no order of one sender.
#[derive(Debug)]
pub(crate) struct SegQueue<T> {
    places: [AtomicU64; PLACES],
    next: AtomicU64,
    taken: Cell<usize>,
    kind: PhantomData<T>,
}

impl<T: Numbered> SegQueue<T> {
    pub(crate) fn new() -> Self {
        Self {
            places: std::array::from_fn(|_| AtomicU64::new(0)),
            next: AtomicU64::new(0),
            taken: Cell::new(0),
            kind: PhantomData,
        }
    }

    pub(crate) fn push(&self, item: T) {
        let place = self.next.fetch_add(1, Ordering::Relaxed);
        let place = usize::try_from(place).expect("few");
        self.places[place].store(item.number(), Ordering::Release);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        let place = self.taken.get();
        let number = self.places.get(place)?.load(Ordering::Acquire);
        if number == 0 {
            return None;
        }
        self.taken.set(place + 1);
        Some(T::of(number))
    }
}

/// A bounded queue, without its bound: no model fills it.
#[derive(Debug)]
pub(crate) struct ArrayQueue<T>(SegQueue<T>);

impl<T: Numbered> ArrayQueue<T> {
    pub(crate) fn new(_: usize) -> Self {
        Self(SegQueue::new())
    }

    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        self.0.push(item);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.pop()
    }
}
