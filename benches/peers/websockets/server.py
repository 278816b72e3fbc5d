"""The Python package websockets on uvloop.

    server.py echo | broadcast      prints "listening on ADDRESS:PORT"
"""

import asyncio
import signal
import sys

import uvloop
from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed

ROOMS = {}


async def echo(ws):
    try:
        async for message in ws:
            await ws.send(message)
    except ConnectionClosed:
        pass


async def others(ws):
    room = ROOMS.setdefault(ws.request.path, set())
    room.add(ws)
    try:
        async for message in ws:
            broadcast(room - {ws}, message)
    except ConnectionClosed:
        pass
    finally:
        room.discard(ws)
        if not room:
            ROOMS.pop(ws.request.path, None)


async def main(work):
    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    handler = {"echo": echo, "broadcast": others}[work]
    async with serve(handler, "127.0.0.1", 0, compression=None, max_size=None, backlog=4096,
                     ping_interval=None) as server:
        host, port = server.sockets[0].getsockname()
        print(f"listening on {host}:{port}", flush=True)
        await stop


if sys.argv[1:] not in (["echo"], ["broadcast"]):
    sys.exit("one argument is needed, echo or broadcast")
uvloop.run(main(sys.argv[1]))
