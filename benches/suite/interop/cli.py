"""Runs the engine and the load generator against implementations that share no code with them, and
these against each other, so that a peer that is wrong is noticed too.

    scripts/interop [ENGINE_ARGUMENT...]     e.g. scripts/interop --driver epoll

RFC 6455: the Python package websockets, the npm package ws and the Rust crates tokio-tungstenite,
fastwebsockets and tokio-websockets, as clients and as servers; yawc as a client that compresses; and
a page in headless Chromium, which also looks at what loadgen draws. Packages and crates are fetched
into the target folder, once. All but the crates also over wss, with certificates that openssl issues
for the run. Draft-02: a peer in Python written from the draft, and two Ruby gems. What cannot run
here because an interpreter or a package is missing is named in a line `skipped: ...`; scripts/test
installs them.
"""

import os
import signal
import subprocess
import sys
import tempfile

from suite.interop.rounds import Rounds
from suite.machine import ROOT, CannotRun, guarded, target


def check(arguments):
    """Ends where something is neither an option of the engine nor an option's value."""
    previous = ""
    for argument in arguments:
        if not argument.startswith("-") and not previous.startswith("-"):
            print(f"interop: `{argument}` is no argument of the engine; scripts/interop --help tells", file=sys.stderr)
            sys.exit(64)
        previous = argument


@guarded
def main():
    """Runs all pairs; 1 if one of them failed."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__.strip())
        return 0
    check(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    done = subprocess.run(["cargo", "build", "--quiet", "--bin", "engine", "--bin", "loadgen"], cwd=ROOT, check=False)
    if done.returncode != 0:
        raise CannotRun("the programs could not be built; cargo says above why")
    with tempfile.TemporaryDirectory() as scratch:
        rounds = Rounds(os.path.join(target(), "debug"), sys.argv[1:], scratch)
        rounds.all()
    for name in rounds.failed:
        print(f"interop failed: {name}")
    if not rounds.failed:
        print("interop passed")
    return int(bool(rounds.failed))
