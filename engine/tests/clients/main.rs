//! Client connections over real sockets, on the ring.

mod suite;

/// The driver that the clients of these tests run on; `clients_epoll` runs them on epoll.
const DRIVER: ringbolt::Driver = ringbolt::Driver::Uring;
