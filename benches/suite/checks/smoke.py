"""The step `bench`, its last part: whether the programs that measure run, not how fast anything is."""

import glob
import json
import os
import signal
import subprocess
import tempfile
import time

from suite.checks.session import StepFailed
from suite.machine import ROOT, target

PLAN = """
rounds = 5
seconds = 0.1
warmup = 0.05
max-steal = 100
drivers = "auto"
dialects = ["rfc6455"]
workload = [
    { name = "echo", scenario = "echo", connections = 4, dialects = ["rfc6455", "wss"] },
    { name = "broadcast", scenario = "broadcast", connections = 4 },
]
"""
SOAK = """
mode = "soak"
duration = "5s"
seconds = 1
warmup = 0.2
max-drift = 1000
drivers = "auto"
dialects = ["rfc6455"]
workload = [
    { name = "echo", scenario = "echo", connections = 10, rate = 500 },
    { name = "churn", scenario = "churn", connections = 5, lifetime = "300ms" },
    { name = "idle", scenario = "idle", connections = 20, ping-interval = "1s" },
]
"""
PATIENCE = 60  # seconds until something that was started has come to a point
PEERS = ["tokio-websockets", "ws"]


def build(session):
    """The programs in the profile of the tests; where they are."""
    session.run("cargo", "build", "--quiet", "--locked", "-p", "ringbolt", "-p", "ringbolt-loadgen", "--bins")
    return os.path.join(target(), "debug")


def script(name):
    """A program of this folder."""
    return os.path.join(ROOT, "scripts", name)


def read(*path):
    """The text of a file, or nothing."""
    try:
        with open(os.path.join(*path), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def must(session, condition, what):
    """Fails the step if something is not as it should be."""
    if not condition:
        session.say(what)
        raise StepFailed


def must_have(session, folder, *names):
    """Files that a run leaves."""
    for name in names:
        must(session, read(folder, name), f"there is no {name}")


def wait_for(condition):
    """Whether something comes true in time."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def bench(session):
    """A plan of three rows, twice: whether it can be interrupted, resumed, shown and compared as two kernels
    would be; once with every document kept beside the results, and once not.
    """
    programs = build(session)
    with tempfile.TemporaryDirectory() as scratch:
        plan, one, other = (os.path.join(scratch, name) for name in ("plan.toml", "A", "B"))
        with open(plan, "w", encoding="ascii") as file:
            file.write(PLAN)
        command = [script("bench"), "--plan", plan, "--bin-dir", programs]
        interrupted(session, [*command, "--label", "A", "--keep", "--out", one], os.path.join(one, "raw.csv"))
        session.run(script("bench"), "--resume", one, quiet=True)
        session.run(*command, "--label", "B", "--out", other, quiet=True)
        for folder in (one, other):
            must_have(session, folder, "summary.md", "table.md", "env.txt", "raw.csv", "run.json")
        aside = os.path.join(target(), "bench", json.loads(read(other, "run.json"))["documents"])
        must(session, not os.path.exists(os.path.join(other, "runs")), "documents were kept that nobody asked for")
        must_have(session, one, "report.html")
        must_have(session, aside, "report.html")
        sides = [sorted(glob.glob(os.path.join(side, "runs", "echo", "*-rfc6455.*.json"))) for side in (one, aside)]
        # Noise is no failure here: exit code 1 says that something is worse.
        code = session.run(os.path.join(programs, "loadgen"), "compare", *sides[0], "--", *sides[1], must=False,
                           quiet=True)
        must(session, code in (0, 1), f"loadgen compare ended with {code}")
        done = subprocess.run([script("bench"), "--bin-dir", programs, "--compare", one, other], capture_output=True,
                              text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if " | server-cpu | " in line]
        must(session, done.returncode in (0, 1) and len(lines) == 3, done.stdout + done.stderr)
        for line in lines:
            session.say(f"compared: {line}")


def interrupted(session, command, raw):
    """Runs a program until it has a few windows, and interrupts it as Ctrl-C does."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with process:
        wait_for(lambda: read(raw).count("\n") > 4 or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    must(session, process.returncode == 130, f"interrupted, it ended with {process.returncode}: {said}")


def soak(session):
    """Seconds of a soak: whether connections that are held, made anew and counted come out even."""
    programs = build(session)
    with tempfile.TemporaryDirectory() as scratch:
        plan, out = os.path.join(scratch, "plan.toml"), os.path.join(scratch, "run")
        with open(plan, "w", encoding="ascii") as file:
            file.write(SOAK)
        session.run(script("bench"), "--plan", plan, "--bin-dir", programs, "--out", out, quiet=True)
        must_have(session, out, "summary.md", "samples.csv")
        found = [line for line in read(out, "summary.md").splitlines() if line.startswith("- good: connections: ")]
        must(session, found and "open at the end: 0" in found[0], read(out, "summary.md"))
        session.say(found[0].replace("- good: connections", "soaked"))


def peers(session):
    """Two of the peers that build or install in less than a minute, and a server that runs already, one short round
    each: whether they can be compared, not how they compare.
    """
    programs = build(session)
    with tempfile.TemporaryDirectory() as scratch:
        known = [word for name in PEERS for word in ("--server", name)]
        for workload in ("echo-100", "echo-1m", "broadcast"):
            known += ["--workload", workload]
        compared(session, programs, os.path.join(scratch, "known"), PEERS[0], known)
        # An engine that scripts/peers did not start stands for somebody's server.
        process = subprocess.Popen([os.path.join(programs, "engine"), "echo", "--listen", "127.0.0.1:0", "--shards",
                                    "1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        with process:
            try:
                assert process.stdout is not None
                address = process.stdout.readline().split()[-1]
                own = ["--url", f"ws://{address}/", "--pid", str(process.pid), "--workload", "echo-100"]
                session.run(script("peers"), "--bin-dir", programs, *own, "--check", quiet=True)
                compared(session, programs, os.path.join(scratch, "own"), address, own)
            finally:
                process.terminate()


def compared(session, programs, folder, server, options):
    """The table must have that server, and every figure of those that are here."""
    client = max(os.sched_getaffinity(0))
    session.run(script("peers"), "--bin-dir", programs, "--rounds", "1", "--seconds", "0.2", "--max-steal", "100",
                "--server-cpu", "0", "--client-cpu", str(client), "--out", folder, *options, quiet=True)
    must_have(session, folder, "env.txt", "plan.json", "raw.csv", "summary.md", "table.md", "plot.svg")
    table = read(folder, "table.md")
    rows = [line.split("|")[1].strip() for line in table.splitlines()[2:-1]]
    must(session, server in rows and not any(lacking in table for lacking in ("| – |", "| given up |")), table)
    session.say(f"compared: {', '.join(name for name in rows if name != 'engine')}")


def fairness(session):
    """Whether the script runs, not what neighbours wait."""
    session.run(script("fairness"), "--quick", "--driver", "epoll", "--bin-dir", build(session))
