//! Operations of the protocol core and of a shard, without a kernel: each prepares its memory once and
//! can then be repeated any number of times, doing the same work each time.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ringbolt::bench::{
    LEASE, Machine, SendBatch, Timers, exchange, halves, mailbox, settle, shard,
};
use ringbolt::conn::{Event, Inbound, Limits, Outbound, Output, Reassembly};
use ringbolt::handshake::scan::{Head, Strictness};
use ringbolt::handshake::{HeadLimits, ServerHandshake, ServerPolicy, UpgradeRequest, accept};
use ringbolt::wire::utf8::Validator;
use ringbolt::wire::{Dialect, FrameHeader, HEADER_MAX, Mask, Opcode, hybi02, rfc6455};
use ringbolt::{Accept, Compression, Config, ConnectionId, Handler, Message, Reject, WebSocket};

/// One operation.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// What it is called in tables and in the baseline.
    pub name: &'static str,
    /// What one unit of it is.
    pub unit: &'static str,
    /// How many units one repetition does.
    pub units: u32,
    prepare: fn() -> Repeat,
}

type Repeat = Box<dyn FnMut()>;

impl Operation {
    /// Prepares the memory; each call of the result repeats the work.
    #[must_use]
    pub fn prepare(&self) -> Repeat {
        (self.prepare)()
    }

    /// The one of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        ALL.iter().copied().find(|one| one.name == name)
    }
}

const fn operation(
    name: &'static str,
    unit: &'static str,
    units: u32,
    prepare: fn() -> Repeat,
) -> Operation {
    Operation { name, unit, units, prepare }
}

/// All of them.
pub const ALL: &[Operation] = &[
    operation("scan/hybi-02", "head", 1, || scan(HYBI02)),
    operation("scan/rfc6455", "head", 1, || scan(RFC6455)),
    operation("handshake/hybi-02", "upgrade", 1, || handshake(HYBI02)),
    operation("handshake/rfc6455", "upgrade", 1, || handshake(RFC6455)),
    operation("decode/hybi-02", "header", 1, || decode(Dialect::Hybi02)),
    operation("decode/rfc6455", "header", 1, || decode(Dialect::Rfc6455)),
    operation("encode/hybi-02", "header", 1, || encode(Dialect::Hybi02)),
    operation("encode/rfc6455", "header", 1, || encode(Dialect::Rfc6455)),
    operation("unmask/125", "payload", 1, || unmask(125)),
    operation("unmask/4096", "payload", 1, || unmask(4096)),
    operation("utf8/ascii-4096", "payload", 1, || utf8("plain text, as most ")),
    operation("utf8/mixed-4096", "payload", 1, || utf8("Grüße, κόσμε, 世界 😀 ")),
    operation("core-echo/hybi-02-64", "message", 16, || core_echo(Dialect::Hybi02)),
    operation("core-echo/rfc6455-64", "message", 16, || core_echo(Dialect::Rfc6455)),
    operation("assembly/64KiB-in-4KiB", "message", 1, assembly),
    operation("shard-echo/hybi-02-64", "message", 100, || shard_echo(HYBI02, 64, None)),
    operation("shard-echo/rfc6455-64", "message", 100, || shard_echo(RFC6455, 64, None)),
    operation("deflate/rfc6455-1024", "message", 100, || {
        shard_echo(RFC6455_DEFLATE, 1024, Some(Compression::default()))
    }),
    operation("topics/fan-out-1000", "delivery", 1000, fan_out),
    operation("wheel/connection-tick", "timer", 1000, wheel),
    operation("mailbox/publication", "command", 64, mail),
];

const HYBI02: &[u8] = b"GET /demo HTTP/1.1\r\n\
    Host: example.com\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n\
    Upgrade: WebSocket\r\n\
    Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n\
    Sec-WebSocket-Draft: 2\r\n\
    Origin: http://example.com\r\n\r\n\
    ^n:ds[4U";

const RFC6455: &[u8] = b"GET /demo HTTP/1.1\r\n\
    Host: example.com\r\n\
    Connection: Upgrade\r\n\
    Upgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\r\n";

const RFC6455_DEFLATE: &[u8] = b"GET /demo HTTP/1.1\r\n\
    Host: example.com\r\n\
    Connection: Upgrade\r\n\
    Upgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n\
    Origin: http://example.com\r\n\r\n";

fn scan(bytes: &'static [u8]) -> Repeat {
    let limits = HeadLimits::default();
    Box::new(move || {
        let mut head = Head::new(Strictness::Strict);
        let scanned = head.scan(&limits, black_box(bytes));
        assert!(matches!(scanned, Ok(Some(_))), "the head is whole");
        black_box(head.field(0));
    })
}

fn handshake(bytes: &'static [u8]) -> Repeat {
    let (limits, policy) = (HeadLimits::default(), ServerPolicy::new());
    let mut out = Vec::with_capacity(512);
    Box::new(move || {
        out.clear();
        let request = ServerHandshake::new().read(&limits, black_box(bytes));
        let request = request.expect("legal").expect("complete");
        policy.judge(&request).expect("welcome");
        accept(&request, &policy, None, &[] as &[(&str, &str)], &mut out).expect("nothing extra");
        black_box(&out);
    })
}

/// A client's frame, whose key leaves the payload readable however often it is applied.
fn frame(dialect: Dialect, header: FrameHeader, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [0; HEADER_MAX];
    let len = match dialect {
        Dialect::Rfc6455 => rfc6455::encode(header.masked(Some(Mask::new([0; 4]))), &mut bytes),
        _ => hybi02::encode(header, &mut bytes),
    };
    [&bytes[..len], payload].concat()
}

fn decode(dialect: Dialect) -> Repeat {
    let header = FrameHeader::whole(Opcode::Binary, 4096);
    let bytes = frame(dialect, header, &[]);
    Box::new(move || {
        let decoded = match dialect {
            Dialect::Rfc6455 => rfc6455::decode(black_box(&bytes)),
            _ => hybi02::decode(black_box(&bytes)),
        };
        assert!(matches!(black_box(decoded), Ok(Some(_))), "a legal header");
    })
}

fn encode(dialect: Dialect) -> Repeat {
    let header = FrameHeader::whole(Opcode::Binary, 4096);
    let mut out = [0; HEADER_MAX];
    Box::new(move || {
        let len = match dialect {
            Dialect::Rfc6455 => rfc6455::encode(black_box(header), &mut out),
            _ => hybi02::encode(black_box(header), &mut out),
        };
        black_box((&out, len));
    })
}

fn unmask(size: usize) -> Repeat {
    let mut payload = vec![0x5A; size];
    let mask = Mask::new([0x37, 0xFA, 0x21, 0x3D]);
    Box::new(move || black_box(mask).apply(black_box(&mut payload)))
}

fn utf8(pattern: &str) -> Repeat {
    let mut text = pattern.repeat(4096 / pattern.len() + 1);
    text.truncate(text.floor_char_boundary(4096));
    Box::new(move || {
        let mut validator = Validator::default();
        assert!(validator.feed(black_box(text.as_bytes())).is_ok() && validator.is_complete());
    })
}

/// Sends nowhere, and lends the same memory again and again.
#[derive(Default)]
struct Sink {
    spare: Option<Box<Reassembly>>,
    bytes: usize,
}

impl Output for Sink {
    fn frame(&mut self, header: &[u8], payload: &[u8], _: Option<Mask>) {
        self.bytes += header.len() + payload.len();
    }

    fn masking_key(&mut self) -> Mask {
        Mask::new([0; 4])
    }

    fn take_assembly(&mut self) -> Box<Reassembly> {
        self.spare.take().unwrap_or_default()
    }

    fn recycle(&mut self, mut assembly: Box<Reassembly>) {
        assembly.clear();
        self.spare = Some(assembly);
    }
}

fn read(
    halves: &mut (Inbound, Outbound),
    limits: &Limits,
    input: &mut [u8],
    sink: &mut Sink,
) -> usize {
    let (mut events, mut count) = (halves.0.receive(limits, input), 0);
    while let Some(event) = events.next_event(&mut halves.1, sink) {
        if let Event::Message(message, _) = event {
            halves.1.message(message, sink);
            count += 1;
        }
    }
    count
}

fn core_echo(dialect: Dialect) -> Repeat {
    let header = FrameHeader::whole(Opcode::Binary, 64);
    let mut input = frame(dialect, header, &[b'x'; 64]).repeat(16);
    let (mut halves, limits, mut sink) = (halves(dialect), Limits::default(), Sink::default());
    Box::new(move || assert_eq!(read(&mut halves, &limits, &mut input, &mut sink), 16))
}

fn assembly() -> Repeat {
    let payload = vec![b'x'; 64 << 10];
    let header = FrameHeader::whole(Opcode::Binary, payload.len() as u64);
    let mut input = frame(Dialect::Rfc6455, header, &payload);
    let mut halves = halves(Dialect::Rfc6455);
    let (limits, mut sink) = (Limits::default(), Sink::default());
    Box::new(move || {
        let pieces = input.chunks_mut(4096);
        let messages: usize =
            pieces.map(|piece| read(&mut halves, &limits, piece, &mut sink)).sum();
        assert_eq!(messages, 1);
    })
}

/// Sends everything back, or to everybody else of the room.
struct Application {
    room: bool,
}

impl Handler for Application {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, ()>) {
        if self.room {
            let room = ws.topic("room").expect("there is room for topics");
            assert!(ws.subscribe(room));
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        if self.room {
            let room = ws.topic("room").expect("it is open");
            ws.publish(room, message).expect("nothing waits");
        } else {
            ws.send(message).expect("nothing waits");
        }
    }
}

/// A shard with a clock that stands and a turn that is sent nowhere.
struct Harness<M> {
    machine: M,
    sends: SendBatch,
    now: Instant,
}

impl<M: Machine> Harness<M> {
    fn open(&mut self, request: &[u8]) -> ConnectionId {
        let id = self.machine.accepted(0, &mut self.sends, self.now).expect("room");
        self.receive(id, &mut request.to_vec());
        assert!(self.sends.bytes() > 100, "the handshake was answered");
        settle(&mut self.sends, &mut self.machine);
        id
    }

    fn receive(&mut self, id: ConnectionId, input: &mut [u8]) {
        black_box(self.machine.received(id, input, &LEASE, &mut self.sends, self.now));
    }

    /// Does what is due until nothing is; how many bytes that sent.
    fn run(&mut self) -> usize {
        let mut bytes = 0;
        loop {
            let next = self.machine.run(&mut self.sends, self.now);
            while let Some(action) = self.machine.poll_action() {
                black_box(action);
            }
            bytes += self.sends.bytes();
            settle(&mut self.sends, &mut self.machine);
            if !next.busy {
                return bytes;
            }
        }
    }
}

fn harness(room: bool, compression: Option<Compression>) -> Harness<impl Machine> {
    let now = Instant::now();
    let config = Config::new().with(|config| config.compression = compression);
    let machine = shard(Application { room }, config, now).expect("a waker");
    Harness { machine, sends: SendBatch::default(), now }
}

/// One message from each of a hundred connections.
fn shard_echo(request: &'static [u8], payload: usize, compression: Option<Compression>) -> Repeat {
    let mut harness = harness(false, compression);
    let ids: Vec<_> = (0..100).map(|_| harness.open(request)).collect();
    let dialect = if request == HYBI02 { Dialect::Hybi02 } else { Dialect::Rfc6455 };
    let text = "compressible, as JSON is; ".repeat(payload / 26 + 1);
    let mut header = FrameHeader::whole(Opcode::Text, payload as u64);
    let clean = if compression.is_some() {
        let packed = packed(&text.as_bytes()[..payload]);
        header.payload_len = packed.len() as u64;
        header.compressed = true;
        frame(dialect, header, &packed)
    } else {
        frame(dialect, header, &text.as_bytes()[..payload])
    };
    let mut input = clean.clone();
    Box::new(move || {
        for &id in &ids {
            input.copy_from_slice(&clean);
            harness.receive(id, &mut input);
        }
        let sent = harness.run();
        assert!(sent > 100, "echoes left: {sent} bytes");
    })
}

/// A payload as permessage-deflate sends it (RFC 7692 §7.2.1).
fn packed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    let mut deflater = flate2::Compress::new(flate2::Compression::new(3), false);
    deflater.compress_vec(payload, &mut out, flate2::FlushCompress::Sync).expect("there is room");
    out.truncate(out.len() - 4);
    out
}

fn fan_out() -> Repeat {
    let mut harness = harness(true, None);
    let publisher = harness.open(HYBI02);
    (0..1000).for_each(|_| _ = harness.open(HYBI02));
    let mut input = frame(Dialect::Hybi02, FrameHeader::whole(Opcode::Binary, 64), &[b'x'; 64]);
    let expected = input.len() * 1000;
    Box::new(move || {
        harness.receive(publisher, &mut input);
        assert_eq!(harness.run(), expected);
    })
}

/// A thousand timers over a hundred ticks: each comes up and is put back once.
fn wheel() -> Repeat {
    let mut timers = Timers::new(Instant::now());
    Box::new(move || {
        for slot in 0..1000 {
            timers.schedule(slot, 1 + slot % 100);
        }
        let came: usize = (0..100).map(|_| timers.turn()).sum();
        assert_eq!(came, 1000);
    })
}

fn mail() -> Repeat {
    let mailbox = mailbox(4096).expect("a waker");
    let (topic, frames): (Arc<str>, _) = ("room".into(), Bytes::from_static(&[5, 1, b'x']));
    Box::new(move || {
        for _ in 0..64 {
            assert!(exchange(&mailbox, &topic, &frames));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{ALL, Operation};

    #[test]
    fn every_operation_can_be_found_and_repeated() {
        for operation in ALL {
            let mut repeat = Operation::find(operation.name).expect("by its name").prepare();
            (0..3).for_each(|_| repeat());
        }
    }
}
