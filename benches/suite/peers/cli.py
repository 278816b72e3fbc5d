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
benches/peers (crates.io) or installed into the target folder (npm, PyPI); what cannot be fetched is left
out in one line. benches/peers/README.md tells how to add one; benches/METHODOLOGY.md and benches/BIAS.md say
more: we wrote the engine.
Needs Python 3.11 and cargo; traffic to the servers started here stays on loopback.
"""

import argparse
import os
import resource
import signal
import sys
import urllib.parse

from suite import probe
from suite import report as figures
from suite.machine import guarded
from suite.peers import plot, servers
from suite.peers import report as tables
from suite.peers.manifest import Missing
from suite.peers.measure import Running, last_line, measure
from suite.peers.results import Results
from suite.peers.work import WORKLOADS
from suite.programs import build
from suite.window import DidNotStart
from suite.workloads import present


def choose(options):
    """The peers that were asked for and are available here."""
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
        except Missing as reason:
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
        except Missing as reason:
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
    add("--workload", action="append", type=called_now, choices=WORKLOADS, metavar="NAME",
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


def called_now(name):
    """A workload by the name that it has now."""
    return present(name, WORKLOADS)[0]


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
        figures.write(folder, name, text)


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
        rows = figures.read(folder)
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

