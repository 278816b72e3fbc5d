"""The steps of scripts/test."""

import filecmp
import glob
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

from suite.checks import smoke
from suite.machine import ROOT, target

TOOLS = os.path.join(ROOT, "benches", "suite", "tools.txt")
BENCHES = os.path.join(ROOT, "benches")
SETTINGS = os.path.join(BENCHES, "pyproject.toml")
SIM = ["-p", "ringbolt", "--no-default-features", "--features", "sim", "--profile", "sim", "--locked"]
MINUTE = 60
# All checks are to be done in 25 minutes on two CPUs: a whole run that took longer than this until then does less.
SHORT_AFTER, NONE_AFTER = 16 * MINUTE, 20 * MINUTE
COSTS_ON = ["5.10", "6.12", "7.3"]


def component(session, name, *probe):
    """A part of the toolchain that a minimal installation lacks."""
    if session.run(*probe, must=False, quiet=True) != 0:
        session.run("rustup", "component", "add", name)


def fmt(session):
    """The sources are formatted."""
    with session.section("fmt: cargo fmt --check"):
        component(session, "rustfmt", "cargo", "fmt", "--version")
        session.run("cargo", "fmt", "--all", "--check")


def clippy(session):
    """No lint fires, with and without the default features."""
    component(session, "clippy", "cargo", "clippy", "--version")
    with session.section("clippy: the workspace, all targets"):
        session.run("cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings")
    with session.section("clippy: the library without its default features"):
        session.run("cargo", "clippy", "-p", "ringbolt", "--no-default-features", "--locked", "--", "-D", "warnings")


def python(session):
    """Tests, lints and types of the suite."""
    with session.section("python: tests of the suite"):
        session.run(sys.executable, "-m", "unittest", "discover", "-s", "suite/tests", "-t", ".", where=BENCHES)
    place = os.path.join(target(), "suite")
    if not fetched(session, place):
        session.skip("ruff and mypy, which could not be fetched")
        return
    with session.section("python: ruff"):
        session.run(os.path.join(place, "bin", "ruff"), "check", "--config", SETTINGS, "benches/suite", *launchers(),
                    RUFF_CACHE_DIR=os.path.join(place, "ruff"))
    with session.section("python: mypy"):
        session.run(os.path.join(place, "bin", "mypy"), "--config-file", SETTINGS, where=BENCHES,
                    MYPY_CACHE_DIR=os.path.join(place, "mypy"))


def launchers():
    """The programs in scripts/ that are Python."""
    found = []
    for path in sorted(glob.glob(os.path.join(ROOT, "scripts", "*"))):
        with open(path, encoding="utf-8") as file:
            if "python3" in file.readline():
                found.append(path)
    return found


def fetched(session, place):
    """Whether the tools that tools.txt names, in those versions, are in a virtual environment of the target folder."""
    stamp = os.path.join(place, "tools.txt")
    if os.path.exists(stamp) and filecmp.cmp(TOOLS, stamp, shallow=False):
        return True
    with session.section("python: fetching ruff and mypy"):
        pip = [os.path.join(place, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if (session.run(sys.executable, "-m", "venv", "--clear", place, must=False)
                or session.run(*pip, "-r", TOOLS, must=False)):
            return False
        shutil.copyfile(TOOLS, stamp)
        return True


def test(session):
    """Unit, integration and property tests, the tidy checks, doc tests."""
    with session.section("test: unit, integration and property tests, doc tests"):
        session.run("cargo", "test", "--workspace", "--locked", "--no-fail-fast")


def sim(session):
    """The simulator: seeds that once failed, a few thousand that nobody has seen, every mended fault put back."""
    with session.section("sim: clippy"):
        session.run("cargo", "clippy", *SIM, "--lib", "--example", "sim", "--test", "sim", "--", "-D", "warnings")
    with session.section("sim: seeds that once failed"):
        session.run("cargo", "test", *SIM, "--test", "sim")
    with session.section("sim: seeds that nobody has seen"):
        seeds = ["--seeds", os.environ.get("RINGBOLT_SIM_SEEDS", "5000"), "--from", str(random.randrange(1 << 35))]
        session.say(" ".join(["scripts/sim", *seeds]))
        session.run("scripts/sim", *seeds)
    with session.section("sim: every mended fault, put back"):
        session.run("scripts/sim", "--prove", "--seeds", "10000")


def doc(session):
    """The documentation builds without a warning."""
    with session.section("doc: cargo doc"):
        session.run("cargo", "doc", "--workspace", "--no-deps", "--locked", RUSTDOCFLAGS="-D warnings")


def bench(session):
    """The benches build and run once, in the profile of the tests: whether they run is asked here, not how fast."""
    with session.section("bench: every bench, once"):
        session.run("cargo", "bench", "-p", "ringbolt-benches", "--profile", "dev", "--locked", "--", "--test")
    with session.section("bench: instructions per operation, beside the baseline"):
        session.run("scripts/instructions")
    with session.section("bench: a small plan, interrupted, resumed and compared"):
        smoke.bench(session)
    with session.section("bench: a soak of some seconds"):
        smoke.soak(session)
    with session.section("bench: two peers and a server that runs already beside the engine, one short round"):
        smoke.peers(session)
    with session.section("bench: a neighbour beside those who want much, one short window each"):
        smoke.fairness(session)


def model(session):
    """The hub's mailboxes, in every order in which threads may come to them."""
    with session.section("model: mailboxes, in every order in which threads may come"):
        manifest = ["--manifest-path", "engine/model/Cargo.toml"]
        session.run("cargo", "fmt", *manifest, "--check")
        session.run("cargo", "run", "--release", *manifest, "--locked")


def fuzz(session):
    """A bounded run of every fuzz target."""
    with session.section("fuzz: the fuzz crate builds"):
        session.run("cargo", "check", "--manifest-path", "engine/fuzz/Cargo.toml", "--locked")
    with session.section("fuzz: every target on mutated inputs"):
        session.run("cargo", "test", "--profile", "fuzz", "-p", "ringbolt", "--no-default-features", "--features",
                    "tls", "--test", "fuzz_smoke", "--locked", "--", "--nocapture",
                    RINGBOLT_FUZZ_RUNS=os.environ.get("RINGBOLT_FUZZ_RUNS", "100000"))


def interop(session):
    """The engine and the load generator against foreign implementations."""
    with session.section("interop: foreign implementations"):
        session.run("scripts/interop")


def kernels(session, whole=False):
    """Exact counts, so that the machine's other work does not matter; what has no kernel is skipped there."""
    suites, series = "brief", COSTS_ON
    if whole and session.elapsed() > SHORT_AFTER:
        session.skip(f"the drivers' tests on other kernels and costs on two of three, the other checks took "
                     f"{session.elapsed() / MINUTE:.0f} minutes here; `scripts/test kernels` runs them")
        suites, series = "none", COSTS_ON[-1:]
    with session.section("kernels: the drivers on five kernels"):
        drivers_on_kernels(session, suites)
    with session.section(f"kernels: what messages cost on {', '.join(series)}"):
        costs_on_kernels(session, series, "uring", "tokio-uring", "epoll", "bare-epoll")


def more_kernels(session):
    """The same with the drivers' usual tests, and all that is measured of the ring."""
    with session.section("more_kernels: tests of the drivers on five kernels"):
        drivers_on_kernels(session, "usual")
    with session.section("more_kernels: what messages cost on three kernels"):
        costs_on_kernels(session, COSTS_ON)


def jobs():
    """One boot more than CPUs: the last of an odd number would else leave all but one without work."""
    return ["--jobs", str(len(os.sched_getaffinity(0)) + 1)]


def drivers_on_kernels(session, suites):
    """Their tests in guests."""
    session.run("scripts/kernels", "test", "--suites", suites, *jobs())


def costs_on_kernels(session, series, *servers):
    """What messages cost in guests.

    Seldom two boots come apart, by the same 0.4 % each time, more often on a busy machine; why is not known. What is
    measured then is refused, and measured again.
    """
    command = ["scripts/kernels", "bench", *jobs(), *(word for one in series for word in ("--series", one)),
               "--workload", "echo", "--shape", "lockstep", "--repeats", "1",
               *(word for one in servers for word in ("--server", one))]
    for tries in (1, 2, 3):
        if session.run(*command, must=tries == 3) == 0:
            return


def asan(session):
    """Unit tests, those of the server and of TLS, and the fuzz targets, with the address sanitizer.

    It is an option that only a nightly compiler takes, or one that is told to be like it. What is built so goes to a
    folder of its own: all of it differs.
    """
    about = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    host = next(iter(re.findall(r"^host: (.*)$", about, re.M)))
    with tempfile.TemporaryDirectory() as folder:
        # One test leaks for its purpose: what the kernel still reads when a ring ends.
        leaks = os.path.join(folder, "leaks")
        with open(leaks, "w", encoding="ascii") as file:
            file.write("leak:memory_that_the_kernel_still_reads_outlives_the_ring\n")
        around = {"RUSTC_BOOTSTRAP": "1", "RUSTFLAGS": "-Zsanitizer=address",
                  "CARGO_TARGET_DIR": os.path.join(target(), "asan"),
                  "LSAN_OPTIONS": f"suppressions={leaks}:print_suppressions=0"}
        command = ["cargo", "test", "--target", host, "-p", "ringbolt", "--locked"]
        with session.section("asan: unit tests, servers, TLS"):
            session.run(*command, "--no-fail-fast", "--lib", "--test", "server", "--test", "tls", **around)
        with session.section("asan: every fuzz target on mutated inputs"):
            session.run(*command, "--test", "fuzz_smoke", "--", "--nocapture", **around,
                        RINGBOLT_FUZZ_RUNS=os.environ.get("RINGBOLT_FUZZ_RUNS", "20000"))


ALL = [fmt, clippy, python, test, sim, doc, bench, model, fuzz, interop, kernels]
BY_NAME = [more_kernels, asan]
