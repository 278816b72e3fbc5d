//! What a round holds goes out: one system call per connection.

use std::io::IoSlice;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use super::Epoll;
use super::socket::{Phase, Socket};
use crate::shard::machine::Machine;
use crate::shard::send_batch::{Entry, Segment, SendBatch, Source};
use crate::shard::table::ConnectionId;

/// Ranges of one system call; the kernel takes up to 1,024.
const RANGES: usize = 256;

const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

impl<M: Machine> Epoll<M> {
    /// Sends the turn and settles it: afterwards it is empty, and so is the shared buffer.
    pub(super) fn flush(&mut self) {
        self.machine.seal(&mut self.sends);
        for index in 0..self.sends.entries().len() {
            let entry = self.sends.entries()[index];
            let Some(socket) = self.sockets.get(entry.id) else { continue };
            if socket.phase != Phase::Open {
                continue;
            }
            self.counters.inline_sends += 1;
            let (sent, calls, error) = send_entry(socket, &self.sends, &entry, &self.buffer);
            self.counters.enters += calls;
            if sent < entry.bytes as usize {
                self.unsettled(&entry, sent, error);
            }
        }
        self.sends.clear();
        self.used = 0;
        self.machine.settled();
    }

    #[cold]
    fn unsettled(&mut self, entry: &Entry, sent: usize, error: Option<Errno>) {
        self.counters.blocked_sends += 1;
        if let Some(error) = error {
            return self.send_failed(entry.id, error, Instant::now());
        }
        let buffer = &self.buffer;
        let rest = self.sends.take_rest(entry, sent, |lease, start, end, out| {
            let base = lease.0 as usize;
            out.extend_from_slice(buffer.get(base + start..base + end).unwrap_or_default());
        });
        self.counters.slow_sends += 1;
        self.machine.blocked(entry.id, rest.bytes(), rest.footprint());
        self.sockets.set_sending(entry.id, Some(Box::new(rest)));
    }

    fn send_failed(&mut self, id: ConnectionId, error: Errno, now: Instant) {
        if let Some(socket) = self.sockets.find(id) {
            socket.read_closed = true;
        }
        self.sockets.set_sending(id, None);
        self.urgent = true;
        self.machine.hung_up(id, Some(error.raw_os_error()), &mut self.sends, now);
    }

    /// The kernel takes more of what blocked.
    pub(super) fn send_more(&mut self, id: ConnectionId, now: Instant) {
        while let Some(socket) = self.sockets.find(id) {
            let Some(rest) = &mut socket.sending else { return };
            self.counters.enters += 1;
            let mut ranges = [IoSlice::new(&[]); RANGES];
            let mut count = 0;
            for (place, piece) in ranges.iter_mut().zip(rest.pieces()) {
                *place = IoSlice::new(piece);
                count += 1;
            }
            let none = &mut SendAncillaryBuffer::default();
            let sent = match rustix::net::sendmsg(&socket.fd, &ranges[..count], none, FLAGS) {
                Ok(n) => n,
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => continue,
                Err(e) => return self.send_failed(id, e, now),
            };
            rest.advance(sent);
            if rest.bytes() > 0 {
                self.machine.took(id, sent);
                let want = self.machine.want(id);
                self.wants(id, want);
                continue;
            }
            self.sockets.set_sending(id, None);
            if let Some(next) = self.machine.sent(id, &mut self.sends, now) {
                self.sockets.set_sending(id, Some(Box::new(next)));
                continue;
            }
            let want = self.machine.want(id);
            return self.wants(id, want);
        }
    }
}

/// The bytes of a segment.
fn resolve<'b>(sends: &'b SendBatch, segment: Segment, buffer: &'b [u8]) -> &'b [u8] {
    let Source::Lent(lease) = segment.source else {
        return sends.resolve(segment).unwrap_or_default();
    };
    let start = lease.0 as usize + segment.start as usize;
    buffer.get(start..start + segment.len as usize).unwrap_or_default()
}

/// Sends what one connection has in the turn: how many bytes went, with how many calls, and what
/// failed other than that it would block.
fn send_entry(
    socket: &Socket,
    sends: &SendBatch,
    entry: &Entry,
    buffer: &[u8],
) -> (usize, u64, Option<Errno>) {
    let mut segments = sends.segments(entry);
    let (mut sent, mut calls) = (0, 0);
    let outcome = |result: Result<usize, Errno>| match result {
        Ok(n) => (n, None),
        Err(Errno::AGAIN | Errno::INTR) => (0, None),
        Err(e) => (0, Some(e)),
    };
    if entry.segments == 1 {
        let bytes = segments.next().map_or(&[][..], |one| resolve(sends, one, buffer));
        let (n, error) = outcome(rustix::net::send(&socket.fd, bytes, FLAGS));
        return (n, 1, error);
    }
    loop {
        let mut ranges = [IoSlice::new(&[]); RANGES];
        let (mut count, mut bytes) = (0, 0);
        for place in &mut ranges {
            let Some(segment) = segments.next() else { break };
            let range = resolve(sends, segment, buffer);
            *place = IoSlice::new(range);
            count += 1;
            bytes += range.len();
        }
        if count == 0 {
            return (sent, calls, None);
        }
        calls += 1;
        let none = &mut SendAncillaryBuffer::default();
        let result = rustix::net::sendmsg(&socket.fd, &ranges[..count], none, FLAGS);
        let (n, error) = outcome(result);
        sent += n;
        if n < bytes {
            return (sent, calls, error);
        }
    }
}
