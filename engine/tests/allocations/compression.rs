//! What compression takes in memory, beside what the budget counts for it.

use ringbolt::conn::{Deflater, Inflater};

use super::{ALONE, counting};

/// Bytes on the heap that `make` leaves behind.
fn measured<T>(make: impl FnOnce() -> T) -> usize {
    let before = counting::live_bytes();
    let made = make();
    let bytes = counting::live_bytes() - before;
    drop(made);
    usize::try_from(bytes).expect("something is kept")
}

/// Whether what is counted is enough, and hardly more.
fn judge(what: &str, measured: usize, counted: usize) {
    assert!(measured <= counted, "{what}: {measured} bytes, counted as {counted}");
    assert!(counted - measured <= 4096, "{what}: {measured} bytes, counted as {counted}");
}

#[test]
fn the_budget_counts_what_is_really_taken() {
    let _alone = ALONE.lock();
    // A thread of its own: what a test's thread does at its end would be counted in the next test.
    let counted = std::thread::spawn(|| {
        counting::count_this_thread();
        judge("an inflater", measured(Box::<Inflater>::default), Inflater::BYTES);
        for bits in 9..=15 {
            for level in [1, 3, 6, 9] {
                let deflater = measured(|| Box::new(Deflater::new(bits, level)));
                let what = format!("a deflater of {bits} bits and level {level}");
                judge(&what, deflater, Deflater::bytes(bits));
            }
        }
    });
    counted.join().expect("the sizes are as counted");
}
