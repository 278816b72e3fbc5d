//! Memory that is held for peers, counted in the bytes that are really taken, and how much of it there
//! may be.
//!
//! Each shard has a [`Ledger`]. Whatever grows with what peers do has a [`Held`] beside it, which is
//! told its size when that changes and takes it off the ledger when it goes, wherever that happens: in
//! the shard, in a driver, or after the kernel has let go of it.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

mod machine;

pub(crate) use machine::share_of_the_machine;

/// What one shard holds, and may hold.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Arc<Books>);

/// Plain numbers of one thread. They are atomic because their holders may be sent between threads, as
/// those of [`crate::conn::Connection`] are, which have no ledger.
#[derive(Debug)]
struct Books {
    budget: usize,
    held: AtomicUsize,
    peak: AtomicUsize,
    /// The most since [`Ledger::take_crest`] was asked.
    crest: AtomicUsize,
}

impl Ledger {
    pub(crate) fn new(budget: usize) -> Self {
        let none = || AtomicUsize::new(0);
        Self(Arc::new(Books { budget, held: none(), peak: none(), crest: none() }))
    }

    /// Bytes held now.
    #[inline]
    pub(crate) fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// The most that ever was held.
    pub(crate) fn peak(&self) -> usize {
        self.0.peak.load(Ordering::Relaxed)
    }

    /// The most that was held since this was asked the last time.
    pub(crate) fn take_crest(&self) -> usize {
        self.0.crest.swap(self.held(), Ordering::Relaxed)
    }

    /// The most bytes held since [`Ledger::take_crest`] was last called, which this leaves as it
    /// is.
    pub(crate) fn crest(&self) -> usize {
        self.0.crest.load(Ordering::Relaxed)
    }

    /// Bytes that may be held.
    pub(crate) fn budget(&self) -> usize {
        self.0.budget
    }

    /// Whether more is held than may be.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.held() > self.0.budget
    }

    /// Whether so many bytes more may be held.
    #[inline]
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.held().saturating_add(bytes) <= self.0.budget
    }

    pub(crate) fn add(&self, bytes: usize) {
        let held = self.0.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held > self.crest() {
            self.0.crest.store(held, Ordering::Relaxed);
            if held > self.peak() {
                self.0.peak.store(held, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn sub(&self, bytes: usize) {
        let before = self.0.held.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "more is given back than was taken");
    }

    /// What was counted as `counted` bytes is `now` bytes.
    #[inline]
    pub(crate) fn change(&self, counted: &mut usize, now: usize) {
        if now != *counted {
            self.correct(std::mem::replace(counted, now), now);
        }
    }

    fn correct(&self, before: usize, now: usize) {
        if now > before {
            self.add(now - before);
        } else {
            self.sub(before - now);
        }
    }
}

/// How many bytes something holds, on a ledger as long as it lives; on none by default.
#[derive(Debug, Default)]
pub(crate) struct Held {
    ledger: Option<Ledger>,
    bytes: usize,
}

impl Held {
    /// Nothing yet, on this ledger if there is one.
    pub(crate) fn on(ledger: Option<&Ledger>) -> Self {
        Self { ledger: ledger.cloned(), bytes: 0 }
    }

    pub(crate) const fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
    }

    /// How many there are now.
    #[inline]
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes != self.bytes {
            self.correct(bytes);
        }
    }

    fn correct(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if let Some(ledger) = &self.ledger {
            ledger.correct(before, bytes);
        }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Bytes that several hold and that are counted once, until the last of them lets go.
#[derive(Debug, Clone)]
pub struct Share(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes: Vec<u8>,
    held: Held,
}

impl Share {
    /// Bytes of memory that one takes beside its bytes: what is allocated with the count.
    pub(crate) const OVERHEAD: usize = size_of::<Shared>() + 2 * size_of::<usize>();

    pub(crate) fn new(ledger: Option<&Ledger>, bytes: Vec<u8>) -> Self {
        let mut held = Held::on(ledger);
        held.set(bytes.capacity() + Self::OVERHEAD);
        Self(Arc::new(Shared { bytes, held }))
    }

    /// Takes the bytes in no more memory than they need.
    pub(crate) fn exact(ledger: Option<&Ledger>, mut bytes: Vec<u8>) -> Self {
        bytes.shrink_to_fit();
        Self::new(ledger, bytes)
    }

    /// This holder's part of the memory: as much as every other's.
    pub(crate) fn portion(&self) -> usize {
        self.0.held.bytes() / Arc::strong_count(&self.0).max(1)
    }
}

impl Deref for Share {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::new(None, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, Ledger, Share};

    #[test]
    fn what_goes_is_taken_off_the_ledger() {
        let ledger = Ledger::new(100);
        let mut one = Held::on(Some(&ledger));
        let mut other = Held::on(Some(&ledger));
        one.set(60);
        other.set(40);
        assert!(!ledger.is_over() && !ledger.has_room(1));
        one.set(61);
        assert!(ledger.is_over());
        other.set(10);
        assert_eq!((ledger.held(), ledger.peak(), ledger.take_crest()), (71, 101, 101));
        drop(one);
        assert_eq!((ledger.held(), ledger.peak(), ledger.take_crest()), (10, 101, 71));
        drop(other);
        assert_eq!((ledger.held(), ledger.take_crest(), ledger.crest()), (0, 10, 0));
    }

    #[test]
    fn what_is_shared_is_counted_once_and_goes_with_the_last() {
        let ledger = Ledger::new(1 << 20);
        let first = Share::new(Some(&ledger), Vec::with_capacity(1000));
        let whole = ledger.held();
        assert_eq!(whole, 1000 + Share::OVERHEAD);
        let rest: Vec<_> = (0..3).map(|_| first.clone()).collect();
        assert_eq!((ledger.held(), first.portion()), (whole, whole / 4));
        drop(first);
        assert_eq!((ledger.held(), rest[0].portion()), (whole, whole / 3));
        drop(rest);
        assert_eq!(ledger.held(), 0);
        let exact = Share::exact(Some(&ledger), Vec::with_capacity(1000));
        assert_eq!((exact.len(), ledger.held()), (0, Share::OVERHEAD));
    }

    #[test]
    fn who_has_no_ledger_counts_for_itself() {
        let mut held = Held::default();
        held.set(7);
        assert_eq!(held.bytes(), 7);
        assert!(held.ledger().is_none());
    }
}
