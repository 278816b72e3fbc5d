//! Inline sends: a batch becomes submissions.

use std::io;

use io_uring::{opcode, squeue};

use super::{Ring, empty_header, to_key};
use crate::sys::batch::{Fill, Gather, InlineSends, Segment};
use crate::sys::id::ConnectionId;
use crate::sys::operation::{Operation, Socket, UserData, on};

impl<S: Gather, R: Fill> Ring<S, R> {
    /// The bytes of a segment, wherever they lie.
    #[inline]
    fn resolve(&self, segment: Segment<'_>) -> Option<(*const u8, usize)> {
        match segment {
            Segment::Bytes(bytes) => Some((bytes.as_ptr(), bytes.len())),
            Segment::Lent { lease, start, len } => {
                let base = self.memory.address(lease, start + len)?;
                Some((base.as_ptr().wrapping_add(start), len))
            }
        }
    }

    /// Queues one inline send per connection of the batch.
    pub(super) fn push_batch(
        &mut self,
        batch: &impl InlineSends,
        socket: impl Fn(ConnectionId) -> Option<Socket>,
    ) -> io::Result<()> {
        if batch.len() == 0 {
            return Ok(());
        }
        // Reserved whole: what the kernel is shown must not move while this batch is sent.
        let (mut headers, mut vectors) = (0, 0);
        for (_, segments) in (0..batch.len()).map(|index| batch.part(index)) {
            if segments > 1 {
                headers += 1;
                vectors += segments;
            }
        }
        self.headers.clear();
        self.headers.reserve(headers);
        self.vectors.clear();
        self.vectors.reserve(vectors);
        for index in 0..batch.len() {
            let (id, segments) = batch.part(index);
            let Some(socket) = socket(id) else { continue };
            // A batch that tells more of itself the second time has no room for that.
            if segments == 0 || segments > 1 && self.headers.len() == self.headers.capacity() {
                continue;
            }
            self.counters.inline_sends += 1;
            let send = self.inline_send(batch, index, segments, socket);
            let send = self.unreported(send);
            self.push(send, UserData::key(Operation::InlineSend, to_key(index)))?;
        }
        Ok(())
    }

    #[inline]
    fn inline_send(
        &mut self,
        batch: &impl InlineSends,
        index: usize,
        count: usize,
        socket: Socket,
    ) -> squeue::Entry {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | self.wait_all;
        let mut segments = batch.segments(index);
        if count == 1 {
            let bytes = segments.next().and_then(|segment| self.resolve(segment));
            let (start, len) = bytes.unwrap_or((std::ptr::NonNull::dangling().as_ptr(), 0));
            let len = u32::try_from(len).unwrap_or(u32::MAX);
            return on(
                socket,
                |fd| opcode::Send::new(fd, start, len).flags(flags).build(),
                |fd| opcode::Send::new(fd, start, len).flags(flags).build(),
            );
        }
        let first = self.vectors.len();
        // Not more than were reserved, whatever the batch says of itself: they must not move.
        let room = self.vectors.capacity() - first;
        for segment in segments.take(room) {
            if let Some((start, len)) = self.resolve(segment) {
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
