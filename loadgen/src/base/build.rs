//! How this program was built.

use serde_json::{Value, json};

/// The program itself; empty facts of its build are `null`.
pub(crate) fn tool() -> Value {
    let known = |text: &'static str| (!text.is_empty()).then_some(text);
    json!({
        "name": "loadgen",
        "version": env!("CARGO_PKG_VERSION"),
        "commit": known(env!("LOADGEN_BUILD_COMMIT")),
        "uncommitted_changes": known(env!("LOADGEN_BUILD_DIRTY")).map(|text| text == "true"),
        "profile": known(env!("LOADGEN_BUILD_PROFILE")),
        "target": known(env!("LOADGEN_BUILD_TARGET")),
        "target_features": known(env!("LOADGEN_BUILD_FEATURES")),
        "rustc": known(env!("LOADGEN_BUILD_RUSTC")),
        "cargo_lock_sha1": known(env!("LOADGEN_BUILD_LOCK")),
        "allocator": "system",
    })
}
