"""Boots a kernel in QEMU with our programs as all there is, and brings back what they said.

The guest's first process is
benches/src/bin/guest; it runs the tasks of a plan and reports on the second serial port, one JSON
object per line.
"""

import functools
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time

from suite.kernels import emulator
from suite.kernels.images import Missing
from suite.machine import ROOT

TARGET = "x86_64-unknown-linux-gnu"
PACKAGES = ["ringbolt", "ringbolt-loadgen", "ringbolt-benches"]
PROGRAMS = ["engine", "loadgen", "bare", "guest"]
# Without the flags that make the kernel copy and clear byte by byte: the emulator counts each round of
# a repeated string instruction as one.
EMULATED_CPU = "max,-erms,-fsrm"
MEMORY = "1G"
SEED = 1
# With hardware virtualisation a kernel starts in a few seconds, or not at all.
KVM_START = 60
# Addresses that do not move, and no self-tests of ciphers beside what is measured.
COMMAND_LINE = "console=ttyS0 quiet panic=-1 nokaslr norandmaps cryptomgr.notests"


class Failed(Exception):
    """A boot that did not do what it was told; the text says what is known."""


class Boot:
    """What a guest said."""

    def __init__(self, lines, seconds, counts):
        self.about, self.lines, self.seconds, self.counts = lines[0], lines, seconds, counts
        self.results = {}
        for line in lines:
            if "task" in line:
                self.results.setdefault(line["task"], []).append(line)


def doctor_of(program):
    """What the engine says here of its drivers and the ring's features; of guests only the names say something."""
    return json.loads(subprocess.run([program, "doctor", "--json"], capture_output=True, text=True).stdout)


@functools.cache
def drivers_of(program):
    """The names of the engine's drivers."""
    return [row["name"] for row in doctor_of(program)["drivers"]]


def build():
    """Builds the programs that run in guests: name -> path."""
    if not shutil.which("cargo"):
        raise Missing("cargo is missing, and the guest's programs must be built")
    if platform.machine() != "x86_64":
        raise Missing(f"the kernels are for x86_64, and this machine is {platform.machine()}")
    programs = [word for package in PACKAGES for word in ("-p", package)]
    programs += [word for name in PROGRAMS for word in ("--bin", name)]
    return cargo(programs)


def build_tests(names):
    """Builds tests that run in guests: name -> path.

    Apart: what only tests need would change the programs' dependencies, and so the programs. Without the command
    line, whose tests need a shell, and guests have none.
    """
    if not names:
        return {}
    wanted = [word for name in sorted(names) for word in ("--test", name)]
    return cargo(["-p", PACKAGES[0], "--no-default-features", "--features", "tls,tokio-uring", *wanted])


def cargo(wanted):
    """Builds what runs without a library beside it: name -> path."""
    command = ["cargo", "build", "--profile", "guest", "--locked", "--target", TARGET,
               "--message-format", "json-render-diagnostics", *wanted]
    flags = (os.environ.get("RUSTFLAGS", "") + " -C target-feature=+crt-static").strip()
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "RUSTFLAGS": flags},
                          stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failed("the guest's programs do not build; cargo says above why")
    found = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            found[message["target"]["name"]] = message["executable"]
    return found


def digests(programs):
    """name -> SHA-256 of each program."""
    found = {}
    for name, path in sorted(programs.items()):
        with open(path, "rb") as file:
            found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


def emulator_version():
    """What the emulator calls itself."""
    out = subprocess.run([*emulator.command(), "--version"], capture_output=True, text=True).stdout
    return out.splitlines()[0].strip()


def check_kvm():
    """Raises if there is no hardware virtualisation."""
    if not os.path.exists("/dev/kvm"):
        raise Missing("--kvm needs hardware virtualisation, and there is no /dev/kvm here: the CPU or "
                      "the hypervisor above does not give it, or the module kvm is not loaded. "
                      "Without --kvm instructions are counted, which needs nothing of the sort")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Missing("--kvm needs to open /dev/kvm, which this user may not; the group kvm may")


def try_kvm(image, programs):
    """Raises if a kernel does not even start: some /dev/kvm are for other guests than these."""
    try:
        boot(image, {"guest": programs["guest"]}, {"tasks": []}, KVM_START, kvm=True)
    except Failed as error:
        raise Missing(f"this machine has a /dev/kvm, but an ordinary kernel does not come up with it in "
                      f"{KVM_START} s: {error}\nWithout --kvm instructions are counted, which needs "
                      "nothing of the sort") from None


def initramfs(files):
    """An archive in the newc form of cpio, the same bytes for the same files."""
    parts = []

    def add(name, mode, data=b"", device=(0, 0)):
        fields = [len(parts) + 1, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        head += b"\0" * (-len(head) % 4)
        parts.append(head + data + b"\0" * (-len(data) % 4))

    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"]:
        add(folder, 0o040755)
    # A kernel that does not fill /dev by itself starts its first process with these.
    add("dev/console", 0o020600, device=(5, 1))
    add("dev/null", 0o020666, device=(1, 3))
    for name, (mode, data) in sorted(files.items()):
        add(name, 0o100000 | mode, data)
    add("TRAILER!!!", 0)
    return b"".join(parts)


def contents(programs, plan):
    """The files of a guest."""
    files = {"etc/hosts": (0o644, b"127.0.0.1 localhost\n::1 localhost\n"),
             "plan.json": (0o644, json.dumps(plan).encode())}
    for name, path in programs.items():
        with open(path, "rb") as file:
            files["init" if name == "guest" else f"bin/{name}"] = (0o755, file.read())
    return files


def command_of(image, folder, kvm, seed, counter):
    """The command that boots. A counter is a plugin and the address that it takes for its mark."""
    command = [*emulator.command(), "-machine", "q35", "-smp", "1", "-m", MEMORY, "-nodefaults",
               "-display", "none", "-no-reboot", "-seed", str(seed),
               "-serial", f"file:{folder}/console", "-serial", f"file:{folder}/report",
               "-kernel", image.path, "-initrd", f"{folder}/initramfs", "-append", COMMAND_LINE]
    if kvm:
        return [*command, "-accel", "kvm", "-cpu", "host"]
    # One nanosecond of the guest's time per instruction, and time that passes at once while it is
    # idle: nothing of the host's clock gets in.
    if counter:
        command += ["-plugin", f"{counter[0]},out={folder}/counts,mark={counter[1]:x}"]
    return [*command, "-accel", "tcg", "-cpu", EMULATED_CPU, "-icount", "shift=0,sleep=off",
            "-rtc", "base=2026-01-01T00:00:00,clock=vm"]


def boot(image, programs, plan, seconds, kvm=False, seed=SEED, counter=None):
    """Boots a kernel that runs a plan; raises Failed if it does not come to the plan's end."""
    with tempfile.TemporaryDirectory(prefix="ringbolt-kernel-") as folder:
        with open(f"{folder}/initramfs", "wb") as file:
            file.write(initramfs(contents(programs, plan)))
        began, late, said = time.monotonic(), False, ""
        process = subprocess.Popen(command_of(image, folder, kvm, seed, counter), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        took = time.monotonic() - began
        console, report, counts = (read(f"{folder}/{name}")
                                   for name in ["console", "report", "counts"])
    lines = []
    for line in report.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break  # cut off
    if late or not lines or not lines[-1].get("done"):
        end = f"was ended after {seconds} s" if late else f"ended, code {process.returncode}"
        tail = "\n".join((said + console).strip().splitlines()[-15:]) or "nothing"
        at = next((line["task"] for line in reversed(lines) if "task" in line), "none")
        raise Failed(f"kernel {image.version} {end} before its plan was done; last task: {at}; it "
                     f"said:\n{tail}")
    return Boot(lines, took, counts)


def read(path):
    """The text of a serial port."""
    try:
        with open(path, "rb") as file:
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.replace("\r", ""))
