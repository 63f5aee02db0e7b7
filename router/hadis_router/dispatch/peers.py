"""The routers of a service as one of them sees them: whose workers are its own, and where a request goes.

On one machine there is one router, and everything is its own.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from hashlib import blake2b
from urllib.parse import urlsplit

from hadis.planning.plan import Plan
from hadis.protocol.run_state import WorkerAddress

from hadis_router.dispatch.cells import Cell, RoundRobin, cells_of, part_of
from hadis_router.dispatch.dispatcher import Dispatcher

TRUSTED_S = 60.0
"""A router that is no longer ready still forwards what reaches it, and is believed for so long."""
SUSPECT_S = 5.0
"""A router that did not answer is passed over for so long; by then its address is known to be gone, or it answers."""
ANY_ROUTER = bytes(4)
"""The tag of what no router keeps alone."""


def router_tag(url: str | None) -> bytes:
    """Return the 4 bytes by which ids and links name the router that keeps something; None: there is one router."""
    return blake2b(url.encode(), digest_size=4).digest() if url else ANY_ROUTER


class Peers:
    """Every router by URL, with the cells that they own. Times are loop times in seconds."""

    def __init__(self, own_url: str | None, by_endpoint: Collection[str] = ()) -> None:
        """`own_url` is how others reach this router; None where there are no others.

        `by_endpoint` are the tiers that endpoints make.
        """
        self._own_url, self._by_endpoint = own_url, by_endpoint
        self._routers: tuple[str, ...] = ()
        self._workers: tuple[WorkerAddress, ...] = ()
        self._suspects: dict[str, float] = {}
        """Until when."""
        self._cells: tuple[Cell, ...] = ()
        self._turns = RoundRobin()
        self._given: tuple[WorkerAddress, ...] | None = None
        """The workers that the dispatcher has."""
        self._trusted: dict[str | None, float] = {}
        """By host of a router, until when it is believed."""

    def update(self, routers: Sequence[str], workers: Sequence[WorkerAddress], now: float) -> None:
        """Take the routers and the workers that are ready."""
        left = {host: min(end, now + TRUSTED_S) for host, end in self._trusted.items() if end > now}
        self._trusted = left | {urlsplit(url).hostname: math.inf for url in routers}
        self._routers, self._workers = tuple(routers), tuple(workers)
        self._suspects = {url: end for url, end in self._suspects.items() if url in self._routers and end > now}
        self._part()

    def suspect(self, url: str, now: float) -> None:
        """Pass over a router that did not answer."""
        self._suspects[url] = now + SUSPECT_S
        self._part()

    def reconsider(self, now: float) -> bool:
        """Trust those again who were passed over for long enough; return whether there were any."""
        trusted = {url: end for url, end in self._suspects.items() if end > now}
        if len(trusted) == len(self._suspects):
            return False
        self._suspects = trusted
        self._part()
        return True

    def is_router(self, host: str | None, now: float) -> bool:
        """Return whether a host is that of a router of the service, or was until lately."""
        return self._trusted.get(host, 0.0) > now

    def follow(self, dispatcher: Dispatcher, plan: Plan | None) -> None:
        """Give a router's dispatcher its own workers and their part of the plan."""
        if not self.owns_any:
            dispatcher.estimates.forget()  # whoever owns the queues now learns them, and tells of them alone
        if self.own_workers != self._given:
            self._given = self.own_workers
            dispatcher.set_workers(self._given)
        part = plan and part_of(plan, self.share)
        if part is not None and part != dispatcher.plan:
            dispatcher.set_plan(part)

    @property
    def owns_all(self) -> bool:
        """Whether this router owns every queue."""
        return all(cell.owner == self._own_url for cell in self._cells)

    @property
    def owns_any(self) -> bool:
        """Whether this router owns a queue."""
        return not self._cells or any(cell.owner == self._own_url for cell in self._cells)

    @property
    def own_workers(self) -> tuple[WorkerAddress, ...]:
        """Those of this router's own cells.

        All of them where it owns none: what is forwarded to it all the same, it serves.
        """
        mine = [worker for cell in self._cells if cell.owner == self._own_url for worker in cell.workers]
        return tuple(mine) or self._workers

    @property
    def share(self) -> float:
        """The part of all workers that is this router's own, 0 to 1."""
        return len(self.own_workers) / len(self._workers) if self._workers else 1.0

    @property
    def only_owner(self) -> str | None:
        """The other router that owns every queue, if one does."""
        owners = {cell.owner for cell in self._cells}
        return owners.pop() if len(owners) == 1 and self._own_url not in owners and self._own_url else None

    @property
    def own_tag(self) -> bytes:
        """The tag of this router."""
        return router_tag(self._own_url)

    def tagged(self, tag: bytes) -> str | None:
        """Return the URL of the other router that has a tag, if there is one."""
        return next((url for url in self._routers if router_tag(url) == tag and url != self._own_url), None)

    def next_owner(self) -> str | None:
        """Return the router for the next request, each as often as it has workers; None for this one itself."""
        weights: dict[str, float] = {}
        for cell in self._cells:
            weights[cell.owner] = weights.get(cell.owner, 0.0) + max(1, len(cell.workers))
        if self._own_url is None or not weights:
            return None
        owner = self._turns.next(weights)
        return None if owner == self._own_url else owner

    def _part(self) -> None:
        if self._own_url:
            self._cells = cells_of(self._workers, self._routers, self._suspects, self._by_endpoint)
