//! A message's memory as a buffer that a completion runtime owns while the kernel uses it.

use tokio_uring::buf::{IoBuf, IoBufMut};

use crate::conn::Assembly;
use crate::memory::Share;

/// The spare memory of a growing message, on its way to the kernel and back.
#[derive(Debug)]
pub(crate) struct Filling {
    memory: Box<Assembly>,
    place: *mut u8,
    len: usize,
}

impl Filling {
    /// Room for at most `wanted` bytes more of the message.
    pub(crate) fn new(mut memory: Box<Assembly>, wanted: u64) -> Self {
        let spare = memory.spare(wanted);
        let (place, len) = (spare.as_mut_ptr(), spare.len());
        Self { memory, place, len }
    }

    /// Bytes of room.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The message's memory; what was written into it has not been counted yet.
    pub(crate) fn into_memory(self) -> Box<Assembly> {
        self.memory
    }
}

// SAFETY: the place is a range of the heap memory of an assembly that this owns and that nobody can
// reach before `into_memory`, so it neither moves nor is freed (S1); it is initialised (S6).
unsafe impl IoBuf for Filling {
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
unsafe impl IoBufMut for Filling {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.place
    }

    unsafe fn set_init(&mut self, _: usize) {
        // All of it always is.
    }
}

/// A whole message with the room in front of it, on its way out.
#[derive(Debug)]
pub(crate) struct Framed(pub(crate) Box<Assembly>);

// SAFETY: the bytes are the heap memory of an assembly that this owns; they change only through
// `&mut`, which nobody has while an operation owns it (S1), and they are initialised (S6).
unsafe impl IoBuf for Framed {
    fn stable_ptr(&self) -> *const u8 {
        self.0.framed().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.0.framed().len()
    }

    fn bytes_total(&self) -> usize {
        self.0.framed().len()
    }
}

/// What several connections send, on its way out.
#[derive(Debug)]
pub(crate) struct Whole(pub(crate) Share);

// SAFETY: the bytes are the heap memory of a share, which nobody can change and which lives as long as
// one of its holders, of which this is one (S1); they are initialised (S6).
unsafe impl IoBuf for Whole {
    fn stable_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.0.len()
    }

    fn bytes_total(&self) -> usize {
        self.0.len()
    }
}
