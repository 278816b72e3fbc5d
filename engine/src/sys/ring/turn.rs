//! Inline sends: what a turn holds becomes submissions, and what blocked becomes owned.

use std::io;

use io_uring::{opcode, squeue};

use super::{Ring, empty_header, to_key};
use crate::shard::send::Transmit;
use crate::shard::table::ConnectionId;
use crate::shard::turn::{Entry, Segment, Source, Turn};
use crate::sys::operation::{Operation, Socket, UserData, on};

impl Ring {
    /// The bytes of a segment, wherever they lie.
    #[inline]
    fn resolve(&self, turn: &Turn, segment: Segment) -> Option<(*const u8, usize)> {
        let (start, len) = (segment.start as usize, segment.len as usize);
        if let Source::Lent(loan) = segment.source {
            let base = self.memory.address(loan, start + len)?;
            return Some((base.as_ptr().wrapping_add(start), len));
        }
        turn.resolve(segment).map(|bytes| (bytes.as_ptr(), bytes.len()))
    }

    /// A copy of, or a share in, what an entry has left behind its first `sent` bytes.
    pub(crate) fn take_rest(&mut self, turn: &mut Turn, entry: &Entry, sent: usize) -> Transmit {
        turn.take_rest(entry, sent, |loan, start, end, out| {
            let bytes = self.memory.lend(loan, end).and_then(|bytes| bytes.get(start..));
            out.extend_from_slice(bytes.unwrap_or_default());
        })
    }

    /// Queues one inline send per connection of the turn.
    pub(super) fn push_turn(
        &mut self,
        turn: &Turn,
        socket: impl Fn(ConnectionId) -> Option<Socket>,
    ) -> io::Result<()> {
        if turn.is_empty() {
            return Ok(());
        }
        // Reserved whole: what the kernel is shown must not move while this turn is sent.
        let gathered = turn.entries().iter().filter(|entry| entry.segments > 1);
        let (headers, vectors) = gathered
            .fold((0, 0), |(headers, all), entry| (headers + 1, all + entry.segments as usize));
        self.headers.clear();
        self.headers.reserve(headers);
        self.vectors.clear();
        self.vectors.reserve(vectors);
        for (index, entry) in turn.entries().iter().enumerate() {
            let Some(socket) = socket(entry.id) else { continue };
            if entry.segments == 0 {
                continue;
            }
            self.counters.inline_sends += 1;
            let send = self.inline_send(turn, entry, socket);
            let send = self.unreported(send);
            self.push(send, UserData::key(Operation::InlineSend, to_key(index)))?;
        }
        Ok(())
    }

    #[inline]
    fn inline_send(&mut self, turn: &Turn, entry: &Entry, socket: Socket) -> squeue::Entry {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | self.wait_all;
        let mut segments = turn.segments(entry);
        if entry.segments == 1 {
            let bytes = segments.next().and_then(|segment| self.resolve(turn, segment));
            let (start, len) = bytes.unwrap_or((std::ptr::NonNull::dangling().as_ptr(), 0));
            let len = u32::try_from(len).unwrap_or(u32::MAX);
            return on(
                socket,
                |fd| opcode::Send::new(fd, start, len).flags(flags).build(),
                |fd| opcode::Send::new(fd, start, len).flags(flags).build(),
            );
        }
        let first = self.vectors.len();
        for segment in segments {
            if let Some((start, len)) = self.resolve(turn, segment) {
                let vector = libc::iovec { iov_base: start.cast_mut().cast(), iov_len: len };
                self.vectors.push(vector);
            }
        }
        let mut header = empty_header();
        header.msg_iovlen = self.vectors.len() - first;
        header.msg_iov = self.vectors.as_mut_ptr().wrapping_add(first);
        self.headers.push(header);
        let header = self.headers.as_ptr().wrapping_add(self.headers.len() - 1);
        let flags = flags.unsigned_abs();
        on(
            socket,
            |fd| opcode::SendMsg::new(fd, header).flags(flags).build(),
            |fd| opcode::SendMsg::new(fd, header).flags(flags).build(),
        )
    }
}
