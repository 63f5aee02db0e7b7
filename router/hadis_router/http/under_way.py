"""Requests under way: where those who know a request's id find how far it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

from hadis_router.dispatch.job import Job

_Listed = TypeVar("_Listed")


class RequestsUnderWay:
    """The requests that this router serves or has forwarded."""

    def __init__(self) -> None:
        """Begin with none."""
        self.jobs: dict[str, list[Job]] = {}
        """By request id: the jobs of a request that is served here."""
        self.owners: dict[str, str] = {}
        """By request id: the URL of the router that a request was forwarded to."""

    def served(self, request_id: str, jobs: list[Job]) -> AbstractContextManager[None]:
        """List a request's jobs while they are under way, if its id is not in use."""
        return _listed(self.jobs, request_id, jobs)

    def forwarded(self, request_id: str, owner: str) -> AbstractContextManager[None]:
        """List the router that serves a request while it does, if the request's id is not in use."""
        return _listed(self.owners, request_id, owner)


@contextlib.contextmanager
def _listed(table: dict[str, _Listed], request_id: str, value: _Listed) -> Iterator[None]:
    if request_id in table:
        yield
        return
    table[request_id] = value
    try:
        yield
    finally:
        del table[request_id]
