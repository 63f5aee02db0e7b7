"""Clients that close their side of the connection once they have sent their request, and still want its answer.

At first TCP does not tell them from clients that are gone: both send FIN. But a host answers what is sent to a client
that is gone with RST. So a client that closes while it waits is sent `100 Continue` now and then, which a client of
HTTP/1.1 that asked for none discards (RFC 9110, section 15.2.1), until there is its answer, or a reset.

uvicorn itself takes the end of what a client sends for its end.
"""

from __future__ import annotations

import asyncio

from hadis_router.http.no_upgrade import NoUpgradeProtocol

_PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FIRST_S, _LONGEST_S = 0.05, 2.0


class HalfCloseProtocol(NoUpgradeProtocol):
    """Answers a client that closed its side, on a connection that then ends."""

    _probing: asyncio.TimerHandle | None = None

    def eof_received(self) -> bool | None:  # type: ignore[override]  # asyncio's own type allows it
        """Keep the connection where an answer is on its way and has not begun; return None to close it.

        Once an answer has begun nothing can be sent between its parts: then the end is taken for the client's.
        """
        cycle = self.cycle
        if cycle is None or self.pipeline or cycle.more_body or cycle.response_started:
            return None
        if cycle.scope["http_version"] != "1.1":
            return None
        cycle.keep_alive = False  # so that the server closes after the answer
        self._probe(_FIRST_S)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop asking whether the client is there."""
        if self._probing is not None:
            self._probing.cancel()
        super().connection_lost(exc)

    def _probe(self, wait_s: float) -> None:
        """Send what a client that is gone refuses, and again after `wait_s`, when the refusal is known."""
        if self.transport.is_closing() or self.cycle.response_started:
            return
        self.transport.write(_PROBE)
        self._probing = self.loop.call_later(wait_s, self._probe, min(2 * wait_s, _LONGEST_S))
