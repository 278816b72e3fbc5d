//! Where a run took place: what of the machine and the kernel changes the numbers.
//!
//! One group per thing that [`crate::present::compare`] tells apart. Values that the kernel does not tell
//! are `null`.

mod cpu;
mod kernel;
mod limits;
mod machine;
mod network;
mod placement;
mod uring;

use ringbolt::SelectedDriver;
use serde_json::{Value, json};

use crate::base::files::Files;
use crate::plan::Plan;

pub(crate) use kernel::whole_config as kernel_config;
pub(crate) use machine::Busy;

/// The machine of the run, and how busy it was at its start and end.
pub(crate) fn value(
    plan: &Plan,
    driver: Option<&SelectedDriver>,
    before: &Busy,
    after: &Busy,
) -> Value {
    let files = Files::of_this_machine();
    json!({
        "kernel": kernel::value(&files),
        "io_uring": uring::value(&files, driver),
        "cpu": cpu::value(&files),
        "machine": machine::value(&files, before, after),
        "network": network::value(&files, plan.address.ip()),
        "limits": limits::value(&files, plan.file_limit),
        "placement": placement::value(&files, plan),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{Busy, Files, cpu, kernel, limits, machine, network};

    /// Every group of a machine of which nothing is known.
    fn groups(files: &Files) -> [Value; 5] {
        let target = "127.0.0.1".parse().expect("an address");
        let busy = Busy::read(files);
        [
            kernel::value(files),
            cpu::value(files),
            machine::value(files, &busy, &busy),
            network::value(files, Some(target)),
            limits::value(files, 7),
        ]
    }

    #[test]
    fn the_kernel_says_what_it_is() {
        let [kernel, cpu, _, _, limits] = groups(&Files::of_this_machine());
        assert!(kernel["release"].as_str().is_some_and(|text| text.contains('.')), "{kernel}");
        assert!(cpu["usable"].as_u64().is_some_and(|n| n > 0), "{cpu}");
        assert_eq!(limits["open_files_of_run"], 7);
    }

    #[test]
    fn a_machine_without_files_is_full_of_nulls_and_has_the_same_keys() {
        let real = groups(&Files::of_this_machine());
        for (real, bare) in real.iter().zip(groups(&Files::below("/nowhere/at/all"))) {
            let keys = |value: &Value| -> Vec<String> {
                value.as_object().expect("a group").keys().cloned().collect()
            };
            assert_eq!(keys(real), keys(&bare));
        }
    }

    #[test]
    fn files_full_of_nonsense_do_no_harm() {
        let root = std::env::temp_dir().join(format!("loadgen-files-{}", std::process::id()));
        let names = [
            "proc/cpuinfo",
            "proc/meminfo",
            "proc/stat",
            "proc/loadavg",
            "proc/self/limits",
            "proc/self/status",
            "proc/self/cgroup",
            "proc/cmdline",
            "proc/net/route",
            "proc/config.gz",
            "proc/sys/kernel/osrelease",
            "sys/devices/system/cpu/smt/active",
        ];
        for junk in [&b""[..], b"\xff\xfe\x00:", b"a:b:c [", b"cpu x y z\nlo 0 0 zz\n", b"\n: \n"] {
            for name in names {
                let path = root.join(name);
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                std::fs::write(path, junk).expect("written");
            }
            groups(&Files::below(&root));
        }
        std::fs::remove_dir_all(root).expect("removed");
    }
}
