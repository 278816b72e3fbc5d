//! The opening handshake over real sockets (RFC 6455 §4.2).

use std::time::Duration;

use crate::codec::{FIN, Got, Peer, REQUEST, TEXT, frame};
use crate::with_server;

/// What the server answers to the request with something replaced, up to the end of TCP.
fn refused(peer: &mut Peer, from: &str, to: &str) -> String {
    assert!(REQUEST.contains(from), "{from}");
    peer.write(REQUEST.replacen(from, to, 1).as_bytes());
    String::from_utf8(peer.rest()).expect("an HTTP answer is text")
}

#[test]
fn what_is_wrong_is_answered_in_words() {
    let rows = [
        ("GET", "POST", 405, "the method is not GET"),
        ("HTTP/1.1", "HTTP/1.0", 400, "older than HTTP/1.1"),
        ("Host: server.example.com\r\n", "", 400, "Host is absent"),
        ("Upgrade: websocket\r\n", "", 426, "connect with a WebSocket client"),
        ("Upgrade: websocket", "Upgrade: h2c", 426, "Upgrade does not say"),
        ("Connection: Upgrade", "Connection: close", 400, "Connection does not say"),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400, "the key is absent"),
        ("jZQ==", "jZQ=", 400, "sixteen bytes in base64"),
        ("Version: 13", "Version: 8", 426, "known are 13"),
        ("Version: 13", "Version: 0", 426, "known are 13"),
        ("Version: 13", "Version: 14", 426, "known are 13"),
        ("Version: 13", "Version: 13\r\n folded", 400, "field name"),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Protocol: a b", 400, "Protocol"),
    ];
    with_server(|address| {
        for (from, to, status, sentence) in rows {
            let answer = refused(&mut Peer::raw(address), from, to);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{to:?}: {answer}");
            assert!(answer.contains(sentence), "{to:?}: {answer}");
            let known = answer.contains("\r\nSec-WebSocket-Version: 13\r\n");
            assert_eq!(known, status == 426, "{to:?}: {answer}");
        }
    });
}

#[test]
fn a_head_byte_by_byte_and_a_frame_behind_it() {
    with_server(|address| {
        let mut peer = Peer::raw(address);
        for byte in REQUEST.as_bytes() {
            peer.write(&[*byte]);
        }
        assert!(peer.head().expect("an answer").starts_with("HTTP/1.1 101 "));

        let mut peer = Peer::raw(address);
        peer.write(&[REQUEST.as_bytes(), &frame(FIN | TEXT, b"early")].concat());
        assert!(peer.head().expect("an answer").starts_with("HTTP/1.1 101 "));
        let got = peer.read();
        assert!(matches!(&got, Got::Frame(frame) if frame.payload == b"early"), "{got:?}");
    });
}

#[test]
fn an_absolute_uri_is_a_request_too() {
    // §4.2.1 item 1.
    with_server(|address| {
        for uri in ["http://server.example.com/", "https://server.example.com:8443/chat"] {
            let mut peer = Peer::raw(address);
            peer.write(REQUEST.replacen("/chat", uri, 1).as_bytes());
            assert!(peer.head().expect("an answer").starts_with("HTTP/1.1 101 "), "{uri}");
        }
        let answer = refused(&mut Peer::raw(address), "/chat", "ws://server.example.com/");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    });
}

#[test]
fn both_dialects_on_one_port() {
    let draft = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nHost: example.com\r\n\
        Upgrade: WebSocket\r\nSec-WebSocket-Key1: 3e6b263  4 17 80\r\n\
        Origin: http://example.com\r\nSec-WebSocket-Key2: 17  9 G`ZD9   2 2b 7X 3 /r90\r\n\
        Sec-WebSocket-Draft: 2\r\n\r\nWjN}|M(6";
    with_server(|address| {
        let mut old = Peer::raw(address);
        old.write(draft.as_bytes());
        assert!(old.head().expect("an answer").contains("Sec-WebSocket-Location"));
        let mut new = Peer::connect(address).expect("a connection");
        new.write(&frame(FIN | TEXT, b"new"));
        assert!(matches!(new.read(), Got::Frame(frame) if frame.payload == b"new"));
    });
}

#[test]
fn a_server_that_ends_says_that_it_goes_away() {
    let server = ringbolt::Server::builder().shards(1).start(|_| crate::Echo).expect("a server");
    let mut peer = Peer::connect(server.address()).expect("a connection");
    peer.write(&frame(FIN | TEXT, b"x"));
    assert!(matches!(peer.read(), Got::Frame(_)), "it is established");
    server.drain(Duration::from_secs(5));
    let got = peer.read();
    assert!(matches!(&got, Got::Frame(frame) if frame.payload == [0x03, 0xE9]), "{got:?}");
    peer.write(&crate::codec::close(1001, ""));
    assert!(matches!(peer.read(), Got::End));
    server.join().expect("an orderly end");
}
