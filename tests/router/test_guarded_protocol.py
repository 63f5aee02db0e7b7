"""Connections that are held open for nothing, or send too much, end; the clock is virtual."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hadis_router.http.guarded_protocol import ConnectionLimits, GuardedProtocol, guarded
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState
from virtual import virtual

LIMITS = ConnectionLimits()
HEAD = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n"


class Wire(asyncio.Transport):
    """The other end of a connection: keeps what was sent and when it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent, self.unread = b"", 0
        self.closed_at: float | None = None
        self.aborted = False

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        return self.closed_at is not None

    def close(self) -> None:
        self.closed_at = self.closed_at or asyncio.get_running_loop().time()

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, then answer."""
    if scope["path"] != "/stream":
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/stream":
        await asyncio.Event().wait()
    await send({"type": "http.response.body", "body": b"done"})


def connect(
    kind: type[GuardedProtocol] = GuardedProtocol, state: ServerState | None = None
) -> tuple[GuardedProtocol, Wire]:
    protocol = kind(
        Config(app, timeout_keep_alive=120, ws="none"), state or ServerState(), {}, asyncio.get_running_loop()
    )
    wire = Wire()
    protocol.connection_made(wire)
    return protocol, wire


@virtual
async def test_headers_that_do_not_come_end_the_connection() -> None:
    for sent in (b"", b"GET / HT"):
        protocol, wire = connect()
        if sent:
            protocol.data_received(sent)
        await asyncio.sleep(LIMITS.head_s - 1)
        assert wire.closed_at is None
        await asyncio.sleep(3)
        assert wire.closed_at is not None
        assert b" 408 " in wire.sent and b"headers_too_slow" in wire.sent


@virtual
async def test_headers_that_trickle_end_the_connection() -> None:
    protocol, wire = connect()
    protocol.data_received(b"GET / HTTP/1.1\r\n")
    for i in range(30):
        protocol.data_received(b"x-%d: a\r\n" % i)
        await asyncio.sleep(1)
    assert wire.closed_at is not None and wire.closed_at <= LIMITS.head_s + 2


@pytest.mark.parametrize("part", [1000, 200_000])
@pytest.mark.parametrize("line", [b"x: " + b"a" * 90 + b"\r\n", b"a" * 95])
def test_headers_that_are_too_large_are_refused_at_once(part: int, line: bytes) -> None:
    @virtual
    async def send() -> None:
        protocol, wire = connect()
        head, sent = b"GET / HTTP/1.1\r\nx: " + line * 3000 + b"\r\n\r\n", 0
        while wire.closed_at is None and sent < len(head):
            protocol.data_received(head[sent : sent + part])
            sent += part
        assert b" 431 " in wire.sent and b"headers_too_large" in wire.sent and b"\r\nx-request-id: " in wire.sent
        assert sent <= LIMITS.head_bytes + 2 * part

    send()


CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"


@pytest.mark.parametrize("part", [1000, 200_000])
@pytest.mark.parametrize(
    "more", [b"0\r\n" + b"x: a\r\n" * 80_000, b"0\r\nx: " + b"a" * 500_000, b"1;x=" + b"a" * 500_000]
)
def test_trailers_and_what_else_stands_beside_a_body_are_bounded_like_headers(part: int, more: bytes) -> None:
    @virtual
    async def send() -> None:
        protocol, wire = connect()
        protocol.data_received(CHUNKED)
        sent = 0
        while wire.closed_at is None and sent < len(more):
            protocol.data_received(more[sent : sent + part])
            sent += part
        assert b" 431 " in wire.sent and b"the trailers are larger" in wire.sent
        assert sent <= LIMITS.head_bytes + 2 * part

    send()


@virtual
async def test_trailers_are_no_headers_and_many_small_chunks_are_a_body() -> None:
    protocol, wire = connect()
    protocol.data_received(CHUNKED)
    for _ in range(LIMITS.head_bytes // 4):
        protocol.data_received(b"1;x\r\na\r\n")
    protocol.data_received(b"0\r\nhadis-secret: a\r\n\r\n")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire.sent[9:12] == b"200"
    assert all(name != b"hadis-secret" for name, _ in protocol.headers)


@virtual
async def test_trailers_do_not_count_towards_the_next_headers() -> None:
    protocol, wire = connect()
    for _ in range(3):
        protocol.data_received(CHUNKED)
        protocol.data_received(b"0\r\nx: " + b"a" * 20_000)
        protocol.data_received(b"\r\n\r\n")
        protocol.data_received(b"GET / HTTP/1.1\r\nx: " + b"a" * 20_000)
        protocol.data_received(b"\r\n\r\n")
        await asyncio.sleep(1)
    assert wire.closed_at is None and wire.sent.count(b" 200 ") == 6


@virtual
async def test_a_body_that_pauses_ends_the_connection() -> None:
    protocol, wire = connect()
    protocol.data_received(HEAD + b"a")
    await asyncio.sleep(LIMITS.body_pause_s - 1)
    protocol.data_received(b"a")
    await asyncio.sleep(LIMITS.body_pause_s - 1)
    assert wire.closed_at is None
    await asyncio.sleep(3)
    assert wire.closed_at is not None and b"body_too_slow" in wire.sent


@virtual
async def test_a_body_that_trickles_ends_the_connection() -> None:
    protocol, wire = connect()
    protocol.data_received(HEAD)
    for _ in range(100):
        protocol.data_received(b"a")
        await asyncio.sleep(1)
    assert wire.closed_at is not None and LIMITS.body_s < wire.closed_at <= LIMITS.body_s + 2
    assert b"body_too_slow" in wire.sent


@virtual
async def test_one_request_after_another_is_served_with_pauses_between_them() -> None:
    protocol, wire = connect()
    for i in range(3):
        protocol.data_received(HEAD)
        await asyncio.sleep(5)
        protocol.data_received(b"a" * 1000)
        await asyncio.sleep(40)
        assert wire.sent.count(b" 200 ") == i + 1 and wire.closed_at is None
    protocol.data_received(b"GET / HT")
    await asyncio.sleep(LIMITS.head_s + 2)
    assert b" 408 " in wire.sent


@virtual
async def test_a_client_that_does_not_read_is_cut_off() -> None:
    protocol, wire = connect()
    protocol.data_received(b"GET /stream HTTP/1.1\r\n\r\n")
    await asyncio.sleep(100)
    assert not wire.aborted  # a stream may be quiet
    protocol.pause_writing()
    await asyncio.sleep(LIMITS.unread_s - 1)
    protocol.resume_writing()
    protocol.pause_writing()
    await asyncio.sleep(LIMITS.unread_s - 1)
    assert not wire.aborted
    await asyncio.sleep(3)
    assert wire.aborted


@virtual
async def test_a_closed_connection_whose_last_bytes_nobody_reads_is_cut_off() -> None:
    _, wire = connect()
    wire.unread = 10
    wire.close()
    await asyncio.sleep(LIMITS.unread_s + 3)
    assert wire.aborted


@virtual
async def test_connections_are_bounded_and_who_is_one_too_many_is_told_when_to_come_again() -> None:
    state, get = ServerState(), b"GET /%b HTTP/1.1\r\nhost: a\r\n\r\n"
    first, second, third, fourth, fifth = (connect(guarded(2), state) for _ in range(5))
    assert [wire.aborted for _, wire in (first, second, third, fourth, fifth)] == [False] * 4 + [True]
    for protocol, _ in (first, second, third):
        protocol.data_received(get % b"")
    fourth[0].data_received(get % b"healthz")
    await asyncio.sleep(0)
    assert [wire.sent[9:12] for _, wire in (first, second, third, fourth)] == [b"200", b"200", b"503", b"200"]
    assert b"too_many_connections" in third[1].sent and b"retry-after: 5" in third[1].sent
    assert [wire.is_closing() for _, wire in (first, second, third)] == [False, False, True]
    third[0].connection_lost(None)
    fifth[0].connection_lost(None)
    second[0].connection_lost(None)
    fourth[0].connection_lost(None)
    protocol, wire = connect(guarded(2), state)
    protocol.data_received(get % b"")
    await asyncio.sleep(0)
    assert wire.sent[9:12] == b"200"
