"""The rounds of scripts/peers: servers that are started, checked, and measured in an order that changes."""

import random
import sys

from suite import probe
from suite.peers.work import WORKLOADS
from suite.window import DidNotStart, Process, Server, WindowFailed, is_disturbed, load_window

NEVER = 2  # windows of a server that may fail one after the other before it is left out


class Running:
    """A peer that serves one workload: started here, or somebody else's."""

    def __init__(self, peer, workload, options):
        self.name, self.dialect, self.pongs = peer.name, peer.dialect, peer.pongs
        self.failures = []  # why, of the last windows, one after the other
        reason = peer.cannot.get(workload.scenario)
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
        if workload.program == "broadcast":
            return probe.fit(probe.check_broadcast, url, self.dialect, workload.size, connections,
                             workload.at_once, self.pongs)
        return probe.fit(probe.check_echo, url, self.dialect, workload.size, workload.at_once, self.pongs)

    def stop(self):
        """Ends it, if it was started here."""
        self.process.stop()


def idle(peer, workload, options):
    """Bytes per open connection of a server that has just been started."""
    server = Running(peer, workload, options)
    try:
        before = server.process.memory()
        held = probe.Held(server.process.url, server.dialect, workload.connections, workload.size)
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
    if workload.memory:
        return idle(peer, workload, options)
    return load_window(server.process, server.dialect, workload.command, options)


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
            if reason is None and not workload.memory:
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
        if not workload.memory:
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
