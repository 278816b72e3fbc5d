//! The bare servers that set the floor, and what the benches share.
