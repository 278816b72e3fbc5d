//! What is special about the tokio-uring driver: the runtime under it loses the bytes of a read whose
//! future is dropped and leaks the socket, so these tests count bytes and descriptors.

mod ends;
mod races;

#[expect(clippy::cast_possible_truncation, dead_code, reason = "the tests of servers use more")]
#[path = "../server/support.rs"]
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

use ringbolt::{Config, Driver};

/// The settings of everything here.
fn settings() -> Config {
    Config::new().with(|config| config.driver = Driver::TokioUring)
}

/// Descriptors are counted for the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many descriptors this process has open.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// What goes wrong names this seed; the variable of that name repeats it.
fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    seed.unwrap_or_else(|| fastrand::u64(..))
}
