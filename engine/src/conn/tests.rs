//! A connection half against byte strings. Every stream here is fed through [`Side`], which keeps
//! what an application would see and what would go on the wire.

mod arbitrary;
mod closing;
mod limits;
mod parts;
mod places;
mod rfc6455;
mod split;
mod utf8;
mod vectors;

use super::{
    Event, Inbound, Limits, Message, Outbound, Output, Reassembly, Role, State, Work, halves,
};
use crate::wire::{CloseCode, Dialect, Mask, ProtocolError};

/// An event, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    /// Its bytes, and whether it is of a text, the first and the last.
    Part(Vec<u8>, [bool; 3]),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Vec<u8>),
    Failed(ProtocolError),
}

impl Seen {
    fn of(event: &Event<'_>) -> Self {
        match event {
            Event::Message(Message::Text(text), _) => Self::Text((*text).to_owned()),
            Event::Message(Message::Binary(bytes), _) => Self::Binary(bytes.to_vec()),
            Event::Part(part, _) => Self::Part(
                part.payload().to_vec(),
                [part.is_text(), part.is_first(), part.is_last()],
            ),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close(frame) => Self::Close(frame.payload.to_vec()),
            Event::Failed(error) => Self::Failed(*error),
        }
    }
}

/// What goes on the wire, and the assemblies that are out on lease.
#[derive(Debug, Default)]
struct Wire {
    bytes: Vec<u8>,
    /// Keys given out; each one is its number.
    keys: u32,
    on_loan: usize,
    spare: Vec<Reassembly>,
}

impl Output for Wire {
    fn frame(&mut self, header: &[u8], payload: &[u8], mask: Option<Mask>) {
        self.bytes.extend_from_slice(header);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        if let Some(mask) = mask {
            mask.apply(&mut self.bytes[start..]);
        }
    }

    fn masking_key(&mut self) -> Mask {
        self.keys += 1;
        Mask::new(key(self.keys))
    }

    fn take_assembly(&mut self) -> Box<Reassembly> {
        self.on_loan += 1;
        Box::new(self.spare.pop().unwrap_or_default())
    }

    fn recycle(&mut self, mut assembly: Box<Reassembly>) {
        self.on_loan -= 1;
        assembly.clear();
        self.spare.push(*assembly);
    }
}

/// One side of an open connection.
#[derive(Debug)]
struct Side {
    inbound: Inbound,
    outbound: Outbound,
    limits: Limits,
    wire: Wire,
    seen: Vec<Seen>,
}

impl Side {
    fn new(role: Role, limits: Limits) -> Self {
        Self::of(Dialect::Hybi02, role, limits)
    }

    fn of(dialect: Dialect, role: Role, limits: Limits) -> Self {
        let (inbound, mut outbound) = halves(dialect, role);
        outbound.opened(dialect);
        Self { inbound, outbound, limits, wire: Wire::default(), seen: Vec::new() }
    }

    fn server() -> Self {
        Self::new(Role::Server, Limits::default())
    }

    fn client() -> Self {
        Self::new(Role::Client, Limits::default())
    }

    /// A fresh one of the same kind.
    fn like(other: &Self) -> Self {
        Self::of(other.outbound.dialect(), other.outbound.role(), other.limits)
    }

    /// Starts the closing handshake without a word.
    fn close(&mut self) {
        self.outbound.close(CloseCode::NO_STATUS, "", &mut self.wire);
    }

    /// Receives one read.
    fn feed(&mut self, bytes: &[u8]) {
        let mut input = bytes.to_vec();
        let mut events = self.inbound.receive(&self.limits, &mut input);
        while let Some(event) = events.next_event(&mut self.outbound, &mut self.wire) {
            self.seen.push(Seen::of(&event));
        }
        assert_eq!(events.unread(), 0, "the input is used up");
    }

    /// Feeds bytes in slices of so much work; says how many there were.
    fn feed_in_slices(&mut self, bytes: &[u8], steps: u32) -> usize {
        let mut input = bytes.to_vec();
        let (mut from, mut slices) = (0, 0);
        loop {
            slices += 1;
            let rest = input.get_mut(from..).expect("what is unread");
            let events = self.inbound.receive(&self.limits, rest);
            let mut events = events.within(Work::steps(steps));
            let before = self.seen.len();
            while let Some(event) = events.next_event(&mut self.outbound, &mut self.wire) {
                self.seen.push(Seen::of(&event));
            }
            let (spent, unread) = (events.is_spent(), events.unread());
            assert!(self.seen.len() - before <= steps as usize, "a step each at least");
            from = bytes.len() - unread;
            if !spent {
                assert_eq!(unread, 0, "the input is used up");
                return slices;
            }
        }
    }

    /// What a fresh server sees of `bytes` in one read, and what it answers.
    fn serve(bytes: &[u8]) -> (Vec<Seen>, Vec<u8>, State) {
        let mut side = Self::server();
        side.feed(bytes);
        (side.seen, side.wire.bytes, side.outbound.state())
    }
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

/// A frame in the shortest form, written apart from the code under test.
pub(in crate::conn) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(u8::try_from(len).unwrap()),
        len @ 126..=0xFFFF => {
            bytes.push(126);
            bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            bytes.push(127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// The n-th masking key of a test.
fn key(n: u32) -> [u8; 4] {
    n.wrapping_mul(0x9E37_79B9).to_be_bytes()
}

/// Bytes that differ from their neighbours, so that a shift shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// A frame that announces `len` bytes and brings none.
fn announce(first: u8, len: u64) -> Vec<u8> {
    let mut bytes = vec![first, 127];
    bytes.extend(len.to_be_bytes());
    bytes
}
