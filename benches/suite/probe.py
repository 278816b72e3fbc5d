"""A small client that asks whether a server may be measured, and that holds idle connections.

It shares no code with the engine and none with
loadgen, so that what both take for right is seen by a third. RFC 6455 is here; draft-02 comes from
engine/tests/interop/hybi02.py.
"""

import base64
import contextlib
import functools
import hashlib
import os
import random
import select
import socket
import ssl
import sys
import threading
import urllib.parse

from suite.machine import ROOT

sys.path.insert(0, os.path.join(ROOT, "engine", "tests", "interop"))
import hybi02  # the path is set just above

PATIENCE = 10.0  # seconds that any one answer may take
LARGEST = 64 << 20  # bytes of a message that is taken
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
RFC6455 = {"binary": 2, "close": 8, "ping": 9, "pong": 10}
HYBI02 = {"binary": hybi02.BINARY, "close": hybi02.CLOSE, "ping": hybi02.PING,
          "pong": hybi02.PONG}


class Unfit(Exception):
    """A server does not do what a workload asks of it."""


def expect(condition, what):
    """What must be true of a server that is measured."""
    if not condition:
        raise Unfit(what)


def masked(payload):
    """A payload behind its masking key."""
    key = os.urandom(4)
    size = len(payload)
    stream = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return key + (int.from_bytes(payload, "big") ^ stream).to_bytes(size, "big")


class Today:
    """One connection in RFC 6455."""

    codes = RFC6455

    def __init__(self, url):
        target = urllib.parse.urlsplit(url)
        host, port = target.hostname, target.port or 80
        self.socket = socket.create_connection((host, port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        try:
            self.open(target)
        except BaseException:
            self.socket.close()
            raise

    def open(self, target):
        """The opening handshake."""
        key = base64.b64encode(os.urandom(16)).decode()
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        self.write(f"GET {path} HTTP/1.1\r\nHost: {target.netloc}\r\nUpgrade: websocket\r\n"
                   f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                   f"Sec-WebSocket-Key: {key}\r\n\r\n".encode())
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            expect(len(self.buffer) < 65536, "its answer to the opening handshake has no end")
            expect(self.more(), "it closed during the opening handshake")
        status, *lines = self.buffer[:end].decode("latin-1").split("\r\n")
        del self.buffer[:end + 4]
        expect(status.split(" ")[1:2] == ["101"], f"it answered the handshake with `{status}`")
        fields = {name.strip().lower(): value.strip()
                  for name, _, value in (line.partition(":") for line in lines)}
        right = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        expect(fields.get("sec-websocket-accept") == right, "its Sec-WebSocket-Accept is wrong")

    def write(self, data):
        """Sends bytes."""
        self.socket.sendall(data)

    def more(self):
        """Reads once more; the end of the connection is False."""
        data = self.socket.recv(1 << 18)
        self.buffer += data
        return bool(data)

    def frame(self, kind, payload):
        """The bytes of a frame of ours."""
        size = len(payload)
        if size < 126:
            length = bytes([0x80 | size])
        elif size < 65536:
            length = b"\xfe" + size.to_bytes(2, "big")
        else:
            length = b"\xff" + size.to_bytes(8, "big")
        return bytes([0x80 | self.codes[kind]]) + length + masked(payload)

    def take(self, size):
        """Exactly so many bytes."""
        while len(self.buffer) < size:
            expect(self.more(), "the connection ended")
        taken = bytes(memoryview(self.buffer)[:size])
        del self.buffer[:size]
        return taken

    def next(self):
        """The next message or control frame."""
        opcode, parts = 0, []
        while True:
            first, second = self.take(2)
            expect(second < 0x80 and first & 0x70 == 0, "it sent a frame that breaks the protocol")
            size = second
            if size >= 126:
                size = int.from_bytes(self.take(2 if size == 126 else 8), "big")
            expect(size <= LARGEST, f"it sent a frame of {size} bytes")
            payload = self.take(size)
            code = first & 0x0F
            if code >= 8:
                return code, payload
            opcode = code or opcode
            parts.append(payload)
            expect(sum(map(len, parts)) <= LARGEST, "it sent a message without end")
            if first & 0x80:
                return opcode, b"".join(parts)

    def close(self):
        """Ends TCP; nobody asks for more here."""
        self.socket.close()


class Secured(Today):
    """One connection in RFC 6455 in TLS; whose certificate it is, nobody asks here."""

    def open(self, target):
        """TLS, and the opening handshake."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket, server_hostname=target.hostname)
        # One thread writes while another reads, which OpenSSL does not allow at the same time.
        self.socket.setblocking(False)
        self.lock = threading.Lock()
        super().open(target)

    def attempt(self, what):
        """Does it as soon as it can be done at once."""
        while True:
            try:
                with self.lock:
                    return what()
            except ssl.SSLWantReadError:
                reading, writing = [self.socket], []
            except ssl.SSLWantWriteError:
                reading, writing = [], [self.socket]
            if not any(select.select(reading, writing, [], PATIENCE)):
                raise TimeoutError

    def write(self, data):
        """Sends bytes."""
        while data:
            data = data[self.attempt(functools.partial(self.socket.send, data)):]

    def more(self):
        """Reads once more; the end of the connection is False."""
        data = self.attempt(lambda: self.socket.recv(1 << 18))
        self.buffer += data
        return bool(data)


class Draft:
    """One connection in draft-02."""

    codes = HYBI02

    def __init__(self, url):
        request = hybi02.Request(urllib.parse.urlsplit(url), random.Random())
        self.client = hybi02.Client(request)
        self.write = self.client.write

    def frame(self, kind, payload):
        """The bytes of a frame of ours."""
        return hybi02.frame(self.codes[kind], payload)

    def next(self):
        """The next message or control frame."""
        got = self.client.next()
        expect(got is not None, "the connection ended")
        return got

    def close(self):
        """Ends TCP."""
        self.client.socket.close()


def connect(url, dialect):
    """A connection that is open."""
    if url.startswith("wss:"):
        return Secured(url)
    return (Draft if dialect == "hybi-02" else Today)(url)


def fit(check, *arguments):
    """Why a server does not pass a check; None if it does."""
    try:
        check(*arguments)
        return None
    except (Unfit, hybi02.Broken) as reason:
        return str(reason)
    except TimeoutError:  # one and the same since Python 3.10
        return f"no answer within {PATIENCE:g} s"
    except OSError as error:
        return str(error)


def ping(probe):
    """Whatever was sent before has arrived once the pong is here."""
    probe.write(probe.frame("ping", b"are you there?"))
    got = probe.next()
    expect(got == (probe.codes["pong"], b"are you there?"),
           f"it answered a ping with opcode {got[0]} and {len(got[1])} bytes")


def check_echo(url, dialect, size, depth, pongs):
    """Messages come back as they were, in order, and pings are answered."""
    probe = connect(url, dialect)
    try:
        messages = [os.urandom(size) for _ in range(depth)]
        frames = b"".join(probe.frame("binary", message) for message in messages)
        # A server may send before it has read all, and wait until somebody reads.
        writer = threading.Thread(target=write_all, args=(probe, frames), daemon=True)
        writer.start()
        for message in messages:
            code, got = probe.next()
            expect(code == probe.codes["binary"], f"it echoed with opcode {code}")
            expect(got == message, f"it echoed {size} bytes wrongly")
        writer.join(PATIENCE)
        if pongs:
            ping(probe)
    finally:
        probe.close()


def write_all(probe, data):
    """Sends; that it failed is seen by whoever reads."""
    with contextlib.suppress(OSError):
        probe.write(data)


def check_broadcast(url, dialect, size, others, burst, pongs):
    """Everybody but the publisher hears every message, in order."""
    probes = []
    try:
        for _ in range(others + 1):
            probes.append(connect(url, dialect))
        publisher, *listeners = probes
        for probe in probes if pongs else ():
            ping(probe)
        messages = [os.urandom(size) for _ in range(burst)]
        publisher.write(b"".join(publisher.frame("binary", m) for m in messages))
        for number, probe in enumerate(listeners):
            for message in messages:
                code, got = hear(probe, number, others)
                expect((code, got) == (probe.codes["binary"], message),
                       f"it delivered a message wrongly to listener {number} of {others}")
        if pongs:
            publisher.write(publisher.frame("ping", b"what did I hear?"))
            expect(publisher.next()[0] == publisher.codes["pong"],
                   "it delivers to the publisher, too")
    finally:
        for probe in probes:
            probe.close()


def hear(probe, number, others):
    """What a listener gets."""
    try:
        return probe.next()
    except TimeoutError:  # one and the same since Python 3.10
        raise Unfit(f"it did not deliver to listener {number} of {others}") from None


class Held:
    """Open connections that do nothing, each after one echo."""

    def __init__(self, url, dialect, connections, size):
        self.probes = []
        message = os.urandom(size)
        try:
            for _ in range(connections):
                probe = connect(url, dialect)
                self.probes.append(probe)
                probe.write(probe.frame("binary", message))
                expect(probe.next() == (probe.codes["binary"], message), "it echoed wrongly")
        except BaseException:
            self.close()
            raise

    def close(self):
        """Ends them all."""
        for probe in self.probes:
            probe.close()
