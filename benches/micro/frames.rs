//! Frame headers, at both sides of each form of the length.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ringbolt::wire::{FrameHeader, HEADER_MAX, Mask, Opcode, hybi02, rfc6455};

const SIZES: [u64; 6] = [0, 64, 125, 126, 65_535, 65_536];

fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("header");
    for size in SIZES {
        let header = FrameHeader::whole(Opcode::Binary, size);
        let mut bytes = [0; HEADER_MAX];
        let len = hybi02::encode(header, &mut bytes);
        group.bench_with_input(BenchmarkId::new("decode", size), &bytes[..len], |b, bytes| {
            b.iter(|| hybi02::decode(black_box(bytes)));
        });
        group.bench_with_input(BenchmarkId::new("encode", size), &header, |b, header| {
            let mut out = [0; HEADER_MAX];
            b.iter(|| {
                let len = hybi02::encode(black_box(*header), &mut out);
                black_box(&out);
                len
            });
        });
        let masked = header.masked(Some(Mask::new([1, 2, 3, 4])));
        let len = rfc6455::encode(masked, &mut bytes);
        let id = BenchmarkId::new("decode, RFC 6455 masked", size);
        group.bench_with_input(id, &bytes[..len], |b, bytes| {
            b.iter(|| rfc6455::decode(black_box(bytes)));
        });
    }
    group.finish();
}

/// 256 headers of mixed sizes, one behind the other: no branch can be guessed from the last.
fn mixed(c: &mut Criterion) {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut bytes = Vec::new();
    for _ in 0..256 {
        let mut header = [0; HEADER_MAX];
        let size = SIZES[rng.usize(..SIZES.len())];
        let opcode = if rng.bool() { Opcode::Text } else { Opcode::Binary };
        let len = hybi02::encode(FrameHeader::whole(opcode, size), &mut header);
        bytes.extend_from_slice(&header[..len]);
    }
    c.bench_function("header/decode 256 mixed", |b| {
        b.iter(|| {
            let mut rest = black_box(&*bytes);
            let mut sum = 0;
            while let Ok(Some((header, len))) = hybi02::decode(rest) {
                sum += header.payload_len;
                rest = &rest[len..];
            }
            sum
        });
    });
}

criterion_group!(benches, headers, mixed);
criterion_main!(benches);
