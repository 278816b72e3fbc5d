//! What the benches need of the insides: the driver with nothing on top, and what lies on top
//! without a driver. No part of the promised interface.

use std::sync::Arc;
use std::time::Instant;

use crate::config::Config;
use crate::conn::{self, Inbound, Outbound, Role};
pub use crate::driver::uring::{Uring, serve_machine};
use crate::handler::Handler;
use crate::hub::Hub;
pub use crate::hub::Mailbox;
use crate::shard::Serve;
pub use crate::shard::machine::{Action, Machine, Next, Want};
pub use crate::shard::send::{Piece, Transmit};
pub use crate::shard::table::GENERATION_MASK;
pub use crate::shard::turn::{Chunk, Loan, Output, Turn};
use crate::wire::Dialect;

/// The name of a receive buffer, for machines that are driven from memory.
pub const LOAN: Loan = Loan(0);

/// A server's shard, to be driven from memory.
///
/// # Errors
///
/// The kernel has no doorbell left.
pub fn shard<H: Handler>(
    handler: H,
    config: Config,
    now: Instant,
) -> std::io::Result<impl Machine> {
    let mailbox = Mailbox::new(config.mailbox_entries)?;
    let hub = Arc::new(Hub { mailboxes: vec![Arc::new(mailbox)] });
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
pub fn settle(turn: &mut Turn, machine: &mut impl Machine) {
    turn.took_loan();
    turn.clear();
    machine.settled();
}
