"""The servers that scripts/peers knows: how each is had, started, and what it speaks.

Programs of ours for each are under benches/peers; packages go into the
target folder. What cannot be had here is left out in one line.
"""

import os
import re
import shutil
import subprocess

from suite.machine import ROOT, target
from suite.programs import drivers

PEERS = os.path.join(ROOT, "benches", "peers")
TARGET = os.path.join(target(), "peers")
FETCH_LIMIT = 600  # seconds that fetching and building one of them may take

# Package and program below benches/peers -> the crate it is about, which gives it its name.
CRATES = {
    "fastwebsockets": "fastwebsockets",
    "tungstenite": "tokio-tungstenite",
    "tokio-websockets": "tokio-websockets",
    "sockudo-ws": "sockudo-ws",
    "web-socket": "web-socket",
    "yawc": "yawc",
    "monoio-tungstenite": "monoio-tungstenite",
    "compio-ws": "compio-ws",
}


class Missing(Exception):
    """A server cannot be had here."""


class Peer:
    """A server that can be started: a command per kind of work."""

    # What it does not do, and why, by kind of workload.
    cannot = {}
    dialect = "rfc6455"
    # A server without a protocol is not asked for pongs.
    pongs = True

    def __init__(self, name, version, command):
        self.name, self.version, self.base = name, version, command

    def command(self, workload):
        """The command that serves a workload."""
        return [*self.base, workload.program]


class Engine(Peer):
    """Ours, with one driver in one dialect."""

    def __init__(self, name, options, driver, dialect):
        version = "" if driver in name else driver
        super().__init__(name, version, [options.program("engine")])
        self.dialect, self.driver = dialect, driver

    def command(self, workload):
        return [*self.base, workload.program, "--shards", "1", "--driver", self.driver]


class Bare(Peer):
    """A server that moves bytes unread, behind draft-02's handshake: the floor."""

    cannot = {"storm": "it never ends a connection; scripts/floor has one that does"}
    dialect = "hybi-02"
    pongs = False

    def __init__(self, name, options, kind):
        super().__init__(name, "", [options.program("bare")])
        self.kind = kind

    def command(self, workload):
        verb = "fanout" if workload.program == "broadcast" else "echo"
        large = workload.size > 16384
        if self.kind == "ring":
            return [*self.base, f"ring-{verb}", *(["--receive", "large"] if large else [])]
        buffer = "1100" if large else "256" if workload.size > 4096 else "64"
        return [*self.base, f"epoll-{verb}", "--buffer", buffer]


class Remote(Peer):
    """A server that somebody else runs."""

    cannot = {"idle": "it is not started anew for each window, so its memory would be that of earlier ones"}

    def __init__(self, name, url, pid, dialect):
        super().__init__(name, "", [])
        self.url, self.pid, self.dialect = url, pid, dialect

    def command(self, workload):  # noqa: ARG002  it runs already, whatever is measured
        return None


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
        errors = [line for line in said if line.lower().startswith(("error", "npm err"))]
        raise Missing(f"{what} failed: {(errors or said or ['without a word'])[0]}")
    return done.stdout


def crate(package, name):
    """A crate's server, built alone."""
    def prepare(_options):
        run(["cargo", "build", "--release", "--quiet", "--locked", "-p", f"peer-{package}",
             "--manifest-path", os.path.join(PEERS, "Cargo.toml"), "--target-dir", TARGET],
            "building it")
        peer = Peer(name, locked(name), [os.path.join(TARGET, "release", f"peer-{package}")])
        if package == "monoio-tungstenite":
            peer.cannot = {"broadcast": "it cannot send while it reads"}
        return peer
    return prepare


def locked(name):
    """The version of a crate in the peers' lock file."""
    return version_in(os.path.join(PEERS, "Cargo.lock"), rf'name = "{name}"\nversion = "([^"]+)"')


def version_in(path, pattern):
    """What a pattern finds in a file, or nothing."""
    with open(path, encoding="utf-8") as file:
        found = re.search(pattern, file.read())
    return found.group(1) if found else ""


def copy(source, folder):
    """Puts the files of a folder below benches/peers into the target folder, where packages go."""
    os.makedirs(folder, exist_ok=True)
    changed = False
    for name in sorted(os.listdir(os.path.join(PEERS, source))):
        there, here = os.path.join(PEERS, source, name), os.path.join(folder, name)
        if not os.path.isfile(there):
            continue
        with open(there, "rb") as file:
            text = file.read()
        if not os.path.exists(here) or open(here, "rb").read() != text:
            changed = changed or name in ("package-lock.json", "requirements.txt")
            shutil.copyfile(there, here)
    return changed


def npm_ws(_options):
    """The npm package ws."""
    if not shutil.which("node"):
        raise Missing("node is not installed")
    folder = os.path.join(TARGET, "node")
    changed = copy("node", folder)
    if changed or not os.path.isdir(os.path.join(folder, "node_modules", "ws")):
        run(["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix",
             folder], "npm ci")
    version = version_in(os.path.join(folder, "package.json"), r'"ws": "([^"]+)"')
    return Peer("ws", version, ["node", os.path.join(folder, "ws.js")])


def python(package):
    """A PyPI package's server, on uvloop."""
    def prepare(_options):
        folder = os.path.join(TARGET, "python")
        changed = copy("python", folder)
        program = os.path.join(folder, "venv", "bin", "python")
        if changed or not os.access(program, os.X_OK):
            run(["python3", "-m", "venv", os.path.join(folder, "venv")], "python3 -m venv")
            run([program, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                 "-r", os.path.join(folder, "requirements.txt")], "pip install")
        run([program, "-c", f"import uvloop, {package}"], "importing it")
        version = version_in(os.path.join(folder, "requirements.txt"), rf"{package}==(\S+)")
        return Peer(package, version, [program, os.path.join(folder, f"peer_{package}.py")])
    return prepare


def em_websocket(dialect):
    """The Ruby gem, from Debian's ruby-em-websocket."""
    def prepare(_options):
        version = run(["ruby", "-e", "require 'em-websocket'; "
                       "print Gem.loaded_specs['em-websocket']&.version || ''"],
                      "ruby-em-websocket is not installed: requiring it")
        name = "em-websocket" if dialect == "rfc6455" else "em-websocket-hybi-02"
        peer = Peer(name, version, ["ruby", os.path.join(PEERS, "ruby", "em_websocket.rb")])
        peer.dialect = dialect
        return peer
    return prepare


# Name -> (what it is, how it is had). The engine's drivers come first, from the engine itself.
KNOWN: dict[str, tuple] = {
    **{name: (f"crates.io, {name}", crate(package, name)) for package, name in CRATES.items()},
    "ws": ("npm, ws with bufferutil", npm_ws),
    "websockets": ("PyPI, websockets on uvloop", python("websockets")),
    "picows": ("PyPI, picows on uvloop", python("picows")),
    "em-websocket": ("Debian, ruby-em-websocket", em_websocket("rfc6455")),
    "em-websocket-hybi-02": ("the same in draft-02", em_websocket("hybi-02")),
    "bare-ring": ("no protocol: bytes moved unread by the engine's ring driver, draft-02",
                  lambda options: Bare("bare-ring", options, "ring")),
    "bare-epoll": ("no protocol: bytes moved unread by an epoll loop, draft-02",
                   lambda options: Bare("bare-epoll", options, "epoll")),
}


def known(options):
    """Name -> (what it is, how it is had) of everything that can be asked for."""
    names = drivers(options)
    ours = {"engine": (f"ours, {names[0]}, the first choice here", engine("engine", names[0]))}
    for driver in names[1:]:
        ours[f"engine-{driver}"] = f"ours, {driver}", engine(f"engine-{driver}", driver)
    ours["engine-hybi-02"] = f"ours, {names[0]}, in draft-02", engine("engine-hybi-02", names[0], "hybi-02")
    return {**ours, **KNOWN}


def engine(name, driver, dialect="rfc6455"):
    """Ours on one driver."""
    return lambda options: Engine(name, options, driver, dialect)
