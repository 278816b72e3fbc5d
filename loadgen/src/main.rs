//! An open-loop WebSocket load generator.
fn main() {}
