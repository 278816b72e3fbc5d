//! Bare machines on the engine's own ring driver.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use ringbolt::bench::{
    Action, Chunk, Lease, Machine, Mailbox, Next, Output, Piece, ReadInterest, SendBatch, Transmit,
    serve_machine,
};
use ringbolt::config::RingConfig;
use ringbolt::conn::Reassembly;
use ringbolt::metrics::RingCounters;
use ringbolt::{ConnectionId, bench};

use crate::place::{Place, Work, announce};
use crate::upgrade::{CANNED, Kind, answer, kind};

/// How the ring is used.
#[derive(clap::Args)]
pub(crate) struct Ring {
    /// How to receive
    #[arg(long, value_enum, default_value_t = Receive::Small)]
    receive: Receive,
    /// Bytes of one message with its header, for `--receive direct`
    #[arg(long, value_name = "BYTES", default_value_t = (1 << 20) + 10)]
    message: u64,
}

/// How an open connection receives.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Receive {
    /// Into shared buffers of 4 KiB, again and again
    Small,
    /// Into shared buffers of 64 KiB, again and again
    Large,
    /// Into a shared buffer of 64 KiB, asked for each time
    LargeOnce,
    /// Into memory of its own, a whole message at once
    Direct,
}

impl Receive {
    const fn want(self) -> ReadInterest {
        match self {
            Self::Small => ReadInterest::Small,
            Self::Large => ReadInterest::Large,
            Self::LargeOnce => ReadInterest::LargeOnce,
            Self::Direct => ReadInterest::Direct,
        }
    }
}

pub(crate) fn serve(
    place: &Place,
    ring: &Ring,
    work: Work,
    slice: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    place.pin()?;
    let mut config = RingConfig::default();
    config.spin = place.spin();
    let machine = Bare {
        work,
        want: ring.receive.want(),
        message: ring.message.max(1),
        slice: slice.max(1),
        seats: Vec::new(),
        free: Vec::new(),
        members: Vec::new(),
        pending: Publication::default(),
        spreading: None,
        requested: Vec::new(),
        due: VecDeque::new(),
    };
    serve_machine(machine, place.listen, &config, announce)?;
    Ok(())
}

/// One connection.
struct Seat {
    generation: u32,
    upgraded: bool,
    /// The kernel would not take the last send: what follows waits.
    blocked: bool,
    closing: bool,
    output: Output,
    /// The connection's place among the members.
    member: usize,
    /// Bytes of the message that is being received directly still to come; 0 between messages.
    remaining: u64,
    memory: Option<Box<Reassembly>>,
    waiting: Transmit,
}

/// Bytes on their way to everybody else.
#[derive(Default)]
struct Publication {
    bytes: Vec<u8>,
    /// Who sent which part, in order.
    parts: Vec<(ConnectionId, usize, usize)>,
}

/// A publication being served.
struct Spreading {
    bytes: Bytes,
    parts: Vec<(ConnectionId, usize, usize)>,
    /// The next member.
    next: usize,
}

struct Bare {
    work: Work,
    want: ReadInterest,
    message: u64,
    slice: usize,
    seats: Vec<Seat>,
    free: Vec<u32>,
    /// Who gets what is spread.
    members: Vec<ConnectionId>,
    pending: Publication,
    spreading: Option<Spreading>,
    requested: Vec<Action>,
    due: VecDeque<Action>,
}

impl Bare {
    #[inline]
    fn seat(&mut self, id: ConnectionId) -> &mut Seat {
        &mut self.seats[id.slot() as usize]
    }

    fn want_of(&self, id: ConnectionId) -> ReadInterest {
        let seat = &self.seats[id.slot() as usize];
        if seat.blocked && self.work != Work::Fanout {
            ReadInterest::Nothing
        } else if seat.upgraded {
            self.want
        } else {
            ReadInterest::Small
        }
    }

    fn close(&mut self, id: ConnectionId) {
        let seat = self.seat(id);
        if !std::mem::replace(&mut seat.closing, true) {
            self.requested.push(Action::Close(id));
        }
    }

    #[cold]
    fn upgrade(&mut self, id: ConnectionId, input: &[u8], sends: &mut SendBatch) -> ReadInterest {
        self.seat(id).upgraded = true;
        if self.work == Work::Accept {
            sends.send_copy(id, &mut self.seat(id).output, CANNED);
            return ReadInterest::Small;
        }
        let Some(bytes) = answer(input) else {
            self.close(id);
            return ReadInterest::Nothing;
        };
        sends.send_copy(id, &mut self.seat(id).output, &bytes);
        self.seat(id).member = self.members.len();
        self.members.push(id);
        self.want
    }

    /// Adds bytes to what the others get.
    fn publish(&mut self, id: ConnectionId, input: &[u8], lease: &Lease, sends: &mut SendBatch) {
        match kind(input) {
            Kind::Data => {}
            Kind::Close => return self.echo(id, input, lease, sends),
            Kind::Beat => return,
        }
        let publication = &mut self.pending;
        let start = publication.bytes.len();
        publication.bytes.extend_from_slice(input);
        let end = publication.bytes.len();
        match publication.parts.last_mut() {
            Some((by, _, last)) if *by == id => *last = end,
            _ => publication.parts.push((id, start, end)),
        }
    }

    #[inline]
    fn echo(&mut self, id: ConnectionId, input: &[u8], lease: &Lease, sends: &mut SendBatch) {
        let seat = self.seat(id);
        if seat.blocked {
            let len = input.len();
            let bytes = Chunk::Shared(Bytes::copy_from_slice(input));
            seat.waiting.push(Piece::new(bytes, 0, len));
        } else {
            sends.send_lent(id, &mut seat.output, lease, 0..input.len());
        }
    }

    /// Counts bytes of the message that is being received.
    fn count(&mut self, id: ConnectionId, bytes: u64) {
        let message = self.message;
        let seat = self.seat(id);
        // Several messages may have come at once; `remaining` is what the last one lacks.
        let begun = (message - seat.remaining) % message;
        seat.remaining = (message - (begun + bytes) % message) % message;
    }

    /// Serves the next slice of what is spread.
    fn spread(&mut self, sends: &mut SendBatch) {
        if self.spreading.is_none() && !self.pending.bytes.is_empty() {
            let Publication { bytes, parts } = std::mem::take(&mut self.pending);
            self.spreading = Some(Spreading { bytes: bytes.into(), parts, next: 0 });
        }
        let Some(spreading) = &mut self.spreading else { return };
        let whole = spreading.bytes.len();
        let chunk = sends.add_chunk(Chunk::Shared(spreading.bytes.clone()));
        let end = (spreading.next + self.slice).min(self.members.len());
        for &id in self.members.get(spreading.next..end).unwrap_or_default() {
            let seat = &mut self.seats[id.slot() as usize];
            let mut give = |from: usize, to: usize| {
                if seat.blocked {
                    let bytes = Chunk::Shared(spreading.bytes.clone());
                    seat.waiting.push(Piece::new(bytes, from, to));
                } else {
                    sends.send_chunk(id, &mut seat.output, chunk, from..to);
                }
            };
            if spreading.parts.iter().all(|part| part.0 != id) {
                give(0, whole);
            } else {
                let others = spreading.parts.iter().filter(|part| part.0 != id);
                others.for_each(|&(_, from, to)| give(from, to));
            }
        }
        spreading.next = end;
        if end == self.members.len() {
            self.spreading = None;
        }
    }
}

impl Machine for Bare {
    fn accepted(&mut self, _: usize, _: &mut SendBatch, _: Instant) -> Option<ConnectionId> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.seats.push(Seat {
                generation: 0,
                upgraded: false,
                blocked: false,
                closing: false,
                output: Output::default(),
                member: usize::MAX,
                remaining: 0,
                memory: None,
                waiting: Transmit::default(),
            });
            u32::try_from(self.seats.len() - 1).expect("fewer connections than 2^32")
        });
        Some(ConnectionId::new(slot, self.seats[slot as usize].generation))
    }

    fn connected(&mut self, _: ConnectionId, _: &mut SendBatch, _: Instant) {}

    #[inline]
    fn received(
        &mut self,
        id: ConnectionId,
        input: &mut [u8],
        lease: &Lease,
        sends: &mut SendBatch,
        _: Instant,
    ) -> ReadInterest {
        let seat = self.seat(id);
        if !seat.upgraded {
            return self.upgrade(id, input, sends);
        }
        match self.work {
            Work::Echo if self.want == ReadInterest::Direct => {
                // The receive that was armed for the handshake still brought something.
                self.count(id, input.len() as u64);
                self.echo(id, input, lease, sends);
            }
            Work::Echo => self.echo(id, input, lease, sends),
            Work::Fanout => self.publish(id, input, lease, sends),
            Work::Accept => {
                self.echo(id, input, lease, sends);
                self.close(id);
            }
        }
        self.want_of(id)
    }

    fn take_direct(&mut self, id: ConnectionId) -> Option<(Box<Reassembly>, u64)> {
        let message = self.message;
        let seat = self.seat(id);
        let memory = seat.memory.take().unwrap_or_default();
        Some((memory, if seat.remaining == 0 { message } else { seat.remaining }))
    }

    fn received_direct(
        &mut self,
        id: ConnectionId,
        mut memory: Box<Reassembly>,
        n: usize,
        sends: &mut SendBatch,
        _: Instant,
    ) -> ReadInterest {
        memory.advance(n);
        self.count(id, n as u64);
        let seat = self.seat(id);
        if seat.remaining > 0 {
            seat.memory = Some(memory);
            return ReadInterest::Direct;
        }
        let range = memory.start()..memory.framed().len();
        let chunk = sends.add_chunk(Chunk::Reassembly(memory));
        sends.send_chunk(id, &mut seat.output, chunk, range);
        seat.memory = Some(sends.take_assembly());
        ReadInterest::Direct
    }

    fn want(&mut self, id: ConnectionId) -> ReadInterest {
        self.want_of(id)
    }

    fn hung_up(&mut self, id: ConnectionId, _: Option<i32>, _: &mut SendBatch, _: Instant) {
        self.close(id);
    }

    fn blocked(&mut self, id: ConnectionId, _: usize, _: usize) {
        self.seat(id).blocked = true;
    }

    fn sent(&mut self, id: ConnectionId, _: &mut SendBatch, _: Instant) -> Option<Transmit> {
        let seat = self.seat(id);
        let next = std::mem::take(&mut seat.waiting);
        seat.blocked = next.bytes() > 0;
        seat.blocked.then_some(next)
    }

    fn settled(&mut self) {
        self.due.extend(self.requested.drain(..));
    }

    #[inline]
    fn run(&mut self, sends: &mut SendBatch, _: Instant) -> Next {
        if self.work == Work::Fanout {
            self.spread(sends);
        }
        let more = self.spreading.is_some() || !self.pending.bytes.is_empty();
        Next { deadline: None, busy: more || !self.requested.is_empty() }
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.due.pop_front()
    }

    fn released(&mut self, id: ConnectionId) {
        let seat = self.seat(id);
        seat.generation = (seat.generation + 1) % bench::GENERATION_MAX;
        seat.upgraded = false;
        seat.blocked = false;
        seat.closing = false;
        seat.remaining = 0;
        seat.memory = None;
        seat.waiting = Transmit::default();
        let member = std::mem::replace(&mut seat.member, usize::MAX);
        if member < self.members.len() {
            self.members.swap_remove(member);
            if let Some(&moved) = self.members.get(member) {
                self.seat(moved).member = member;
            }
        }
        self.free.push(id.slot());
    }

    fn mailbox(&self) -> Option<&Mailbox> {
        None
    }

    fn note_ring(&mut self, _: &RingCounters) {}
}
