//! The cases: what a client sends, and what must come back.

use super::codec::{
    BINARY, CLOSE, CONTINUATION, FIN, KEY, PING, PONG, RSV1, RSV2, RSV3, TEXT, close, frame,
    frame_as,
};

/// How a case ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection still echoes.
    Alive,
    /// A Close frame with this code, or without a payload, and then the end of TCP.
    Closed(Option<u16>),
}

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Our name for it; it begins with the section.
    pub(crate) id: String,
    /// What is written, each as one write.
    pub(crate) writes: Vec<Vec<u8>>,
    /// The frames that must come back, in order.
    pub(crate) back: Vec<(u8, Vec<u8>)>,
    pub(crate) end: End,
}

/// A case in the making.
fn case(id: impl Into<String>, writes: impl IntoIterator<Item = Vec<u8>>) -> Case {
    Case { id: id.into(), writes: writes.into_iter().collect(), back: Vec::new(), end: End::Alive }
}

impl Case {
    fn back(mut self, first: u8, payload: impl Into<Vec<u8>>) -> Self {
        self.back.push((first, payload.into()));
        self
    }

    fn closes(mut self, code: u16) -> Self {
        self.end = End::Closed(Some(code));
        self
    }

    /// Sends the bytes in writes of `n`.
    fn chopped(mut self, n: usize) -> Self {
        let bytes = self.writes.concat();
        self.writes = bytes.chunks(n).map(<[u8]>::to_vec).collect();
        self
    }
}

/// All cases, group by group.
pub(crate) fn all() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("Lengths and echoes (§5.2, §5.6)", lengths()),
        ("Control frames (§5.5)", control()),
        ("Reserved bits and opcodes (§5.2)", reserved()),
        ("Masking (§5.1, §5.3)", masking()),
        ("Fragmentation (§5.4)", fragmentation()),
        ("Text (§5.6, §8.1)", text()),
        ("Closing (§5.5.1, §7.4)", closing()),
        ("Size and number (§10.4)", many()),
    ]
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| b'!' + u8::try_from(i % 90).expect("small")).collect()
}

fn lengths() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, opcode) in [("text", TEXT), ("binary", BINARY)] {
        for len in [0, 1, 124, 125, 126, 127, 128, 255, 256, 4096, 65_535, 65_536, 70_000] {
            let payload = pattern(len);
            let echo = case(format!("5.2 {kind} of {len}"), [frame(FIN | opcode, &payload)])
                .back(FIN | opcode, payload);
            if len <= 256 {
                let mut chopped = echo.clone().chopped(1);
                chopped.id += " byte by byte";
                cases.push(chopped);
            }
            let mut chopped = echo.clone().chopped(997);
            chopped.id += " in writes of 997";
            cases.extend([echo, chopped]);
        }
    }
    for (len, form) in [(0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65_535, 8)] {
        let bytes = frame_as(FIN | BINARY, &pattern(len), Some(KEY), Some(form));
        cases.push(case(format!("5.2 length {len} in {form} bytes"), [bytes]).closes(1002));
    }
    let mut top = vec![FIN | BINARY, 0xFF, 0x80];
    top.extend([0; 7]);
    cases.push(case("5.2 top bit of the length", [top]).closes(1002));
    cases
}

fn control() -> Vec<Case> {
    let mut cases = Vec::new();
    for len in [0, 1, 64, 124, 125] {
        let payload = pattern(len);
        let ping = case(format!("5.5.2 ping of {len}"), [frame(FIN | PING, &payload)])
            .back(FIN | PONG, payload);
        let mut chopped = ping.clone().chopped(1);
        chopped.id += " byte by byte";
        cases.extend([ping, chopped]);
    }
    let binary: Vec<u8> = (0..=124).chain([0xFF]).take(125).collect();
    cases.push(
        case("5.5.2 ping that is no text", [frame(FIN | PING, [0x00, 0xFF, 0xFE, 0xFD])])
            .back(FIN | PONG, [0x00, 0xFF, 0xFE, 0xFD]),
    );
    cases.push(
        case("5.5.2 ping of any bytes", [frame(FIN | PING, &binary)]).back(FIN | PONG, binary),
    );
    for (name, opcode) in [("close", CLOSE), ("ping", PING), ("pong", PONG)] {
        let long = frame(FIN | opcode, pattern(126));
        cases.push(case(format!("5.5 {name} of 126"), [long.clone()]).closes(1002));
        cases.push(case(format!("5.5 {name} of 126 chopped"), [long]).chopped(1).closes(1002));
        let part = frame(opcode, b"part");
        cases.push(case(format!("5.5 fragmented {name}"), [part]).closes(1002));
    }
    for (name, payload) in [("empty", &b""[..]), ("with payload", b"unasked")] {
        let pong = frame(FIN | PONG, payload);
        cases.push(case(format!("5.5.3 unasked pong, {name}"), [pong.clone()]));
        let both = [pong, frame(FIN | PING, b"and a ping")];
        cases.push(
            case(format!("5.5.3 unasked pong, {name}, and a ping"), both)
                .back(FIN | PONG, b"and a ping"),
        );
    }
    let pings: Vec<_> = (0..10_u8).map(|n| frame(FIN | PING, [b'a' + n])).collect();
    for (name, writes) in [("in one write", vec![pings.concat()]), ("in ten writes", pings)] {
        let mut ten = case(format!("5.5.2 ten pings {name}"), writes);
        for n in 0..10 {
            ten = ten.back(FIN | PONG, [b'a' + n]);
        }
        cases.push(ten);
    }
    cases
}

fn reserved() -> Vec<Case> {
    let mut cases = Vec::new();
    let hello = || frame(FIN | TEXT, b"hello");
    for bits in [RSV1, RSV2, RSV3, RSV1 | RSV2, RSV1 | RSV3, RSV2 | RSV3, RSV1 | RSV2 | RSV3] {
        for (name, opcode) in [("text", TEXT), ("binary", BINARY), ("ping", PING), ("close", CLOSE)]
        {
            let bad = frame(FIN | bits | opcode, b"");
            let id = format!("5.2 reserved bits {:#05b} on {name}", bits >> 4);
            cases.push(case(id, [bad]).closes(1002));
        }
        let after = [hello(), frame(FIN | bits | TEXT, b"bad"), frame(FIN | PING, b"late")];
        let id = format!("5.2 reserved bits {:#05b} behind a message", bits >> 4);
        let after = case(id, [after.concat()]).back(FIN | TEXT, b"hello").closes(1002);
        let mut chopped = after.clone().chopped(1);
        chopped.id += ", chopped";
        cases.extend([after, chopped]);
    }
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        for (name, payload) in [("empty", &b""[..]), ("with payload", b"some")] {
            let bad = frame(FIN | opcode, payload);
            cases.push(case(format!("5.2 opcode {opcode:#x}, {name}"), [bad]).closes(1002));
        }
        let after = [hello(), frame(FIN | opcode, b"bad"), frame(FIN | PING, b"late")].concat();
        let id = format!("5.2 opcode {opcode:#x} behind a message");
        cases.push(case(id, [after]).back(FIN | TEXT, b"hello").closes(1002));
    }
    cases
}

fn masking() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, opcode) in [("text", TEXT), ("binary", BINARY), ("ping", PING), ("close", CLOSE)] {
        let bare = frame_as(FIN | opcode, b"", None, None);
        cases.push(case(format!("5.1 {name} without a mask"), [bare]).closes(1002));
    }
    for key in [[0; 4], [0xFF; 4], [1, 0, 0, 0], [0, 0, 0, 1], [0x80, 0x40, 0x20, 0x10]] {
        for len in [1, 2, 3, 4, 5, 63, 64, 65, 255, 256, 257, 4099] {
            let payload = pattern(len);
            let bytes = frame_as(FIN | BINARY, &payload, Some(key), None);
            let id = format!("5.3 key {key:02x?} over {len}");
            let one = case(id, [bytes]).back(FIN | BINARY, payload);
            if len > 100 {
                let mut cut = one.clone().chopped(101);
                cut.id += ", cut";
                cases.push(cut);
            }
            cases.push(one);
        }
    }
    cases
}

fn fragmentation() -> Vec<Case> {
    let mut cases = Vec::new();
    let go_on = |payload: &[u8]| frame(CONTINUATION, payload);
    let end = |payload: &[u8]| frame(FIN | CONTINUATION, payload);
    for (kind, opcode) in [("text", TEXT), ("binary", BINARY)] {
        let two = [frame(opcode, b"frag"), end(b"ment")];
        let ping = frame(FIN | PING, b"between");
        let rows = [
            ("two fragments", vec![two.concat()], vec![]),
            ("two fragments in two writes", two.to_vec(), vec![]),
            ("three", vec![frame(opcode, b"fr"), go_on(b"agme"), end(b"nt")], vec![]),
            ("empty ones", vec![frame(opcode, b""), go_on(b""), end(b"fragment")], vec![]),
            ("an empty end", vec![frame(opcode, b"fragment"), end(b"")], vec![]),
            (
                "a ping between",
                vec![two[0].clone(), ping.clone(), two[1].clone()],
                vec![(FIN | PONG, b"between".to_vec())],
            ),
            (
                "pings between",
                vec![[&two[0][..], &ping, &ping, &two[1]].concat()],
                vec![(FIN | PONG, b"between".to_vec()); 2],
            ),
            (
                "a pong between",
                vec![two[0].clone(), frame(FIN | PONG, b"x"), two[1].clone()],
                vec![],
            ),
        ];
        for (name, writes, back) in rows {
            for chop in [None, Some(1), Some(3)] {
                let id = format!("5.4 {kind} in {name}, writes of {chop:?}");
                let mut one = case(id, writes.clone());
                one.back.clone_from(&back);
                one = one.back(FIN | opcode, b"fragment");
                cases.push(match chop {
                    Some(n) => one.chopped(n),
                    None => one,
                });
            }
        }
        cases.push(
            case(format!("5.4 all empty, {kind}"), [frame(opcode, b""), go_on(b""), end(b"")])
                .back(FIN | opcode, b""),
        );
        let twice = [frame(opcode, b"a"), frame(FIN | opcode, b"b")];
        cases.push(case(format!("5.4 {kind} inside a message"), twice).closes(1002));
        let open = [frame(opcode, b"a"), frame(opcode, b"b")];
        cases.push(case(format!("5.4 two {kind} beginnings"), [open.concat()]).closes(1002));
        let again = [two.concat(), end(b"more")];
        cases.push(
            case(format!("5.4 a continuation behind the {kind}"), again)
                .back(FIN | opcode, b"fragment")
                .closes(1002),
        );
    }
    for (name, bytes) in [("last", end(b"x")), ("first", go_on(b"x")), ("empty", end(b""))] {
        cases.push(
            case(format!("5.4 a {name} continuation of nothing"), [bytes.clone()]).closes(1002),
        );
        let behind = [frame(FIN | TEXT, b"hello"), bytes];
        cases.push(
            case(format!("5.4 a {name} continuation behind a message"), behind)
                .back(FIN | TEXT, b"hello")
                .closes(1002),
        );
    }
    cases
}

/// Texts that are valid.
const VALID: &[(&str, &str)] = &[
    ("Greek", "κόσμε"),
    ("mixed", "Hello-µ@ßöäüàá-UTF-8!!"),
    ("first of two bytes", "\u{80}"),
    ("last of two bytes", "\u{7ff}"),
    ("first of three bytes", "\u{800}"),
    ("before the surrogates", "\u{d7ff}"),
    ("behind the surrogates", "\u{e000}"),
    ("last of three bytes", "\u{ffff}"),
    ("first of four bytes", "\u{10000}"),
    ("last of all", "\u{10ffff}"),
    ("replacement character", "\u{fffd}"),
    ("no characters", "\u{fdd0}\u{fffe}\u{1fffe}\u{10fffe}"),
    ("NUL and DEL", "\0\u{7f}"),
    ("byte order mark", "\u{feff}text"),
];

/// Bytes that are not, and how many of them make that certain.
const INVALID: &[(&str, &[u8], usize)] = &[
    ("a lone continuation", b"\x80", 1),
    ("the last continuation", b"\xBF", 1),
    ("continuations", b"\x80\xBF\x80", 1),
    ("overlong NUL, two bytes", b"\xC0\x80", 1),
    ("overlong slash, two bytes", b"\xC0\xAF", 1),
    ("overlong, last of C1", b"\xC1\xBF", 1),
    ("overlong slash, three bytes", b"\xE0\x80\xAF", 2),
    ("overlong, last of three", b"\xE0\x9F\xBF", 2),
    ("overlong slash, four bytes", b"\xF0\x80\x80\xAF", 2),
    ("overlong, last of four", b"\xF0\x8F\xBF\xBF", 2),
    ("first high surrogate", b"\xED\xA0\x80", 2),
    ("last high surrogate", b"\xED\xAF\xBF", 2),
    ("first low surrogate", b"\xED\xB0\x80", 2),
    ("last low surrogate", b"\xED\xBF\xBF", 2),
    ("a surrogate pair", b"\xED\xA0\x80\xED\xB0\x80", 2),
    ("beyond the last", b"\xF4\x90\x80\x80", 2),
    ("F5", b"\xF5\x80\x80\x80", 1),
    ("F7", b"\xF7\xBF\xBF\xBF", 1),
    ("five bytes", b"\xF8\x88\x80\x80\x80", 1),
    ("six bytes", b"\xFC\x84\x80\x80\x80\x80", 1),
    ("FE", b"\xFE", 1),
    ("FF", b"\xFF", 1),
    ("a cut two", b"\xC3(", 2),
    ("a cut three", b"\xE2\x82(", 3),
    ("a cut four", b"\xF0\x9F\x98(", 4),
    ("a lead behind a lead", b"\xC3\xC3", 2),
];

fn text() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, text) in VALID {
        let text = text.as_bytes();
        let whole = frame(FIN | TEXT, text);
        let echo = case(format!("8.1 {name}"), [whole]).back(FIN | TEXT, text);
        let mut chopped = echo.clone().chopped(1);
        chopped.id += ", byte by byte";
        cases.extend([echo, chopped]);
        let mut parts = vec![frame(TEXT, b"")];
        parts.extend(text.iter().map(|byte| frame(CONTINUATION, [*byte])));
        parts.push(frame(FIN | CONTINUATION, b""));
        let one = case(format!("8.1 {name}, a fragment per byte"), parts);
        cases.push(one.back(FIN | TEXT, text));
    }
    for &(name, bad, certain) in INVALID {
        let around = [b"before ", bad, b" behind"].concat();
        cases.push(case(format!("8.1 {name}"), [frame(FIN | TEXT, bad)]).closes(1007));
        let id = format!("8.1 {name} inside text");
        cases.push(case(id, [frame(FIN | TEXT, &around)]).closes(1007));
        // Only what makes it certain is sent: the rest of the message never comes.
        let certain = b"before ".len() + certain;
        let part = frame(TEXT, &around[..certain]);
        cases.push(case(format!("8.1 {name}, at once in a fragment"), [part]).closes(1007));
        let whole = frame(FIN | TEXT, &around);
        let head = whole.len() - around.len();
        let start = whole[..head + certain].to_vec();
        cases.push(case(format!("8.1 {name}, at once in a frame"), [start]).closes(1007));
    }
    for (name, cut) in [("two", &b"\xC3"[..]), ("three", b"\xE2\x82"), ("four", b"\xF0\x9F\x98")] {
        let id = format!("8.1 a message that ends inside a character of {name} bytes");
        cases.push(case(id, [frame(FIN | TEXT, cut)]).closes(1007));
        let two = [frame(TEXT, cut), frame(FIN | CONTINUATION, b"")];
        let id = format!("8.1 fragments that end inside a character of {name} bytes");
        cases.push(case(id, two).closes(1007));
    }
    for &(name, bad, _) in INVALID {
        let id = format!("5.6 {name} as binary");
        cases.push(case(id, [frame(FIN | BINARY, bad)]).back(FIN | BINARY, bad));
    }
    cases
}

fn closing() -> Vec<Case> {
    let mut cases = Vec::new();
    let nothing = || End::Closed(None);
    let empty = frame(FIN | CLOSE, b"");
    cases.push(Case { end: nothing(), ..case("5.5.1 an empty Close", [empty.clone()]) });
    let behind = [empty, frame(FIN | TEXT, b"late"), frame(FIN | PING, b"late")].concat();
    cases.push(Case { end: nothing(), ..case("5.5.1 nothing is read behind a Close", [behind]) });
    let twice = [close(1000, ""), close(1001, "again")].concat();
    cases.push(case("5.5.1 a second Close", [twice]).closes(1000));
    cases.push(case("5.5.1 one byte", [frame(FIN | CLOSE, b"\x03")]).closes(1002));
    cases.push(case("5.5.1 a reason of 123", [close(1000, "x".repeat(123))]).closes(1000));
    cases.push(case("5.5.1 a reason of 124", [close(1000, "x".repeat(124))]).closes(1002));
    cases.push(case("5.5.1 a reason in Greek", [close(1000, "κόσμε")]).closes(1000));
    cases.push(case("5.5.1 byte by byte", [close(1000, "bye")]).chopped(1).closes(1000));
    for &(name, bad, _) in INVALID {
        cases.push(case(format!("8.1 a reason with {name}"), [close(1000, bad)]).closes(1007));
    }
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3001, 3999, 4000, 4001, 4999]) {
        cases.push(case(format!("7.4 code {code}"), [close(code, "")]).closes(code));
        cases
            .push(case(format!("7.4 code {code} and a reason"), [close(code, "why")]).closes(code));
    }
    let never = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 32_768, 65_535];
    for code in never {
        cases.push(case(format!("7.4 code {code}"), [close(code, "")]).closes(1002));
    }
    let open = [frame(TEXT, b"never ended"), close(1000, "")].concat();
    cases.push(case("5.4 a Close inside a message", [open]).closes(1000));
    let ping = [frame(FIN | PING, b"first"), close(1000, "")].concat();
    cases.push(
        case("5.5.2 a ping before the Close", [ping]).back(FIN | PONG, b"first").closes(1000),
    );
    cases
}

fn many() -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, opcode) in [("text", TEXT), ("binary", BINARY)] {
        for kib in [64, 256, 1024] {
            let payload = pattern(kib << 10);
            let whole = case(format!("10.4 {kind} of {kib} KiB"), [frame(FIN | opcode, &payload)])
                .back(FIN | opcode, &*payload);
            cases.push(whole);
            for part in [1024, 4096, 65_536] {
                let mut frames: Vec<_> =
                    payload.chunks(part).map(|part| frame(CONTINUATION, part)).collect();
                frames[0][0] |= opcode;
                if let Some(last) = frames.last_mut() {
                    last[0] |= FIN;
                }
                let id = format!("10.4 {kind} of {kib} KiB in fragments of {part}");
                cases.push(case(id, frames).back(FIN | opcode, &*payload));
            }
        }
        for len in [0, 16, 1024] {
            let payload = pattern(len);
            let all = frame(FIN | opcode, &payload).repeat(1000);
            let mut thousand = case(format!("10.4 a thousand {kind} of {len}"), [all]);
            thousand.back = vec![(FIN | opcode, payload); 1000];
            cases.push(thousand);
        }
    }
    let large = frame(FIN | BINARY, pattern((1 << 20) + 1));
    cases.push(case("10.4 a frame beyond the limit", [large[..14].to_vec()]).closes(1009));
    let mut parts = vec![frame(BINARY, pattern(1 << 20))];
    parts.push(frame(FIN | CONTINUATION, b"x"));
    cases.push(case("10.4 a message beyond the limit", parts).closes(1009));
    cases
}
