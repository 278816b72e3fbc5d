//! What the benches and the fuzzer need of the insides: the driver with nothing on top, and what lies on
//! top without a driver. No part of the promised interface.

mod rig;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::config::Config;
use crate::conn::{self, Inbound, Outbound, Role};
pub use crate::driver::uring::{Uring, serve_machine};
use crate::handler::{Handler, Serve};
pub use crate::hub::Mailbox;
use crate::hub::{Hub, PublishCommand, Reservation};
pub use crate::memory::Share;
pub use crate::shard::machine::{Action, Look, Machine, Next, ReadInterest};
pub use crate::shard::send::{Piece, Transmit};
pub use crate::shard::send_batch::{Chunk, Lease, Output, SendBatch};
use crate::shard::wheel::Wheel;
use crate::sys::id::ConnectionId;
pub use crate::sys::id::GENERATION_MAX;
#[cfg(feature = "tls")]
pub use crate::tls::TlsEnd;
use crate::wire::Dialect;

pub use rig::Rig;

/// A lease of no buffer, for machines that are driven from memory.
pub const LEASE: Lease = Lease::NOWHERE;

/// A server's shard, to be driven from memory.
///
/// # Errors
///
/// The kernel has no waker left.
pub fn shard<H: Handler>(
    handler: H,
    config: Config,
    now: Instant,
) -> std::io::Result<impl Machine> {
    let hub = Arc::new(Hub::new(1, config.mailbox_entries)?);
    Ok(crate::shard::Shard::new(Serve(handler), Arc::new(config), hub, 0, now))
}

/// Both halves of a server's connection whose handshake is done.
#[must_use]
pub fn halves(dialect: Dialect) -> (Inbound, Outbound) {
    let (inbound, mut outbound) = conn::halves(dialect, Role::Server);
    outbound.opened(dialect);
    (inbound, outbound)
}

/// Forgets what a turn wants sent, as a driver does when it is settled.
pub fn settle(sends: &mut SendBatch, machine: &mut impl Machine) {
    sends.took_lease();
    sends.clear();
    machine.settled();
}

/// A shard's timers, with a clock that the caller turns.
#[derive(Debug)]
pub struct Timers {
    wheel: Wheel,
    now: u32,
    due: Vec<ConnectionId>,
}

impl Timers {
    /// Timers of which none runs.
    #[must_use]
    pub fn new(epoch: Instant) -> Self {
        Self { wheel: Wheel::new(epoch), now: 0, due: Vec::new() }
    }

    /// Lets the connection in this slot come up in so many ticks.
    pub fn schedule(&mut self, slot: u32, ticks: u32) {
        self.wheel.schedule(ConnectionId::new(slot, 0), self.now + ticks);
    }

    /// Goes one tick on, asks when the next one is due as every sleep does, and says how many came up.
    pub fn turn(&mut self) -> usize {
        self.now += 1;
        let mut count = 0;
        while self.wheel.expired(self.now, &mut self.due).is_some() {
            count += self.due.drain(..).len();
        }
        std::hint::black_box(self.wheel.next());
        count
    }
}

/// A mailbox with room for so many commands.
///
/// # Errors
///
/// The kernel has no waker left.
pub fn mailbox(entries: usize) -> std::io::Result<Mailbox> {
    Mailbox::new(entries, 1)
}

/// Posts a publication as a shard does and takes it out again; whether it was there.
pub fn exchange(mailbox: &Mailbox, topic: &Arc<str>, frames: &Bytes) -> bool {
    let (topic, frames) = (Arc::clone(topic), frames.clone());
    let command = PublishCommand::Publication { topic, frames, messages: 1 };
    let weight = command.weight();
    if mailbox.reserve(weight) != Reservation::Made {
        return false;
    }
    mailbox.post(command);
    let taken = mailbox.answer() && mailbox.take_publish().is_some();
    mailbox.make_room(weight, 1).count() == 0 && taken
}
