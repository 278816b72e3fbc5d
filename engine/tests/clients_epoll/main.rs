//! The tests of `clients`, on the epoll driver.

#[path = "../clients/suite.rs"]
mod suite;

/// The driver that the clients of these tests run on.
const DRIVER: ringbolt::Driver = ringbolt::Driver::Epoll;
