//! Receive buffers that are looked at.

/// A receive buffer that a driver has lent: there is one for each time a buffer is lent, only a driver
/// makes it, and it is gone once the buffer was given back. Whoever is shown it can send from the buffer
/// while the call lasts, and cannot keep it.
///
/// ```compile_fail,E0382
/// use ringbolt::bench::Loan;
///
/// fn twice(loan: Loan) -> (Loan, Loan) {
///     (loan, loan)
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Loan(LoanNumber);

/// What a loan is called where output refers to it; only the driver knows what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoanNumber(pub(crate) u32);

impl Loan {
    /// A loan of no buffer, for machines that are driven from memory: no driver finds anything by it.
    pub const NOWHERE: Self = Self(LoanNumber(u32::MAX));

    /// A loan of the buffer that the driver knows by this number.
    #[inline]
    pub(crate) const fn new(number: u32) -> Self {
        Self(LoanNumber(number))
    }

    #[inline]
    pub(crate) const fn number(&self) -> LoanNumber {
        self.0
    }
}
