//! One connection's way in and out, without a shard: whole in place, and put together from pieces.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringbolt::bench::halves;
use ringbolt::conn::{Event, Inbound, Limits, Message, Outbound, Output, Reassembly};
use ringbolt::wire::{Dialect, FrameHeader, HEADER_MAX, Mask, Opcode, hybi02, rfc6455};

/// Bytes of a read in pieces: one small receive buffer.
const PIECE: usize = 4096;

/// Sends nowhere, and lends the same memory again and again, as a turn of the engine does.
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

/// A key that leaves ASCII what it is, applied any number of times: payloads are unmasked in place.
const KEY: Mask = Mask::new([1, 2, 3, 4]);

/// A client's frame.
fn frame(dialect: Dialect, opcode: Opcode, payload: usize) -> Vec<u8> {
    let mut bytes = [0; HEADER_MAX];
    let header = FrameHeader::whole(opcode, payload as u64);
    let len = match dialect {
        Dialect::Rfc6455 => rfc6455::encode(header.masked(Some(KEY)), &mut bytes),
        _ => hybi02::encode(header, &mut bytes),
    };
    let header = bytes;
    let mut frame = header[..len].to_vec();
    frame.resize(len + payload, b'x');
    frame
}

/// Reads some bytes; how many bytes of messages were in them, each sent back if `echoed`.
fn read(
    (inbound, outbound): &mut (Inbound, Outbound),
    limits: &Limits,
    input: &mut [u8],
    sink: &mut Sink,
    echoed: bool,
) -> usize {
    let mut bytes = 0;
    let mut events = inbound.receive(limits, input);
    while let Some(event) = events.next_event(outbound, sink) {
        if let Event::Message(message, _) = event {
            bytes += message.payload().len();
            if echoed {
                outbound.message(message, sink);
            }
        }
    }
    bytes
}

/// A batch of messages whole in one read, as a busy connection brings them.
fn in_place(c: &mut Criterion) {
    let limits = Limits::default();
    let kinds = [("binary", Opcode::Binary), ("text", Opcode::Text)];
    for (dialect, (kind, opcode)) in Dialect::ALL.into_iter().flat_map(|d| kinds.map(|k| (d, k))) {
        let mut group = c.benchmark_group(format!("in place/{}/{kind}", dialect.name()));
        for size in [0, 64, 125, 126, 1024, 4000, 16_384] {
            let mut input = frame(dialect, opcode, size);
            group.throughput(Throughput::Elements(1));
            group.bench_with_input(BenchmarkId::from_parameter(size), &size, |b, &size| {
                let mut halves = halves(dialect);
                let mut sink = Sink::default();
                b.iter(|| {
                    let bytes = read(&mut halves, &limits, &mut input, &mut sink, false);
                    assert_eq!(bytes, size);
                });
            });
        }
        group.finish();
    }
}

/// Decode, event and the answer's header per message of 64 bytes: all that the protocol adds.
fn echo(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("echo");
    for (dialect, count) in Dialect::ALL.into_iter().flat_map(|d| [1, 16, 55].map(|n| (d, n))) {
        let mut input = frame(dialect, Opcode::Binary, 64).repeat(count);
        group.throughput(Throughput::Elements(count as u64));
        let id = BenchmarkId::new(format!("{}, 64 bytes, per read", dialect.name()), count);
        group.bench_with_input(id, &count, |b, _| {
            let mut halves = halves(dialect);
            let mut sink = Sink::default();
            b.iter(|| read(&mut halves, &limits, &mut input, &mut sink, true));
        });
    }
    group.finish();
}

/// A stream that brings the same bytes again and again, and takes everything.
struct Memory<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl std::io::Read for Memory<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.bytes[self.at..];
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        self.at = (self.at + n) % self.bytes.len();
        Ok(n)
    }
}

impl std::io::Write for Memory<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An echo by another library, which owns its messages and reads from a stream: its copies are part
/// of what it does, and so is the one that stands for the kernel's.
fn echo_of_tungstenite(c: &mut Criterion) {
    use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
    let mut group = c.benchmark_group("echo");
    for count in [1, 16, 55] {
        let bytes = frame(Dialect::Rfc6455, Opcode::Binary, 64).repeat(count);
        group.throughput(Throughput::Elements(count as u64));
        let id = BenchmarkId::new("tungstenite, 64 bytes, per read", count);
        group.bench_with_input(id, &count, |b, &count| {
            let config = WebSocketConfig::default().read_buffer_size(bytes.len());
            let memory = Memory { bytes: &bytes, at: 0 };
            let mut socket = WebSocket::from_raw_socket(memory, Role::Server, Some(config));
            b.iter(|| {
                for _ in 0..count {
                    let message = socket.read().expect("a message");
                    socket.write(message).expect("room");
                }
                socket.flush().expect("memory takes everything");
            });
        });
    }
    group.finish();
}

/// Messages that span reads.
fn in_pieces(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("in pieces of 4 KiB");
    for (dialect, size) in Dialect::ALL.into_iter().flat_map(|d| [16_384, 1 << 20].map(|n| (d, n)))
    {
        let mut input = frame(dialect, Opcode::Binary, size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new(dialect.name(), size), &size, |b, &size| {
            let mut halves = halves(dialect);
            let mut sink = Sink::default();
            b.iter(|| {
                let pieces = input.chunks_mut(PIECE);
                let bytes: usize =
                    pieces.map(|piece| read(&mut halves, &limits, piece, &mut sink, false)).sum();
                assert_eq!(bytes, size);
            });
        });
    }
    group.finish();
}

/// A message cut into frames by the sender, and put together again.
fn fragmented(c: &mut Criterion) {
    struct Wire(Vec<u8>);
    impl Output for Wire {
        fn frame(&mut self, header: &[u8], payload: &[u8], _: Option<Mask>) {
            self.0.extend_from_slice(header);
            self.0.extend_from_slice(payload);
        }

        fn masking_key(&mut self) -> Mask {
            KEY
        }
    }
    let limits = Limits::default();
    let payload = vec![b'x'; 16_384];
    let fragment = std::num::NonZeroUsize::new(1024).expect("not zero");
    let mut wire = Wire(Vec::new());
    halves(Dialect::Hybi02).1.fragmented(Message::Binary(&payload), fragment, &mut wire);
    let mut group = c.benchmark_group("fragments of 1 KiB");
    group.throughput(Throughput::Bytes(payload.len() as u64));
    group.bench_function("16384", |b| {
        let mut halves = halves(Dialect::Hybi02);
        let mut sink = Sink::default();
        b.iter(|| read(&mut halves, &limits, &mut wire.0, &mut sink, false));
    });
    group.finish();
}

criterion_group!(benches, in_place, echo, echo_of_tungstenite, in_pieces, fragmented);
criterion_main!(benches);
