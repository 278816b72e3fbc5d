//! Receive buffers that the kernel picks from (a provided buffer ring).
//!
//! The memory is one mapping, zeroed by the kernel and never moved or unmapped while the ring
//! lives (S1, S6). A buffer is either the kernel's, or lent to one `&mut [u8]` at a time through
//! `&mut self` (S2), or waiting in a stack, most recently used on top, so that the few buffers in
//! the ring stay in the cache.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// An anonymous mapping.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        // SAFETY: a new private mapping wherever the kernel likes replaces no memory of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let Some(start) = NonNull::new(start.cast()) else {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        };
        Ok(Self { start, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: the mapping is ours alone; S8: the ring that knew it was closed before.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// A class of receive buffers; see the module's text.
#[derive(Debug)]
pub(crate) struct BufferRing {
    ring: Mapping,
    arena: Mapping,
    group: u16,
    size: usize,
    /// Entries of the ring: the most that are offered at once; a power of two.
    entries: u16,
    /// All buffers, offered or not.
    total: u16,
    tail: u16,
    published: u16,
    /// Buffers that the kernel may fill.
    offered: u16,
    free: Vec<u16>,
}

impl BufferRing {
    /// A class of `total` buffers of `size` bytes of which at most `entries` are offered. Register
    /// it before use.
    pub(crate) fn new(group: u16, size: usize, entries: u16, total: u16) -> io::Result<Self> {
        let entries = entries.next_power_of_two().clamp(2, 32768);
        let total = total.max(entries);
        let entry = size_of::<BufRingEntry>();
        Ok(Self {
            ring: Mapping::new(usize::from(entries) * entry)?,
            arena: Mapping::new(usize::from(total) * size)?,
            group,
            size,
            entries,
            total,
            tail: 0,
            published: 0,
            offered: 0,
            free: (0..total).rev().collect(),
        })
    }

    /// Makes the ring known to the kernel.
    pub(crate) fn register(mut self, submitter: &Submitter<'_>) -> io::Result<Self> {
        let address = self.ring.start.as_ptr().addr() as u64;
        // SAFETY: S1 and S8: the mapping has room for `entries` entries and outlives the ring, or its
        // registration.
        unsafe { submitter.register_buf_ring_with_flags(address, self.entries, self.group, 0)? };
        self.refill();
        Ok(self)
    }

    /// Leaves the memory mapped for good: the kernel may still know it.
    pub(crate) const fn leak(&mut self) {
        self.ring.len = 0;
        self.arena.len = 0;
    }

    /// Buffers that the kernel may fill now.
    pub(crate) const fn offered(&self) -> u16 {
        self.offered
    }

    pub(crate) const fn entries(&self) -> u16 {
        self.entries
    }

    /// Buffers that are ours and in use.
    pub(crate) fn held(&self) -> u16 {
        let free = u16::try_from(self.free.len()).unwrap_or(u16::MAX);
        self.total.saturating_sub(free).saturating_sub(self.offered)
    }

    /// The kernel has filled a buffer: it is ours until it is recycled.
    pub(crate) const fn taken(&mut self) {
        self.offered = self.offered.saturating_sub(1);
    }

    /// Lends the first `len` bytes of a buffer that is ours.
    #[inline]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the loan must be the only one (S2)")]
    pub(crate) fn lend(&mut self, id: u16, len: usize) -> Option<&mut [u8]> {
        let start = self.address(id, len)?;
        // SAFETY: S2, S5, S6: the range lies in the arena, which the kernel zeroed, the kernel gave
        // the buffer up when it completed the receive, and `&mut self` makes the loan exclusive.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) })
    }

    /// Where a buffer of ours starts, if it holds `len` bytes.
    #[inline]
    pub(crate) fn address(&self, id: u16, len: usize) -> Option<NonNull<u8>> {
        if id >= self.total || len > self.size {
            return None;
        }
        // SAFETY: S5: the offset lies inside the arena.
        Some(unsafe { self.arena.start.add(usize::from(id) * self.size) })
    }

    /// Gives a buffer back, to be offered first.
    #[inline]
    pub(crate) fn recycle(&mut self, id: u16) {
        debug_assert!(id < self.total && !self.free.contains(&id));
        self.free.push(id);
    }

    /// Offers buffers until the ring is full, the most recently used first.
    #[inline]
    pub(crate) fn refill(&mut self) {
        while self.offered < self.entries {
            let Some(id) = self.free.pop() else { break };
            self.offer(id);
        }
        if self.tail != self.published {
            self.published = self.tail;
            self.tail_place().store(self.tail, Ordering::Release);
        }
    }

    fn offer(&mut self, id: u16) {
        let Some(address) = self.address(id, self.size) else { return };
        let index = usize::from(self.tail & (self.entries - 1));
        // SAFETY: S5: the masked index lies inside the ring's mapping.
        let place = unsafe { self.ring.start.cast::<BufRingEntry>().add(index) };
        // SAFETY: the kernel reads entries only up to the tail it was shown, and this one is
        // behind it; any bytes are a valid entry.
        let entry = unsafe { &mut *place.as_ptr() };
        entry.set_addr(address.as_ptr().addr() as u64);
        entry.set_len(u32::try_from(self.size).unwrap_or(u32::MAX));
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
        self.offered += 1;
    }

    /// The tail that the kernel reads.
    fn tail_place(&self) -> &AtomicU16 {
        let base = self.ring.start.cast::<BufRingEntry>().as_ptr();
        // SAFETY: the pointer is the ring's first entry, which is mapped and initialised.
        let tail = unsafe { BufRingEntry::tail(base) };
        // SAFETY: the tail is an aligned u16 in our mapping; we write it atomically, the kernel
        // only reads it.
        unsafe { AtomicU16::from_ptr(tail.cast_mut()) }
    }
}
