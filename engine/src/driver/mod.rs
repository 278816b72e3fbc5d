//! Loops that talk to the kernel: wait, feed completions to a machine, submit what it wants.
//!
//! A driver knows no opcode, no frame and no role; what the bytes mean is the machine's business.

mod accept;
mod connection;
pub(crate) mod doctor;
mod epoll;
mod fallback;
#[cfg(feature = "tokio-uring")]
mod tokio_uring;
pub(crate) mod uring;

pub(crate) use accept::Listener;
pub(crate) use fallback::Loop;

use crate::conn::Reassembly;
use crate::shard::send::Transmit;

/// The ring of a shard.
type Ring = crate::sys::ring::Ring<Transmit, Reassembly>;

/// More output than this is sent in the middle of a turn, so that memory stays bounded.
const TURN_BYTES: usize = 4 << 20;
/// Most bytes of one read into a message's own memory.
const DIRECT_READ_BYTES: u64 = 256 << 10;
