"""Tests of scripts/peers: what it makes of rows, and that it sees servers that are wrong.

    python3 scripts/peer_tests.py
"""

import base64
import hashlib
import os
import socket
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import peer_probe  # noqa: E402  the path is set just above
import peer_report  # noqa: E402


def row(server, number, ns_each, kept=1, dialect="rfc6455", **more):
    """One window."""
    return {"workload": "w", "server": server, "dialect": dialect, "round": number, "kept": kept,
            "ns_each": ns_each, "per_second": 1e9 / ns_each if ns_each else None, **more}


def line(rows, server):
    """What the report has of a server."""
    return next(line for line in peer_report.lines_of(rows, "w") if line.server == server)


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
        text = peer_report.summary(rows, "w", "about", "ns_each", {"peer": "1.0"})
        self.assertIn("- peer 1.0 is left out: it is wrong", text)
        self.assertNotIn("| peer", text)

    def test_the_limiter_is_whoever_was_busy(self):
        for server, client, expected in ((0.9, 0.5, "server"), (0.8, 0.95, "client"),
                                         (0.5, 0.6, "neither"), (None, 0.9, "client")):
            rows = [row("engine", 1, 100, server_busy=server, client_busy=client)]
            self.assertEqual(line(rows, "engine").limiter(), expected)


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
        digest = hashlib.sha1((key.split(": ")[1] + peer_probe.GUID).encode()).digest()
        accept = base64.b64encode(b"wrong" if self.fault == "accept" else digest).decode()
        with self.lock:
            self.others.append(connection)
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                               b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
                               + accept.encode() + b"\r\n\r\n")
        try:
            while True:
                self.frame(connection, *read(stream, 2), stream)
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
        self.patience, peer_probe.PATIENCE = peer_probe.PATIENCE, 0.5

    def tearDown(self):
        peer_probe.PATIENCE = self.patience

    def reason(self, fault, broadcast=False):
        """Why a server is not measured."""
        server = Faulty(fault, broadcast)
        self.addCleanup(server.listener.close)
        if broadcast:
            return peer_probe.fit(peer_probe.check_broadcast, server.url, "rfc6455", 64, 5, 3,
                                  True)
        return peer_probe.fit(peer_probe.check_echo, server.url, "rfc6455", 64, 4, True)

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
        self.assertIn("refused", peer_probe.fit(peer_probe.check_echo, url, "rfc6455", 1, 1, True))


if __name__ == "__main__":
    unittest.main()
