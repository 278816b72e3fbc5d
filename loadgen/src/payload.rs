//! What messages hold, so that every byte of a reply can be judged.
//!
//! A payload of at least [`HEADER`] bytes begins with two numbers, one hexadecimal digit per byte
//! (`@` for 0 to `O` for 15), which is valid text; the rest is a pattern made from the seed. A
//! shorter payload is pattern only.

use ringbolt::Message;

/// Bytes of the two numbers.
pub(crate) const HEADER: usize = 16;

/// Makes payloads of one size and judges replies.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    bytes: Vec<u8>,
    text: bool,
}

impl Payload {
    /// Payloads of `size` bytes, ASCII if `text`.
    pub(crate) fn new(size: usize, text: bool, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let byte = |rng: &mut fastrand::Rng| if text { rng.u8(b' '..=b'~') } else { rng.u8(..) };
        let bytes = (0..size).map(|_| byte(&mut rng)).collect();
        Self { bytes, text }
    }

    /// The message with these two numbers.
    #[inline]
    pub(crate) fn write(&mut self, first: u32, second: u32) -> Message<'_> {
        if let Some(head) = self.bytes.first_chunk_mut() {
            *head = header(first, second);
        }
        self.message()
    }

    /// The message as last written.
    fn message(&self) -> Message<'_> {
        match self.text {
            // Valid by construction; checked again only in text mode, by a vectorised routine.
            true => Message::Text(std::str::from_utf8(&self.bytes).unwrap_or_default()),
            false => Message::Binary(&self.bytes),
        }
    }

    /// Whether `reply` is the message with these two numbers, byte for byte.
    #[inline]
    pub(crate) fn matches(&self, reply: Message<'_>, first: u32, second: u32) -> bool {
        let bytes = reply.payload();
        if bytes.len() != self.bytes.len() || matches!(reply, Message::Text(_)) != self.text {
            return false;
        }
        match bytes.split_first_chunk() {
            None => bytes == self.bytes,
            Some((head, rest)) => *head == header(first, second) && *rest == self.bytes[HEADER..],
        }
    }

    /// What is wrong with a reply that does not match.
    #[cold]
    pub(crate) fn difference(&self, reply: Message<'_>, first: u32, second: u32) -> String {
        let bytes = reply.payload();
        if matches!(reply, Message::Text(_)) != self.text {
            let names = |text| if text { "text" } else { "binary" };
            return format!("a {} message came back as {}", names(self.text), names(!self.text));
        }
        if bytes.len() != self.bytes.len() {
            return format!("{} bytes came back of {}", bytes.len(), self.bytes.len());
        }
        let mut expected = self.clone();
        let expected = expected.write(first, second).payload();
        let at = bytes.iter().zip(expected).position(|(is, wanted)| is != wanted).unwrap_or(0);
        let (is, wanted) = (bytes.get(at), expected.get(at));
        format!(
            "byte {at} of {} is {:#04x} instead of {:#04x}",
            bytes.len(),
            is.copied().unwrap_or(0),
            wanted.copied().unwrap_or(0)
        )
    }
}

/// The 16 bytes of two numbers.
#[inline]
pub(crate) fn header(first: u32, second: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&digits(first));
    bytes[8..].copy_from_slice(&digits(second));
    bytes
}

/// The eight digits of a number, least significant first.
#[inline]
pub(crate) fn digits(number: u32) -> [u8; 8] {
    let mut wide = u64::from(number);
    wide = (wide | wide << 16) & 0x0000_FFFF_0000_FFFF;
    wide = (wide | wide << 8) & 0x00FF_00FF_00FF_00FF;
    wide = (wide | wide << 4) & 0x0F0F_0F0F_0F0F_0F0F;
    (wide | 0x4040_4040_4040_4040).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use ringbolt::Message;

    use super::{Payload, digits};

    #[test]
    fn digits_are_readable_text() {
        assert_eq!(digits(0), *b"@@@@@@@@");
        assert_eq!(digits(0x1234_ABCF), *b"OLKJDCBA");
        assert_eq!(digits(u32::MAX), *b"OOOOOOOO");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for (size, text) in [(0, false), (1, false), (15, false), (16, true), (64, true)] {
            let mut payload = Payload::new(size, text, 7);
            let sent = payload.write(3, 9).payload().to_vec();
            payload.write(4, 9);
            let as_kind = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok().then(|| bytes.to_vec());
            let whole = |bytes: &'_ [u8]| -> bool {
                match (text, as_kind(bytes)) {
                    (true, Some(valid)) => {
                        let text = std::str::from_utf8(&valid).expect("checked");
                        payload.matches(Message::Text(text), 3, 9)
                    }
                    (true, None) => false,
                    (false, _) => payload.matches(Message::Binary(bytes), 3, 9),
                }
            };
            assert!(whole(&sent), "{size} bytes");
            for bit in 0..size * 8 {
                let mut wrong = sent.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                assert!(!whole(&wrong), "{size} bytes, bit {bit}");
            }
        }
    }

    #[test]
    fn an_earlier_message_is_no_answer_to_a_later_one() {
        let mut payload = Payload::new(16, false, 1);
        let earlier = payload.write(1, 5).payload().to_vec();
        assert!(!payload.matches(Message::Binary(&earlier), 2, 5));
        assert_eq!(
            payload.difference(Message::Binary(&earlier), 2, 5),
            "byte 0 of 16 is 0x41 instead of 0x42"
        );
    }

    #[test]
    fn another_kind_or_length_is_wrong() {
        let payload = Payload::new(4, true, 1);
        let same = std::str::from_utf8(&payload.bytes).expect("text").to_owned();
        assert!(payload.matches(Message::Text(&same), 0, 0));
        assert!(!payload.matches(Message::Binary(same.as_bytes()), 0, 0));
        let said = payload.difference(Message::Binary(same.as_bytes()), 0, 0);
        assert_eq!(said, "a text message came back as binary");
        assert!(!payload.matches(Message::Text(&same[1..]), 0, 0));
        assert_eq!(payload.difference(Message::Text(&same[1..]), 0, 0), "3 bytes came back of 4");
    }
}
