#!/usr/bin/env python3
"""An independent peer of draft-ietf-hybi-thewebsocketprotocol-02, client and server.

Written from the draft alone and with the standard library alone, so that a mistake in the engine
cannot hide behind the same mistake here.

    hybi02.py client [--seed N] ws://127.0.0.1:PORT/ [CHECK...]    run checks against a server
    hybi02.py server [--port 0]                                    echo until SIGTERM
    hybi02.py list                                                 name the checks

A CHECK is the name of a check or of a group (see `list`); without one the group `echo` runs.
One line per check is printed; the exit code is 1 if one of them failed.
"""

import argparse
import hashlib
import os
import random
import re
import selectors
import signal
import socket
import sys
import time
import urllib.parse

CONTINUATION, CLOSE, PING, PONG, TEXT, BINARY = range(6)
CONTROL = (CLOSE, PING, PONG)
DEADLINE = 10.0  # seconds that any one answer may take
MESSAGE_MAX = 64 << 20  # bytes; what the server of this file takes


class Broken(Exception):
    """The peer broke a rule, or what a check expects."""


def expect(condition, what):
    if not condition:
        raise Broken(what)


# ---- frames, section 4 -------------------------------------------------------------------------


def frame(opcode, payload=b"", more=False):
    """A frame with its length in the shortest form."""
    first = bytes([(0x80 if more else 0) | opcode])
    size = len(payload)
    if size <= 125:
        return first + bytes([size]) + payload
    if size <= 0xFFFF:
        return first + b"\x7e" + size.to_bytes(2, "big") + payload
    return first + b"\x7f" + size.to_bytes(8, "big") + payload


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self):
        self.buffer = bytearray()

    def next(self, inside):
        """(opcode, more, payload), or None while bytes are missing; `inside` an open message?

        What a header shows is judged before the payload has come.
        """
        buffer = self.buffer
        if len(buffer) < 2:
            return None
        first, second = buffer[0], buffer[1]
        opcode, more = first & 0x0F, bool(first & 0x80)
        expect(first & 0x70 == 0 and second & 0x80 == 0, f"reserved bit: {first:02x} {second:02x}")
        expect(opcode <= BINARY, f"reserved opcode {opcode:x}")
        expect(not (more and opcode in CONTROL), f"fragmented control frame {first:02x}")
        expect(opcode != CONTINUATION or inside, "continuation without a message")
        expect(opcode not in (TEXT, BINARY) or not inside, "a message began inside another")
        start, size = 2, second & 0x7F
        if size == 126:
            start, size = 4, int.from_bytes(buffer[2:4], "big")
        elif size == 127:
            start, size = 10, int.from_bytes(buffer[2:10], "big")
        if len(buffer) < start:
            return None
        expect(size < 1 << 63, "top bit of the eight-byte length")
        expect(size <= MESSAGE_MAX, f"a frame of {size} bytes is beyond the limit of this peer")
        if len(buffer) < start + size:
            return None
        payload = bytes(memoryview(buffer)[start : start + size])
        del buffer[: start + size]
        return opcode, more, payload


class Messages:
    """Joins frames to messages; control frames pass through between fragments."""

    def __init__(self):
        self.frames = Frames()
        self.opcode = None
        self.parts = []
        self.size = 0

    def next(self):
        """(opcode, payload) of a message or a control frame, or None while bytes are missing."""
        while (got := self.frames.next(self.opcode is not None)) is not None:
            opcode, more, payload = got
            if opcode in CONTROL:
                return opcode, payload
            if opcode != CONTINUATION:
                self.opcode = opcode
            self.parts.append(payload)
            self.size += len(payload)
            expect(self.size <= MESSAGE_MAX, "the message is beyond the limit of this peer")
            if not more:
                message = self.opcode, b"".join(self.parts)
                self.opcode, self.parts, self.size = None, [], 0
                return message
        return None


# ---- opening handshake, section 5 --------------------------------------------------------------

NOISE = [chr(c) for c in (*range(0x21, 0x30), *range(0x3A, 0x7F))]


def make_key(rng):
    """Steps 19 to 25 of section 5.1: a number and the key that hides it."""
    spaces = rng.randint(1, 12)
    number = rng.randint(0, 0xFFFFFFFF // spaces)
    key = list(str(number * spaces))
    for _ in range(rng.randint(1, 12)):
        key.insert(rng.randint(0, len(key)), rng.choice(NOISE))
    for _ in range(spaces):
        key.insert(rng.randint(1, len(key) - 1), " ")
    return number, "".join(key)


def part(key):
    """Steps 4 to 7 of section 5.2.2: the number that a key hides."""
    digits = re.sub("[^0-9]", "", key)
    spaces = key.count(" ")
    expect(digits, "a key without a digit")
    expect(spaces, "a key without a space")
    expect(int(digits) % spaces == 0, "a key whose number is no multiple of its spaces")
    value = int(digits) // spaces
    expect(value <= 0xFFFFFFFF, "a key whose number does not fit 32 bits")
    return value


def answer(number_1, number_2, key_3):
    return hashlib.md5(number_1.to_bytes(4, "big") + number_2.to_bytes(4, "big") + key_3).digest()


def parse_fields(lines):
    fields = {}
    for line in lines:
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        expect(name and colon, f"a field without a name or a colon: {line!r}")
        value = value[1:] if value.startswith(" ") else value
        expect(name.lower() not in fields, f"the field {name} is there twice")
        fields[name.lower()] = value
    return fields


def location(host, port, resource):
    """Section 3.2, for ws only."""
    return f"ws://{host}{'' if port == 80 else f':{port}'}{resource}"


class Request:
    """A client's opening handshake, with places to do it differently."""

    def __init__(self, target, rng, resource=None):
        self.host, self.port = target.hostname, target.port or 80
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        self.resource = path if resource is None else resource
        self.rng = rng
        self.origin = "http://client.example"
        self.number_1, key_1 = make_key(rng)
        self.number_2, key_2 = make_key(rng)
        self.key_3 = rng.randbytes(8)
        hostport = self.host.lower() + ("" if self.port == 80 else f":{self.port}")
        self.fields = {
            "Upgrade": "WebSocket",
            "Connection": "Upgrade",
            "Host": hostport,
            "Origin": self.origin,
            "Sec-WebSocket-Draft": "2",
            "Sec-WebSocket-Key1": key_1,
            "Sec-WebSocket-Key2": key_2,
        }

    def keys(self, key_1, key_2, key_3):
        self.fields["Sec-WebSocket-Key1"], self.fields["Sec-WebSocket-Key2"] = key_1, key_2
        self.number_1, self.number_2, self.key_3 = part(key_1), part(key_2), key_3
        return self

    def head(self):
        lines = [f"{name}: {value}" for name, value in self.fields.items()]
        self.rng.shuffle(lines)
        return "\r\n".join([f"GET {self.resource} HTTP/1.1", *lines, "", ""]).encode()


# ---- the client --------------------------------------------------------------------------------


class Client:
    """One connection to the server under test."""

    def __init__(self, request, open=True, raw=None):
        self.socket = socket.create_connection((request.host, request.port), timeout=DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.messages = Messages()
        self.request = request
        self.fields = None
        if open:
            self.write(request.head() + request.key_3 if raw is None else raw)
            self.read_answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def write(self, data):
        self.socket.sendall(data)

    def send(self, opcode, payload=b"", more=False):
        self.write(frame(opcode, payload, more))

    def more(self):
        """Reads once more; an end of the connection is False."""
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionError:
            return False
        except TimeoutError:
            raise Broken(f"no answer within {DEADLINE:g} s") from None
        self.messages.frames.buffer += data
        return bool(data)

    def read_answer(self):
        """Steps 31 to 50 of section 5.1."""
        buffer = self.messages.frames.buffer
        while (end := buffer.find(b"\r\n\r\n")) < 0:
            expect(self.more(), f"closed inside the handshake after {bytes(buffer)!r}")
        while len(buffer) < end + 20:
            expect(self.more(), "closed before the answer to the challenge")
        status, *lines = bytes(buffer[:end]).split(b"\r\n")
        reply = bytes(buffer[end + 4 : end + 20])
        del buffer[: end + 20]
        parts = status.split(b" ")
        expect(len(parts) >= 3 and parts[1] == b"101", f"status line {status!r}")
        self.fields = fields = parse_fields(lines)
        request = self.request
        expect(fields.get("upgrade", "").lower() == "websocket", f"Upgrade in {fields}")
        expect(fields.get("connection", "").lower() == "upgrade", f"Connection in {fields}")
        expect(fields.get("sec-websocket-origin") == request.origin, f"Origin in {fields}")
        where = location(request.host.lower(), request.port, request.resource)
        expect(fields.get("sec-websocket-location") == where, f"Location in {fields}, not {where}")
        wanted = request.fields.get("Sec-WebSocket-Protocol")
        if wanted is not None:
            expect(fields.get("sec-websocket-protocol") == wanted, f"Protocol in {fields}")
        right = answer(request.number_1, request.number_2, request.key_3)
        expect(reply == right, f"answered the challenge with {reply.hex()}, not {right.hex()}")

    def next(self):
        """The next message or control frame; None at the end of the connection."""
        while (got := self.messages.next()) is None:
            if not self.more():
                return None
        return got

    def expect_next(self, opcode, payload):
        got = self.next()
        expect(got is not None, "the connection ended")
        expect(got[0] == opcode, f"opcode {got[0]}, not {opcode}")
        same = got[1] == payload
        expect(same, f"payload of {len(got[1])} bytes {got[1][:40]!r}, not {payload[:40]!r}")

    def expect_end(self):
        """The server closes TCP; a Close frame before that is allowed, anything else is not."""
        while (got := self.next()) is not None:
            expect(got[0] == CLOSE, f"opcode {got[0]} with {got[1][:40]!r} instead of the end")

    def close(self, payload=b""):
        """The closing handshake, started by us."""
        self.send(CLOSE, payload)
        self.expect_next(CLOSE, payload)
        expect(self.next() is None, "a frame after the answering Close")


# ---- the checks --------------------------------------------------------------------------------

CHECKS = {}
GROUPS = {}


def check(*groups):
    def register(function):
        name = function.__name__.replace("_", "-")
        CHECKS[name] = function
        for group in groups:
            GROUPS.setdefault(group, []).append(name)
        return function

    return register


class Run:
    """What a check is given: the target, the random numbers, a way to connect."""

    def __init__(self, target, rng):
        self.target, self.rng = target, rng

    def request(self, resource=None):
        return Request(self.target, self.rng, resource)

    def connect(self, resource=None):
        return Client(self.request(resource))

    def text(self, size):
        return bytes(self.rng.choices(range(0x20, 0x7F), k=size))

    def alive(self):
        """The server still serves."""
        with self.connect() as client:
            client.send(TEXT, b"still there?")
            client.expect_next(TEXT, b"still there?")
            client.close()


# Peers of the time differ where the draft is silent: `basic` is what all of them do, `echo` what
# we ask of a server that echoes, `broadcast` of one that delivers to all others.
SIZES = (0, 1, 125, 126, 127, 65535, 65536, 65537, 1 << 20)


@check("basic", "echo")
def echo_text_of_every_length_form(run):
    with run.connect() as client:
        for size in SIZES:
            payload = run.text(size)
            client.send(TEXT, payload)
            client.expect_next(TEXT, payload)
        client.close()


@check("basic", "echo")
def echo_binary_of_every_length_form(run):
    with run.connect() as client:
        for size in SIZES:
            payload = run.rng.randbytes(size)
            client.send(BINARY, payload)
            client.expect_next(BINARY, payload)
        client.close()


@check("basic", "echo")
def echo_utf8(run):
    with run.connect() as client:
        for text in ("κόσμε", "漢字", "\U0001f600", "a\x00b", "\ud7ff\ue000\U0010ffff"):
            client.send(TEXT, text.encode())
            client.expect_next(TEXT, text.encode())
        client.close()


@check("basic", "echo")
def fragments_are_joined(run):
    with run.connect() as client:
        client.write(b"\x84\x05Hello\x80\x01 \x80\x05World\x00\x01!")
        client.expect_next(TEXT, b"Hello World!")
        client.write(b"\x84\x0cHello World!\x00\x00")
        client.expect_next(TEXT, b"Hello World!")
        client.write(b"\x85\x00\x80\x00\x80\x03abc\x00\x00")
        client.expect_next(BINARY, b"abc")
        client.close()


@check("basic", "echo")
def fragments_cut_inside_characters(run):
    with run.connect() as client:
        client.write(bytes.fromhex("8402e6bc 8002a2e5 0002ad97"))
        client.expect_next(TEXT, "漢字".encode())
        text = "aé漢\U0001f600".encode()
        for cut in range(len(text) + 1):
            client.send(TEXT, text[:cut], more=True)
            client.send(CONTINUATION, text[cut:])
            client.expect_next(TEXT, text)
        client.close()


@check("basic", "echo")
def many_fragments_make_one_message(run):
    payload = run.rng.randbytes(300_000)
    with run.connect() as client:
        at, opcode = 0, BINARY
        while at < len(payload):
            size = run.rng.choice((0, 1, 125, 126, 4096, 65535, 65536))
            client.send(opcode, payload[at : at + size], more=True)
            at, opcode = at + size, CONTINUATION
        client.send(CONTINUATION)
        client.expect_next(BINARY, payload)
        client.close()


@check("echo")
def handshake_byte_by_byte(run):
    request = run.request()
    with Client(request, open=False) as client:
        for byte in request.head() + request.key_3:
            client.write(bytes([byte]))
        client.read_answer()
        client.close()


@check("basic", "echo")
def frame_byte_by_byte(run):
    with run.connect() as client:
        payload = run.text(126)
        for byte in frame(TEXT, payload):
            client.write(bytes([byte]))
        client.expect_next(TEXT, payload)
        client.close()


@check("basic", "echo")
def many_frames_in_one_write(run):
    with run.connect() as client:
        payloads = [run.text(run.rng.randint(0, 300)) for _ in range(200)]
        client.write(b"".join(frame(TEXT, payload) for payload in payloads))
        for payload in payloads:
            client.expect_next(TEXT, payload)
        client.close()


@check("basic", "echo")
def longer_length_forms_are_accepted(run):
    with run.connect() as client:
        client.write(b"\x04\x7e\x00\x05Hello")
        client.expect_next(TEXT, b"Hello")
        client.write(b"\x04\x7f" + (5).to_bytes(8, "big") + b"Hello")
        client.expect_next(TEXT, b"Hello")
        client.close()


@check("basic", "echo")
def ping_gets_its_payload_back(run):
    with run.connect() as client:
        for payload in (b"Hello", b"\x00\xff\x80", run.rng.randbytes(125), b"p"):
            client.send(PING, payload)
            client.expect_next(PONG, payload)
        client.close()


@check("echo")
def empty_ping(run):
    with run.connect() as client:
        client.send(PING)
        client.expect_next(PONG, b"")
        client.close()


@check("basic", "echo")
def ping_inside_a_message(run):
    with run.connect() as client:
        client.write(b"\x84\x03Hel\x02\x01!\x00\x02lo")
        client.expect_next(PONG, b"!")
        client.expect_next(TEXT, b"Hello")
        client.close()


@check("basic", "echo")
def unasked_pong_is_ignored(run):
    with run.connect() as client:
        client.send(PONG, b"nobody asked")
        client.send(TEXT, b"go on")
        client.expect_next(TEXT, b"go on")
        client.close()


@check("basic", "echo")
def close_is_echoed_and_ends_the_connection(run):
    for payload in (b"", b"OK", b"\x03\xe8bye", run.rng.randbytes(125)):
        with run.connect() as client:
            client.close(payload)


@check("basic", "echo")
def close_answer_follows_the_data(run):
    with run.connect() as client:
        client.write(frame(TEXT, b"one") + frame(BINARY, b"two") + frame(CLOSE, b"bye"))
        client.expect_next(TEXT, b"one")
        client.expect_next(BINARY, b"two")
        client.expect_next(CLOSE, b"bye")
        expect(client.next() is None, "a frame after the answering Close")


@check("echo")
def bytes_after_close_are_discarded(run):
    with run.connect() as client:
        client.write(frame(CLOSE, b"bye") + frame(TEXT, b"too late") + frame(PING, b"too late"))
        client.expect_next(CLOSE, b"bye")
        expect(client.next() is None, "a frame after the answering Close")


@check("echo")
def close_inside_a_message(run):
    with run.connect() as client:
        client.send(TEXT, b"never ended", more=True)
        client.close(b"enough")


@check("basic", "echo")
def fields_in_any_order(run):
    for _ in range(20):
        run.alive()


@check("basic", "echo")
def field_names_in_any_case(run):
    for change in (str.lower, str.upper):
        request = run.request()
        request.fields = {change(name): value for name, value in request.fields.items()}
        request.fields[change("Upgrade")] = change("WebSocket")
        request.fields[change("Connection")] = change("Upgrade")
        Client(request).socket.close()


@check("basic", "echo")
def keys_of_the_draft(run):
    vectors = (
        ("4 @1  46546xW%0l 1 5", "12998 5 Y3 1  .P00", b"^n:ds[4U", b"8jKS'y:G*Co,Wxa-"),
        (
            "18x 6]8vM;54 *(5:  {   U1]8  z [  8",
            "1_ tx7X d  <  nw  334J702) 7]o}` 0",
            b"Tm[K T2u",
            b"fQJ,fN/4F4!~K~MH",
        ),
        (
            "P388 O503D&ul7 {K%gX( %7  15",
            "1 N ?|k UT0or 3o  4 I97N 5-S3O 31",
            bytes.fromhex("4730222d5a3f4758"),
            b"0st3Rl&q-2ZU^weu",
        ),
        ("3e6b263  4 17 80", "17  9 G`ZD9   2 2b 7X 3 /r90", b"WjN}|M(6", b"n`9eBk9z$R8pOtVb"),
        ("4 294967295", "1 2", b"\r\n\r\n\0\n\r\n", None),
    )
    for key_1, key_2, key_3, known in vectors:
        request = run.request().keys(key_1, key_2, key_3)
        computed = answer(request.number_1, request.number_2, key_3)
        expect(known in (None, computed), f"this peer computes {computed!r}, not {known!r}")
        Client(request).socket.close()


@check("echo")
def key_3_comes_later(run):
    request = run.request()
    with Client(request, open=False) as client:
        client.write(request.head())
        client.socket.settimeout(0.1)
        try:
            early = client.socket.recv(1)
            raise Broken(f"answered {early!r} before the eight bytes of key_3")
        except TimeoutError:
            client.socket.settimeout(DEADLINE)
        client.write(request.key_3[:3])
        client.write(request.key_3[3:])
        client.read_answer()
        client.close()


@check("basic", "echo")
def resource_and_query_are_in_the_location(run):
    for resource in ("/", "/demo", "/a/b?c=d&e", "/%E6%BC%A2?", "/~!$'()*,;=:@"):
        run.connect(resource).socket.close()


@check("echo")
def host_is_answered_in_lower_case(run):
    request = run.request()
    request.fields["Host"] = request.fields["Host"].replace(request.host, "Server.EXAMPLE")
    request.host, connect_to = "server.example", request.host
    with Client.__new__(Client) as client:
        client.socket = socket.create_connection((connect_to, request.port), timeout=DEADLINE)
        client.messages, client.request = Messages(), request
        client.write(request.head() + request.key_3)
        client.read_answer()
        client.close()


@check("echo")
def draft_is_not_answered(run):
    with run.connect() as client:
        expect("sec-websocket-draft" not in client.fields, "Sec-WebSocket-Draft in the answer")
        client.close()


@check("echo")
def frames_sent_before_the_answer_are_not_lost(run):
    # Ambiguous in the draft (bytes after key_3): to end the connection is right, to serve the
    # frame is right, to answer the handshake and forget the frame is wrong.
    request = run.request()
    with Client(request, open=False) as client:
        client.write(request.head() + request.key_3 + frame(TEXT, b"early"))
        try:
            client.read_answer()
        except (Broken, OSError) as refused:
            expect("closed inside the handshake" in str(refused), str(refused))
            return
        client.expect_next(TEXT, b"early")
        client.close()


def expect_refusal(run, request):
    """Anything but an upgrade, then the end of the connection."""
    with Client(request, open=False) as client:
        client.write(request.head() + request.key_3)
        while client.more():
            pass
        got = bytes(client.messages.frames.buffer)
        expect(b" 101 " not in got.split(b"\r\n", 1)[0], f"upgraded: {got!r}")


@check("basic", "echo")
def bad_keys_are_refused(run):
    for key in ("12345", "1 2 3 4 5", "4294967296 0"):
        for field in ("Sec-WebSocket-Key1", "Sec-WebSocket-Key2"):
            request = run.request()
            request.fields[field] = key
            expect_refusal(run, request)
    run.alive()


@check("echo")
def keys_without_a_digit_are_refused(run):
    request = run.request()
    request.fields["Sec-WebSocket-Key1"] = "! # $"
    expect_refusal(run, request)


@check("basic", "echo")
def missing_fields_are_refused(run):
    for field in ("Upgrade", "Sec-WebSocket-Key1", "Sec-WebSocket-Key2"):
        request = run.request()
        del request.fields[field]
        if field == "Upgrade":
            request.fields["Connection"] = "close"
        expect_refusal(run, request)
    run.alive()


@check("basic", "echo")
def unknown_drafts_are_refused(run):
    for value in ("99", "4"):
        request = run.request()
        request.fields["Sec-WebSocket-Draft"] = value
        expect_refusal(run, request)


@check("echo")
def wrong_upgrade_or_connection_is_refused(run):
    for field, value in (("Upgrade", "h2c"), ("Connection", "close")):
        request = run.request()
        request.fields[field] = value
        expect_refusal(run, request)


def expect_ended(run, *sent):
    for data in sent:
        with run.connect() as client:
            client.write(data)
            try:
                client.expect_end()
            except Broken as broken:
                raise Broken(f"after {data[:24].hex(' ')}: {broken}") from None


@check("echo")
def reserved_bits_end_the_connection(run):
    expect_ended(run, b"\x44\x05Hello", b"\x24\x05Hello", b"\x14\x05Hello", b"\x04\x85Hello")
    expect_ended(run, b"\xf4\x81!")
    run.alive()


@check("basic", "echo")
def reserved_opcodes_end_the_connection(run):
    expect_ended(run, *(bytes([opcode, 5]) + b"Hello" for opcode in range(6, 16)))
    run.alive()


@check("echo")
def top_bit_of_the_length_ends_the_connection(run):
    expect_ended(run, b"\x04\x7f\x80\0\0\0\0\0\0\x05Hello")


@check("echo")
def a_length_beyond_all_limits_ends_the_connection(run):
    expect_ended(run, b"\x04\x7f\x7f" + b"\xff" * 7)
    run.alive()


@check("basic", "echo")
def a_continuation_without_a_message_ends_the_connection(run):
    expect_ended(run, b"\x00\x05Hello")


@check("echo")
def an_open_continuation_without_a_message_ends_the_connection(run):
    expect_ended(run, b"\x80\x05Hello")
    with run.connect() as client:
        client.write(b"\x84\x02Hi\x00\x01!\x00\x05Hello")
        client.expect_next(TEXT, b"Hi!")
        client.expect_end()


@check("echo")
def a_message_inside_a_message_ends_the_connection(run):
    expect_ended(run, b"\x84\x05Hello\x84\x05World", b"\x84\x05Hello\x04\x05World")
    expect_ended(run, b"\x85\x05Hello\x04\x05World")


@check("echo")
def fragmented_control_frames_end_the_connection(run):
    expect_ended(run, b"\x82\x05Hello", b"\x83\x05Hello", b"\x81\x00")


@check("echo")
def hixie_frames_end_the_connection(run):
    expect_ended(run, b"\x00Hello\xff")


@check("echo")
def a_cut_connection_harms_nobody_else(run):
    for data in (b"", b"\x04", b"\x04\x7e\x01", b"\x04\x7dhalf", b"\x84\x02Hi"):
        with run.connect() as client:
            client.write(data)
    run.alive()


@check("echo")
def text_that_is_no_utf8_harms_nobody_else(run):
    # What the server makes of it is its own choice (section 6.2): an end or an echo.
    with run.connect() as client:
        client.write(b"\x04\x02\x80\x81")
        got = client.next()
        expect(got is None or got[0] in (TEXT, CLOSE), f"{got}")
    run.alive()


@check("basic", "echo")
def a_hundred_connections_at_once(run):
    clients = [run.connect() for _ in range(100)]
    for number, client in enumerate(clients):
        client.send(TEXT, b"%d" % number)
    for number, client in reversed(list(enumerate(clients))):
        client.expect_next(TEXT, b"%d" % number)
    for client in clients:
        client.close()
        client.socket.close()


def subscribe(run, resource):
    """A connection that surely is a subscriber: the pong is behind the subscription."""
    client = run.connect(resource)
    client.send(PING, b"ready")
    client.expect_next(PONG, b"ready")
    return client


@check("broadcast")
def broadcast_reaches_every_other(run):
    here = [subscribe(run, "/here") for _ in range(10)]
    there = subscribe(run, "/there")
    messages = [(TEXT, "漢字".encode()), (BINARY, run.rng.randbytes(70_000)), (TEXT, b"")]
    for sender in (0, 4, 9):
        for opcode, payload in messages:
            here[sender].send(opcode, payload)
        for number, client in enumerate(here):
            if number != sender:
                for opcode, payload in messages:
                    client.expect_next(opcode, payload)
    # Nothing of its own came back to a sender, nothing of one topic to another.
    for client in (*here, there):
        client.send(PING, b"end")
        client.expect_next(PONG, b"end")
        client.close()
        client.socket.close()


@check("broadcast")
def broadcast_joins_fragments(run):
    with subscribe(run, "/parts") as one, subscribe(run, "/parts") as other:
        one.write(b"\x84\x03Hel\x02\x01!\x00\x02lo")
        one.expect_next(PONG, b"!")
        other.expect_next(TEXT, b"Hello")
        one.close()
        other.close()


@check("broadcast")
def broadcast_survives_a_subscriber_that_leaves(run):
    with subscribe(run, "/leaving") as one, subscribe(run, "/leaving") as other:
        subscribe(run, "/leaving").socket.close()
        with subscribe(run, "/leaving") as third:
            third.close()
        for number in range(50):
            one.send(TEXT, b"%d" % number)
        for number in range(50):
            other.expect_next(TEXT, b"%d" % number)
        one.close()
        other.close()


def run_checks(url, names, seed):
    target = urllib.parse.urlsplit(url)
    expect(target.scheme == "ws" and target.hostname, f"not a ws URL: {url}")
    chosen = []
    for name in names or ["echo"]:
        expect(name in GROUPS or name in CHECKS, f"no check or group is called {name}")
        chosen += [n for n in GROUPS.get(name, [name]) if n not in chosen]
    failed = 0
    print(f"seed {seed}")
    for name in chosen:
        began = time.monotonic()
        try:
            CHECKS[name](Run(target, random.Random(f"{seed}/{name}")))
            verdict = "ok"
        except (Broken, OSError) as error:
            failed += 1
            verdict = f"FAILED: {error or type(error).__name__}"
        print(f"{name} ... {verdict} ({(time.monotonic() - began) * 1e3:.0f} ms)", flush=True)
    print(f"{len(chosen) - failed} of {len(chosen)} checks passed")
    return 1 if failed else 0


# ---- the echo server ---------------------------------------------------------------------------


class Session:
    """The server's side of one connection, without I/O: bytes in, bytes out."""

    def __init__(self):
        self.messages = Messages()
        self.out = bytearray()
        self.open = False  # the handshake is answered
        self.ending = False  # nothing more is read; closed when `out` is sent

    def receive(self, data):
        if self.ending:
            return
        buffer = self.messages.frames.buffer
        buffer += data
        try:
            if not self.open:
                self.open = self.shake(buffer)
            while self.open and not self.ending and (got := self.messages.next()) is not None:
                self.deliver(*got)
        except Broken as broken:
            print(f"closing: {broken}", file=sys.stderr, flush=True)
            self.ending = True

    def shake(self, buffer):
        """Section 5.2; whether the handshake is complete."""
        expect(b"GET "[: len(buffer)] == buffer[:4], "no GET")
        end = buffer.find(b"\r\n\r\n")
        expect(max(end, 0) < 16384 and (end >= 0 or len(buffer) < 16384), "a head without end")
        if end < 0 or len(buffer) < end + 12:
            return False
        request_line, *lines = bytes(buffer[:end]).split(b"\r\n")
        key_3 = bytes(buffer[end + 4 : end + 12])
        del buffer[: end + 12]
        resource = request_line.split(b" ")[1].decode("utf-8", "replace")
        expect(re.fullmatch("/[!-~]*", resource), f"resource name {resource!r}")
        fields = parse_fields(lines)
        expect(fields.get("upgrade", "").lower() == "websocket", "no Upgrade: WebSocket")
        expect(fields.get("connection", "").lower() == "upgrade", "no Connection: Upgrade")
        expect(fields.get("sec-websocket-draft") == "2", "no Sec-WebSocket-Draft: 2")
        for name in ("host", "origin", "sec-websocket-key1", "sec-websocket-key2"):
            expect(name in fields, f"no field {name}")
        numbers = part(fields["sec-websocket-key1"]), part(fields["sec-websocket-key2"])
        host, _, port = fields["host"].lower().partition(":")
        answers = [
            "HTTP/1.1 101 WebSocket Protocol Handshake",
            "Upgrade: WebSocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Origin: {fields['origin']}",
            f"Sec-WebSocket-Location: {location(host, int(port or 80), resource)}",
        ]
        if "sec-websocket-protocol" in fields:
            offered = re.split("[ ,]+", fields["sec-websocket-protocol"].strip(" ,"))
            answers.append(f"Sec-WebSocket-Protocol: {offered[0]}")
        self.out += "\r\n".join([*answers, "", ""]).encode() + answer(*numbers, key_3)
        return True

    def deliver(self, opcode, payload):
        if opcode == PING:
            self.out += frame(PONG, payload)
        elif opcode == CLOSE:
            self.out += frame(CLOSE, payload)
            self.ending = True
        elif opcode in (TEXT, BINARY):
            if opcode == TEXT:
                try:
                    payload.decode("utf-8")
                except UnicodeDecodeError:
                    raise Broken("text that is no UTF-8") from None
            self.out += frame(opcode, payload)


class Server:
    """One thread, all connections."""

    def __init__(self, port):
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.listener.setblocking(False)
        self.wake, waker = socket.socketpair()
        waker.setblocking(False)
        self.waker = waker
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.wake, selectors.EVENT_READ)

    def serve(self):
        """Until SIGTERM or SIGINT."""
        signal.set_wakeup_fd(self.waker.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        print("listening on %s:%d" % self.listener.getsockname(), flush=True)
        while True:
            for key, events in self.selector.select():
                if key.fileobj is self.wake:
                    return
                if key.fileobj is self.listener:
                    self.accept()
                else:
                    self.turn(key.fileobj, key.data, events)

    def accept(self):
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(connection, selectors.EVENT_READ, Session())

    def turn(self, connection, session, events):
        try:
            if events & selectors.EVENT_READ:
                data = connection.recv(1 << 18)
                if not data:
                    return self.drop(connection)
                session.receive(data)
            if session.out:
                del session.out[: connection.send(session.out)]
        except BlockingIOError:
            pass
        except OSError:
            return self.drop(connection)
        if session.ending and not session.out:
            return self.drop(connection)
        # A peer that does not read its echoes is not read from either.
        wanted = 0 if session.ending or len(session.out) > 1 << 20 else selectors.EVENT_READ
        wanted |= selectors.EVENT_WRITE if session.out else 0
        if self.selector.get_key(connection).events != wanted:
            self.selector.modify(connection, wanted, session)

    def drop(self, connection):
        self.selector.unregister(connection)
        try:
            # Without this, bytes that came behind the Close would turn our end into a reset,
            # which can overtake the answer.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
        except OSError:
            pass
        connection.close()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    roles = parser.add_subparsers(dest="role", required=True)
    client = roles.add_parser("client", help="run checks against a server")
    client.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    client.add_argument("url")
    client.add_argument("checks", nargs="*", metavar="CHECK")
    server = roles.add_parser("server", help="echo until SIGTERM")
    server.add_argument("--port", type=int, default=0)
    roles.add_parser("list", help="name the checks and their groups")
    args = parser.parse_args()
    if args.role == "client":
        try:
            return run_checks(args.url, args.checks, args.seed)
        except Broken as broken:
            parser.error(str(broken))
    if args.role == "list":
        for name, function in CHECKS.items():
            groups = " ".join(g for g, names in GROUPS.items() if name in names)
            print(f"{name} ({groups})")
        return 0
    Server(args.port).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
