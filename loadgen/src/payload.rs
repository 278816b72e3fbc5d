//! What messages hold, so that every byte of a reply can be judged.
//!
//! A payload begins with `WORDS` numbers, if it has room for them: eight hexadecimal digits each,
//! one per byte, least significant first (`@` for 0 to `O` for 15), which is valid text. The rest
//! is a pattern made from the seed. A payload without that room is pattern only.

use ringbolt::Message;

/// Bytes of one number.
pub(crate) const WORD: usize = 8;

/// Makes payloads of one size and judges replies.
#[derive(Debug, Clone)]
pub(crate) struct Payload<const WORDS: usize> {
    bytes: Vec<u8>,
    /// Where the pattern begins: behind the numbers, if there are any.
    pattern: usize,
    text: bool,
}

impl<const WORDS: usize> Payload<WORDS> {
    /// Payloads of `size` bytes, ASCII if `text`.
    pub(crate) fn new(size: usize, text: bool, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let byte = |rng: &mut fastrand::Rng| if text { rng.u8(b' '..=b'~') } else { rng.u8(..) };
        let bytes = (0..size).map(|_| byte(&mut rng)).collect();
        let pattern = if size >= WORDS * WORD { WORDS * WORD } else { 0 };
        Self { bytes, pattern, text }
    }

    /// The message with these numbers.
    #[inline]
    pub(crate) fn write(&mut self, numbers: [u32; WORDS]) -> Message<'_> {
        let head = self.bytes[..self.pattern].chunks_exact_mut(WORD);
        for (place, number) in head.zip(numbers) {
            place.copy_from_slice(&digits(number));
        }
        match self.text {
            // Valid by construction; checked again only in text mode, by a vectorised routine.
            true => Message::Text(std::str::from_utf8(&self.bytes).unwrap_or_default()),
            false => Message::Binary(&self.bytes),
        }
    }

    /// Whether `reply` is the message with these numbers, byte for byte.
    #[inline]
    pub(crate) fn matches(&self, reply: Message<'_>, numbers: [u32; WORDS]) -> bool {
        self.has_pattern(reply)
            && reply.payload()[..self.pattern]
                .chunks_exact(WORD)
                .zip(numbers)
                .all(|(place, number)| place == digits(number))
    }

    /// The numbers of a message that is one of these payloads, byte for byte.
    #[inline]
    pub(crate) fn read(&self, message: Message<'_>) -> Option<[u32; WORDS]> {
        if self.pattern == 0 || !self.has_pattern(message) {
            return None;
        }
        let mut numbers = [0; WORDS];
        for (number, place) in numbers.iter_mut().zip(message.payload().chunks_exact(WORD)) {
            *number = value(place.try_into().ok()?)?;
        }
        Some(numbers)
    }

    /// What is wrong with a reply that does not match.
    #[cold]
    pub(crate) fn difference(&self, reply: Message<'_>, numbers: [u32; WORDS]) -> String {
        let bytes = reply.payload();
        if matches!(reply, Message::Text(_)) != self.text {
            let names = |text| if text { "text" } else { "binary" };
            return format!("a {} message came back as {}", names(self.text), names(!self.text));
        }
        if bytes.len() != self.bytes.len() {
            return format!("{} bytes came back of {}", bytes.len(), self.bytes.len());
        }
        let mut expected = self.clone();
        let expected = expected.write(numbers).payload();
        let at = bytes.iter().zip(expected).position(|(is, wanted)| is != wanted).unwrap_or(0);
        let (is, wanted) = (bytes.get(at), expected.get(at));
        format!(
            "byte {at} of {} is {:#04x} instead of {:#04x}",
            bytes.len(),
            is.copied().unwrap_or(0),
            wanted.copied().unwrap_or(0)
        )
    }

    #[inline]
    fn has_pattern(&self, message: Message<'_>) -> bool {
        let bytes = message.payload();
        bytes.len() == self.bytes.len()
            && matches!(message, Message::Text(_)) == self.text
            && bytes[self.pattern..] == self.bytes[self.pattern..]
    }
}

/// The eight digits of a number, least significant first.
#[inline]
fn digits(number: u32) -> [u8; WORD] {
    let mut wide = u64::from(number);
    wide = (wide | wide << 16) & 0x0000_FFFF_0000_FFFF;
    wide = (wide | wide << 8) & 0x00FF_00FF_00FF_00FF;
    wide = (wide | wide << 4) & 0x0F0F_0F0F_0F0F_0F0F;
    (wide | 0x4040_4040_4040_4040).to_le_bytes()
}

/// The number that eight digits stand for.
#[inline]
fn value(digits: [u8; WORD]) -> Option<u32> {
    let mut wide = u64::from_le_bytes(digits);
    if wide & 0xF0F0_F0F0_F0F0_F0F0 != 0x4040_4040_4040_4040 {
        return None;
    }
    wide &= 0x0F0F_0F0F_0F0F_0F0F;
    wide = (wide | wide >> 4) & 0x00FF_00FF_00FF_00FF;
    wide = (wide | wide >> 8) & 0x0000_FFFF_0000_FFFF;
    u32::try_from((wide | wide >> 16) & 0xFFFF_FFFF).ok()
}

#[cfg(test)]
mod tests {
    use ringbolt::Message;

    use super::{Payload, digits, value};

    #[test]
    fn digits_are_readable_text() {
        assert_eq!(digits(0), *b"@@@@@@@@");
        assert_eq!(digits(0x1234_ABCF), *b"OLKJDCBA");
        assert_eq!(digits(u32::MAX), *b"OOOOOOOO");
        for number in [0, 1, 0x1234_ABCF, u32::MAX - 1, u32::MAX] {
            assert_eq!(value(digits(number)), Some(number));
        }
        assert_eq!(value(*b"@@@@@@@P"), None);
        assert_eq!(value(*b"@@@?@@@@"), None);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for (size, text) in [(0, false), (1, false), (15, false), (16, true), (64, true)] {
            let mut payload = Payload::<2>::new(size, text, 7);
            let sent = payload.write([3, 9]).payload().to_vec();
            payload.write([4, 9]);
            let as_kind = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok().then(|| bytes.to_vec());
            let whole = |bytes: &'_ [u8]| -> bool {
                match (text, as_kind(bytes)) {
                    (true, Some(valid)) => {
                        let text = std::str::from_utf8(&valid).expect("checked");
                        payload.matches(Message::Text(text), [3, 9])
                    }
                    (true, None) => false,
                    (false, _) => payload.matches(Message::Binary(bytes), [3, 9]),
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
        let mut payload = Payload::<2>::new(16, false, 1);
        let earlier = payload.write([1, 5]).payload().to_vec();
        assert!(!payload.matches(Message::Binary(&earlier), [2, 5]));
        assert_eq!(
            payload.difference(Message::Binary(&earlier), [2, 5]),
            "byte 0 of 16 is 0x41 instead of 0x42"
        );
    }

    #[test]
    fn numbers_are_read_back_from_whole_payloads_only() {
        let mut payload = Payload::<4>::new(40, true, 1);
        let sent = payload.write([1, 2, u32::MAX, 0]).payload().to_vec();
        let text = std::str::from_utf8(&sent).expect("text");
        assert_eq!(payload.read(Message::Text(text)), Some([1, 2, u32::MAX, 0]));
        assert_eq!(payload.read(Message::Binary(&sent)), None);
        assert_eq!(payload.read(Message::Text(&text[1..])), None);
        let mut wrong = sent.clone();
        wrong[39] ^= 1;
        let text = std::str::from_utf8(&wrong).expect("text");
        assert_eq!(payload.read(Message::Text(text)), None);
        assert_eq!(Payload::<4>::new(31, false, 1).read(Message::Binary(&sent[..31])), None);
    }

    #[test]
    fn another_kind_or_length_is_wrong() {
        let payload = Payload::<2>::new(4, true, 1);
        let same = std::str::from_utf8(&payload.bytes).expect("text").to_owned();
        assert!(payload.matches(Message::Text(&same), [0, 0]));
        assert!(!payload.matches(Message::Binary(same.as_bytes()), [0, 0]));
        let said = payload.difference(Message::Binary(same.as_bytes()), [0, 0]);
        assert_eq!(said, "a text message came back as binary");
        assert!(!payload.matches(Message::Text(&same[1..]), [0, 0]));
        assert_eq!(payload.difference(Message::Text(&same[1..]), [0, 0]), "3 bytes came back of 4");
    }
}
