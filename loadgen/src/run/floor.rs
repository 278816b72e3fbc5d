//! The floor that `loadgen calibrate` has measured: kept for this machine, kernel, program, driver and
//! spinning.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ringbolt::Driver;
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

use crate::base::build;
use crate::base::clock::Nanos;
use crate::base::failure::Failure;
use crate::base::files::Files;

/// The floor, as it is kept and as it stands in results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Floor {
    pub(crate) measured_utc: String,
    /// Round trips of one connection that has the machine to itself.
    pub(crate) round_trip_p50_ns: Nanos,
    pub(crate) round_trip_p99_ns: Nanos,
    /// How late the generator is on a schedule of thousands of messages per second.
    pub(crate) scheduling_delay_p50_ns: Nanos,
    pub(crate) scheduling_delay_p99_ns: Nanos,
    /// With many connections in a closed loop.
    pub(crate) generator_cpu_ns_per_message: f64,
    pub(crate) closed_loop_rate_per_s: f64,
    /// The longest that the generator's thread waited for its CPU, as a share of a run: what else ran
    /// there has raised the floor.
    pub(crate) waited_share: f64,
}

pub(crate) fn document(floor: &Floor) -> String {
    // A structure of numbers and text can always be written.
    serde_json::to_string_pretty(floor).unwrap_or_default() + "\n"
}

/// The floor that was measured with the same machine, kernel, program and settings; `None` if none was.
pub(crate) fn find(driver: Driver, spin: Duration) -> Option<Floor> {
    let bytes = fs::read(path(driver, spin)?).ok()?;
    serde_json::from_slice(&bytes).ok()
}

pub(crate) fn keep(driver: Driver, spin: Duration, floor: &Floor) -> Result<(), Failure> {
    let nowhere = |why: String| {
        Failure::preflight("cannot keep the calibration", why, "set XDG_STATE_HOME to a folder")
    };
    let path = path(driver, spin).ok_or_else(|| nowhere("there is no home folder".to_owned()))?;
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(&path, document(floor))
    };
    write().map_err(|e: std::io::Error| nowhere(format!("{}: {e}", path.display())))
}

/// Where it is kept: the XDG base directory for state.
fn path(driver: Driver, spin: Duration) -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    let key = key(&Files::of_this_machine(), driver, spin);
    Some(state.join("loadgen").join(format!("floor-{key}.json")))
}

/// What the floor depends on, in sixteen digits.
fn key(files: &Files, driver: Driver, spin: Duration) -> String {
    let facts = [
        files.line("etc/machine-id"),
        files.field("proc/cpuinfo", "model name"),
        files.line("proc/sys/kernel/osrelease"),
        files.line("proc/sys/kernel/version"),
        Some(build::tool().to_string()),
        Some(driver.name().to_owned()),
        Some(spin.as_nanos().to_string()),
    ];
    let facts: Vec<String> = facts.into_iter().map(Option::unwrap_or_default).collect();
    let digest = Sha1::digest(facts.join("\n"));
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringbolt::Driver;

    use super::key;
    use crate::base::files::Files;

    #[test]
    fn floors_are_told_apart_by_what_they_depend_on() {
        let root = std::env::temp_dir().join(format!("loadgen-floor-{}", std::process::id()));
        std::fs::create_dir_all(root.join("proc/sys/kernel")).expect("made");
        let release = root.join("proc/sys/kernel/osrelease");
        std::fs::write(&release, "6.18").expect("written");
        let files = Files::below(&root);
        let here = key(&files, Driver::Auto, Duration::ZERO);
        assert_eq!((here.len(), &here), (16, &key(&files, Driver::Auto, Duration::ZERO)));
        assert_ne!(here, key(&files, Driver::Epoll, Duration::ZERO));
        assert_ne!(here, key(&files, Driver::Auto, Duration::from_micros(50)));
        std::fs::write(&release, "6.12").expect("written");
        assert_ne!(here, key(&files, Driver::Auto, Duration::ZERO));
        std::fs::remove_dir_all(root).expect("removed");
    }
}
