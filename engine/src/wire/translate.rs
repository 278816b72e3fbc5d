//! Frames of a server in the other dialect. Unmasked headers have the same length in both, and
//! differ in the first byte only, so a run of frames is translated where it lies.

use super::{Dialect, FrameHeader, HEADER_MAX, hybi02, rfc6455};

/// The dialect that frames for many are encoded in first.
pub(crate) const FIRST: Dialect = Dialect::Hybi02;

/// Turns whole frames of [`FIRST`] without a mask, one behind the other, into those of `dialect`.
pub(crate) fn translate(frames: &mut [u8], dialect: Dialect) {
    if dialect == FIRST {
        return;
    }
    let mut at = 0;
    while let Some(rest) = frames.get_mut(at..)
        && let Some((header, len)) = header(rest)
    {
        let mut encoded = [0; HEADER_MAX];
        rfc6455::encode(header, &mut encoded);
        if let (Some(first), [new, ..]) = (rest.first_mut(), encoded) {
            *first = new;
        }
        at = at.saturating_add(len).saturating_add(saturated(header.payload_len));
    }
}

/// The frames of [`FIRST`] in a run of whole ones: headers and payloads.
pub(crate) fn frames(run: &[u8]) -> impl Iterator<Item = (FrameHeader, &[u8])> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let (header, payload, after) = first_frame(rest)?;
        rest = after;
        Some((header, payload))
    })
}

/// The first of them: its header, its payload, and what is behind it.
pub(crate) fn first_frame(run: &[u8]) -> Option<(FrameHeader, &[u8], &[u8])> {
    let (header, len) = header(run)?;
    let (payload, after) = run.get(len..)?.split_at_checked(saturated(header.payload_len))?;
    Some((header, payload, after))
}

/// We encoded it ourselves: anything but a header is the end of the run.
fn header(bytes: &[u8]) -> Option<(FrameHeader, usize)> {
    hybi02::decode(bytes).ok().flatten()
}

fn saturated(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, FrameHeader, HEADER_MAX, Opcode, hybi02, rfc6455};
    use super::{frames, translate};

    #[test]
    fn frames_of_every_kind_and_length() {
        let opcodes = [Opcode::Text, Opcode::Binary, Opcode::Ping, Opcode::Continuation];
        let (mut ours, mut theirs, mut headers) = (Vec::new(), Vec::new(), Vec::new());
        for (n, len) in [0, 1, 125, 126, 65_535, 65_536, 3].into_iter().enumerate() {
            let header = FrameHeader::fragment(opcodes[n % 4], n % 4 == 2 || n % 2 == 0, len);
            let payload = vec![0x84; usize::try_from(len).unwrap()];
            let mut bytes = [0; HEADER_MAX];
            let taken = hybi02::encode(header, &mut bytes);
            ours.extend_from_slice(&bytes[..taken]);
            ours.extend_from_slice(&payload);
            let taken = rfc6455::encode(header, &mut bytes);
            theirs.extend_from_slice(&bytes[..taken]);
            theirs.extend_from_slice(&payload);
            headers.push(header);
        }
        let listed: Vec<_> = frames(&ours).map(|(header, _)| header).collect();
        assert_eq!(listed, headers);
        assert!(frames(&ours).all(|(header, payload)| header.payload_len == payload.len() as u64));
        let untouched = ours.clone();
        translate(&mut ours, Dialect::Hybi02);
        assert!(ours == untouched, "its own dialect");
        translate(&mut ours, Dialect::Rfc6455);
        assert!(ours == theirs, "the other dialect");
    }
}
