"""Everything that is checked before a change is accepted; continuous integration calls this and
nothing else.

    scripts/test [STEP...]     without a STEP all of them, in this order

    fmt       the sources are formatted
    clippy    no lint fires, with and without the default features
    python    ruff, mypy and the tests of the suite in benches/suite, which the programs in scripts/ start
    test      unit, integration and property tests, the tidy checks, doc tests
    sim       the simulator: seeds that once failed, a few thousand that nobody has seen, and every mended
              fault put back and found
    doc       the documentation builds without a warning
    bench     the benches build and run once; instructions are counted and compared; a small plan is
              measured twice, interrupted, resumed and compared; two other servers are put beside the
              engine
    model     the hub's mailboxes, in every order in which threads may come to them
    fuzz      a bounded run of every fuzz target, with how many inputs it took per second
    interop   the engine and the load generator against foreign implementations
    kernels   in an emulator: the drivers' quick tests on five kernels, what these have and what --driver
              auto takes there, and what messages cost on three; in a whole run whose other checks took
              more than 16 minutes without those tests and costs on one kernel only, and not at all if
              they took more than 20

and by its name only:

    more_kernels   the same with the drivers' usual tests, and with all that is measured of the ring, in
                   a quarter of an hour
    asan           unit tests, those of the server and of TLS, and the fuzz targets, with the address
                   sanitizer, which sees what memory unsafe code and the C below it touch

On Debian as root, packages that a step needs are installed. What cannot be installed beside what is there is
unpacked into the cache, where that works; else a line `skipped: ...` names what could not be checked. At the
end stand those lines, where the time went, and how many steps passed and failed and lines were skipped. With
CI=true anything that was skipped fails the run, but for a kernel that the archives have no more, and for what
there was no time left.
"""

import contextlib
import os
import signal
import subprocess
import sys

from suite.checks import steps
from suite.checks.session import Session, StepFailed
from suite.checks.tools import Provider, cargo
from suite.machine import ROOT, guarded


def chosen(names):
    """The steps of these names, all of them without one; and whether that is the whole."""
    known = {step.__name__: step for step in [*steps.ALL, *steps.BY_NAME]}
    for name in names:
        if name not in known:
            print(f"no such step: {name}; there are {', '.join(known)}", file=sys.stderr)
            sys.exit(2)
    return [known[name] for name in names] or steps.ALL, not names


class Ahead:
    """In a whole run, what guests run is fetched and built beside the steps before, in time that these leave idle.

    Whatever goes wrong with that, the step itself meets and tells.
    """

    def __init__(self):
        self.process = None

    def begin(self):
        """A group of its own, so that an end before its own takes all of it along."""
        what = "scripts/kernels fetch --require && scripts/kernels build --suites brief"
        self.process = subprocess.Popen(["chrt", "--idle", "0", "bash", "-c", what], cwd=ROOT, start_new_session=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait(self):
        """Until it is done."""
        if self.process:
            self.process.wait()

    def end(self):
        """Ends it, if it has not ended."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()


def run(session, wanted, whole, ahead):
    """Step after step."""
    for step in wanted:
        name = step.__name__
        if step is steps.test and whole:
            ahead.begin()
        if step is not steps.kernels:
            session.step(name, step)
        elif whole and session.elapsed() > steps.NONE_AFTER:
            session.skip(f"kernels, the other checks took {session.elapsed() / 60:.0f} minutes here; "
                         "`scripts/test kernels` runs them")
        else:
            ahead.wait()
            session.step(name, lambda session: steps.kernels(session, whole))


@guarded
def main():
    """Runs what is asked for."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__.strip())
        return 0
    wanted, whole = chosen(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    session, ahead = Session(), Ahead()
    try:
        cargo(session)
        Provider(session).provide([step.__name__ for step in wanted])
        run(session, wanted, whole, ahead)
    except StepFailed:
        return 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            ahead.end()
        session.stop()
    return session.end(os.environ.get("CI") == "true")
