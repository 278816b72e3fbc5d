//! Context takeover and the memory budget of compression (RFC 7692 §7.1.1, §9) over real sockets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use flate2::{Compress, Compression as Level, FlushCompress};
use ringbolt::conn::{Deflater, Inflater};
use ringbolt::handshake::{DeflateTerms, UpgradeRequest};
use ringbolt::wire::ProtocolError;
use ringbolt::{Accept, Compression, Config, Handler, Message, Reject, Server, WebSocket};

use crate::codec::{BINARY, CLOSE, CONTINUATION, FIN, Got, Peer, RSV1, TEXT, frame};
use crate::deflate::connect;
use crate::window::Window;

/// Sends every message back; one that begins with "to all" goes to all others, too.
struct Room;

impl Handler for Room {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, ()>) {
        let room = ws.topic("room").expect("room for a topic");
        assert!(ws.subscribe(room));
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        if message.payload().starts_with(b"to all") {
            let room = ws.topic("room").expect("it is there");
            ws.publish(room, message).expect("room for it");
        } else {
            ws.send(message).expect("room for it");
        }
    }
}

fn with_servers(compression: Compression, cases: impl Fn(&Server)) {
    for driver in ringbolt::Driver::built() {
        let config = Config::new().with(|config| {
            config.driver = driver;
            config.compression = Some(compression.with_min_bytes(16));
        });
        let server = Server::builder().shards(1).config(config);
        let server = server.start(|_| Room).expect("a server");
        cases(&server);
        server.drain(Duration::from_secs(5));
        server.join().expect("an orderly end");
    }
}

/// The client's compressor.
struct Sender {
    stream: Compress,
    takeover: bool,
}

impl Sender {
    fn new(bits: u8, takeover: bool) -> Self {
        Self { stream: Compress::new_with_window_bits(Level::new(6), false, bits.max(9)), takeover }
    }

    fn deflate(&mut self, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(message.len() * 2 + 100);
        self.stream.compress_vec(message, &mut out, FlushCompress::Sync).expect("it compresses");
        assert!(out.ends_with(&[0, 0, 0xFF, 0xFF]), "there was room for all of it");
        out.truncate(out.len() - 4);
        if !self.takeover {
            self.stream.reset();
        }
        out
    }
}

/// The value of a parameter of an answer.
fn bits(answer: &str, name: &str) -> u8 {
    let value = answer.split("; ").find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    value.map_or(15, |bits| bits.parse().expect("bits"))
}

/// Reads a compressed message, by the window that was agreed on.
fn read(peer: &mut Peer, window: &mut Window, what: &str) -> (usize, Vec<u8>) {
    let Got::Frame(back) = peer.read() else { panic!("{what}: no frame") };
    assert_eq!(back.first, FIN | RSV1 | TEXT, "{what}");
    let message = window.inflate(&back.payload).unwrap_or_else(|why| panic!("{what}: {why}"));
    (back.payload.len(), message)
}

/// A text that holds nothing twice, as far as a window of 512 bytes sees.
fn text(seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..200).map(|_| rng.alphanumeric() as u8).collect()
}

/// Each takeover and each window on each side, with messages that refer to earlier ones where they
/// may.
#[test]
fn every_takeover_and_every_window() {
    for (ours, peers) in [(false, false), (false, true), (true, false), (true, true)] {
        let terms = DeflateTerms::default().with_takeover(ours, peers);
        with_servers(Compression::default().with_terms(terms), |server| {
            for (no_ours, no_peers) in [(false, false), (false, true), (true, false), (true, true)]
            {
                for window in 9..=15 {
                    let mut offer = format!(
                        "permessage-deflate; server_max_window_bits={window}; \
                         client_max_window_bits={window}"
                    );
                    offer += if no_ours { "; server_no_context_takeover" } else { "" };
                    offer += if no_peers { "; client_no_context_takeover" } else { "" };
                    exchange(server.address(), &offer, (ours && !no_ours, peers && !no_peers));
                }
            }
        });
    }
}

fn exchange(address: SocketAddr, offer: &str, (ours, peers): (bool, bool)) {
    let (mut peer, answer) = connect(address, offer);
    let answer = answer.expect("an agreement");
    assert_eq!(!answer.contains("server_no_context_takeover"), ours, "{offer}: {answer}");
    assert_eq!(!answer.contains("client_no_context_takeover"), peers, "{offer}: {answer}");
    let window = bits(&answer, "server_max_window_bits");
    let mut sender = Sender::new(window, peers);
    let mut received = Window::new(window);
    let text = text(7);
    let mut sizes = Vec::new();
    for _ in 0..4 {
        peer.write(&frame(FIN | RSV1 | TEXT, sender.deflate(&text)));
        let (size, back) = read(&mut peer, &mut received, offer);
        assert!(back == text, "{offer}: another message came back");
        sizes.push(size);
        if !ours {
            received.forget();
        }
        // What is plain is in nobody's window.
        peer.write(&frame(FIN | TEXT, b"short"));
        assert!(matches!(peer.read(), Got::Frame(back) if back.payload == b"short"), "{offer}");
    }
    assert_eq!(sizes[1] * 4 < sizes[0], ours, "{offer}: {sizes:?}");
}

#[test]
fn windows_are_asked_of_clients_that_can_keep_to_them() {
    let terms = DeflateTerms::default().with_takeover(true, true).with_window_bits(10, 8);
    with_servers(Compression::default().with_terms(terms), |server| {
        for (offer, answer) in [
            ("permessage-deflate", "permessage-deflate; server_max_window_bits=10"),
            (
                "permessage-deflate; client_max_window_bits",
                "permessage-deflate; server_max_window_bits=10; client_max_window_bits=8",
            ),
            (
                "permessage-deflate; client_max_window_bits=8; server_max_window_bits=9",
                "permessage-deflate; server_max_window_bits=9",
            ),
        ] {
            let (mut peer, answered) = connect(server.address(), offer);
            assert_eq!(answered.as_deref(), Some(answer));
            let (mut sender, mut window) = (Sender::new(9, true), Window::new(10));
            for seed in [1, 2, 1] {
                peer.write(&frame(FIN | RSV1 | TEXT, sender.deflate(&text(seed))));
                assert!(read(&mut peer, &mut window, offer).1 == text(seed));
            }
        }
        // zlib's raw streams have no window of 8 bits: what demands one of us is declined.
        let (_, answered) =
            connect(server.address(), "permessage-deflate; server_max_window_bits=8");
        assert_eq!(answered, None);
    });
}

/// What is compressed once for all comes between what is compressed for one, and everybody's window
/// stays right.
#[test]
fn broadcasts_between_messages_of_ones_own() {
    let terms = DeflateTerms::default().with_takeover(true, true);
    with_servers(Compression::default().with_terms(terms), |server| {
        let address = server.address();
        let (mut author, _) = connect(address, "permessage-deflate");
        let mut listeners: Vec<_> = [9, 12, 15]
            .into_iter()
            .flat_map(|bits| [(bits, ""), (bits, "; server_no_context_takeover")])
            .map(|(bits, more)| {
                let offer = format!("permessage-deflate; server_max_window_bits={bits}{more}");
                let (peer, _) = connect(address, &offer);
                (peer, Window::new(bits), more.is_empty(), Sender::new(15, true), offer)
            })
            .collect();
        let own = text(3);
        let to_all = [b"to all: ".as_slice(), &text(4)].concat();
        for round in 0..6 {
            for (peer, window, takeover, sender, offer) in &mut listeners {
                // Twice, so that the second refers to the first.
                for _ in 0..2 {
                    peer.write(&frame(FIN | RSV1 | TEXT, sender.deflate(&own)));
                    let back = read(peer, window, &format!("{offer}, round {round}")).1;
                    assert!(back == own, "{offer}, round {round}: another message came back");
                    if !*takeover {
                        window.forget();
                    }
                }
            }
            author.write(&frame(FIN | TEXT, &to_all));
            for (peer, window, takeover, _, offer) in &mut listeners {
                let heard = read(peer, window, &format!("{offer}, to all, round {round}")).1;
                assert!(heard == to_all, "{offer}, round {round}: another message was heard");
                if !*takeover {
                    window.forget();
                }
            }
        }
    });
}

/// What does not get smaller is sent as it is, and is referred to by nothing.
#[test]
fn what_was_compressed_in_vain_is_not_referred_to() {
    let terms = DeflateTerms::default().with_takeover(true, true);
    with_servers(Compression::default().with_terms(terms), |server| {
        let (mut peer, _) = connect(server.address(), "permessage-deflate");
        let mut window = Window::new(15);
        let mut rng = fastrand::Rng::with_seed(5);
        let noise: Vec<u8> = (0..300).map(|_| rng.u8(..)).collect();
        for round in 0..3 {
            peer.write(&frame(FIN | BINARY, &noise));
            assert!(matches!(peer.read(), Got::Frame(back)
                if back.first == FIN | BINARY && back.payload == noise));
            peer.write(&frame(FIN | TEXT, text(round)));
            assert!(read(&mut peer, &mut window, "text behind noise").1 == text(round));
        }
    });
}

#[test]
fn bombs_that_refer_to_what_came_before() {
    let terms = DeflateTerms::default().with_takeover(true, true);
    with_servers(Compression::default().with_terms(terms), |server| {
        let (mut peer, _) = connect(server.address(), "permessage-deflate");
        let mut sender = Sender::new(15, true);
        let most = vec![b'0'; 1 << 20];
        for _ in 0..3 {
            peer.write(&frame(FIN | RSV1 | BINARY, sender.deflate(&most)));
            assert!(matches!(peer.read(), Got::Frame(back) if back.first == FIN | RSV1 | BINARY));
        }
        let bomb = sender.deflate(&vec![b'0'; (1 << 20) + 1]);
        assert!(bomb.len() < 4096);
        peer.write(&frame(FIN | RSV1 | BINARY, bomb));
        let got = peer.read();
        let told = |close: &[u8]| close[..2] == 1009_u16.to_be_bytes();
        assert!(matches!(&got, Got::Frame(close) if told(&close.payload)), "{got:?}");
        assert!(matches!(peer.read(), Got::End));
    });
}

/// The first frame of a compressed message that goes on.
fn begun() -> Vec<u8> {
    frame(RSV1 | TEXT, Sender::new(15, false).deflate(b"begun"))
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what} in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_budget_that_is_used_up() {
    const ONE: usize = Inflater::BYTES;
    let compression = Compression::default().with_budget_bytes(2 * ONE + ONE / 2);
    with_servers(compression, |server| {
        let address = server.address();
        let open = || connect(address, "permessage-deflate");
        let mut peers: Vec<_> = (0..3).map(|_| open()).collect();
        assert!(peers.iter().all(|(_, answer)| answer.is_some()));
        let (mut last, _) = peers.pop().expect("three");
        for (peer, _) in &mut peers {
            peer.write(&begun());
        }
        wait("waited for two messages under way", || {
            server.snapshot().compression_bytes == 2 * ONE as u64
        });
        // A third finds nothing left; plain messages pass all the same.
        last.write(&frame(FIN | TEXT, b"plain"));
        assert!(matches!(last.read(), Got::Frame(back) if back.payload == b"plain"));
        last.write(&begun());
        let Got::Frame(close) = last.read() else { panic!("no Close") };
        assert_eq!(close.first, FIN | CLOSE);
        assert_eq!(close.payload[..2], 1013_u16.to_be_bytes());
        assert!(close.payload[2..].starts_with(b"no memory is left"), "{close:?}");
        last.write(&frame(FIN | CLOSE, &close.payload));
        assert!(matches!(last.read(), Got::End));
        let told = ProtocolError::CompressionBudget.index();
        assert_eq!(server.snapshot().protocol_errors[told], 1);
        // Nor is any more agreed to.
        let (mut without, answer) = open();
        assert_eq!(answer, None);
        assert_eq!(server.snapshot().counters.compression_declined, 1);
        without.write(&frame(FIN | TEXT, b"without"));
        assert!(matches!(without.read(), Got::Frame(back) if back.payload == b"without"));
        // One message ends, one connection does: there is room again for both.
        let (mut ended, _) = peers.pop().expect("two");
        ended.write(&frame(FIN | CONTINUATION, b""));
        assert!(matches!(ended.read(), Got::Frame(back) if back.payload == b"begun"));
        drop(peers);
        wait("waited for the connection to end", || server.snapshot().open == 2);
        let mut again: Vec<_> = (0..2).map(|_| open()).collect();
        for (peer, answer) in &mut again {
            assert!(answer.is_some());
            peer.write(&[begun(), frame(FIN | CONTINUATION, b"")].concat());
            assert!(matches!(peer.read(), Got::Frame(back) if back.payload == b"begun"));
        }
        // No room for a compressor: what is long goes back as it is, and is counted.
        ended.write(&frame(FIN | TEXT, [b'x'; 500]));
        assert!(matches!(ended.read(), Got::Frame(back) if back.first == FIN | TEXT));
        assert_eq!(server.snapshot().counters.compression_skipped, 1);
    });
}

#[test]
fn what_connections_keep_has_a_budget_too() {
    let one = Inflater::BYTES + Deflater::bytes(15);
    let terms = DeflateTerms::default().with_takeover(true, true);
    let compression = Compression::default().with_terms(terms).with_budget_bytes(4 * one);
    with_servers(compression, |server| {
        let open = || connect(server.address(), "permessage-deflate");
        let peers: Vec<_> = (0..3).map(|_| open()).collect();
        let answers: Vec<_> = peers.iter().map(|(_, answer)| answer.as_deref()).collect();
        let without = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert_eq!(
            answers,
            [Some("permessage-deflate"), Some("permessage-deflate"), Some(without)]
        );
        let counted = server.snapshot();
        assert_eq!(counted.compression_bytes, 2 * one as u64);
        assert_eq!(counted.counters.takeover_declined, 1);
        assert_eq!((counted.counters.opened_compressed, counted.counters.opened_takeover), (3, 2));
        // All of it comes back, whether or not it was used, and however they ended.
        for (n, (mut peer, _)) in peers.into_iter().enumerate() {
            if n > 0 {
                peer.write(&frame(FIN | TEXT, text(1)));
                assert!(matches!(peer.read(), Got::Frame(back) if back.first == FIN | RSV1 | TEXT));
                peer.write(&begun());
            }
        }
        wait("waited for the connections to end", || server.snapshot().open == 0);
        let left = server.snapshot().compression_bytes;
        let shared = (Inflater::BYTES + Deflater::bytes(15)) as u64;
        assert!(left <= shared, "{left} bytes: a spare inflater and a shared compressor at most");
        assert_eq!(open().1.as_deref(), Some("permessage-deflate"));
    });
}
