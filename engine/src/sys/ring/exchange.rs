//! The system call: what is submitted, how long it waits, and what it brings back.

use std::io;
use std::time::{Duration, Instant};

use io_uring::squeue;
use io_uring::types::{SubmitArgs, Timespec};

use super::Ring;
use crate::sys::batch::{Fill, Gather, InlineSends};
use crate::sys::id::ConnectionId;
use crate::sys::operation::{Completion, Socket, UserData};

/// How long an exchange may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    No,
    Until(Instant),
    Forever,
}

/// How often the kernel is asked in vain to take submissions, each time after its completions were
/// taken away, before that is an error.
const TRIES_MAX: u32 = 10_000;
/// How long notifications of zero-copy sends are waited for at the end.
const FINISH_PATIENCE: Duration = Duration::from_secs(1);

impl<S: Gather, R: Fill> Ring<S, R> {
    /// Sends what the batch holds, submits everything else, waits as told, and appends the
    /// completions. When it returns without an error, every inline send is done, except those
    /// whose completion was appended.
    pub(crate) fn exchange(
        &mut self,
        batch: &impl InlineSends,
        socket: impl Fn(ConnectionId) -> Option<Socket>,
        wait: Wait,
        out: &mut Vec<Completion>,
    ) -> io::Result<()> {
        self.memory.refill();
        self.push_batch(batch, socket)?;
        self.wake_peers()?;
        // What was taken away early is work to do.
        let wait = if self.early.is_empty() { wait } else { Wait::No };
        if !self.spin.is_on() || wait == Wait::No {
            self.enter(wait)?;
        } else {
            // What was found was submitted for, too: the loop below enters if anything is left.
            let wait = self.look(wait)?;
            if wait != Wait::No {
                self.enter(wait)?;
            }
        }
        let (mut tries, mut before) = (0, None);
        loop {
            self.reap();
            // A failure's completion may wait behind a full queue: the verdict on inline sends
            // counts only once that is empty, and so is the submission queue.
            let queue = self.ring.submission();
            let (overflow, unsubmitted) = (queue.cq_overflow(), queue.len());
            drop(queue);
            if !overflow && unsubmitted == 0 {
                out.append(&mut self.early);
                return Ok(());
            }
            if overflow {
                self.counters.overflows += 1;
            }
            let state = Some((self.counters.completions, unsubmitted));
            if std::mem::replace(&mut before, state) == state {
                again(&mut tries)?;
            }
            self.enter(Wait::No)?;
        }
    }

    /// Looks for completions for a while, so as not to have to be woken.
    fn look(&mut self, wait: Wait) -> io::Result<Wait> {
        let begin = Instant::now();
        if !self.spin.may_begin(begin) {
            return Ok(wait);
        }
        loop {
            let queue = self.ring.submission();
            let due = !queue.is_empty() || queue.taskrun();
            drop(queue);
            if due {
                self.enter(Wait::No)?;
            }
            if !self.ring.completion().is_empty() {
                return Ok(Wait::No);
            }
            let now = Instant::now();
            if matches!(wait, Wait::Until(deadline) if now >= deadline) {
                return Ok(Wait::No);
            }
            if self.spin.is_over(begin, now) {
                return Ok(wait);
            }
        }
    }

    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.counters.enters += 1;
        let submitter = self.ring.submitter();
        let entered = match wait {
            Wait::No => submitter.submit_and_wait(0),
            Wait::Forever => submitter.submit_and_wait(1),
            Wait::Until(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let time = Timespec::from(left);
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
        };
        match entered {
            Ok(_) => Ok(()),
            // Interrupted, timed out, or the completion queue must be emptied first: the caller
            // looks at both queues and comes back.
            Err(e) => match e.raw_os_error() {
                Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(e),
            },
        }
    }

    /// Takes the completions away, in their order.
    pub(super) fn reap(&mut self) {
        let before = self.early.len();
        self.early.extend(self.ring.completion().map(|cqe| Completion {
            user_data: UserData(cqe.user_data()),
            result: cqe.result(),
            flags: cqe.flags(),
        }));
        self.counters.completions += (self.early.len() - before) as u64;
        self.wake_again(&self.early[before..]);
    }

    pub(super) fn push(&mut self, entry: squeue::Entry, user_data: UserData) -> io::Result<()> {
        let entry = entry.user_data(user_data.0);
        let mut tries = 0;
        loop {
            // SAFETY: S1: what the entry points to lives in `in_flight`, in the receive memory, or
            // in the batch that `exchange` borrows until the kernel is done.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.enter(Wait::No)?;
            if self.ring.submission().is_full() {
                // Before 6.1 the kernel takes nothing while completions wait for room in a full
                // queue.
                self.reap();
                again(&mut tries)?;
            }
        }
    }

    /// Waits for the last word on the memory of zero-copy sends.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + FINISH_PATIENCE;
        while self.owes_notifications() && Instant::now() < deadline {
            self.enter(Wait::Until(deadline))?;
            self.reap();
            for completion in std::mem::take(&mut self.early) {
                self.note_notification(completion);
            }
        }
        Ok(())
    }

    /// Has the kernel take all submissions.
    pub(super) fn submit_all(&mut self) -> io::Result<()> {
        let mut tries = 0;
        loop {
            self.enter(Wait::No)?;
            if self.ring.submission().is_empty() {
                return Ok(());
            }
            self.reap();
            again(&mut tries)?;
        }
    }

    /// Has the kernel run what is due, so that nothing completes later. Drops what completes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.enter(Wait::No)
    }
}

/// Counts a try that changed nothing; an error after too many.
pub(super) fn again(tries: &mut u32) -> io::Result<()> {
    *tries += 1;
    if *tries > TRIES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "the kernel takes no more submissions, though its completions were taken away",
        ));
    }
    std::thread::yield_now();
    Ok(())
}
