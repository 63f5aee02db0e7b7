"""The workers that the dispatcher knows: who is idle, what each runs, and who is left alone for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hadis.protocol.run_state import WorkerAddress

_FIRST_REST_S, _LONGEST_REST_S = 0.5, 15.0
BUSY_REST_S = 0.05
"""A worker that says it is busy works for another router; its batch may end at any moment."""


@dataclass(slots=True)
class Worker:
    """One worker; `tier` is what it runs now ("" when idle), until about `free_at` (loop time)."""

    url: str
    tiers: tuple[str, ...]
    tier: str = ""
    free_at: float = 0.0
    rests_until: float = 0.0
    failures: int = 0
    gone: bool = False

    def idle(self, now: float) -> bool:
        """Return whether it may be given a batch."""
        return not self.tier and not self.gone and self.rests_until <= now

    def failed(self, now: float) -> float:
        """Leave it alone for a while, twice as long each time; return until when."""
        self.failures += 1
        self.rests_until = now + min(_LONGEST_REST_S, _FIRST_REST_S * 2 ** min(self.failures - 1, 10))
        return self.rests_until


class Workers:
    """Every worker by address."""

    def __init__(self) -> None:
        """Start without any."""
        self._all: dict[str, Worker] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._all)

    def __iter__(self) -> Iterator[Worker]:
        """Go through all of them."""
        return iter(self._all.values())

    def update(self, addresses: Iterable[WorkerAddress]) -> None:
        """Take the new list; a worker that left keeps its running batch until that ends."""
        wanted = {a.url: a for a in addresses}
        for url in list(self._all):
            if url not in wanted:
                self._all.pop(url).gone = True
        for url, address in wanted.items():
            if url in self._all:
                self._all[url].tiers = address.tiers
            else:
                self._all[url] = Worker(url, address.tiers)

    def idle(self, now: float) -> list[Worker]:
        """Return the workers that may be given a batch."""
        return [w for w in self._all.values() if w.idle(now)]

    def having(self, tier: str) -> int:
        """Return how many have a tier resident."""
        return sum(tier in w.tiers for w in self._all.values())

    def running(self, tier: str) -> int:
        """Return how many run a tier now."""
        return sum(w.tier == tier for w in self._all.values())

    def work_left_s(self, now: float) -> float:
        """Return the seconds until the running batches are done, over all workers."""
        return sum(max(0.0, w.free_at - now) for w in self._all.values() if w.tier)
