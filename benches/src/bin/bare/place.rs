//! Where the servers run, and what they do.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

/// Where a server listens and runs.
#[derive(Args)]
pub(crate) struct Place {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// CPU to run on; any if not given
    #[arg(long, value_name = "N")]
    pub(crate) cpu: Option<usize>,
    /// Microseconds to look for work before sleeping
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    pub(crate) spin: u64,
}

/// What a server does with the bytes of an open connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Echo,
    Fanout,
    Accept,
}

impl Place {
    pub(crate) fn pin(&self) -> Result<(), String> {
        pin(self.cpu)
    }

    pub(crate) const fn spin(&self) -> Duration {
        Duration::from_micros(self.spin)
    }
}

/// Runs this thread on one CPU, if one is given.
pub(crate) fn pin(cpu: Option<usize>) -> Result<(), String> {
    match cpu {
        Some(id) if !core_affinity::set_for_current(core_affinity::CoreId { id }) => {
            Err(format!("cannot run on CPU {id}: it does not exist or may not be used"))
        }
        _ => Ok(()),
    }
}

#[expect(clippy::print_stdout, reason = "a program tells its user where it listens")]
pub(crate) fn announce(address: SocketAddr) {
    println!("listening on {address}");
}
