"""Other people's implementations: packages and crates, fetched into the target folder once."""

import os
import shutil
import subprocess
import sys

from suite.machine import ROOT, target

CRATES = ["tungstenite", "fastwebsockets", "tokio-websockets", "yawc"]
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
PACKAGES = {"websockets": "websockets==15.0.1", "hdrh": "hdrhistogram==0.10.8", "PIL": "pillow==12.0.0"}
WS = "ws@8.23.0"


def has_gem(name):
    """Whether Ruby has it."""
    return bool(shutil.which("ruby")) and quiet("ruby", "-e", f"require '{name}'")[0]


def has_browser():
    """Whether a page can be opened."""
    return any(map(shutil.which, BROWSERS))


def quiet(*command, **more):
    """Whether a command does not fail, and what it says."""
    try:
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False, **more)
    except OSError as error:
        return False, str(error)
    return done.returncode == 0, done.stdout.strip()


class Foreign:
    """What there is; of what there is not, a line tells."""

    def __init__(self, skip):
        self.skip, self.tools = skip, os.path.join(target(), "interop")
        os.makedirs(self.tools, exist_ok=True)
        self.websockets = self.python("websockets", "python websockets")
        self.hdr = self.python("hdrh", "python hdrhistogram")
        self.pillow = self.python("PIL", "python pillow")
        self.ws = self.npm()
        self.rust = os.path.join(self.tools, "rust", "debug")
        self.crates, self.yawc = self.cargo()

    def python(self, module, what):
        """An interpreter that has a package; None without."""
        venv = os.path.join(self.tools, "venv")
        program = os.path.join(venv, "bin", "python")
        if not os.access(program, os.X_OK):
            good, said = quiet(sys.executable, "-m", "venv", venv)
            if not good:
                return self.lacking(what, said)
        if not quiet(program, "-c", f"import {module}")[0]:
            good, said = quiet(program, "-m", "pip", "--quiet", "install", PACKAGES[module])
            if not good or not quiet(program, "-c", f"import {module}")[0]:
                return self.lacking(what, said)
        return program

    def lacking(self, what, said):
        """Says that something is missing."""
        self.skip(f"{what}, it cannot be installed ({(said.splitlines() or [''])[-1]})")

    def npm(self):
        """The folder that has the package ws; None without."""
        if not shutil.which("node"):
            self.skip("npm ws, node is not installed")
            return None
        modules = os.path.join(self.tools, "node_modules")
        if not os.path.isdir(os.path.join(modules, "ws")):
            good, said = quiet("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", self.tools, WS)
            if not good:
                return self.lacking("npm ws", said)
        return modules

    def cargo(self):
        """The crates that can be built, and the client of yawc.

        All are built at once, where what they share is built once; if that fails, each alone.
        """
        found, yawc, (whole, _) = [], None, self.build(CRATES)
        for crate in CRATES:
            good, said = (True, "") if whole else self.build([crate])
            if not good:
                why = next((line for line in said.splitlines() if line.startswith("error")), said.split("\n")[-1])
                self.skip(f"{crate}, it cannot be built ({why})")
            elif crate == "yawc":
                yawc = os.path.join(self.rust, "yawc-client")
            else:
                found.append(crate)
        return found, yawc

    def build(self, crates):
        """Their clients, and their servers, in debug: they are built once and run for seconds."""
        servers = [word for crate in crates if crate != "yawc" for word in ("-p", f"peer-{crate}")]
        return quiet("cargo", "build", "--quiet", "--locked", "--manifest-path", "benches/peers/Cargo.toml",
                     "--target-dir", os.path.dirname(self.rust), "-p", "peers-interop", "--features", ",".join(crates),
                     *servers)
