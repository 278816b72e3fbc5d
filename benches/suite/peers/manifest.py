"""Other people's servers, each a folder below benches/peers with a peer.toml; its README.md says what stands there.

A server that is not available here raises Missing, and is left out in one line.
"""

import hashlib
import os
import re
import shutil
import subprocess

from suite.machine import ROOT, target
from suite.schema import PlanError, check_of, list_of, mapping, options_list, read, some_of, take, text, truth

PEERS = os.path.join(ROOT, "benches", "peers")
FETCH_LIMIT = 600  # seconds that fetching and building one of them may take
DIALECTS = ["rfc6455", "hybi-02"]
SCENARIOS = ["echo", "broadcast", "storm", "idle"]
# A file of the target folder that says of which files it was built.
STAMP = ".built-of"

KEYS = {
    "crate": (text(r"[a-z0-9_-]+", "the name of a crate, of which the folder is a program called peer-FOLDER"), None),
    "name": (text(r"[a-z0-9][a-z0-9._-]*", "a name of a-z, 0-9, `.`, `_` and `-`"), None),
    "about": (text(r"[^\n|]+", "a line of text without `|`"), None),
    "dialects": (some_of(DIALECTS), ["rfc6455"]),
    "needs": (list_of(bool, "names of programs"), []),
    "copy": (truth(), False),
    "build": ((lambda value: [options_list()[0](one) for one in check_of(list, value)],
               "a list of commands, each a list of texts"), []),
    "check": (options_list(), None),
    "run": (options_list(), None),
    "version": (mapping("file", "pattern", "command"), {}),
    "cannot": (mapping(*SCENARIOS), {}),
}


class Missing(Exception):
    """A server is not available here."""


def run(command, what, **more):
    """Runs a command that fetches or builds; Missing says why it failed."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=FETCH_LIMIT, check=False, **more)
    except FileNotFoundError:
        raise Missing(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Missing(f"{what} took more than {FETCH_LIMIT} s") from None
    if done.returncode != 0:
        said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        errors = [line for line in said if re.match(r"(?i)error|npm err|\w*Error:", line)]
        raise Missing(f"{what} failed: {(errors or said or ['without a word'])[0]}")
    return done.stdout


def listed(folder=PEERS):
    """The manifests of the peers that the list names, in its order."""
    path = os.path.join(folder, "peers.toml")
    names = read(path).get("peers")
    if not isinstance(names, list):
        raise PlanError(f"{path}: key `peers`: it is a list of folders beside it")
    return [Manifest(folder, name) for name in names]


def of_crate(crate, package):
    """What a manifest says that only names a crate: a program of the workspace benches/peers/Cargo.toml."""
    return {"name": crate, "about": f"crates.io, {crate}", "run": [f"{{cargo}}/release/{package}", "{work}"],
            "build": [["cargo", "build", "--release", "--quiet", "--locked", "-p", package,
                       "--manifest-path", "{peers}/Cargo.toml", "--target-dir", "{cargo}"]],
            "version": {"file": "{peers}/Cargo.lock", "pattern": rf'name = "{re.escape(crate)}"\nversion = "([^"]+)"'}}


class Manifest:
    """What a peer.toml says."""

    def __init__(self, peers, folder):
        self.folder, base = os.path.join(peers, folder), os.path.basename(folder)
        path = os.path.join(self.folder, "peer.toml")
        table = read(path)
        crate = table.get("crate")
        if isinstance(crate, str):
            table = {**of_crate(crate, f"peer-{base}"), **table}
        found = take(path, "", table, KEYS)
        for key in ("about", "run"):
            if found[key] is None:
                raise PlanError(f"{path}: key `{key}` is missing; it is {KEYS[key][0][1]}")
        self.keys, self.name, self.about = found, found["name"] or base, found["about"]
        self.dialects, self.cannot, self.crate = found["dialects"], found["cannot"], crate
        self.own = os.path.join(target(), "peers", "packages", self.name)
        self.places = {"folder": self.folder, "peers": peers, "target": self.own,
                       "cargo": os.path.join(target(), "peers")}

    def filled(self, words, **more):
        """A command with what its words in braces stand for."""
        return [re.sub(r"\{(\w+)\}", lambda found: {**self.places, **more}.get(found[1], found[0]), word)
                for word in words]

    def names(self):
        """The names of its servers, one for each dialect: draft-02's says so."""
        return [(self.name if dialect == "rfc6455" else f"{self.name}-{dialect}", dialect) for dialect in self.dialects]

    def prepare(self):
        """Builds it, and asks whether it can run; its version."""
        for program in self.keys["needs"]:
            if not shutil.which(program):
                raise Missing(f"{program} is not installed")
        # Cargo knows by itself what has changed, also in what the crates share.
        if self.keys["build"] and (self.crate or not self.is_built()):
            self.build()
        if self.keys["check"]:
            run(self.filled(self.keys["check"]), "trying it")
        return self.version()

    def build(self):
        """Runs its commands."""
        if not self.crate:
            os.makedirs(self.own, exist_ok=True)
        if self.keys["copy"]:
            shutil.copytree(self.folder, self.own, dirs_exist_ok=True)
        for command in self.keys["build"]:
            words = self.filled(command)
            run(words, f"building it ({os.path.basename(words[0])})")
        if not self.crate:
            with open(os.path.join(self.own, STAMP), "w", encoding="ascii") as file:
                file.write(self.digest())

    def is_built(self):
        """Whether what is there was built of the files that the folder has."""
        try:
            with open(os.path.join(self.own, STAMP), encoding="ascii") as file:
                return file.read() == self.digest()
        except OSError:
            return False

    def digest(self):
        """SHA-256 of all its files."""
        whole = hashlib.sha256()
        for folder, folders, names in os.walk(self.folder):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    whole.update(os.path.relpath(path, self.folder).encode() + b"\0" + file.read() + b"\0")
        return whole.hexdigest()

    def version(self):
        """Its version, or nothing."""
        about = self.keys["version"]
        if "command" in about:
            return run(self.filled(about["command"]), "asking for its version").strip()
        if "file" not in about:
            return ""
        (path,) = self.filled([about["file"]])
        with open(path, encoding="utf-8") as file:
            found = re.search(about.get("pattern", ""), file.read())
        return found[1] if found and found.groups() else ""

    def command(self, work):
        """What serves a kind of work, echo or broadcast."""
        return self.filled(self.keys["run"], work=work)
