//! What the benches and the counter of instructions share: the operations that are worth counting.

pub mod operations;
