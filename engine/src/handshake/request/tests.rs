use proptest::prelude::{ProptestConfig, any, proptest};

use super::super::{Answer, HeadLimits, RequestError, ServerHandshake, UpgradeRequest, hybi02};
use crate::wire::Dialect;

/// V1 of the draft's §1.2, with the field that -02 added.
pub(in crate::handshake) const V1: &str = "GET /demo HTTP/1.1\r\n\
    Host: example.com\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n\
    Sec-WebSocket-Protocol: sample\r\n\
    Upgrade: WebSocket\r\n\
    Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Draft: 2\r\n\
    \r\n\
    ^n:ds[4U";

/// V4 of the draft's §5.2.2, with the field that -02 added.
pub(in crate::handshake) const V4: &str = "GET / HTTP/1.1\r\n\
    Connection: Upgrade\r\n\
    Host: example.com\r\n\
    Upgrade: WebSocket\r\n\
    Sec-WebSocket-Key1: 3e6b263  4 17 80\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Key2: 17  9 G`ZD9   2 2b 7X 3 /r90\r\n\
    Sec-WebSocket-Draft: 2\r\n\
    \r\n\
    WjN}|M(6";

pub(in crate::handshake) fn read(bytes: &[u8]) -> Result<Option<UpgradeRequest<'_>>, RequestError> {
    ServerHandshake::new().read(&HeadLimits::default(), bytes)
}

/// V1 with something replaced that must be there.
pub(in crate::handshake) fn changed(from: &str, to: &str) -> Vec<u8> {
    assert!(V1.contains(from), "{from}");
    V1.replacen(from, to, 1).into_bytes()
}

/// V1 with more lines before the blank one.
fn with_lines(lines: &str) -> Vec<u8> {
    changed("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"))
}

#[test]
fn the_fields_of_the_draft_s_example() {
    // covers: HS-S-01, HS-S-02, HS-S-03, HS-S-05, HS-S-06, HS-S-22
    let request = read(V1.as_bytes()).unwrap().unwrap();
    assert_eq!(request.len(), V1.len());
    assert!(!request.is_empty());
    assert_eq!((request.dialect(), request.draft()), (Dialect::Hybi02, Some(2)));
    assert_eq!((request.resource_name(), request.path()), ("/demo", "/demo"));
    assert_eq!(request.host(), "example.com");
    assert_eq!(request.origin(), Some("http://example.com"));
    assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["sample"]);
    assert_eq!(request.field("sec-websocket-KEY2"), Some(b"12998 5 Y3 1  .P00".as_slice()));
    assert_eq!(request.field("Cookie"), None);
    let names: Vec<_> = request.fields().map(|field| field.name_text()).collect();
    assert_eq!(names.len(), 8);
    assert_eq!((&*names[0], &*names[7]), ("Host", "Sec-WebSocket-Draft"));
}

#[test]
fn the_draft_s_answers() {
    // covers: HS-S-24, HS-S-25, HS-S-26, HS-S-27, HS-S-28, HS-S-29
    assert_eq!(read(V1.as_bytes()).unwrap().unwrap().answer().as_bytes(), b"8jKS'y:G*Co,Wxa-");
    assert_eq!(read(V4.as_bytes()).unwrap().unwrap().answer().as_bytes(), b"n`9eBk9z$R8pOtVb");
}

#[test]
fn path_and_query() {
    // covers: HS-S-03
    let bytes = changed("/demo", "/a/b?x=1&y=%20&flag&=v&x=2&e==?");
    let request = read(&bytes).unwrap().unwrap();
    assert_eq!(request.path(), "/a/b");
    assert_eq!(request.resource_name(), "/a/b?x=1&y=%20&flag&=v&x=2&e==?");
    assert_eq!(request.query("x"), Some("1"));
    assert_eq!(request.query("y"), Some("%20"));
    assert_eq!(request.query("flag"), Some(""));
    assert_eq!(request.query("e"), Some("=?"));
    assert_eq!(request.query("z"), None);
    assert_eq!(read(V1.as_bytes()).unwrap().unwrap().query("x"), None);
}

#[test]
fn what_must_not_matter_does_not() {
    // covers: HS-S-04, HS-S-07, HS-S-08, HS-S-09, HS-S-15, AMB-15, CONF-04
    for bytes in [
        changed("HTTP/1.1", "HTTP/9.9 or anything else: \t x"),
        changed(" HTTP/1.1", " "),
        changed("Upgrade: WebSocket", "uPGRADE: wEBsOCKET"),
        changed("Connection: Upgrade", "CONNECTION: upgrade"),
        changed("Sec-WebSocket-Key1", "sec-websocket-key1"),
        changed("Draft: 2", "Draft:  2 "),
        changed("Origin: http", "ORIGIN: HTTP"),
        with_lines("X-Unknown: \u{fc}nknown\r\nCookie: a=b\r\nCookie: c=d\r\nEmpty: "),
        V1.replace("Sec-WebSocket-Protocol: sample\r\n", "").into_bytes(),
    ] {
        let note = bytes.escape_ascii();
        let request = read(&bytes).unwrap_or_else(|error| panic!("{error}: {note}")).unwrap();
        assert_eq!(request.answer().as_bytes(), b"8jKS'y:G*Co,Wxa-", "{note}");
    }
}

#[test]
fn case_is_folded_for_ascii_letters_only() {
    // covers: CONF-04, HS-S-07, HS-S-08
    // U+212A KELVIN SIGN is a "k" to Unicode, U+017F an "s".
    let bytes = changed("Upgrade: WebSocket", "Upgrade: WebSoc\u{212a}et");
    assert_eq!(read(&bytes).unwrap_err(), RequestError::UpgradeValue);
    let bytes = changed("Upgrade: WebSocket", "Upgrade: Web\u{17f}ocket");
    assert_eq!(read(&bytes).unwrap_err(), RequestError::UpgradeValue);
}

#[test]
fn values_keep_every_space_but_the_first() {
    // covers: HS-S-05, HS-S-13
    let bytes = with_lines("X:   a  b \t");
    let request = read(&bytes).unwrap().unwrap();
    assert_eq!(request.field("x"), Some(b"  a  b \t".as_slice()));
    // Spaces at a key's ends are spaces too: 4146546015 / 5 / 3 has a remainder of none.
    let bytes = changed("Key1: 4 @1", "Key1:  4 @1");
    assert_eq!(read(&bytes).unwrap_err(), RequestError::KeyRemainder, "six spaces now");
}

#[test]
fn malformed_lines_are_refused_with_their_rule() {
    // covers: HS-S-01, HS-S-02, HS-S-03, HS-S-05, SEC-01, SEC-03, UTF8-02
    use RequestError as E;
    refused(&[
        (changed("GET /demo", "POST /demo"), E::MethodNotGet),
        (changed("GET /demo", "get /demo"), E::NotHttp),
        (changed("GET /demo", "GETS /demo"), E::MethodNotGet),
        (changed("GET /demo", "HEAD /demo"), E::UpgradeMissing),
        (changed("GET /demo", "HEADS /demo"), E::MethodNotGet),
        (changed("GET /demo", " /demo"), E::NotHttp),
        (changed("GET /demo", "GET  /demo"), E::ResourceName),
        (changed("GET /demo", "GET\t/demo"), E::NotHttp),
        (changed("GET /demo", "GET demo"), E::ResourceName),
        (changed("/demo HTTP/1.1", "/demo"), E::ResourceName),
        (changed("/demo", "/d\u{e9}mo"), E::ResourceName),
        (changed("/demo", "/d\tmo"), E::ResourceName),
        (changed("/demo", "http://example.com/demo"), E::ResourceName),
        (changed("/demo", "/d\0mo"), E::ControlCharacter),
        (changed("HTTP/1.1\r\n", "HTTP/1.1\n"), E::BareLineFeed),
        (changed("HTTP/1.1\r\n", "HTTP/1.1\r"), E::BareCarriageReturn),
        (changed(": sample", ": sam\rple"), E::BareCarriageReturn),
        (changed(": sample", ": sam\nple"), E::BareLineFeed),
        (changed(": sample", ": sam\0ple"), E::ControlCharacter),
        (changed(": sample", ": sam\x7Fple"), E::ControlCharacter),
        (changed("Origin: ", "Origin : "), E::FieldName),
        (changed("Origin: ", " Origin: "), E::FieldName),
        (changed("Origin: ", ": "), E::FieldName),
        (changed("Origin: ", "Orig\u{ef}n: "), E::FieldName),
        (changed("Origin: http://example.com", "Origin"), E::FieldWithoutColon),
        (changed("Origin: ", "Origin:"), E::FieldWithoutSpace),
        (changed("Origin: ", "Origin:\t"), E::FieldWithoutSpace),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03".to_vec(), E::ClientSpeaksTls),
        (b"\x16\x02\x01\x02\x00".to_vec(), E::NotHttp),
        (b"\x15\x03\x01\x00\x02".to_vec(), E::NotHttp),
        (b"\r\n\x16\x03\x01".to_vec(), E::NotHttp),
        (b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), E::NotHttp),
        (b"\r\n\r\nGET / HTTP/1.1\r\n".to_vec(), E::NotHttp),
        (b"\rGET / HTTP/1.1\r\n".to_vec(), E::NotHttp),
        (b"\nGET / HTTP/1.1\r\n".to_vec(), E::NotHttp),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), E::HttpVersionUnsupported),
        (b"PRIX * HTTP/2.0\r\n".to_vec(), E::MethodNotGet),
        (b"OPTIONS * HTTP/1.1\r\n".to_vec(), E::MethodNotGet),
        (b"GET x\n".to_vec(), E::ResourceName),
        (b"X\n".to_vec(), E::NotHttp),
        (b"ABCDEFGHIJKLMNOPQR".to_vec(), E::NotHttp),
    ]);
    let mut start = V1.as_bytes().to_vec();
    start[0] = 0xE9;
    refused(&[(start, E::NotHttp)]);
}

/// V1 with bytes that are not text.
fn with_bytes(from: &str, to: &[u8]) -> Vec<u8> {
    let at = V1.find(from).unwrap();
    let mut bytes = V1.as_bytes().to_vec();
    bytes.splice(at..at + from.len(), to.iter().copied());
    bytes
}

#[test]
fn bytes_above_ascii_matter_only_where_they_must_be_understood() {
    // covers: AMB-23, HS-S-15
    use RequestError as E;
    let noise: Vec<u8> = (0x80..=0xFF).collect();
    for (from, to) in [
        ("Origin: ", [b"X: ".as_slice(), &noise, b"\r\nOrigin: "].concat()),
        ("Origin: ", [b"Cookie: a=".as_slice(), &noise, b"\r\nOrigin: "].concat()),
        (" HTTP/1.1", [b" ".as_slice(), &noise].concat()),
    ] {
        let bytes = with_bytes(from, &to);
        let request = read(&bytes).unwrap_or_else(|e| panic!("{e}: {}", bytes.escape_ascii()));
        let request = request.unwrap();
        assert_eq!(request.answer().as_bytes(), b"8jKS'y:G*Co,Wxa-");
        if let Some(value) = request.field("x") {
            assert_eq!((value, request.field_str("x")), (&*noise, None));
        }
        assert_eq!(request.field_str("HOST"), Some("example.com"));
        assert_eq!(request.field_str("absent"), None);
    }
    // In a key they are noise like other characters.
    let bytes = with_bytes("4 @1", b"4 \xE91");
    assert_eq!(read(&bytes).unwrap().unwrap().answer().as_bytes(), b"8jKS'y:G*Co,Wxa-");
    refused(&[
        (with_bytes("/demo", b"/d\xE9mo"), E::ResourceName),
        (with_bytes("Origin: ", b"Orig\xEFn: "), E::FieldName),
        (with_bytes("Host: example", b"Host: ex\xE4mple"), E::HostMalformed),
        (with_bytes("Origin: http", b"Origin: h\xFFttp"), E::OriginMalformed),
        (with_bytes(": sample", b": s\xE4mple"), E::SubprotocolMalformed),
        (with_bytes("Upgrade: WebSocket", b"Upgrade: WebS\xF6cket"), E::UpgradeValue),
        (with_bytes("Connection: Upgrade", b"Connection: Upgrade\xE9"), E::ConnectionValue),
        (with_bytes("Draft: 2", b"Draft: 2\xB2"), E::DraftUnsupported),
    ]);
}

#[test]
fn one_empty_line_before_the_request_is_skipped() {
    // The draft says nothing of it; RFC 9112 §2.2 does.
    let bytes = format!("\r\n{V1}");
    let whole = read(bytes.as_bytes()).unwrap().unwrap();
    assert_eq!((whole.len(), whole.resource_name()), (bytes.len(), "/demo"));
    assert_eq!(whole.answer().as_bytes(), b"8jKS'y:G*Co,Wxa-");
    assert_eq!(byte_by_byte(bytes.as_bytes()), Ok(Some(bytes.len())));
    for cut in 0..bytes.len() {
        let mut handshake = ServerHandshake::new();
        let limits = HeadLimits::default();
        assert!(handshake.read(&limits, &bytes.as_bytes()[..cut]).unwrap().is_none());
        let request = handshake.read(&limits, bytes.as_bytes()).unwrap().unwrap();
        assert_eq!(
            (request.len(), request.field("host")),
            (bytes.len(), Some(&b"example.com"[..]))
        );
    }
    // It does not count against the limits.
    let limits = HeadLimits::default().with_max_bytes(V1.len() - 8);
    assert!(ServerHandshake::new().read(&limits, bytes.as_bytes()).unwrap().is_some());
}

#[test]
fn a_request_that_announces_a_body_is_refused() {
    // covers: AMB-24, HS-S-15
    use RequestError as E;
    for fine in [
        "Content-Length: 0",
        "content-LENGTH: 0",
        "Content-Length: 0, 0",
        "Content-Length: 00",
        "Content-Length: 0\r\nContent-Length: 0",
        // The eight bytes of key_3, announced.
        "Content-Length: 8",
        "Content-Length: 8\r\nContent-Length: 8",
        "Expect: 100-continue",
        "Expect: something else",
    ] {
        let bytes = with_lines(fine);
        assert!(read(&bytes).unwrap().is_some(), "{fine}");
    }
    for (line, error) in [
        ("Content-Length: 1", E::BodyAnnounced),
        ("Content-Length: 7", E::BodyAnnounced),
        ("Content-Length: 9", E::BodyAnnounced),
        ("Content-Length: 18446744073709551615", E::BodyAnnounced),
        ("Content-Length: 5, 5", E::BodyAnnounced),
        ("Transfer-Encoding: chunked", E::BodyAnnounced),
        ("transfer-encoding: identity", E::BodyAnnounced),
        ("Transfer-Encoding: ", E::BodyAnnounced),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked", E::BodyAnnounced),
        ("Expect: 100-continue\r\nContent-Length: 5", E::BodyAnnounced),
        ("Content-Length: ", E::ContentLength),
        ("Content-Length: -1", E::ContentLength),
        ("Content-Length: +8", E::ContentLength),
        ("Content-Length: 8 0", E::ContentLength),
        ("Content-Length: 0x8", E::ContentLength),
        ("Content-Length: \u{e9}", E::ContentLength),
        ("Content-Length: 18446744073709551616", E::ContentLength),
        ("Content-Length: 0, 8", E::ContentLength),
        ("Content-Length: 8\r\nContent-Length: 0", E::ContentLength),
        ("Content-Length: 8, x", E::ContentLength),
    ] {
        refused(&[(with_lines(line), error)]);
    }
}

#[test]
fn requests_that_are_no_upgrade_are_refused_with_their_rule() {
    // covers: HS-S-08, HS-S-09, HS-S-10, HS-S-13, HS-S-14, HS-S-25, HS-S-26, AMB-04, AMB-09, AMB-15
    use RequestError as E;
    refused(&[
        (changed("Upgrade: WebSocket\r\n", ""), E::UpgradeMissing),
        (changed("Upgrade: WebSocket", "Upgrade: websockets"), E::UpgradeValue),
        (changed("Upgrade: WebSocket", "Upgrade: WebSocket "), E::UpgradeValue),
        (changed("Upgrade: WebSocket", "Upgrade: "), E::UpgradeValue),
        (changed("Connection: Upgrade\r\n", ""), E::ConnectionValue),
        (changed("Connection: Upgrade", "Connection: keep-alive, Upgrade"), E::ConnectionValue),
        (changed("Host: example.com\r\n", ""), E::HostMissing),
        (changed("Host: example.com", "Host: "), E::HostMalformed),
        (changed("Host: example.com", "Host: :80"), E::HostMalformed),
        (changed("Host: example.com", "Host: example.com:x"), E::HostMalformed),
        (changed("Host: example.com", "Host: example.com:65536"), E::HostMalformed),
        (changed("Host: example.com", "Host: example.com/evil"), E::HostMalformed),
        (changed("Host: example.com", "Host: user@example.com"), E::HostMalformed),
        (changed("Host: example.com", "Host: b\u{fc}cher.example"), E::HostMalformed),
        (changed("Host: example.com", "Host: [::1"), E::HostMalformed),
        (changed("Host: example.com", "Host: [::g]"), E::HostMalformed),
        (changed("Sec-WebSocket-Draft: 2\r\n", ""), E::DraftMissing),
        (changed("Draft: 2", "Draft: 0"), E::DraftUnsupported),
        (changed("Draft: 2", "Draft: 4"), E::DraftUnsupported),
        (changed("Draft: 2", "Draft: 02"), E::DraftUnsupported),
        (changed("Draft: 2", "Draft: 2, 3"), E::DraftUnsupported),
        (changed("Draft: 2", "Draft: 13"), E::DraftUnsupported),
        (changed("Draft: 2", "Draft: "), E::DraftUnsupported),
        (changed("Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n", ""), E::KeyMissing),
        (changed("Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n", ""), E::KeyMissing),
        (changed("4 @1  46546xW%0l 1 5", "12345"), E::KeyWithoutSpace),
        (changed("4 @1  46546xW%0l 1 5", "1 2 3 4 5"), E::KeyRemainder),
        (changed("4 @1  46546xW%0l 1 5", "! # $"), E::KeyWithoutDigit),
        (changed("4 @1  46546xW%0l 1 5", "4294967296 0"), E::KeyTooLarge),
        (changed("12998 5 Y3 1  .P00", "1299853100"), E::KeyWithoutSpace),
        (with_lines("Host: example.com"), E::DuplicateField),
        (with_lines("sec-websocket-key1: 1 1"), E::DuplicateField),
        (with_lines("Sec-WebSocket-Draft: 2"), E::DuplicateField),
    ]);
}

fn refused(cases: &[(Vec<u8>, RequestError)]) {
    for (bytes, expected) in cases {
        let note = bytes.escape_ascii();
        assert_eq!(read(bytes).err(), Some(*expected), "{note}");
        assert_eq!(byte_by_byte(bytes).err(), Some(*expected), "byte by byte: {note}");
    }
}

/// Feeds one byte more with each call; the length of the request, if there is one in the end.
fn byte_by_byte(bytes: &[u8]) -> Result<Option<usize>, RequestError> {
    let mut handshake = ServerHandshake::new();
    for end in 0..bytes.len() {
        if let Some(request) = handshake.read(&HeadLimits::default(), &bytes[..end])? {
            return Ok(Some(request.len()));
        }
    }
    let request = handshake.read(&HeadLimits::default(), bytes)?;
    Ok(request.map(|request| request.len()))
}

#[test]
fn a_foreign_protocol_or_method_is_refused_as_soon_as_it_shows() {
    // covers: HS-S-01, SEC-03
    assert_eq!(read(b"\x17").err(), Some(RequestError::NotHttp));
    assert!(read(b"\x16").unwrap().is_none(), "it may be TLS");
    assert_eq!(read(b"\x16\x03").err(), Some(RequestError::ClientSpeaksTls));
    assert!(read(b"POST").unwrap().is_none());
    assert!(read(b"\r").unwrap().is_none() && read(b"\r\n").unwrap().is_none());
    assert_eq!(read(b"\r\n\r").err(), Some(RequestError::NotHttp));
    assert_eq!(read(b"HEAD ").err(), Some(RequestError::UpgradeMissing));
    assert_eq!(read(b"PRI ").err(), Some(RequestError::HttpVersionUnsupported));
    assert_eq!(read(b"POST ").err(), Some(RequestError::MethodNotGet));
    assert_eq!(read(b"GET x").err(), Some(RequestError::ResourceName));
    assert_eq!(read(b"GET httpx").err(), Some(RequestError::ResourceName));
    assert!(read(b"GET http").unwrap().is_none(), "a URI of RFC 6455 may begin so");
    for len in 0..=5 {
        assert!(read(&b"GET /"[..len]).unwrap().is_none());
    }
}

#[test]
fn every_split_gives_the_same_request() {
    // covers: HS-S-05, HS-S-06
    for vector in [V1, V4] {
        let whole = read(vector.as_bytes()).unwrap().unwrap().answer();
        for cut in 0..vector.len() {
            let mut handshake = ServerHandshake::new();
            let limits = HeadLimits::default();
            assert!(handshake.read(&limits, &vector.as_bytes()[..cut]).unwrap().is_none());
            let request = handshake.read(&limits, vector.as_bytes()).unwrap().unwrap();
            assert_eq!((request.len(), request.answer()), (vector.len(), whole), "cut at {cut}");
            assert_eq!(request.host(), "example.com", "cut at {cut}");
        }
        assert_eq!(byte_by_byte(vector.as_bytes()), Ok(Some(vector.len())));
    }
}

#[test]
fn damaged_requests_break_the_same_rule_however_they_are_cut() {
    // covers: SEC-01, CONF-03
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..1_000 {
        let mut bytes = V1.as_bytes().to_vec();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] = *rng.choice(b"\r\n: \0\xC3\xA4AG/0,").unwrap();
        }
        let limits = HeadLimits::default()
            .with_max_bytes(rng.usize(1..400))
            .with_max_line_bytes(rng.usize(1..60))
            .with_max_fields(rng.usize(..12));
        let limits = if rng.bool() { limits } else { HeadLimits::default() };
        let whole = ServerHandshake::new().read(&limits, &bytes).map(|r| r.map(|r| r.answer()));
        let mut handshake = ServerHandshake::new();
        let mut pieces = Ok(None);
        for end in 0..=bytes.len() {
            pieces = handshake.read(&limits, &bytes[..end]).map(|r| r.map(|r| r.answer()));
            if pieces != Ok(None) {
                break;
            }
        }
        assert_eq!(pieces, whole, "{limits:?} {}", bytes.escape_ascii());
    }
}

#[test]
fn key_3_is_eight_raw_bytes_and_what_follows_is_not_taken() {
    // covers: HS-S-06, AMB-10
    let head = V1.len() - 8;
    for key_3 in [*b"\r\n\r\n\r\n\r\n", [0; 8], [0xFF; 8]] {
        let mut bytes = V1.as_bytes()[..head].to_vec();
        bytes.extend_from_slice(&key_3);
        bytes.extend_from_slice(b"\x04\x05Hello");
        let request = read(&bytes).unwrap().unwrap();
        assert_eq!(request.len(), head + 8);
        let (part_1, part_2) = (829_309_203, 259_970_620);
        assert_eq!(request.answer(), Answer::Hybi02(hybi02::answer(part_1, part_2, key_3)));
    }
    assert!(read(&V1.as_bytes()[..V1.len() - 1]).unwrap().is_none(), "seven bytes are too few");
}

const RFC6455: &str = "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn names_as_long_as_those_that_the_handshake_is_about_mean_nothing() {
    let known = [
        "Host",
        "Origin",
        "Upgrade",
        "Connection",
        "Content-Length",
        "Transfer-Encoding",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Key1",
        "Sec-WebSocket-Draft",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Protocol",
    ];
    let others = known.map(|name| format!("\r\n{}: x", "n".repeat(name.len()))).concat();
    for request in [V1, V4, RFC6455] {
        for at in ["\r\nUpgrade:", "\r\n\r\n"] {
            let changed = request.replacen(at, &format!("{others}{at}"), 1);
            assert_ne!(changed, request);
            let read = read(changed.as_bytes()).expect("a legal request").expect("all of it");
            let before = self::read(request.as_bytes()).unwrap().unwrap();
            assert_eq!((read.answer(), read.host()), (before.answer(), before.host()));
        }
    }
}

#[test]
fn a_head_that_waited_for_key_3_is_read_whatever_comes_with_it() {
    // covers: HS-S-06
    let (head, key_3) = V1.as_bytes().split_at(V1.len() - 8);
    for behind in [&b""[..], b"\x04", b"\x04\x05Hello"] {
        for early in 0..8 {
            let limits = HeadLimits::default();
            let mut handshake = ServerHandshake::new();
            assert!(handshake.read(&limits, head).expect("a legal head").is_none());
            let part = [head, &key_3[..early]].concat();
            assert!(handshake.read(&limits, &part).expect("a legal head").is_none());
            let all = [head, key_3, behind].concat();
            let request = handshake.read(&limits, &all).expect("a legal request");
            assert_eq!(request.expect("all of it").len(), V1.len(), "{early}, {}", behind.len());
        }
    }
}

#[test]
fn limits_are_enforced_and_key_3_does_not_count() {
    // covers: CONF-03
    let limits = HeadLimits::default();
    let read = |limits: HeadLimits| {
        ServerHandshake::new().read(&limits, V1.as_bytes()).map(|request| request.is_some())
    };
    let head = V1.len() - 8;
    assert_eq!(read(limits.with_max_bytes(head)), Ok(true));
    assert_eq!(read(limits.with_max_bytes(head - 1)), Err(RequestError::HeadTooLarge));
    assert_eq!(read(limits.with_max_fields(8)), Ok(true));
    assert_eq!(read(limits.with_max_fields(7)), Err(RequestError::TooManyFields));
    assert_eq!(read(limits.with_max_line_bytes(40)), Ok(true));
    assert_eq!(read(limits.with_max_line_bytes(30)), Err(RequestError::LineTooLong));
    assert_eq!(read(limits.with_max_line_bytes(17)), Err(RequestError::RequestLineTooLong));
}

#[test]
fn subprotocols_are_split_at_spaces_and_commas() {
    // covers: AMB-08, HS-S-12
    for (value, expected) in [
        ("a", &["a"][..]),
        ("a b", &["a", "b"]),
        ("a, b,c  d", &["a", "b", "c", "d"]),
        ("", &[]),
        (" , ", &[]),
    ] {
        let bytes = changed("Protocol: sample", &format!("Protocol: {value}"));
        let request = read(&bytes).unwrap().unwrap();
        assert_eq!(request.subprotocols().collect::<Vec<_>>(), expected);
        assert!(request.asks_for_subprotocol());
    }
}

#[test]
fn a_reader_is_small_and_a_request_holds_no_heap_memory() {
    assert!(size_of::<ServerHandshake>() <= 8);
    assert!(!std::mem::needs_drop::<UpgradeRequest<'static>>());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic_and_every_split_agrees(bytes: Vec<u8>, cut: usize) {
        // covers: SEC-01
        same_in_two_pieces(&bytes, cut);
    }

    #[test]
    fn no_damage_panics_and_every_split_agrees(
        at in 0..V1.len(),
        byte in any::<u8>(),
        cut in 0..V1.len(),
        end in 0..=V1.len(),
    ) {
        // covers: SEC-01
        let mut bytes = V1.as_bytes()[..end].to_vec();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        same_in_two_pieces(&bytes, cut);
    }
}

fn same_in_two_pieces(bytes: &[u8], cut: usize) {
    let limits = HeadLimits::default();
    let whole = read(bytes).map(|request| request.map(|r| (r.len(), r.answer())));
    let mut handshake = ServerHandshake::new();
    let first = &bytes[..cut % (bytes.len() + 1)];
    let pieces = match handshake.read(&limits, first) {
        Ok(None) => handshake.read(&limits, bytes),
        early => early,
    };
    assert_eq!(pieces.map(|request| request.map(|r| (r.len(), r.answer()))), whole);
}
