//! CPU time, a clock whose times other processes can read, and the state of the system's clock, which
//! the standard library does not tell.

use std::mem::MaybeUninit;

/// CPU time of the calling thread in nanoseconds, user and system; 0 if the kernel will not say.
#[must_use]
pub fn thread_cpu_nanos() -> u64 {
    nanos(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of the whole process in nanoseconds, user and system; 0 if the kernel will not say.
#[must_use]
pub fn process_cpu_nanos() -> u64 {
    nanos(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// The kernel's monotonic clock in nanoseconds: the same for all processes of a machine; 0 if the
/// kernel will not say.
#[must_use]
pub fn monotonic_nanos() -> u64 {
    nanos(libc::CLOCK_MONOTONIC)
}

/// How far the system's clock may be from true time, in nanoseconds, as the kernel estimates it;
/// `None` while nothing keeps it synchronised, or if the kernel will not say.
#[must_use]
pub fn wall_clock_error_nanos() -> Option<u64> {
    let mut state = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all zeros is a valid timex, and asks the kernel to change nothing and fill it in.
    let status = unsafe { libc::adjtimex(state.as_mut_ptr()) };
    if status < 0 || status == libc::TIME_ERROR {
        return None;
    }
    // SAFETY: it was valid before the call, and the kernel writes only numbers.
    let state = unsafe { state.assume_init() };
    u64::try_from(state.maxerror).ok().map(|micros| micros.saturating_mul(1000))
}

fn nanos(clock: libc::clockid_t) -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the kernel writes one timespec to a place that can hold it.
    if unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
        return 0;
    }
    // SAFETY: the call succeeded, so the kernel has written it.
    let time = unsafe { time.assume_init() };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
