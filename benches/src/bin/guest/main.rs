//! The first and only process of a kernel under test (`scripts/kernels`): runs a plan and powers off.
//!
//! The plan is the file `/plan.json` of the initramfs. What came of it goes out as one JSON object
//! per line on the second serial port, so that what the kernel says on the first cannot get into it.
//! The last line is `{"done": true}`: a kernel that panics or hangs cannot look like one that is well.

mod counts;
mod machine;
mod plan;
mod runner;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use plan::Plan;

const PLAN: &str = "/plan.json";
const REPORT: &str = "/dev/ttyS1";

fn main() -> ExitCode {
    if std::process::id() != 1 {
        complain(
            "this is the first process of a kernel under test; scripts/kernels boots one with it",
        );
        return ExitCode::from(2);
    }
    if let Err(what) = conduct() {
        complain(&what);
    }
    machine::power_off()
}

fn conduct() -> Result<(), String> {
    machine::set_up()?;
    let file = OpenOptions::new().write(true).open(REPORT);
    let mut port = file.map_err(|e| format!("{REPORT}: {e}"))?;
    let mut report = |line: &Value| {
        let written = writeln!(port, "{line}");
        written.map_err(|e| format!("{REPORT}: {e}"))
    };
    report(&json!({
        "kernel": machine::release(),
        "cpu": machine::cpu(),
        "clock": machine::clock(),
        "command_line": fs::read_to_string("/proc/cmdline").unwrap_or_default().trim(),
    }))?;
    let text = fs::read_to_string(PLAN).map_err(|e| format!("{PLAN}: {e}"))?;
    let plan: Plan = serde_json::from_str(&text).map_err(|e| format!("{PLAN}: {e}"))?;
    if plan.symbols {
        report(&json!({ "symbols": machine::symbols()? }))?;
    }
    if plan.wait_until_quiet {
        report(&json!({ "quiet_after_seconds": machine::wait_until_quiet() }))?;
    }
    for task in &plan.tasks {
        runner::run(task, &mut report)?;
    }
    report(&json!({ "done": true }))?;
    machine::drain(&port);
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the console is all there is")]
fn complain(what: &str) {
    eprintln!("guest: {what}");
}
