//! Compressed messages on their way in (RFC 7692).

use super::super::deflate::Inflater;
use super::super::outbound::Output;
use super::super::{Limits, Reassembly};
use super::{Inbound, Partial};
use crate::handshake::Deflate;
use crate::wire::ProtocolError;

/// What was agreed on the peer's compression (RFC 7692).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreed {
    Nothing,
    /// Each message stands for itself.
    NoTakeover,
    /// Messages may refer to earlier ones: what inflates them stays.
    Takeover,
}

impl Inbound {
    /// The opening handshake has agreed on compression.
    pub(crate) const fn inflate(&mut self, agreed: Deflate) {
        self.deflate = if agreed.peer_takeover { Agreed::Takeover } else { Agreed::NoTakeover };
    }

    /// Whether an inflater belongs to this connection as long as it lasts.
    pub(crate) const fn keeps_inflater(&self) -> bool {
        matches!(self.deflate, Agreed::Takeover)
    }

    /// Takes what inflates: nothing more will be read.
    pub(crate) const fn take_inflater(&mut self) -> Option<Box<Inflater>> {
        self.deflate = Agreed::Nothing;
        self.inflater.take()
    }

    /// Has what inflates the message that begins, new or with what came before it.
    #[cold]
    pub(super) fn begin_inflating(&mut self, out: &mut impl Output) -> Result<(), ProtocolError> {
        let mut inflater = match self.inflater.take() {
            Some(inflater) => inflater,
            None if self.keeps_inflater() => Box::default(),
            None => out.take_inflater().ok_or(ProtocolError::CompressionBudget)?,
        };
        inflater.begin();
        self.inflater = Some(inflater);
        Ok(())
    }

    /// Whether the message in progress is compressed.
    #[inline]
    pub(super) fn is_inflating(&self) -> bool {
        self.inflater.as_ref().is_some_and(|inflater| inflater.is_busy())
    }

    /// Gives back what inflated a message, unless the next ones may refer to it.
    pub(super) fn end_inflating(&mut self, out: &mut impl Output) {
        if let Some(mut inflater) = self.inflater.take() {
            inflater.end();
            if self.keeps_inflater() {
                self.inflater = Some(inflater);
            } else {
                out.recycle_inflater(inflater);
            }
        }
    }
}

/// Bytes of a compressed message that are unmasked in one go: where inflating stops, the rest of them is
/// masked again.
const UNMASKED: usize = 1024;

/// Unmasks the next part of a compressed message where it lies and inflates it into the assembly,
/// which may grow to the limit of a message, by as much as `allowed` says. Says how many bytes of the part
/// that took; with fewer than all of them, or if the inflater owes something, go on later.
pub(super) fn inflate(
    inflater: &mut Inflater,
    partial: &mut Partial,
    part: &mut [u8],
    assembly: &mut Reassembly,
    limits: &Limits,
    allowed: &mut usize,
) -> Result<usize, ProtocolError> {
    let limit = limits.max_message_bytes;
    let (len, mut taken) = (part.len(), 0);
    while taken < len || inflater.owes() {
        let end = len.min(taken + UNMASKED);
        let piece = part.get_mut(taken..end).unwrap_or_default();
        if let Some(mask) = &partial.mask {
            mask.apply(piece);
        }
        let n = inflater.inflate(piece, assembly, limit, allowed)?;
        if let Some(mask) = &mut partial.mask {
            *mask = mask.after(n);
            mask.apply(piece.get_mut(n..).unwrap_or_default());
        }
        taken += n;
        if inflater.owes() {
            return Ok(taken);
        }
    }
    if partial.remaining == taken as u64 && partial.last {
        inflater.finish(assembly, limit, allowed)?;
    }
    Ok(taken)
}
