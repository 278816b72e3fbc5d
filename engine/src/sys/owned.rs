//! Memory as buffers that a completion runtime owns while the kernel uses them.

use tokio_uring::buf::{IoBuf, IoBufMut};

use super::batch::Fill;

/// The spare memory of something that grows, on its way to the kernel and back.
#[derive(Debug)]
pub(crate) struct Filling<R> {
    memory: Box<R>,
    place: *mut u8,
    len: usize,
}

impl<R: Fill> Filling<R> {
    /// Room for at most `wanted` bytes more.
    pub(crate) fn new(mut memory: Box<R>, wanted: u64) -> Self {
        let spare = memory.spare(wanted);
        let (place, len) = (spare.as_mut_ptr(), spare.len());
        Self { memory, place, len }
    }

    /// Bytes of room.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The memory; what was written into it has not been counted yet.
    pub(crate) fn into_memory(self) -> Box<R> {
        self.memory
    }
}

// SAFETY: the place was lent by a box that this owns and that nobody can reach before `into_memory`, as
// if it were still borrowed; so it neither moves nor is freed (S1), and it is initialised (S6).
unsafe impl<R: 'static> IoBuf for Filling<R> {
    fn stable_ptr(&self) -> *const u8 {
        self.place
    }

    fn bytes_init(&self) -> usize {
        self.len
    }

    fn bytes_total(&self) -> usize {
        self.len
    }
}

// SAFETY: as above; nobody else has a reference to the place (S2).
unsafe impl<R: 'static> IoBufMut for Filling<R> {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.place
    }

    unsafe fn set_init(&mut self, _: usize) {
        // All of it always is.
    }
}

/// Bytes on their way out.
#[derive(Debug)]
pub(crate) struct Leaving<B> {
    memory: Box<B>,
    place: *const u8,
    len: usize,
}

impl<B> Leaving<B> {
    /// What `bytes` finds in the memory.
    pub(crate) fn new(memory: Box<B>, bytes: impl FnOnce(&B) -> &[u8]) -> Self {
        let bytes = bytes(&memory);
        let (place, len) = (bytes.as_ptr(), bytes.len());
        Self { memory, place, len }
    }

    /// The memory, to look at.
    pub(crate) const fn get(&self) -> &B {
        &self.memory
    }

    /// The memory: the kernel has read it.
    pub(crate) fn into_memory(self) -> Box<B> {
        self.memory
    }
}

// SAFETY: the place was lent by a box that this owns and that nobody can reach before `into_memory`, as
// if it were still borrowed; so the bytes neither move nor change nor are freed (S1), and they are
// initialised (S6).
unsafe impl<B: 'static> IoBuf for Leaving<B> {
    fn stable_ptr(&self) -> *const u8 {
        self.place
    }

    fn bytes_init(&self) -> usize {
        self.len
    }

    fn bytes_total(&self) -> usize {
        self.len
    }
}
