//! Frames whose payload does not lie whole in one read: what they carry grows in its order in an assembly
//! (FR-12, FR-14), where text is judged as a whole (UTF8-03).

use super::inflate::inflate;
use super::{Events, Found, Partial};
use crate::conn::limits::InvalidUtf8;
use crate::conn::outbound::Output;
use crate::conn::reassembly::Reassembly;
use crate::conn::rules::Rules;
use crate::wire::{Opcode, ProtocolError};

impl<'a> Events<'a> {
    /// Moves what has arrived of the frame in progress into its assembly; unmasks it there, and
    /// judges text that cannot become valid any more.
    #[inline(never)]
    pub(super) fn continue_frame(
        &mut self,
        out: &mut impl Output,
    ) -> Result<Option<Found<'a>>, ProtocolError> {
        let policy = self.policy();
        let Some(mut partial) = self.inbound.partial.take() else { return Ok(None) };
        let input = std::mem::take(&mut self.input);
        let n = usize::try_from(partial.remaining).unwrap_or(usize::MAX).min(input.len());
        let control = partial.opcode.is_control();
        let inflating = self.inbound.is_inflating() && !control;
        let place = if control { &mut self.inbound.control } else { &mut self.inbound.message };
        // Even an empty payload needs a place, so that it can be lent.
        let assembly = place.get_or_insert_with(|| out.take_assembly());
        let inflater = self.inbound.inflater.as_deref_mut().filter(|_| inflating);
        let (taken, fresh, stopped) = match inflater {
            Some(inflater) => {
                let part = input.get_mut(..n).unwrap_or_default();
                let (before, mut allowed) = (assembly.len(), self.left.inflates());
                let taken =
                    inflate(inflater, &mut partial, part, assembly, self.limits, &mut allowed)?;
                let fresh = assembly.len() - before;
                self.left.inflated(fresh, inflater.owes());
                (taken, fresh, inflater.owes())
            }
            None => {
                let part = input.get(..n).unwrap_or_default();
                (n, gather(&mut partial, part, assembly), false)
            }
        };
        self.consumed += taken;
        self.input = input.get_mut(taken..).unwrap_or_default();
        partial.remaining -= taken as u64;
        if stopped {
            return self.stop(partial, fresh);
        }
        let whole = partial.remaining == 0 && partial.last;
        let parted = self.inbound.parted > 0;
        let text = !control && self.inbound.open.unwrap_or(partial.opcode) == Opcode::Text;
        let in_parts = self.limits.part_bytes > 0
            && !(control || inflating || (text && policy == InvalidUtf8::Replace));
        // What completes a message in one piece is judged with the whole of it.
        if text
            && (in_parts || Rules::of(self.inbound.dialect).strict_text)
            && (!whole || parted)
            && !(assembly.continues_text(fresh) && (!whole || assembly.completes_text()))
        {
            return Err(ProtocolError::InvalidUtf8);
        }
        let enough = assembly.len() >= self.limits.part_bytes as usize;
        if partial.remaining > 0 {
            self.inbound.partial = Some(partial);
        }
        if in_parts && (if whole { parted } else { enough }) {
            return Ok(self.part(text, whole, out));
        }
        if partial.remaining > 0 {
            return Ok(None);
        }
        if control {
            self.lent = self.inbound.control.take();
            return Ok(Some(Found::Assembled(partial.opcode)));
        }
        if !partial.last {
            return Ok(None);
        }
        self.inbound.end_inflating(out);
        self.lent = self.inbound.message.take();
        let opcode = self.inbound.open.take().unwrap_or(partial.opcode);
        Ok(Some(Found::Assembled(opcode)))
    }
}

impl<'a> Events<'a> {
    /// Leaves the rest of a compressed message for later: enough was inflated for now.
    #[cold]
    fn stop(&mut self, partial: Partial, fresh: usize) -> Result<Option<Found<'a>>, ProtocolError> {
        let text = self.inbound.open.unwrap_or(partial.opcode) == Opcode::Text;
        self.inbound.partial = Some(partial);
        let strict = text && Rules::of(self.inbound.dialect).strict_text;
        let message = self.inbound.message.as_deref_mut().filter(|_| strict);
        match message.is_none_or(|message| message.continues_text(fresh)) {
            true => Ok(None),
            false => Err(ProtocolError::InvalidUtf8),
        }
    }

    /// Hands over what has been gathered of a message.
    fn part(&mut self, text: bool, last: bool, out: &mut impl Output) -> Option<Found<'a>> {
        let part = self.inbound.message.take()?;
        let first = self.inbound.parted == 0;
        if last {
            self.inbound.parted = 0;
            self.inbound.open = None;
        } else {
            self.inbound.parted += part.len() as u64;
            let mut next = out.take_assembly();
            next.continue_from(&part);
            self.inbound.message = Some(next);
        }
        self.lent = Some(part);
        Some(Found::Part { text, first, last })
    }
}

/// Adds the next part of a payload to its assembly and unmasks it there; says how many bytes at the
/// assembly's end are new.
fn gather(partial: &mut Partial, part: &[u8], assembly: &mut Reassembly) -> usize {
    // Only the last frame says where the message ends; before it, growth must stay geometric, or a
    // message of many small fragments is moved once per fragment.
    assembly.append(part, partial.last.then_some(partial.remaining));
    let fresh = std::mem::take(&mut partial.fresh) + part.len();
    if let Some(mask) = &mut partial.mask {
        mask.apply(assembly.last_mut(fresh));
        *mask = mask.after(fresh);
    }
    fresh
}
