//! A whole shard without a kernel: everything that a message costs on our side of the system call.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringbolt::bench::{LEASE, Machine, SendBatch, settle, shard};
use ringbolt::handshake::UpgradeRequest;
use ringbolt::wire::{FrameHeader, HEADER_MAX, Opcode, hybi02};
use ringbolt::{Accept, Config, ConnectionId, Handler, Message, Reject, WebSocket};

const REQUEST: &[u8] = b"GET /demo HTTP/1.1\r\n\
    Host: example.com\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n\
    Sec-WebSocket-Draft: 2\r\n\
    Upgrade: WebSocket\r\n\
    Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n\
    Origin: http://example.com\r\n\r\n\
    ^n:ds[4U";

struct Echo;

impl Handler for Echo {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        ws.send(message).expect("nothing waits");
    }
}

/// Everybody is subscribed; a message goes to all others.
struct Room;

impl Handler for Room {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, ()>) {
        let room = ws.topic("room").expect("there is room for topics");
        assert!(ws.subscribe(room));
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        let room = ws.topic("room").expect("it is open");
        ws.publish(room, message).expect("nothing waits");
    }
}

fn frames(payload: usize, count: usize) -> Vec<u8> {
    let mut header = [0; HEADER_MAX];
    let len = hybi02::encode(FrameHeader::whole(Opcode::Binary, payload as u64), &mut header);
    let mut frame = header[..len].to_vec();
    frame.resize(len + payload, b'x');
    frame.repeat(count)
}

/// A machine with a clock that stands and a turn that is sent nowhere.
struct Harness<M> {
    machine: M,
    sends: SendBatch,
    now: Instant,
}

impl<M: Machine> Harness<M> {
    fn new(machine: impl FnOnce(Instant) -> std::io::Result<M>) -> Self {
        let now = Instant::now();
        let machine = machine(now).expect("a waker");
        Self { machine, sends: SendBatch::default(), now }
    }

    fn open(&mut self) -> ConnectionId {
        let id = self.machine.accepted(0, &mut self.sends, self.now).expect("room");
        self.receive(id, &mut REQUEST.to_vec());
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

/// One message of 64 bytes from each of many connections, round robin: their state is read from
/// memory as it is in a server.
fn echo(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard/echo 64 bytes");
    for connections in [1, 100, 10_000] {
        let mut harness = Harness::new(|now| shard(Echo, Config::new(), now));
        let ids: Vec<_> = (0..connections).map(|_| harness.open()).collect();
        let clean = frames(64, 1);
        let mut input = clean.clone();
        group.throughput(Throughput::Elements(connections));
        group.bench_function(BenchmarkId::new("connections", connections), |b| {
            b.iter(|| {
                // A turn of the driver holds no more than this.
                for batch in ids.chunks(1024) {
                    for &id in batch {
                        input.copy_from_slice(&clean);
                        harness.receive(id, &mut input);
                    }
                    black_box(harness.run());
                }
            });
        });
    }
    group.finish();
}

/// Publications of one connection to a thousand others, alone and in bursts.
fn fan_out(c: &mut Criterion) {
    const SUBSCRIBERS: usize = 1000;
    let mut group = c.benchmark_group("shard/fan-out 64 bytes");
    for burst in [1, 16] {
        let mut harness = Harness::new(|now| shard(Room, Config::new(), now));
        let publisher = harness.open();
        (0..SUBSCRIBERS).for_each(|_| _ = harness.open());
        let mut input = frames(64, burst);
        let expected = input.len() * SUBSCRIBERS;
        group.throughput(Throughput::Elements((SUBSCRIBERS * burst) as u64));
        group.bench_function(BenchmarkId::new("burst", burst), |b| {
            b.iter(|| {
                harness.receive(publisher, &mut input);
                assert_eq!(harness.run(), expected);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, echo, fan_out);
criterion_main!(benches);
