//! Requests and answers of RFC 6455 §4, field by field, however they are cut.

use std::sync::Arc;

use fastrand::Rng;

use crate::handshake::{
    ClientHandshake, ClientRequest, ClientRequestError, DeflateTerms, HeadLimits, RequestError,
    ResponseError, ServerHandshake, ServerPolicy, UpgradeRequest, Url, accept, refuse,
};
use crate::wire::Dialect;

/// The request of §1.2, with its key.
const REQUEST: &str = "GET /chat?a=1 HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Version: 13\r\n\
    \r\n";

/// The answer of §1.2.
const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Protocol: chat\r\n\
    \r\n";

fn read(bytes: &[u8]) -> Result<Option<UpgradeRequest<'_>>, RequestError> {
    ServerHandshake::new().read(&HeadLimits::default(), bytes)
}

fn changed(from: &str, to: &str) -> Vec<u8> {
    assert!(REQUEST.contains(from), "{from}");
    REQUEST.replacen(from, to, 1).into_bytes()
}

const NONE: [(&str, &str); 0] = [];

#[test]
fn the_example_of_the_rfc_is_answered() {
    let request = read(REQUEST.as_bytes()).unwrap().unwrap();
    assert_eq!((request.dialect(), request.draft()), (Dialect::Rfc6455, None));
    assert_eq!(request.len(), REQUEST.len());
    assert_eq!((request.path(), request.query("a")), ("/chat", Some("1")));
    assert_eq!(request.origin(), Some("http://example.com"));
    assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["chat", "superchat"]);
    let policy = ServerPolicy::new().subprotocols(["superchat", "chat"]).unwrap();
    policy.judge(&request).unwrap();
    let mut out = Vec::new();
    accept(&request, &policy, policy.choose_subprotocol(&request), &NONE, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), ANSWER);
}

#[test]
fn the_request_is_the_same_at_every_cut_and_frames_behind_it_stay() {
    let mut bytes = REQUEST.as_bytes().to_vec();
    bytes.extend(b"\x81\x80\0\0\0\0");
    for cut in 0..=bytes.len() {
        let mut reader = ServerHandshake::new();
        let limits = HeadLimits::default();
        let first = reader.read(&limits, &bytes[..cut]).unwrap();
        assert_eq!(first.is_some(), cut >= REQUEST.len(), "cut at {cut}");
        if first.is_none() {
            let request = reader.read(&limits, &bytes).unwrap().unwrap();
            assert_eq!(request.len(), REQUEST.len(), "cut at {cut}");
        }
    }
}

#[test]
fn an_absolute_uri_holds_the_resource_name_and_the_host() {
    // §4.2.1 item 1; fastwebsockets' clients send one.
    for (uri, name, host) in [
        ("http://other.example:8080/chat?a=1", "/chat?a=1", "other.example:8080"),
        ("https://other.example/", "/", "other.example"),
        ("http://[::1]:9001", "/", "[::1]:9001"),
        ("HTTP://other.example/?a=/", "/?a=/", "other.example"),
        ("Https://other.example/chat", "/chat", "other.example"),
    ] {
        let bytes = changed("/chat?a=1", uri);
        for cut in 0..bytes.len() {
            let mut reader = ServerHandshake::new();
            let limits = HeadLimits::default();
            assert!(reader.read(&limits, &bytes[..cut]).unwrap().is_none(), "{uri} at {cut}");
            let request = reader.read(&limits, &bytes).unwrap().unwrap();
            assert_eq!((request.resource_name(), request.host()), (name, host), "{uri}");
        }
        // The host of the URI counts, not the field's (RFC 9112 §3.2.2).
        let request = read(&bytes).unwrap().unwrap();
        let only = ServerPolicy::new().hosts(["server.example.com"]).unwrap();
        assert_eq!(only.judge(&request), Err(RequestError::HostRefused), "{uri}");
    }
    for (uri, error) in [
        ("http://a@b/", RequestError::HostMalformed),
        ("http:///chat", RequestError::HostMalformed),
        ("http://host?a=1", RequestError::ResourceName),
        ("http://host?a=/", RequestError::ResourceName),
        ("http://host:x/", RequestError::HostMalformed),
        ("ws://host/", RequestError::ResourceName),
        ("http:/host/", RequestError::ResourceName),
    ] {
        assert_eq!(read(&changed("/chat?a=1", uri)).err(), Some(error), "{uri}");
    }
}

#[test]
fn what_http_leaves_open_is_taken() {
    for (from, to) in [
        ("Upgrade: websocket", "upgrade:WebSocket"),
        ("Upgrade: websocket", "Upgrade: h2c , WEBSOCKET"),
        ("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket"),
        ("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
        ("Connection: Upgrade", "Connection:\tkeep-alive ,upgrade\t"),
        ("Connection: Upgrade", "Connection: close\r\nConnection: UPGRADE"),
        ("Host: server", "Host:   server"),
        ("Version: 13", "Version:13 "),
        ("Key: dGh", "Key:  dGh"),
        ("Origin: http://example.com\r\n", ""),
        ("chat, superchat", "chat"),
        ("chat, superchat", "chat\r\nSec-WebSocket-Protocol: superchat"),
        ("HTTP/1.1", "HTTP/1.2"),
        ("Version: 13", "Version: 13\r\nCookie: a=1\r\nCookie: b=2"),
        ("Version: 13", "Version: 13\r\nContent-Length: 0"),
        ("Version: 13", "Version: 13\r\nContent-Length:\t0 ,0\t"),
        ("Version: 13", "Version: 13\r\nExpect: 100-continue"),
        ("Version: 13", "Version: 13\r\nExpect: 200-ok"),
        ("GET ", "\r\nGET "),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Draft: 2"),
    ] {
        let bytes = changed(from, to);
        let request = read(&bytes).unwrap_or_else(|e| panic!("{to:?}: {e}")).unwrap();
        assert_eq!(ServerPolicy::new().judge(&request), Ok(()), "{to:?}");
        assert_eq!(request.dialect(), Dialect::Rfc6455);
    }
}

#[test]
fn what_the_rfc_forbids_is_refused() {
    use RequestError as E;
    for (from, to, error) in [
        ("GET", "POST", E::MethodNotGet),
        ("/chat?a=1", "chat", E::ResourceName),
        ("GET", "HEAD", E::UpgradeMissing),
        ("/chat?a=1 HTTP", "/chat ?a=1 HTTP", E::HttpVersionMalformed),
        ("HTTP/1.1", "HTTP/0.9", E::HttpVersion),
        ("HTTP/1.1", "HTTP/2.0", E::HttpVersionUnsupported),
        ("HTTP/1.1", "HTTP/3", E::HttpVersionUnsupported),
        ("HTTP/1.1", "HTTP/1.1 ", E::HttpVersionMalformed),
        ("HTTP/1.1", "", E::HttpVersionMalformed),
        ("HTTP/1.1", "HTTP/1.0", E::HttpVersion),
        ("HTTP/1.1", "HTTP/1", E::HttpVersionMalformed),
        ("HTTP/1.1", "HTTP/1.x", E::HttpVersionMalformed),
        ("HTTP/1.1", "HTTQ/1.1", E::HttpVersionMalformed),
        ("Host: server.example.com\r\n", "", E::HostMissing),
        ("Host: server", "Host: a\r\nHost: server", E::DuplicateField),
        ("Host: server", "Host: /server", E::HostMalformed),
        ("Upgrade: websocket\r\n", "", E::UpgradeMissing),
        ("Upgrade: websocket", "Upgrade: h2c", E::UpgradeValue),
        ("Upgrade: websocket", "Upgrade: websocket2", E::UpgradeValue),
        ("Connection: Upgrade\r\n", "", E::ConnectionValue),
        ("Connection: Upgrade", "Connection: keep-alive", E::ConnectionValue),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", E::KeyMissing),
        ("Key: dGh", "Key: dGh\r\nSec-WebSocket-Key: dGh", E::DuplicateField),
        ("jZQ==", "jZQ=", E::KeyMalformed),
        ("jZQ==", "jZQ===", E::KeyMalformed),
        ("jZQ==", "", E::KeyMalformed),
        ("Version: 13", "Version: 12", E::VersionUnsupported),
        ("Version: 13", "Version: 8", E::VersionUnsupported),
        ("Version: 13", "Version: 13, 8", E::VersionUnsupported),
        ("Version: 13", "Version: 013", E::VersionUnsupported),
        ("Version: 13", "Version: ", E::VersionUnsupported),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13", E::DuplicateField),
        ("chat, superchat", "chat, chat", E::SubprotocolMalformed),
        ("chat, superchat", "chat superchat", E::SubprotocolMalformed),
        ("chat, superchat", " , ", E::SubprotocolMalformed),
        ("chat, superchat", "chat/1", E::SubprotocolMalformed),
        ("Upgrade: websocket", "Upgrade: websocket\r\n folded", E::FieldName),
        ("Upgrade: websocket", "Upgrade : websocket", E::FieldName),
    ] {
        let bytes = changed(from, to);
        assert_eq!(read(&bytes).map(|r| r.is_some()), Err(error), "{from:?} as {to:?}");
    }
}

#[test]
fn a_body_is_refused() {
    use RequestError as E;
    for (line, error) in [
        ("Content-Length: 1", E::BodyAnnounced),
        ("Content-Length: 8", E::BodyAnnounced),
        ("Content-Length:5, 5", E::BodyAnnounced),
        ("Transfer-Encoding: chunked", E::BodyAnnounced),
        ("Expect: 100-continue\r\nContent-Length: 8", E::BodyAnnounced),
        ("Content-Length: eight", E::ContentLength),
        ("Content-Length:", E::ContentLength),
        ("Content-Length: 0\r\nContent-Length: 8", E::ContentLength),
    ] {
        let bytes = changed("Version: 13", &format!("Version: 13\r\n{line}"));
        assert_eq!(read(&bytes).map(|r| r.is_some()), Err(error), "{line}");
        assert_eq!(error.status(), Some(400));
    }
}

/// The request with bytes that are not text.
fn with_bytes(from: &str, to: &[u8]) -> Vec<u8> {
    let at = REQUEST.find(from).unwrap();
    let mut bytes = REQUEST.as_bytes().to_vec();
    bytes.splice(at..at + from.len(), to.iter().copied());
    bytes
}

#[test]
fn bytes_above_ascii_matter_only_where_they_must_be_understood() {
    use RequestError as E;
    let noise: Vec<u8> = (0x80..=0xFF).collect();
    for (from, to) in [
        ("Host: ", [b"Cookie: a=".as_slice(), &noise, b"\r\nHost: "].concat()),
        ("Upgrade: websocket", [b"Upgrade: websocket, ".as_slice(), &noise].concat()),
        ("Connection: Up", [b"Connection: ".as_slice(), &noise, b", Up"].concat()),
        // An offer of an extension that nobody knows.
        ("Host: ", [b"Sec-WebSocket-Extensions: ".as_slice(), &noise, b"\r\nHost: "].concat()),
    ] {
        let bytes = with_bytes(from, &to);
        let request = read(&bytes).unwrap_or_else(|e| panic!("{e}: {}", bytes.escape_ascii()));
        let request = request.unwrap();
        assert_eq!(request.deflate(DeflateTerms::default()), None);
        assert_eq!(request.subprotocols().count(), 2);
    }
    for (from, to, error) in [
        ("/chat", b"/ch\xE4t".as_slice(), E::ResourceName),
        ("Host: s", b"Host: \xDF", E::HostMalformed),
        ("Origin: h", b"Origin: \xFF", E::OriginMalformed),
        ("superchat", b"superch\xE4t", E::SubprotocolMalformed),
        ("Upgrade: websocket", b"Upgrade: websocket\xE9", E::UpgradeValue),
        ("Connection: Upgrade", b"Connection: \xE9Upgrade", E::ConnectionValue),
        ("Version: 13", b"Version: 13\xB2", E::VersionUnsupported),
        ("Key: dG", b"Key: \xE4G", E::KeyMalformed),
    ] {
        assert_eq!(read(&with_bytes(from, to)).map(|r| r.is_some()), Err(error), "{to:?}");
    }
}

#[test]
fn an_unknown_version_is_told_the_known_ones() {
    assert_eq!(RequestError::VersionUnsupported.status(), Some(426));
    let mut out = Vec::new();
    refuse(426, RequestError::VersionUnsupported.sentence(), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{text}");
    assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{text}");
    assert!(text.ends_with("known are 13, and Sec-WebSocket-Draft: 2\n"), "{text}");
}

#[test]
fn a_server_chooses_its_dialects_origins_and_subprotocols() {
    let request = read(REQUEST.as_bytes()).unwrap().unwrap();
    let only_hybi02 = ServerPolicy::new().dialects([Dialect::Hybi02]);
    assert_eq!(only_hybi02.judge(&request), Err(RequestError::VersionUnsupported));
    assert_eq!(ServerPolicy::new().dialects([Dialect::Rfc6455]).judge(&request), Ok(()));
    let elsewhere = ServerPolicy::new().origins(["http://elsewhere.example"]).unwrap();
    assert_eq!(elsewhere.judge(&request), Err(RequestError::OriginRefused));
    // None that the server speaks: the client decides, unless one is required.
    let other = ServerPolicy::new().subprotocols(["other"]).unwrap();
    assert_eq!(other.judge(&request), Ok(()));
    assert_eq!(other.choose_subprotocol(&request), None);
    let required = other.require_subprotocol(true);
    assert_eq!(required.judge(&request), Err(RequestError::SubprotocolUnsupported));
}

fn client(protocols: &[&str]) -> (Arc<ClientRequest>, String) {
    let url = Url::parse("ws://server.example.com:81/chat?a=1").unwrap();
    let request = ClientRequest::rfc6455(url).protocols(protocols.iter().copied()).build();
    let request = Arc::new(request.unwrap());
    let mut out = Vec::new();
    ClientHandshake::start(&request, &mut Rng::with_seed(1), &mut out);
    (request, String::from_utf8(out).unwrap())
}

#[test]
fn our_request_is_one_that_our_server_takes() {
    let (request, sent) = client(&["chat", "superchat"]);
    assert_eq!((request.dialect(), request.origin()), (Dialect::Rfc6455, ""));
    assert!(sent.starts_with("GET /chat?a=1 HTTP/1.1\r\nHost: server.example.com:81\r\n"));
    assert!(!sent.contains("Origin"), "{sent}");
    let asked = read(sent.as_bytes()).unwrap().unwrap();
    assert_eq!(asked.subprotocols().collect::<Vec<_>>(), ["chat", "superchat"]);
    ServerPolicy::new().judge(&asked).unwrap();
}

/// What a client makes of an answer to V1's key, whole and byte by byte.
fn judged(request: &Arc<ClientRequest>, answer: &[u8]) -> Result<Option<usize>, ResponseError> {
    let limits = HeadLimits::default();
    let start = || {
        let mut sent = Vec::new();
        ClientHandshake::start(request, &mut Rng::with_seed(1), &mut sent)
    };
    let whole = start().read(&limits, answer).map(|r| r.map(|r| r.len()));
    let mut reader = start();
    let mut pieces = Ok(None);
    for end in 0..=answer.len() {
        pieces = reader.read(&limits, &answer[..end]).map(|r| r.map(|r| r.len()));
        if !matches!(pieces, Ok(None)) {
            break;
        }
    }
    assert_eq!(pieces, whole);
    whole
}

#[test]
fn an_answer_is_judged_field_by_field() {
    use ResponseError as E;
    let (request, sent) = client(&["chat"]);
    let asked = read(sent.as_bytes()).unwrap().unwrap();
    let mut out = Vec::new();
    accept(&asked, &ServerPolicy::new(), Some("chat"), &NONE, &mut out).unwrap();
    let right = String::from_utf8(out).unwrap();
    assert_eq!(judged(&request, right.as_bytes()), Ok(Some(right.len())));
    for (from, to) in [
        ("Upgrade: websocket", "Upgrade: WebSocket"),
        ("Connection: Upgrade", "connection:keep-alive, upgrade"),
        ("Sec-WebSocket-Protocol: chat\r\n", ""),
        ("Switching Protocols", ""),
        ("Switching Protocols", "Whatever\r\nX: y"),
        ("HTTP/1.1 101", "HTTP/1.1 103 Early Hints\r\nUpgrade: x\r\n\r\nHTTP/1.1 101"),
        ("Connection: Upgrade", "Connection: keep-alive,\r\n Upgrade"),
        ("Upgrade: websocket", "Upgrade:\r\n\twebsocket\r\n "),
        ("Protocol: chat", "Protocol:\r\n chat"),
    ] {
        let answer = right.replacen(from, to, 1);
        assert_ne!(answer, right);
        assert_eq!(judged(&request, answer.as_bytes()), Ok(Some(answer.len())), "{to:?}");
    }
    for (from, to, error) in [
        ("101", "200", E::StatusCode),
        ("101", "407", E::ProxyAuthenticationRequired),
        ("Upgrade: websocket\r\n", "", E::UpgradeCount),
        ("Upgrade: websocket", "Upgrade: websockets", E::UpgradeValue),
        ("Connection: Upgrade\r\n", "", E::ConnectionCount),
        ("Connection: Upgrade", "Connection: close", E::ConnectionValue),
        ("Accept: ", "Accept: x", E::Answer),
        ("HTTP/1.1 101", "HTTP/1.1 103 x\r\n\r\nHTTP/1.1 200", E::StatusCode),
        ("Upgrade: websocket", "Upgrade: web\r\n socket", E::UpgradeValue),
        ("Accept", "Except", E::AnswerCount),
        ("Protocol: chat", "Protocol: superchat", E::SubprotocolValue),
        ("Protocol: chat", "Protocol: chat\r\nSec-WebSocket-Protocol: chat", E::SubprotocolCount),
        ("Protocol: chat", "Protocol: chat\r\nSec-WebSocket-Extensions: x", E::Extension),
    ] {
        let answer = right.replacen(from, to, 1);
        assert_ne!(answer, right);
        assert_eq!(judged(&request, answer.as_bytes()), Err(error), "{to:?}");
    }
}

#[test]
fn a_subprotocol_nobody_asked_for_is_refused() {
    let (request, sent) = client(&[]);
    let asked = read(sent.as_bytes()).unwrap().unwrap();
    let mut out = Vec::new();
    accept(&asked, &ServerPolicy::new(), None, &NONE, &mut out).unwrap();
    assert_eq!(judged(&request, &out), Ok(Some(out.len())));
    let with = String::from_utf8(out)
        .unwrap()
        .replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: x\r\n\r\n");
    assert_eq!(judged(&request, with.as_bytes()), Err(ResponseError::SubprotocolValue));
}

#[test]
fn a_client_s_subprotocols_are_tokens() {
    let url = Url::parse("ws://example.com/").unwrap();
    for name in ["", "a b", "a,b", "a/b"] {
        let request = ClientRequest::rfc6455(url.clone()).protocols([name]).build();
        assert_eq!(request.err(), Some(ClientRequestError::Protocol), "{name:?}");
    }
}
