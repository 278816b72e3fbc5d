"""The Python package websockets as a client of the engine and as a server for loadgen.

    websockets_peer.py client URL            an echo server's
    websockets_peer.py compressed URL        the same, where the server agrees to compress
    websockets_peer.py broadcast URL         a broadcast server's
    websockets_peer.py server [CERT KEY]     echoes, in TLS with the two files; prints
                                             "listening on ADDRESS:PORT" or with wss:// before it
    websockets_peer.py compressing           the same, for clients that compress; others are refused

Authorities for wss URLs are those that SSL_CERT_FILE names.
"""

import asyncio
import os
import signal
import ssl
import sys

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

OPTIONS = {"compression": None, "max_size": None}


async def within(awaitable, seconds=20):
    return await asyncio.wait_for(awaitable, seconds)


async def echoes(url):
    """Text and binary at both sides of every form of the length, fragments, pings, the end."""
    async with connect(url, **OPTIONS) as ws:
        for length in (0, 1, 125, 126, 65535, 65536, 1 << 20):
            binary = os.urandom(length)
            text = ("Grüße, κόσμε, 世界 😀 " * (length // 20 + 1))[: length // 4]
            for message in (binary, text):
                await ws.send(message)
                assert await within(ws.recv()) == message, length
        await ws.send(["frag", "men", "ted"])
        assert await within(ws.recv()) == "fragmented"
        await ws.send([b"\x00\xff", b"", b"\xfe"])
        assert await within(ws.recv()) == b"\x00\xff\xfe"
        await within(await ws.ping(b"are you there?"))
        many = [f"message {n}" for n in range(1000)]
        for message in many:
            await ws.send(message)
        for message in many:
            assert await within(ws.recv()) == message
        await ws.close(4001, "enough")
        assert (ws.close_code, ws.protocol.close_rcvd.code) == (4001, 4001)
    print("echo ok")


async def compressed(url):
    """Every set of parameters that a client may ask for."""
    for parameters in ({}, {"server_no_context_takeover": True}, {"server_max_window_bits": 9},
                       {"client_max_window_bits": 9},
                       {"server_max_window_bits": 12, "client_no_context_takeover": True}):
        offer = [ClientPerMessageDeflateFactory(**parameters)]
        async with connect(url, extensions=offer, **OPTIONS) as ws:
            assert ws.protocol.extensions, f"{parameters} was declined"
            for message in ("", "hello" * 100, "Grüße, 世界 " * 5000, b"", b"\0" * (1 << 20),
                            os.urandom(65536), os.urandom(1 << 20)):
                await ws.send(message)
                assert await within(ws.recv()) == message, (parameters, len(message))
            await ws.send(["frag" * 100, "men" * 1000, "ted"])
            assert await within(ws.recv()) == "frag" * 100 + "men" * 1000 + "ted"
            await ws.send(b"\0" * ((1 << 20) + 1))
            try:
                await within(ws.recv())
                raise AssertionError("a message beyond the limit came back")
            except websockets.ConnectionClosed as end:
                assert end.rcvd is not None and end.rcvd.code == 1009, end
    print("compressed ok")


async def refusals(url):
    """What breaks a rule is told by the right code."""
    async with connect(url, **OPTIONS) as ws:
        await ws.send(b"x" * ((1 << 20) + 1))
        try:
            await within(ws.recv())
            raise AssertionError("a message beyond the limit came back")
        except websockets.ConnectionClosed as end:
            assert end.rcvd is not None and end.rcvd.code == 1009, end
    try:
        async with connect(url, origin="http://example.com", subprotocols=["nobody"], **OPTIONS):
            pass
    except websockets.InvalidHandshake as error:
        raise AssertionError(f"a subprotocol that is not known is no reason to refuse: {error}")
    print("refusals ok")


async def broadcasts(url):
    """Everybody hears what others say, and not themselves."""
    async with connect(url, **OPTIONS) as one, connect(url, **OPTIONS) as two, \
            connect(url, **OPTIONS) as three:
        await one.send("from one")
        assert [await within(ws.recv()) for ws in (two, three)] == ["from one"] * 2
        await two.send(b"from two")
        assert [await within(ws.recv()) for ws in (one, three)] == [b"from two"] * 2
    print("broadcast ok")


async def server(*files, compression=None):
    async def echo(ws):
        if compression and not ws.protocol.extensions:
            await ws.close(1008, "compression was not offered")
        async for message in ws:
            await ws.send(message)

    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    tls = None
    if files:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*files)
    options = {**OPTIONS, "compression": compression}
    async with serve(echo, "127.0.0.1", 0, ssl=tls, **options) as running:
        host, port = running.sockets[0].getsockname()
        print(f"listening on {'wss://' if tls else ''}{host}:{port}", flush=True)
        await stop


async def main(mode, *rest):
    if mode == "server":
        await server(*rest)
    elif mode == "compressing":
        await server(*rest, compression="deflate")
    elif mode == "compressed":
        await compressed(*rest)
    elif mode == "broadcast":
        await broadcasts(*rest)
    else:
        await echoes(*rest)
        await refusals(*rest)


asyncio.run(main(*sys.argv[1:]))
