"""Our programs: built, or found where --bin-dir says; and what the engine says of the machine."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys

from suite import NAME
from suite.machine import ROOT, CannotRun, target

ALL = ("ringbolt", "ringbolt-benches", "ringbolt-loadgen")
BENCHED = ("ringbolt", "ringbolt-loadgen")


def build(options, packages=ALL):
    """Builds the programs of these packages, and says where they are."""
    if options.bin_dir is None:
        if shutil.which("cargo") is None:
            raise CannotRun("cargo is missing; install Rust, or say with --bin-dir where the programs are")
        print(f"{NAME}: building (release)", file=sys.stderr, flush=True)
        chosen = [word for package in packages for word in ("-p", package)]
        done = subprocess.run(["cargo", "build", "--release", "--quiet", "--locked", "--bins", *chosen],
                              cwd=ROOT, check=False)
        if done.returncode != 0:
            raise CannotRun("the programs could not be built; cargo says above why")
        options.bin_dir = os.path.join(target(), "release")

    def program(name):
        path = os.path.join(options.bin_dir, name)
        if not os.access(path, os.X_OK):
            raise CannotRun(f"there is no {path}; build it, or leave --bin-dir out")
        return path

    options.program = program


def doctor(options):
    """What the engine says of this machine."""
    done = subprocess.run([options.program("engine"), "doctor", "--json"], capture_output=True,
                          text=True, check=False)
    # It also fails where something of the machine is too small; what it prints is whole.
    return json.loads(done.stdout)


def drivers(options):
    """The engine's drivers that work here, the one that `auto` takes first."""
    document = doctor(options)
    names = [driver["name"] for driver in document["drivers"] if driver["usable"]]
    return sorted(names, key=lambda name: name != document["auto"])


def check_drivers(options, names):
    """Ends where the engine has no driver of a name."""
    known = [driver["name"] for driver in doctor(options)["drivers"]]
    for name in names:
        if name not in known:
            raise CannotRun(f"the engine has no driver `{name}`; it has: {', '.join(known)}")


def usable_drivers(options):
    """The engine's drivers: the first choice, and for each why it does not work, or None."""
    document = doctor(options)
    return document["auto"], {driver["name"]: None if driver["usable"] else
                              driver["why_not"] or "not usable" for driver in document["drivers"]}


def identity(options, server_cpus, generator_cpus):
    """What must be the same for windows to stand in one table."""
    return {**digests(options), "server_cpus": server_cpus,
            "generator_cpus": generator_cpus}


def digests(options):
    """Engine and loadgen by what is in them, and the kernel that they run on."""
    found = {}
    for name in ("engine", "loadgen"):
        with open(options.program(name), "rb") as file:
            found[name] = hashlib.sha256(file.read()).hexdigest()
    return {**found, "kernel": platform.release()}
