use proptest::prelude::{ProptestConfig, proptest};

use super::{
    ANSWER_MAX, Credentials, InvalidProxy, Proxies, Proxy, ProxyError, ProxyKind, Tunnel, Url,
};

fn start(proxy: &Proxy, url: &str) -> (Tunnel, Vec<u8>) {
    let mut out = Vec::new();
    let tunnel = Tunnel::start(proxy, &Url::parse(url).unwrap(), &mut out);
    (tunnel, out)
}

fn http() -> Proxy {
    Proxy::new(ProxyKind::Http, "proxy", 3128)
}

fn socks() -> Proxy {
    Proxy::new(ProxyKind::Socks5, "proxy", 1080)
}

fn with_password(proxy: Proxy) -> Proxy {
    proxy.with_credentials(Credentials::new("ednamode", "nocapes!").unwrap())
}

#[test]
fn the_draft_s_examples_of_connect() {
    // covers: HS-C-03
    let (_, out) = start(&http(), "ws://example.com/demo");
    assert_eq!(out, b"CONNECT example.com:80 HTTP/1.1\r\nHost: example.com\r\n\r\n");
    let (_, out) = start(&with_password(http()), "ws://example.com/demo");
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "CONNECT example.com:80 HTTP/1.1\r\nHost: example.com\r\n\
         Proxy-authorization: Basic ZWRuYW1vZGU6bm9jYXBlcyE=\r\n\r\n"
    );
    let (_, out) = start(&http(), "wss://[::1]:8443/");
    assert!(out.starts_with(b"CONNECT [::1]:8443 HTTP/1.1\r\nHost: [::1]\r\n"));
}

#[test]
fn socks_is_preferred_then_https_then_http() {
    // covers: HS-C-03
    let named = |host| Some(Proxy::new(ProxyKind::Http, host, 1));
    let mut proxies = Proxies { socks: Some(socks()), https: named("s"), http: named("h") };
    assert_eq!(proxies.choose(), Some(&socks()));
    proxies.socks = None;
    assert_eq!(proxies.choose().map(Proxy::host), Some("s"));
    proxies.https = None;
    assert_eq!(proxies.choose().map(|p| (p.host(), p.port())), Some(("h", 1)));
    assert_eq!(Proxies::default().choose(), None);
    assert_eq!(socks().kind(), ProxyKind::Socks5);
}

#[test]
fn http_answers_are_judged_however_they_are_cut() {
    // covers: HS-C-03, HS-C-04, HS-C-33
    use ProxyError as E;
    for (answer, expected) in [
        ("HTTP/1.1 200 Connection established\r\n\r\n", Ok(39)),
        ("HTTP/1.0 200\r\nVia: x\r\n\r\n", Ok(24)),
        ("HTTP/1.1 299 \r\n\r\n", Ok(17)),
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nA: b\r\n\r\n",
            Err(E::AuthenticationRequired),
        ),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", Err(E::Refused(403))),
        ("HTTP/1.1 101 x\r\n\r\n", Err(E::Refused(101))),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Ok(44)),
        ("HTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 502 x\r\n\r\n", Err(E::Refused(502))),
    ] {
        let whole = format!("{answer}HTTP/1.1 101 through the tunnel\r\n\r\n");
        for cut in 0..answer.len() {
            let (mut tunnel, mut out) = start(&http(), "ws://h/");
            out.clear();
            assert_eq!(tunnel.read(&whole.as_bytes()[..cut], &mut out), Ok(None), "{answer}");
            let result = tunnel.read(whole.as_bytes(), &mut out);
            assert_eq!(result, expected.map(Some), "{answer} cut at {cut}");
            assert!(out.is_empty());
        }
    }
    let (mut tunnel, mut out) = start(&http(), "ws://h/");
    let long = format!("HTTP/1.1 200 {}", "x".repeat(ANSWER_MAX));
    assert_eq!(tunnel.read(&long.as_bytes()[..ANSWER_MAX - 1], &mut out), Ok(None));
    assert_eq!(tunnel.read(&long.as_bytes()[..ANSWER_MAX], &mut out), Err(E::TooLarge));
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    let mut tunnel = start(&http(), "ws://h/").0.with_answer_max(100);
    assert_eq!(tunnel.read(interim.as_bytes(), &mut out), Err(E::TooLarge), "without an end");
    // The limit is that of all answers together, however they come.
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    for (most, expected) in [(answer.len(), Ok(Some(answer.len()))), (43, Err(E::TooLarge))] {
        let mut tunnel = start(&http(), "ws://h/").0.with_answer_max(most);
        assert_eq!(tunnel.read(answer.as_bytes(), &mut out), expected, "at most {most}");
    }
    for most in [18, 19] {
        let mut tunnel = start(&http(), "ws://h/").0.with_answer_max(most);
        let expected = if most == 19 { Ok(Some(19)) } else { Err(E::TooLarge) };
        assert_eq!(tunnel.read(b"HTTP/1.1 200 OK\r\n\r\n", &mut out), expected);
    }
}

#[test]
fn what_is_no_http_is_seen_at_its_first_wrong_byte() {
    for (answer, wrong) in [
        ("HTTP/1.1 20 x\r\n\r\n", 11),
        ("HTTP/1.1 2000\r\n\r\n", 12),
        ("HTTP/1.1\r200 x\r\n\r\n", 8),
        ("HTTP/1.1 +20 x\r\n\r\n", 9),
        ("HTTP/2.0 200 x\r\n\r\n", 5),
        ("HTTP/1.1 099 x\r\n\r\n", 12),
        ("SSH-2.0\r\n", 0),
        ("\r\n\r\n", 0),
    ] {
        let (mut tunnel, mut out) = start(&http(), "ws://h/");
        for end in 0..=wrong {
            assert_eq!(
                tunnel.read(&answer.as_bytes()[..end], &mut out),
                Ok(None),
                "{answer} {end}"
            );
        }
        let read = tunnel.read(&answer.as_bytes()[..wrong + 1], &mut out);
        assert_eq!(read, Err(ProxyError::Malformed), "{answer}");
    }
}

#[test]
fn proxies_are_read_from_texts() {
    // covers: HS-C-03
    for (text, shown, credentials) in [
        ("http://proxy:3128", "http://proxy:3128", false),
        ("HTTP://Proxy:3128/", "http://proxy:3128", false),
        ("proxy", "http://proxy:1080", false),
        ("proxy:80", "http://proxy:80", false),
        ("[::1]:80", "http://[::1]:80", false),
        ("http://us%65r:p%40ss-w0rd@127.1:80", "http://127.0.0.1:80", true),
        ("http://us%65r:p@ss/w0rd@h:80", "http://h:80", true),
        ("socks5h://user@h", "socks5://h:1080", true),
        ("socks5://h:1", "socks5://h:1", false),
    ] {
        let proxy: Proxy = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!((proxy.to_string().as_str(), proxy.has_credentials()), (shown, credentials));
        let parts = format!("{}://{}:{}", proxy.kind(), proxy.host(), proxy.port());
        assert_eq!(parts, shown);
        let debug = format!("{proxy:?}");
        assert!(!debug.contains("w0rd") && !debug.contains("user"), "{debug}");
    }
    let long = format!("socks5://u:{}@h", "x".repeat(256));
    for (text, expected) in [
        ("https://h:1", InvalidProxy::Https),
        ("ftp://h:1", InvalidProxy::Scheme),
        ("socks4://h:1", InvalidProxy::Scheme),
        ("http://", InvalidProxy::Host),
        ("", InvalidProxy::Host),
        ("a..b:1", InvalidProxy::Host),
        ("h:x", InvalidProxy::Port),
        ("h:65536", InvalidProxy::Port),
        ("http://h:1/x", InvalidProxy::Path),
        ("http://a%0d:b@h:1", InvalidProxy::Credentials),
        ("socks5://:b@h:1", InvalidProxy::Credentials),
        (&long, InvalidProxy::Credentials),
    ] {
        assert_eq!(text.parse::<Proxy>(), Err(expected), "{text}");
    }
}

/// Runs a tunnel against a proxy that says `answer`, byte by byte: what the client sent behind its
/// greeting, and the result.
fn talk(proxy: &Proxy, url: &str, answer: &[u8]) -> (Vec<u8>, Result<Option<usize>, ProxyError>) {
    let (mut tunnel, mut out) = start(proxy, url);
    let greeting = out.len();
    for end in 0..=answer.len() {
        match tunnel.read(&answer[..end], &mut out) {
            Ok(None) => {}
            done => {
                let taken = done.ok().flatten().unwrap_or(0);
                assert!(taken <= end, "{taken} taken of {end} bytes");
                return (out.split_off(greeting), done);
            }
        }
    }
    (out.split_off(greeting), Ok(None))
}

#[test]
fn socks_tunnels_to_names_and_addresses() {
    // covers: HS-C-03
    assert_eq!(start(&socks(), "ws://h/").1, [5, 1, 0]);
    let yes = b"\x05\x00\x05\x00\x00\x01\x7F\x00\x00\x01\x1F\x90";
    for (url, expected) in [
        ("ws://example.com/", b"\x05\x01\x00\x03\x0Bexample.com\x00\x50".to_vec()),
        ("wss://127.0.0.1/", b"\x05\x01\x00\x01\x7F\x00\x00\x01\x01\xBB".to_vec()),
        ("ws://[::1]:9001/", [b"\x05\x01\x00\x04".as_slice(), &[0; 15], b"\x01\x23\x29"].concat()),
    ] {
        assert_eq!(talk(&socks(), url, yes), (expected, Ok(Some(yes.len()))), "{url}");
    }
    for reply in [
        b"\x05\x00\x05\x00\x00\x03\x02ab\x00\x50".as_slice(),
        b"\x05\x00\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50",
    ] {
        assert_eq!(talk(&socks(), "ws://h/", reply).1, Ok(Some(reply.len())));
        let more = [reply, b"HTTP"].concat();
        assert_eq!(talk(&socks(), "ws://h/", &more).1, Ok(Some(reply.len())));
    }
}

#[test]
fn socks_sends_name_and_password_if_asked() {
    // covers: HS-C-03
    let proxy = with_password(socks());
    assert_eq!(start(&proxy, "ws://h/").1, [5, 2, 0, 2]);
    let yes = b"\x05\x02\x01\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00";
    let (sent, result) = talk(&proxy, "ws://h/", yes);
    assert_eq!(sent, b"\x01\x08ednamode\x08nocapes!\x05\x01\x00\x03\x01h\x00\x50");
    assert_eq!(result, Ok(Some(yes.len())));
    let not_asked = b"\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00";
    assert_eq!(talk(&proxy, "ws://h/", not_asked).1, Ok(Some(not_asked.len())));
}

#[test]
fn socks_refusals() {
    // covers: HS-C-04
    use ProxyError as E;
    for (answer, expected) in [
        (b"\x05\xFF".as_slice(), E::AuthenticationRequired),
        (b"\x05\x02\x01\x01", E::AuthenticationRequired),
        (b"\x04\x00", E::Malformed),
        (b"\x05\x02\x05\x00", E::Malformed),
        (b"\x05\x00\x05\x05", E::Refused(5)),
        (b"\x05\x00\x04", E::Malformed),
        (b"\x05\x00\x05\x00\x00\x02\x00", E::Malformed),
    ] {
        assert_eq!(talk(&with_password(socks()), "ws://h/", answer).1, Err(expected), "{answer:?}");
    }
    let unasked = talk(&socks(), "ws://h/", b"\x05\x02").1;
    assert_eq!(unasked, Err(E::Malformed), "a method that was not offered");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_panics(answer: Vec<u8>) {
        for proxy in [http(), socks(), with_password(socks())] {
            let (_, result) = talk(&proxy, "ws://example.com/", &answer);
            if let Ok(Some(len)) = result {
                assert!(len <= answer.len());
            }
        }
    }
}
