//! The same tests again on the other drivers.

use ringbolt::Driver;

use crate::variant::{DRIVER, run_again};

#[test]
fn on_epoll() {
    run_again(&[(DRIVER, Driver::Epoll.name())], &[]);
}

#[cfg(feature = "tokio-uring")]
#[test]
fn on_tokio_uring() {
    run_again(&[(DRIVER, Driver::TokioUring.name())], &[]);
}
