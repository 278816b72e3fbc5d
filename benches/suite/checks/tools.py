"""What steps need: installed where that can be done, or unpacked where installing would cost something else."""

import glob
import os
import shutil
import subprocess

from suite.checks.session import StepFailed
from suite.kernels import unpacked
from suite.kernels.images import Missing, cache
from suite.machine import ROOT

# Below the tree; what a release has there in versions of its own is found by its form.
LIBRARIES = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/pulseaudio"]
RUBY = ["usr/lib/ruby/[0-9]*", "usr/lib/x86_64-linux-gnu/ruby/[0-9]*", "usr/lib/ruby/vendor_ruby",
        "usr/lib/x86_64-linux-gnu/ruby/vendor_ruby/[0-9]*"]
GEMS = ["usr/share/rubygems-integration/*"]


def found_in(tree, forms):
    """The folders of a tree that have these forms."""
    return [path for form in forms for path in sorted(glob.glob(os.path.join(tree, form)))]


class Tool:
    """Something that a step needs: how it is seen to be there, and the packages of Debian that have it.

    Programs that work where they are unpacked have their path there, and what they need in their environment.
    """

    def __init__(self, probe, *packages, programs=None, **environment):
        self.probe, self.packages = probe, packages
        self.programs, self.environment = programs or {}, environment

    def is_here(self):
        """Whether it can be used."""
        return subprocess.run(["bash", "-c", self.probe], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True,
                              check=False).returncode == 0

    def wrap(self, tree, folder):
        """Leaves programs in a folder that start those of an unpacked tree."""
        os.makedirs(folder, exist_ok=True)
        words = {"LD_LIBRARY_PATH": LIBRARIES, **self.environment}
        setting = " ".join(f"{name}='{':'.join(found_in(tree, forms))}'" for name, forms in words.items())
        for name, place in self.programs.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(f"#!/bin/sh\nexec env {setting} '{tree}/{place}' \"$@\"\n")
            os.chmod(file.name, 0o755)

    def unpack(self):
        """Takes it from packages that are unpacked beside the kernels; Missing says why that cannot be done."""
        tree = os.path.join(cache(), "tools", unpacked.release(), self.packages[0])
        programs = os.path.join(tree, "programs")

        def works(folder):
            lacking = [place for place in self.programs.values() if not os.path.exists(os.path.join(folder, place))]
            return f"it has no {lacking[0]}" if lacking else None

        if works(tree) is not None:
            # The system's own loader goes with the system's own C library.
            unpacked.fetch(tree, list(self.packages), works, left_out=("libc6",))
        self.wrap(tree, programs)
        os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
        if not self.is_here():
            raise Missing("it was unpacked and does not start")


TOOLS = {
    "cc": Tool("command -v cc", "gcc", "libc6-dev"),
    "c++": Tool("command -v c++", "g++"),
    "python": Tool("python3 -c 'import ensurepip'", "python3", "python3-venv"),
    "node": Tool("command -v node && command -v npm", "nodejs", "npm"),
    "openssl": Tool("command -v openssl", "openssl", programs={"openssl": "usr/bin/openssl"}),
    "taskset": Tool("command -v taskset && command -v chrt", "util-linux"),
    "chromium": Tool("command -v chromium || command -v google-chrome", "chromium",
                     programs={"chromium": "usr/lib/chromium/chromium"}, FONTCONFIG_PATH=["etc/fonts"]),
    "ruby": Tool("ruby -e 'require %q(em-websocket); require %q(websocket)'", "ruby", "ruby-em-websocket",
                 "ruby-websocket", programs={"ruby": "usr/bin/ruby"}, RUBYLIB=RUBY,
                 GEM_PATH=GEMS),
    "valgrind": Tool("valgrind --version", "valgrind", programs={"valgrind": "usr/bin/valgrind.bin"},
                     VALGRIND_LIB=["usr/libexec/valgrind"]),
}
# What each step needs besides a compiler of C.
NEEDED = {"python": ["python"], "bench": ["taskset", "openssl", "valgrind", "node"], "fuzz": ["c++"],
          "interop": ["python", "node", "openssl", "chromium", "ruby"]}


class Provider:
    """Provides tools, once each."""

    def __init__(self, session):
        self.session, self.is_fresh, self.asked = session, False, set()

    def provide(self, steps):
        """What these steps need. What is missing is reported, and the step goes on without it."""
        for name in ["cc", *(name for step in steps for name in NEEDED.get(step, []))]:
            if name not in self.asked:
                self.asked.add(name)
                self.one(TOOLS[name])

    def one(self, tool):
        """One of them: as it is, installed, or unpacked."""
        if tool.is_here():
            return
        names = " ".join(tool.packages)
        if not shutil.which("apt-get"):
            self.session.skip(f"what needs {names}, which must be installed: this machine has no apt-get")
        elif not (self.install(tool) or self.unpack(tool)):
            root = "could not be installed" if os.geteuid() == 0 else "must be installed, which needs root on Debian"
            self.session.skip(f"what needs {names}, which {root}")

    def install(self, tool):
        """Installs its packages beside what is there: what conflicts with that is not worth its loss."""
        if os.geteuid() != 0:
            return False
        if not self.is_fresh:
            self.apt("update", "-qq")
            self.is_fresh = True
        return self.apt("install", "-y", "-qq", "--no-install-recommends", "--no-remove",
                        *tool.packages) == 0 and tool.is_here()

    def apt(self, *arguments):
        """The exit code of apt-get."""
        return self.session.run("apt-get", *arguments, must=False, quiet=True, DEBIAN_FRONTEND="noninteractive")

    def unpack(self, tool):
        """Unpacks its packages, if what is in them works anywhere."""
        if not tool.programs:
            return False
        try:
            tool.unpack()
        except Missing as error:
            self.session.say(f"unpacking {tool.packages[0]}: {error}")
            return False
        self.session.say(f"unpacked, since it is not installed: {' '.join(tool.packages)}")
        return True


def cargo(session):
    """Makes cargo findable, or ends."""
    home = os.environ.get("CARGO_HOME", os.path.join(os.path.expanduser("~"), ".cargo"))
    if not shutil.which("cargo"):
        os.environ["PATH"] += os.pathsep + os.path.join(home, "bin")
    if not shutil.which("cargo"):
        with open(os.path.join(ROOT, "Cargo.toml"), encoding="utf-8") as file:
            version = next((line.split('"')[1] for line in file if line.startswith("rust-version")), "")
        session.say(f"cargo is not installed; Rust {version} or later is needed")
        raise StepFailed
