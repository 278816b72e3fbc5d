//! A whole shard: what its peers do, in the order in which they do it.

use std::time::Duration;

use ringbolt::bench::Rig;
use ringbolt::handshake::UpgradeRequest;
use ringbolt::wire::{Dialect, FrameHeader, Mask, Opcode, hybi02, rfc6455};
use ringbolt::{
    Accept, Compression, Config, Handler, Message, Part, Reject, SlowConsumer, WebSocket,
};

/// Most peers of one run.
const PEERS: usize = 12;

const REQUESTS: [&[u8]; 3] = [
    b"GET /room HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    b"GET /deflate HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
      Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
    b"GET /room HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\
      Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\nSec-WebSocket-Draft: 2\r\n\
      Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\nOrigin: http://example.com\r\n\r\n^n:ds[4U",
];

/// Does what the first byte of a message says.
struct Obedient;

impl Handler for Obedient {
    type Data = ();

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        match request.path() {
            "/no" => Err(Reject::new(403, "Forbidden")),
            _ => Ok(Accept::new(())),
        }
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, ()>) {
        if let Some(room) = ws.topic("room") {
            ws.subscribe(room);
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        let room = ws.topic("room");
        match message.payload().first() {
            Some(b'p') => {
                if let Some(room) = room {
                    // Too much waits there: whoever said it is told by nobody.
                    let _ = ws.publish(room, message);
                }
            }
            Some(b'c') => ws.close(),
            Some(b'h') => ws.hold_reading(true),
            Some(b'u') => {
                if let Some(room) = room {
                    ws.unsubscribe(room);
                }
            }
            Some(b's') => {
                if let Some(room) = room {
                    ws.subscribe(room);
                }
            }
            Some(b'm') => {
                for _ in 0..20 {
                    let _ = ws.send(Message::Binary(message.payload()));
                }
            }
            // A queue that is full says so.
            _ => {
                let _ = ws.send(message);
            }
        }
    }

    fn on_part(&mut self, ws: &mut WebSocket<'_, ()>, part: Part<'_>) {
        let _ = ws.send_part(part);
    }

    fn on_drain(&mut self, ws: &mut WebSocket<'_, ()>) {
        ws.hold_reading(false);
    }
}

/// The bytes of an input, as numbers and as bytes.
struct Program<'d>(&'d [u8]);

impl<'d> Program<'d> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> usize {
        usize::from(self.next().unwrap_or(0))
    }

    fn bytes(&mut self) -> &'d [u8] {
        let (bytes, rest) = self.0.split_at(self.number().min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// Peers that connect, send, read, end and break off while time passes, other threads publish and the
/// server drains: nothing panics, every peer is sent frames that can be read, and at the end nothing is
/// open, every connection has ended once, and nothing is held for any.
pub fn shard(data: &[u8]) {
    let mut program = Program(data);
    let mut rig = Rig::new(Obedient, config(program.number())).expect("a waker");
    let mut dialects = Vec::new();
    let publisher = rig.publisher();
    while let Some(what) = program.next() {
        let peer = usize::from(what >> 4) % rig.peers().max(1);
        match what & 15 {
            0..=2 if rig.peers() < PEERS => {
                let request = usize::from(what & 15);
                if let Some(peer) = rig.connect() {
                    dialects.push(request);
                    rig.send(peer, REQUESTS[request]);
                }
            }
            3 if rig.peers() < PEERS => {
                if let Some(peer) = rig.connect() {
                    dialects.push(0);
                    rig.send(peer, program.bytes());
                }
            }
            4..=6 => {
                let frame = frame(dialects.get(peer).copied().unwrap_or(0), &mut program);
                rig.send(peer, &frame);
            }
            7 => rig.send(peer, program.bytes()),
            8 => rig.end(peer),
            9 => rig.reset(peer),
            10 => rig.take(peer, program.number() << 4),
            11 => rig.take(peer, usize::MAX),
            12 => {
                // Full is an answer, too.
                let _ = publisher.publish("room", Message::Binary(program.bytes()));
            }
            13 => {
                if let Some(remote) = rig.remote(peer) {
                    let bytes = program.bytes();
                    let _ = if bytes.is_empty() {
                        remote.close()
                    } else {
                        remote.send(Message::Binary(bytes))
                    };
                }
            }
            14 if what == 0xFE => rig.drain(Duration::from_millis(500)),
            14 => drop(rig.turn(Duration::ZERO)),
            _ => drop(rig.turn(Duration::from_millis(program.number() as u64 * 8))),
        }
    }
    let end = rig.finish();
    assert_eq!(end.open, 0, "{end}");
    let closed: u64 = end.closed.iter().sum();
    assert_eq!(closed, rig.peers() as u64, "every connection ends once: {end}");
    // What compresses is the shard's own, and stays for a while.
    assert_eq!(end.memory_bytes, end.compression_bytes, "{end}");
    for (peer, dialect) in dialects.iter().enumerate() {
        readable(rig.taken(peer), *dialect);
    }
}

fn config(choice: usize) -> Config {
    Config::new().with(|config| {
        config.max_connections = 8;
        config.max_outbound_bytes = 64 << 10;
        config.pause_reading_bytes = 8 << 10;
        config.memory_budget = Some(1 << 20);
        config.mailbox_entries = 4;
        config.handshake_timeout = Duration::from_secs(2);
        config.idle_timeout = Duration::from_secs(4);
        config.ping_interval = Duration::from_secs(1);
        config.close_timeout = Duration::from_secs(1);
        if choice & 1 != 0 {
            config.slow_consumer = SlowConsumer::Drop;
        }
        if choice & 2 != 0 {
            config.compression = Some(Compression::default().with_min_bytes(8));
        }
    })
}

/// A frame of a client: a byte for FIN and opcode as they are in the peer's dialect, and bytes that the
/// program has or that are many and equal.
fn frame(request: usize, program: &mut Program<'_>) -> Vec<u8> {
    let first = program.next().unwrap_or(0);
    let mut payload = match first & 0x30 {
        0x30 => vec![b'z'; program.number() << 7],
        _ => program.bytes().to_vec(),
    };
    let mut header = [0; ringbolt::wire::HEADER_MAX];
    let key = Mask::new([1, 2, 3, 4]);
    let hybi02 = request == 2;
    let opcode =
        [Opcode::Text, Opcode::Binary, Opcode::Ping, Opcode::Close][usize::from(first & 3)];
    let mut whole = FrameHeader::whole(opcode, payload.len() as u64);
    whole.mask = (!hybi02).then_some(key);
    let encode = if hybi02 { hybi02::encode } else { rfc6455::encode };
    let len = encode(whole, &mut header);
    if first & 8 != 0 {
        // Something else than what was to be: a fragment, a reserved bit, another opcode.
        header[0] ^= first & 0xC4;
    }
    if !hybi02 {
        key.apply(&mut payload);
    }
    [&header[..len], &payload].concat()
}

/// What a peer was sent is an answer and then frames, the last of which may be cut.
fn readable(sent: &[u8], request: usize) {
    let Some(end) = sent.windows(4).position(|four| four == b"\r\n\r\n") else { return };
    if !sent.starts_with(b"HTTP/1.1 101") {
        return;
    }
    let (dialect, answer) =
        if request == 2 { (Dialect::Hybi02, 16) } else { (Dialect::Rfc6455, 0) };
    let decode = if dialect == Dialect::Hybi02 { hybi02::decode } else { rfc6455::decode };
    let mut rest = sent.get(end + 4 + answer..).unwrap_or_default();
    while let Some((header, taken)) = decode(rest).expect("frames by the book") {
        assert!(header.mask.is_none(), "a server masks nothing");
        let len = usize::try_from(header.payload_len).expect("far less");
        let Some(behind) = rest.get(taken + len..) else { return };
        rest = behind;
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    vec![
        // An echo, and a turn that sends it.
        b"\0\0\x0E\x04\0\x05Hello\x0E".to_vec(),
        // Three that share a room; one publishes, one is slow, and reads later.
        b"\0\0\x01\x02\x0E\x1A\x01\x04\0\x04pabc\x0E\x04\x31\xFFp\x0E\x1B\x0E\x18\x0E".to_vec(),
        b"\x03\0\x01\x01\x0E\x14\x08\x09pppppppppp\x0E\x0F\x80\x0F\x80\x0C\x03abc\x0E\xFE\x0E"
            .to_vec(),
        // A large message in pieces, silence, and a break.
        b"\x02\x01\x0E\x04\x38\xFF\x0E\x04\x38\xFF\x0F\xFF\x0F\xFF\x0F\xFF\x09\x0E".to_vec(),
        b"\0\x02\0\x0E\x04\x03\x02\x03\xE8\x0E\x14\x02\x03abc\x0D\x03abc\x1D\0\x0E".to_vec(),
        b"\0\x03\x10GET / HTTP/1.1\r\n\x0E\x07\x02\r\n\x0F\xFF\x0F\xFF".to_vec(),
    ]
}
