//! Parts of the engine beside the best public counterpart of each, on the same bytes. `handshake` has
//! httparse beside the head scanner, `payload` simdutf8 beside the validator, and `messages` the echo of
//! tungstenite; we know of no timer wheel or fan-out that is available alone.
//!
//! Libraries that own their messages or read from a stream do more than the engine is asked for here:
//! their copies are part of what they do, and are counted.

use std::hint::black_box;
use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringbolt::bench::{exchange, halves, mailbox};
use ringbolt::conn::{Event, Limits, Output, Reassembly};
use ringbolt::handshake::{HeadLimits, ServerHandshake, ServerPolicy, accept};
use ringbolt::wire::{Dialect, FrameHeader, HEADER_MAX, Mask, Opcode, rfc6455};
use ringbolt_benches::operations::Operation;
use tungstenite::protocol::frame::FrameHeader as TheirHeader;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

const REQUEST: &[u8] = b"GET /demo HTTP/1.1\r\n\
    Host: example.com\r\n\
    Connection: Upgrade\r\n\
    Upgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\r\n";

/// A key that leaves ASCII what it is, applied any number of times: payloads are unmasked in place.
const KEY: [u8; 4] = [1, 2, 3, 4];

/// A stream that brings the same bytes again and again, and takes everything.
struct Memory<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Read for Memory<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let rest = &self.bytes[self.at..];
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        self.at = (self.at + n) % self.bytes.len();
        Ok(n)
    }
}

impl Write for Memory<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From the request's bytes to those of the answer.
fn handshake(c: &mut Criterion) {
    let mut group = c.benchmark_group("handshake");
    group.bench_function("ringbolt", |b| {
        let (limits, policy) = (HeadLimits::default(), ServerPolicy::new());
        let mut out = Vec::with_capacity(512);
        b.iter(|| {
            out.clear();
            let request = ServerHandshake::new().read(&limits, black_box(REQUEST));
            let request = request.expect("legal").expect("complete");
            policy.judge(&request).expect("welcome");
            accept(&request, &policy, None, &[] as &[(&str, &str)], &mut out).expect("taken");
            black_box(out.len())
        });
    });
    // It makes the socket, too, whose buffers are kept small.
    group.bench_function("tungstenite", |b| {
        let config = WebSocketConfig::default().read_buffer_size(512).write_buffer_size(0);
        b.iter(|| {
            let memory = Memory { bytes: black_box(REQUEST), at: 0 };
            tungstenite::accept_with_config(memory, Some(config)).expect("taken")
        });
    });
    group.finish();
}

/// The headers of a client's frames, at both sides of each form of the length.
fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("header, masked");
    for size in [64, 126, 65_536] {
        let header = FrameHeader::whole(Opcode::Binary, size).masked(Some(Mask::new(KEY)));
        let mut bytes = [0; HEADER_MAX];
        let len = rfc6455::encode(header, &mut bytes);
        let bytes = &bytes[..len];
        group.bench_function(BenchmarkId::new("decode, ringbolt", size), |b| {
            b.iter(|| rfc6455::decode(black_box(bytes)));
        });
        group.bench_function(BenchmarkId::new("decode, tungstenite", size), |b| {
            b.iter(|| TheirHeader::parse(&mut Cursor::new(black_box(bytes))));
        });
        group.bench_function(BenchmarkId::new("encode, ringbolt", size), |b| {
            let mut out = [0; HEADER_MAX];
            b.iter(|| {
                let len = rfc6455::encode(black_box(header), &mut out);
                black_box(&out);
                len
            });
        });
        let theirs = TheirHeader::parse(&mut Cursor::new(bytes)).expect("legal").expect("whole").0;
        group.bench_function(BenchmarkId::new("encode, tungstenite", size), |b| {
            let mut out = [0; HEADER_MAX];
            b.iter(|| {
                black_box(&theirs).format(size, &mut &mut out[..]).expect("there is room");
                black_box(&out);
            });
        });
    }
    group.finish();
}

fn unmask(c: &mut Criterion) {
    let mut group = c.benchmark_group("unmask");
    for size in [64, 125, 4096, 65_536] {
        group.throughput(Throughput::Bytes(size as u64));
        let mut payload = vec![0x5A; size];
        group.bench_function(BenchmarkId::new("ringbolt", size), |b| {
            b.iter(|| black_box(Mask::new(KEY)).apply(black_box(&mut payload)));
        });
        group.bench_function(BenchmarkId::new("fastwebsockets", size), |b| {
            b.iter(|| fastwebsockets::unmask(black_box(&mut payload), black_box(KEY)));
        });
    }
    group.finish();
}

/// Sends nowhere, and lends the same memory again and again, as a turn of the engine does.
#[derive(Default)]
struct Sink(Option<Box<Reassembly>>);

impl Output for Sink {
    fn frame(&mut self, header: &[u8], payload: &[u8], _: Option<Mask>) {
        black_box((header, payload));
    }

    fn masking_key(&mut self) -> Mask {
        Mask::new(KEY)
    }

    fn take_assembly(&mut self) -> Box<Reassembly> {
        self.0.take().unwrap_or_default()
    }

    fn recycle(&mut self, mut assembly: Box<Reassembly>) {
        assembly.clear();
        self.0 = Some(assembly);
    }
}

/// A message of 64 KiB in sixteen frames.
fn assembly(c: &mut Criterion) {
    const PIECE: usize = 4096;
    const PIECES: usize = 16;
    let mut wire = Vec::new();
    for piece in 0..PIECES {
        let opcode = if piece == 0 { Opcode::Binary } else { Opcode::Continuation };
        let mut header = FrameHeader::whole(opcode, PIECE as u64).masked(Some(Mask::new(KEY)));
        header.last = piece + 1 == PIECES;
        let mut bytes = [0; HEADER_MAX];
        let len = rfc6455::encode(header, &mut bytes);
        wire.extend_from_slice(&bytes[..len]);
        wire.resize(wire.len() + PIECE, b'x');
    }
    let mut group = c.benchmark_group("assembly");
    group.throughput(Throughput::Bytes((PIECE * PIECES) as u64));
    let clean = wire.clone();
    group.bench_function("ringbolt", |b| {
        let ((mut inbound, mut outbound), limits) = (halves(Dialect::Rfc6455), Limits::default());
        let mut sink = Sink::default();
        b.iter(|| {
            let mut bytes = 0;
            let mut events = inbound.receive(&limits, &mut wire);
            while let Some(event) = events.next_event(&mut outbound, &mut sink) {
                if let Event::Message(message, _) = event {
                    bytes += message.payload().len();
                }
            }
            assert_eq!(bytes, PIECE * PIECES);
        });
    });
    group.bench_function("tungstenite", |b| {
        let config = WebSocketConfig::default().read_buffer_size(clean.len());
        let memory = Memory { bytes: &clean, at: 0 };
        let mut socket = WebSocket::from_raw_socket(memory, Role::Server, Some(config));
        b.iter(|| assert_eq!(socket.read().expect("a message").len(), PIECE * PIECES));
    });
    group.finish();
}

/// A hundred compressed messages, inflated, and deflated again at the engine's level: in the engine with
/// all that a shard does for their echo, and by the same library alone, each with one state for all.
/// What is between the two is the engine's part.
fn deflate(c: &mut Criterion) {
    let mut group = c.benchmark_group("deflate");
    group.throughput(Throughput::Elements(100));
    let ours = Operation::find("deflate/rfc6455-1024").expect("one of the operations");
    group.bench_function("ringbolt", |b| b.iter(ours.prepare()));
    group.bench_function("flate2 alone", |b| {
        let text = "compressible, as JSON is; ".repeat(40);
        let text = &text.as_bytes()[..1024];
        let mut deflater = flate2::Compress::new(flate2::Compression::new(3), false);
        let mut inflater = flate2::Decompress::new(false);
        let (mut packed, mut unpacked) = (Vec::with_capacity(1024), Vec::with_capacity(2048));
        let pack = |deflater: &mut flate2::Compress, text: &[u8], out: &mut Vec<u8>| {
            deflater.reset();
            out.clear();
            deflater.compress_vec(text, out, flate2::FlushCompress::Sync).expect("there is room");
        };
        pack(&mut deflater, text, &mut packed);
        let input = packed.clone();
        b.iter(|| {
            for _ in 0..100 {
                inflater.reset(false);
                unpacked.clear();
                let flush = flate2::FlushDecompress::Sync;
                inflater.decompress_vec(black_box(&input), &mut unpacked, flush).expect("legal");
                assert_eq!(unpacked.len(), 1024);
                pack(&mut deflater, &unpacked, &mut packed);
            }
        });
    });
    group.finish();
}

/// A letter posted and taken out again, 64 times. The engine's also rings a waker for a shard that
/// sleeps, which this one never does.
fn letters(c: &mut Criterion) {
    const LETTERS: usize = 64;
    let (topic, frames): (Arc<str>, _) = ("room".into(), Bytes::from_static(&[5, 1, b'x']));
    let mut group = c.benchmark_group("mailbox");
    group.throughput(Throughput::Elements(LETTERS as u64));
    group.bench_function("ringbolt", |b| {
        let mailbox = mailbox(4096).expect("a waker");
        b.iter(|| {
            for _ in 0..LETTERS {
                assert!(exchange(&mailbox, &topic, &frames));
            }
        });
    });
    group.bench_function("std mpsc", |b| {
        let (sender, receiver) = mpsc::sync_channel(4096);
        b.iter(|| {
            for _ in 0..LETTERS {
                sender.try_send((Arc::clone(&topic), frames.clone())).expect("there is room");
                assert!(receiver.try_recv().is_ok());
            }
        });
    });
    group.finish();
}

criterion_group!(benches, handshake, headers, unmask, assembly, deflate, letters);
criterion_main!(benches);
