"""HTTP connections that nobody can hold open for nothing: uvicorn's own, with deadlines and a bound on headers.

uvicorn bounds neither with its fast parser: headers may take for ever and be of any size, and so may bodies, and a
client that does not read holds its answer's memory. Here each of these has a deadline. One timer per connection looks
at all of them now and then, so that a request costs no timer of its own.

Nor are connections without number. Who comes when there are too many is told so in answer to his request, with when to
try again: a connection that is closed at once looks like a router that died. Probes are answered still.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import ServeError
from hadis_router.http.entrance import REQUEST_ID
from hadis_router.http.errors import error_response
from hadis_router.http.half_close import HalfCloseProtocol

MOST_CONNECTIONS = 10_000
"""Unless a setting says otherwise."""
_PROBES = (b"/healthz", b"/readyz", b"/metrics")


@dataclass(frozen=True)
class ConnectionLimits:
    """Seconds, and bytes."""

    connections: int = MOST_CONNECTIONS
    """Of a server; those beyond are answered once, and as many beyond as there may be are closed unanswered."""
    head_s: float = 10.0
    """From a connection's beginning, or the first byte of a further request, to the end of its headers."""
    head_bytes: int = 32 * 1024
    """Of headers, and of what stands between two parts of a body or after it: sizes of chunks, and trailers."""
    body_pause_s: float = 10.0
    """Between two parts of a body."""
    body_s: float = 60.0
    """For a whole body."""
    unread_s: float = 30.0
    """For which a client may leave unread what it is sent."""
    check_s: float = 1.0


class _Phase(Enum):
    HEAD = "head"
    BODY = "body"
    SERVING = "serving"
    """The request is whole; then comes its answer, and the wait for another, which uvicorn bounds."""


class GuardedProtocol(HalfCloseProtocol):
    """A connection with deadlines. Who passes one is told so, where no answer has begun, and disconnected."""

    limits = ConnectionLimits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn's."""
        super().__init__(*args, **kwargs)
        self._phase, self._phase_since, self._head_bytes = _Phase.HEAD, 0.0, 0
        self._body_came = False
        """Whether the bytes that came last held a part of a body."""
        self._body_part_at = 0.0
        self._unread_since: float | None = None
        """Since when what was sent is unread; None where little or nothing is."""
        self._watch: asyncio.TimerHandle | None = None
        self._one_too_many = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch."""
        super().connection_made(transport)
        self._one_too_many = len(self.connections) > self.limits.connections
        if len(self.connections) > 2 * self.limits.connections:
            transport.abort()
        self._phase_since = self.loop.time()
        self._watch = self.loop.call_later(self.limits.check_s, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """Watch no more."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, and count those of a head or of trailers that are not whole: the parser keeps them."""
        if self.transport.is_closing():
            return
        self._body_came, in_body = False, self._phase is _Phase.BODY
        super().data_received(data)
        if self._phase is _Phase.HEAD or (in_body and self._phase is _Phase.BODY and not self._body_came):
            self._head_bytes += len(data)
            self._check_head()

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        if self._phase is not _Phase.HEAD:
            self._phase, self._phase_since = _Phase.HEAD, self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Trailers are left out: uvicorn would add them, without bound, to the headers as served."""
        if self._phase is not _Phase.BODY:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Go on with the body, unless the head is too large: then nothing is served."""
        self._head_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        self._check_head()
        self._head_bytes = 0
        if self._one_too_many and self.url not in _PROBES:
            self._refuse(refusals.too_many_connections(self.limits.connections))
        if not self.transport.is_closing():
            self._phase, self._phase_since = _Phase.BODY, self.loop.time()
            self._body_part_at = self._phase_since
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        if not self.transport.is_closing():
            self._body_part_at, self._body_came, self._head_bytes = self.loop.time(), True, 0
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        if not self.transport.is_closing():
            self._phase, self._head_bytes = _Phase.SERVING, 0
            super().on_message_complete()

    def pause_writing(self) -> None:
        """Note since when what was sent is unread."""
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that it is read again."""
        self._unread_since = None
        super().resume_writing()

    def _check_head(self) -> None:
        if self._head_bytes > self.limits.head_bytes:
            part = "headers" if self._phase is _Phase.HEAD else "trailers"
            self._end(431, "headers_too_large", f"the {part} are larger than {self.limits.head_bytes} bytes")

    def _check(self) -> None:
        """End the connection where a deadline has passed; look again later."""
        limits, now = self.limits, self.loop.time()
        self._watch = self.loop.call_later(limits.check_s, self._check)
        unread = self.transport.get_write_buffer_size() > 0 if self.transport.is_closing() else self.flow.write_paused
        if unread:
            self._unread_since = now if self._unread_since is None else self._unread_since
            if now - self._unread_since > limits.unread_s:
                self.transport.abort()
        elif self._phase is _Phase.HEAD and now - self._phase_since > limits.head_s:
            self._end(408, "headers_too_slow", f"the headers took longer than {limits.head_s:g} s")
        elif self._phase is _Phase.BODY and self.flow.read_paused:  # by us: the client cannot send
            self._body_part_at = now
        elif self._phase is _Phase.BODY and now - self._body_part_at > limits.body_pause_s:
            self._end(408, "body_too_slow", f"no part of the body came for {limits.body_pause_s:g} s")
        elif self._phase is _Phase.BODY and now - self._phase_since > limits.body_s:
            self._end(408, "body_too_slow", f"the body took longer than {limits.body_s:g} s")

    def _end(self, status: int, code: str, message: str) -> None:
        """Close the connection for a fault of its client; say which, where nothing is being answered."""
        self._refuse(ServeError(status, code, message))

    def _refuse(self, error: ServeError) -> None:
        """Close the connection; say why, where nothing is being answered."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            answering = cycle.response_started or self._phase is _Phase.HEAD
        else:
            # A body that nobody waits for any more is of a request that was answered; so much is known of its client
            # that nothing need be said.
            answering = self._phase is _Phase.BODY
        if not answering:
            answer = error_response(error)
            answer.headers[REQUEST_ID] = secrets.token_hex(16)
            lines = [STATUS_LINE[error.status], *(b"%s: %s\r\n" % header for header in answer.raw_headers)]
            self.transport.write(b"".join(lines) + b"connection: close\r\n\r\n" + bytes(answer.body))
        self.transport.close()


def guarded(connections: int) -> type[GuardedProtocol]:
    """Return the protocol of a server that has so many connections at most."""

    class Guarded(GuardedProtocol):
        limits = replace(GuardedProtocol.limits, connections=connections)

    return Guarded
