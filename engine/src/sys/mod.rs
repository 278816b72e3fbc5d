//! The only module with `unsafe`.
//!
//! It offers safe functions; each `unsafe` block cites the promise that makes it sound.
//!
//! | | promise | kept by |
//! |---|---|---|
//! | **S1 stable** | memory given to the kernel neither moves nor is freed before its final completion | [`ring::Ring`] owns it or borrows it for the length of the call; what is sent without a copy until the kernel's notification |
//! | **S2 exclusive** | a receive buffer is either the kernel's or lent to one `&mut [u8]` | [`buffer_ring::BufferRing::lend`] borrows the ring mutably |
//! | **S3 one thread** | a ring is made, submitted to and drained on one thread | `Ring` is neither `Send` nor `Sync` |
//! | **S4 final** | a slot is used again only when the kernel has nothing of it; a stale completion is counted | `UserData` carries a generation, never a pointer |
//! | **S5 bounds** | an index or length from the kernel is checked before a slice is made of it | `lend` and `address` return `Option` |
//! | **S6 initialised** | no uninitialised byte is ever exposed | mappings are zeroed by the kernel, assemblies by us |
//! | **S7 ISA** | a routine compiled for an instruction set runs only after the CPU was asked | [`simd`] hands out a token |
//! | **S8 order of death** | cancel, reap, close the ring, then free the memory | `Ring`'s `Drop` and its field order |

pub(crate) mod batch;
pub(crate) mod buffer_ring;
pub(crate) mod clock;
pub(crate) mod counters;
pub(crate) mod features;
pub(crate) mod heap;
pub(crate) mod id;
pub(crate) mod lease;
pub(crate) mod look;
pub(crate) mod operation;
#[cfg(feature = "tokio-uring")]
pub(crate) mod owned;
mod receive;
pub(crate) mod ring;
pub(crate) mod simd;
pub(crate) mod socket;
pub(crate) mod spin;
pub(crate) mod waker;
