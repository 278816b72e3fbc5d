//! The send half of a connection: frames out, and the closing handshake.

use super::assembly::Assembly;
use super::masking::MaskingKeys;
use super::state::{State, Step};
use super::{Message, Role};
use crate::wire::{
    CloseCode, ClosePayload, Dialect, FrameHeader, HEADER_MAX, Mask, Opcode, ProtocolError, hybi02,
    rfc6455,
};

/// Where a connection writes.
pub trait Output {
    /// Takes a frame: its header and its payload, to be sent in this order, the payload masked with
    /// `mask` if there is one.
    fn frame(&mut self, header: &[u8], payload: &[u8], mask: Option<Mask>);

    /// A key for a client's next frame (RFC 6455 §5.3).
    fn masking_key(&mut self) -> Mask {
        MaskingKeys::default().draw()
    }

    /// Lends memory for a message that spans reads: an assembly that is new or was cleared.
    fn take_assembly(&mut self) -> Box<Assembly> {
        Box::default()
    }

    /// Gets back what [`Output::take_assembly`] lent, once the message was delivered.
    fn recycle(&mut self, assembly: Box<Assembly>) {
        drop(assembly);
    }
}

impl Output for Vec<u8> {
    fn frame(&mut self, header: &[u8], payload: &[u8], mask: Option<Mask>) {
        self.extend_from_slice(header);
        let start = self.len();
        self.extend_from_slice(payload);
        if let Some(mask) = mask {
            mask.apply(self.get_mut(start..).unwrap_or_default());
        }
    }
}

/// An encoded frame header.
#[derive(Debug, Clone, Copy)]
pub struct EncodedHeader {
    bytes: [u8; HEADER_MAX],
    len: u8,
    mask: Option<Mask>,
}

impl EncodedHeader {
    /// The header as it goes on the wire.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The key that the payload is to be masked with.
    #[inline]
    #[must_use]
    pub const fn mask(&self) -> Option<Mask> {
        self.mask
    }

    /// Writes the header over the end of `head`, in front of a payload that lies behind it. Says
    /// how many bytes it took; `None`, and nothing is written, where there is no room.
    #[inline]
    pub(crate) fn write_before(&self, head: &mut [u8]) -> Option<usize> {
        // By its few lengths: a copy of unknown length would be a call.
        match self.len {
            2 => *head.last_chunk_mut::<2>()? = *self.bytes.first_chunk()?,
            4 => *head.last_chunk_mut::<4>()? = *self.bytes.first_chunk()?,
            // With a key it would hold other lengths, and the payload would have to be masked.
            _ if self.mask.is_some() => return None,
            _ => *head.last_chunk_mut::<10>()? = *self.bytes.first_chunk()?,
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
}

impl Outbound {
    pub(super) const fn new(dialect: Dialect, role: Role) -> Self {
        Self { dialect, role, state: State::Opening }
    }

    /// Where the connection is in its life.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Which side of the connection this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The dialect spoken.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether what is sent has to be masked (RFC 6455 §5.1).
    #[inline]
    #[must_use]
    pub const fn masks(&self) -> bool {
        matches!((self.dialect, self.role), (Dialect::Rfc6455, Role::Client))
    }

    /// Encodes a header in this connection's dialect; `mask` is for those that mask.
    #[inline]
    #[must_use]
    pub fn encode(&self, header: FrameHeader, mask: Option<Mask>) -> EncodedHeader {
        let mut bytes = [0; HEADER_MAX];
        let len = match self.dialect {
            Dialect::Hybi02 => hybi02::encode(header, &mut bytes),
            Dialect::Rfc6455 => rfc6455::encode(header.masked(mask), &mut bytes),
        };
        #[expect(clippy::cast_possible_truncation, reason = "at most HEADER_MAX")]
        EncodedHeader { bytes, len: len as u8, mask }
    }

    #[inline]
    fn frame(&self, header: FrameHeader, payload: &[u8], out: &mut impl Output) {
        let mask = if self.masks() { Some(out.masking_key()) } else { None };
        out.frame(self.encode(header, mask).as_bytes(), payload, mask);
    }

    /// Sends a message as one frame. Says `false`, and sends nothing, when the closing handshake
    /// has begun or the opening one has not ended (CTL-05, FR-18).
    pub fn message(&mut self, message: Message<'_>, out: &mut impl Output) -> bool {
        if !self.state.can_send() {
            return false;
        }
        let payload = message.payload();
        let header = FrameHeader::whole(message.opcode(), payload.len() as u64);
        self.frame(header, payload, out);
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
        if !self.state.can_send() {
            return false;
        }
        let mut opcode = message.opcode();
        let mut rest = message.payload();
        loop {
            let (part, tail) = rest.split_at(rest.len().min(fragment.get()));
            let last = tail.is_empty();
            let header = FrameHeader::fragment(opcode, last, part.len() as u64);
            self.frame(header, part, out);
            if last {
                return true;
            }
            opcode = Opcode::Continuation;
            rest = tail;
        }
    }

    /// Sends a ping; the peer answers with a pong of the same payload (CTL-02). Says `false`, and
    /// sends nothing, where [`Outbound::message`] does, and where RFC 6455 allows no payload of this
    /// length (125 bytes, §5.5).
    pub fn ping(&self, payload: &[u8], out: &mut impl Output) -> bool {
        let fits = self.dialect == Dialect::Hybi02 || payload.len() <= 125;
        fits && self.control(Opcode::Ping, payload, out)
    }

    pub(super) fn pong(&self, payload: &[u8], out: &mut impl Output) {
        self.control(Opcode::Pong, payload, out);
    }

    /// Starts the closing handshake; a second call does nothing (CTL-04, CTL-08). Draft-02 gives the
    /// payload no meaning (CTL-09): it stays empty there. In RFC 6455 it says why (§7.1.2); what of
    /// the reason is too long is cut.
    pub fn close(&mut self, code: CloseCode, reason: &str, out: &mut impl Output) {
        match self.dialect {
            Dialect::Hybi02 => self.close_frame(&[], out),
            Dialect::Rfc6455 => self.close_frame(ClosePayload::new(code, reason).as_bytes(), out),
        }
    }

    /// Answers the peer's Close: draft-02 sends its payload back (CTL-04, AMB-13), RFC 6455 its code
    /// (§5.5.1).
    pub(super) fn answer_close(&mut self, payload: &[u8], out: &mut impl Output) {
        match self.dialect {
            Dialect::Hybi02 => self.close_frame(payload, out),
            Dialect::Rfc6455 => self.close_frame(payload.get(..2).unwrap_or_default(), out),
        }
    }

    fn close_frame(&mut self, payload: &[u8], out: &mut impl Output) {
        if matches!(self.state, State::Open | State::CloseReceived) {
            let header = FrameHeader::whole(Opcode::Close, payload.len() as u64);
            self.frame(header, payload, out);
            self.step(Step::SentClose);
        }
    }

    /// The peer broke a rule: RFC 6455 tells it which one (§7.1.7), unless we have sent a Close.
    pub(super) fn failed(&mut self, error: ProtocolError, out: &mut impl Output) {
        if self.dialect == Dialect::Rfc6455 && self.state == State::Open {
            self.close(error.close_code(), error.sentence(), out);
        }
        self.step(Step::Failed);
    }

    /// The opening handshake was in this dialect.
    pub(crate) const fn speak(&mut self, dialect: Dialect) {
        self.dialect = dialect;
    }

    /// The opening handshake has succeeded: messages may flow.
    pub(crate) fn opened(&mut self) {
        self.step(Step::Opened);
    }

    /// The connection is over without a closing handshake.
    pub fn fail(&mut self) {
        self.step(Step::Failed);
    }

    pub(super) fn step(&mut self, step: Step) {
        self.state = self.state.after(step);
    }

    fn control(&self, opcode: Opcode, payload: &[u8], out: &mut impl Output) -> bool {
        if !self.state.can_send() {
            return false;
        }
        let header = FrameHeader::whole(opcode, payload.len() as u64);
        self.frame(header, payload, out);
        true
    }
}
