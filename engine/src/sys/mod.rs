//! The only module with `unsafe`.
