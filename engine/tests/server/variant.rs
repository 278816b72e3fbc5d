//! Which variant of the engine the tests of this program are about: a driver, and the features of its
//! ring. The environment says which, so that one program serves for all of them, by hand, in other
//! kernels and when it runs itself again.

use std::process::{Command, Stdio};

use ringbolt::{Config, Driver};

/// A driver's name.
pub(crate) const DRIVER: &str = "RINGBOLT_TEST_DRIVER";
/// A list as `--ring-features` takes it.
pub(crate) const RING_FEATURES: &str = "RINGBOLT_TEST_RING_FEATURES";

/// Tests that run others again, or that a variant changes nothing about.
const ELSEWHERE: [&str; 4] = ["combinations::", "drivers::", "switches::", "process::"];

/// The settings of this variant.
pub(crate) fn settings() -> Config {
    Config::new().with(|config| {
        config.driver = match std::env::var(DRIVER) {
            Ok(name) => name.parse().expect("a driver"),
            Err(_) => Driver::Uring,
        };
        if let Ok(features) = std::env::var(RING_FEATURES) {
            config.ring.features = features.parse().expect("a list of features");
            config.ring.zero_copy_bytes = 1 << 10;
        }
    })
}

/// Runs this program again as another variant, without the tests of these names.
#[track_caller]
pub(crate) fn run_again(variant: &[(&str, &str)], skipped: &[&str]) {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.arg("--quiet").args(["--test-threads", "4"]).stdin(Stdio::null());
    command.envs(variant.iter().copied());
    for name in ELSEWHERE.iter().chain(skipped) {
        command.args(["--skip", name]);
    }
    let output = command.output().expect("it runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success() && !said.contains("running 0 tests"),
        "with {variant:?} in the environment: {}\n{said}\n{errors}",
        output.status
    );
}
