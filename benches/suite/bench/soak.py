"""The soak of scripts/bench: one server under a steady load for long.

Time is cut into segments: in each, all workloads but the idle ones run at once,
on connections of their own; between two, the server is looked at while it has nothing to do. So a segment is
a sample, and drift is what `loadgen compare` shows between the first and the last of them.
"""

import csv
import json
import os
import subprocess
import tempfile
import time

from suite import machine
from suite.bench import matrix
from suite.machine import CannotRun, ticks
from suite.report import append, duration, middle
from suite.window import DidNotStart, Server, WindowFailed, read_result, reason

SAMPLES = ["seconds", "segment", "phase", "memory_bytes", "files", "open"]
ENOUGH = 5  # segments a side, below which loadgen compare tells nothing
LEAST_GROWTH = 1 << 20  # bytes; less is no finding, however small the server


class Soak:
    """A soak that is going on."""

    def __init__(self, run, options, way, progress):
        self.run, self.options, self.way, self.progress = run, options, way, progress
        self.cases = [case for case in run.plan.cases if case.scenario != "idle"]
        self.idle = [case for case in run.plan.cases if case.scenario == "idle"]
        self.expected = sum(case.connections for case in self.idle)
        self.began, self.children = time.monotonic(), []
        first = run.plan.cases[0]
        command = matrix.command_of(first, way[0], run.facts["server_cpus"], options)
        try:
            self.server = Server(way[0], command, machine.show(run.facts["server_cpus"]))
        except DidNotStart as failure:
            raise CannotRun(f"the engine did not start: {matrix.why(failure)}") from None

    def elapsed(self):
        """Seconds since it began."""
        return time.monotonic() - self.began

    def sample(self, segment, phase, opened=None):
        """One line of samples.csv."""
        try:
            memory = self.server.memory()
            files = len(os.listdir(f"/proc/{self.server.pid}/fd"))
        except OSError:
            raise WindowFailed("the engine has ended") from None
        row = {"seconds": round(self.elapsed(), 1), "segment": segment, "phase": phase,
               "memory_bytes": memory, "files": files, "open": opened}
        append(self.run.path("samples.csv"), SAMPLES, [row])

    def open_connections(self):
        """As the engine counts them."""
        try:
            line = self.server.counters()
        except SystemExit:
            raise WindowFailed("the engine has ended, or does not answer") from None
        return int(next(pair for pair in line.split() if pair.startswith("open=")).split("=")[1])

    def rest(self, segment, phase, expected):
        """Looks at the server when it has dealt with the end of a segment."""
        self.server.wait_until_quiet()
        opened = self.open_connections()
        for _ in range(20):
            if opened <= expected:
                break
            time.sleep(0.25)
            opened = self.open_connections()
        self.sample(segment, phase, opened)

    def start(self, case, seconds, warmup):
        """A loadgen that runs on its own, and the file that its document goes to."""
        command = matrix.load_of(case, self.server.url, self.way[1], self.run, self.options)
        command[command.index("-d") + 1] = f"{round(seconds * 1000)}ms"
        command[command.index("--warmup") + 1] = f"{round(warmup * 1000)}ms"
        out, err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        child = subprocess.Popen([*command, "--json", "--quiet"], stdout=out, stderr=err)
        self.children.append(child)
        return child, out, err

    def finish(self, case, segment, child, out, err, steal=0.0):
        """Reads a document, and keeps it."""
        self.children.remove(child)
        out.seek(0)
        err.seek(0)
        said, text = err.read(), out.read()
        if child.returncode != 0:
            why = f"loadgen: {reason(child.returncode, said, text)}"
            self.progress.say(f"{case.name}, segment {segment}: {why}")
            self.run.add(case.name, *self.way, segment, kept=0, failure=why)
            return
        figures = read_result(text)
        cpus = self.run.facts["generator_cpus"]
        figures["client_busy"] = matrix.share(figures["client_busy"], cpus)
        figures["limited_by"] = figures["limited_by"] or "schedule"
        self.run.add(case.name, *self.way, segment, text, kept=1, steal=steal, **figures)

    def segment(self, number):
        """All workloads at once; looks at the server every second."""
        plan = self.run.plan
        cpus = self.run.facts["server_cpus"] + self.run.facts["generator_cpus"]
        before = {cpu: ticks(cpu) for cpu in cpus}
        running = [(case, *self.start(case, plan.seconds, plan.warmup)) for case in self.cases]
        limit = time.monotonic() + plan.seconds + plan.warmup + 120
        look = time.monotonic() + 1
        while any(child.poll() is None for _, child, _, _ in running):
            time.sleep(0.05)
            if time.monotonic() > limit:
                raise WindowFailed("loadgen did not end in time")
            if time.monotonic() > look:
                look += 1
                self.sample(number, "load")
                self.progress.at(f"segment {number}, {duration(self.elapsed())} of "
                                 f"{duration(plan.duration)}, "
                                 f"{self.server.memory() / (1 << 20):.1f} MiB")
        steal = max((after[1] - was[1]) / max(after[2] - was[2], 1)
                    for was, after in ((was, ticks(cpu)) for cpu, was in before.items()))
        for case, child, out, err in running:
            self.finish(case, number, child, out, err, steal)
        self.rest(number, "rest", self.expected)
        self.progress.done = min(self.elapsed(), plan.duration)
        self.progress.milestone(f"segment {number}")

    def all(self):
        """From the first segment to the last connection."""
        plan = self.run.plan
        self.rest(0, "begin", 0)
        # They outlast the last segment, however late it begins.
        whole = plan.duration + 2 * (plan.seconds + plan.warmup) + 5
        held = [(case, *self.start(case, whole, 0)) for case in self.idle]
        self.wait_for(self.expected, held)
        number = 0
        while self.elapsed() < plan.duration:
            number += 1
            self.segment(number)
        for case, child, out, err in held:
            self.progress.at("waiting for the end of the idle connections")
            child.wait(whole + 120)
            self.finish(case, 1, child, out, err)
        self.rest(number, "end", 0)

    def wait_for(self, count, held):
        """Until the idle connections stand."""
        for _ in range(600):
            if self.open_connections() >= count:
                return
            if any(child.poll() is not None for _, child, _, _ in held):
                break
            time.sleep(0.1)
        raise WindowFailed(f"{count:,} idle connections could not be opened")

    def stop(self):
        """Ends what was started."""
        for child in self.children:
            child.terminate()
        for child in self.children:
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
        self.server.stop()
        matrix.keep_log(self.server, self.run.path_aside("logs", f"{self.way[0]}.log"))


def soak(run, options, at_hand, progress):
    """The whole of it: the exit code, and what was found."""
    plan = run.plan
    (way, *_), cannot = matrix.ways_of(plan.cases[0], at_hand.drivers, at_hand.first)
    if way in cannot:
        raise CannotRun(f"the driver {way[0]} does not work here: {cannot[way]}")
    needed = sum(case.connections for case in plan.cases) + 200
    if needed > at_hand.file_limit:
        raise CannotRun(f"the soak needs {needed:,} open files, the limit is {at_hand.file_limit:,}")
    progress.total, progress.expected = plan.duration, plan.duration
    going = Soak(run, options, way, progress)
    try:
        for case in plan.cases:
            unfit = matrix.check(going.server, case, way[1])
            if unfit:
                raise CannotRun(f"the engine is not fit for {case.name}: {unfit}")
        going.all()
    except WindowFailed as failure:
        progress.say(str(failure))
        run.facts["ended"] = str(failure)
    finally:
        going.stop()
    return findings(run, options)


def samples(run):
    """The lines of samples.csv."""
    try:
        with open(os.path.join(run.folder, "samples.csv"), newline="", encoding="ascii") as file:
            return [{key: value if key == "phase" else float(value) if value else None
                     for key, value in row.items()} for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []


def thirds(values):
    """The first and the last third, as long as there are two."""
    size = max(len(values) // 3, min(len(values) // 2, ENOUGH))
    return (values[:size], values[-size:]) if size else ([], [])


def slope(points):
    """The median of the slopes between all pairs, which single outliers do not move."""
    found = [(two[1] - one[1]) / (two[0] - one[0]) for position, one in enumerate(points)
             for two in points[position + 1:] if two[0] > one[0]]
    return middle(found) or 0.0


def memory(rows, limit):
    """Whether memory at rest grew: the finding, and whether it is bad."""
    rest = [row for row in rows if row["phase"] == "rest"]
    # Pools fill first.
    rest = rest[len(rest) // 5:]
    first, last = thirds([row["memory_bytes"] for row in rest])
    if not first:
        return "memory at rest: too few segments to tell", False
    before, after = middle(first), middle(last)
    every = max(len(rest) // 300, 1)  # pairs are many
    hourly = slope([(row["seconds"] / 3600, row["memory_bytes"]) for row in rest[::every]])
    growth = (after / before - 1) * 100
    bad = growth > limit and after - before > LEAST_GROWTH
    # A slope of minutes says nothing of hours.
    slow = f"{hourly / (1 << 20):+.2f} MiB per hour; " if rest[-1]["seconds"] - rest[0]["seconds"] > 600 else ""
    text = (f"memory at rest: {before / (1 << 20):.1f} MiB, then {after / (1 << 20):.1f} MiB "
            f"({growth:+.1f} %; {slow}allowed is {limit:g} %)")
    return text, bad


def connections(rows, expected):
    """Whether connections, or files of them, were left behind."""
    rest = [row for row in rows if row["phase"] == "rest" and row["open"] is not None]
    wrong = [row for row in rest if row["open"] != expected]
    begin, end = (next((row for row in rows if row["phase"] == phase), None) for phase in ("begin", "end"))
    parts, bad = [f"open between segments: {expected:,}, as it should be, {len(rest) - len(wrong)} of "
                  f"{len(rest)} times"], bool(wrong)
    if wrong:
        parts.append(f"the worst: {max(wrong, key=lambda row: abs(row['open'] - expected))['open']:,.0f}")
    if begin is None or end is None:
        parts.append("the end was not seen")
    else:
        parts.append(f"open at the end: {end['open']:,.0f}; files {begin['files']:.0f} before, "
                     f"{end['files']:.0f} after")
        bad |= end["open"] != 0 or end["files"] > begin["files"]
    return "connections: " + "; ".join(parts), bad


def drift(run, case, options):
    """Whether latencies of the last segments are worse than those of the first."""
    numbers = [row["round"] for row in run.rows if row["workload"] == case.name and row["kept"]]
    first, last = thirds(numbers)
    way = next(((row["driver"], row["dialect"]) for row in run.rows if row["workload"] == case.name), ("", ""))
    if len(first) < ENOUGH:
        return (f"{case.name}: {len(numbers)} segments are too few to tell a drift; {2 * ENOUGH} would do",
                False)
    side = [[run.document(case.name, *way, number) for number in part] for part in (first, last)]
    done = subprocess.run([options.program("loadgen"), "compare", "--format", "json", "--metric", "p50",
                           "--metric", "p99", *side[0], "--", *side[1]],
                          capture_output=True, text=True, check=False)
    try:
        document = json.loads(done.stdout)
    except ValueError:
        return f"{case.name}: loadgen compare failed: {done.stderr.strip()}", True
    parts, bad = [], done.returncode == 3
    for metric in document["metrics"]:
        before, after = metric["base"]["median"], metric["new"]["median"]
        change = (after / before - 1) * 100 if before else 0.0
        shown = metric["verdict"] in ("worse", "better")
        over = metric["verdict"] == "worse" and change > run.plan.max_drift
        bad |= over
        p = metric["p_adjusted"]
        parts.append(f"{metric['metric']} {before / 1e3:,.0f} us, then {after / 1e3:,.0f} us ({change:+.1f} %, "
                     + (f"p = {p:.3f}, {metric['verdict']}" if shown else "nothing shown") + ")")
    return (f"{case.name}, first and last {len(first)} segments: " + "; ".join(parts)
            + f"; allowed is {run.plan.max_drift:g} %"), bad


def findings(run, options):
    """The exit code, and the lines of summary.md."""
    rows = samples(run)
    plan = run.plan
    expected = sum(case.connections for case in plan.cases if case.scenario == "idle")
    found = [memory(rows, plan.max_growth), connections(rows, expected)]
    found += [drift(run, case, options) for case in plan.cases if case.scenario != "idle"]
    failed = [row for row in run.rows if row.get("failure")]
    if failed:
        found.append((f"{len(failed)} runs of loadgen had errors; the first: {failed[0]['failure']}", True))
    if run.facts.get("ended"):
        found.append((run.facts["ended"], True))
    lasted = max((row["seconds"] for row in rows), default=0)
    lines = [f"## Found in {duration(lasted)}", ""]
    lines += [f"- {'**BAD**' if bad else 'good'}: {text}" for text, bad in found]
    return int(any(bad for _, bad in found)), lines + [""]
