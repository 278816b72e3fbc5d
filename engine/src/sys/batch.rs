//! What the loop has the kernel read and write: the ring and the runtimes know it by these traits alone.

use super::id::ConnectionId;
use super::lease::LeaseNumber;

/// What the connections of a loop have to send at the moment, in the order of their first byte.
///
/// The kernel reads it during [`Ring::exchange`](super::ring::Ring::exchange), which borrows it as long.
pub(crate) trait InlineSends {
    /// How many connections have something to send.
    fn len(&self) -> usize;

    /// Whose the part at this place is, and how many segments it has; with none it is not sent.
    fn part(&self, index: usize) -> (ConnectionId, usize);

    /// The segments of the part at this place, in order.
    fn segments(&self, index: usize) -> impl Iterator<Item = Segment<'_>>;
}

/// A range of bytes to send.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Segment<'a> {
    Bytes(&'a [u8]),
    /// In a receive buffer.
    Lent {
        lease: LeaseNumber,
        start: usize,
        len: usize,
    },
}

/// Bytes on their way out that the ring keeps until the kernel has read them, at an address of their own.
///
/// Until then nobody can reach them but through shared references, so they stay what and where they are.
pub(crate) trait Gather {
    /// How many.
    fn bytes(&self) -> usize;

    /// In order.
    fn pieces(&self) -> impl Iterator<Item = &[u8]>;

    /// How many bytes the kernel may read without a copy at the same time, of all that is sent with this.
    fn pinned_max(&self) -> usize;
}

/// Memory that bytes are received into, kept by the ring or a runtime meanwhile.
pub(crate) trait Fill {
    /// Room for at most `wanted` bytes more, all initialised.
    fn spare(&mut self, wanted: u64) -> &mut [u8];
}
