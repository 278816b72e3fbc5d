//! Receive buffers that the kernel picks from (a provided buffer ring).
//!
//! The memory is one mapping, zeroed by the kernel and never moved or unmapped while the ring
//! lives (S1, S6). A buffer is either the kernel's, or lent to one `&mut [u8]` at a time through
//! `&mut self` (S2), or waiting in a stack, most recently used on top, so that the few buffers in
//! the ring stay in the cache.
//!
//! An incremental ring's buffer is filled piece by piece: what the kernel has put into it is ours,
//! what lies behind that is still the kernel's, and the buffer goes round again when the kernel has
//! given it up and none of its pieces is in use.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// `IOU_PBUF_RING_INC`: receives fill buffers one behind the other.
const INCREMENTAL: u16 = 2;

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

/// A class of receive buffers of one size, offered to the kernel, which picks one for each receive.
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
    /// How far each buffer is filled, where that is piece by piece.
    filling: Option<Vec<Filling>>,
}

/// A buffer of an incremental ring.
#[derive(Debug, Clone, Copy, Default)]
struct Filling {
    /// Bytes that the kernel has put into it.
    bytes: usize,
    /// Pieces that are in use.
    pieces: u32,
    /// Whether the kernel has given it up.
    is_over: bool,
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
            filling: None,
        })
    }

    /// Lets the kernel fill each buffer piece by piece instead of using a new one for each receive.
    pub(crate) fn incremental(mut self) -> Self {
        self.filling = Some(vec![Filling::default(); usize::from(self.total)]);
        self
    }

    /// Whether buffers are filled piece by piece.
    #[inline]
    pub(crate) const fn is_incremental(&self) -> bool {
        self.filling.is_some()
    }

    /// Makes the ring known to the kernel.
    pub(crate) fn register(mut self, submitter: &Submitter<'_>) -> io::Result<Self> {
        let address = self.ring.start.as_ptr().addr() as u64;
        let (entries, group) = (self.entries, self.group);
        let flags = if self.is_incremental() { INCREMENTAL } else { 0 };
        // SAFETY: S1 and S8: the mapping has room for `entries` entries and outlives the ring, or its
        // registration.
        unsafe { submitter.register_buf_ring_with_flags(address, entries, group, flags)? };
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

    /// The kernel has put `len` bytes into a buffer, and will put more behind them or not: they are
    /// ours until they are recycled. Where they lie in the buffer.
    #[inline]
    pub(crate) fn taken(&mut self, id: u16, len: usize, goes_on: bool) -> usize {
        let Some(filling) = &mut self.filling else {
            self.offered = self.offered.saturating_sub(1);
            return 0;
        };
        let Some(filling) = filling.get_mut(usize::from(id)) else { return 0 };
        let at = filling.bytes;
        filling.bytes = at.saturating_add(len).min(self.size);
        filling.pieces += 1;
        if !goes_on {
            filling.is_over = true;
            self.offered = self.offered.saturating_sub(1);
        }
        at
    }

    /// Lends `len` bytes from `at` on of a buffer, as far as they are ours.
    #[inline]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the lease must be the only one (S2)")]
    pub(crate) fn lend(&mut self, id: u16, at: usize, len: usize) -> Option<&mut [u8]> {
        let start = self.address(id, at, len)?;
        // SAFETY: S2, S5, S6: the range lies in the arena, which the kernel zeroed, the kernel gave
        // it up when it completed the receive, and `&mut self` makes the lease exclusive.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) })
    }

    /// Where the bytes of ours from `at` on start, if there are `len` of them in the buffer.
    #[inline]
    pub(crate) fn address(&self, id: u16, at: usize, len: usize) -> Option<NonNull<u8>> {
        let ours = match &self.filling {
            Some(filling) => filling.get(usize::from(id))?.bytes,
            None => self.size,
        };
        if id >= self.total || at.checked_add(len)? > ours {
            return None;
        }
        Some(self.place(id, at))
    }

    /// A place in a buffer, both of which there are.
    #[inline]
    fn place(&self, id: u16, at: usize) -> NonNull<u8> {
        debug_assert!(id < self.total && at <= self.size);
        // SAFETY: S5: the offset lies inside the arena.
        unsafe { self.arena.start.add(usize::from(id) * self.size + at) }
    }

    /// Gives a buffer, or a piece of it, back; it is offered first.
    #[inline]
    pub(crate) fn recycle(&mut self, id: u16) {
        debug_assert!(id < self.total && !self.free.contains(&id));
        if let Some(filling) = &mut self.filling {
            let Some(filling) = filling.get_mut(usize::from(id)) else { return };
            filling.pieces = filling.pieces.saturating_sub(1);
            if filling.pieces > 0 || !filling.is_over {
                return;
            }
            *filling = Filling::default();
        }
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
        if id >= self.total {
            return;
        }
        let address = self.place(id, 0);
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

#[cfg(test)]
mod tests {
    use super::BufferRing;

    fn ring() -> BufferRing {
        let mut ring = BufferRing::new(0, 100, 2, 4).expect("memory").incremental();
        ring.refill();
        assert_eq!((ring.offered(), ring.held()), (2, 0));
        ring
    }

    #[test]
    fn what_the_kernel_has_not_given_up_is_not_lent() {
        let mut ring = ring();
        assert_eq!(ring.taken(0, 10, true), 0);
        assert_eq!(ring.taken(1, 1, true), 0, "each buffer has its own pieces");
        assert_eq!(ring.taken(0, 20, true), 10);
        assert!(ring.lend(0, 0, 10).is_some() && ring.lend(0, 10, 20).is_some());
        assert!(ring.lend(0, 10, 21).is_none() && ring.address(0, 30, 1).is_none());
        assert!(ring.lend(0, usize::MAX, 2).is_none() && ring.lend(4, 0, 0).is_none());
        let places = [0, 10].map(|at| ring.address(0, at, 1).expect("ours").as_ptr().addr());
        assert_eq!(places[1] - places[0], 10);
    }

    #[test]
    fn a_buffer_goes_round_when_its_last_piece_is_back_and_the_kernel_is_done() {
        let mut ring = ring();
        assert_eq!(ring.taken(0, 60, true), 0);
        ring.recycle(0);
        assert_eq!(ring.free.len(), 2, "the kernel still fills it");
        assert_eq!(ring.taken(0, 30, true), 60, "behind the piece that is back");
        assert_eq!(ring.taken(0, 10, false), 90);
        assert_eq!((ring.offered(), ring.held()), (1, 1));
        ring.recycle(0);
        assert_eq!(ring.free.len(), 2, "a piece of it is in use");
        ring.recycle(0);
        assert_eq!((ring.free.last(), ring.held()), (Some(&0), 0));
        // Offered again, it is filled from its front.
        ring.refill();
        assert_eq!((ring.offered(), ring.taken(0, 1, true)), (2, 0));
    }

    #[test]
    fn a_receive_of_nothing_takes_nothing() {
        let mut ring = ring();
        assert_eq!(ring.taken(0, 0, true), 0);
        ring.recycle(0);
        assert_eq!(ring.taken(0, 5, true), 0);
        // Given up before it was full: all the same it goes round.
        assert_eq!(ring.taken(0, 0, false), 5);
        ring.recycle(0);
        ring.recycle(0);
        assert_eq!((ring.offered(), ring.held(), ring.free.len()), (1, 0, 3));
    }
}
