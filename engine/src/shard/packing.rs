//! Publications compressed for a window: once for all subscribers with that window, and in slices.

use super::deflate_pool::DeflatePool;
use super::topics::Batch;
use crate::config::Compression;
use crate::conn::Deflater;
use crate::memory::Held;
use crate::wire::{self, HEADER_MAX, rfc6455};

/// What a frame costs beside its bytes, in bytes that are compressed in that time.
const FRAME_BYTES: usize = 16;

/// What became of compressing a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    Done,
    /// The work goes on in the next turn.
    Later,
    /// There is no memory for it.
    Not,
}

/// A batch on its way to be compressed.
#[derive(Debug)]
pub(crate) struct Packing {
    bits: u8,
    deflater: Box<Deflater>,
    /// Bytes of the batch's frames that are done.
    done: usize,
    /// Bytes of the payload of the frame behind them that went into `packed`.
    within: usize,
    /// The compressed form of that payload so far.
    packed: Vec<u8>,
    /// The frames that are done.
    out: Vec<u8>,
    held: Held,
}

/// Compresses more of a batch for subscribers with this window, of at most `left` bytes, which it counts
/// down.
pub(super) fn pack(
    batch: &mut Batch,
    bits: u8,
    settings: Compression,
    deflate_pool: &mut DeflatePool,
    left: &mut usize,
) -> Packed {
    if batch.packed(bits).is_some() {
        return Packed::Done;
    }
    // The subscriber for whom another window was begun has gone.
    if batch.packing.as_ref().is_some_and(|packing| packing.bits != bits) {
        stop(batch, deflate_pool);
    }
    let begun = batch.packing.take();
    let packing = match begun {
        None if !batch.may_be_packed() => return Packed::Not,
        None => deflate_pool.lend_deflater(bits, settings.level).map(|deflater| Packing {
            bits,
            deflater,
            done: 0,
            within: 0,
            packed: Vec::new(),
            out: Vec::with_capacity(batch.frames.len() / 2),
            held: Held::on(batch.memory()),
        }),
        begun => begun,
    };
    let Some(mut packing) = packing else { return Packed::Not };
    if !packing.go_on(&batch.frames, settings, left) {
        batch.packing = Some(packing);
        return Packed::Later;
    }
    let Packing { deflater, out, .. } = packing;
    deflate_pool.return_deflater(bits, deflater);
    batch.keep_packed(bits, out);
    Packed::Done
}

/// Gives up what was begun for a batch.
pub(super) fn stop(batch: &mut Batch, deflate_pool: &mut DeflatePool) {
    if let Some(Packing { bits, deflater, .. }) = batch.packing.take() {
        deflate_pool.return_deflater(bits, deflater);
    }
}

impl Packing {
    /// Compresses the next frames, each where that makes it smaller. Whether these were the last.
    fn go_on(&mut self, frames: &[u8], settings: Compression, left: &mut usize) -> bool {
        while let Some((mut header, payload, after)) =
            wire::first_frame(frames.get(self.done..).unwrap_or_default())
        {
            if *left == 0 {
                self.held.set(self.out.capacity() + self.packed.capacity());
                return false;
            }
            let mut chosen = payload;
            if payload.len() >= settings.min_bytes {
                if !self.go_on_within(payload, left) {
                    continue;
                }
                if self.packed.len() < payload.len() {
                    chosen = &self.packed;
                    header.payload_len = self.packed.len() as u64;
                    header.compressed = true;
                }
            }
            let mut bytes = [0; HEADER_MAX];
            let len = rfc6455::encode(header, &mut bytes);
            self.out.extend_from_slice(&bytes[..len]);
            self.out.extend_from_slice(chosen);
            self.done = frames.len() - after.len();
            *left = left.saturating_sub(FRAME_BYTES);
            self.within = 0;
        }
        true
    }

    /// Compresses the next part of a payload; whether that was the last.
    fn go_on_within(&mut self, payload: &[u8], left: &mut usize) -> bool {
        if self.within == 0 {
            self.packed.clear();
            self.deflater.forget();
        }
        let rest = payload.get(self.within..).unwrap_or_default();
        let (part, after) = rest.split_at(rest.len().min(*left));
        *left -= part.len();
        if after.is_empty() {
            self.deflater.deflate(part, &mut self.packed);
        } else {
            self.deflater.add(part, &mut self.packed);
            self.within += part.len();
        }
        after.is_empty()
    }
}

#[cfg(test)]
mod tests;
