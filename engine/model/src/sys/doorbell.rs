//! A doorbell as the kernel's event counters are: what was rung stays rung until the sleeper has woken.

use loom::sync::{Condvar, Mutex};

#[derive(Debug)]
pub(crate) struct Doorbell {
    rung: Mutex<bool>,
    sleeper: Condvar,
}

impl Doorbell {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { rung: Mutex::new(false), sleeper: Condvar::new() })
    }

    pub(crate) fn ring(&self) {
        *self.rung.lock().expect("nobody panics with it") = true;
        self.sleeper.notify_one();
    }

    /// Sleeps until it was rung. A model in which that never comes has found a fault.
    pub(crate) fn sleep(&self) {
        let mut rung = self.rung.lock().expect("nobody panics with it");
        while !*rung {
            rung = self.sleeper.wait(rung).expect("nobody panics with it");
        }
        *rung = false;
    }
}
