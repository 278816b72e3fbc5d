//! permessage-deflate (RFC 7692) over real sockets: each offer a client may make, each kind and size
//! of message, whole and in fragments; and what breaks its rules.

use flate2::{Compress, Compression as Level, Decompress, FlushCompress, FlushDecompress};
use ringbolt::{Compression, Config, Server};

use crate::codec::{
    BINARY, CLOSE, CONTINUATION, FIN, Frame, Got, PING, PONG, Peer, REQUEST, RSV1, TEXT, frame,
};

/// What a server without takeover answers to an offer that it can take.
const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Offers, and what is answered behind [`PLAIN`]; `None` if they are declined.
const OFFERS: &[(&str, Option<&str>)] = &[
    ("permessage-deflate", Some("")),
    ("permessage-deflate; client_max_window_bits", Some("")),
    ("permessage-deflate; client_max_window_bits=9", Some("")),
    ("permessage-deflate; client_no_context_takeover", Some("")),
    ("permessage-deflate; server_no_context_takeover", Some("")),
    ("permessage-deflate; server_max_window_bits=9", Some("; server_max_window_bits=9")),
    ("permessage-deflate; server_max_window_bits=12", Some("; server_max_window_bits=12")),
    ("permessage-deflate; server_max_window_bits=\"15\"", Some("; server_max_window_bits=15")),
    ("permessage-deflate; unknown, permessage-deflate", Some("")),
    ("permessage-deflate; server_max_window_bits=8, permessage-deflate", Some("")),
    ("x-webkit-deflate-frame, permessage-deflate", Some("")),
    ("permessage-deflate\r\nSec-WebSocket-Extensions: other", Some("")),
    ("permessage-deflate; server_max_window_bits=8", None),
    ("permessage-deflate; server_max_window_bits=16", None),
    ("permessage-deflate; server_max_window_bits=09", None),
    ("permessage-deflate; client_max_window_bits=7", None),
    ("permessage-deflate; client_no_context_takeover=1", None),
    ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
    ("permessage-deflate; unknown", None),
    ("other", None),
];

fn with_servers(cases: impl Fn(std::net::SocketAddr)) {
    for driver in ringbolt::Driver::built() {
        let config = Config::new().with(|config| {
            config.driver = driver;
            config.compression = Some(Compression::default());
        });
        let server = Server::builder().shards(1).config(config);
        let server = server.start(|_| crate::Echo).expect("a server");
        cases(server.address());
        server.drain(std::time::Duration::from_secs(5));
        server.join().expect("an orderly end");
    }
}

/// A connection with this offer, and what was answered to it.
pub(crate) fn connect(address: std::net::SocketAddr, offer: &str) -> (Peer, Option<String>) {
    let mut peer = Peer::raw(address);
    let field = format!("Version: 13\r\nSec-WebSocket-Extensions: {offer}\r\n");
    peer.write(REQUEST.replace("Version: 13\r\n", &field).as_bytes());
    let head = peer.head().expect("an answer");
    assert!(head.starts_with("HTTP/1.1 101 "), "{offer}: {head}");
    let answer = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
    let answer = answer.map(str::to_owned);
    (peer, answer)
}

fn deflate(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() * 2 + 100);
    let mut stream = Compress::new(Level::new(6), false);
    stream.compress_vec(message, &mut out, FlushCompress::Sync).expect("it compresses");
    assert!(out.ends_with(&[0, 0, 0xFF, 0xFF]), "there was room for all of it");
    out.truncate(out.len() - 4);
    out
}

fn inflate(packed: &[u8], bits: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 << 20);
    let packed = [packed, &[0, 0, 0xFF, 0xFF]].concat();
    let mut stream = Decompress::new_with_window_bits(false, bits);
    stream.decompress_vec(&packed, &mut out, FlushDecompress::Sync).expect("it inflates");
    out
}

fn message(len: usize, random: bool) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(len as u64);
    let letters = if random { 255 } else { 3 };
    (0..len).map(|_| b'a'.wrapping_add(rng.u8(..=letters))).collect()
}

/// The frames of one compressed message.
fn frames(opcode: u8, packed: &[u8], parts: usize) -> Vec<u8> {
    let size = packed.len().div_ceil(parts).max(1);
    let count = packed.len().div_ceil(size).max(1);
    let mut out = Vec::new();
    for n in 0..count {
        let part = &packed[n * size..packed.len().min((n + 1) * size)];
        let first = if n == 0 { RSV1 | opcode } else { CONTINUATION };
        out.extend(frame(if n + 1 == count { FIN | first } else { first }, part));
    }
    out
}

/// Messages of every size, of letters that repeat and of bytes that do not: payload, whether it is
/// random, and what it is compressed.
fn messages() -> Vec<(Vec<u8>, bool, Vec<u8>)> {
    let sizes = [0, 1, 16, 255, 256, 1024, 4096, 65_536, 131_072, 1 << 20];
    let all = sizes.into_iter().flat_map(|len| [(len, false), (len, true)]);
    all.map(|(len, random)| {
        let payload = message(len, random);
        let packed = deflate(&payload);
        (payload, random, packed)
    })
    .collect()
}

#[test]
fn every_offer_with_every_kind_of_message() {
    let messages = messages();
    with_servers(|address| {
        for &(offer, expected) in OFFERS {
            let (mut peer, answer) = connect(address, offer);
            let wanted = expected.map(|behind| format!("{PLAIN}{behind}"));
            assert_eq!(answer, wanted, "{offer}");
            let Some(behind) = expected else { continue };
            let bits = behind.rsplit('=').next().and_then(|bits| bits.parse().ok()).unwrap_or(15);
            for (payload, random, packed) in &messages {
                let (len, random) = (payload.len(), *random);
                for &opcode in if random { &[BINARY][..] } else { &[TEXT, BINARY] } {
                    for parts in [1, 3] {
                        let what = format!("{offer}: {len} bytes in {parts}, random {random}");
                        peer.write(&frames(opcode, packed, parts));
                        let Got::Frame(back) = peer.read() else { panic!("{what}: no frame") };
                        let compressed = back.first == FIN | RSV1 | opcode;
                        assert!(compressed || back.first == FIN | opcode, "{what}: {back:?}");
                        // What is short or does not get smaller is sent as it is.
                        assert_eq!(compressed, len >= 256 && !random, "{what}");
                        let same = if compressed {
                            back.payload.len() < len && inflate(&back.payload, bits) == *payload
                        } else {
                            back.payload == *payload
                        };
                        assert!(same, "{what}: another message came back");
                    }
                }
            }
            peer.write(&frame(FIN | TEXT, b"plain"));
            let plain = Frame { first: FIN | TEXT, payload: b"plain".to_vec() };
            assert!(matches!(peer.read(), Got::Frame(back) if back == plain), "{offer}");
        }
    });
}

#[test]
fn what_breaks_the_rules_is_told() {
    let text = deflate(b"compressed text, compressed text");
    let bomb = deflate(&vec![0; (1 << 20) + 1]);
    assert!(bomb.len() < 4096);
    let bad_text = deflate(&[b"valid so far ".as_slice(), b"\xED\xA0\x80"].concat());
    let rows: Vec<(&str, Vec<u8>, u16)> = vec![
        ("RSV1 on a ping", frame(FIN | RSV1 | PING, b""), 1002),
        ("RSV1 on a Close", frame(FIN | RSV1 | CLOSE, b""), 1002),
        (
            "RSV1 on a continuation",
            [frame(RSV1 | TEXT, &text[..5]), frame(FIN | RSV1 | CONTINUATION, &text[5..])].concat(),
            1002,
        ),
        ("RSV2", frame(FIN | RSV1 | 0x20 | TEXT, &text), 1002),
        ("no DEFLATE", frame(FIN | RSV1 | BINARY, b"\xFF\xFF\xFF\xFF"), 1007),
        ("a message beyond the limit", frame(FIN | RSV1 | BINARY, &bomb), 1009),
        ("the same in fragments", frames(BINARY, &bomb, 5), 1009),
        ("text that is none", frame(FIN | RSV1 | TEXT, &bad_text), 1007),
        ("the same before its end", frame(RSV1 | TEXT, &bad_text), 1007),
    ];
    with_servers(|address| {
        for (what, bytes, code) in &rows {
            let (mut peer, _) = connect(address, "permessage-deflate");
            peer.write(bytes);
            let Got::Frame(close) = peer.read() else { panic!("{what}: no Close") };
            assert_eq!(close.first, FIN | CLOSE, "{what}");
            assert_eq!(close.payload[..2], code.to_be_bytes(), "{what}");
            assert!(matches!(peer.read(), Got::End), "{what}");
        }
        // Where nothing was agreed on, RSV1 means nothing.
        let mut peer = Peer::connect(address).expect("a connection");
        peer.write(&frame(FIN | RSV1 | TEXT, &text));
        assert!(matches!(peer.read(), Got::Frame(close) if close.payload[..2] == [0x03, 0xEA]));
    });
}

#[test]
fn control_frames_between_the_fragments_and_the_rfc_s_examples() {
    with_servers(|address| {
        let (mut peer, _) = connect(address, "permessage-deflate");
        let packed = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
        peer.write(&frame(RSV1 | TEXT, &packed[..3]));
        peer.write(&frame(FIN | PING, b"between"));
        peer.write(&frame(FIN | CONTINUATION, &packed[3..]));
        let pong = Frame { first: FIN | PONG, payload: b"between".to_vec() };
        assert!(matches!(peer.read(), Got::Frame(back) if back == pong));
        let hello = Frame { first: FIN | TEXT, payload: b"Hello".to_vec() };
        assert!(matches!(peer.read(), Got::Frame(back) if back == hello));
        // Section 7.2.3: stored, with a last block, and in two blocks.
        for packed in [
            &b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"[..],
            b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
            b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        ] {
            peer.write(&frame(FIN | RSV1 | TEXT, packed));
            assert!(matches!(peer.read(), Got::Frame(back) if back == hello), "{packed:02x?}");
        }
        // A reference to an earlier message: nothing is kept.
        peer.write(&frame(FIN | RSV1 | TEXT, b"\xf2\x00\x11\x00\x00"));
        assert!(matches!(peer.read(), Got::Frame(close) if close.payload[..2] == [0x03, 0xEF]));
    });
}
