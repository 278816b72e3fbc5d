//! The memory that shared receives go into: buffers that the kernel picks from, or, where it has no
//! rings of them, one that belongs to each receive in flight.

use std::io;
use std::ptr::NonNull;

use io_uring::Submitter;
use slab::Slab;

use super::buffer_ring::BufferRing;
use super::operation::{Class, Completion, UserData};
use crate::sys::id::ConnectionId;
use crate::sys::lease::{Lease, LeaseNumber};

/// Bytes of a small receive buffer.
pub(crate) const SMALL_BYTES: usize = 4096;
/// Bytes of a large one.
pub(crate) const LARGE_BYTES: usize = 64 << 10;
/// Buffers of a class for each that is offered: those that output points into are not.
const RESERVE: u16 = 4;
/// Buffers of a class that are kept for the next receive.
const SPARE_MAX: usize = 256;
/// Marks a lease of owned memory; the rest is its key.
const OWNED: u32 = 1 << 31;
/// Marks a lease of a large buffer.
const LARGE: u32 = 1 << 30;
/// In a lease of a piece of an incremental buffer, the bits of where it lies; the buffer is above.
const PLACE_BITS: u32 = 16;
/// Buffers that pieces can be lent of.
const INCREMENTAL_MAX: u16 = 1 << 14;
/// Receives that an incremental buffer is good for, or more.
const PIECES: u16 = 16;
/// No receive of this slot is in flight.
const NONE: u32 = u32::MAX;

impl Class {
    const fn bytes(self) -> usize {
        match self {
            Self::Small => SMALL_BYTES,
            Self::Large => LARGE_BYTES,
        }
    }
}

/// Where received bytes lie.
#[derive(Debug)]
pub(super) enum ReceiveMemory {
    Rings([BufferRing; 2]),
    Owned(Owned),
}

/// Memory of receives in flight, and of those whose bytes are still looked at.
#[derive(Debug, Default)]
pub(super) struct Owned {
    in_use: Slab<Held>,
    /// The key of the receive that is in flight, by the connection's slot.
    receiving: Vec<u32>,
    in_flight: u32,
    spare: [Vec<Vec<u8>>; 2],
    /// The fewest of each class that there were since the last [`ReceiveMemory::tidy`].
    unneeded: [usize; 2],
}

#[derive(Debug)]
struct Held {
    id: ConnectionId,
    class: Class,
    memory: Vec<u8>,
}

impl ReceiveMemory {
    /// Rings of buffers, known to the kernel. Where they are incremental, the small ones are as
    /// large as the others, and as much fewer.
    pub(super) fn rings(
        submitter: &Submitter<'_>,
        offered: [u16; 2],
        incremental: bool,
    ) -> io::Result<Self> {
        let ring = |class: Class| {
            let offered = offered[class as usize];
            let total = offered.saturating_mul(RESERVE);
            BufferRing::new(class as u16, class.bytes(), offered, total)?.register(submitter)
        };
        let mut small = if incremental {
            let fewer = LARGE_BYTES / SMALL_BYTES;
            let offered = (usize::from(offered[0]) / fewer).max(2).next_power_of_two();
            let offered = u16::try_from(offered).unwrap_or(INCREMENTAL_MAX / RESERVE);
            let total = offered * RESERVE;
            debug_assert!(total <= INCREMENTAL_MAX);
            let ring = BufferRing::new(Class::Small as u16, LARGE_BYTES, offered, total)?;
            ring.incremental().register(submitter)?
        } else {
            ring(Class::Small)?
        };
        match ring(Class::Large) {
            Ok(large) => Ok(Self::Rings([small, large])),
            Err(e) => {
                // S8: the kernel forgets it before its memory goes.
                if submitter.unregister_buf_ring(Class::Small as u16).is_err() {
                    small.leak();
                }
                Err(e)
            }
        }
    }

    /// Memory of each receive's own.
    pub(super) fn owned() -> Self {
        Self::Owned(Owned::default())
    }

    /// Leaves the memory mapped for good: the kernel may still know it.
    pub(super) fn leak(&mut self) {
        match self {
            Self::Rings(rings) => rings.iter_mut().for_each(BufferRing::leak),
            Self::Owned(owned) => {
                Box::leak(Box::new(std::mem::take(owned)));
            }
        }
    }

    /// Gives back spare memory that was not needed since the last call.
    pub(super) fn tidy(&mut self) {
        let Self::Owned(owned) = self else { return };
        for (spare, unneeded) in owned.spare.iter_mut().zip(&mut owned.unneeded) {
            spare.drain(..(*unneeded).min(spare.len()));
            *unneeded = spare.len();
        }
    }

    /// Offers buffers again that came back.
    #[inline]
    pub(super) fn refill(&mut self) {
        if let Self::Rings(rings) = self {
            rings.iter_mut().for_each(BufferRing::refill);
        }
    }

    /// How many receives may be armed that waited for buffers of a class: none before half of them
    /// are back.
    pub(super) fn room(&mut self, class: Class) -> u16 {
        match self {
            Self::Rings(rings) => {
                let ring = &mut rings[class as usize];
                ring.refill();
                let each = if ring.is_incremental() { PIECES } else { 1 };
                let offered = ring.offered().saturating_mul(each);
                if ring.offered() >= ring.entries() / 2 { offered } else { 0 }
            }
            Self::Owned(_) => u16::MAX,
        }
    }

    /// Buffers that are ours and in use.
    pub(super) fn held(&self) -> u64 {
        match self {
            Self::Rings(rings) => rings.iter().map(|ring| u64::from(ring.held())).sum(),
            Self::Owned(owned) => owned.in_use.len() as u64 - u64::from(owned.in_flight),
        }
    }

    /// What came with a completed receive of this class, if anything: it is ours until the lease
    /// ends, whatever the result was.
    #[inline]
    pub(super) fn lease(&mut self, completion: Completion, class: Class) -> Option<Lease> {
        match self {
            Self::Rings(rings) => {
                let (buffer, ring) = (completion.buffer()?, &mut rings[class as usize]);
                let len = usize::try_from(completion.result).unwrap_or(0);
                let place = ring.taken(buffer, len, completion.buffer_goes_on());
                Some(Self::pack(class, ring.is_incremental(), buffer, place))
            }
            Self::Owned(owned) => owned.received(completion.user_data),
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a place lies in a buffer of 64 KiB")]
    const fn pack(class: Class, incremental: bool, buffer: u16, place: usize) -> Lease {
        let large = if matches!(class, Class::Large) { LARGE } else { 0 };
        if incremental {
            return Lease::new(large | (buffer as u32) << PLACE_BITS | place as u32);
        }
        Lease::new(large | buffer as u32)
    }

    /// The ring that a lease is of, the buffer and the place in it.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lease was made by `lease`")]
    const fn unpack(rings: &[BufferRing; 2], lease: LeaseNumber) -> (usize, u16, usize) {
        let class = (lease.0 & LARGE != 0) as usize;
        if rings[class].is_incremental() {
            let (buffer, place) = (lease.0 >> PLACE_BITS, lease.0 & ((1 << PLACE_BITS) - 1));
            return (class, buffer as u16 & (INCREMENTAL_MAX - 1), place as usize);
        }
        (class, lease.0 as u16, 0)
    }

    /// Lends the first `len` bytes of what came.
    #[inline]
    pub(super) fn lend(&mut self, lease: LeaseNumber, len: usize) -> Option<&mut [u8]> {
        match self {
            Self::Rings(rings) => {
                let (class, buffer, place) = Self::unpack(rings, lease);
                rings[class].lend(buffer, place, len)
            }
            Self::Owned(owned) => {
                owned.in_use.get_mut((lease.0 & !OWNED) as usize)?.memory.get_mut(..len)
            }
        }
    }

    /// Where it starts, if it holds `len` bytes.
    #[inline]
    pub(super) fn address(&self, lease: LeaseNumber, len: usize) -> Option<NonNull<u8>> {
        match self {
            Self::Rings(rings) => {
                let (class, buffer, place) = Self::unpack(rings, lease);
                rings[class].address(buffer, place, len)
            }
            Self::Owned(owned) => {
                let held = owned.in_use.get((lease.0 & !OWNED) as usize)?;
                Some(NonNull::from(held.memory.get(..len)?).cast())
            }
        }
    }

    /// Gives back what came.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "the lease is over")]
    pub(super) fn end_lease(&mut self, lease: Lease) {
        let lease = lease.number();
        match self {
            Self::Rings(rings) => {
                let (class, buffer, _) = Self::unpack(rings, lease);
                rings[class].recycle(buffer);
            }
            Self::Owned(owned) => owned.recycle((lease.0 & !OWNED) as usize),
        }
    }
}

impl Owned {
    /// Memory for a receive of the connection, which stays ours to keep until the receive is over
    /// and its lease ended (S1).
    pub(super) fn take(&mut self, id: ConnectionId, class: Class) -> (NonNull<u8>, usize) {
        let (spare, unneeded) =
            (&mut self.spare[class as usize], &mut self.unneeded[class as usize]);
        let memory = spare.pop();
        *unneeded = spare.len().min(*unneeded);
        let mut memory = memory.unwrap_or_else(|| vec![0; class.bytes()]);
        let place = NonNull::from(&mut *memory).cast();
        let key = self.in_use.insert(Held { id, class, memory });
        let slot = id.slot() as usize;
        if slot >= self.receiving.len() {
            self.receiving.resize(slot + 1, NONE);
        }
        self.receiving[slot] = u32::try_from(key).expect("fewer than 2^31 receives are in flight");
        self.in_flight += 1;
        (place, class.bytes())
    }

    /// The connection's receive is over. A slot is used again only when nothing of it is in flight,
    /// so this is the receive of that very connection (S4).
    fn received(&mut self, of: UserData) -> Option<Lease> {
        let key = self.receiving.get_mut(of.slot() as usize)?;
        let held = self.in_use.get(*key as usize)?;
        if of.id(held.id.generation()) != Some(held.id) {
            return None;
        }
        self.in_flight -= 1;
        Some(Lease::new(OWNED | std::mem::replace(key, NONE)))
    }

    fn recycle(&mut self, key: usize) {
        let Some(held) = self.in_use.try_remove(key) else { return };
        let spare = &mut self.spare[held.class as usize];
        if spare.len() < SPARE_MAX {
            spare.push(held.memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use io_uring::IoUring;

    use super::{
        BufferRing, Class, INCREMENTAL_MAX, LARGE_BYTES, OWNED, Owned, PIECES, ReceiveMemory,
        SMALL_BYTES, UserData,
    };
    use crate::sys::id::ConnectionId;
    use crate::sys::operation::Operation;

    #[test]
    fn owned_memory_goes_round() {
        let mut owned = Owned::default();
        let id = ConnectionId::new(7, 3);
        let (place, bytes) = owned.take(id, Class::Small);
        assert_eq!((bytes, owned.in_use.len(), owned.in_flight), (SMALL_BYTES, 1, 1));
        // Neither another generation nor another slot gets it.
        let of = |id| UserData::connection(Operation::Receive, id);
        assert!(owned.received(of(ConnectionId::new(7, 4))).is_none());
        assert!(owned.received(of(ConnectionId::new(8, 3))).is_none());
        let lease = owned.received(of(id)).expect("it was in flight");
        assert!(owned.received(of(id)).is_none(), "it is over");
        let mut memory = ReceiveMemory::Owned(owned);
        assert_eq!(memory.held(), 1);
        memory.lend(lease.number(), 3).expect("it is ours").copy_from_slice(b"abc");
        assert_eq!(memory.address(lease.number(), 3), Some(place));
        let number = lease.number();
        assert!(memory.lend(number, SMALL_BYTES + 1).is_none() && memory.lend(number, 0).is_some());
        memory.end_lease(lease);
        assert!(memory.lend(number, 0).is_none(), "it was given back");
        assert_eq!(memory.held(), 0);
        let ReceiveMemory::Owned(mut owned) = memory else { panic!("it was owned") };
        let (again, _) = owned.take(id, Class::Small);
        assert_eq!(again, place, "the same memory");
        assert_eq!(owned.take(ConnectionId::new(8, 1), Class::Large).1, LARGE_BYTES);
    }

    #[test]
    fn rings_offer_what_they_have() {
        let ring = IoUring::new(8).expect("a ring");
        let rooms = |memory: &mut ReceiveMemory| {
            assert_eq!(memory.held(), 0);
            [Class::Small, Class::Large].map(|class| memory.room(class))
        };
        let mut memory = ReceiveMemory::rings(&ring.submitter(), [4, 2], false).expect("buffers");
        assert_eq!(rooms(&mut memory), [4, 2]);
        drop(ring);
        let ring = IoUring::new(8).expect("a ring");
        let mut memory = ReceiveMemory::rings(&ring.submitter(), [64, 2], true).expect("buffers");
        assert_eq!(rooms(&mut memory), [4 * PIECES, 2]);
        drop(ring);
    }

    #[test]
    fn every_piece_of_every_buffer_has_a_loan_of_its_own() {
        let rings = |incremental: bool| {
            [Class::Small, Class::Large].map(|class| {
                let ring = BufferRing::new(class as u16, 8, 2, 8).expect("memory");
                if incremental && class == Class::Small { ring.incremental() } else { ring }
            })
        };
        for (incremental, class, buffer, place) in [
            (false, Class::Small, u16::MAX, 0),
            (false, Class::Large, u16::MAX, 0),
            (true, Class::Small, INCREMENTAL_MAX - 1, LARGE_BYTES - 1),
            (true, Class::Small, 0, 1),
            (true, Class::Large, 7, 0),
        ] {
            let rings = rings(incremental);
            let incremental = rings[class as usize].is_incremental();
            let lease = ReceiveMemory::pack(class, incremental, buffer, place).number();
            assert_eq!(lease.0 & OWNED, 0);
            assert_eq!(ReceiveMemory::unpack(&rings, lease), (class as usize, buffer, place));
        }
    }
}
