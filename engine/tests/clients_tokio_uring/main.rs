//! The tests of `clients`, on the tokio-uring driver.

#[path = "../clients/suite.rs"]
mod suite;

/// The driver that the clients of these tests run on.
const DRIVER: ringbolt::Driver = ringbolt::Driver::TokioUring;
