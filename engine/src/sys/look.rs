//! What the kernel tells of a socket.

/// What is to be seen of a connection's socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "drivers make it")]
pub struct Look {
    /// Bytes that the kernel had been given when it was asked; the count wraps round.
    pub given: u32,
    /// Bytes of these that the peer's kernel has not taken; its end counts as one more. Of a unix
    /// socket, the memory that they take.
    pub untaken: u32,
    /// Bytes that have arrived and that the machine was not told of: what waits to be read, and what the
    /// driver has read already.
    pub unread: u32,
}
