//! The send half of a connection: frames out, and the closing handshake.

use super::deflate::Inflater;
use super::masking::MaskingKeys;
use super::reassembly::Reassembly;
use super::rules::Rules;
use super::state::{State, Step};
use super::{Message, Part, Role};
use crate::fault::{Fault, is_back};
use crate::handshake::Deflate;
use crate::wire::{
    CloseCode, ClosePayload, Dialect, FrameHeader, HEADER_MAX, Mask, Opcode, ProtocolError, hybi02,
    rfc6455,
};

/// Where a connection writes.
pub trait Output {
    /// Takes a frame: its header and its payload, to be sent in this order. The payload is masked
    /// where it is copied to, if there is a mask: what is passed here belongs to somebody else.
    fn frame(&mut self, header: &[u8], payload: &[u8], mask: Option<Mask>);

    /// A key that was never used and that nobody can predict, as from [`MaskingKeys`]; asked for each
    /// frame of a client of RFC 6455 (§5.3).
    fn masking_key(&mut self) -> Mask;

    /// Lends memory for a message that spans reads: an assembly that is new or was cleared.
    fn take_assembly(&mut self) -> Box<Reassembly> {
        Box::default()
    }

    /// Lends what inflates a compressed message, as new; it comes back when the message is whole.
    /// `None`, where there is no memory for it, ends the connection with code 1013.
    fn take_inflater(&mut self) -> Option<Box<Inflater>> {
        Some(Box::default())
    }

    /// Gets back what [`Output::take_inflater`] lent.
    fn recycle_inflater(&mut self, inflater: Box<Inflater>) {
        drop(inflater);
    }

    /// Gets back what [`Output::take_assembly`] lent, once the message was delivered.
    fn recycle(&mut self, assembly: Box<Reassembly>) {
        drop(assembly);
    }
}

/// An output that gathers everything in memory.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The frames, one behind the other.
    pub(crate) bytes: Vec<u8>,
    keys: MaskingKeys,
}

impl Gathered {
    /// What was written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was written; keys are not used again.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }
}

impl Output for Gathered {
    fn frame(&mut self, header: &[u8], payload: &[u8], mask: Option<Mask>) {
        self.bytes.extend_from_slice(header);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        if let (Some(mask), Some(copy)) = (mask, self.bytes.get_mut(start..)) {
            mask.apply(copy);
        }
    }

    fn masking_key(&mut self) -> Mask {
        self.keys.draw()
    }
}

/// An encoded frame header.
#[derive(Debug, Clone, Copy)]
pub struct EncodedHeader {
    bytes: [u8; HEADER_MAX],
    len: u8,
}

impl EncodedHeader {
    /// The header as it goes on the wire.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Writes a header without a masking key over the end of `head`, in front of a payload that
    /// lies behind it. Says how many bytes it took; `None`, and nothing is written, where there is
    /// no room.
    #[inline]
    pub(crate) fn write_before(&self, head: &mut [u8]) -> Option<usize> {
        // By its few lengths: a copy of unknown length would be a call.
        match self.len {
            2 => *head.last_chunk_mut::<2>()? = *self.bytes.first_chunk()?,
            4 => *head.last_chunk_mut::<4>()? = *self.bytes.first_chunk()?,
            10 => *head.last_chunk_mut::<10>()? = *self.bytes.first_chunk()?,
            _ => return None,
        }
        Some(usize::from(self.len))
    }
}

/// The send half: what may still be sent, and how it looks on the wire.
#[derive(Debug)]
pub struct Outbound {
    dialect: Dialect,
    role: Role,
    state: State,
    /// Messages may be compressed, with a window of so many bits; 0 if not.
    window_bits: u8,
    /// Compressed messages may refer to earlier ones.
    takeover: bool,
    /// A message is being sent in parts, and its last one is still to come.
    parting: bool,
}

impl Outbound {
    pub(super) const fn new(dialect: Dialect, role: Role) -> Self {
        Self {
            dialect,
            role,
            state: State::Opening,
            window_bits: 0,
            takeover: false,
            parting: false,
        }
    }

    /// Where the connection is in its life.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether a message may be sent: the opening handshake has ended, the closing one has not begun
    /// (CTL-05, FR-18), and no message is under way in parts.
    #[inline]
    #[must_use]
    pub const fn can_send(&self) -> bool {
        self.state.can_send() && !self.parting
    }

    /// Whether a message is being sent in parts.
    pub(crate) const fn is_parting(&self) -> bool {
        self.parting
    }

    /// Which side of the connection this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The dialect spoken; not settled before the opening handshake has ended.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    #[inline(always)]
    pub(crate) const fn rules(&self) -> Rules {
        Rules::of(self.dialect)
    }

    /// Whether every frame sent is masked with a key of its own.
    #[inline]
    #[must_use]
    pub const fn masks(&self) -> bool {
        self.rules().masks(self.role)
    }

    /// The window that messages may be compressed with, in bits, if that was agreed on.
    #[inline]
    pub(crate) const fn deflates(&self) -> Option<u8> {
        if self.window_bits == 0 { None } else { Some(self.window_bits) }
    }

    /// The opening handshake has agreed on compression.
    pub(crate) const fn deflate(&mut self, agreed: Deflate) {
        // zlib has no raw stream with a window of 8 bits; nobody need be sent anything compressed.
        self.window_bits = if agreed.window_bits < 9 { 0 } else { agreed.window_bits };
        self.takeover = agreed.takeover;
    }

    /// The window of the deflater that belongs to this connection as long as it lasts, if one does.
    pub(crate) const fn keeps_deflater(&self) -> Option<u8> {
        if self.takeover { self.deflates() } else { None }
    }

    /// The deflater is gone: nothing more will be sent.
    pub(crate) const fn drop_deflater(&mut self) {
        self.takeover = false;
    }

    /// Encodes a header in this connection's dialect.
    #[inline]
    #[must_use]
    pub fn encode(&self, header: FrameHeader) -> EncodedHeader {
        let mut bytes = [0; HEADER_MAX];
        let len = match self.dialect {
            Dialect::Hybi02 => hybi02::encode(header, &mut bytes),
            Dialect::Rfc6455 => rfc6455::encode(header, &mut bytes),
        };
        #[expect(clippy::cast_possible_truncation, reason = "at most HEADER_MAX")]
        EncodedHeader { bytes, len: len as u8 }
    }

    /// Sends one frame, masked if this side masks.
    #[inline]
    pub(crate) fn frame(&self, header: FrameHeader, payload: &[u8], out: &mut impl Output) {
        let mask = self.masks().then(|| out.masking_key());
        out.frame(self.encode(header.masked(mask)).as_bytes(), payload, mask);
    }

    /// Sends a message as one frame (FR-10), text as UTF-8 (UTF8-04). Says `false`, and sends nothing, where [`Outbound::can_send`]
    /// does.
    pub fn message(&mut self, message: Message<'_>, out: &mut impl Output) -> bool {
        if !self.can_send() {
            return false;
        }
        let payload = message.payload();
        self.frame(FrameHeader::whole(message.opcode(), payload.len() as u64), payload, out);
        true
    }

    /// Sends a message cut into frames of at most `fragment` bytes (FR-11, FR-13). Says `false`
    /// where [`Outbound::message`] does.
    pub fn fragmented(
        &mut self,
        message: Message<'_>,
        fragment: std::num::NonZeroUsize,
        out: &mut impl Output,
    ) -> bool {
        if !self.can_send() {
            return false;
        }
        let mut opcode = message.opcode();
        let mut rest = message.payload();
        loop {
            let (part, tail) = rest.split_at(rest.len().min(fragment.get()));
            let last = tail.is_empty();
            self.frame(FrameHeader::fragment(opcode, last, part.len() as u64), part, out);
            if last {
                return true;
            }
            opcode = Opcode::Continuation;
            rest = tail;
        }
    }

    /// The header of a part of a message, each a frame of its own (FR-11); `None` where it may not be
    /// sent: the connection is not open, or the parts are out of order.
    #[inline]
    pub(crate) fn begin_part(&mut self, part: Part<'_>) -> Option<FrameHeader> {
        if !self.state.can_send() || self.parting == part.is_first() {
            return None;
        }
        self.parting = !part.is_last();
        Some(FrameHeader::fragment(part.opcode(), part.is_last(), part.payload().len() as u64))
    }

    /// Sends a part of a message. Says `false`, and sends nothing, when the connection is not open or
    /// the parts are out of order: a first one while a message is under way, or another while none is.
    pub fn part(&mut self, part: Part<'_>, out: &mut impl Output) -> bool {
        let Some(header) = self.begin_part(part) else { return false };
        self.frame(header, part.payload(), out);
        true
    }

    /// Sends a ping; the peer answers with a pong of the same payload (CTL-02). Says `false`, and
    /// sends nothing, where [`Outbound::message`] does, and where RFC 6455 allows no payload of this
    /// length (125 bytes, §5.5).
    pub fn ping(&self, payload: &[u8], out: &mut impl Output) -> bool {
        self.state.can_send() && self.control(Opcode::Ping, payload, out)
    }

    /// Answers a ping, also between our Close and the peer's: only data is forbidden then (RFC 6455
    /// §5.5.1, §5.5.2; CTL-02, CTL-05).
    pub(super) fn pong(&self, payload: &[u8], out: &mut impl Output) {
        let closing = self.state == State::CloseSent && !is_back(Fault::PongAfterCloseMissing);
        if self.state.can_send() || closing {
            self.control(Opcode::Pong, payload, out);
        }
    }

    /// Starts the closing handshake; a second call does nothing (CTL-04, CTL-08). Draft-02 has
    /// neither codes nor reasons (CTL-09): there the Close is empty. For what becomes of a code or
    /// reason that may not be sent see [`ClosePayload::new`].
    pub fn close(&mut self, code: CloseCode, reason: &str, out: &mut impl Output) {
        if self.rules().close_codes {
            self.close_frame(ClosePayload::new(code, reason).as_bytes(), out);
        } else {
            self.close_frame(&[], out);
        }
    }

    /// Answers the peer's Close: with its code, or, in draft-02, with its payload (AMB-13).
    pub(super) fn answer_close(&mut self, code: CloseCode, payload: &[u8], out: &mut impl Output) {
        if self.rules().close_codes {
            self.close_frame(ClosePayload::new(code, "").as_bytes(), out);
        } else {
            self.close_frame(payload, out);
        }
    }

    /// Tells the peer why the connection is about to fail, if the dialect has words for it and no
    /// Close was sent. Says whether the peer knows.
    pub(crate) fn tell(&mut self, code: CloseCode, reason: &str, out: &mut impl Output) -> bool {
        if !self.rules().close_codes || !self.state.can_send() {
            return false;
        }
        self.close(code, reason, out);
        true
    }

    /// The peer broke a rule: it is told, if that can be done, and nothing more is sent or read.
    pub(super) fn failed(&mut self, error: ProtocolError, out: &mut impl Output) {
        self.tell(error.close_code(), error.sentence(), out);
        self.step(Step::Failed);
    }

    /// The opening handshake has succeeded in this dialect: messages may flow.
    pub(crate) fn opened(&mut self, dialect: Dialect) {
        self.dialect = dialect;
        self.step(Step::Opened);
    }

    /// The connection is over without a closing handshake.
    pub fn fail(&mut self) {
        self.step(Step::Failed);
    }

    pub(super) fn step(&mut self, step: Step) {
        self.state = self.state.after(step);
    }

    fn close_frame(&mut self, payload: &[u8], out: &mut impl Output) {
        if matches!(self.state, State::Open | State::CloseReceived) {
            self.frame(FrameHeader::whole(Opcode::Close, payload.len() as u64), payload, out);
            self.step(Step::SentClose);
        }
    }

    fn control(&self, opcode: Opcode, payload: &[u8], out: &mut impl Output) -> bool {
        if payload.len() > self.rules().control_max {
            return false;
        }
        self.frame(FrameHeader::whole(opcode, payload.len() as u64), payload, out);
        true
    }
}
