//! The only module with `unsafe`.

pub(crate) mod simd;
