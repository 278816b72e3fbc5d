"""Compares the engine with other people's WebSocket servers, in interleaved windows.

All servers of a workload run at once on one CPU, each with one thread; loadgen, on another, drives
one of them at a time, in an order that changes from round to round. What counts is the CPU time,
user and system, that the server's process took per message, and its ratio to the engine's of the
same round. A server that does not do what the workload asks (echo every byte, answer pings, deliver
to everybody) is left out of it, and the table says why.

Your own server: start it on CPU 0 with one thread, then

    scripts/peers --url ws://127.0.0.1:9001/ --pid $(pgrep -n my-server) --workload echo-100

Without --pid its rate and latency are compared, not its cost. It must speak ws, without TLS, and has
no part in `idle`, where a server must be started anew for each window. The others are built from
benches/peers (crates.io) or installed into the target folder (npm, PyPI); what cannot be had is left
out in one line. benches/METHODOLOGY.md and benches/BIAS.md say more: we wrote the engine.
Needs Python 3.11 and cargo; traffic to the servers started here stays on loopback.
"""

import argparse
import json
import os
import random
import resource
import signal
import sys
import urllib.parse

from suite import probe
from suite.machine import guarded, note_environment
from suite.peers import plot, servers
from suite.peers import report as tables
from suite.programs import build, digests
from suite.report import append, read
from suite.window import DidNotStart, Process, Server, WindowFailed, is_disturbed, load_window

COLUMNS = ["workload", "server", "dialect", "round", "kept", "count", "seconds", "ns_each",
           "bytes_each", "per_second", "server_busy", "client_busy", "p50_ns", "p99_ns", "steal",
           "generator_waited", "disturbed", "failure"]
NEVER = 2  # windows of a server that may fail one after the other before it is left out


class Workload:
    """What is sent, and to which kind of server."""

    def __init__(self, short, about, work, load, connections, size=64, depth=1):
        self.short, self.about, self.work, self.load = short, about, work, load
        self.connections, self.size, self.depth = connections, size, depth
        self.figure = "bytes_each" if load is None else "ns_each"
        self.kind = load[0] if load else "idle"


def echo(short, about, connections, size=64, depth=1):
    """An echo in a closed loop."""
    load = ["echo", "-c", str(connections), "-p", str(size), "--depth", str(depth), "--binary"]
    return Workload(short, about, "echo", load, connections, size, depth)


def broadcast(short, about, burst):
    """One connection publishes to a thousand others, and again when all have it."""
    load = ["broadcast", "-c", "1000", "-p", "64", "--burst", str(burst), "--binary"]
    return Workload(short, about, "broadcast", load, 1000, 64, burst)


WORKLOADS = {
    "echo-1": echo("1", "64 bytes, one connection", 1),
    "echo-100": echo("100", "64 bytes, 100 connections", 100),
    "echo-1000": echo("1,000", "64 bytes, 1,000 connections", 1000),
    "echo-10000": echo("10,000", "64 bytes, 10,000 connections", 10000),
    "echo-depth16": echo("100, 16 in flight", "64 bytes, 100 connections, 16 in flight each", 100,
                         depth=16),
    "echo-1k-depth16": echo("1 KiB, 16 in flight", "1 KiB, 16 connections, 16 in flight each", 16,
                            1024, 16),
    "echo-16k": echo("16 KiB", "16 KiB, 100 connections", 100, 16384),
    "echo-1m": echo("1 MiB", "1 MiB, 8 connections", 8, 1 << 20),
    "broadcast": broadcast("broadcast", "64 bytes to 1,000 subscribers, per delivery", 1),
    "broadcast-burst16": broadcast(
        "bursts of 16", "bursts of 16 times 64 bytes to 1,000 subscribers, per delivery", 16),
    "storm": Workload("connect", "connect, upgrade, close; 64 under way", "echo",
                      ["storm", "-c", "64"], 64),
    "idle": Workload("idle", "memory of an open connection after one echo, 10,000 of them", "echo",
                     None, 10000),
}


class Running:
    """A peer that serves one workload: started here, or somebody else's."""

    def __init__(self, peer, workload, options):
        self.name, self.dialect, self.pongs = peer.name, peer.dialect, peer.pongs
        self.failures = []  # why, of the last windows, one after the other
        reason = peer.cannot.get(workload.kind)
        if reason:
            raise probe.Unfit(reason)
        command = peer.command(workload)
        if command is not None:
            self.process: Process = Server(peer.name, command, options.server_cpu)
        else:
            self.process = Process(peer.pid, peer.url)

    def check(self, workload):
        """Why it may not be measured; None if it may."""
        url, connections = self.process.url, workload.connections
        if workload.work == "broadcast":
            return probe.fit(probe.check_broadcast, url, self.dialect, workload.size,
                                  connections, workload.depth, self.pongs)
        return probe.fit(probe.check_echo, url, self.dialect, workload.size,
                              workload.depth, self.pongs)

    def stop(self):
        """Ends it, if it was started here."""
        self.process.stop()


class Results:
    """The rows so far, in memory and, with --out, on disk as they come."""

    def __init__(self, options, versions):
        self.rows, self.folder = [], options.out
        self.plan = {**what_is_measured(options), "servers": versions}
        if not self.folder:
            return
        os.makedirs(self.folder, exist_ok=True)
        facts = os.path.join(self.folder, "plan.json")
        again = os.path.exists(os.path.join(self.folder, "raw.csv"))
        if again:
            self.resume()
        note_environment(options, "a" if again else "w")
        with open(facts, "w", encoding="utf-8") as file:
            json.dump(self.plan, file, indent=2)
            file.write("\n")

    def resume(self):
        """Goes on with the rows that are there, if they are of the same thing."""
        before = tables.read_plan(self.folder)
        if not before:
            sys.exit(f"peers: {self.folder} holds a raw.csv that another tool or version wrote; "
                     "choose another folder")
        for key, value in self.plan.items():
            if key != "servers" and before.get(key) != value:
                sys.exit(f"peers: {self.folder} holds a run with another {key} "
                         f"({before.get(key)}, now {value}); choose another folder")
        self.plan["servers"] = {**before.get("servers", {}), **self.plan["servers"]}
        self.rows = read(self.folder)
        self.widen()
        print(f"peers: going on with the {len(self.rows)} windows of {self.folder}",
              file=sys.stderr)

    def widen(self):
        """Rows that an older version wrote get the columns that it did not know."""
        if all(set(row) == set(COLUMNS) for row in self.rows):
            return
        self.rows = [{key: row.get(key) for key in COLUMNS} for row in self.rows]
        path = os.path.join(self.folder, "raw.csv")
        # In one step, so that an interruption leaves the old file or the new one.
        append(path + ".new", COLUMNS, self.rows, "w")
        os.replace(path + ".new", path)

    def add(self, workload, server, tries, **figures):
        """One more window."""
        row = {key: figures.get(key) for key in COLUMNS}
        row.update(workload=workload, server=server.name, dialect=server.dialect, round=tries)
        self.rows.append(row)
        if self.folder:
            append(os.path.join(self.folder, "raw.csv"), COLUMNS, [row])

    def complete(self, workload, names):
        """How many rounds have a good window of every one of these servers, and the last round."""
        kept: dict[int, set] = {}
        last = 0
        for row in self.rows:
            if row["workload"] == workload:
                last = max(last, row["round"])
                if row["kept"]:
                    kept.setdefault(row["round"], set()).add(row["server"])
        return len([found for found in kept.values() if found >= names]), last


def what_is_measured(options):
    """What must be the same for windows to stand in one table."""
    return {**digests(options), "seconds": options.seconds, "cpus": [options.server_cpu, options.client_cpu]}


def idle(peer, workload, options):
    """Bytes per open connection of a server that has just been started."""
    server = Running(peer, workload, options)
    try:
        before = server.process.memory()
        held = probe.Held(server.process.url, server.dialect, workload.connections,
                               workload.size)
        try:
            server.process.wait_until_quiet()
            grown = server.process.memory() - before
        finally:
            held.close()
        return {"count": workload.connections, "bytes_each": grown / workload.connections,
                "steal": 0.0}
    except (probe.Unfit, probe.hybi02.Broken, OSError) as reason:
        raise WindowFailed(str(reason)) from None
    finally:
        server.stop()


def window(server, peer, workload, options):
    """One window of whichever kind the workload asks for."""
    if workload.load is None:
        return idle(peer, workload, options)
    return load_window(server.process, server.dialect, workload.load, options)


def begin(name, peers, options, results):
    """Starts and checks the servers of a workload; what is not fit is noted and left out."""
    workload, running = WORKLOADS[name], {}
    try:
        for peer in peers.values():
            try:
                server = running[peer.name] = Running(peer, workload, options)
                reason = server.check(workload)
            except (probe.Unfit, DidNotStart) as failure:
                server, reason = peer, last_line(failure)
            if reason is None and workload.load is not None:
                continue
            if reason is not None:
                print(f"peers: {name}: {peer.name} is left out: {reason}", file=sys.stderr)
                results.add(name, server, 0, kept=0, failure=reason)
            # An idle server's memory is told of one that has just been started.
            stopped = running.pop(peer.name, None) if reason else running.get(peer.name)
            if stopped is not None:
                stopped.stop()
    except BaseException:
        end(running)
        raise
    return running


def end(running):
    """Stops the servers."""
    for server in running.values():
        server.stop()


def last_line(failure):
    """What went wrong, in one line."""
    return (str(failure).splitlines() or [type(failure).__name__])[-1]


def measure(name, peers, options, results):
    """All rounds of one workload."""
    workload = WORKLOADS[name]
    left_out = {row["server"] for row in results.rows
                if row["workload"] == name and row["round"] == 0}
    names = set(peers) - left_out
    done, last = results.complete(name, names)
    if done >= options.rounds:
        return
    running = begin(name, {n: p for n, p in peers.items() if n in names}, options, results)
    try:
        tries = 0
        while done < options.rounds and tries < 2 * options.rounds:
            tries, last = tries + 1, last + 1
            good = True
            for server in random.sample(list(running.values()), len(running)):
                good &= one(name, server, peers[server.name], last, options, results)
                if len(server.failures) >= NEVER:
                    results.add(name, server, 0, kept=0,
                                failure=f"its windows failed, the last: {server.failures[-1]}")
                    running.pop(server.name).stop()
            if "engine" not in running:
                print(f"peers: {name}: without the engine there is nothing to compare with",
                      file=sys.stderr)
                break
            done += good
    finally:
        if workload.load is not None:
            end(running)


def one(name, server, peer, tries, options, results):
    """One window of one server; whether it counts."""
    try:
        figures = window(server, peer, WORKLOADS[name], options)
    except (WindowFailed, DidNotStart, probe.Unfit) as failure:
        reason = last_line(failure)
        server.failures.append(reason)
        print(f"peers: {name}: a window of {server.name} failed: {reason}", file=sys.stderr)
        results.add(name, server, tries, kept=0, failure=reason)
        return False
    server.failures.clear()
    disturbed = disturbance(figures, options.max_steal)
    results.add(name, server, tries, kept=int(disturbed is None), disturbed=disturbed, **figures)
    return disturbed is None


def disturbance(figures, max_steal):
    """What spoiled a window, as raw.csv has it; None if it counts."""
    # With 100 there are windows whatever else the machine does: scripts/test asks whether it works.
    if max_steal >= 100 or not is_disturbed(figures, max_steal):
        return None
    return "steal" if figures["steal"] * 100 > max_steal else "other work"


def choose(options):
    """The peers that were asked for and can be had here."""
    known = servers.known(options)
    unknown = [name for name in options.server or [] if name not in known]
    if unknown:
        sys.exit(f"peers: there is no server `{unknown[0]}`; known are: {', '.join(known)}")
    wanted = options.server or ([] if options.url else list(known))
    wanted = list(dict.fromkeys(["engine", *wanted]))
    drafts = [name for name in wanted if name.startswith("bare-") or name.endswith("hybi-02")]
    if drafts or "hybi-02" in options.dialect:
        wanted = list(dict.fromkeys([wanted[0], "engine-hybi-02", *wanted[1:]]))
    found = {}
    for name in wanted:
        try:
            found[name] = known[name][1](options)
        except servers.Missing as reason:
            print(f"skipped: {name}; {reason}", file=sys.stderr)
    for number, url in enumerate(options.url):
        pid = options.pid[number] if number < len(options.pid) else None
        name = urllib.parse.urlsplit(url).netloc
        found[name] = servers.Remote(name, url, pid, options.dialect[0])
    return found


def show_list(options):
    """What can be asked for, and whether it is here."""
    for name, (about, prepare) in servers.known(options).items():
        try:
            state = prepare(options).version or "here"
        except servers.Missing as reason:
            state = f"not here: {reason}"
        print(f"{name:24}{about}; {state}")


def options_of(arguments):
    """The command line."""
    epilog = "workloads:\n" + "\n".join(f"  {n:20}{w.about}" for n, w in WORKLOADS.items())
    parser = argparse.ArgumentParser(prog="scripts/peers", description=__doc__, epilog=epilog,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--list", action="store_true", help="fetch and build the servers, name them, and end")
    add("--check", action="store_true", help="only ask whether the servers may be measured")
    add("--report", metavar="DIR", help="make summary.md, table.md and plot.svg of a run anew, "
        "and end")
    add("--workload", action="append", choices=WORKLOADS, metavar="NAME",
        help="measure this one; may be repeated [all]")
    add("--server", action="append", metavar="NAME",
        help="only the engine and this one; may be repeated [all, with --url none]")
    add("--url", action="append", default=[], metavar="URL",
        help="also a server that runs already, ws only; not in idle; may be repeated")
    add("--pid", action="append", default=[], type=int, metavar="PID",
        help="the process of a --url, in their order, if it runs on this machine")
    add("--dialect", action="append", default=[], choices=["rfc6455", "hybi-02"],
        help="what the servers of --url speak [rfc6455]")
    add("--rounds", type=int, default=5, metavar="N", help="complete rounds per workload [5]")
    add("--seconds", type=float, default=1.0, metavar="S", help="length of a window [1]")
    add("--max-steal", type=float, default=5.0, metavar="PERCENT",
        help="drop windows in which the hypervisor took more of either CPU, or other work held the client "
        "up; 100 keeps all windows [5]")
    add("--server-cpu", type=int, default=0, metavar="N", help="CPU of the servers [0]")
    add("--client-cpu", type=int, default=1, metavar="N", help="CPU of the client [1]")
    add("--out", metavar="DIR", help="keep env.txt, plan.json, raw.csv, summary.md, table.md and "
        "plot.svg there; a run that was interrupted goes on there")
    add("--bin-dir", metavar="DIR", help="take our programs from there instead of building them")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be above zero")
    for url in options.url:
        target = urllib.parse.urlsplit(url)
        if target.scheme == "wss":
            parser.error(f"`{url}` cannot be measured, TLS is not compared here; let the server listen "
                         "without it and give ws://HOST:PORT/PATH")
        if target.scheme != "ws" or not target.hostname:
            parser.error(f"`{url}` is no address of a server: ws://HOST:PORT/PATH is")
    for pid in options.pid:
        if not os.path.isdir(f"/proc/{pid}"):
            parser.error(f"there is no process {pid}")
    if len(options.pid) > len(options.url):
        parser.error("--pid is for the servers of --url, one each")
    if len(options.dialect) > 1:
        parser.error("--dialect is one for all servers of --url")
    options.workload = list(dict.fromkeys(options.workload or WORKLOADS))
    return options


def raise_file_limit(options):
    """Servers inherit it; a workload that needs more is left out."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for name in list(options.workload):
        needed = WORKLOADS[name].connections + 200
        if hard < needed:
            print(f"skipped: {name}; it needs {needed} open files, the limit is {hard}",
                  file=sys.stderr)
            options.workload.remove(name)


def check_all(peers, options):
    """Asks every server about every workload; whether all are fit."""
    fit = True
    for name in options.workload:
        for peer in peers.values():
            reason = ask(name, peer, options)
            fit &= reason is None
            print(f"{name}: {peer.name}: {reason or 'ok'}", flush=True)
    return fit


def ask(name, peer, options):
    """Why a server cannot serve a workload; None if it can."""
    try:
        server = Running(peer, WORKLOADS[name], options)
    except (probe.Unfit, DidNotStart) as reason:
        return last_line(reason)
    try:
        return server.check(WORKLOADS[name])
    finally:
        server.stop()


def write(folder, rows):
    """summary.md, table.md and plot.svg."""
    plan, facts = tables.read_plan(folder), tables.read_facts(folder)
    for name, text in (("summary.md", tables.summaries(rows, WORKLOADS, plan, facts)),
                       ("table.md", tables.table(rows, WORKLOADS)),
                       ("plot.svg", plot.plot(rows, WORKLOADS, facts))):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)


def run(options):
    """Measures what is asked for."""
    build(options)
    if options.list:
        return show_list(options)
    raise_file_limit(options)
    peers = choose(options)
    if options.check:
        return None if check_all(peers, options) else 1
    versions = {name: peer.version for name, peer in peers.items()}
    results = Results(options, versions)
    for name in options.workload:
        measure(name, peers, options, results)
        print(tables.summary(results.rows, name, WORKLOADS[name], results.plan), flush=True)
        if options.out:
            write(options.out, results.rows)
    print(tables.table(results.rows, WORKLOADS), end="")
    return None


def report(folder):
    """Works the summaries of a folder out again."""
    try:
        rows = read(folder)
    except OSError as error:
        sys.exit(f"peers: {folder} holds no run: {error.strerror}: {error.filename}")
    lacking = {"workload", "server", "round", "kept"} - set(rows[0] if rows else ())
    if lacking:
        sys.exit(f"peers: {folder} holds no run of scripts/peers: its raw.csv has no rows, or none with "
                 f"{', '.join(sorted(lacking))}; name the folder that --out named")
    write(folder, rows)


@guarded
def main():
    """Runs, and says how to go on after Ctrl-C."""
    options = options_of(sys.argv[1:])
    if options.report:
        return report(options.report)
    options.dialect = options.dialect or ["rfc6455"]
    # The servers that were started here end with it, however it ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(options)
    except KeyboardInterrupt:
        hint = "; the same command goes on from here" if options.out else ""
        print(f"peers: interrupted{hint}", file=sys.stderr)
        return 130

