"""Bodies with images: how large one may be, and how many bytes of them the router holds at one time.

A request's bytes are held until it is answered, a job's until it has ended, for images may be made more than once. A
worker reads batches of MOST_BATCH_BYTES at most, and a batch has no more than a router holds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Request

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import ServeError
from hadis_router.http.request_body import check_encoding

MOST_BYTES = 25_000_000
"""Of one body, unless a setting says otherwise; OpenAI takes twice as many."""
MOST_HELD_BYTES = 500_000_000
"""Of all that are held, unless a setting says otherwise."""


@dataclass(slots=True)
class ImageBodies:
    """The bodies that are held."""

    limit: int
    """Most bytes of one."""
    room: int
    """Most bytes of all together."""
    held: int = 0


class HeldBody:
    """One body, as far as it was read."""

    def __init__(self, bodies: ImageBodies) -> None:
        """Hold nothing yet."""
        self._bodies, self._length = bodies, 0

    async def read(self, request: Request) -> bytes:
        """Return a request's body; raise ServeError 413 for one that is too large, 415 compressed, 429 without room."""
        check_encoding(request.headers.get("content-encoding", ""))
        said = request.headers.get("content-length", "")
        if said.isascii() and said.isdigit() and len(said) < 20:
            self._check(int(said))
        body = bytearray()
        async for piece in request.stream():
            self._check(len(piece))
            self._length += len(piece)
            self._bodies.held += len(piece)
            body += piece
        return bytes(body)

    def _check(self, more: int) -> None:
        if self._length + more > self._bodies.limit:
            raise ServeError(413, "body_too_large", f"the body is larger than {self._bodies.limit} bytes")
        if self._bodies.held + more > self._bodies.room:
            raise refusals.images_held()

    def take(self, length: int) -> None:
        """Hold bytes that came from elsewhere; raise ServeError 429 where there is no room for them."""
        if self._bodies.held + length > self._bodies.room:
            raise refusals.images_held()
        self._bodies.held += length
        self._length += length

    def handed_over(self) -> HeldBody:
        """Return what holds the body from now on, in place of this one."""
        other = HeldBody(self._bodies)
        other._length, self._length = self._length, 0
        return other

    def release(self) -> None:
        """Hold it no longer."""
        self._bodies.held -= self._length
        self._length = 0


async def held_body(request: Request) -> AsyncIterator[HeldBody]:
    """Yield the body of a request, which is held until its answer has been sent, or it has failed."""
    body = HeldBody(request.app.state.image_bodies)
    try:
        yield body
    finally:
        body.release()
