//! What threads share in a mailbox. `engine/model` has the same names of its own.

pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

pub(super) use crossbeam_queue::{ArrayQueue, SegQueue};
