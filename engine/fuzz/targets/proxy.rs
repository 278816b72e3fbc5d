//! What a proxy answers.

use std::sync::LazyLock;

use ringbolt::handshake::Url;
use ringbolt::handshake::proxy::{Credentials, Proxy, ProxyKind, Tunnel};

/// What opens a tunnel: the proxies, with credentials and without, and where the tunnel leads.
static PROXIES: LazyLock<([Proxy; 4], Url)> = LazyLock::new(|| {
    let credentials = || Credentials::new("name", "p\u{e4}ss").expect("legal ones");
    let proxies = [ProxyKind::Http, ProxyKind::Socks5].map(|kind| {
        let proxy = Proxy::new(kind, "proxy.example", 1080);
        [proxy.clone(), proxy.with_credentials(credentials())]
    });
    let [http, socks] = proxies;
    let [[one, two], [three, four]] = [http, socks];
    ([one, two, three, four], Url::parse("ws://example.com/").expect("a valid URL"))
});

/// A proxy's answer, by the first byte's kind of proxy: the same however it is cut, in what is said of it
/// and in what is sent to it; and nothing behind a tunnel's opening belongs to the answer.
pub fn proxy(data: &[u8]) {
    let Some((kind, answer)) = data.split_first() else { return };
    let (proxies, url) = &*PROXIES;
    let proxy = &proxies[usize::from(*kind) % proxies.len()];
    let (mut sent, mut sent_in_pieces) = (Vec::new(), Vec::new());
    let whole = Tunnel::start(proxy, url, &mut sent).read(answer, &mut sent);
    let mut tunnel = Tunnel::start(proxy, url, &mut sent_in_pieces);
    let (at, pieces) =
        super::in_pieces(answer, |received| tunnel.read(received, &mut sent_in_pieces).transpose());
    let pieces = pieces.transpose();
    match (&whole, &pieces) {
        // Which of several faults is named first may depend on what has arrived.
        (Err(_), Err(_)) => {}
        _ => assert_eq!(whole, pieces),
    }
    if whole.is_ok() {
        assert_eq!(sent, sent_in_pieces);
    }
    let Ok(Some(taken)) = whole else { return };
    assert!(taken <= at, "{taken} bytes taken of {at}");
    let mut again = Tunnel::start(proxy, url, &mut sent);
    assert_eq!(again.read(&answer[..taken], &mut sent), Ok(Some(taken)));
    if proxy.kind() == ProxyKind::Http {
        let head = &answer[..taken];
        assert!(head.starts_with(b"HTTP/1.") && head.ends_with(b"\n"), "{}", head.escape_ascii());
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    [
        &b"\0HTTP/1.1 200 Connection established\r\nVia: a\r\n\r\n\x81\x00"[..],
        b"\0HTTP/1.0 200 OK\r\n\r\n",
        b"\x01HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
        b"\x01HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\n\r\n",
        b"\x02\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x1f\x90rest",
        b"\x03\x05\x02\x01\x00\x05\x00\x00\x03\x04host\x1f\x90",
        b"\x03\x05\x02\x01\x01",
        b"\x02\x05\x00\x05\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x50",
        b"\x02\x05\x00\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00",
        b"\x02\x05\xff",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}
