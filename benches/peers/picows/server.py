"""The Python package picows on uvloop.

    server.py echo | broadcast      prints "listening on ADDRESS:PORT"

picows hands out frames; what a client sends in several is joined here.
"""

import asyncio
import signal
import sys

import uvloop
from picows import WSCloseCode, WSListener, WSMsgType, ws_create_server

ROOMS = {}


class Peer(WSListener):
    """One connection."""

    def __init__(self, room):
        self.room = room
        self.kind = None
        self.parts = []
        self.transport = None

    def on_ws_connected(self, transport):
        self.transport = transport
        if self.room is not None:
            self.room.add(self)

    def on_ws_disconnected(self, transport):
        if self.room is not None:
            self.room.discard(self)

    def on_ws_frame(self, transport, frame):
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code() or WSCloseCode.OK)
            transport.disconnect()
        elif kind == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind != WSMsgType.PONG:
            if frame.fin and not self.parts:
                self.deliver(kind, frame.get_payload_as_memoryview())
            else:
                self.part(kind, frame)

    def part(self, kind, frame):
        """A frame of a message that has several."""
        if kind != WSMsgType.CONTINUATION:
            self.kind = kind
        self.parts.append(frame.get_payload_as_bytes())
        if frame.fin:
            payload, self.parts = b"".join(self.parts), []
            self.deliver(self.kind, payload)

    def deliver(self, kind, payload):
        """Back, or to all others."""
        if self.room is None:
            self.transport.send(kind, payload)
            return
        for other in self.room:
            if other is not self:
                other.transport.send(kind, payload)


async def main(work):
    def listener(request):
        room = None
        if work == "broadcast":
            room = ROOMS.setdefault(bytes(request.path), set())
        return Peer(room)

    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    server = await ws_create_server(listener, "127.0.0.1", 0, backlog=4096,
                                    max_frame_size=64 << 20)
    host, port = server.sockets[0].getsockname()
    print(f"listening on {host}:{port}", flush=True)
    await stop


if sys.argv[1:] not in (["echo"], ["broadcast"]):
    sys.exit("one argument is needed, echo or broadcast")
uvloop.run(main(sys.argv[1]))
