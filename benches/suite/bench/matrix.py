"""Measures the matrix of scripts/bench: drivers x dialects x workloads x connections, interleaved.

A round of a workload is one window of each driver in each dialect, in an order
that is drawn anew; all its servers run during the whole of it, and are new ones in the next.
"""

import itertools
import random
import tempfile

from suite import machine, probe
from suite.report import limiter
from suite.window import DidNotStart, Server, WindowFailed, is_disturbed, read_window, run_loadgen

NEVER = 2  # windows that may fail one after the other before a row is left out


class Servers:
    """The engines of one workload: one for each driver, and one more in TLS where that is asked for."""

    def __init__(self, run, case, options):
        self.run, self.case, self.options = run, case, options
        self.found = {}
        self.folder = tempfile.TemporaryDirectory()
        self.tls = None

    def of(self, driver, dialect):
        """The server that serves a row, started when it is first asked for."""
        key = driver, dialect == "wss"
        if key not in self.found:
            if key[1]:
                self.tls = self.tls or machine.certify(self.folder.name)
            command = command_of(self.case, driver, self.run.facts["server_cpus"], self.options,
                                 self.tls if key[1] else [])
            self.found[key] = Server(driver, command,
                                     machine.show(self.run.facts["server_cpus"]))
        return self.found[key]

    def stop(self):
        """Ends them, and keeps what they logged: their settings and their last counters."""
        for (driver, secure), server in self.found.items():
            server.stop()
            name = f"{self.case.name}-{driver}{'-tls' if secure else ''}.log"
            keep_log(server, self.run.path_aside("logs", name))
        self.folder.cleanup()


def keep_log(server, path):
    """An engine's lines; of its counters, which it told after every window, only the last."""
    server.log.seek(0)
    lines = server.log.read().splitlines()
    counters = [line for line in lines if " counters " in line]
    with open(path, "a", encoding="utf-8") as file:
        for line in lines:
            if " counters " not in line or line is counters[-1]:
                file.write(line + "\n")


def command_of(case, driver, cpus, options, more=()):
    """The engine's command line: a shard on each of its CPUs."""
    return [options.program("engine"), case.program, "--cpus", machine.show(cpus), "--driver",
            driver, *more, *case.engine_options]


def why(failure):
    """Of a program's complaint the line that says what is wrong."""
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    said = [line for line in lines if line.lower().startswith(("error", "engine:"))]
    return (said or lines[1:] or lines or ["it did not start"])[0]


def load_of(case, url, dialect, run, options):
    """loadgen's command line, but for the server's process."""
    command = [options.program("loadgen"), case.scenario, url, *case.load(),
               "--ws-version", "hybi-02" if dialect == "hybi-02" else "rfc6455",
               "--cpus", machine.show(run.facts["generator_cpus"]),
               "-d", f"{round(run.plan.seconds * 1000)}ms",
               "--warmup", f"{round(run.plan.warmup * 1000)}ms", "--commit", run.facts["commit"]]
    return command + (["--insecure"] if dialect == "wss" else [])


def system_calls(server):
    """System calls of the server's loops so far, from its own counters."""
    try:
        line = server.counters()
    except SystemExit as silent:
        raise WindowFailed(str(silent)) from None
    return int(next(pair for pair in line.split() if pair.startswith("ring_enters=")).split("=")[1])


def window(server, case, dialect, run, options):
    """One measured window: its figures, and loadgen's document."""
    command = load_of(case, server.url, dialect, run, options)
    command += ["--pid", str(server.pid), "--json", "--quiet"]
    calls = system_calls(server)
    both = run.facts["server_cpus"] + run.facts["generator_cpus"]
    limit = run.plan.seconds + run.plan.warmup + 120
    try:
        text, steal = run_loadgen(command, both, limit)
    except WindowFailed:
        server.wait_until_quiet()
        raise
    server.wait_until_quiet()
    figures = read_window(text, server)
    calls = system_calls(server) - calls
    figures["calls_each"] = calls / max(figures["count"] + figures["warmup_count"], 1)
    figures["server_busy"] = share(figures["server_busy"], run.facts["server_cpus"])
    figures["client_busy"] = share(figures["client_busy"], run.facts["generator_cpus"])
    figures["limited_by"] = limited_by(figures, case)
    return {**figures, "steal": steal}, text


def share(busy, cpus):
    """Of all CPUs that one side has."""
    return None if busy is None else busy / len(cpus)


def limited_by(figures, case):
    """Who kept a window from being faster: loadgen's own verdict where it has one."""
    if figures["limited_by"]:
        return figures["limited_by"]
    if case.table.get("rate") is not None or case.scenario in ("churn", "idle"):
        return "schedule"
    return limiter(figures["server_busy"], figures["client_busy"])


def ways_of(case, drivers, first):
    """The rows of a workload: drivers by dialects; and why some of them cannot be."""
    by_word = {"all": sorted(drivers, key=lambda name: name != first), "auto": [first]}
    names = by_word[case.drivers] if isinstance(case.drivers, str) else case.drivers
    ways = list(itertools.product(names, case.dialects))
    known = {name: drivers.get(name, "this build has no such driver") for name in names}
    return ways, {way: known[way[0]] for way in ways if known[way[0]] is not None}


def check(server, case, dialect):
    """Why a server may not be measured; None if every byte comes back as it should."""
    version = "hybi-02" if dialect == "hybi-02" else "rfc6455"
    if case.program == "broadcast":
        others = min(case.connections, 2000)
        return probe.fit(probe.check_broadcast, server.url, version, case.size, others,
                         case.at_once, True)
    return probe.fit(probe.check_echo, server.url, version, case.size, case.at_once, True)


class Matrix:
    """A run of the matrix."""

    def __init__(self, run, options, at_hand, progress):
        self.run, self.options, self.progress = run, options, progress
        self.first, self.drivers, self.file_limit = at_hand.first, at_hand.drivers, at_hand.file_limit
        self.failures = {}

    def ways(self, case):
        """The rows of a workload that are still to be measured; what cannot be is noted once."""
        ways, cannot = ways_of(case, self.drivers, self.first)
        if case.files > self.file_limit:
            reason = f"it needs {case.files:,} open files, the limit is {self.file_limit:,}"
            cannot = dict.fromkeys(ways, reason)
        known = self.run.left_out(case.name)
        for reason in dict.fromkeys(cannot.values()):
            new = [way for way, why in cannot.items() if why == reason and way not in known]
            for way in new:
                self.run.add(case.name, *way, 0, kept=0, failure=reason)
            if new:
                names = ", ".join(dict.fromkeys(driver for driver, _ in new))
                self.progress.say(f"skipped: {case.name} on {names}; {reason}")
        return [way for way in ways if way not in cannot and way not in known]

    def leave_out(self, case, way, reason, rounds):
        """A row that cannot be measured, and so has not the rounds that were left."""
        self.progress.drop(rounds)
        self.progress.say(f"{case.name}: {' '.join(way)} is left out: {reason}")
        self.run.add(case.name, *way, 0, kept=0, failure=reason)

    def measure(self, case):
        """All rounds of one workload."""
        ways = self.ways(case)
        wanted, tries = self.run.plan.rounds, 0
        done, last = self.run.complete(case.name, ways)
        checked = set()
        while ways and done < wanted and tries < 2 * wanted:
            tries, last = tries + 1, last + 1
            # Each round has new servers: where a process comes to lie in memory is part of the spread.
            servers = Servers(self.run, case, self.options)
            try:
                ways = [way for way in ways if self.begin(servers, case, way, checked, wanted - done)]
                good, ways = self.round(servers, case, ways, (last, done))
            finally:
                servers.stop()
            done += good
            self.progress.milestone(f"{case.name}: {done} of {wanted} rounds")
        if ways and done < wanted:
            self.progress.drop((wanted - done) * len(ways))
            self.progress.say(f"{case.name}: only {done} of {wanted} rounds had no disturbed window; "
                              "the machine has other work, or --max-steal is too low")

    def begin(self, servers, case, way, checked, rounds):
        """Starts a server, and checks it the first time; whether it may be measured."""
        self.progress.at(f"{case.name}: starting {' '.join(way)}")
        try:
            server = servers.of(*way)
            reason = None if way in checked else check(server, case, way[1])
            checked.add(way)
        except DidNotStart as failure:
            reason = f"it did not start: {why(failure)}"
        if reason is not None:
            self.leave_out(case, way, reason, rounds)
        return reason is None

    def round(self, servers, case, ways, at):
        """A window of each; whether all were good, and the rows that go on."""
        number, done = at
        good, going, steps = bool(ways), list(ways), 0
        for way in random.Random(f"{case.name} {number}").sample(ways, len(ways)):
            self.progress.at(f"{case.name}, round {done + 1} of {self.run.plan.rounds}: {' '.join(way)}")
            good &= self.one(servers.of(*way), case, way, number)
            if good:
                self.progress.step()
                steps += 1
            if self.failures.get((case.name, way), 0) >= NEVER:
                going.remove(way)
                self.leave_out(case, way, "its windows failed", self.run.plan.rounds - done)
        if not good:
            # The whole round is measured again.
            self.progress.back(steps)
        return good, going

    def one(self, server, case, way, number):
        """One window; whether it counts."""
        key = case.name, way
        try:
            figures, text = window(server, case, way[1], self.run, self.options)
        except WindowFailed as failure:
            self.failures[key] = self.failures.get(key, 0) + 1
            reason = str(failure).splitlines()[-1]
            self.progress.say(f"{case.name}: a window of {' '.join(way)} failed: {reason}")
            self.run.add(case.name, *way, number, kept=0, failure=reason)
            return False
        self.failures[key] = 0
        kept = not is_disturbed(figures, self.run.plan.max_steal)
        self.run.add(case.name, *way, number, text, kept=int(kept), **figures)
        return kept
