"""Tests of scripts/peers: what it makes of rows, which windows count, and that it sees servers that are
wrong.

    cd benches && python3 -m unittest suite.tests.test_peers
"""

import base64
import contextlib
import hashlib
import io
import os
import socket
import tempfile
import threading
import types
import unittest
import xml.etree.ElementTree
from unittest import mock

from suite import probe, report
from suite.peers import cli as peers
from suite.peers import measure, plot, results, servers
from suite.peers import report as tables
from suite.peers.work import WORKLOADS
from suite.window import WindowFailed, load_window

ABOUT, MEMORY = WORKLOADS["echo-100"], WORKLOADS["idle"]
NO_FACTS = {"command": [], "commit": [], "kernel": [], "cpu": []}


def row(server, number, ns_each, kept=1, dialect="rfc6455", **more):
    """One window."""
    return {"workload": "w", "server": server, "dialect": dialect, "round": number, "kept": kept,
            "ns_each": ns_each, "per_second": 1e9 / ns_each if ns_each else None, **more}


def summary(rows, about=ABOUT, **plan):
    """What the report says of rows."""
    return tables.summary(rows, "w", about, plan)


def line(rows, server):
    """What the report has of a server."""
    return next(line for line in tables.lines_of(rows, "w") if line.server == server)


class Report(unittest.TestCase):
    """Rows to figures."""

    def test_both_columns_are_of_the_rounds_that_both_have(self):
        rows = [row("engine", 1, 100), row("peer", 1, 200), row("engine", 2, 100, kept=0),
                row("peer", 2, 900), row("peer", 3, 800), row("engine", 4, 300),
                row("peer", 4, 300)]
        peer = line(rows, "peer")
        self.assertEqual(peer.values("ns_each"), [200, 300])
        self.assertEqual(peer.ratios("ns_each"), [2.0, 1.0])

    def test_draft_02_is_compared_with_draft_02(self):
        rows = [row("engine", 1, 100), row("engine-hybi-02", 1, 50, dialect="hybi-02"),
                row("bare-ring", 1, 100, dialect="hybi-02")]
        self.assertEqual(line(rows, "bare-ring").ratios("ns_each"), [2.0])

    def test_whoever_is_left_out_has_a_reason(self):
        rows = [row("engine", 1, 100), row("peer", 0, None, kept=0, failure="it is wrong")]
        text = summary(rows, servers={"peer": "1.0"})
        self.assertIn("- peer 1.0 is left out: it is wrong", text)
        self.assertNotIn("| peer", text)

    def test_the_limiter_is_whoever_was_busy(self):
        for server, client, expected in ((0.9, 0.5, "server"), (0.8, 0.95, "client"),
                                         (0.5, 0.6, "neither"), (None, 0.9, "client")):
            rows = [row("engine", 1, 100, server_busy=server, client_busy=client)]
            self.assertEqual(line(rows, "engine").limiter(), expected)

    def test_the_limiter_of_most_windows_is_the_last_row_of_the_table(self):
        rows = [row("engine", 1, 100, server_busy=0.99, client_busy=0.5),
                row("engine", 2, 100, server_busy=0.85, client_busy=0.9),
                row("engine", 3, 100, server_busy=0.85, client_busy=0.9),
                row("peer", 1, 100, server_busy=0.99, client_busy=0.5)]
        text = tables.table(rows, {"w": ABOUT}).splitlines()
        self.assertEqual(text[-1], "| limited by | client |")
        self.assertEqual({line.count("|") for line in text}, {3}, "every row has the same columns")
        other = [{**row("peer", 1, 100), "workload": "x"}]
        text = tables.table(rows + other, {"w": ABOUT, "x": ABOUT}).splitlines()
        self.assertEqual(text[-1], "| limited by | client | – |", "nothing is known without the engine")

    def test_failed_windows_do_not_vanish(self):
        rows = [row("engine", 1, 100), row("peer", 1, 200), row("engine", 2, 100),
                row("peer", 2, None, kept=0, failure="loadgen: lost"), row("engine", 3, 100),
                row("peer", 3, None, kept=0, failure="loadgen: late"), row("other", 1, 200),
                row("other", 2, None, kept=0, failure="loadgen: reset")]
        text = summary(rows, servers={"peer": "1.0"})
        self.assertIn("| peer 1.0 | 200", text)
        self.assertIn("\n- peer 1.0: 2 windows failed, the first: loadgen: lost\n", text)
        self.assertIn("\n- other: 1 window failed, the first: loadgen: reset\n", text)
        self.assertNotIn("not counted", text, "these are not the machine's")

    def test_disturbed_windows_are_counted_apart(self):
        rows = [row("engine", 1, 100), row("engine", 2, 100, kept=0, disturbed="steal"),
                row("peer", 1, 200), row("peer", 2, 200, kept=0, disturbed="other work"),
                row("engine", 3, 100, kept=0)]
        text = summary(rows)
        self.assertIn("\n- not counted, of all servers: 2 windows for steal, 1 window disturbed by other "
                      "work; raw.csv has them\n", text)
        self.assertNotIn("failed", text)
        self.assertNotIn("not counted", summary(rows[:1]))

    def test_who_was_given_up_is_shown_as_that(self):
        rows = [row("engine", 1, 100), row("peer", 1, 200), row("engine", 2, 100),
                row("peer", 2, None, kept=0, failure="loadgen: lost"),
                row("peer", 0, None, kept=0, failure="its windows failed")]
        text = summary(rows)
        self.assertIn("| peer (given up) | 200", text)
        self.assertIn("\n- peer was given up after 1 good round: its windows failed\n", text)
        self.assertIn("\n- peer: 1 window failed, the first: loadgen: lost\n", text)
        self.assertIn("| peer | given up |", tables.table(rows, {"w": ABOUT}))
        self.assertIn(">given up<", plot.plot(rows, {"w": ABOUT}, NO_FACTS))

    def test_the_commands_are_those_of_the_windows(self):
        rows = [row("engine", 1, 100), row("bare-ring", 1, 100, dialect="hybi-02")]
        text = summary(rows, seconds=0.5, cpus=[0, 1])
        with tempfile.TemporaryDirectory() as folder:
            said = os.path.join(folder, "said")
            loadgen = os.path.join(folder, "loadgen")
            with open(loadgen, "w", encoding="ascii") as file:
                file.write(f"#!/bin/sh\necho \"$@\" >'{said}'\nexit 1\n")
            os.chmod(loadgen, 0o700)
            options = types.SimpleNamespace(program=lambda name: loadgen, seconds=0.5, server_cpu=0,
                                            client_cpu=0)
            server = types.SimpleNamespace(url="ws://ADDRESS/", pid=1, wait_until_quiet=lambda: None)
            for dialect in ("rfc6455", "hybi-02"):
                with self.assertRaises(WindowFailed):
                    load_window(server, dialect, ABOUT.command, options)
                with open(said, encoding="ascii") as file:
                    command = file.read().strip().replace("--cpus 0", "--cpus 1")
                self.assertIn(f"\nloadgen {command.replace('--pid 1', '--pid PID')}\n", text)
        self.assertNotIn("loadgen echo", summary(rows, MEMORY))


class Folders(unittest.TestCase):
    """What is written, and what of older versions is read."""

    OLD = ("workload,server,dialect,round,kept,ns_each,failure\necho-100,engine,rfc6455,1,1,100,\n"
           "echo-100,peer,rfc6455,1,0,200,\n")

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def keep(self, name, text):
        """Writes a file of the run."""
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            file.write(text)

    def text(self, name):
        """Reads one."""
        with open(os.path.join(self.folder, name), encoding="utf-8") as file:
            return file.read()

    def test_the_summary_begins_with_what_was_run(self):
        self.keep("raw.csv", self.OLD)
        self.keep("env.txt", "commit: c0ffee\ncommand: scripts/peers --rounds 3\ncommand line, what "
                  "matters: x=1\nkernel: Linux 6.1 #1 x\ncpu: 2 Xeon\ncpu ticks: 5\n"
                  "commit: c0ffee\ncommand: scripts/peers --rounds 4\n")
        peers.report(self.folder)
        text = self.text("summary.md")
        self.assertLess(text.index("```text\nscripts/peers --rounds 3\nscripts/peers --rounds 4\n```"),
                        text.index("### echo-100"))
        self.assertIn("\nCommit: c0ffee  \nKernel: Linux 6.1 #1 x  \nCPU: 2 Xeon\n", text)
        self.assertIn("](plot.svg)", text)
        self.assertIn("commit c0ffee; Linux 6.1; 2 Xeon", self.text("plot.svg"))

    def test_old_files_are_read_and_what_they_lack_is_not_known(self):
        self.keep("raw.csv", self.OLD)
        peers.report(self.folder)
        text = self.text("summary.md")
        self.assertIn("Commit: not known", text)
        self.assertIn("- not counted, of all servers: 1 window for steal", text)
        self.assertIn("| limited by | – |", self.text("table.md"))
        self.keep("raw.csv", "a,b\n1,2\n")
        with self.assertRaisesRegex(SystemExit, "no run of scripts/peers"):
            peers.report(self.folder)

    def test_a_run_of_an_older_version_goes_on_with_all_columns(self):
        self.keep("raw.csv", self.OLD)
        self.keep("plan.json", '{"servers": {"peer": "1.0"}, "seconds": 1}')
        options = types.SimpleNamespace(out=self.folder)
        with mock.patch.object(results, "what_is_measured", lambda _: {"seconds": 1}), \
                mock.patch.object(results, "note_environment"), contextlib.redirect_stderr(io.StringIO()):
            found = results.Results(options, {"engine": "epoll"})
        engine = types.SimpleNamespace(name="engine", dialect="rfc6455")
        found.add("echo-100", engine, 2, kept=0, generator_waited=0.5, disturbed="other work")
        self.assertEqual(found.plan["servers"], {"peer": "1.0", "engine": "epoll"})
        rows = report.read(self.folder)
        self.assertEqual([row["ns_each"] for row in rows], [100, 200, None])
        self.assertEqual([row["disturbed"] for row in rows], [None, None, "other work"])


class Plot(unittest.TestCase):
    """Rows to bars."""

    ROWS = [row("engine", 1, 100), row("engine", 2, 200), row("far<away>", 1, 900), row("dear", 1, 150),
            row("dear", 2, 400), row("cheap", 1, 90), row("absent", 0, None, kept=0, failure="wrong")]

    def drawing(self, rows, facts=NO_FACTS):
        """The elements of a plot, by name without its namespace."""
        workloads = {"w": ABOUT, **WORKLOADS}
        root = xml.etree.ElementTree.fromstring(plot.plot(rows, workloads, facts))
        found = {}
        for element in root.iter():
            found.setdefault(element.tag.split("}")[1], []).append(element)
        return found

    def names(self, drawing):
        """The servers, from above."""
        return [text.text for text in drawing["text"]
                if text.get("text-anchor") == "end" and float(text.get("y")) > plot.TOP]

    def bars(self, drawing):
        """Their lengths."""
        return [float(rect.get("width")) for rect in drawing["rect"]
                if float(rect.get("y", 0)) > plot.TOP]

    def test_servers_are_sorted_and_bars_are_ratios(self):
        drawing = self.drawing(self.ROWS)
        self.assertEqual(self.names(drawing), ["cheap", "engine", "dear", "far<away>", "absent"])
        one = self.bars(drawing)[1]
        for bar, ratio in zip(self.bars(drawing), (0.9, 1.0, 1.75, plot.CUT)):
            self.assertAlmostEqual(bar / one, ratio, delta=0.02)
        texts = [text.text for text in drawing["text"]]
        for value in ("0.90", "0.15 µs", "1.75 (1.50–2.00)", "9.00", "left out"):
            self.assertIn(value, texts)

    def test_far_beyond_is_an_arrow_and_spread_a_whisker(self):
        drawing = self.drawing(self.ROWS)
        self.assertEqual(len(drawing["path"]), 1)
        near = self.drawing([row for row in self.ROWS if row["server"] in ("engine", "dear")])
        self.assertNotIn("path", near)
        dark = [line for line in near["line"] if line.get("stroke") == plot.INK]
        self.assertEqual(len(dark), 4, "the line at 1.0, a whisker and its ends")

    def test_no_text_leaves_its_column(self):
        rows = [*self.ROWS, row("a-server-with.a-very-long.name:12345", 1, 12345),
                row("a-server-with.a-very-long.name:12345", 2, 543210)]
        rows += [{**row, "workload": name} for row in rows for name in WORKLOADS]
        drawing = self.drawing(rows, {**NO_FACTS, "kernel": ["Linux " + "6" * 200]})
        self.assertEqual(set(drawing), {"svg", "title", "text", "rect", "line", "path"}, "no script")
        self.assertTrue(all(len(name) <= plot.NAME_LENGTH for name in self.names(drawing)))
        left, right = plot.MARGIN, plot.WIDTH - plot.MARGIN
        second = left + plot.COLUMN + plot.GAP
        for text in drawing["text"]:
            # No usual font without serifs has letters that are wider on average.
            width = len(text.text) * float(text.get("font-size")) * 0.64
            begin = float(text.get("x")) - {"end": width, "middle": width / 2}.get(text.get("text-anchor"), 0)
            in_panel = float(text.get("y")) > plot.TOP
            low = second if in_panel and begin > second - 20 else left
            high = second if in_panel and low == left else right
            self.assertGreaterEqual(begin, low, text.text)
            self.assertLessEqual(begin + width, high, text.text)


class Windows(unittest.TestCase):
    """Which windows count."""

    def setUp(self):
        self.results = results.Results.__new__(results.Results)
        self.results.rows, self.results.folder = [], None
        self.server = types.SimpleNamespace(name="peer", dialect="rfc6455", failures=["before"])

    def one(self, outcome, max_steal=5.0):
        """Whether a window counts, and its row."""
        options = types.SimpleNamespace(max_steal=max_steal)
        with mock.patch.object(measure, "window", side_effect=[outcome]), \
                contextlib.redirect_stderr(io.StringIO()):
            kept = measure.one("echo-100", self.server, None, 3, options, self.results)
        return kept, self.results.rows[-1]

    def test_what_other_work_disturbed_does_not_count(self):
        for figures, disturbed in (({"steal": 0.01, "generator_waited": 0.5}, "other work"),
                                   ({"steal": 0.2, "generator_waited": 0.5}, "steal"),
                                   ({"steal": 0.01, "generator_waited": None}, None),
                                   ({"steal": 0.01}, None)):
            kept, added = self.one(figures)
            self.assertEqual((kept, added["kept"]), (disturbed is None, int(disturbed is None)))
            self.assertEqual(added["disturbed"], disturbed)
            self.assertEqual(added["generator_waited"], figures.get("generator_waited"))
            self.assertEqual(self.server.failures, [], "that is no failure of the server")

    def test_all_windows_can_be_kept(self):
        self.assertTrue(self.one({"steal": 0.5, "generator_waited": 0.5}, max_steal=100)[0])

    def test_failures_are_kept_with_their_reason(self):
        kept, added = self.one(WindowFailed("first\nloadgen: lost"))
        self.assertEqual((kept, added["kept"], added["failure"]), (False, 0, "loadgen: lost"))
        self.assertEqual(self.server.failures, ["before", "loadgen: lost"])
        self.assertEqual(self.one(WindowFailed(""))[1]["failure"], "WindowFailed")

    def test_who_is_given_up_has_the_last_reason(self):
        engine = types.SimpleNamespace(name="engine", dialect="rfc6455", failures=[])
        self.server.failures, self.server.stop = [], lambda: None
        engine.stop = self.server.stop
        options = types.SimpleNamespace(max_steal=5.0, rounds=3)

        def window(server, *_):
            if server is self.server:
                raise WindowFailed("loadgen: lost")
            return {"steal": 0.0}

        with mock.patch.object(measure, "window", window), contextlib.redirect_stderr(io.StringIO()), \
                mock.patch.object(measure, "begin", lambda *_: {"engine": engine, "peer": self.server}):
            measure.measure("echo-100", {"engine": None, "peer": None}, options, self.results)
        given_up = [row["failure"] for row in self.results.rows if row["round"] == 0]
        self.assertEqual(given_up, ["its windows failed, the last: loadgen: lost"])


class Others(unittest.TestCase):
    """Servers that somebody else runs."""

    def options(self, *arguments):
        """What the command line says, or what it is refused with."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            try:
                return peers.options_of(arguments)
            except SystemExit:
                return " ".join(said.getvalue().split())

    def test_their_memory_is_not_told(self):
        remote = servers.Remote("there", "ws://127.0.0.1:1/", os.getpid(), "rfc6455")
        with self.assertRaisesRegex(probe.Unfit, "not started anew for each window"):
            measure.Running(remote, WORKLOADS["idle"], None)
        measure.Running(remote, WORKLOADS["echo-1"], None)

    def test_tls_is_refused_and_the_help_says_so(self):
        self.assertIn("TLS is not compared here", self.options("--url", "wss://127.0.0.1:1/"))
        self.assertIn("is no address", self.options("--url", "http://127.0.0.1:1/"))
        self.assertEqual(self.options("--url", "ws://127.0.0.1:1/").url, ["ws://127.0.0.1:1/"])
        self.assertIn("ws only", self.options("--help"))
        self.assertIn("no part in `idle`", self.options("--help"))


def read(stream, size):
    """Exactly so many bytes."""
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


class Faulty:
    """A server of RFC 6455 with one fault, for messages below 126 bytes."""

    def __init__(self, fault, broadcast=False):
        self.fault, self.broadcast = fault, broadcast
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.others, self.lock = [], threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        """Every connection has a thread."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        """Until the client goes."""
        stream = connection.makefile("rb")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += stream.readline()
        key = next(field for field in head.decode().split("\r\n") if "-Key: " in field)
        digest = hashlib.sha1((key.split(": ")[1] + probe.GUID).encode()).digest()
        accept = base64.b64encode(b"wrong" if self.fault == "accept" else digest).decode()
        with self.lock:
            self.others.append(connection)
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                               b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
                               + accept.encode() + b"\r\n\r\n")
        try:
            while True:
                first, second = read(stream, 2)
                self.frame(connection, first, second, stream)
        except (EOFError, OSError):
            pass

    def frame(self, connection, first, second, stream):
        """Answers one frame."""
        key = read(stream, 4)
        payload = bytes(b ^ key[i % 4] for i, b in enumerate(read(stream, second & 0x7F)))
        if first & 0x0F == 9:
            first = 0x80 | (9 if self.fault == "pong" else 10)
            to = [connection]
        elif self.fault == "byte":
            payload, to = bytes([payload[0] ^ 1]) + payload[1:], [connection]
        else:
            to = self.hearers(connection)
        with self.lock:
            for other in to:
                other.sendall(bytes([first, len(payload)]) + payload)

    def hearers(self, connection):
        """Who gets a message."""
        if not self.broadcast:
            return [connection]
        others = [other for other in self.others if other is not connection]
        return {"one": others[:-1], "self": [connection, *others]}.get(self.fault, others)


class Probe(unittest.TestCase):
    """Servers to checks."""

    def setUp(self):
        self.patience, probe.PATIENCE = probe.PATIENCE, 0.5

    def tearDown(self):
        probe.PATIENCE = self.patience

    def reason(self, fault, broadcast=False):
        """Why a server is not measured."""
        server = Faulty(fault, broadcast)
        self.addCleanup(server.listener.close)
        if broadcast:
            return probe.fit(probe.check_broadcast, server.url, "rfc6455", 64, 5, 3, True)
        return probe.fit(probe.check_echo, server.url, "rfc6455", 64, 4, True)

    def test_right_ones_pass(self):
        self.assertIsNone(self.reason(None))
        self.assertIsNone(self.reason(None, broadcast=True))

    def test_wrong_echoes_are_seen(self):
        self.assertEqual(self.reason("byte"), "it echoed 64 bytes wrongly")
        self.assertIn("it answered a ping with opcode 9", self.reason("pong"))
        self.assertEqual(self.reason("accept"), "its Sec-WebSocket-Accept is wrong")

    def test_wrong_broadcasts_are_seen(self):
        self.assertIn("it did not deliver to listener", self.reason("one", broadcast=True))
        self.assertEqual(self.reason("self", broadcast=True), "it delivers to the publisher, too")

    def test_nobody_there_is_seen(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        self.assertIn("refused", probe.fit(probe.check_echo, url, "rfc6455", 1, 1, True))

