//! Notes how the program is built: its result documents tell it.

use std::process::Command;
use std::{env, fs};

use sha1::{Digest as _, Sha1};

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name| env::var(name).ok();
    tell("TARGET", variable("TARGET"));
    tell("PROFILE", variable("PROFILE"));
    tell("FEATURES", variable("CARGO_CFG_TARGET_FEATURE"));
    tell("RUSTC", variable("RUSTC").and_then(|rustc| output(&rustc, &["--version"])));
    let lock = ["../Cargo.lock", "Cargo.lock"].into_iter().find_map(|path| {
        let bytes = fs::read(path).ok()?;
        println!("cargo::rerun-if-changed={path}");
        Some(Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
    });
    tell("LOCK", lock);
    // Where the history is not at hand, as in a package, nothing is claimed.
    if let Some(log) = output("git", &["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    tell("COMMIT", output("git", &["rev-parse", "HEAD"]));
    let changes = output("git", &["status", "--porcelain", "--untracked-files=no"]);
    tell("DIRTY", changes.map(|changes| (!changes.is_empty()).to_string()));
}

/// Empty for what is not known.
fn tell(name: &str, value: Option<String>) {
    println!("cargo::rustc-env=LOADGEN_BUILD_{name}={}", value.unwrap_or_default());
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let done = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(done.stdout).ok()?;
    done.status.success().then(|| text.trim().to_owned())
}
