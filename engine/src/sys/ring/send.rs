//! Owned sends: what the kernel waits with, as long as it takes, and large ones without a copy.

use std::io;

use io_uring::opcode;
use io_uring::types::Fixed;

use super::{InFlight, Ring, empty_header, to_key};
use crate::sys::batch::{Fill, Gather};
use crate::sys::id::ConnectionId;
use crate::sys::operation::{Completion, Operation, Socket, UserData, on};
use crate::sys::socket::set_user_timeout;

/// The most vectors that the kernel takes in one send.
const VECTORS_MAX: usize = 1024;
/// `IORING_SEND_ZC_REPORT_USAGE`: a notification tells whether the bytes were copied after all.
pub(super) const REPORT_USAGE: u16 = 1 << 3;
/// `IORING_NOTIF_USAGE_ZC_COPIED`: they were.
const COPIED: u32 = 1 << 31;
/// When so many notifications in a row say "copied", zero-copy sends only cost.
const COPIED_MAX: u32 = 64;
/// How long the kernel goes on, in milliseconds, when a connection is closed of which it still reads our
/// memory and whose peer takes nothing.
static LINGER_MILLIS: libc::c_int = 5_000;

/// A message header with its vectors, at a fixed address.
#[derive(Debug)]
pub(super) struct Vectors {
    vectors: Vec<libc::iovec>,
    header: libc::msghdr,
}

/// An owned send: it lives until the kernel has taken all of it and needs none of its memory.
#[derive(Debug)]
pub(super) struct OwnedSend<S> {
    id: ConnectionId,
    transmit: Box<S>,
    gather: Box<Vectors>,
    /// Bytes of `transmit` that the kernel has taken.
    sent: usize,
    /// Whether the kernel may wait for room; else it says at once how much there was.
    may_wait: bool,
    /// Whether the last submission was a zero-copy one.
    zero_copy: bool,
    /// Bytes that count as pinned while it lives.
    pinned: usize,
    /// Notifications that are still to come: until then the kernel reads the memory.
    owed: u32,
    /// Whether the driver has been told how it ended.
    over: bool,
}

/// Which sends are not copied.
#[derive(Debug)]
pub(super) struct ZeroCopy {
    /// Sends of at least so many bytes are not copied; `None` means that all are.
    from: Option<usize>,
    /// Notifications in a row that said "copied".
    copied: u32,
    /// Bytes that the kernel may still read.
    pinned: usize,
}

impl ZeroCopy {
    pub(super) const fn new(from: Option<usize>) -> Self {
        Self { from, copied: 0, pinned: 0 }
    }

    /// Whether so many bytes of this transmission are not copied.
    fn takes(&self, bytes: usize, transmit: &impl Gather) -> bool {
        self.from.is_some_and(|from| bytes >= from)
            && self.pinned.saturating_add(bytes) <= transmit.pinned_max()
    }
}

impl<S: Gather, R: Fill> Ring<S, R> {
    /// Whether any send is a zero-copy one.
    #[inline]
    pub(crate) const fn sends_without_copy(&self) -> bool {
        self.zero_copy.from.is_some()
    }

    /// Whether a send of so many bytes would be a zero-copy one.
    #[inline]
    pub(crate) fn is_zero_copy(&self, bytes: usize) -> bool {
        self.zero_copy.from.is_some_and(|from| bytes >= from)
    }

    /// Sends owned bytes. What there is no room for is waited with as long as it takes; `blocked`
    /// says that there was none already.
    pub(crate) fn send(
        &mut self,
        socket: Socket,
        id: ConnectionId,
        transmit: S,
        blocked: bool,
    ) -> io::Result<()> {
        let gather = Box::new(Vectors { vectors: Vec::new(), header: empty_header() });
        let send = OwnedSend {
            id,
            transmit: Box::new(transmit),
            gather,
            sent: 0,
            may_wait: blocked,
            zero_copy: false,
            pinned: 0,
            owed: 0,
            over: false,
        };
        let key = self.in_flight.insert(InFlight::Send(send));
        self.counters.slow_sends += 1;
        self.submit_send(socket, key)
    }

    fn submit_send(&mut self, socket: Socket, key: usize) -> io::Result<()> {
        let Some(InFlight::Send(send)) = self.in_flight.get_mut(key) else { return Ok(()) };
        let left = send.transmit.bytes() - send.sent;
        // What has to wait goes with copies: each part of it would be a send with a notification of its
        // own, and a peer that reads slowly makes many parts.
        send.zero_copy = !send.may_wait && self.zero_copy.takes(left, &*send.transmit);
        let header = send.gather_rest();
        let wait = if send.may_wait { 0 } else { libc::MSG_DONTWAIT };
        // Without MSG_WAITALL: each time that the peer makes room is to be told.
        let flags = (libc::MSG_NOSIGNAL | wait).unsigned_abs();
        let entry = if send.zero_copy {
            send.pinned += left;
            self.zero_copy.pinned += left;
            self.counters.zero_copy_sends += 1;
            let report = REPORT_USAGE;
            on(
                socket,
                |fd| opcode::SendMsgZc::new(fd, header).ioprio(report).flags(flags).build(),
                |fd| opcode::SendMsgZc::new(fd, header).ioprio(report).flags(flags).build(),
            )
        } else {
            on(
                socket,
                |fd| opcode::SendMsg::new(fd, header).flags(flags).build(),
                |fd| opcode::SendMsg::new(fd, header).flags(flags).build(),
            )
        };
        self.push(entry, UserData::key(Operation::SlowSend, to_key(key)))
    }

    /// The connection whose slow send has come further. `None` when the completion was a notification,
    /// or the send begins anew.
    pub(crate) fn slow_sent(
        &mut self,
        completion: Completion,
        socket: impl Fn(ConnectionId) -> Option<Socket>,
    ) -> Option<(ConnectionId, SlowSent)> {
        if completion.is_notification() {
            self.note_notification(completion);
            return None;
        }
        let key = completion.user_data.low() as usize;
        let Some(InFlight::Send(send)) = self.in_flight.get_mut(key) else { return None };
        let id = send.id;
        send.owed += u32::from(completion.more());
        let outcome = match send.completed(completion.result) {
            Progress::Over(outcome) => outcome,
            progress => {
                if matches!(progress, Progress::NoZeroCopy) {
                    self.end_zero_copy();
                }
                match socket(id).map(|socket| self.submit_send(socket, key)) {
                    None => Err(libc::ENOTCONN),
                    Some(Ok(())) => {
                        let took = usize::try_from(completion.result).ok();
                        return took.map(|bytes| (id, SlowSent::Took(bytes)));
                    }
                    Some(Err(e)) => Err(e.raw_os_error().unwrap_or(libc::EIO)),
                }
            }
        };
        if let Some(InFlight::Send(send)) = self.in_flight.get_mut(key) {
            send.over = true;
        }
        self.forget_if_done(key);
        Some((id, SlowSent::Over(outcome)))
    }

    /// Gives the memory of a send back, if that is all that is left of it.
    fn forget_if_done(&mut self, key: usize) {
        if let Some(InFlight::Send(send)) = self.in_flight.get(key)
            && send.over
            && send.owed == 0
        {
            self.zero_copy.pinned -= send.pinned;
            self.in_flight.remove(key);
        }
    }

    /// Has the kernel give up on a socket that is to be closed when its peer takes nothing for long. By
    /// default it goes on for minutes, and reads our memory all the time.
    pub(crate) fn linger_shortly(&mut self, socket: Socket) -> io::Result<()> {
        let (level, name) =
            (libc::IPPROTO_TCP.unsigned_abs(), libc::TCP_USER_TIMEOUT.unsigned_abs());
        match socket {
            // Where there are sockets without a descriptor, they take commands (`Ring::look_at`).
            Socket::Direct(index) => {
                let millis = (&raw const LINGER_MILLIS).cast();
                let len = u32::try_from(size_of_val(&LINGER_MILLIS)).unwrap_or(4);
                let entry = opcode::SetSockOpt::new(Fixed(index), level, name, millis, len).build();
                let entry = self.unreported(entry);
                self.push(entry, UserData::key(Operation::Cancel, 0))
            }
            Socket::Descriptor(fd) => {
                self.counters.enters += 1;
                // One that is no TCP socket, or broken, does not linger.
                let _ = set_user_timeout(fd, &LINGER_MILLIS);
                Ok(())
            }
        }
    }

    /// The kernel needs the memory of a zero-copy send no more.
    pub(super) fn note_notification(&mut self, completion: Completion) {
        if completion.user_data.operation() != Operation::SlowSend || !completion.is_notification()
        {
            return;
        }
        let key = completion.user_data.low() as usize;
        let Some(InFlight::Send(send)) = self.in_flight.get_mut(key) else { return };
        send.owed = send.owed.saturating_sub(1);
        self.forget_if_done(key);
        if completion.result.cast_unsigned() & COPIED == 0 {
            self.zero_copy.copied = 0;
            return;
        }
        self.counters.zero_copy_copied += 1;
        self.zero_copy.copied += 1;
        if self.zero_copy.copied >= COPIED_MAX {
            self.end_zero_copy();
        }
    }

    fn end_zero_copy(&mut self) {
        if self.zero_copy.from.take().is_some() {
            self.counters.zero_copy_off = 1;
        }
    }

    /// Whether the kernel still reads the memory of sends that are over.
    pub(super) fn owes_notifications(&self) -> bool {
        self.in_flight.iter().any(|(_, one)| matches!(one, InFlight::Send(send) if send.owed > 0))
    }
}

/// How far a slow send has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlowSent {
    /// The kernel has taken so many more bytes, and it goes on.
    Took(usize),
    /// The send is over: whether the kernel waited for room, or with which error.
    Over(Result<bool, i32>),
}

/// How far a completion brought a send.
enum Progress {
    Over(Result<bool, i32>),
    /// There is more to send.
    Rest,
    /// The kernel or the socket does not send without a copy.
    NoZeroCopy,
}

impl<S: Gather> OwnedSend<S> {
    pub(super) const fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whether the kernel only reads its memory still.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// The header of what is left; it stays where it is until the next call. Nothing is dropped of
    /// what was sent: the kernel may still read it.
    fn gather_rest(&mut self) -> *const libc::msghdr {
        let mut skip = self.sent;
        let rest = self.transmit.pieces().filter_map(|piece| {
            let from = skip.min(piece.len());
            skip -= from;
            piece.get(from..).filter(|rest| !rest.is_empty())
        });
        let gather = &mut *self.gather;
        gather.vectors.clear();
        gather.vectors.extend(rest.take(VECTORS_MAX).map(|piece| libc::iovec {
            iov_base: piece.as_ptr().cast_mut().cast(),
            iov_len: piece.len(),
        }));
        gather.header.msg_iov = gather.vectors.as_mut_ptr();
        gather.header.msg_iovlen = gather.vectors.len();
        &raw const gather.header
    }

    fn completed(&mut self, result: i32) -> Progress {
        let waited = self.may_wait;
        match usize::try_from(result) {
            Ok(0) => Progress::Over(Err(libc::EPIPE)),
            Ok(n) => {
                self.sent += n;
                if self.sent >= self.transmit.bytes() {
                    return Progress::Over(Ok(waited));
                }
                self.may_wait = true;
                Progress::Rest
            }
            Err(_) => match -result {
                libc::EAGAIN if !waited => {
                    self.may_wait = true;
                    Progress::Rest
                }
                libc::EINVAL | libc::EOPNOTSUPP | libc::ENOMEM | libc::ENOBUFS
                    if self.zero_copy =>
                {
                    Progress::NoZeroCopy
                }
                error => Progress::Over(Err(error)),
            },
        }
    }
}
