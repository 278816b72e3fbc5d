//! What the mailbox needs of the kernel.

pub(crate) mod waker;
