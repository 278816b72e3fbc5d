//! Compressed messages on their way in (RFC 7692).

use super::super::deflate::Inflater;
use super::super::outbound::Output;
use super::super::{Assembly, Limits};
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

/// Unmasks the next part of a compressed message where it lies and inflates it into the assembly,
/// which may grow to the limit of a message; says how many bytes at its end are new.
pub(super) fn inflate(
    inflater: &mut Inflater,
    partial: &mut Partial,
    part: &mut [u8],
    assembly: &mut Assembly,
    limits: &Limits,
) -> Result<usize, ProtocolError> {
    let before = assembly.len();
    if let Some(mask) = &mut partial.mask {
        mask.apply(part);
        *mask = mask.after(part.len());
    }
    inflater.inflate(part, assembly, limits.max_message_bytes)?;
    if partial.remaining == 0 && partial.last {
        inflater.finish(assembly, limits.max_message_bytes)?;
    }
    Ok(assembly.len() - before)
}
