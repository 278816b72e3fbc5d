//! The cases for clients: what a server answers and sends, and what must come back. What a server
//! may send wrong is what a client may, but for the mask: those cases are the server's own, written
//! as a server writes them.

#[path = "codec.rs"]
pub(crate) mod codec;
#[path = "../rfc6455/table.rs"]
mod table;

use codec::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, RSV2, TEXT, close, frame, masked};
pub(crate) use table::{Case, End};

/// How the opening handshake goes.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    /// The answer; `{accept}` stands for what the key demands.
    pub(crate) answer: String,
    /// Written in pieces of so many bytes.
    pub(crate) pieces: usize,
    /// What the client must call wrong with it; `None` if the connection must open.
    pub(crate) error: Option<&'static str>,
}

/// One case: an opening handshake and, if that succeeds, frames.
#[derive(Debug, Clone)]
pub(crate) struct ClientCase {
    pub(crate) opening: Opening,
    /// The client asks for the subprotocols chat and superchat.
    pub(crate) protocols: bool,
    /// The client offers compression with takeover both ways.
    pub(crate) deflate: bool,
    pub(crate) frames: Case,
}

/// An answer that every client must take.
pub(crate) const RIGHT: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: {accept}\r\n\
    \r\n";

impl ClientCase {
    fn new(frames: Case) -> Self {
        let opening = Opening { answer: RIGHT.to_owned(), pieces: usize::MAX, error: None };
        Self { opening, protocols: false, deflate: false, frames }
    }

    /// A handshake with another answer.
    fn answered(id: &str, answer: impl Into<String>, error: Option<&'static str>) -> Self {
        let mut one = Self::new(case(id));
        one.opening.answer = answer.into();
        one.opening.error = error;
        one
    }
}

/// A case without frames.
fn case(id: &str) -> Case {
    Case { id: id.to_owned(), writes: Vec::new(), back: Vec::new(), end: End::Alive }
}

/// All cases, group by group.
pub(crate) fn all() -> Vec<(&'static str, Vec<ClientCase>)> {
    let mut groups = vec![
        ("Answers to the opening handshake (§4.1)", opening()),
        ("Subprotocols and extensions (§4.1, §9.1)", agreements()),
        ("Masking (§5.1)", masking()),
        ("Compression (RFC 7692)", compression()),
    ];
    // What is said there of masks a client is not told.
    let frames = table::all().into_iter().filter(|(group, _)| !group.starts_with("Masking"));
    groups.extend(
        frames.map(|(group, cases)| (group, cases.into_iter().map(ClientCase::new).collect())),
    );
    groups
}

/// A name, an answer, and what is wrong with it.
type Answer = (&'static str, String, Option<&'static str>);

/// The right answer with something replaced.
fn with(from: &str, to: &str) -> String {
    assert!(RIGHT.contains(from), "{from}");
    RIGHT.replace(from, to)
}

const ACCEPT: &str = "Sec-WebSocket-Accept: {accept}\r\n";
const UPGRADE: &str = "Upgrade: websocket\r\n";
const CONNECTION: &str = "Connection: Upgrade\r\n";

fn right() -> Vec<Answer> {
    let shouted = RIGHT.to_ascii_uppercase().replace("{ACCEPT}", "{accept}");
    let further = "Server: x\r\nUpgrade: websocket\r\nDate: today\r\n";
    let phrase = "Switching Protocols";
    vec![
        ("4.1 a right answer", RIGHT.to_owned(), None),
        ("4.1 names and values in other cases", shouted, None),
        ("4.1 Connection as a list", with("Connection: ", "Connection: keep-alive, "), None),
        ("4.1 further fields", with(UPGRADE, further), None),
        ("4.1 another reason phrase", with(phrase, "WebSocket Protocol Handshake"), None),
        ("4.1 no reason phrase", with(phrase, ""), None),
    ]
}

fn wrong_fields() -> Vec<Answer> {
    let of = |name, answer, error| (name, answer, Some(error));
    let example = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    vec![
        of("4.1 a wrong accept", with("{accept}", example), "answer"),
        of("4.1 an accept that is cut", with("{accept}", &example[..20]), "answer"),
        of("4.1 an empty accept", with("{accept}", ""), "answer"),
        of("4.1 no accept", with(ACCEPT, ""), "answer_count"),
        of("4.1 the accept twice", with(ACCEPT, &ACCEPT.repeat(2)), "answer_count"),
        of("4.1 no Upgrade", with(UPGRADE, ""), "upgrade_count"),
        of("4.1 Upgrade twice", with(UPGRADE, &UPGRADE.repeat(2)), "upgrade_count"),
        of("4.1 another upgrade", with(UPGRADE, "Upgrade: h2c\r\n"), "upgrade_value"),
        of("4.1 no Connection", with(CONNECTION, ""), "connection_count"),
        of("4.1 Connection twice", with(CONNECTION, &CONNECTION.repeat(2)), "connection_count"),
        of("4.1 another connection", with(CONNECTION, "Connection: x\r\n"), "connection_value"),
    ]
}

fn wrong_statuses() -> Vec<Answer> {
    let of = |name, rest: &str| (name, format!("HTTP/1.1 {rest}"), Some("status_code"));
    vec![
        of("4.1 status 200 with a body", "200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        of("4.1 status 404 with a body", "404 Not Found\r\nContent-Length: 4\r\n\r\ngone"),
        of("4.1 a redirect", "302 Found\r\nLocation: ws://127.0.0.1:1/\r\n\r\n"),
        of("4.1 status 401", "401 Unauthorized\r\nWWW-Authenticate: Basic\r\n\r\n"),
        of("4.1 status 503", "503 Service Unavailable\r\nRetry-After: 1\r\n\r\n"),
        ("4.1 status 200 and a right rest", with("101", "200"), Some("status_code")),
        ("4.1 status 1010", with("101", "1010"), Some("status_code")),
        (
            "4.1 a proxy's status",
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n".to_owned(),
            Some("proxy_authentication_required"),
        ),
    ]
}

fn wrong_heads() -> Vec<Answer> {
    let of = |name, answer: String, error| (name, answer, Some(error));
    let behind = |line: &str| with(UPGRADE, &[UPGRADE, line].concat());
    let many: String = (0..200).map(|n| format!("X-Field-{n}: x\r\n")).collect();
    let long = "x".repeat(1 << 17);
    let garbage = "\u{17}\u{2}\u{0}garbage\r\n\r\n".to_owned();
    let alert = "\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}\u{A}".to_owned();
    vec![
        // The end of TCP inside the handshake.
        of("4.1 nothing", String::new(), "connection_ended"),
        of("4.1 an answer that is cut", RIGHT[..RIGHT.len() - 2].to_owned(), "connection_ended"),
        of("4.1 a frame at once", "\u{1}\u{5}hello".to_owned(), "connection_ended"),
        of("4.1 garbage", garbage, "status_line"),
        of("4.1 an alert of TLS", alert, "server_speaks_tls"),
        of("4.1 a line without a colon", behind("no colon\r\n"), "field_without_colon"),
        of("4.1 a field without a name", behind(": x\r\n"), "field_without_name"),
        of("4.1 lines that end in LF", RIGHT.replace("\r\n", "\n"), "bare_line_feed"),
        of("4.1 a CR inside a line", with("Switching", "Switch\ring"), "bare_carriage_return"),
        of("10.4 too many fields", behind(&many), "too_many_fields"),
        of("10.4 a status line without end", format!("HTTP/1.1 101 {long}"), "line_too_long"),
        of("10.4 a field without end", behind(&format!("X: {long}")), "line_too_long"),
    ]
}

fn opening() -> Vec<ClientCase> {
    let mut cases = Vec::new();
    for (id, answer, error) in [right(), wrong_fields(), wrong_statuses(), wrong_heads()].concat() {
        let short = answer.len() < 1000;
        let whole = ClientCase::answered(id, answer, error);
        if short {
            let mut cut = whole.clone();
            cut.opening.pieces = 1;
            cut.frames.id += ", byte by byte";
            cases.push(cut);
        }
        cases.push(whole);
    }
    cases
}

fn agreements() -> Vec<ClientCase> {
    let extended = |field: &str| RIGHT.replace("\r\n\r\n", &format!("\r\n{field}\r\n\r\n"));
    let protocol = |value: &str| extended(&format!("Sec-WebSocket-Protocol: {value}"));
    let extension = |value: &str| extended(&format!("Sec-WebSocket-Extensions: {value}"));
    let mut cases = Vec::new();
    for (name, value, asked, error) in [
        ("that was asked for", "superchat", true, None),
        ("that was not asked for", "chat", false, Some("subprotocol_value")),
        ("that is another", "other", true, Some("subprotocol_value")),
        ("in another case", "Chat", true, Some("subprotocol_value")),
        ("of two", "chat, superchat", true, Some("subprotocol_value")),
        ("that is empty", "", true, Some("subprotocol_value")),
    ] {
        let id = format!("4.1 a subprotocol {name}");
        let one = ClientCase::answered(&id, protocol(value), error);
        cases.push(ClientCase { protocols: asked, ..one });
    }
    let none = ClientCase::answered("4.1 no subprotocol of those asked for", RIGHT, None);
    cases.push(ClientCase { protocols: true, ..none });
    for (value, offered, error) in [
        ("permessage-deflate", false, Some("extension")),
        ("x-unknown", false, Some("extension")),
        ("x-unknown", true, Some("extension")),
        ("permessage-deflate", true, None),
        ("permessage-deflate; server_no_context_takeover", true, None),
        ("permessage-deflate; client_no_context_takeover", true, None),
        ("permessage-deflate; server_max_window_bits=8", true, None),
        ("permessage-deflate; client_max_window_bits=8", true, None),
        ("permessage-deflate; client_max_window_bits=\"9\"", true, None),
        ("permessage-deflate; server_max_window_bits=15; client_max_window_bits=15", true, None),
        ("permessage-deflate; server_max_window_bits", true, Some("extension")),
        ("permessage-deflate; server_max_window_bits=7", true, Some("extension")),
        ("permessage-deflate; server_max_window_bits=16", true, Some("extension")),
        ("permessage-deflate; client_max_window_bits", true, Some("extension")),
        ("permessage-deflate; client_max_window_bits=08", true, Some("extension")),
        ("permessage-deflate; server_no_context_takeover=1", true, Some("extension")),
        (
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            true,
            Some("extension"),
        ),
        ("permessage-deflate; mystery", true, Some("extension")),
        ("permessage-deflate, permessage-deflate", true, Some("extension")),
        ("permessage-deflate, x-unknown", true, Some("extension")),
    ] {
        let section = if offered { "7692 7.1" } else { "9.1" };
        let id = format!("{section} {value}, {}offered", if offered { "" } else { "not " });
        let one = ClientCase::answered(&id, extension(value), error);
        cases.push(ClientCase { deflate: offered, ..one });
    }
    cases
}

fn masking() -> Vec<ClientCase> {
    let mut cases = Vec::new();
    for (name, opcode) in
        [("text", TEXT), ("binary", BINARY), ("ping", PING), ("pong", PONG), ("close", CLOSE)]
    {
        for (kind, payload) in [("empty", &b""[..]), ("with payload", b"\x03\xE8")] {
            let mut one = case(&format!("5.1 a masked {name}, {kind}"));
            one.writes = vec![masked(FIN | opcode, payload)];
            one.end = End::Closed(Some(1002));
            cases.push(ClientCase::new(one));
        }
        let mut after = case(&format!("5.1 a masked {name} behind a message"));
        after.writes = vec![frame(FIN | TEXT, b"hello"), masked(FIN | opcode, b"")];
        after.back = vec![(FIN | TEXT, b"hello".to_vec())];
        after.end = End::Closed(Some(1002));
        cases.push(ClientCase::new(after));
    }
    let mut inside = case("5.1 a masked continuation");
    inside.writes = vec![frame(TEXT, b"hello"), masked(FIN | CONTINUATION, b"")];
    inside.end = End::Closed(Some(1002));
    cases.push(ClientCase::new(inside));
    cases
}

/// "Hello" of RFC 7692 §7.2.3, its ways to be compressed, and its second time with takeover.
const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
const AGAIN: &[u8] = b"\xf2\x00\x11\x00\x00";

/// A name, what is agreed on further, what is sent, how often "Hello" comes back, and the code of the
/// Close.
type Row = (&'static str, &'static str, Vec<Vec<u8>>, usize, Option<u16>);

fn text(packed: &[u8]) -> Vec<u8> {
    frame(FIN | RSV1 | TEXT, packed)
}

fn inflated() -> Vec<Row> {
    let stored = &b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"[..];
    let last = &b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"[..];
    let two = &b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"[..];
    let plain = frame(FIN | TEXT, b"Hello");
    let parts = vec![
        frame(RSV1 | TEXT, &HELLO[..3]),
        frame(FIN | PONG, b"between"),
        frame(CONTINUATION, &HELLO[3..]),
        frame(FIN | CONTINUATION, b""),
    ];
    let five = [vec![text(HELLO)], vec![text(AGAIN); 4]].concat();
    let around = vec![text(HELLO), plain.clone(), text(AGAIN)];
    vec![
        ("7.2.3.1 a message", "", vec![text(HELLO)], 1, None),
        ("7.2.3.2 one that refers to another", "", vec![text(HELLO), text(AGAIN)], 2, None),
        ("7.2.3.2 five of them", "", five, 5, None),
        ("7.2.3.2 a plain one between", "", around, 3, None),
        ("7.2.3.3 stored", "", vec![text(stored)], 1, None),
        ("7.2.3.4 a last block", "", vec![text(last), text(last)], 2, None),
        ("7.2.3.5 two blocks", "", vec![text(two)], 1, None),
        ("6.1 fragments and a pong between", "", parts, 1, None),
        ("6.1 plain all the same", "", vec![plain], 1, None),
        ("6.1 a Close behind it", "", vec![text(HELLO), close(1000, "bye")], 1, Some(1000)),
    ]
}

fn not_inflated() -> Vec<Row> {
    let again = vec![text(HELLO), text(AGAIN)];
    let continued =
        vec![frame(RSV1 | TEXT, &HELLO[..3]), frame(FIN | RSV1 | CONTINUATION, &HELLO[3..])];
    let further = vec![frame(FIN | RSV1 | RSV2 | TEXT, HELLO)];
    let bad_text = vec![text(b"\x00\x01\x00\xfe\xff\xff\x00")];
    let ruled_out = "; server_no_context_takeover";
    vec![
        ("7.1.1.1 a reference that was ruled out", ruled_out, again, 1, Some(1007)),
        ("6.1 the bit on a ping", "", vec![frame(FIN | RSV1 | PING, b"")], 0, Some(1002)),
        ("6.1 the bit on a Close", "", vec![frame(FIN | RSV1 | CLOSE, b"")], 0, Some(1002)),
        ("6.1 the bit on a continuation", "", continued, 0, Some(1002)),
        ("6.1 another bit, too", "", further, 0, Some(1002)),
        ("7.2.2 no DEFLATE", "", vec![text(b"\xFF\xFF\xFF\xFF")], 0, Some(1007)),
        ("7.2.2 a reference to nothing", "", vec![text(AGAIN)], 0, Some(1007)),
        ("8.1 text that is none", "", bad_text, 0, Some(1007)),
    ]
}

fn compression() -> Vec<ClientCase> {
    let mut cases = Vec::new();
    for (id, parameters, writes, back, code) in [inflated(), not_inflated()].concat() {
        let mut one = case(&format!("7692 {id}"));
        one.back = vec![(FIN | TEXT, b"Hello".to_vec()); back];
        one.end = code.map_or(End::Alive, |code| End::Closed(Some(code)));
        one.writes = writes;
        for pieces in [usize::MAX, 1] {
            let mut frames = one.clone();
            if pieces == 1 {
                frames.id += ", byte by byte";
                frames.writes = frames.writes.concat().chunks(1).map(<[u8]>::to_vec).collect();
            }
            let mut case = ClientCase::new(frames);
            let field = format!("Sec-WebSocket-Extensions: permessage-deflate{parameters}");
            case.opening.answer = RIGHT.replace("\r\n\r\n", &format!("\r\n{field}\r\n\r\n"));
            case.deflate = true;
            cases.push(case);
        }
    }
    cases
}
