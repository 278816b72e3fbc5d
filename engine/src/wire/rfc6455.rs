//! RFC 6455 §5: FIN and RSV1-3 beside the opcode, MASK beside a length of 7, 16 or 63 bits, then
//! the masking key.

use super::{FrameHeader, HEADER_MAX, Mask, Opcode, ProtocolError};

/// FIN: this frame ends its message (§5.2).
const FIN: u8 = 0x80;
/// RSV1: with permessage-deflate, the message is compressed (RFC 7692 §6).
const COMPRESSED: u8 = 0x40;
/// RSV2 and RSV3: no extension that we know gives them a meaning (§5.2).
const RESERVED: u8 = 0x30;
/// MASK, in the second byte: a masking key follows (§5.3).
const MASKED: u8 = 0x80;
/// The seven bits of length.
const LENGTH: u8 = 0x7F;
/// The seven bits announce a length of two bytes.
const LENGTH_16: u8 = 126;
/// The longest payload of a control frame (§5.5).
const CONTROL_MAX: u8 = 125;

/// The opcode's number (§11.8).
const fn number(opcode: Opcode) -> u8 {
    match opcode {
        Opcode::Continuation => 0x0,
        Opcode::Text => 0x1,
        Opcode::Binary => 0x2,
        Opcode::Close => 0x8,
        Opcode::Ping => 0x9,
        Opcode::Pong => 0xA,
    }
}

/// The opcode with this number; 3 to 7 and 11 to 15 are reserved.
const fn opcode(number: u8) -> Option<Opcode> {
    Some(match number {
        0x0 => Opcode::Continuation,
        0x1 => Opcode::Text,
        0x2 => Opcode::Binary,
        0x8 => Opcode::Close,
        0x9 => Opcode::Ping,
        0xA => Opcode::Pong,
        _ => return None,
    })
}

/// Reads a header from the front of `bytes`: the fields and the bytes they took, masking key
/// included, or `None` while more bytes are needed. Whether RSV1 and the mask are in their place
/// depends on the connection, and is judged there.
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
    let last = first & FIN != 0;
    if !last && opcode.is_control() {
        return Err(ProtocolError::FragmentedControl);
    }
    let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
    let short = second & LENGTH;
    if short > CONTROL_MAX && opcode.is_control() {
        return Err(ProtocolError::ControlTooLarge);
    }
    let (payload_len, rest, taken) = if short < LENGTH_16 {
        (u64::from(short), rest, 2)
    } else if short == LENGTH_16 {
        let Some((bytes, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
        let len = u64::from(u16::from_be_bytes(*bytes));
        if len < u64::from(LENGTH_16) {
            return Err(ProtocolError::LengthNotMinimal);
        }
        (len, rest, 4)
    } else {
        if rest.first().is_some_and(|top| top & 0x80 != 0) {
            return Err(ProtocolError::LengthTopBit);
        }
        let Some((bytes, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
        let len = u64::from_be_bytes(*bytes);
        if len <= 0xFFFF {
            return Err(ProtocolError::LengthNotMinimal);
        }
        (len, rest, 10)
    };
    let compressed = first & COMPRESSED != 0;
    if second & MASKED == 0 {
        return Ok(Some((
            FrameHeader { last, opcode, payload_len, mask: None, compressed },
            taken,
        )));
    }
    let Some(key) = rest.first_chunk::<4>() else { return Ok(None) };
    let mask = Some(Mask::new(*key));
    Ok(Some((FrameHeader { last, opcode, payload_len, mask, compressed }, taken + 4)))
}

/// How many bytes [`encode`] writes for a payload of this length, without a masking key.
#[inline]
#[must_use]
pub const fn encoded_len(payload_len: u64) -> usize {
    super::hybi02::encoded_len(payload_len)
}

/// Writes the header into the front of `out`, its length in the shortest form and the masking key
/// at the end, and says how many bytes it took.
#[inline]
pub fn encode(header: FrameHeader, out: &mut [u8; HEADER_MAX]) -> usize {
    let first = number(header.opcode)
        | if header.last { FIN } else { 0 }
        | if header.compressed { COMPRESSED } else { 0 };
    let masked = if header.mask.is_some() { MASKED } else { 0 };
    let [b0, b1, rest @ ..] = out;
    *b0 = first;
    // The arms' casts keep the value: each is guarded by the length's range.
    #[expect(clippy::cast_possible_truncation, reason = "guarded by the range in each arm")]
    let taken = match header.payload_len {
        short @ 0..126 => {
            *b1 = short as u8 | masked;
            2
        }
        medium @ 126..=0xFFFF => {
            *b1 = LENGTH_16 | masked;
            let [b2, b3, ..] = rest;
            [*b2, *b3] = (medium as u16).to_be_bytes();
            4
        }
        long => {
            *b1 = LENGTH | masked;
            let [length @ .., _, _, _, _] = rest;
            *length = long.to_be_bytes();
            10
        }
    };
    let Some(mask) = header.mask else { return taken };
    if let Some(place) = out.get_mut(taken..).and_then(<[u8]>::first_chunk_mut) {
        *place = mask.key();
    }
    taken + 4
}
