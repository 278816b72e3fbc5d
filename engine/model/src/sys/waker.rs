//! A waker as the kernel's event counters are: a call is kept until the sleeper has woken.

use loom::sync::{Condvar, Mutex};

#[derive(Debug)]
pub(crate) struct Waker {
    called: Mutex<bool>,
    sleeper: Condvar,
}

impl Waker {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { called: Mutex::new(false), sleeper: Condvar::new() })
    }

    pub(crate) fn wake(&self) {
        *self.called.lock().expect("nobody panics with it") = true;
        self.sleeper.notify_one();
    }

    /// Sleeps until it is called. A model in which that never comes has found a fault.
    pub(crate) fn sleep(&self) {
        let mut called = self.called.lock().expect("nobody panics with it");
        while !*called {
            called = self.sleeper.wait(called).expect("nobody panics with it");
        }
        *called = false;
    }
}
