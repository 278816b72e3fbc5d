//! The echo and broadcast backend.
fn main() {}
