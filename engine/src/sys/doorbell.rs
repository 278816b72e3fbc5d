//! Waking a shard that sleeps in the kernel.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// An event counter of the kernel that a ring can poll.
#[derive(Debug)]
pub(crate) struct Doorbell(File);

impl Doorbell {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes two integers and touches no memory of ours.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self(File::from(fd)))
    }

    /// Wakes the sleeper. Each ring is an event of its own for a ring that polls.
    pub(crate) fn ring(&self) {
        // It fails only when the counter would pass 2^64-2: the sleeper has been woken anyway.
        let _ = (&self.0).write(&1_u64.to_ne_bytes());
    }

    /// Another handle of it, for a tokio runtime: each ring is an event of its own.
    ///
    /// # Errors
    ///
    /// The kernel has no descriptor left.
    #[cfg(feature = "tokio-uring")]
    pub(crate) fn watched(&self) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
        let fd = self.0.as_fd().try_clone_to_owned()?;
        // SAFETY: the descriptor is owned by what is made here, which closes it last.
        let watched = unsafe {
            tokio::io::unix::AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE)
        };
        Ok(watched?)
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
