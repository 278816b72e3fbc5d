//! draft-02 §4: MORE and RSV1-3 beside the opcode, RSV4 beside a length of 7, 16 or 63 bits that counts
//! the payload and nothing else (FR-01, FR-08), no masking (FR-09).

use super::{FrameHeader, HEADER_MAX, Opcode, ProtocolError};

/// MORE: further frames of this message follow (FR-02).
const MORE: u8 = 0x80;
/// RSV1 to RSV3; draft-02 defines no extension, so they stay clear (FR-03, EXT-01).
const RESERVED: u8 = 0x70;
/// RSV4, in the second byte (FR-03).
const RESERVED_4: u8 = 0x80;
/// The seven bits of length.
const LENGTH: u8 = 0x7F;
/// The seven bits announce a length of two bytes (FR-05).
const LENGTH_16: u8 = 126;

/// The opcode's number (§4.2, CTL-01).
const fn number(opcode: Opcode) -> u8 {
    match opcode {
        Opcode::Continuation => 0x0,
        Opcode::Close => 0x1,
        Opcode::Ping => 0x2,
        Opcode::Pong => 0x3,
        Opcode::Text => 0x4,
        Opcode::Binary => 0x5,
    }
}

/// The opcode with this number; 6 to 15 are reserved (FR-04).
const fn opcode(number: u8) -> Option<Opcode> {
    Some(match number {
        0x0 => Opcode::Continuation,
        0x1 => Opcode::Close,
        0x2 => Opcode::Ping,
        0x3 => Opcode::Pong,
        0x4 => Opcode::Text,
        0x5 => Opcode::Binary,
        _ => return None,
    })
}

/// Reads a header from the front of `bytes`: the fields and the bytes they took, or `None` while
/// more bytes are needed. A length need not be in its shortest form (FR-07).
///
/// # Errors
///
/// The rule that the header breaks, as soon as the bytes show it.
#[inline]
pub fn decode(bytes: &[u8]) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    if first & RESERVED != 0 {
        return Err(ProtocolError::ReservedBit);
    }
    let Some(opcode) = opcode(first & 0x0F) else { return Err(ProtocolError::ReservedOpcode) };
    let last = first & MORE == 0;
    if !last && opcode.is_control() {
        return Err(ProtocolError::FragmentedControl);
    }
    let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
    if second & RESERVED_4 != 0 {
        return Err(ProtocolError::ReservedBit);
    }
    let short = second & LENGTH;
    let (payload_len, taken) = if short < LENGTH_16 {
        (u64::from(short), 2)
    } else if short == LENGTH_16 {
        let Some(bytes) = rest.first_chunk::<2>() else { return Ok(None) };
        (u64::from(u16::from_be_bytes(*bytes)), 4)
    } else {
        if rest.first().is_some_and(|top| top & 0x80 != 0) {
            return Err(ProtocolError::LengthTopBit); // FR-06
        }
        let Some(bytes) = rest.first_chunk::<8>() else { return Ok(None) };
        (u64::from_be_bytes(*bytes), 10)
    };
    Ok(Some((FrameHeader { last, opcode, payload_len, mask: None, compressed: false }, taken)))
}

/// How many bytes [`encode`] writes for a payload of this length.
#[inline]
#[must_use]
pub const fn encoded_len(payload_len: u64) -> usize {
    if payload_len < 126 {
        2
    } else if payload_len <= 0xFFFF {
        4
    } else {
        10
    }
}

/// Writes the header into the front of `out`, its length in the shortest form, and says how many
/// bytes it took.
#[inline]
pub fn encode(header: FrameHeader, out: &mut [u8; HEADER_MAX]) -> usize {
    let first = number(header.opcode) | if header.last { 0 } else { MORE };
    let [b0, b1, rest @ ..] = out;
    *b0 = first;
    // The arms' casts keep the value: each is guarded by the length's range.
    #[expect(clippy::cast_possible_truncation, reason = "guarded by the range in each arm")]
    match header.payload_len {
        short @ 0..126 => {
            *b1 = short as u8;
            2
        }
        medium @ 126..=0xFFFF => {
            *b1 = LENGTH_16;
            let [b2, b3, ..] = rest;
            [*b2, *b3] = (medium as u16).to_be_bytes();
            4
        }
        long => {
            *b1 = LENGTH;
            let [length @ .., _, _, _, _] = rest;
            *length = long.to_be_bytes();
            10
        }
    }
}
