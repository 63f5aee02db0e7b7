"""How a worker is served: its server bounds what it reads before the application is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from hadis_worker.__main__ import server_config
from uvicorn.server import ServerState

CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"


class Wire(asyncio.Transport):
    """The other end of a connection."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: Any) -> None: ...

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\n", CHUNKED])
@pytest.mark.parametrize("line", [b"x: a\r\n", b"x" * 100])
async def test_neither_headers_nor_trailers_are_without_end(head: bytes, line: bytes) -> None:
    config = server_config(FastAPI())
    config.load()
    protocol: Any = config.http_protocol_class
    connection, wire, sent = protocol(config, ServerState(), {}, asyncio.get_running_loop()), Wire(), 0
    connection.connection_made(wire)
    connection.data_received(head)
    while not wire.closed and sent < 1_000_000:
        connection.data_received(line * 100)
        sent += 100 * len(line)
    assert sent < 200_000
    connection.connection_lost(None)
