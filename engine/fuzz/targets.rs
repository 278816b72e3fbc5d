//! What the fuzz targets do with their bytes, and what they start from. The fuzzer and the bounded
//! run among the tests (`tests/fuzz_smoke.rs`) include this same file.
//!
//! A target panics when it finds a fault. Besides "no input panics" each holds a property: what is
//! read can be written and read again, and how the bytes were cut does not matter.

#[path = "targets/proxy.rs"]
mod proxy;
#[path = "targets/shard.rs"]
mod shard;
#[path = "targets/stream.rs"]
mod stream;
#[path = "targets/tls.rs"]
mod tls;

use std::fmt::Debug;
use std::sync::Arc;

pub use proxy::proxy;
pub use shard::shard;
pub use stream::stream;
pub use tls::{pem, tls};

use ringbolt::handshake::{
    ClientHandshake, ClientRequest, HeadLimits, ServerHandshake, ServerPolicy, UpgradeRequest, Url,
    accept,
};
use ringbolt::wire::{Dialect, FrameHeader, HEADER_MAX, ProtocolError, hybi02, rfc6455};

/// A target: its name, what it does, the inputs it starts from, and how many inputs of others it takes as
/// long as.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
    pub cost: u64,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "header", run: header, seeds: header_seeds, cost: 1 },
    Target { name: "pem", run: pem, seeds: tls::pem_seeds, cost: 1 },
    Target { name: "proxy", run: proxy, seeds: proxy::seeds, cost: 1 },
    Target { name: "request", run: request, seeds: request_seeds, cost: 1 },
    Target { name: "response", run: response, seeds: response_seeds, cost: 1 },
    Target { name: "shard", run: shard, seeds: shard::seeds, cost: 1 },
    Target { name: "stream", run: stream, seeds: stream::seeds, cost: 1 },
    Target { name: "tls", run: tls, seeds: tls::seeds, cost: 10 },
    Target { name: "url", run: url, seeds: url_seeds, cost: 1 },
];

/// A frame header: what was read is written in no more bytes, and read again the same.
pub fn header(data: &[u8]) {
    header_in(data, hybi02::decode, hybi02::encode);
    header_in(data, rfc6455::decode, rfc6455::encode);
}

/// What a dialect reads of a header.
type Read = Result<Option<(FrameHeader, usize)>, ProtocolError>;

fn header_in(
    data: &[u8],
    decode: fn(&[u8]) -> Read,
    encode: fn(FrameHeader, &mut [u8; HEADER_MAX]) -> usize,
) {
    let whole = decode(data);
    if let Ok(Some((header, taken))) = whole {
        assert!(taken <= data.len());
        let mut out = [0; HEADER_MAX];
        let written = encode(header, &mut out);
        assert!(written <= taken, "{header:?} took {taken} bytes and gives {written}");
        let key = if header.mask.is_some() { 4 } else { 0 };
        assert_eq!(written, hybi02::encoded_len(header.payload_len) + key);
        assert_eq!(decode(&out[..written]), Ok(Some((header, written))));
    }
    let first = (0..=data.len().min(HEADER_MAX)).map(|cut| decode(&data[..cut]));
    assert_eq!(first.into_iter().find(|got| *got != Ok(None)).unwrap_or(Ok(None)), whole);
}

fn header_seeds() -> Vec<Vec<u8>> {
    vec![
        b"\x04\x05Hello".to_vec(),
        b"\x84\x03Hel\x00\x02lo".to_vec(),
        b"\x05\x7e\x01\x00".to_vec(),
        b"\x05\x7f\x00\x00\x00\x00\x00\x01\x00\x00".to_vec(),
        b"\x01\x00".to_vec(),
        b"\xf4\x81".to_vec(),
        b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec(),
        b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x01\x02\x03\x04".to_vec(),
    ]
}

/// A server's reading of a request: the same however it is cut, and the same as a plain reading by
/// splitting at every CRLF.
pub fn request(data: &[u8]) {
    let limits = HeadLimits::default();
    let whole = ServerHandshake::new().read(&limits, data);
    let mut reader = ServerHandshake::new();
    let (at, pieces) = in_pieces(data, |received| reader.read(&limits, received).transpose());
    agree(&whole, &pieces.transpose(), |request| {
        (request.len(), request.answer(), request.fields().map(|f| f.value).collect::<Vec<_>>())
    });
    let Ok(Some(request)) = whole else { return };
    assert!(request.len() <= at, "{} bytes taken of {at}", request.len());
    let lines = match request.dialect() {
        Dialect::Hybi02 => {
            plain_reading(data, &request);
            6
        }
        _ => {
            assert!(data[..request.len()].ends_with(b"\r\n\r\n"));
            5
        }
    };
    let mut out = Vec::new();
    let none: [(&str, &str); 0] = [];
    accept(&request, &ServerPolicy::new(), None, &none, &mut out).expect("nothing extra to refuse");
    let answer = request.answer();
    let tail = if lines == 6 { answer.as_bytes().len() } else { 0 };
    let (head, tail) = out.split_at(out.len() - tail);
    assert!(tail.is_empty() || tail == answer.as_bytes());
    let head = std::str::from_utf8(head).expect("a head in UTF-8");
    assert_eq!(head.matches("\r\n").count(), lines, "an injected line in {head:?}");
}

/// The oracle: no SIMD, no state, no limits.
fn plain_reading(data: &[u8], request: &UpgradeRequest<'_>) {
    // One empty line may stand before it.
    let before = if data.starts_with(b"\r\n") { 2 } else { 0 };
    let data = &data[before..];
    let end = data.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an end of the head");
    assert_eq!(request.len(), before + end + 4 + 8);
    // Bytes above U+007F have no meaning; each is one character here.
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    let head = text(&data[..end]);
    let mut lines = head.split("\r\n");
    let first = lines.next().expect("a first line");
    assert_eq!(first.split(' ').nth(1), Some(request.resource_name()));
    let mut keys = [None; 2];
    let mut fields = request.fields();
    for line in lines {
        let (name, value) = line.split_once(':').expect("a colon");
        let value = value.strip_prefix(' ').unwrap_or(value);
        let field = fields.next().expect("as many fields");
        assert_eq!((&*text(field.name), &*text(field.value)), (name, value));
        match name.to_ascii_lowercase().as_str() {
            "sec-websocket-key1" => keys[0] = Some(plain_part(value)),
            "sec-websocket-key2" => keys[1] = Some(plain_part(value)),
            _ => {}
        }
    }
    assert!(fields.next().is_none(), "fewer fields");
    let [Some(part_1), Some(part_2)] = keys else { panic!("a request without both keys") };
    let key_3 = data[end + 4..end + 12].try_into().expect("eight bytes");
    assert_eq!(request.answer().as_bytes(), hybi02_answer(part_1, part_2, key_3));
}

fn plain_part(key: &str) -> u32 {
    let digits: String = key.chars().filter(char::is_ascii_digit).collect();
    let number: u128 = digits.parse().expect("digits that are not absurdly many");
    let spaces = key.matches(' ').count() as u128;
    assert_eq!(number % spaces, 0, "{key:?}");
    u32::try_from(number / spaces).expect("32 bits")
}

fn hybi02_answer(part_1: u32, part_2: u32, key_3: [u8; 8]) -> [u8; 16] {
    ringbolt::handshake::hybi02::answer(part_1, part_2, key_3)
}

fn request_seeds() -> Vec<Vec<u8>> {
    let draft = b"GET /demo HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\nSec-WebSocket-Protocol: sample\r\n\
        Upgrade: WebSocket\r\nSec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n\
        Origin: http://example.com\r\nSec-WebSocket-Draft: 2\r\n\r\n^n:ds[4U";
    let mut client = Vec::new();
    let _ = start(&mut client);
    let odd =
        [b"\r\n", &client[..client.len() - 12], b"\r\nContent-Length: 8\r\nX: \xE9\xFF"].concat();
    let odd = [&odd, &client[client.len() - 12..]].concat();
    vec![draft.to_vec(), client, odd]
}

/// A client's reading of a response: the same however it is cut, and accepted only with the answer
/// to the client's own challenge in its place.
pub fn response(data: &[u8]) {
    let limits = HeadLimits::default();
    let mut sent = Vec::new();
    let whole = start(&mut sent).read(&limits, data);
    let mut reader = start(&mut Vec::new());
    let (_, pieces) = in_pieces(data, |received| reader.read(&limits, received).transpose());
    agree(&whole, &pieces.transpose(), |response| {
        (response.len(), response.fields().map(|f| f.value.to_vec()).collect::<Vec<_>>())
    });
    let Ok(Some(response)) = whole else { return };
    let taken = response.len();
    let asked = ServerHandshake::new().read(&limits, &sent);
    let answer = asked.expect("our own request").expect("all of it").answer();
    assert!(data[..taken].ends_with(answer.as_bytes()));
    assert!(data[..taken - 16].ends_with(b"\r\n\r\n"));
    // Others of 1xx may come before it.
    let mut rest = data;
    loop {
        let code = rest.split(|byte| *byte == b' ').nth(1).expect("a code");
        if code == b"101" {
            break;
        }
        assert!(matches!(code.get(..3), Some([b'1', ..])), "{}", code.escape_ascii());
        let end = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an end");
        rest = &rest[end + 4..];
    }
}

/// A handshake that is the same each time.
fn start(out: &mut Vec<u8>) -> ClientHandshake {
    let url = Url::parse("ws://example.com:8080/demo?a=b").expect("a valid URL");
    let request = ClientRequest::builder(url, "http://example.com").build();
    let request: Arc<ClientRequest> = Arc::new(request.expect("a valid request"));
    ClientHandshake::start(&request, &mut fastrand::Rng::with_seed(2), out)
}

fn response_seeds() -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    let _ = start(&mut sent);
    let request = ServerHandshake::new().read(&HeadLimits::default(), &sent);
    let request = request.expect("our own request").expect("all of it");
    let mut plain = Vec::new();
    let none: [(&str, &str); 0] = [];
    accept(&request, &ServerPolicy::new(), None, &none, &mut plain).expect("nothing to refuse");
    let mut cookie = Vec::new();
    accept(&request, &ServerPolicy::new(), None, &[("Set-Cookie", "a=b")], &mut cookie)
        .expect("a legal cookie");
    cookie.extend(b"\x04\x05Hello");
    let interim = [b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n b\r\n\r\n", &*cookie].concat();
    vec![plain, cookie, interim, b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n".to_vec()]
}

/// A URL: what was parsed is valid, and its construction parses to the same.
pub fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(url) = Url::parse(text).map(Url::without_credentials) else { return };
    let again = Url::parse(&url.location());
    assert_eq!(again.as_ref(), Ok(&url), "{text:?} gives {}", url.location());
    let built = Url::new(url.host(), url.port(), url.resource_name(), url.secure());
    assert_eq!(built.as_ref(), Ok(&url));
    assert!(url.host().bytes().all(|byte| byte < 0x7F && !byte.is_ascii_uppercase()));
    assert!(url.resource_name().starts_with('/'));
    assert!(url.resource_name().bytes().all(|byte| (0x21..=0x7E).contains(&byte)));
}

fn url_seeds() -> Vec<Vec<u8>> {
    let urls = [
        "ws://example.com/demo",
        "wss://EXAMPLE.com:443/a/../b?c=d%20e",
        "ws://b\u{fc}cher.example/\u{6f22}?\u{5b57}",
        "ws://[::1]:8080/?",
        "ws://user@127.0.0.1:/x#y",
        "ws://us%65r:p%40ss@v2--site.example./..?",
        "ws://0x7f.1/",
    ];
    urls.iter().map(|url| url.as_bytes().to_vec()).collect()
}

/// Gives growing prefixes of `data` to `read` until it says something: in steps that the data
/// itself decides. Returns how much it had seen by then.
fn in_pieces<'d, T>(
    data: &'d [u8],
    mut read: impl FnMut(&'d [u8]) -> Option<T>,
) -> (usize, Option<T>) {
    let mut at = 0;
    loop {
        if let Some(said) = read(&data[..at]) {
            return (at, Some(said));
        }
        if at == data.len() {
            return (at, None);
        }
        let step = usize::from(data[at] % 7) + usize::from(data[at] == b'\r') * 60 + 1;
        at = (at + step).min(data.len());
    }
}

/// Both readings say the same.
fn agree<T: Debug, E: Debug, V: Debug + PartialEq>(
    whole: &Result<Option<T>, E>,
    pieces: &Result<Option<T>, E>,
    view: impl Fn(&T) -> V,
) {
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => {
            assert_eq!(whole.as_ref().map(&view), pieces.as_ref().map(&view));
        }
        // Which of several broken rules is named first may depend on what has arrived.
        (Err(_), Err(_)) => {}
        _ => panic!("whole: {whole:?}\nin pieces: {pieces:?}"),
    }
}
