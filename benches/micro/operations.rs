//! The operations whose instructions are counted, in nanoseconds.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringbolt_benches::operations::ALL;

fn operations(c: &mut Criterion) {
    let mut group = c.benchmark_group("operations");
    for operation in ALL {
        group.throughput(Throughput::Elements(operation.units.into()));
        let mut repeat = operation.prepare();
        group.bench_function(operation.name, |b| b.iter(&mut repeat));
    }
    group.finish();
}

criterion_group!(benches, operations);
criterion_main!(benches);
