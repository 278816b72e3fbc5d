//! Receive buffers that are looked at.

/// A receive buffer that a driver has lent: there is one for each time a buffer is lent, only a driver
/// makes it, and it is gone once the buffer was given back. Whoever is shown it can send from the buffer
/// while the call lasts, and cannot keep it.
///
/// ```compile_fail,E0382
/// use ringbolt::bench::Lease;
///
/// fn twice(lease: Lease) -> (Lease, Lease) {
///     (lease, lease)
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Lease(LeaseNumber);

/// What a lease is called where output refers to it; only the driver knows what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseNumber(pub(crate) u32);

impl Lease {
    /// A lease of no buffer, for machines that are driven from memory: no driver finds anything by it.
    pub const NOWHERE: Self = Self(LeaseNumber(u32::MAX));

    /// A lease of the buffer that the driver knows by this number.
    #[inline]
    pub(crate) const fn new(number: u32) -> Self {
        Self(LeaseNumber(number))
    }

    #[inline]
    pub(crate) const fn number(&self) -> LeaseNumber {
        self.0
    }
}
