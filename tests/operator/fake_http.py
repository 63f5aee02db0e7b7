"""An HTTP session without sockets: answers by address, one that it does not know refuses the connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import aiohttp


@dataclass
class Answer:
    """A body, as it is read."""

    body: bytes
    status: int = 200

    @property
    def content(self) -> Answer:
        """The same, as a stream."""
        return self

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        for begin in range(0, len(self.body), size):
            yield self.body[begin : begin + size]


@dataclass
class FakeHttp:
    """Texts by URL, or functions of the query's parameters."""

    answers: dict[str, str | Callable[[Mapping[str, str]], str]] = field(default_factory=dict)
    requested: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def get(self, url: str, params: Mapping[str, str] | None = None, **_: object) -> AsyncIterator[Answer]:
        self.requested.append(url)
        answer = self.answers.get(url)
        if answer is None:
            raise aiohttp.ClientConnectionError(f"nobody listens at {url}")
        yield Answer((answer if isinstance(answer, str) else answer(params or {})).encode())

    @property
    def session(self) -> aiohttp.ClientSession:
        """The same, as the code under test wants it."""
        return cast(aiohttp.ClientSession, self)
