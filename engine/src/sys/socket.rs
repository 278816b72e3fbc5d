//! What no safe crate offers on sockets and limits.

use std::io;
use std::os::fd::RawFd;

/// Lets the kernel choose the port at `connect`, when it knows the destination: one source address
/// then has its whole port range for each destination.
pub(crate) fn bind_address_no_port(socket: RawFd) -> io::Result<()> {
    set_number(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1)
}

/// Has the kernel give a connection up when its peer takes nothing for so many milliseconds.
pub(crate) fn set_user_timeout(socket: RawFd, millis: &libc::c_int) -> io::Result<()> {
    set_number(socket, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, millis)
}

fn set_number(
    socket: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    number: &libc::c_int,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of_val(number)).unwrap_or(4);
    let place = std::ptr::from_ref(number).cast();
    // SAFETY: the pointer and the length describe one live integer, which the kernel only reads.
    let done = unsafe { libc::setsockopt(socket, level, name, place, len) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many bytes of a stream socket the peer's kernel has not taken, and how many have arrived and were
/// not read; of a unix socket the first is the memory that they take. Nothing of one that cannot tell.
pub(crate) fn queues(socket: RawFd) -> (u32, u32) {
    let ask = |what| {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the kernel writes one integer to a place that holds one.
        let done = unsafe { libc::ioctl(socket, what, &raw mut bytes) };
        if done == 0 { u32::try_from(bytes).unwrap_or(0) } else { 0 }
    };
    (ask(libc::TIOCOUTQ), ask(libc::FIONREAD))
}

/// Raises the soft limit of open files to the hard one and says what it is then.
pub fn raise_file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one rlimit to a place that holds one.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 1024;
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        // SAFETY: the kernel only reads the one rlimit.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
            return raised.rlim_cur;
        }
    }
    limit.rlim_cur
}

/// A descriptor whose readiness the tokio runtime of this thread watches.
#[cfg(feature = "tokio-uring")]
pub(crate) fn watched(
    fd: std::os::fd::OwnedFd,
    interest: tokio::io::Interest,
) -> io::Result<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>> {
    // SAFETY: the descriptor is owned by what is made here, which closes it last.
    let watched = unsafe { tokio::io::unix::AsyncFd::register_with_interest(fd, interest) };
    Ok(watched?)
}
