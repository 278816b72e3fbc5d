"""Compares the engine with servers that have no protocol, in interleaved windows.

All servers of a workload run at the same time on one CPU. The client, on another CPU, loads one of them at a
time, in turn: engine, ring, epoll, engine, ring, ... What is compared is the CPU time, user and system, that
the server's process took per message. The table shows medians, and ratios of windows of the same round, so
that a machine that gets slower affects all servers alike. benches/METHODOLOGY.md says more.

Needs nothing but Python 3.11 and cargo; traffic stays on the loopback interface.
"""

import argparse
import json
import os
import subprocess
import sys

from suite.machine import guarded, note_environment, ticks
from suite.programs import build
from suite.report import append, middle, of, plain, ratios, spread, write
from suite.window import Server, WindowFailed, is_disturbed, read_window
from suite.workloads import named, present


class Row:
    """A workload of the table, and which servers it is sent to: name -> (program, arguments)."""

    figure = "ns_each"
    spin: list[str] = []

    def __init__(self, workload, servers):
        self.workload, self.about, self.unit = workload, workload.about, workload.unit
        self.servers = {"engine": [workload.program], **servers}

    def client(self):
        """The arguments of the bare client."""
        sizes = ["-p", str(self.workload.size), "--depth", str(self.workload.at_once)]
        count = self.workload.connections
        if self.workload.scenario == "storm":
            return ["storm", "-c", str(count)]
        if self.workload.scenario == "broadcast":
            # One connection publishes to the others.
            return ["drive", "--fanout", "-c", str(count + 1), *sizes]
        return ["drive", "-c", str(count), *sizes, *self.spin]

    def loadgen(self):
        """Its arguments, but for the URL and the window; None of what it does not measure in this way."""
        echoes = self.workload.scenario == "echo" and self.figure == "ns_each"
        return [self.workload.scenario, *self.workload.load()] if echoes else None


class Latency(Row):
    """One message of one connection in flight: the time of a round trip."""

    figure = "p50_ns"

    def __init__(self, about, spin):
        super().__init__(TABLE["echo-1"], {"ring": ["ring-echo", "--spin", str(spin)],
                                           "epoll": ["epoll-echo", "--spin", str(spin)]})
        self.servers["engine"] = ["echo", "--spin", f"{spin}us"]
        self.about, self.unit, self.spin = about, "round trip", ["--spin", str(spin)]


def direct(workload, head):
    """A bare ring that receives whole messages, with a head of so many bytes, into memory of their own."""
    return ["ring-echo", "--receive", "direct", "--message", str(TABLE[workload].size + head)]


TABLE = named("echo-1", "echo-100", "echo-1000", "echo-10000", "echo-depth16", "echo-16k", "echo-1m", "broadcast",
              "broadcast-burst16", "storm")
ECHO = {"ring": ["ring-echo"], "epoll": ["epoll-echo"]}
FANOUT = {"ring": ["ring-fanout"], "ring-unsliced": ["ring-fanout", "--slice", "65536"], "epoll": ["epoll-fanout"]}
SERVERS = {
    "echo-100": ECHO, "echo-1000": ECHO, "echo-10000": ECHO, "echo-depth16": ECHO,
    "echo-16k": {"ring": ["ring-echo"], "ring-direct": direct("echo-16k", 4),
                 "epoll": ["epoll-echo", "--buffer", "256"]},
    "echo-1m": {"ring": ["ring-echo", "--receive", "large"], "ring-direct": direct("echo-1m", 10),
                "epoll": ["epoll-echo", "--buffer", "1100"]},
    "broadcast": FANOUT, "broadcast-burst16": FANOUT,
    "storm": {"ring": ["ring-accept"], "epoll": ["epoll-accept"]},
}
WORKLOADS = {**{name: Row(TABLE[name], servers) for name, servers in SERVERS.items()},
             "latency": Latency("64 bytes, one connection, both sides sleep", 0),
             "latency-spin": Latency("64 bytes, one connection, both sides look for 50 us", 50)}


def window(server, workload, options, seconds):
    """One measured window: the client's figures and what disturbed it. None if it failed."""
    warmup = 0.3
    pid = str(server.process.pid)
    if options.client == "loadgen":
        scenario, *rest = workload.loadgen()
        command = [options.program("loadgen"), scenario, f"ws://{server.address}/", *rest, "--pid", pid,
                   "--cpus", str(options.client_cpu), "-d", f"{round(seconds * 1000)}ms",
                   "--warmup", f"{round(warmup * 1000)}ms", "--json", "--quiet"]
    else:
        verb, *rest = workload.client()
        command = [options.program("bare"), verb, server.address, *rest, "--pid", pid,
                   "--cpu", str(options.client_cpu),
                   "-d", str(seconds), "--warmup", str(warmup)]
    cpu, before = server.cpu_nanos(), ticks(options.server_cpu)
    steal_before = ticks(options.client_cpu)[1]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120)
    after, cpu = ticks(options.server_cpu), server.cpu_nanos() - cpu
    steal_after = ticks(options.client_cpu)[1]
    if done.returncode != 0:
        print(f"floor: a window of {server.name} failed: {done.stderr.strip()}", file=sys.stderr)
        return None
    loadgen = options.client == "loadgen"
    try:
        figures = from_loadgen(done.stdout, server) if loadgen else json.loads(done.stdout)
    except WindowFailed as failure:
        print(f"floor: a window of {server.name} failed: {failure}", file=sys.stderr)
        return None
    total = max(after[2] - before[2], 1)
    figures["steal"] = max(after[1] - before[1], steal_after - steal_before) / total
    tick = 1e9 / os.sysconf("SC_CLK_TCK")
    figures["others"] = max((after[0] - before[0]) - cpu / tick, 0) / total
    server.wait_until_quiet()
    return figures


def from_loadgen(text, server):
    """The figures of loadgen's document by the names that the bare client uses.

    Raises WindowFailed.
    """
    figures = read_window(text, server)
    return {**{key: figures[key] for key in ("count", "seconds", "server_cpu_ns", "ns_each",
                                             "per_second", "server_busy", "generator_waited")},
            "p50_ns": figures["service_p50_ns"], "p99_ns": figures["service_p99_ns"]}


def measure(name, workload, options, rows):
    """All rounds of one workload; appends to `rows`, and gives name -> {round: figures}."""
    servers = []
    for server, arguments in workload.servers.items():
        program = "engine" if server == "engine" else "bare"
        command = [options.program(program), *arguments]
        servers.append(Server(server, command, options.server_cpu))
    found = {server.name: {} for server in servers}
    try:
        complete, tries = 0, 0
        while complete < options.rounds and tries < 2 * options.rounds:
            tries += 1
            good = True
            for server in servers:
                figures = window(server, workload, options, options.seconds)
                kept = figures is not None and not is_disturbed(figures, options.max_steal)
                if figures is not None:
                    rows.append({"workload": name, "server": server.name, "round": tries,
                                 "kept": int(kept), **figures})
                if kept:
                    found[server.name][tries] = figures
                good &= kept
            complete += good
    finally:
        for server in servers:
            server.stop()
    return found


def show(name, workload, found):
    """Prints and gives the summary of one workload, as Markdown."""
    figure = workload.figure
    what = "CPU ns" if figure == "ns_each" else "p50 ns"
    lines = [f"### {name}: {workload.about}", "",
             f"| server | {what} per {workload.unit}: median (min to max) "
             "| engine, times as much: median (min to max) | per second | server busy "
             "| others on its CPU |",
             "|---|---|---|---|---|---|"]
    engine = found["engine"]
    for server, windows in found.items():
        values = of(windows.values(), figure)
        if not values:
            lines.append(f"| {server} | no window was good | | | | |")
            continue
        pairs = [(engine[number], windows[number]) for number in windows if number in engine]
        ratio = spread(ratios(pairs, figure), ".3f") if server != "engine" else ""
        rate, busy, others = (middle(of(windows.values(), key)) for key in ("per_second", "server_busy", "others"))
        lines.append(f"| {server} | {spread(values, ',.0f')} | {ratio} "
                     f"| {plain(rate, ',.0f')} | {plain(busy, '.2f')} | {plain(others, '.2f')} |")
    text = "\n".join(lines) + "\n"
    print(text, flush=True)
    return text


def called_now(name):
    """A workload by the name that it has now."""
    return present(name, WORKLOADS)[0]


def options_of(arguments):
    """The command line."""
    epilog = "workloads:\n" + "\n".join(f"  {n:16}{w.about}" for n, w in WORKLOADS.items())
    parser = argparse.ArgumentParser(prog="scripts/floor", description=__doc__, epilog=epilog,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--workload", action="append", type=called_now, choices=WORKLOADS, metavar="NAME",
        help="measure this one; may be repeated [all]")
    add("--rounds", type=int, default=7, metavar="N", help="complete rounds per workload [7]")
    add("--seconds", type=float, default=2.0, metavar="S", help="length of a window [2]")
    add("--quick", action="store_true", help="3 rounds of windows of half a second")
    add("--client", choices=["bare", "loadgen"], default="bare",
        help="bare: the smallest client; loadgen: checks every reply, echo workloads only [bare]")
    add("--max-steal", type=float, default=2.0, metavar="PERCENT",
        help="drop windows in which the hypervisor took more of either CPU [2]")
    add("--server-cpu", type=int, default=0, metavar="N", help="CPU of the servers [0]")
    add("--client-cpu", type=int, default=1, metavar="N", help="CPU of the client [1]")
    add("--out", metavar="DIR", help="also write env.txt, raw.csv and summary.md there")
    add("--bin-dir", metavar="DIR", help="take programs from there instead of building them")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = 3, 0.5
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be above zero")
    names = options.workload or list(WORKLOADS)
    if options.client == "loadgen":
        names = [name for name in names if WORKLOADS[name].loadgen()]
        if not names:
            parser.error("loadgen is for the echo workloads only")
    options.workload = names
    return options


@guarded
def main():
    """Measures what is asked for."""
    options = options_of(sys.argv[1:])
    build(options)
    if options.out:
        os.makedirs(options.out, exist_ok=True)
        note_environment(options)
    rows, summary = [], []
    for name in options.workload:
        workload = WORKLOADS[name]
        summary.append(show(name, workload, measure(name, workload, options, rows)))
    if options.out and rows:
        append(os.path.join(options.out, "raw.csv"), list(rows[0]), rows, "w")
        write(options.out, "summary.md", "\n".join(summary))


if __name__ == "__main__":
    sys.exit(main())
