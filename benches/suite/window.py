"""A server that was started here, and one measured window of it."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

from suite import NAME
from suite.machine import ticks

START_LIMIT = 20.0  # seconds that a server may take to say where it listens


class DidNotStart(SystemExit):
    """A server that did not come up: the end, unless somebody can do without it."""


class WindowFailed(Exception):
    """A window that gave no figures."""


# A generator thread without a CPU for more than this share of the window was held up by other work. Where
# connections come and go, the kernel's own threads take half of that from it on a quiet machine.
DISTURBED = 0.1


def is_disturbed(figures, max_steal):
    """Whether the machine had other work in a window; max_steal is in percent, and 100 lets all pass."""
    if max_steal >= 100:
        return False
    return figures["steal"] * 100 > max_steal or (figures.get("generator_waited") or 0) > DISTURBED


class Process:
    """A server's process, and where it listens."""

    def __init__(self, pid, url=""):
        self.pid, self.url = pid, url

    def cpu_nanos(self):
        """CPU time of all its threads so far; 0 once it is gone."""
        total = 0
        tasks = f"/proc/{self.pid}/task"
        try:
            for task in os.listdir(tasks):
                with open(f"{tasks}/{task}/schedstat", encoding="ascii") as stat:
                    total += int(stat.read().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass  # a thread, or all of it, has just ended
        return total

    def memory(self):
        """Bytes of its memory that are resident."""
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def wait_until_quiet(self):
        """Until it has dealt with the end of the last window's connections."""
        before = self.cpu_nanos()
        for _ in range(200):
            time.sleep(0.02)
            now = self.cpu_nanos()
            if now - before < 200_000:
                return
            before = now


    def stop(self):
        """Whoever started it ends it."""


class Server(Process):
    """A server that was started here, on one CPU or a list of them."""

    def __init__(self, name, command, cpu):
        self.name = name
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(["taskset", "-c", str(cpu), *command],
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        super().__init__(self.process.pid)
        said = self.process.stdout
        assert said is not None
        ready, _, _ = select.select([said], [], [], START_LIMIT)
        line = said.readline() if ready else ""
        if not line.startswith("listening on "):
            self.stop()
            self.log.seek(0)
            why = "" if ready else f" within {START_LIMIT:g} s"
            raise DidNotStart(f"{NAME}: {' '.join(command)} did not start{why}\n{self.log.read()}")
        # An engine says wss:// where it speaks TLS.
        scheme = "wss" if "wss://" in line else "ws"
        self.address = line.split()[-1].split("://")[-1]
        self.url = f"{scheme}://{self.address}/"

    def counters(self):
        """An engine's counters, which it logs when it gets SIGUSR1."""
        def lines():
            self.log.seek(0)
            return [line for line in self.log.read().splitlines() if " counters " in line]

        known = len(lines())
        self.process.send_signal(signal.SIGUSR1)
        for _ in range(500):
            time.sleep(0.01)
            now = lines()
            if len(now) > known:
                return now[-1]
        sys.exit(f"{NAME}: {self.name} does not tell its counters")

    def stop(self):
        """Ends it, at the latest after five seconds."""
        self.process.terminate()
        try:
            self.process.wait(1)
            return
        except subprocess.TimeoutExpired:
            # The engine drains on the first signal and ends on the second.
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(4)
        except subprocess.TimeoutExpired:
            self.process.kill()


def read_result(text):
    """What is compared, from loadgen's JSON document: the one place that knows its form."""
    document = json.loads(text)
    cost, outcome = document["cost"], document["outcome"]
    limited_by = (document.get("trust") or {}).get("limited_by")
    storm = outcome["unit"] == "connection"
    times = (outcome["handshake"] if storm else outcome["latency"]) or {}
    service = outcome.get("service") or times
    warm = (outcome.get("warmup_latency") or {}).get("count") or 0
    waited = max((document.get("trust") or {}).get("generator_waited_ns") or [0])
    count, elapsed, server = outcome["received"], outcome["elapsed_ns"], cost["server_cpu_ns"]
    return {"count": count, "seconds": elapsed / 1e9,
            "ns_each": None if server is None else server / max(count, 1),
            "per_second": count / (elapsed / 1e9),
            "server_cpu_ns": server,
            "server_busy": None if server is None else server / elapsed,
            "client_busy": sum(cost["generator_cpu_ns"]) / elapsed,
            "generator_waited": waited / elapsed,
            "p50_ns": times.get("p50_ns"), "p99_ns": times.get("p99_ns"),
            "p999_ns": times.get("p99_9_ns"),
            "service_p50_ns": service.get("p50_ns"), "service_p99_ns": service.get("p99_ns"),
            "warmup_count": warm, "limited_by": limited_by}


def read_window(text, server):
    """What is compared, of a window that is worth comparing.

    Raises WindowFailed.
    """
    figures = read_result(text)
    if figures["count"] == 0:
        raise WindowFailed("loadgen: nothing came back")
    if server.pid is not None and figures["server_cpu_ns"] is None:
        raise WindowFailed("loadgen: it read the server's CPU time beside the window")
    return figures


def run_loadgen(command, cpus, limit):
    """One run of loadgen: its document, and the largest share of one of these CPUs that the
    hypervisor took meanwhile.

    Raises WindowFailed.
    """
    before = {cpu: ticks(cpu) for cpu in cpus}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise WindowFailed("loadgen did not end in time") from None
    steal = 0.0
    for cpu, (_, stolen, whole) in before.items():
        after = ticks(cpu)
        steal = max(steal, (after[1] - stolen) / max(after[2] - whole, 1))
    if done.returncode != 0:
        raise WindowFailed(f"loadgen: {reason(done.returncode, done.stderr, done.stdout)}")
    return done.stdout, steal


def reason(code, said, document):
    """Why a run of loadgen failed: its first words, or the errors that its document has."""
    lines = [line for line in said.splitlines() if line.strip()]
    if lines:
        return lines[0].strip()
    try:
        errors = json.loads(document)["outcome"]["errors"]
    except (ValueError, KeyError, TypeError):
        return f"it ended with code {code} and said nothing"
    told = [f"{error['count']} of {name}" + "".join(f", the first: {text}" for text in error["examples"][:1])
            for name, error in errors.items()]
    return f"errors: {'; '.join(told)}" if told else f"it ended with code {code} without errors"


def load_window(server, dialect, load, options):
    """One window of loadgen: its figures, and the share of a CPU that the hypervisor took.

    Raises WindowFailed.
    """
    command = [options.program("loadgen"), load[0], server.url, *load[1:], "--dialect", dialect,
               "--cpus", str(options.client_cpu), "-d", f"{round(options.seconds * 1000)}ms",
               "--warmup", "300ms", "--json", "--quiet"]
    if server.pid is not None:
        command += ["--pid", str(server.pid)]
    if server.url.startswith("wss:"):
        command.append("--insecure")
    try:
        text, steal = run_loadgen(command, [options.server_cpu, options.client_cpu],
                                  options.seconds + 120)
    except WindowFailed:
        if server.pid is not None:
            server.wait_until_quiet()
        raise
    if server.pid is not None:
        server.wait_until_quiet()
    figures = read_window(text, server)
    return {**figures, "steal": steal}
