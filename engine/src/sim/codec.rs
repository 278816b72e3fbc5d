//! Frames of both dialects, written from the specifications alone: what the engine says is not judged by
//! the engine's own code.

use crate::wire::Dialect;

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// The numbers of draft-02 of the same kinds, which are called as RFC 6455 numbers them.
const DRAFT: [(u8, u8); 6] =
    [(CONTINUATION, 0), (CLOSE, 1), (PING, 2), (PONG, 3), (TEXT, 4), (BINARY, 5)];

/// A frame of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) last: bool,
    pub(super) compressed: bool,
    /// Bytes before its payload.
    pub(super) head: usize,
    pub(super) len: usize,
}

/// Reads the header in front of `bytes`; `None` while there is too little of it.
pub(super) fn header(dialect: Dialect, bytes: &[u8]) -> Result<Option<Frame>, &'static str> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if second & 0x80 != 0 {
        return Err("a server's frame is masked");
    }
    let number = first & 0x0F;
    let (kind, last, compressed) = match dialect {
        Dialect::Rfc6455 => (number, first & 0x80 != 0, first & 0x40 != 0),
        Dialect::Hybi02 => {
            let known = DRAFT.iter().find(|(_, draft)| *draft == number);
            let (kind, _) = known.ok_or("an opcode that draft-02 does not know")?;
            (*kind, first & 0x80 == 0, false)
        }
    };
    let reserved = if dialect == Dialect::Rfc6455 { 0x30 } else { 0x70 };
    if first & reserved != 0 {
        return Err("a reserved bit is set");
    }
    if !matches!(kind, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
        return Err("a reserved opcode");
    }
    let (head, len) = match second & 0x7F {
        126 => {
            let Some(len) = rest.first_chunk::<2>() else { return Ok(None) };
            (4, usize::from(u16::from_be_bytes(*len)))
        }
        127 => {
            let Some(len) = rest.first_chunk::<8>() else { return Ok(None) };
            let len = usize::try_from(u64::from_be_bytes(*len));
            (10, len.map_err(|_| "a length beyond all bounds")?)
        }
        short => (2, usize::from(short)),
    };
    if kind >= CLOSE && (!last || len > 125 && dialect == Dialect::Rfc6455) {
        return Err("a control frame that is none");
    }
    if len > 1 << 20 {
        return Err("a frame longer than anything that was sent");
    }
    Ok(Some(Frame { kind, last, compressed, head, len }))
}

/// Writes a client's frame.
pub(super) fn write(
    out: &mut Vec<u8>,
    dialect: Dialect,
    (kind, last): (u8, bool),
    payload: &[u8],
    key: [u8; 4],
) {
    let mut mask = 0;
    out.push(match dialect {
        Dialect::Rfc6455 => {
            mask = 0x80;
            kind | if last { 0x80 } else { 0 }
        }
        Dialect::Hybi02 => {
            let number = DRAFT.iter().find(|(known, _)| *known == kind).map_or(15, |(_, n)| *n);
            number | if last { 0 } else { 0x80 }
        }
    });
    let len = payload.len();
    match len {
        #[expect(clippy::cast_possible_truncation, reason = "it is short")]
        0..126 => out.push(len as u8 | mask),
        #[expect(clippy::cast_possible_truncation, reason = "it has two bytes")]
        126..=0xFFFF => {
            out.push(126 | mask);
            out.extend((len as u16).to_be_bytes());
        }
        _ => {
            out.push(127 | mask);
            out.extend((len as u64).to_be_bytes());
        }
    }
    if mask == 0 {
        out.extend(payload);
        return;
    }
    out.extend(key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// Inflates a message that refers to nothing before it.
pub(super) fn inflate(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut stream = flate2::Decompress::new(false);
    let mut out = Vec::with_capacity(70 << 10);
    let whole = [bytes, &[0, 0, 0xFF, 0xFF]].concat();
    let flush = flate2::FlushDecompress::Sync;
    stream.decompress_vec(&whole, &mut out, flush).ok()?;
    (usize::try_from(stream.total_in()) == Ok(whole.len())).then_some(out)
}
