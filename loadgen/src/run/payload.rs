//! What messages hold, so that every byte of a reply can be judged.
//!
//! A message that is made up begins with `WORDS` numbers, if it has room for them: eight hexadecimal
//! digits each, one per byte, least significant first (`@` for 0 to `O` for 15), which is valid text.
//! The rest is a pattern made from the seed, and its length follows from the first two numbers and the
//! seed. A message without that room is pattern only. Files and templates are sent as they are.

use std::io::Write as _;
use std::sync::Arc;

use ringbolt::Message;

use crate::base::clock::{Clock, Nanos};
use crate::spec::shape::{Piece, QUANTILE_BITS, Shape, Template};

/// Bytes of one number.
pub(crate) const WORD: usize = 8;

/// Makes messages and judges replies.
#[derive(Debug, Clone)]
pub(crate) struct Payload<const WORDS: usize> {
    /// The longest message that is made up, with the numbers of the last one; a file; or the last
    /// message of a template.
    bytes: Vec<u8>,
    /// The beginning of the pattern, for messages that have no room for numbers.
    short: Vec<u8>,
    form: Form,
    text: bool,
    seed: u64,
    clock: Clock,
}

#[derive(Debug, Clone)]
enum Form {
    /// Numbers and pattern, of one of these sizes.
    Sizes(Arc<[u32]>),
    Whole,
    Template(Template),
}

impl<const WORDS: usize> Payload<WORDS> {
    /// Bytes of the numbers.
    const HEAD: usize = WORDS * WORD;

    /// Messages of this shape, ASCII if `text` and made up; times in them are of this clock.
    pub(crate) fn new(shape: &Shape, text: bool, seed: u64, clock: Clock) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let byte = |rng: &mut fastrand::Rng| if text { rng.u8(b' '..=b'~') } else { rng.u8(..) };
        let (form, bytes) = match shape {
            Shape::Sizes(sizes) => {
                let pattern = (0..shape.largest()).map(|_| byte(&mut rng)).collect();
                (Form::Sizes(Arc::clone(&sizes.table)), pattern)
            }
            Shape::File(_, bytes) => (Form::Whole, bytes.to_vec()),
            Shape::Template(template) => (Form::Template(template.clone()), Vec::new()),
        };
        let short = bytes.iter().copied().take(Self::HEAD).collect();
        Self { bytes, short, form, text, seed, clock }
    }

    /// The message with these numbers, which was due then.
    #[inline]
    pub(crate) fn write(&mut self, numbers: [u32; WORDS], due: Nanos) -> Message<'_> {
        let Form::Sizes(sizes) = &self.form else {
            self.fill(numbers, due);
            return as_message(&self.bytes, self.text);
        };
        let size = size(sizes, self.seed, numbers);
        if size < Self::HEAD {
            return as_message(&self.short[..size], self.text);
        }
        let head = self.bytes[..Self::HEAD].chunks_exact_mut(WORD);
        for (place, number) in head.zip(numbers) {
            place.copy_from_slice(&digits(number));
        }
        as_message(&self.bytes[..size], self.text)
    }

    /// Whether `reply` is the message with these numbers, which was due then, byte for byte.
    #[inline]
    pub(crate) fn matches(
        &mut self,
        reply: Message<'_>,
        numbers: [u32; WORDS],
        due: Nanos,
    ) -> bool {
        if matches!(reply, Message::Text(_)) != self.text {
            return false;
        }
        let bytes = reply.payload();
        let Form::Sizes(sizes) = &self.form else {
            self.fill(numbers, due);
            return *bytes == self.bytes;
        };
        bytes.len() == size(sizes, self.seed, numbers)
            && self.has_pattern(bytes)
            && (bytes.len() < Self::HEAD
                || bytes
                    .chunks_exact(WORD)
                    .zip(numbers)
                    .all(|(place, number)| place == digits(number)))
    }

    /// The numbers of a message that was made up here, byte for byte.
    #[inline]
    pub(crate) fn read(&self, message: Message<'_>) -> Option<[u32; WORDS]> {
        let bytes = message.payload();
        let Form::Sizes(sizes) = &self.form else { return None };
        if bytes.len() < Self::HEAD || matches!(message, Message::Text(_)) != self.text {
            return None;
        }
        let mut numbers = [0; WORDS];
        for (number, place) in numbers.iter_mut().zip(bytes.chunks_exact(WORD)) {
            *number = value(place.try_into().ok()?)?;
        }
        let whole = bytes.len() == size(sizes, self.seed, numbers) && self.has_pattern(bytes);
        whole.then_some(numbers)
    }

    /// What is wrong with a reply that does not match.
    #[cold]
    pub(crate) fn difference(
        &mut self,
        reply: Message<'_>,
        numbers: [u32; WORDS],
        due: Nanos,
    ) -> String {
        let bytes = reply.payload();
        if matches!(reply, Message::Text(_)) != self.text {
            let names = |text| if text { "text" } else { "binary" };
            return format!("a {} message came back as {}", names(self.text), names(!self.text));
        }
        let expected = self.write(numbers, due).payload();
        if bytes.len() != expected.len() {
            return format!("{} bytes came back of {}", bytes.len(), expected.len());
        }
        let at = bytes.iter().zip(expected).position(|(is, wanted)| is != wanted).unwrap_or(0);
        let (is, wanted) = (bytes.get(at), expected.get(at));
        format!(
            "byte {at} of {} is {:#04x} instead of {:#04x}",
            bytes.len(),
            is.copied().unwrap_or(0),
            wanted.copied().unwrap_or(0)
        )
    }

    /// Whether what is behind the numbers, or all of it if there are none, is as it should be.
    #[inline]
    fn has_pattern(&self, bytes: &[u8]) -> bool {
        let size = bytes.len();
        if size < Self::HEAD {
            return self.short.get(..size) == Some(bytes);
        }
        self.bytes.get(Self::HEAD..size) == Some(&bytes[Self::HEAD..])
    }

    /// Writes the message of a template.
    fn fill(&mut self, numbers: [u32; WORDS], due: Nanos) {
        let Form::Template(template) = &self.form else { return };
        let [sequence, connection] = first_two(numbers);
        self.bytes.clear();
        for piece in &*template.pieces {
            // Writing to a vector cannot fail.
            let _ = match piece {
                Piece::Text(text) => self.bytes.write_all(text.as_bytes()),
                Piece::Sequence => write!(self.bytes, "{sequence}"),
                Piece::Connection => write!(self.bytes, "{connection}"),
                Piece::Time => write!(self.bytes, "{}", self.clock.since_1970(due)),
            };
        }
    }
}

#[inline]
fn as_message(bytes: &[u8], text: bool) -> Message<'_> {
    match text {
        // Valid by construction; checked again only in text mode, by a vectorised routine.
        true => Message::Text(std::str::from_utf8(bytes).unwrap_or_default()),
        false => Message::Binary(bytes),
    }
}

/// How long the message with these numbers is.
#[inline]
fn size<const WORDS: usize>(sizes: &[u32], seed: u64, numbers: [u32; WORDS]) -> usize {
    if let [size] = sizes {
        return *size as usize;
    }
    let [first, second] = first_two(numbers);
    // Splitmix64: neighbours come out far apart.
    let mut mixed = (u64::from(first) << 32 | u64::from(second)) ^ seed.rotate_left(23);
    mixed = mixed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    let index = usize::try_from(mixed >> (64 - QUANTILE_BITS)).unwrap_or(0);
    sizes.get(index).map_or(0, |size| *size as usize)
}

#[inline]
fn first_two<const WORDS: usize>(numbers: [u32; WORDS]) -> [u32; 2] {
    let number = |at| numbers.get(at).copied().unwrap_or(0);
    [number(0), number(1)]
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
    use crate::base::clock::Clock;
    use crate::spec::shape;

    fn made<const WORDS: usize>(shape: &str, text: bool, seed: u64) -> Payload<WORDS> {
        Payload::new(&shape::parse(shape).expect(shape), text, seed, Clock::new())
    }

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
            let mut payload = made::<2>(&size.to_string(), text, 7);
            let sent = payload.write([3, 9], 0).payload().to_vec();
            payload.write([4, 9], 0);
            let as_kind = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok().then(|| bytes.to_vec());
            let mut whole = |bytes: &'_ [u8]| -> bool {
                match (text, as_kind(bytes)) {
                    (true, Some(valid)) => {
                        let text = std::str::from_utf8(&valid).expect("checked");
                        payload.matches(Message::Text(text), [3, 9], 0)
                    }
                    (true, None) => false,
                    (false, _) => payload.matches(Message::Binary(bytes), [3, 9], 0),
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
        let mut payload = made::<2>("16", false, 1);
        let earlier = payload.write([1, 5], 0).payload().to_vec();
        assert!(!payload.matches(Message::Binary(&earlier), [2, 5], 0));
        assert_eq!(
            payload.difference(Message::Binary(&earlier), [2, 5], 0),
            "byte 0 of 16 is 0x41 instead of 0x42"
        );
    }

    #[test]
    fn numbers_are_read_back_from_whole_payloads_only() {
        let mut payload = made::<4>("40", true, 1);
        let sent = payload.write([1, 2, u32::MAX, 0], 0).payload().to_vec();
        let text = std::str::from_utf8(&sent).expect("text");
        assert_eq!(payload.read(Message::Text(text)), Some([1, 2, u32::MAX, 0]));
        assert_eq!(payload.read(Message::Binary(&sent)), None);
        assert_eq!(payload.read(Message::Text(&text[1..])), None);
        let mut wrong = sent.clone();
        wrong[39] ^= 1;
        let text = std::str::from_utf8(&wrong).expect("text");
        assert_eq!(payload.read(Message::Text(text)), None);
        assert_eq!(made::<4>("31", false, 1).read(Message::Binary(&sent[..31])), None);
    }

    #[test]
    fn another_kind_or_length_is_wrong() {
        let mut payload = made::<2>("4", true, 1);
        let same = std::str::from_utf8(&payload.bytes).expect("text").to_owned();
        assert!(payload.matches(Message::Text(&same), [0, 0], 0));
        assert!(!payload.matches(Message::Binary(same.as_bytes()), [0, 0], 0));
        let said = payload.difference(Message::Binary(same.as_bytes()), [0, 0], 0);
        assert_eq!(said, "a text message came back as binary");
        assert!(!payload.matches(Message::Text(&same[1..]), [0, 0], 0));
        assert_eq!(
            payload.difference(Message::Text(&same[1..]), [0, 0], 0),
            "3 bytes came back of 4"
        );
    }

    #[test]
    fn sizes_vary_and_are_known_again() {
        let mut payload = made::<2>("list:0*10,8*20,16*30,300*40", false, 5);
        let mut counts = std::collections::BTreeMap::new();
        for number in 0..10_000 {
            let sent = payload.write([number, 3], 0).payload().to_vec();
            *counts.entry(sent.len()).or_insert(0) += 1;
            // Others are written between the two.
            payload.write([number ^ 1, 3], 0);
            assert!(payload.matches(Message::Binary(&sent), [number, 3], 0), "{number}");
            let known = payload.read(Message::Binary(&sent));
            assert_eq!(known, (sent.len() >= 16).then_some([number, 3]), "{number}");
            if sent.len() >= 16 {
                assert!(!payload.matches(Message::Binary(&sent), [number + 1, 3], 0), "{number}");
                assert_eq!(payload.read(Message::Binary(&sent[..sent.len() - 1])), None);
            }
        }
        for (size, expected) in [(0, 1000), (8, 2000), (16, 3000), (300, 4000)] {
            let count: i32 = counts[&size];
            assert!((count - expected).abs() < 200, "{size} bytes: {count} of {expected}");
        }
    }

    #[test]
    fn templates_are_filled_in() {
        let mut payload = made::<2>(r#"tmpl:{"n":{seq},"c":{conn},"t":{time}}"#, true, 0);
        let sent = payload.write([7, 42], 5_000_000_000).payload().to_vec();
        let time = payload.clock.since_1970(5_000_000_000);
        let text = format!(r#"{{"n":7,"c":42,"t":{time}}}"#);
        assert_eq!(sent, text.as_bytes());
        assert!(payload.matches(Message::Text(&text), [7, 42], 5_000_000_000));
        assert!(!payload.matches(Message::Text(&text), [7, 42], 5_000_000_001));
        assert!(!payload.matches(Message::Text(&text), [8, 42], 5_000_000_000));
        assert!(!payload.matches(Message::Binary(text.as_bytes()), [7, 42], 5_000_000_000));
        assert_eq!(
            payload.difference(Message::Text(&text), [8, 42], 5_000_000_000),
            format!("byte 5 of {} is 0x37 instead of 0x38", text.len())
        );
    }
}
