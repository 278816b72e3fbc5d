//! The system's allocator, with a count of what chosen threads do.

#![expect(
    unsafe_code,
    reason = "an allocator is an unsafe trait; every call is passed on as it came"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

/// From now on what this thread allocates and frees is counted.
pub(crate) fn count_this_thread() {
    COUNTED.set(true);
}

/// Allocations so far, growths included.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::SeqCst)
}

/// Bytes allocated less bytes freed.
pub(crate) fn live_bytes() -> i64 {
    LIVE_BYTES.load(Ordering::SeqCst)
}

fn note(allocations: u64, before: usize, after: usize) {
    if COUNTED.get() {
        ALLOCATIONS.fetch_add(allocations, Ordering::SeqCst);
        LIVE_BYTES.fetch_add(after as i64 - before as i64, Ordering::SeqCst);
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, 0, layout.size());
        // SAFETY: the caller's promises are ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, 0, layout.size());
        // SAFETY: the caller's promises are ours.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        note(0, layout.size(), 0);
        // SAFETY: the caller's promises are ours.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, layout.size(), size);
        // SAFETY: the caller's promises are ours.
        unsafe { System.realloc(start, layout, size) }
    }
}
