//! Client connections over real sockets, on the ring.

#[path = "../server/combinations.rs"]
mod combinations;
mod suite;

/// The driver that the clients of these tests run on; `clients_epoll` runs them on epoll.
const DRIVER: ringbolt::Driver = ringbolt::Driver::Uring;
