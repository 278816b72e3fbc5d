//! The receive half of a connection: bytes in, events out.
//!
//! Frames are parsed where they lie. A message that is whole in one read is lent straight from the
//! receive buffer; one that spans reads is gathered in an [`Reassembly`], which grows with the bytes
//! that arrive. Masked payloads are unmasked where they lie, or where they are gathered. However
//! the stream is cut into reads, the events and the answers are the same.

mod event;
mod gather;
mod inflate;

use event::{TextPolicy, event, failed};
use inflate::Agreed;

use super::deflate::Inflater;
use super::limits::{InvalidUtf8, Limits};
use super::outbound::{Outbound, Output};
use super::reassembly::Reassembly;
use super::rules::Rules;
use super::work::Work;
use super::{Message, Part, Role};
use crate::handshake::hybi02::looks_like_draft_00;
use crate::wire::{
    CloseCode, Dialect, FrameHeader, HEADER_MAX, Mask, Opcode, ProtocolError, hybi02, rfc6455,
};

/// What the peer did.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'e> {
    /// A whole message, and the room around it.
    Message(Message<'e>, Place<'e>),
    /// A piece of a message, and the room around it, where messages are taken in parts.
    Part(Part<'e>, Place<'e>),
    /// A ping; its pong is already written, also after our own Close.
    Ping(&'e [u8]),
    /// A pong, asked for or not (AMB-05).
    Pong(&'e [u8]),
    /// A Close frame; if we had not sent one, its answer is already written, with the same
    /// code, or in draft-02 the same payload (CTL-04, AMB-13). Nothing more will be read.
    Close(CloseFrame<'e>),
    /// The peer broke a rule; the connection must be ended. In RFC 6455 a Close frame that says so
    /// is already written, unless we had sent one.
    Failed(ProtocolError),
}

/// What a peer's Close frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseFrame<'e> {
    /// Why it closes; [`CloseCode::NO_STATUS`] if it does not say, and always in draft-02.
    pub code: CloseCode,
    /// The reason in words, at most 123 bytes; empty in draft-02.
    pub reason: &'e str,
    /// The payload as it came. Draft-02 gives it no meaning (CTL-09).
    pub payload: &'e [u8],
}

/// Where a message lies, for whoever wants to send it on without a copy.
#[derive(Debug)]
pub struct Place<'e> {
    /// Bytes in front of the payload that nobody needs any more; a header written at their end is
    /// adjacent to the payload.
    pub(crate) head: &'e mut [u8],
    /// Where the payload starts in the buffer of [`Place::origin`].
    pub(crate) start: usize,
    pub(crate) origin: Origin,
}

/// Which memory a message lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The slice that [`Inbound::receive`] was given.
    Input,
    /// The assembly that the next call of [`Events::next_event`] recycles.
    Reassembly,
    /// Memory of its own: text in which bad sequences were replaced.
    Replaced,
}

/// The frame whose payload has not all arrived.
#[derive(Debug, Clone, Copy)]
struct Partial {
    /// Bytes still to come.
    remaining: u64,
    opcode: Opcode,
    last: bool,
    /// Turned to the first byte that is not unmasked yet.
    mask: Option<Mask>,
    /// Bytes at the end of the assembly that were received right into it, and neither unmasked nor
    /// judged yet.
    fresh: usize,
}

/// The receive half. An idle connection owns no buffer.
#[derive(Debug)]
pub struct Inbound {
    dialect: Dialect,
    role: Role,
    /// Whether every frame of the peer is masked, or none.
    peer_masks: bool,
    /// The kind of the open fragmented message.
    open: Option<Opcode>,
    /// Bytes of a header that was cut between reads.
    stash: [u8; HEADER_MAX],
    stashed: u8,
    /// Frames of the open message so far.
    fragments: u32,
    partial: Option<Partial>,
    message: Option<Box<Reassembly>>,
    /// Bytes of the open message that were handed over.
    parted: u64,
    deflate: Agreed,
    /// What inflates the message in progress, if it is compressed; with takeover, it stays.
    inflater: Option<Box<Inflater>>,
    /// The payload of a control frame that spans reads; apart from the message, because control
    /// frames may stand between its fragments (AMB-01).
    control: Option<Box<Reassembly>>,
}

impl Inbound {
    pub(super) const fn new(dialect: Dialect, role: Role) -> Self {
        Self {
            dialect,
            role,
            peer_masks: Rules::of(dialect).masks(role.peer()),
            open: None,
            stash: [0; HEADER_MAX],
            stashed: 0,
            fragments: 0,
            partial: None,
            message: None,
            parted: 0,
            deflate: Agreed::Nothing,
            inflater: None,
            control: None,
        }
    }

    /// Reads `input`, the next bytes of the stream; drain the events until there is none.
    pub fn receive<'a>(&'a mut self, limits: &'a Limits, input: &'a mut [u8]) -> Events<'a> {
        let left = Work::UNBOUNDED;
        Events { inbound: self, limits, input, left, consumed: 0, lent: None, replaced: None }
    }

    /// The opening handshake has settled the dialect.
    pub(crate) const fn opened(&mut self, dialect: Dialect) {
        self.dialect = dialect;
        self.peer_masks = Rules::of(dialect).masks(self.role.peer());
    }

    /// How many bytes of the frame in progress are still to come; 0 between frames.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.partial.map_or(0, |partial| partial.remaining)
    }

    /// Whether a message or frame has begun and not ended.
    #[must_use]
    pub const fn is_mid_message(&self) -> bool {
        self.open.is_some() || self.partial.is_some() || self.stashed > 0
    }

    /// Bytes of memory held for what has begun and not ended; 0 between messages.
    #[must_use]
    pub fn capacity(&self) -> usize {
        let of = |assembly: &Option<Box<Reassembly>>| assembly.as_ref().map_or(0, |a| a.capacity());
        of(&self.message) + of(&self.control)
    }

    /// Forgets what has begun and not ended: nothing more will be read. What is out to be received
    /// into comes back all the same.
    pub(crate) fn forget(&mut self) {
        self.partial = None;
        self.open = None;
        self.parted = 0;
        self.message = None;
        self.control = None;
    }

    /// Takes the assembly that the rest of the data frame in progress may be received into
    /// directly, if there is one. Give it back with [`Inbound::return_direct`].
    pub(crate) fn take_direct(&mut self) -> Option<(Box<Reassembly>, u64)> {
        // What is compressed goes elsewhere first.
        let plain = !self.is_inflating();
        let partial = self.partial.filter(|partial| plain && !partial.opcode.is_control())?;
        Some((self.message.take()?, partial.remaining))
    }

    /// Gives back what [`Inbound::take_direct`] took, `n` bytes fuller. Follow with
    /// [`Inbound::receive`] of an empty slice to get the message if it is whole now.
    pub(crate) fn return_direct(&mut self, mut assembly: Box<Reassembly>, n: usize) {
        assembly.advance(n);
        self.message = Some(assembly);
        if let Some(partial) = &mut self.partial {
            partial.remaining = partial.remaining.saturating_sub(n as u64);
            partial.fresh += n;
        }
    }

    /// The error; [`ProtocolError::OlderFraming`] if it is the first of what a server of draft-02
    /// sends that breaks a rule, and `looks` like draft-00 (AMB-11).
    #[cold]
    const fn or_older(&self, error: ProtocolError, looks: bool) -> ProtocolError {
        let first = self.fragments == 0 && matches!(self.role, Role::Client);
        if looks && first && Rules::of(self.dialect).draft_00_passes {
            ProtocolError::OlderFraming
        } else {
            error
        }
    }

    /// What a header that is not one probably means, or else `error`.
    #[cold]
    fn misread(&self, error: ProtocolError, header: &[u8]) -> ProtocolError {
        self.or_older(error, looks_like_draft_00(header))
    }

    /// Gives back the memory of what will not be read to its end.
    #[cold]
    fn abandon(&mut self, out: &mut impl Output) {
        self.partial = None;
        self.open = None;
        self.parted = 0;
        self.end_inflating(out);
        for assembly in [self.message.take(), self.control.take()].into_iter().flatten() {
            out.recycle(assembly);
        }
    }

    /// Judges a frame by the peer's role, by what came before it (FR-11) and by the limits
    /// (CONF-03), before any of its payload is kept. A call costs as much as the work: the header would go
    /// through memory.
    #[inline(always)]
    fn admit(&mut self, header: FrameHeader, limits: &Limits) -> Result<(), ProtocolError> {
        if header.mask.is_some() != self.peer_masks {
            return Err(if self.peer_masks {
                ProtocolError::UnmaskedFrame
            } else {
                ProtocolError::MaskedFrame
            });
        }
        // RSV1 has a meaning on the first frame of a message alone, if that was agreed on (RFC 6455
        // §5.2, RFC 7692 §6).
        if header.compressed {
            if self.deflate == Agreed::Nothing {
                return Err(ProtocolError::ReservedBit);
            }
            if !matches!(header.opcode, Opcode::Text | Opcode::Binary) {
                return Err(ProtocolError::CompressionBit);
            }
        }
        if header.opcode.is_control() {
            return if header.payload_len > limits.max_control_bytes.min(limits.max_frame_bytes) {
                Err(ProtocolError::ControlTooLarge)
            } else {
                Ok(())
            };
        }
        match (self.open, header.opcode) {
            (None, Opcode::Continuation) => {
                // So begins a text frame of draft-00, if its text does not with a control character.
                let older = header.last && header.payload_len >= u64::from(b' ');
                return Err(self.or_older(ProtocolError::UnexpectedContinuation, older));
            }
            (Some(_), Opcode::Text | Opcode::Binary) => {
                return Err(ProtocolError::ExpectedContinuation);
            }
            _ => {}
        }
        // What does not compress grows, by an eighth with the smallest memory of a common compressor;
        // its message is judged while it inflates.
        let compressed = header.compressed || self.is_inflating();
        let slack = if compressed { limits.max_frame_bytes / 7 + 64 } else { 0 };
        if header.payload_len > limits.max_frame_bytes.saturating_add(slack) {
            return Err(ProtocolError::FrameTooLarge);
        }
        let held = self.message.as_ref().map_or(0, |message| message.len() as u64);
        let so_far = self.parted + held;
        if !compressed && header.payload_len > limits.max_message_bytes.saturating_sub(so_far) {
            return Err(ProtocolError::MessageTooLarge);
        }
        self.fragments = if self.open.is_none() { 1 } else { self.fragments.saturating_add(1) };
        if self.fragments > limits.max_fragments {
            return Err(ProtocolError::TooManyFragments);
        }
        if self.open.is_none() && !header.last {
            self.open = Some(header.opcode);
        }
        Ok(())
    }
}

/// The events of one read; see [`Inbound::receive`].
#[derive(Debug)]
pub struct Events<'a> {
    inbound: &'a mut Inbound,
    limits: &'a Limits,
    input: &'a mut [u8],
    /// What may still be done of it now.
    left: Work,
    /// Bytes of the read in front of `input`.
    consumed: usize,
    /// The assembly that the last event pointed into.
    lent: Option<Box<Reassembly>>,
    /// The text that the last event pointed into, when bad sequences were replaced.
    replaced: Option<String>,
}

/// What the next frame turned out to be, before anything is borrowed for its event.
enum Found<'a> {
    /// A whole frame inside the input.
    InPlace { opcode: Opcode, head: &'a mut [u8], payload: &'a mut [u8], start: usize },
    /// A message or control payload that is whole in `Events::lent`.
    Assembled(Opcode),
    /// A part of a message, in `Events::lent`.
    Part { text: bool, first: bool, last: bool },
}

impl<'a> Events<'a> {
    /// Limits the events to this much work; see [`Events::is_spent`].
    pub(crate) const fn within(mut self, work: Work) -> Self {
        self.left = work;
        self
    }

    /// How much of the work is left.
    pub(crate) const fn left(&self) -> Work {
        self.left
    }

    /// Whether there is more to do, but no work left to do it with: hand the unread rest of the input to
    /// [`Inbound::receive`] again later, before anything else, even if it is empty.
    #[inline]
    pub(crate) const fn is_spent(&self) -> bool {
        self.left.is_spent() && (!self.input.is_empty() || self.inbound.partial.is_some())
    }

    /// The next event, or `None` when the input or the work is used up. Answers to pings and Close frames are
    /// written to `out`. After a Close or a failure the rest of the input is discarded (CTL-06).
    #[inline]
    pub fn next_event<'e>(
        &'e mut self,
        outbound: &mut Outbound,
        out: &mut impl Output,
    ) -> Option<Event<'e>> {
        if let Some(lent) = self.lent.take() {
            out.recycle(lent);
        }
        if !outbound.state().can_receive() {
            self.input = &mut [];
            self.inbound.abandon(out);
            return None;
        }
        if self.input.is_empty() && self.inbound.partial.is_none() || self.left.is_spent() {
            return None;
        }
        self.left.spend(1);
        let found = loop {
            match self.step(out) {
                Ok(Some(found)) => break found,
                Ok(None) if self.input.is_empty() || self.left.is_spent() => return None,
                Ok(None) => {}
                Err(error) => return Some(failed(error, outbound, out)),
            }
        };
        let text = TextPolicy { invalid: self.policy(), replaced: &mut self.replaced };
        match found {
            Found::InPlace { opcode, head, payload, start } => {
                let place = Place { head, start, origin: Origin::Input };
                event(opcode, payload, place, text, outbound, out)
            }
            Found::Assembled(opcode) => {
                let lent = self.lent.as_mut()?;
                let start = lent.start();
                let (head, payload) = lent.split();
                let place = Place { head, start, origin: Origin::Reassembly };
                event(opcode, payload, place, text, outbound, out)
            }
            Found::Part { text, first, last } => {
                let lent = self.lent.as_mut()?;
                let start = lent.start();
                let (head, payload) = lent.split();
                let place = Place { head, start, origin: Origin::Reassembly };
                let part = if text { Part::text(payload) } else { Part::binary(payload) };
                Some(Event::Part(part.at(first, last), place))
            }
        }
    }

    /// Bytes of the input not yet looked at.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.input.len()
    }

    /// A client of draft-02 reads bad text as U+FFFD, whatever the limits say (UTF8-01).
    const fn policy(&self) -> InvalidUtf8 {
        if Rules::of(self.inbound.dialect).strict_text {
            return InvalidUtf8::Close;
        }
        match self.inbound.role {
            Role::Client => InvalidUtf8::Replace,
            Role::Server => self.limits.invalid_utf8,
        }
    }

    /// Reads one header or one part of a payload.
    #[inline]
    fn step(&mut self, out: &mut impl Output) -> Result<Option<Found<'a>>, ProtocolError> {
        if self.inbound.partial.is_some() {
            return self.continue_frame(out);
        }
        let Some((header, taken)) = self.header()? else { return Ok(None) };
        self.inbound.admit(header, self.limits)?;
        let input = std::mem::take(&mut self.input);
        let (head, rest) = input.split_at_mut_checked(taken).unwrap_or_default();
        let whole = usize::try_from(header.payload_len).is_ok_and(|len| len <= rest.len());
        let alone = header.opcode.is_control()
            || (header.last && self.inbound.open.is_none() && !header.compressed);
        if header.compressed {
            self.inbound.begin_inflating(out)?;
        }
        if !(whole && alone) {
            self.consumed += taken;
            self.input = rest;
            self.inbound.partial = Some(Partial {
                remaining: header.payload_len,
                opcode: header.opcode,
                last: header.last,
                mask: header.mask,
                fresh: 0,
            });
            return self.continue_frame(out);
        }
        #[expect(clippy::cast_possible_truncation, reason = "compared with the input's length")]
        let (payload, rest) =
            rest.split_at_mut_checked(header.payload_len as usize).unwrap_or_default();
        if let Some(mask) = header.mask {
            mask.apply(payload);
        }
        let start = self.consumed + taken;
        self.consumed = start + payload.len();
        self.input = rest;
        Ok(Some(Found::InPlace { opcode: header.opcode, head, payload, start }))
    }

    /// The next header and how many bytes of the input it took; `None` when it is cut, its bytes
    /// then being stashed. As [`Inbound::admit`], it is no call of its own.
    #[inline(always)]
    fn header(&mut self) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
        if self.inbound.stashed == 0
            && let Some(found) = decode(self.inbound.dialect, self.input)
                .map_err(|error| self.inbound.misread(error, self.input))?
        {
            return Ok(Some(found));
        }
        self.header_in_pieces()
    }

    #[cold]
    fn header_in_pieces(&mut self) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
        let before = usize::from(self.inbound.stashed);
        let free = self.inbound.stash.get_mut(before..).unwrap_or_default();
        let mut added = 0;
        for (place, byte) in free.iter_mut().zip(self.input.iter()) {
            *place = *byte;
            added += 1;
        }
        let filled = before + added;
        let stash = self.inbound.stash.get(..filled).unwrap_or_default();
        let read = decode(self.inbound.dialect, stash);
        if let Some((header, len)) = read.map_err(|error| self.inbound.misread(error, stash))? {
            self.inbound.stashed = 0;
            return Ok(Some((header, len.saturating_sub(before))));
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most HEADER_MAX")]
        {
            self.inbound.stashed = filled as u8;
        }
        self.consumed += self.input.len();
        self.input = &mut [];
        Ok(None)
    }
}

/// Reads a header in the connection's dialect.
#[inline(always)]
fn decode(dialect: Dialect, bytes: &[u8]) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
    match dialect {
        Dialect::Hybi02 => hybi02::decode(bytes),
        Dialect::Rfc6455 => rfc6455::decode(bytes),
    }
}
