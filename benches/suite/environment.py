"""Prints what a figure depends on besides the program: kernel, CPU, limits, settings, load.

One fact a line.
"""

import argparse
import collections
import os
import platform
import re
import resource
import subprocess
import sys

# Of the kernel's command line only what changes speed: the rest is nobody's business.
MATTERS = re.compile(r"(mitigations|isolcpus|nohz|nohz_full|rcu_nocbs|idle|preempt|intel_idle|processor|"
                     r"transparent_hugepage|hugepages|threadirqs|skew_tick|tsc|clocksource|psi|cpuidle)")
SETTINGS = ["kernel/io_uring_disabled", "net/core/somaxconn", "net/ipv4/ip_local_port_range",
            "net/ipv4/tcp_congestion_control", "net/ipv4/tcp_rmem", "net/ipv4/tcp_wmem"]
FLAWS = "/sys/devices/system/cpu/vulnerabilities"
GOVERNOR = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"


def read(path, otherwise=""):
    """The text of a small file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return otherwise


def field(text, name):
    """The values of a field of /proc/cpuinfo or /proc/meminfo."""
    return re.findall(rf"^{name}\s*: *(.*)$", text, re.M)


def processor(text):
    """How many CPUs there are of which model, of the first one."""
    models = collections.Counter(field(text, "model name"))
    return next((f"{count} {model}" for model, count in sorted(models.items())), "")


def limit(value):
    """A limit as a shell shows it."""
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def compiler():
    """What rustc calls itself."""
    try:
        return subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def facts():
    """All of them: a name and a value each."""
    about, cpus = platform.uname(), read("/proc/cpuinfo")
    soft, hard = map(limit, resource.getrlimit(resource.RLIMIT_NOFILE))
    locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    locked = locked if locked == resource.RLIM_INFINITY else locked // 1024
    yield "kernel", f"{about.system} {about.release} {about.version} {about.machine}"
    yield "command line, what matters", " ".join(filter(MATTERS.match, read("/proc/cmdline").split()))
    yield "cpu", processor(cpus)
    yield "hypervisor flag", "yes" if re.search(r"\bhypervisor\b", cpus) else "no"
    yield "memory", "".join(field(read("/proc/meminfo"), "MemTotal"))
    yield "rustc", compiler()
    yield "open files", f"{soft} soft, {hard} hard; locked memory: {limit(locked)} KiB"
    for key in SETTINGS:
        value = read(f"/proc/sys/{key}")
        if value:
            yield f"sysctl {key}", " ".join(value.split())
    for name in sorted(os.listdir(FLAWS)) if os.path.isdir(FLAWS) else []:
        yield f"vulnerability {name}", read(os.path.join(FLAWS, name))
    yield "governor", read(GOVERNOR, "unknown")
    yield "load average", read("/proc/loadavg")
    yield "cpu ticks", read("/proc/stat").split("\n")[0]


def text():
    """All facts, one a line."""
    return "\n".join(f"{name}: {value}" for name, value in facts())


def main():
    """Prints them."""
    argparse.ArgumentParser(prog="scripts/environment", description=__doc__).parse_args()
    print(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
