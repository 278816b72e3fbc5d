//! What goes out: owned memory, because a completion runtime must own what the kernel reads.

use std::ops::Range;

use bytes::Bytes;
use tokio_uring::BufResult;
use tokio_uring::buf::BoundedBuf as _;
use tokio_uring::net::TcpStream;

use super::buffers::{Buffer, BufferClass, Buffers};
use crate::conn::Reassembly;
use crate::memory::Share;
use crate::shard::send::{Piece, Transmit};
use crate::shard::send_batch::{Chunk, Entry, Segment, SendBatch, Source};
use crate::sys::owned::Leaving;
use crate::sys::ring::LARGE_BYTES;

/// A piece of at least so many bytes is sent from where it lies, not copied with its neighbours.
const LARGE_PIECE: usize = 16 << 10;

/// Bytes that are adjacent in memory.
pub(super) enum Part {
    /// A range of a buffer: the one that a message was read into, or one it was copied to.
    Buffer(Buffer, Range<usize>),
    /// A share in a publication.
    Shared(Bytes),
    /// A range of one.
    Counted(Share, Range<usize>),
    /// A range of a message that spanned reads.
    Message(Leaving<Reassembly>, Range<usize>),
}

impl Part {
    /// A range of a chunk.
    fn of(chunk: Chunk, range: Range<usize>) -> Option<Self> {
        match chunk {
            Chunk::Shared(bytes) => Some(Self::Shared(Bytes::slice(&bytes, range))),
            Chunk::Counted(share) => Some(Self::Counted(share, range)),
            Chunk::Reassembly(message) => {
                Some(Self::Message(Leaving::new(message, Reassembly::framed), range))
            }
            Chunk::Taken => None,
        }
    }

    /// Writes once. There must be something left.
    pub(super) async fn write(self, to: &TcpStream) -> BufResult<usize, Self> {
        match self {
            Self::Buffer(buffer, range) => {
                let (outcome, buffer) = buffer.write(to, range.clone()).await;
                (outcome, Self::Buffer(buffer, range))
            }
            Self::Shared(bytes) => {
                let (outcome, bytes) = to.write(bytes).submit().await;
                (outcome, Self::Shared(bytes))
            }
            Self::Counted(share, range) => {
                let whole = Leaving::new(Box::new(share), |share| share);
                let (outcome, slice) = to.write(whole.slice(range.clone())).submit().await;
                (outcome, Self::Counted(*slice.into_inner().into_memory(), range))
            }
            Self::Message(message, range) => {
                let (outcome, slice) = to.write(message.slice(range.clone())).submit().await;
                (outcome, Self::Message(slice.into_inner(), range))
            }
        }
    }

    /// Bytes of memory that would be free without it; of what is shared, its part.
    fn footprint(&self) -> usize {
        match self {
            Self::Buffer(buffer, _) => buffer.bytes().len(),
            Self::Shared(bytes) => bytes.len(),
            Self::Counted(share, _) => share.portion(),
            Self::Message(message, _) => message.get().capacity(),
        }
    }

    /// The kernel has taken `n` bytes; whether that was the last of them.
    pub(super) fn advance(&mut self, n: usize) -> bool {
        match self {
            Self::Buffer(_, range) | Self::Counted(_, range) | Self::Message(_, range) => {
                range.start = (range.start + n).min(range.end);
                range.start >= range.end
            }
            Self::Shared(bytes) => {
                drop(bytes.split_to(n.min(bytes.len())));
                bytes.is_empty()
            }
        }
    }
}

/// What one connection sends before anything newer.
pub(super) enum Job {
    One(Part),
    /// More than one buffer holds.
    Rest(Transmit),
}

impl Job {
    /// Bytes of memory that would be free without it; of what is shared, its part.
    pub(super) fn footprint(&self) -> usize {
        match self {
            Self::One(part) => part.footprint(),
            Self::Rest(rest) => rest.footprint(),
        }
    }
}

/// Takes what one connection has in the turn. `held` are the buffers that the turn's leases name.
pub(super) fn take_job(
    sends: &mut SendBatch,
    entry: &Entry,
    held: &mut [Option<Buffer>],
    buffers: &mut Buffers,
) -> Option<Job> {
    let first = sends.segments(entry).next();
    if entry.segments == 1
        && let Some(segment) = first
        && let Some(part) = take_whole(sends, segment, held)
    {
        return Some(Job::One(part));
    }
    let bytes = entry.bytes as usize;
    let Some(class) = BufferClass::holding(bytes) else {
        let rest = sends.take_rest(entry, 0, |lease, start, end, out| {
            let held = held.get(lease.0 as usize).and_then(Option::as_ref);
            let bytes = held.and_then(|buffer| buffer.bytes().get(start..end));
            out.extend_from_slice(bytes.unwrap_or_default());
        });
        return Some(Job::Rest(rest));
    };
    let mut buffer = buffers.take(class);
    let mut at = 0;
    for segment in sends.segments(entry) {
        let bytes = resolve(sends, segment, held);
        if let Some(place) = buffer.bytes_mut().get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
            at += bytes.len();
        }
    }
    (at > 0).then(|| Job::One(Part::Buffer(buffer, 0..at)))
}

/// Takes the memory of a segment that is all a connection sends, if that needs no copy: a
/// receive buffer has one connection's bytes in it, and nobody else sends from it.
fn take_whole(
    sends: &mut SendBatch,
    segment: Segment,
    held: &mut [Option<Buffer>],
) -> Option<Part> {
    let start = segment.start as usize;
    let range = start..start + segment.len as usize;
    match segment.source {
        Source::Lent(lease) => {
            let buffer = held.get_mut(lease.0 as usize)?.take()?;
            Some(Part::Buffer(buffer, range))
        }
        Source::Chunk(chunk) => Part::of(sends.take_chunk(chunk), range),
        Source::Arena(_) => None,
    }
}

/// The bytes of a segment.
fn resolve<'b>(sends: &'b SendBatch, segment: Segment, held: &'b [Option<Buffer>]) -> &'b [u8] {
    let Source::Lent(lease) = segment.source else {
        return sends.resolve(segment).unwrap_or_default();
    };
    let start = segment.start as usize;
    let buffer = held.get(lease.0 as usize).and_then(Option::as_ref);
    buffer.and_then(|b| b.bytes().get(start..start + segment.len as usize)).unwrap_or_default()
}

/// Takes what can be sent next of a transmission, `None` at its end.
pub(super) fn next_part(rest: &mut Transmit, buffers: &mut Buffers) -> Option<Part> {
    if rest.bytes() == 0 {
        return None;
    }
    if rest.pieces.front().is_some_and(|piece| piece.end - piece.start >= LARGE_PIECE) {
        let Piece { chunk, start, end } = rest.pieces.pop_front()?;
        rest.bytes -= end - start;
        return Part::of(chunk, start..end);
    }
    let bytes = rest.bytes().min(LARGE_BYTES);
    let mut buffer = buffers.take(BufferClass::holding(bytes)?);
    let room = buffer.bytes_mut();
    let mut at = 0;
    for piece in rest.pieces() {
        let len = piece.len().min(bytes - at);
        if let Some(place) = room.get_mut(at..at + len) {
            place.copy_from_slice(&piece[..len]);
            at += len;
        }
    }
    rest.advance(at);
    (at > 0).then(|| Part::Buffer(buffer, 0..at))
}
