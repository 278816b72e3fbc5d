//! A reader of DEFLATE (RFC 1951) that watches how far back is referred to. zlib-rs keeps the largest
//! window whatever it is told, and would let a sender pass that breaks what was agreed on.

/// What was received so far, and what a receiver may still know of it.
#[derive(Debug)]
pub(crate) struct Window {
    bytes: Vec<u8>,
    size: usize,
}

/// Base and further bits of the lengths 257 to 285 stand for (RFC 1951 §3.2.5).
const LENGTHS: [(usize, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// The order of the lengths of the code for code lengths (§3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Bits of a stream, the lowest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, n: u8) -> Option<usize> {
        (0..n).try_fold(0, |sum, i| {
            let byte = *self.bytes.get(self.at / 8)?;
            let bit = usize::from(byte >> (self.at % 8) & 1);
            self.at += 1;
            Some(sum | bit << i)
        })
    }
}

/// A Huffman code: how many symbols have each length, and the symbols in order (§3.2.2).
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let mut counts = [0; 16];
        lengths.iter().for_each(|len| counts[*len] += 1);
        counts[0] = 0;
        let of = |len| (0..lengths.len()).filter(move |symbol| lengths[*symbol] == len);
        Self { counts, symbols: (1..16).flat_map(of).collect() }
    }

    fn read(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            code |= bits.take(1)?;
            if code < first + count {
                return self.symbols.get(index + code - first).copied();
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

/// The two codes of a dynamic block (§3.2.7).
fn dynamic(bits: &mut Bits<'_>) -> Option<(Code, Code)> {
    let (literals, distances) = (bits.take(5)? + 257, bits.take(5)? + 1);
    let count = bits.take(4)? + 4;
    let mut lengths = [0; 19];
    for place in &ORDER[..count] {
        lengths[*place] = bits.take(3)?;
    }
    let code = Code::new(&lengths);
    let mut lengths = Vec::new();
    while lengths.len() < literals + distances {
        let (value, times) = match code.read(bits)? {
            16 => (*lengths.last()?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (length, 1),
        };
        lengths.resize(lengths.len() + times, value);
    }
    Some((Code::new(&lengths[..literals]), Code::new(&lengths[literals..])))
}

/// The two codes of a fixed block (§3.2.6).
fn fixed() -> (Code, Code) {
    let length = |symbol| match symbol {
        0..=143 | 280..=287 => 8,
        144..=255 => 9,
        _ => 7,
    };
    (Code::new(&(0..288).map(length).collect::<Vec<_>>()), Code::new(&[5; 30]))
}

impl Window {
    /// A receiver's window of so many bits, with nothing in it.
    pub(crate) fn new(bits: u8) -> Self {
        Self { bytes: Vec::new(), size: 1 << bits }
    }

    /// Forgets what was received, as without takeover.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
    }

    /// Inflates a message without its tail; says what is wrong with it.
    pub(crate) fn inflate(&mut self, message: &[u8]) -> Result<Vec<u8>, String> {
        let start = self.bytes.len();
        let whole = [message, &[0, 0, 0xFF, 0xFF]].concat();
        let mut bits = Bits { bytes: &whole, at: 0 };
        while whole.len() * 8 - bits.at >= 8 {
            self.block(&mut bits)?;
        }
        Ok(self.bytes[start..].to_vec())
    }

    fn block(&mut self, bits: &mut Bits<'_>) -> Result<(), String> {
        let cut = || "the message is cut".to_owned();
        let last = bits.take(1).ok_or_else(cut)?;
        let codes = match bits.take(2).ok_or_else(cut)? {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let (len, check) = (bits.take(16).ok_or_else(cut)?, bits.take(16).ok_or_else(cut)?);
                if len ^ check != 0xFFFF {
                    return Err("a stored block's length is wrong".to_owned());
                }
                let from = bits.at / 8;
                self.bytes.extend(bits.bytes.get(from..from + len).ok_or_else(cut)?);
                bits.at += len * 8;
                return Ok(());
            }
            1 => fixed(),
            2 => dynamic(bits).ok_or("a block's codes are wrong")?,
            _ => return Err("there is no such block".to_owned()),
        };
        if last == 1 {
            return Err("a last block, which ours never sends".to_owned());
        }
        loop {
            match codes.0.read(bits).ok_or_else(cut)? {
                256 => return Ok(()),
                literal @ 0..=255 => self.bytes.push(u8::try_from(literal).expect("below 256")),
                symbol => self.copy(symbol - 257, &codes.1, bits)?,
            }
        }
    }

    fn copy(&mut self, symbol: usize, code: &Code, bits: &mut Bits<'_>) -> Result<(), String> {
        let read = |bits: &mut Bits<'_>| {
            let (base, further) = *LENGTHS.get(symbol)?;
            let len = base + bits.take(further)?;
            let distance = code.read(bits)?;
            if distance < 4 {
                return Some((len, distance + 1));
            }
            let further = u8::try_from(distance / 2 - 1).ok()?;
            Some((len, ((2 + distance % 2) << further) + 1 + bits.take(further)?))
        };
        let (len, distance) = read(bits).ok_or("a match is wrong")?;
        if distance > self.size {
            return Err(format!("{distance} bytes back with a window of {}", self.size));
        }
        let from = self
            .bytes
            .len()
            .checked_sub(distance)
            .ok_or_else(|| format!("{distance} bytes back of {}", self.bytes.len()))?;
        for at in from..from + len {
            self.bytes.push(self.bytes[at]);
        }
        Ok(())
    }
}
