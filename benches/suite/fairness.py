"""Measures how long a quiet connection waits beside greedy ones, and beside as many ordinary ones.

    scripts/fairness                     every row on every driver; the programs are built first
    scripts/fairness --quick             one round of a third of a second each, to see whether it runs

In each row a number of greedy connections take as much of the engine as they can get: they flood it with
empty messages, with compressed zeros, or with a publication that is compressed for every window size. Next
to them a client pings the engine every millisecond and measures how long each answer takes. Then the same is
measured next to as many ordinary connections, which send 64 bytes and wait until they are back. The table
shows both, and how many times longer the answers take next to the greedy ones.

The engine runs on CPU 0 and everything else on CPU 1. The client that pings gets a real-time priority there,
if the system allows it.
"""

import argparse
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib

from suite import programs, window
from suite.machine import ROOT, guarded
from suite.report import middle, percentile

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK = bytes(4)
PING, TEXT, BINARY = 0x89, 0x81, 0x82
RSV1 = 0x40
PROBE_PAUSE = 0.001

# name, engine's command, how many want much, who they are
ROWS = [
    ("empty-30", ["echo"], 30, "empty"),
    ("empty-300", ["echo"], 300, "empty"),
    ("zeros-20", ["echo", "--compress"], 20, "zeros"),
    ("windows-7", ["broadcast", "--compress"], 7, "windows"),
]


def frame(first, payload):
    if len(payload) < 126:
        head = struct.pack("!BB", first, 0x80 | len(payload))
    elif len(payload) < 65536:
        head = struct.pack("!BBH", first, 0xFE, len(payload))
    else:
        head = struct.pack("!BBQ", first, 0xFF, len(payload))
    return head + MASK + payload


def connect(address, extension="", room="room"):
    """An open connection of RFC 6455 over plain TCP."""
    host, port = address.rsplit(":", 1)
    stream = socket.create_connection((host, int(port)), timeout=20)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    asked = f"Sec-WebSocket-Extensions: {extension}\r\n" if extension else ""
    stream.sendall((f"GET /{room} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n"
                    f"Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n"
                    f"Sec-WebSocket-Version: 13\r\n{asked}\r\n").encode())
    head = b""
    while b"\r\n\r\n" not in head:
        more = stream.recv(1)
        if not more:
            break
        head += more
    if not head.startswith(b"HTTP/1.1 101 "):
        sys.exit(f"fairness: the engine refused a connection: {head[:200]!r}")
    return stream


# ---- those who want much, in a process of their own

def compressed(payload):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def drop_input(stream):
    """Reads and forgets, so that the engine never waits for us."""
    room = bytearray(1 << 18)
    try:
        while stream.recv_into(room):
            pass
    except OSError:
        pass


def send_for_ever(stream, data):
    try:
        while True:
            stream.sendall(data)
    except OSError:
        pass


def want_much(kind, address, count):
    if kind == "empty":
        pairs = [(connect(address), frame(BINARY, b"") * 10_000) for _ in range(count)]
    elif kind == "zeros":
        data = frame(BINARY | RSV1, compressed(bytes(1 << 20))) * 60
        pairs = [(connect(address, "permessage-deflate"), data) for _ in range(count)]
    else:
        words = b" ".join(b"%d words" % n for n in range(20_000))[: 60 << 10]
        asked = [f"permessage-deflate; server_max_window_bits={bits}" for bits in range(9, 9 + count)]
        pairs = [(connect(address, one), b"") for one in asked]
        pairs.append((connect(address), frame(TEXT, words) * 4))
    for stream, data in pairs:
        stream.settimeout(None)
        threading.Thread(target=drop_input, args=(stream,), daemon=True).start()
        if data:
            threading.Thread(target=send_for_ever, args=(stream, data), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


# ---- the neighbour, in another

def probe(address, seconds):
    """Pings, and prints how many microseconds each answer took."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(20))
    stream = connect(address, room="quiet")
    ping = frame(PING, b"12345678")
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter_ns()
        stream.sendall(ping)
        answer = b""
        while len(answer) < 10:
            more = stream.recv(10 - len(answer))
            if not more:
                sys.exit("fairness: the engine closed the neighbour's connection")
            answer += more
        took.append((time.perf_counter_ns() - begin) / 1000)
        time.sleep(PROBE_PAUSE)
    print(json.dumps(took))


# ---- a row

def helper(*arguments):
    command = ["taskset", "-c", "1", sys.executable, os.path.join(ROOT, "scripts", "fairness"), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def probed(server, seconds):
    process = helper("--probe", server.address, seconds)
    out, _ = process.communicate(timeout=seconds + 60)
    if process.returncode != 0:
        sys.exit("fairness: the client that pings failed")
    return json.loads(out)


def beside_much(server, kind, count, seconds):
    process = helper("--much", kind, server.address, count)
    try:
        process.stdout.readline()
        return probed(server, seconds)
    finally:
        process.kill()
        process.wait()


def beside_others(server, loadgen, scenario, count, seconds):
    command = ["taskset", "-c", "1", loadgen, scenario, f"{server.url}busy", "-c", str(count), "-d",
               f"{seconds + 2}s", "--ws-version", "rfc6455", "-q", "-o", os.devnull]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        return probed(server, seconds)
    finally:
        process.kill()
        process.wait()


def measure(options, driver, row):
    """Medians over rounds of p50 and p99, beside those who behave and beside those who want much."""
    name, command, count, kind = row
    engine, loadgen = options.program("engine"), options.program("loadgen")
    rounds = {"others": [], "much": []}
    for _ in range(options.rounds):
        for who, found in rounds.items():
            server = window.Server(driver, [engine, *command, "--listen", "127.0.0.1:0", "--shards", "1",
                                                 "--driver", driver], 0)
            try:
                if who == "much":
                    took = beside_much(server, kind, count, options.seconds)
                else:
                    # Whatever the engine does, these want little of it.
                    scenario = "echo" if command[0] == "echo" else "broadcast"
                    took = beside_others(server, loadgen, scenario, count, options.seconds)
            finally:
                server.stop()
            found.append((percentile(took, 0.5), percentile(took, 0.99)))
    figures = []
    for found in rounds.values():
        figures += [middle([one[place] for one in found]) for place in range(2)]
    return [name, driver, *figures, figures[3] / figures[1]]


def table(results):
    lines = ["| row | driver | beside others: p50 µs | p99 | beside much: p50 µs | p99 | p99 ratio |",
             "|---|---|--:|--:|--:|--:|--:|"]
    for name, driver, *figures, ratio in results:
        cells = [f"{figure:.0f}" for figure in figures]
        lines.append(f"| {name} | {driver} | {' | '.join(cells)} | {ratio:.1f} |")
    return "\n".join(lines) + "\n"


@guarded
def main():
    parser = argparse.ArgumentParser(prog="scripts/fairness", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", metavar="DIR",
                        help="take engine and loadgen from there instead of building them")
    parser.add_argument("--driver", action="append", metavar="NAME",
                        help="only this driver, of those that `engine doctor` has; may be repeated [all usable ones]")
    parser.add_argument("--row", action="append", choices=[row[0] for row in ROWS], metavar="NAME",
                        help=f"only this row: {', '.join(row[0] for row in ROWS)}; may be repeated [all]")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of each row [5]")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="length of a window [2]")
    parser.add_argument("--quick", action="store_true", help="one round of windows of 0.3 s")
    parser.add_argument("--out", metavar="FILE", help="write the table to this file, too")
    parser.add_argument("--probe", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--much", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        return probe(options.probe[0], float(options.probe[1]))
    if options.much:
        return want_much(options.much[0], options.much[1], int(options.much[2]))
    if options.quick:
        options.rounds, options.seconds = 1, 0.3
    programs.build(options, programs.BENCHED)
    programs.check_drivers(options, options.driver or [])
    results = []
    for driver in options.driver or programs.drivers(options):
        for row in ROWS:
            if options.row and row[0] not in options.row:
                continue
            results.append(measure(options, driver, row))
            print(table(results[-1:]).splitlines()[-1], flush=True)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(table(results))
    print("\n" + table(results), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
