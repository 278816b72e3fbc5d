//! Which features a ring has, found by using each: on sockets without a name, on a ring of its own
//! with the same flags. A version number tells less: sandboxes forbid single calls, distributions
//! carry features back, and some are known and do not work.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU16;
use std::time::Duration;

use io_uring::types::{DestinationSlot, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::look::{UNREAD, UNTAKEN, command};
use super::send::REPORT_USAGE;
use super::set_up::Flags;
use crate::sys::buffer_ring::BufferRing;
use crate::sys::features::{FeatureSet, MissingFeature, RingFeature};

/// Entries of the ring that is tried, and of its buffer ring.
const ENTRIES: u16 = 8;
/// How long a completion is waited for that comes at once where things work.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the end of a closed socket is waited for, which is there before the ring has told that it
/// was closed, or comes much later: each start on kernels before 6.13 waits for it.
const CLOSE_PATIENCE: Duration = Duration::from_millis(10);
/// Several times what a socket with [`SEND_BUFFER`] takes at once.
static BIG: [u8; 64 << 10] = [0; 64 << 10];
const SEND_BUFFER: usize = 4096;
/// Where what is received to no purpose goes.
static PLACE: AtomicU16 = AtomicU16::new(0);

/// Why something did not work; in words that follow "because".
type Verdict = Result<(), String>;

/// What a ring was found to do.
#[derive(Debug)]
pub(super) struct Found {
    /// What was wanted and does not work.
    pub(super) absent: Vec<MissingFeature>,
    /// Whether a request for all bytes (`MSG_WAITALL`) that ends early says how many there were.
    pub(super) counts_all: bool,
    /// Whether a receive of all bytes that is cancelled says how many it has.
    pub(super) counts_received: bool,
}

/// Tries every feature that is wanted, in order.
///
/// # Errors
///
/// Not even what every kernel since 5.11 does can be done: the ring is of no use.
pub(super) fn probe(flags: Flags, wanted: FeatureSet) -> io::Result<Found> {
    let mut trial = Trial { ring: flags.build(u32::from(ENTRIES), 4 * u32::from(ENTRIES))? };
    trial.nothing()?;
    let counts_all = trial.sends_are_counted(libc::MSG_WAITALL)?;
    if !counts_all && !trial.sends_are_counted(0)? {
        return Err(io::Error::other("the kernel does not say how much of a send it took"));
    }
    let counts_received = counts_all && trial.counts_what_was_received()?;
    let mut absent: Vec<MissingFeature> = Vec::new();
    for feature in wanted.iter() {
        let missing = |feature| absent.iter().any(|absent| absent.feature == feature);
        let needed = feature.needs().filter(|other| !wanted.contains(*other) || missing(*other));
        let verdict = match feature {
            _ if let Some(needed) = needed => Err(format!("it needs {needed}")),
            RingFeature::MultishotAccept => trial.accepts_again_and_again(),
            RingFeature::BufferRing => trial.receives(false),
            RingFeature::MultishotReceive => trial.receives(true),
            RingFeature::IncrementalBuffers => trial.receives_incrementally(),
            RingFeature::Direct => trial.accepts_directly(),
            // A short send would be a success without `MSG_WAITALL`, and nobody would know.
            RingFeature::SkipSuccess if !counts_all => {
                Err("this kernel does not say how much of a send it took".to_owned())
            }
            RingFeature::SkipSuccess => trial.skips_success(),
            RingFeature::MsgRing => trial.messages(),
            RingFeature::ZeroCopySend => trial.sends_without_copy(),
            RingFeature::DeferTaskrun | RingFeature::CoopTaskrun | RingFeature::NoSqarray => {
                match flags.gives(feature) {
                    Some(true) => Ok(()),
                    _ => Err(refusal(libc::EINVAL)),
                }
            }
        };
        if let Err(because) = verdict {
            absent.push(MissingFeature { feature, because });
        }
    }
    Ok(Found { absent, counts_all, counts_received })
}

/// What an error number of a refused feature means.
fn refusal(errno: i32) -> String {
    let error = io::Error::from_raw_os_error(errno);
    match errno {
        libc::EINVAL | libc::EOPNOTSUPP | libc::EBADF => {
            format!("this kernel does not know it ({error})")
        }
        libc::EPERM | libc::EACCES | libc::ENOSYS => {
            format!("a sandbox, a seccomp profile perhaps, forbids it ({error})")
        }
        libc::ENOMEM => format!("there is not enough locked memory, see `ulimit -l` ({error})"),
        libc::EMFILE | libc::ENFILE => {
            format!("too many files are open, see `ulimit -n` ({error})")
        }
        _ => format!("the kernel refused it ({error})"),
    }
}

pub(super) fn because(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), refusal)
}

/// What an operation brought.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    user_data: u64,
    result: i32,
    flags: u32,
}

impl Outcome {
    fn checked(self) -> Result<Self, String> {
        if self.result < 0 { Err(refusal(-self.result)) } else { Ok(self) }
    }
}

/// User data: of the request that is tried, and of those that help.
const TRIED: u64 = 1;
const HELPER: u64 = 2;

struct Trial {
    ring: IoUring,
}

impl Trial {
    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: S1: no entry made here points to memory but statics, which the kernel only reads
        // or nobody else does, and the rings of buffers, which outlive their requests or are never
        // freed.
        if unsafe { self.ring.submission().push(entry) }.is_err() {
            return Err(io::Error::other("the submission queue of eight is full"));
        }
        Ok(())
    }

    /// Submits, and takes what is there when `count` completions are, or [`PATIENCE`] is over.
    fn complete(&mut self, count: usize) -> io::Result<Vec<Outcome>> {
        let time = Timespec::from(PATIENCE);
        let mut all = Vec::new();
        loop {
            let left = count.saturating_sub(all.len());
            let entered = if left == 0 {
                self.ring.submitter().submit_and_wait(0)
            } else {
                self.ring.submitter().submit_with_args(left, &SubmitArgs::new().timespec(&time))
            };
            all.extend(self.ring.completion().map(|cqe| Outcome {
                user_data: cqe.user_data(),
                result: cqe.result(),
                flags: cqe.flags(),
            }));
            match entered {
                Ok(_) if all.len() >= count => return Ok(all),
                Err(e) if e.raw_os_error() == Some(libc::ETIME) => return Ok(all),
                Ok(_) => {}
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Submits one request, and takes the one completion that it has.
    fn one(&mut self, entry: &squeue::Entry) -> Result<Outcome, String> {
        self.push(entry).map_err(|e| because(&e))?;
        let outcomes = self.complete(1).map_err(|e| because(&e))?;
        outcomes.first().copied().ok_or_else(|| "it never completes".to_owned())
    }

    /// Whether requests are taken at all, and waited for with a timeout.
    fn nothing(&mut self) -> io::Result<()> {
        if !self.ring.params().is_feature_ext_arg() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.push(&opcode::Nop::new().build().user_data(HELPER))?;
        self.complete(1).map(drop)
    }

    /// Whether the kernel says how much it took of sends that there is no room for. Kernels from
    /// before 6.0, and older ones with that code carried back, take a part of a send for all bytes
    /// and then say that they took nothing.
    ///
    /// # Errors
    ///
    /// A send that must not wait has not ended when the kernel has taken it, however it ended: what
    /// is sent from a turn's memory depends on it.
    fn sends_are_counted(&mut self, wait_all: i32) -> io::Result<bool> {
        let (ours, mut theirs) = UnixStream::pair()?;
        theirs.set_nonblocking(true)?;
        SockRef::from(&ours).set_send_buffer_size(SEND_BUFFER)?;
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | wait_all;
        let len = u32::try_from(BIG.len()).unwrap_or(u32::MAX);
        let mut told = 0;
        for _ in 0..2 {
            let send = opcode::Send::new(Fd(ours.as_raw_fd()), BIG.as_ptr(), len).flags(flags);
            self.push(&send.build().user_data(TRIED))?;
            let settled = self.complete(0)?;
            let Some(outcome) = settled.iter().find(|outcome| outcome.user_data == TRIED) else {
                return Err(io::Error::other("a send that must not wait is waited with"));
            };
            told += usize::try_from(outcome.result).unwrap_or(0);
        }
        // Both sends have ended, so all that will ever arrive has, whether or not the ring still holds
        // the socket open.
        drop(ours);
        let mut arrived = 0;
        loop {
            match theirs.read(&mut [0; 4096]) {
                Ok(0) => return Ok(told == arrived),
                Ok(bytes) => arrived += bytes,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(told == arrived),
                Err(e) => return Err(e),
            }
        }
    }

    /// Whether a receive of all bytes that is cancelled says how many it has: kernels around 6.0 forget
    /// them.
    fn counts_what_was_received(&mut self) -> io::Result<bool> {
        let (ours, mut theirs) = UnixStream::pair()?;
        theirs.write_all(b"x")?;
        let receive = opcode::Recv::new(Fd(ours.as_raw_fd()), PLACE.as_ptr().cast(), 2);
        let receive = receive.flags(libc::MSG_WAITALL).build().user_data(TRIED);
        self.push(&receive)?;
        if !self.complete(0)?.is_empty() {
            // It does not wait for the rest: then it need not be cancelled.
            return Ok(true);
        }
        self.push(&opcode::AsyncCancel::new(TRIED).build().user_data(HELPER))?;
        let outcomes = self.complete(2)?;
        Ok(outcomes.iter().any(|outcome| outcome.user_data == TRIED && outcome.result == 1))
    }

    /// Whether a socket that has no descriptor can be looked at, tried on one that has.
    fn looks(&mut self) -> Verdict {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(|e| because(&e))?;
        for what in [UNREAD, UNTAKEN] {
            let look = command(super::Socket::Descriptor(socket.as_raw_fd()), what);
            let outcome = self.one(&look.user_data(HELPER))?.checked();
            outcome.map_err(|why| format!("such a socket could not be looked at: {why}"))?;
        }
        Ok(())
    }

    fn skips_success(&mut self) -> Verdict {
        let (ours, mut theirs) = UnixStream::pair().map_err(|e| because(&e))?;
        theirs.set_nonblocking(true).map_err(|e| because(&e))?;
        let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let send = opcode::Send::new(Fd(ours.as_raw_fd()), BIG.as_ptr(), 1).flags(flags).build();
        let send = send.flags(squeue::Flags::SKIP_SUCCESS).user_data(TRIED);
        self.push(&send).map_err(|e| because(&e))?;
        let outcomes = self.complete(0).map_err(|e| because(&e))?;
        match outcomes.first() {
            Some(outcome) => {
                outcome.checked()?;
                Err("successes are reported all the same".to_owned())
            }
            None => theirs.read_exact(&mut [0]).map_err(|e| because(&e)),
        }
    }

    /// Whether bytes arrive in buffers that the kernel picks, from one request or from several.
    fn receives(&mut self, multishot: bool) -> Verdict {
        let group = 0;
        let buffers = BufferRing::new(group, 64, ENTRIES, ENTRIES).map_err(|e| because(&e))?;
        let mut buffers = buffers.register(&self.ring.submitter()).map_err(|e| because(&e))?;
        let verdict = self.receive_into(group, multishot);
        // No request is left that could write, unless something is odd.
        if verdict.is_err() || self.ring.submitter().unregister_buf_ring(group).is_err() {
            buffers.leak();
        }
        verdict
    }

    fn receive_into(&mut self, group: u16, multishot: bool) -> Verdict {
        let (ours, mut theirs) = UnixStream::pair().map_err(|e| because(&e))?;
        let fd = Fd(ours.as_raw_fd());
        let receive = if multishot {
            opcode::RecvMulti::new(fd, group).build()
        } else {
            let receive = opcode::Recv::new(fd, std::ptr::null_mut(), 0).buf_group(group).build();
            receive.flags(squeue::Flags::BUFFER_SELECT)
        };
        let receive = receive.user_data(TRIED);
        self.push(&receive).map_err(|e| because(&e))?;
        for round in 0..2 {
            if round > 0 && !multishot {
                self.push(&receive).map_err(|e| because(&e))?;
            }
            theirs.write_all(b"x").map_err(|e| because(&e))?;
            let outcomes = self.complete(1).map_err(|e| because(&e))?;
            let Some(outcome) = outcomes.first() else { return Err("nothing arrives".to_owned()) };
            let good = outcome.checked()?.result == 1
                && cqueue::buffer_select(outcome.flags).is_some()
                && cqueue::more(outcome.flags) == multishot;
            if !good {
                return Err("it does not go on receiving".to_owned());
            }
        }
        if multishot { self.cancel() } else { Ok(()) }
    }

    /// Whether a buffer is filled piece by piece, and completions come in the order of the pieces:
    /// where each lies is known by that alone. Before 6.16 a receive that goes on could be told
    /// before one that came first.
    fn receives_incrementally(&mut self) -> Verdict {
        let group = 0;
        let buffers = BufferRing::new(group, 64, ENTRIES, ENTRIES).map_err(|e| because(&e))?;
        let buffers = buffers.incremental().register(&self.ring.submitter());
        let mut buffers = buffers.map_err(|e| because(&e))?;
        let verdict = self.receive_in_order(group, &mut buffers);
        // As in `receives`.
        if verdict.is_err() || self.ring.submitter().unregister_buf_ring(group).is_err() {
            buffers.leak();
        }
        verdict
    }

    fn receive_in_order(&mut self, group: u16, buffers: &mut BufferRing) -> Verdict {
        let (first, mut early) = UnixStream::pair().map_err(|e| because(&e))?;
        let (second, mut late) = UnixStream::pair().map_err(|e| because(&e))?;
        early.write_all(b"first").map_err(|e| because(&e))?;
        late.write_all(b"second").map_err(|e| because(&e))?;
        let once = opcode::Recv::new(Fd(first.as_raw_fd()), std::ptr::null_mut(), 0);
        let once = once.buf_group(group).build().flags(squeue::Flags::BUFFER_SELECT);
        let again = opcode::RecvMulti::new(Fd(second.as_raw_fd()), group).build();
        self.push(&once.user_data(HELPER)).map_err(|e| because(&e))?;
        self.push(&again.user_data(TRIED)).map_err(|e| because(&e))?;
        let outcomes = self.complete(2).map_err(|e| because(&e))?;
        let mut from = 0;
        for (index, text) in [b"first".as_slice(), b"second"].into_iter().enumerate() {
            let outcome = *outcomes.get(index).ok_or("nothing arrives")?;
            let len = usize::try_from(outcome.checked()?.result).unwrap_or(0);
            let buffer = cqueue::buffer_select(outcome.flags).ok_or("it brings no buffer")?;
            let at = buffers.taken(buffer, len, cqueue::buffer_more(outcome.flags));
            if at != from || buffers.lend(buffer, at, len).as_deref() != Some(text) {
                return Err("this kernel mixes up the order of what arrives".to_owned());
            }
            from += len;
        }
        self.cancel()
    }

    /// Ends the request that is tried; both it and the cancelling complete.
    fn cancel(&mut self) -> Verdict {
        self.push(&opcode::AsyncCancel::new(TRIED).build().user_data(HELPER))
            .map_err(|e| because(&e))?;
        let outcomes = self.complete(2).map_err(|e| because(&e))?;
        let of = |user_data| outcomes.iter().find(|outcome| outcome.user_data == user_data);
        of(HELPER).ok_or("cancelling it never completes")?.checked()?;
        match of(TRIED) {
            Some(outcome) if !cqueue::more(outcome.flags) => Ok(()),
            _ => Err("it cannot be cancelled".to_owned()),
        }
    }

    fn accepts_again_and_again(&mut self) -> Verdict {
        let (listener, address) = listener().map_err(|e| because(&e))?;
        let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build().user_data(TRIED);
        self.push(&accept).map_err(|e| because(&e))?;
        for _ in 0..2 {
            let _peer = connect(&address).map_err(|e| because(&e))?;
            let outcomes = self.complete(1).map_err(|e| because(&e))?;
            let Some(outcome) = outcomes.first() else { return Err("nothing comes".to_owned()) };
            let fd = outcome.checked()?.result;
            // SAFETY: the kernel just gave us this descriptor and nobody else has it.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
            if !cqueue::more(outcome.flags) {
                return Err("it does not go on accepting".to_owned());
            }
        }
        self.cancel()
    }

    /// Whether sockets can live in the ring's table, and end there when they are closed: before 6.13
    /// they live on while an older request on another one does.
    fn accepts_directly(&mut self) -> Verdict {
        self.ring.submitter().register_files_sparse(4).map_err(|e| because(&e))?;
        let (listener, address) = listener().map_err(|e| because(&e))?;
        let mut accept = || {
            let peer = connect(&address).map_err(|e| because(&e))?;
            let fd = Fd(listener.as_raw_fd());
            let accept = opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut())
                .file_index(Some(DestinationSlot::auto_target()))
                .build();
            let slot = self.one(&accept.user_data(HELPER))?.checked()?.result;
            Ok::<_, String>((peer, Fixed(slot.cast_unsigned())))
        };
        let (_older, first) = accept()?;
        let (younger, second) = accept()?;
        let events = u32::from(libc::POLLIN.unsigned_abs());
        self.push(&opcode::PollAdd::new(first, events).build().user_data(TRIED))
            .map_err(|e| because(&e))?;
        self.one(&opcode::Close::new(second).build().user_data(HELPER))?.checked()?;
        younger.set_read_timeout(Some(CLOSE_PATIENCE)).map_err(|e| because(&e))?;
        let ended = matches!((&younger).read(&mut [0]), Ok(0));
        self.cancel()?;
        self.looks()?;
        if ended { Ok(()) } else { Err("this kernel keeps closed sockets open".to_owned()) }
    }

    /// Whether a message to a ring arrives, if only to this one.
    fn messages(&mut self) -> Verdict {
        let fd = Fd(self.ring.as_raw_fd());
        let message = opcode::MsgRingData::new(fd, 0, TRIED, None).build();
        self.push(&message.user_data(HELPER)).map_err(|e| because(&e))?;
        for outcome in self.complete(2).map_err(|e| because(&e))? {
            outcome.checked()?;
            if outcome.user_data == TRIED {
                return Ok(());
            }
        }
        Err("it never arrives".to_owned())
    }

    /// Whether sends without a copy are known, and notifications that tell what was copied. A socket
    /// of no network has them refused, but otherwise than what is unknown.
    fn sends_without_copy(&mut self) -> Verdict {
        let (ours, _theirs) = UnixStream::pair().map_err(|e| because(&e))?;
        let send = opcode::SendMsgZc::new(Fd(ours.as_raw_fd()), &raw const NOTHING.0)
            .ioprio(REPORT_USAGE)
            .build();
        self.push(&send.user_data(TRIED)).map_err(|e| because(&e))?;
        let outcomes = self.complete(1).map_err(|e| because(&e))?;
        let outcome = *outcomes.first().ok_or("it never completes")?;
        if cqueue::more(outcome.flags) && outcomes.len() == 1 {
            // The word on its memory, which comes even so.
            self.complete(1).map_err(|e| because(&e))?;
        }
        match -outcome.result {
            libc::EOPNOTSUPP => Ok(()),
            _ => outcome.checked().map(drop),
        }
    }
}

/// A message header of no bytes.
struct Header(libc::msghdr);

// SAFETY: it is constant, and its pointers are null.
unsafe impl Sync for Header {}

static NOTHING: Header = Header(super::empty_header());

/// A listening socket of no network, at an address that the kernel makes up.
fn listener() -> io::Result<(Socket, SockAddr)> {
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    listener.bind(&SockAddr::unix("")?)?;
    listener.listen(4)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn connect(address: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.connect(address)?;
    Ok(socket)
}
