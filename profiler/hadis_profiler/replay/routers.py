"""The simulated routers: each with the live one's dispatcher and its view of the others, clients taking turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from hadis.planning.plan import Plan
from hadis.protocol.run_state import WorkerAddress
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.peers import Peers

HOP_S = 0.002
"""Seconds from one router to another, about what `make bench` measures."""


class Routers:
    """So many routers of one service."""

    def __init__(self, count: int, make: Callable[[], Dispatcher]) -> None:
        """`make` makes a router's dispatcher."""
        urls = [f"r{i}" for i in range(count)]
        self._dispatchers = {url: make() for url in urls}
        self._peers = {url: Peers(url if count > 1 else None) for url in urls}
        self._urls = urls
        self._turn = 0
        self.plan: Plan | None = None
        self.forwarded = 0
        """Requests that went from one router to another."""

    def __iter__(self) -> Iterator[Dispatcher]:
        """Go through the dispatchers."""
        return iter(self._dispatchers.values())

    def set_workers(self, workers: Sequence[WorkerAddress]) -> None:
        """Tell every router which workers are ready."""
        for peers in self._peers.values():
            peers.update(self._urls, workers, asyncio.get_running_loop().time())
        self._follow()

    def set_plan(self, plan: Plan) -> None:
        """Give every router its part of a plan."""
        self.plan = plan
        self._follow()

    def _follow(self) -> None:
        for url, dispatcher in self._dispatchers.items():
            self._peers[url].follow(dispatcher, self.plan)

    def submit(self, job: Job, refused: Callable[[Job, ServeError], None]) -> None:
        """Let a job arrive at the next router, and at the one that owns its queue; `refused` gets one not admitted."""
        here = self._urls[self._turn % len(self._urls)]
        self._turn += 1
        owner = self._peers[here].next_owner()
        if owner is None:
            _submit(self._dispatchers[here], job, refused)
        else:
            self.forwarded += 1
            loop = asyncio.get_running_loop()
            loop.call_later(HOP_S, _submit, self._dispatchers[owner], job, refused)


def _submit(dispatcher: Dispatcher, job: Job, refused: Callable[[Job, ServeError], None]) -> None:
    try:
        dispatcher.submit(job)
    except ServeError as error:
        refused(job, error)
