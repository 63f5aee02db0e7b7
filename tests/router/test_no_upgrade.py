"""Clients that offer another protocol get their answer in HTTP/1.1, of their whole request."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hadis_router.http.guarded_protocol import GuardedProtocol
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from test_guarded_protocol import Wire
from uvicorn import Config
from uvicorn.server import ServerState
from virtual import virtual

BODY = b'{"prompt": "Upgrade: h2c"}'
OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def answers(*parts: bytes) -> list[bytes]:
    """Return the bodies that are answered to what is sent in these parts, each before its status is the next."""
    loop = asyncio.get_running_loop()
    protocol = GuardedProtocol(Config(echo, ws="none", access_log=False), ServerState(), {}, loop)
    wire = Wire()
    protocol.connection_made(wire)
    for part in parts:
        protocol.data_received(part)
    await asyncio.sleep(0.1)
    protocol.connection_lost(None)
    return [answer.partition(b"\r\n\r\n")[2] for answer in wire.sent.split(b"HTTP/1.1 200 OK\r\n")[1:]]


def request(headers: bytes, body: bytes = b"", method: bytes = b"POST") -> bytes:
    return b"%s / HTTP/1.1\r\nhost: a\r\n%s\r\n%s" % (method, headers, body)


@pytest.mark.parametrize(("headers", "body", "read"), [(LENGTH, BODY, BODY), (*CHUNKED, BODY), (b"", b"", b"")])
@given(cuts=st.lists(st.integers(1, 300), max_size=4))
def test_the_request_is_whole_wherever_it_is_cut(headers: bytes, body: bytes, read: bytes, cuts: list[int]) -> None:
    @virtual
    async def send() -> None:
        sent = request(OFFER + headers, body) + request(LENGTH, BODY)
        ends = [0, *sorted(cut for cut in cuts if cut < len(sent)), len(sent)]
        assert await answers(*(sent[start:end] for start, end in pairwise(ends))) == [read, BODY]

    send()


@virtual
async def test_a_websocket_is_a_plain_request_here() -> None:
    assert await answers(request(b"connection: upgrade\r\nupgrade: websocket\r\n", method=b"GET")) == [b""]


@virtual
async def test_no_tunnel_is_made() -> None:
    assert await answers(b"CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n") == []
