use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use fastrand::Rng;
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

use super::super::{ConnectQueue, RemoteHost, ServerHandshake, ServerPolicy, accept};
use super::{
    Answer, ClientHandshake, ClientRequest, ClientRequestBuilder, ClientRequestError, HeadLimits,
    ResponseError, UpgradeResponse, Url, hybi02,
};
use crate::wire::Dialect;

/// The server's part of V1, the draft's §1.2.
const V1_ANSWER: &str = "HTTP/1.1 101 WebSocket Protocol Handshake\r\n\
    Upgrade: WebSocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Origin: http://example.com\r\n\
    Sec-WebSocket-Location: ws://example.com/demo\r\n\
    Sec-WebSocket-Protocol: sample\r\n\
    \r\n\
    8jKS'y:G*Co,Wxa-";

fn builder(url: &str) -> ClientRequestBuilder {
    ClientRequest::builder(Url::parse(url).unwrap(), "http://example.com")
}

fn request() -> Arc<ClientRequest> {
    let builder = builder("ws://example.com/demo").protocols(["sample"]);
    Arc::new(builder.build().unwrap())
}

/// A client that sent V1's keys.
fn waiting(request: Arc<ClientRequest>) -> ClientHandshake {
    let expected = Answer::Hybi02(*b"8jKS'y:G*Co,Wxa-");
    ClientHandshake { request, expected, skipped: 0, interim: 0, partial: None }
}

fn read(bytes: &[u8]) -> Result<Option<UpgradeResponse<'_>>, ResponseError> {
    waiting(request()).read(&HeadLimits::default(), bytes)
}

fn byte_by_byte(bytes: &[u8]) -> Result<Option<usize>, ResponseError> {
    let mut handshake = waiting(request());
    for end in 0..bytes.len() {
        if let Some(response) = handshake.read(&HeadLimits::default(), &bytes[..end])? {
            return Ok(Some(response.len()));
        }
    }
    let response = handshake.read(&HeadLimits::default(), bytes)?;
    Ok(response.map(|response| response.len()))
}

fn changed(from: &str, to: &str) -> Vec<u8> {
    assert!(V1_ANSWER.contains(from), "{from}");
    V1_ANSWER.replacen(from, to, 1).into_bytes()
}

fn sent(request: &Arc<ClientRequest>, seed: u64) -> Vec<u8> {
    let mut out = Vec::new();
    ClientHandshake::start(request, &mut Rng::with_seed(seed), &mut out);
    out
}

/// The lines of a request without their ends, and key_3.
fn lines(bytes: &[u8]) -> (Vec<&str>, &[u8]) {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    (std::str::from_utf8(&bytes[..end]).unwrap().split("\r\n").collect(), &bytes[end + 4..])
}

#[test]
fn the_request_has_these_lines_and_no_others() {
    // covers: HS-C-06, HS-C-08, HS-C-09, HS-C-13, HS-C-14, HS-C-15, HS-C-16, HS-C-17, HS-C-18
    let request = builder("wss://EXAMPLE.com:8443/a?b")
        .protocols(["x", "y"])
        .cookies([("Cookie", "a=1; b=2"), ("Cookie2", "$Version=\"1\"")])
        .build()
        .map(Arc::new)
        .unwrap();
    let bytes = sent(&request, 5);
    let (lines, _) = lines(&bytes);
    assert_eq!(lines[0], "GET /a?b HTTP/1.1");
    let mut fixed: Vec<_> = lines[1..].to_vec();
    fixed.retain(|line| !line.starts_with("Sec-WebSocket-Key"));
    fixed.sort_unstable();
    let expected = [
        "Connection: Upgrade",
        "Cookie2: $Version=\"1\"",
        "Cookie: a=1; b=2",
        "Host: example.com:8443",
        "Origin: http://example.com",
        "Sec-WebSocket-Draft: 2",
        "Sec-WebSocket-Protocol: x y",
        "Upgrade: WebSocket",
    ];
    assert_eq!(fixed, expected);
}

#[test]
fn without_protocols_and_cookies_seven_fields_and_key_3_are_sent() {
    // covers: HS-C-07, HS-C-16, HS-C-26, HS-C-28, HS-C-29, HS-C-30, HS-C-54
    let request = Arc::new(builder("ws://example.com").build().unwrap());
    let bytes = sent(&request, 6);
    let (lines, key_3) = lines(&bytes);
    let mut names: Vec<_> =
        lines[1..].iter().map(|line| line.split_once(": ").unwrap().0).collect();
    names.sort_unstable();
    let expected = [
        "Connection",
        "Host",
        "Origin",
        "Sec-WebSocket-Draft",
        "Sec-WebSocket-Key1",
        "Sec-WebSocket-Key2",
        "Upgrade",
    ];
    assert_eq!((lines[0], names.as_slice()), ("GET / HTTP/1.1", expected.as_slice()));
    assert_eq!(key_3.len(), 8);
}

#[test]
fn the_host_field_has_the_port_if_it_is_not_the_scheme_s() {
    // covers: HS-C-10, HS-C-11, HS-C-12, HS-C-13
    for (url, host) in [
        ("ws://EXAMPLE.com:80", "Host: example.com"),
        ("ws://example.com:443", "Host: example.com:443"),
        ("wss://example.com:443", "Host: example.com"),
        ("wss://example.com:80", "Host: example.com:80"),
        ("ws://b\u{fc}cher.example:81", "Host: xn--bcher-kva.example:81"),
    ] {
        let bytes = sent(&Arc::new(builder(url).build().unwrap()), 1);
        assert!(lines(&bytes).0.contains(&host), "{url}");
    }
}

#[test]
fn the_order_of_fields_is_random_and_replayed_by_its_seed() {
    // covers: HS-C-27
    let request = request();
    let (mut orders, mut first) = (HashSet::new(), HashMap::new());
    const ROUNDS: u64 = 8_000;
    for seed in 0..ROUNDS {
        let bytes = sent(&request, seed);
        assert_eq!(bytes, sent(&request, seed), "seed {seed}");
        let (lines, _) = lines(&bytes);
        let names: Vec<_> =
            lines[1..].iter().map(|line| line.split_once(':').unwrap().0.to_owned()).collect();
        assert_eq!(names.len(), 8);
        *first.entry(names[0].clone()).or_insert(0) += 1;
        orders.insert(names);
    }
    // Each of eight is expected 1,000 times in the first place.
    assert!(first.values().all(|count| (800..1_200).contains(count)), "{first:?}");
    assert!(orders.len() > 7_000, "{} of 40,320 orders", orders.len());
}

/// Whether each place of these takes every value of a byte, and no two of them go together.
pub(in crate::handshake) fn assert_random<const N: usize>(all: &[[u8; N]]) {
    assert!(all.len() >= 4_096);
    for place in 0..N {
        let seen: HashSet<u8> = all.iter().map(|bytes| bytes[place]).collect();
        assert_eq!(seen.len(), 256, "values of byte {place}");
        for other in 0..place {
            // As 16 of 4,096 are.
            let equal = all.iter().filter(|bytes| bytes[place] == bytes[other]).count();
            assert!(equal < all.len() / 64, "bytes {other} and {place} are equal {equal} times");
        }
    }
    let different: HashSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
}

#[test]
fn key_3_is_any_eight_bytes() {
    // covers: HS-C-29
    let request = request();
    let keys: Vec<[u8; 8]> =
        (0..4_096).map(|seed| lines(&sent(&request, seed)).1.try_into().unwrap()).collect();
    assert_random(&keys);
}

#[test]
fn the_two_keys_of_a_request_have_nothing_to_do_with_each_other() {
    // covers: HS-C-26
    let request = request();
    let key = |lines: &[&str], name: &str| {
        let value = lines.iter().find_map(|line| line.strip_prefix(name)).unwrap();
        (value.to_owned(), hybi02::key_part(value.as_bytes()).unwrap())
    };
    for seed in 0..500 {
        let bytes = sent(&request, seed);
        let (lines, _) = lines(&bytes);
        let keys = ["Sec-WebSocket-Key1: ", "Sec-WebSocket-Key2: "].map(|name| key(&lines, name));
        assert_ne!(keys[0].0, keys[1].0, "seed {seed}");
        assert_ne!(keys[0].1, keys[1].1, "seed {seed}");
    }
}

#[test]
fn a_server_s_answer_to_any_request_is_taken() {
    // covers: HS-C-19, HS-C-22, HS-C-25, HS-C-26, HS-C-27, HS-C-45, HS-C-46, HS-C-48, HS-C-50
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let limits = HeadLimits::default();
    for (url, secure) in [("ws://Example.com/demo?x", false), ("wss://h:8443/", true)] {
        let request = builder(url).protocols(["a", "sample"]).build().map(Arc::new).unwrap();
        let policy = ServerPolicy::new().subprotocols(["sample"]).unwrap().secure(secure);
        for _ in 0..500 {
            let mut bytes = Vec::new();
            let mut client = ClientHandshake::start(&request, &mut rng, &mut bytes);
            let upgrade = ServerHandshake::new().read(&limits, &bytes).unwrap().unwrap();
            assert_eq!(upgrade.len(), bytes.len());
            policy.judge(&upgrade).unwrap();
            let mut answer = Vec::new();
            let chosen = policy.choose_subprotocol(&upgrade);
            accept(&upgrade, &policy, chosen, &[("Set-Cookie", "a=b")], &mut answer).unwrap();
            let len = answer.len();
            answer.extend_from_slice(b"\x04\x02hi");
            let response = client.read(&limits, &answer).unwrap().unwrap();
            assert_eq!((response.len(), response.subprotocol()), (len, Some("sample")));
        }
    }
}

#[test]
fn invalid_arguments_make_no_request() {
    // covers: URL-12, URL-14, URL-15, HS-C-01, HS-C-18, AMB-17, REG-03
    use ClientRequestError as E;
    let url = || Url::parse("ws://example.com/").unwrap();
    for origin in ["", "HTTP://example.com", "http://Example.com", "a b", "a\r\nb", "\u{e9}"] {
        let result = ClientRequest::builder(url(), origin).build();
        assert_eq!(result.err(), Some(E::Origin), "{origin:?}");
    }
    for names in [&[""][..], &["a b"], &["a\r\n"], &["\u{e9}"], &["a", "b", "a"], &["a\x7F"]] {
        let result = ClientRequest::builder(url(), "o").protocols(names.to_vec()).build();
        assert_eq!(result.err(), Some(E::Protocol), "{names:?}");
    }
    for field in [("Cookie", "a\nb"), ("Cookie", "a\r\n b"), ("C:", "x"), ("", "x"), ("Host", "x")]
    {
        let result = ClientRequest::builder(url(), "o").cookies([field]).build();
        assert_eq!(result.err(), Some(E::Cookie), "{field:?}");
    }
    let many = vec![("Cookie", "a=b"); 122];
    let result = ClientRequest::builder(url(), "o").cookies(many.clone()).build();
    assert_eq!(result.err(), Some(E::TooManyFields));
    assert!(ClientRequest::builder(url(), "o").cookies(many[1..].to_vec()).build().is_ok());
    assert!(ClientRequest::builder(url(), "null").build().is_ok());
}

#[test]
fn right_answers_are_taken() {
    // covers: HS-C-31, HS-C-32, HS-C-33, HS-C-36, HS-C-38, HS-C-40, HS-C-41, HS-C-44, HS-C-47, AMB-19
    let long = format!("\r\nX-Long: {}\r\n\r\n", "x".repeat(700));
    for bytes in [
        V1_ANSWER.as_bytes().to_vec(),
        changed("HTTP/1.1 101 WebSocket Protocol Handshake", "x 101 "),
        changed("HTTP/1.1 101 WebSocket Protocol Handshake", " 101 \0\x7F\u{e9} :"),
        changed("HTTP/1.1 101 WebSocket", "ICY 101  a  b"),
        changed("Upgrade: WebSocket", "uPGRADE: wEBSOCKET"),
        changed("Connection: Upgrade", "CONNECTION: UPGRADE"),
        changed("Upgrade: WebSocket", "Upgrade:WebSocket"),
        changed("\r\n\r\n", "\r\nX:\r\nY: \r\n Z : a:b\r\n\0\u{e9}: \0\x01\x7F\u{e9}\r\n\r\n"),
        changed("\r\n\r\n", "\r\nX: 1\r\nX: 2\r\nSec-WebSocket-Draft: 9\r\n\r\n"),
        changed("\r\n\r\n", &long),
    ] {
        let note = bytes.escape_ascii();
        let response = read(&bytes).unwrap_or_else(|error| panic!("{error}: {note}")).unwrap();
        assert_eq!((response.len(), response.subprotocol()), (bytes.len(), Some("sample")));
        assert!(!response.is_empty());
        assert_eq!(byte_by_byte(&bytes), Ok(Some(bytes.len())), "{note}");
    }
}

fn failed(cases: &[(Vec<u8>, ResponseError)]) {
    for (bytes, expected) in cases {
        let note = bytes.escape_ascii();
        assert_eq!(read(bytes).err(), Some(*expected), "{note}");
        assert_eq!(byte_by_byte(bytes), Err(*expected), "byte by byte: {note}");
    }
}

#[test]
fn wrong_lines_fail_with_their_rule() {
    // covers: HS-C-31, HS-C-32, HS-C-33, HS-C-36, HS-C-38, HS-C-39, HS-C-42, AMB-07
    use ResponseError as E;
    failed(&[
        (b"\r\n".to_vec(), E::StatusLine),
        (b"  x\r\n".to_vec(), E::StatusCode),
        (b"abcd \r\n".to_vec(), E::StatusLine),
        (b"HTTP/1.1 101\r\n".to_vec(), E::StatusLine),
        (b"\n".to_vec(), E::BareLineFeed),
        (changed("Handshake\r\n", "Handshake\n"), E::BareLineFeed),
        (changed("Handshake\r\n", "Hand\rshake\r\n"), E::BareCarriageReturn),
        (changed("Handshake\r\n", "Handshake\r\r\n"), E::BareCarriageReturn),
        (changed(" 101 ", " 200 "), E::StatusCode),
        (changed(" 101 ", " 301 "), E::StatusCode),
        (changed(" 101 ", " 401 "), E::StatusCode),
        (changed(" 101 ", " 1010 "), E::StatusCode),
        (changed(" 101 ", " 10 "), E::StatusCode),
        (changed(" 101 ", " 101\t"), E::StatusCode),
        (changed(" 101 ", "  101 "), E::StatusCode),
        (changed(" 101 ", " 407 "), E::ProxyAuthenticationRequired),
        (changed("Upgrade: WebSocket\r\n", "Upgrade: WebSocket\n"), E::BareLineFeed),
        (changed("Upgrade: WebSocket\r\n", "Upgrade: Web\rSocket\r\n"), E::BareCarriageReturn),
        (changed("Upgrade: WebSocket\r\n", "Upgrade\r\n"), E::FieldWithoutColon),
        (changed("Upgrade: WebSocket\r\n", "Upgr\nade: WebSocket\r\n"), E::BareLineFeed),
        (changed("\r\n\r\n8", "\r\n\rX8"), E::BareCarriageReturn),
        (changed("\r\n\r\n8", "\r\n: x\r\n\r\n8"), E::FieldWithoutName),
    ]);
}

#[test]
fn wrong_fields_fail_with_their_rule() {
    // covers: HS-C-37, HS-C-38, HS-C-44, HS-C-48, SEC-02
    use ResponseError as E;
    let twice = |line: &str| changed("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
    failed(&[
        (changed("Upgrade: WebSocket\r\n", ""), E::UpgradeCount),
        (twice("upgrade: websocket"), E::UpgradeCount),
        (changed("Upgrade: WebSocket", "Upgrade:  WebSocket"), E::UpgradeValue),
        (changed("Upgrade: WebSocket", "Upgrade: WebSocket "), E::UpgradeValue),
        (changed("Upgrade: WebSocket", "Upgrade: Web\u{17f}ocket"), E::UpgradeValue),
        (changed("Connection: Upgrade\r\n", ""), E::ConnectionCount),
        (twice("Connection: Upgrade"), E::ConnectionCount),
        (changed("Connection: Upgrade", "Connection: keep-alive, Upgrade"), E::ConnectionValue),
        (changed("Sec-WebSocket-Origin: http://example.com\r\n", ""), E::OriginCount),
        (twice("sec-websocket-origin: http://example.com"), E::OriginCount),
        (changed("http://example.com", "http://Example.com"), E::OriginValue),
        (changed("http://example.com", "http://example.com:80"), E::OriginValue),
        (changed("http://example.com", ""), E::OriginValue),
        (changed("Sec-WebSocket-Location: ws://example.com/demo\r\n", ""), E::LocationCount),
        (twice("Sec-WebSocket-Location: ws://example.com/demo"), E::LocationCount),
        (changed("ws://example.com/demo", "wss://example.com/demo"), E::LocationValue),
        (changed("ws://example.com/demo", "ws://example.com:80/demo"), E::LocationValue),
        (changed("ws://example.com/demo", "ws://EXAMPLE.com/demo"), E::LocationValue),
        (changed("ws://example.com/demo", "ws://example.com/"), E::LocationValue),
        (changed("Sec-WebSocket-Protocol: sample\r\n", ""), E::SubprotocolCount),
        (twice("Sec-WebSocket-Protocol: sample"), E::SubprotocolCount),
        (changed(": sample", ": Sample"), E::SubprotocolValue),
        (changed(": sample", ": sample other"), E::SubprotocolValue),
        (changed(": sample", ": "), E::SubprotocolValue),
        (changed("8jKS'y:G*Co,Wxa-", "8jKS'y:G*Co,Wxa+"), E::Answer),
        (changed("8jKS'y:G*Co,Wxa-", "\r\n8jKS'y:G*Co,Wx"), E::Answer),
    ]);
}

#[test]
fn a_failure_shows_as_early_as_its_byte_code_or_line() {
    // covers: HS-C-53
    let early = |bytes: &[u8], expected| {
        assert_eq!(read(bytes).err(), Some(expected));
        assert!(read(&bytes[..bytes.len() - 1]).unwrap().is_none(), "not before");
    };
    early(b"\x15\x03", ResponseError::ServerSpeaksTls);
    early(b"\x16\x03", ResponseError::ServerSpeaksTls);
    // With the line, so that its phrase can be told.
    early(b"HTTP/1.1 302 Found\r\n", ResponseError::StatusCode);
    early(b"HTTP/1.1 302 Found\n", ResponseError::StatusCode);
    early(b"HTTP/1.1 407 x\r\n", ResponseError::ProxyAuthenticationRequired);
    // When it cannot be folded any more.
    early(b"HTTP/1.1 101 x\r\nUpgrade: no\r\nX", ResponseError::UpgradeValue);
    early(b"HTTP/1.1 101 x\r\nab\r", ResponseError::FieldWithoutColon);
    let head = V1_ANSWER.len() - 16;
    let mut bytes = V1_ANSWER.as_bytes()[..head + 3].to_vec();
    bytes.push(b'!');
    early(&bytes, ResponseError::Answer);
    let no_origin = changed("Sec-WebSocket-Origin: http://example.com\r\n", "");
    early(&no_origin[..no_origin.len() - 16], ResponseError::OriginCount);
}

#[test]
fn every_split_gives_the_same_response() {
    // covers: HS-C-31, HS-C-36, HS-C-38, HS-C-47, HS-C-50
    let mut bytes = V1_ANSWER.as_bytes().to_vec();
    bytes.extend_from_slice(b"\x04\x05Hello");
    for cut in 0..V1_ANSWER.len() {
        let mut handshake = waiting(request());
        let limits = HeadLimits::default();
        assert!(handshake.read(&limits, &bytes[..cut]).unwrap().is_none(), "cut at {cut}");
        let response = handshake.read(&limits, &bytes).unwrap().unwrap();
        assert_eq!(response.len(), V1_ANSWER.len(), "the frame behind it is not taken");
        assert_eq!(response.fields().count(), 5);
    }
}

#[test]
fn damaged_answers_break_the_same_rule_however_they_are_cut() {
    // covers: HS-C-53, CONF-03
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    for _ in 0..1_000 {
        let mut bytes = V1_ANSWER.as_bytes().to_vec();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] = *rng.choice(b"\r\n: \0\xC3\xA4AG/01").unwrap();
        }
        let limits = HeadLimits::default()
            .with_max_bytes(rng.usize(1..400))
            .with_max_line_bytes(rng.usize(1..60))
            .with_max_fields(rng.usize(..8));
        let limits = if rng.bool() { limits } else { HeadLimits::default() };
        let whole = waiting(request()).read(&limits, &bytes).map(|r| r.map(|r| r.len()));
        let mut handshake = waiting(request());
        let mut pieces = Ok(None);
        for end in 0..=bytes.len() {
            pieces = handshake.read(&limits, &bytes[..end]).map(|r| r.map(|r| r.len()));
            if pieces != Ok(None) {
                break;
            }
        }
        assert_eq!(pieces, whole, "{limits:?} {}", bytes.escape_ascii());
    }
}

#[test]
fn the_fields_of_a_response_are_listed_as_they_were_sent() {
    // covers: HS-C-34, HS-C-35, HS-C-37, HS-C-38, HS-C-40, HS-C-41
    let bytes = changed("\r\n\r\n", "\r\nX:1\r\nX:  2 \r\nY-y:\r\nZ: a: b\r\n\r\n");
    let mut handshake = waiting(request());
    let limits = HeadLimits::default();
    assert!(handshake.read(&limits, &bytes[..60]).unwrap().is_none());
    let response = handshake.read(&limits, &bytes).unwrap().unwrap();
    let text: Vec<_> = response
        .fields()
        .map(|field| (field.name_text().into_owned(), field.value_text().into_owned()))
        .collect();
    let text: Vec<_> = text.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("Upgrade", "WebSocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Origin", "http://example.com"),
        ("Sec-WebSocket-Location", "ws://example.com/demo"),
        ("Sec-WebSocket-Protocol", "sample"),
        ("X", "1"),
        ("X", " 2 "),
        ("Y-y", ""),
        ("Z", "a: b"),
    ];
    assert_eq!(text, expected);
}

#[test]
fn interim_responses_are_skipped() {
    // covers: AMB-21, HS-C-33
    let early = "HTTP/1.1 103 Early Hints\r\nUpgrade: no\r\nLink: </a>\r\n b: c\r\n\r\n";
    for before in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 100\r\n\r\n",
        "HTTP/1.1 102 \r\nX: y\r\n\r\n",
        "HTTP/1.1 199 x\r\n\r\n",
        early,
        &early.repeat(16),
    ] {
        let bytes = format!("{before}{V1_ANSWER}\x04\x02hi").into_bytes();
        let response = read(&bytes).unwrap_or_else(|error| panic!("{error}: {before}")).unwrap();
        let len = bytes.len() - 4;
        assert_eq!((response.len(), response.subprotocol()), (len, Some("sample")), "{before}");
        assert_eq!(response.fields().count(), 5, "{before}");
        assert_eq!(byte_by_byte(&bytes), Ok(Some(len)), "{before}");
    }
    // They are no answer, and what follows is judged as if they were not there.
    assert!(read(early.as_bytes()).unwrap().is_none());
    use ResponseError as E;
    let wrong = |before: &str, from, to| [before.as_bytes(), &changed(from, to)].concat();
    failed(&[
        (wrong(early, " 101 ", " 200 "), E::StatusCode),
        (wrong(early, "Upgrade: WebSocket\r\n", ""), E::UpgradeCount),
        (wrong("HTTP/1.1 103 x\r\na\r\n\r\n", " 101 ", " 101 "), E::FieldWithoutColon),
        (wrong("HTTP/1.1 1000 x\r\n\r\n", " 101 ", " 101 "), E::StatusCode),
        (wrong("HTTP/1.1 1x0 x\r\n\r\n", " 101 ", " 101 "), E::StatusCode),
        (wrong("HTTP/1.1 10 x\r\n\r\n", " 101 ", " 101 "), E::StatusCode),
        (early.repeat(17).into_bytes(), E::TooManyInterim),
    ]);
}

#[test]
fn interim_responses_are_bounded() {
    // covers: AMB-21, CONF-03
    let interim = "HTTP/1.1 103 x\r\n\r\n";
    let head = V1_ANSWER.len() - 16;
    let read = |count, limits: HeadLimits| {
        let bytes = format!("{}{V1_ANSWER}", interim.repeat(count));
        waiting(request()).read(&limits, bytes.as_bytes()).map(|response| response.is_some())
    };
    let limits = HeadLimits::default();
    assert_eq!(read(2, limits.with_max_interim(2)), Ok(true));
    assert_eq!(read(3, limits.with_max_interim(2)), Err(ResponseError::TooManyInterim));
    assert_eq!(read(1, limits.with_max_interim(0)), Err(ResponseError::TooManyInterim));
    assert_eq!(read(0, limits.with_max_interim(0)), Ok(true));
    // Together they may be as long as one head.
    let count = head / interim.len();
    let limits = limits.with_max_bytes(head).with_max_interim(u8::MAX);
    assert_eq!(read(count, limits), Ok(true));
    assert_eq!(read(count + 1, limits), Err(ResponseError::HeadTooLarge));
}

#[test]
fn the_status_told_is_that_of_the_response_that_counts() {
    for (bytes, expected) in [
        (b"HTTP/1.1 404 Not Found\r\n\r\n".as_slice(), Some((404, "Not Found"))),
        (b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 500 Oh\r\n", Some((500, "Oh"))),
        (b"HTTP/1.0 403\r\n\r\n", Some((403, ""))),
        (b"HTTP/1.1 403 \r\n\r\n", Some((403, ""))),
        (b"HTTP/1.1 503 Zu viel los, Stra\xDFe\n", Some((503, "Zu viel los, Stra\u{fffd}e"))),
        (b"HTTP/1.1 50 x\r\n", None),
        (b"HTTP/1.1 5000 x\r\n", None),
        (b"HTTP/1.1 +50 x\r\n", None),
        (b"ICY 200 OK\r\n", None),
        (b"HTTP/1.1\r\n", None),
    ] {
        let mut handshake = waiting(request());
        assert!(handshake.read(&HeadLimits::default(), bytes).is_err(), "{}", bytes.escape_ascii());
        let refusal = handshake.refusal(bytes);
        let status = refusal.as_ref().map(|refusal| (refusal.status(), refusal.phrase()));
        assert_eq!(status, expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn folded_lines_are_read_as_spaces() {
    // covers: AMB-22, HS-C-38
    for (from, to) in [
        ("Upgrade: WebSocket", "Upgrade:\r\n WebSocket"),
        ("Upgrade: WebSocket", "Upgrade: \r\n\t WebSocket"),
        ("Protocol: sample", "Protocol:\r\n \r\n sample"),
        ("Sec-WebSocket-Origin: ", "X: a\r\n b:\tc \r\n\t  d\r\nSec-WebSocket-Origin: "),
    ] {
        let bytes = changed(from, to);
        let note = bytes.escape_ascii();
        let response = read(&bytes).unwrap_or_else(|error| panic!("{error}: {note}")).unwrap();
        assert_eq!((response.len(), response.subprotocol()), (bytes.len(), Some("sample")));
        assert_eq!(byte_by_byte(&bytes), Ok(Some(bytes.len())), "{note}");
        if let Some(field) = response.fields().find(|field| field.is("x")) {
            assert_eq!(field.value, b"a b:\tc d", "{note}");
            assert_eq!(field.value_str(), Some("a b:\tc d"));
        }
        assert!(response.fields().all(|field| !field.value.contains(&b'\n')), "{note}");
    }
    use ResponseError as E;
    failed(&[
        // A space is a space too many where the draft wants a value to the letter.
        (changed("Upgrade: WebSocket", "Upgrade: WebSocket\r\n "), E::UpgradeValue),
        (changed("Upgrade: WebSocket", "Upgrade: Web\r\n Socket"), E::UpgradeValue),
        (changed(": sample", ": sample\r\n other"), E::SubprotocolValue),
    ]);
}

#[test]
fn the_subprotocol_field_is_ignored_if_none_was_asked_for() {
    // covers: HS-C-44
    let request = Arc::new(builder("ws://example.com/demo").build().unwrap());
    for lines in ["", "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n"] {
        let bytes = changed("Sec-WebSocket-Protocol: sample\r\n", lines);
        let mut handshake = waiting(Arc::clone(&request));
        let response = handshake.read(&HeadLimits::default(), &bytes).unwrap().unwrap();
        assert_eq!(response.subprotocol(), None);
    }
}

#[test]
fn any_one_of_several_subprotocols_is_taken() {
    // covers: HS-C-44, AMB-08
    let request = builder("ws://example.com/demo").protocols(["x", "sample"]).build();
    let mut handshake = waiting(Arc::new(request.unwrap()));
    let response = handshake.read(&HeadLimits::default(), V1_ANSWER.as_bytes()).unwrap().unwrap();
    assert_eq!(response.subprotocol(), Some("sample"));
}

#[test]
fn cookies_are_handed_out_with_a_right_answer_only() {
    // covers: HS-C-43, HS-C-44, HS-C-51, HS-C-52
    let cookies = "\r\nSet-Cookie: a=b; Path=/\r\nX: y\r\nset-cookie2: c=d\r\n\r\n";
    let bytes = changed("\r\n\r\n", cookies);
    let response = read(&bytes).unwrap().unwrap();
    let found: Vec<_> = response.cookies().map(|field| field.value_text()).collect();
    assert_eq!(found, ["a=b; Path=/", "c=d"]);
    let mut wrong = bytes.clone();
    *wrong.last_mut().unwrap() = b'!';
    assert_eq!(read(&wrong).err(), Some(ResponseError::Answer), "no response, no cookies");
    assert_eq!(read(V1_ANSWER.as_bytes()).unwrap().unwrap().cookies().count(), 0);
}

#[test]
fn what_is_not_utf_8_reads_as_the_replacement_character() {
    // covers: UTF8-01, HS-C-40
    let at = V1_ANSWER.find("\r\n\r\n").unwrap();
    let mut bytes = V1_ANSWER.as_bytes().to_vec();
    bytes.splice(at..at, *b"\r\n\xC3\xA4\xFF: a\x80\x81\xE2\x82\xACb");
    let response = read(&bytes).unwrap().unwrap();
    let field = response.fields().last().unwrap();
    assert_eq!(field.name_text(), "\u{e4}\u{fffd}");
    assert_eq!(field.value_text(), "a\u{fffd}\u{fffd}\u{20ac}b");
}

#[test]
fn limits_are_enforced() {
    // covers: CONF-03, HS-C-53
    let read = |limits: HeadLimits| {
        waiting(request()).read(&limits, V1_ANSWER.as_bytes()).map(|response| response.is_some())
    };
    let limits = HeadLimits::default();
    let head = V1_ANSWER.len() - 16;
    assert_eq!(read(limits.with_max_bytes(head)), Ok(true), "the sixteen bytes do not count");
    assert_eq!(read(limits.with_max_bytes(head - 1)), Err(ResponseError::HeadTooLarge));
    assert_eq!(read(limits.with_max_fields(4)), Err(ResponseError::TooManyFields));
    assert_eq!(read(limits.with_max_line_bytes(20)), Err(ResponseError::LineTooLong));
}

#[test]
fn a_proxy_s_407_keeps_the_place_in_the_queue() {
    // covers: AMB-07, HS-C-33
    let mut queue = ConnectQueue::new(10);
    let host = || RemoteHost::Address([127, 0, 0, 1].into());
    let (first, second) = (queue.enter(host()), queue.enter(host()));
    assert_eq!(queue.poll_start(), Some(first));
    let error = read(b"HTTP/1.1 407 Proxy Authentication Required\r\n").unwrap_err();
    assert_eq!(error, ResponseError::ProxyAuthenticationRequired);
    assert_eq!(queue.poll_start(), None, "the second waits while the first connects again");
    queue.leave(first);
    assert_eq!(queue.poll_start(), Some(second));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_panic_and_every_split_agrees(bytes: Vec<u8>, cut: usize) {
        // covers: HS-C-53
        same_in_two_pieces(&bytes, cut);
    }

    #[test]
    fn a_damaged_answer_is_judged_alike_however_it_is_cut(
        at in 0..V1_ANSWER.len(),
        byte in any::<u8>(),
        cut in 0..V1_ANSWER.len(),
    ) {
        // covers: HS-C-48, HS-C-53
        let mut bytes = V1_ANSWER.as_bytes().to_vec();
        bytes[at] = byte;
        same_in_two_pieces(&bytes, cut);
        if at >= V1_ANSWER.len() - 16 {
            prop_assert!(read(&bytes).is_err() || byte == V1_ANSWER.as_bytes()[at]);
        }
    }
}

fn same_in_two_pieces(bytes: &[u8], cut: usize) {
    let limits = HeadLimits::default();
    let whole = read(bytes).map(|response| response.map(|r| r.len()));
    let mut handshake = waiting(request());
    let pieces = match handshake.read(&limits, &bytes[..cut % (bytes.len() + 1)]) {
        Ok(None) => handshake.read(&limits, bytes),
        early => early,
    };
    assert_eq!(pieces.map(|response| response.map(|r| r.len())), whole);
}

#[test]
fn a_name_and_a_password_in_the_url_are_sent_and_never_shown() {
    for dialect in [Dialect::Hybi02, Dialect::Rfc6455] {
        let url = Url::parse("ws://us%65r:p%40ss-w0rd@example.com:81/a").unwrap();
        let builder = ClientRequest::builder(url, "http://example.com")
            .dialect(dialect)
            .cookies([("Cookie", "session=s3cret")]);
        let mut shown = format!("{builder:?} {builder:#?}");
        let request = Arc::new(builder.clone().build().unwrap());
        let mut out = Vec::new();
        let handshake = ClientHandshake::start(&request, &mut Rng::with_seed(7), &mut out);
        shown += &format!("{request:?} {request:#?} {handshake:?} {}", request.location());
        let sent = String::from_utf8_lossy(&out);
        assert!(sent.contains("\r\nAuthorization: Basic dXNlcjpwQHNzLXcwcmQ=\r\n"), "{sent}");
        assert!(sent.contains("\r\nHost: example.com:81\r\n"), "{sent}");
        assert!(sent.starts_with("GET /a HTTP/1.1\r\n"), "{sent}");
        assert_eq!(request.location(), "ws://example.com:81/a");
        assert!(shown.contains("Authorization"), "that there is one may be known: {shown}");
        for secret in ["user", "us%65r", "p@ss", "p%40ss", "w0rd", "dXNlcj", "s3cret"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        // A field of the application's goes before.
        let other = builder.cookies([("authorization", "Bearer x")]).build().unwrap();
        let mut out = Vec::new();
        ClientHandshake::start(&Arc::new(other), &mut Rng::with_seed(7), &mut out);
        let sent = String::from_utf8_lossy(&out).to_lowercase();
        assert_eq!(sent.matches("authorization:").count(), 1, "{sent}");
        assert!(sent.contains("\r\nauthorization: bearer x\r\n"), "{sent}");
    }
}
