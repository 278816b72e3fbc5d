//! What the kernel did not take of a turn at once: memory of its own, or a share.

use super::{Chunk, Entry, LeaseNumber, SendBatch, Source};
use crate::memory::Share;
use crate::shard::send::{JOINED_BYTES, Piece, Transmit};

impl SendBatch {
    /// A copy of, or a share in, what an entry has left behind its first `sent` bytes. `lent` appends a
    /// range, from a start to an end, of a receive buffer, which only the driver can look into.
    pub(crate) fn take_rest(
        &mut self,
        entry: &Entry,
        sent: usize,
        mut lent: impl FnMut(LeaseNumber, usize, usize, &mut Vec<u8>),
    ) -> Transmit {
        let mut rest = Transmit::on(self.memory());
        let mut copied = Vec::new();
        let mut skip = sent;
        let segments: Vec<_> = self.segments(entry).collect();
        for segment in segments {
            let len = segment.len as usize;
            if skip >= len {
                skip -= len;
                continue;
            }
            let start = segment.start as usize + skip;
            let end = segment.start as usize + len;
            match segment.source {
                Source::Chunk(chunk) if end - start >= JOINED_BYTES => {
                    self.push_copied(&mut rest, &mut copied);
                    rest.push(Piece::new(self.take_chunk(chunk), start, end));
                }
                Source::Lent(lease) => lent(lease, start, end, &mut copied),
                Source::Arena(_) | Source::Chunk(_) => {
                    let bytes = self.resolve(segment).and_then(|bytes| bytes.get(skip..));
                    copied.extend_from_slice(bytes.unwrap_or_default());
                }
            }
            skip = 0;
        }
        self.push_copied(&mut rest, &mut copied);
        rest
    }

    fn push_copied(&self, rest: &mut Transmit, copied: &mut Vec<u8>) {
        if !copied.is_empty() {
            let copied = Share::exact(self.memory(), std::mem::take(copied));
            let end = copied.len();
            rest.push(Piece::new(Chunk::Counted(copied), 0, end));
        }
    }
}
