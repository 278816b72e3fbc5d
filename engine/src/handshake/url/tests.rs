use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

use super::{Url, UrlError};

fn parts(url: &str) -> (String, u16, String, bool) {
    let url = Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    (url.host().to_owned(), url.port(), url.resource_name().to_owned(), url.secure())
}

#[test]
fn urls_are_parsed_into_their_components() {
    // covers: URL-01, URL-02, URL-03, URL-05, URL-06, URL-07, URL-08, URL-09, CONF-04, REG-01
    for (url, host, port, resource_name, secure) in [
        ("ws://example.com", "example.com", 80, "/", false),
        ("wss://example.com", "example.com", 443, "/", true),
        ("WS://EXAMPLE.com/A", "example.com", 80, "/A", false),
        ("wSs://example.com:80/", "example.com", 80, "/", true),
        ("ws://example.com:8080/demo", "example.com", 8080, "/demo", false),
        ("ws://example.com:/demo", "example.com", 80, "/demo", false),
        ("ws://example.com:065/", "example.com", 65, "/", false),
        ("ws://example.com?", "example.com", 80, "/?", false),
        ("ws://example.com?x", "example.com", 80, "/?x", false),
        ("ws://example.com/a?b/c?d", "example.com", 80, "/a?b/c?d", false),
        ("ws://example.com/?", "example.com", 80, "/?", false),
        ("  ws://example.com/a \n", "example.com", 80, "/a", false),
        ("ws://user:pa:ss@example.com/", "example.com", 80, "/", false),
        ("ws://127.0.0.1:9001/x", "127.0.0.1", 9001, "/x", false),
        ("ws://[::1]/x", "[::1]", 80, "/x", false),
        ("ws://[2001:DB8:0::1]:81/x", "[2001:db8::1]", 81, "/x", false),
        // Host: IDNA. Path and query: UTF-8 and %-escapes.
        ("ws://B\u{fc}cher.example/", "xn--bcher-kva.example", 80, "/", false),
        ("ws://b%C3%BCcher.example/", "xn--bcher-kva.example", 80, "/", false),
        ("ws://h/\u{fc}?\u{20ac}=\"<>", "h", 80, "/%C3%BC?%E2%82%AC=%22%3C%3E", false),
        ("ws://h/a b?c d", "h", 80, "/a%20b?c%20d", false),
        ("ws://h/%20%zz%", "h", 80, "/%20%zz%", false),
        ("ws://h/{|}^`\\x", "h", 80, "/%7B%7C%7D%5E%60/x", false),
        ("ws://h\\x", "h", 80, "/x", false),
        // Resolving removes dot segments.
        ("ws://h/a/./b/../c", "h", 80, "/a/c", false),
        ("ws://h/..", "h", 80, "/", false),
        ("ws://h/a/..", "h", 80, "/", false),
        ("ws://h/a/%2E%2e/b/.", "h", 80, "/b/", false),
        ("ws://h/a//b/?../..", "h", 80, "/a//b/?../..", false),
    ] {
        let expected = (host.to_owned(), port, resource_name.to_owned(), secure);
        assert_eq!(parts(url), expected, "{url}");
    }
}

#[test]
fn what_is_no_websocket_url_fails() {
    // covers: URL-01, URL-02, URL-03, URL-04, URL-11
    for (url, expected) in [
        ("", UrlError::NotAbsolute),
        ("/demo", UrlError::NotAbsolute),
        ("//example.com/", UrlError::NotAbsolute),
        ("example.com/x:y", UrlError::NotAbsolute),
        ("1ws://example.com", UrlError::NotAbsolute),
        ("ws:example.com", UrlError::NotAbsolute),
        ("ws:/example.com", UrlError::NotAbsolute),
        ("http://example.com/", UrlError::Scheme),
        ("wsss://example.com/", UrlError::Scheme),
        ("w\u{17f}://example.com/", UrlError::NotAbsolute),
        ("ws://example.com/#", UrlError::Fragment),
        ("ws://example.com/a?b#c", UrlError::Fragment),
        ("ws://example.com#c", UrlError::Fragment),
        ("ws://", UrlError::Host),
        ("ws:///x", UrlError::Host),
        ("ws://:80/", UrlError::Host),
        ("ws://a b/", UrlError::Host),
        ("ws://a..b/", UrlError::Host),
        ("ws://a%/", UrlError::Host),
        ("ws://a%+1/", UrlError::Host),
        ("ws://%FF/", UrlError::Host),
        ("ws://a%2Fb/", UrlError::Host),
        ("ws://[::1/", UrlError::Host),
        ("ws://[::x]/", UrlError::Host),
        ("ws://[::1]x/", UrlError::Host),
        ("ws://a:65536/", UrlError::Port),
        ("ws://a:x/", UrlError::Port),
        ("ws://a:+1/", UrlError::Port),
        ("ws://a:b:1/", UrlError::Port),
        ("ws://a/\tb", UrlError::Character),
        ("ws://a%3Ab:c@h/", UrlError::UserInfo),
        ("ws://a:%0A@h/", UrlError::UserInfo),
        ("ws://%FF@h/", UrlError::UserInfo),
        ("ws://a/\r\nHost: evil", UrlError::Character),
    ] {
        assert_eq!(Url::parse(url).err(), Some(expected), "{url:?}");
    }
    let long = format!("ws://{}/", "a".repeat(64));
    assert_eq!(Url::parse(&long).err(), Some(UrlError::Host), "a label has 63 characters at most");
}

#[test]
fn urls_are_constructed_from_their_components() {
    // covers: URL-10, HS-C-10, HS-C-11, HS-C-12
    for (host, port, resource_name, secure, url, host_port) in [
        ("example.com", 80, "/demo", false, "ws://example.com/demo", "example.com"),
        ("example.com", 8080, "/demo", false, "ws://example.com:8080/demo", "example.com:8080"),
        ("example.com", 443, "/", false, "ws://example.com:443/", "example.com:443"),
        ("example.com", 443, "/", true, "wss://example.com/", "example.com"),
        ("example.com", 80, "/", true, "wss://example.com:80/", "example.com:80"),
        ("EXAMPLE.com", 80, "/?q", false, "ws://example.com/?q", "example.com"),
        ("[::1]", 0, "/", false, "ws://[::1]:0/", "[::1]:0"),
    ] {
        let made = Url::new(host, port, resource_name, secure).unwrap();
        assert_eq!((made.location(), made.to_string()), (url.to_owned(), url.to_owned()));
        assert_eq!(made.host_port(), host_port);
    }
}

#[test]
fn invalid_components_make_no_url() {
    // covers: URL-11, URL-13, URL-15, HS-C-01
    for host in ["", "b\u{fc}cher.example", "a b", "a/b", "a:80", "a:", "a\r\n", "user@a", "::1"] {
        assert_eq!(Url::new(host, 80, "/", false).err(), Some(UrlError::Host), "{host}");
    }
    for host in ["xn--a", "a..b", "%61", "1.2.3.256", &"a".repeat(64)] {
        assert_eq!(Url::new(host, 80, "/", false).err(), Some(UrlError::Host), "{host}");
    }
    assert_eq!(Url::new("a", 80, "/a#b", false).err(), Some(UrlError::Fragment));
    for name in ["", "demo", "?x", "/a b", "/\u{fc}", "/a\r\nb", "/\x7F", "http://a/"] {
        let result = Url::new("a", 80, name, false);
        assert_eq!(result.err(), Some(UrlError::ResourceName), "{name}");
    }
}

#[test]
fn credentials_are_kept_and_never_shown() {
    let url = Url::parse("wss://us%65r:p%40ss-w0rd@example.com/a").unwrap();
    assert_eq!(url.authorization().as_deref(), Some("Basic dXNlcjpwQHNzLXcwcmQ="));
    assert!(url.has_credentials());
    let shown = format!("{url} {} {} {url:?} {:?}", url.location(), url.host_port(), Some(&url));
    for secret in ["user", "us%65r", "p@ss", "p%40ss", "w0rd", "dXNlcj"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    let bare = url.clone().without_credentials();
    assert_eq!((bare.has_credentials(), bare.authorization()), (false, None));
    assert_ne!(url, bare);
    assert!(!Url::parse("ws://@h/").unwrap().has_credentials());
}

#[test]
fn addresses_are_told_from_names() {
    let address = |url| Url::parse(url).unwrap().address().map(|address| address.to_string());
    assert_eq!(address("ws://127.0.0.1/").as_deref(), Some("127.0.0.1"));
    assert_eq!(address("ws://127.1/").as_deref(), Some("127.0.0.1"));
    assert_eq!(address("ws://[::1]:80/").as_deref(), Some("::1"));
    assert_eq!(address("ws://localhost/"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_parsed_url_is_valid_and_parses_to_itself(url in "(ws|wss|WS)://.{0,20}", other in ".*") {
        // covers: URL-11, URL-13, URL-16
        for text in [url, other] {
            let Ok(url) = Url::parse(&text) else { continue };
            prop_assert!(url.host().bytes().all(|b| matches!(b, 0x21..=0x7E)));
            prop_assert!(!url.host().bytes().any(|b| b.is_ascii_uppercase()));
            prop_assert!(url.resource_name().starts_with('/'));
            prop_assert!(url.resource_name().bytes().all(|b| matches!(b, 0x21..=0x7E)));
            prop_assert_eq!(Url::parse(&url.location()), Ok(url.without_credentials()));
        }
    }

    #[test]
    fn what_is_made_is_read(
        host in r"([a-zA-Z0-9_~.!$&'()*+,;=-]{1,12}|xn--[a-z0-9-]{0,8}|[0-9a-fA-FxX.]{1,12}|\[[0-9A-F:.]{2,12}\])",
        port: u16,
        resource in r"/([!-~]|\.\.?/|%2e|\\|\?){0,12}",
        secure: bool,
    ) {
        // covers: URL-10, URL-16
        if let Ok(made) = Url::new(&host, port, &resource, secure) {
            prop_assert_eq!(Url::parse(&made.location()), Ok(made));
        }
    }
}
