//! What RFC 6455 does to every byte of a payload: unmasking beside a copy of the same bytes, and
//! the validation of text in pieces beside simdutf8's in one go.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringbolt::wire::Mask;
use ringbolt::wire::utf8::Validator;

const SIZES: [usize; 6] = [16, 64, 125, 512, 4096, 65_536];

fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group("masking");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let mut payload = vec![0x5A; size];
        group.bench_function(BenchmarkId::new("unmask in place", size), |b| {
            let mask = Mask::new([0x37, 0xFA, 0x21, 0x3D]);
            b.iter(|| black_box(mask).apply(black_box(&mut payload)));
        });
        let mut copy = vec![0; size];
        group.bench_function(BenchmarkId::new("memcpy", size), |b| {
            b.iter(|| black_box(&mut copy).copy_from_slice(black_box(&payload)));
        });
    }
    group.finish();
}

fn text(c: &mut Criterion) {
    let mut group = c.benchmark_group("text");
    for (name, pattern) in [("ascii", "plain text, as most "), ("mixed", "Grüße, κόσμε, 世界 😀 ")]
    {
        for size in [64, 4096, 65_536] {
            let mut text = pattern.repeat(size / pattern.len() + 1);
            text.truncate(text.floor_char_boundary(size));
            group.throughput(Throughput::Bytes(text.len() as u64));
            let id = |how: &str| BenchmarkId::new(format!("{how}, {name}"), size);
            group.bench_function(id("validator"), |b| {
                b.iter(|| {
                    let mut validator = Validator::default();
                    let outcome = validator.feed(black_box(text.as_bytes()));
                    (outcome, validator.is_complete())
                });
            });
            group.bench_function(id("simdutf8"), |b| {
                b.iter(|| simdutf8::basic::from_utf8(black_box(text.as_bytes())).is_ok());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, masking, text);
criterion_main!(benches);
