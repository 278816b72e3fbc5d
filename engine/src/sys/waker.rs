//! Waking a shard that sleeps in the kernel: by an event counter, or by a message from the waking
//! thread's ring to the sleeper's.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

thread_local! {
    /// What this thread's ring is to wake in its next system call; `None` where no ring does that.
    static DUE: RefCell<Option<Vec<Arc<WakerShared>>>> = const { RefCell::new(None) };
}

/// What wakes a sleeper.
#[derive(Debug)]
pub(crate) struct Waker(Arc<WakerShared>);

/// The part of a waker that is kept by those who wake.
#[derive(Debug)]
pub(super) struct WakerShared {
    /// An event counter of the kernel that a ring can poll.
    counter: File,
    /// The sleeper's ring, while it takes messages. Who reads the number holds the lock until the
    /// kernel has looked it up: it is nobody else's until then.
    ring: RwLock<Option<RawFd>>,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes two integers and touches no memory of ours.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self(Arc::new(WakerShared { counter: File::from(fd), ring: RwLock::new(None) })))
    }

    /// Wakes the sleeper: now, or with the next system call of this thread's ring.
    pub(crate) fn wake(&self) {
        let due = self.0.takes_messages()
            && DUE.with_borrow_mut(|due| {
                due.as_mut().map(|due| due.push(Arc::clone(&self.0))).is_some()
            });
        if !due {
            self.0.strike();
        }
    }

    /// Forgets past calls: for a ring that looks at the counter, not at the events.
    pub(crate) fn silence(&self) {
        // It fails only when nothing was.
        let _ = (&self.0.counter).read(&mut [0; 8]);
    }

    /// A further handle of the waker, for a tokio runtime: each call is an event of its own.
    ///
    /// # Errors
    ///
    /// The kernel has no descriptor left.
    #[cfg(feature = "tokio-uring")]
    pub(crate) fn watched(&self) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
        let fd = self.as_fd().try_clone_to_owned()?;
        super::socket::watched(fd, tokio::io::Interest::READABLE)
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.0.counter.as_raw_fd()
    }

    /// A further handle, for tests of rings on several threads.
    #[cfg(test)]
    pub(super) const fn of(shared: Arc<WakerShared>) -> Self {
        Self(shared)
    }

    pub(super) fn shared(&self) -> Arc<WakerShared> {
        Arc::clone(&self.0)
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.counter.as_fd()
    }
}

impl WakerShared {
    /// Counts an event. Each is one of its own for a ring that polls.
    pub(super) fn strike(&self) {
        // It fails only when the counter would pass 2^64-2: the sleeper has been woken anyway.
        let _ = (&self.counter).write(&1_u64.to_ne_bytes());
    }

    fn takes_messages(&self) -> bool {
        self.target().is_some_and(|ring| ring.is_some())
    }

    /// The sleeper's ring, which does not go while this is held; `None` while it is going.
    pub(super) fn target(&self) -> Option<RwLockReadGuard<'_, Option<RawFd>>> {
        self.ring.try_read().ok()
    }

    /// From now on messages to this ring wake the sleeper, or, with `None`, no longer do.
    pub(super) fn answer_by(&self, ring: Option<RawFd>) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
    }
}

/// This thread's ring wakes others from now on.
pub(super) fn collect() {
    DUE.with_borrow_mut(|due| {
        due.get_or_insert_default();
    });
}

/// The wakers of those who are to be woken.
pub(super) fn due() -> Vec<Arc<WakerShared>> {
    DUE.with_borrow_mut(|due| due.as_mut().map(std::mem::take).unwrap_or_default())
}

/// This thread's ring wakes nobody any more; those that are still to be woken.
pub(super) fn collect_no_more() -> Vec<Arc<WakerShared>> {
    DUE.with_borrow_mut(Option::take).unwrap_or_default()
}
