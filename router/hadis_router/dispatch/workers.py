"""The workers that the dispatcher knows: who is idle, what each runs, and who is left alone for a while."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from hadis.protocol.run_state import WorkerAddress
from hadis.protocol.worker import Progress

_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.5, 15.0
_ROUNDING = 1e-9
_OVERRUN = 0.1
"""Share of its time so far that a late batch is taken to need still."""
_BUSY_BACKOFF_S, _LONGEST_BUSY_BACKOFF_S = 0.05, 1.0
"""A worker that says it is busy works for another router, which is about to stop, or is still at a step of a cancelled
batch: asked again soon, then less often."""
_AFTER_STEP_S, _STEPS_AWAITED = 0.005, 3
"""From the end of a step to when a worker whose batch was cancelled is free; and how many ends are waited for."""


@dataclass(slots=True)
class RemoteWorker:
    """One worker as the router sees it."""

    url: str
    tiers: tuple[str, ...]
    """Those it has resident."""
    tier: str | None = None
    """The one whose batch of ours it runs now; None while it runs none."""
    began: float = 0.0
    """When (loop time) that batch began; `free_at` is about when it ends."""
    free_at: float = 0.0
    progress: Progress | None = None
    """Of that batch; None until the worker has told that it took it."""
    progress_at: float = 0.0
    """When (loop time) it told of it, or when the batch began."""
    stopping_step: tuple[float, float] | None = None
    """Of a batch that was cancelled, when (loop time) a step ended, and the seconds of one; None since a good batch."""
    backoff_until: float = 0.0
    """It is given nothing before (loop time)."""
    failures: int = 0
    """Since its last good batch."""
    refusals: int = 0
    """In a row: it was busy."""

    def idle(self, now: float) -> bool:
        """Return whether it may be given a batch."""
        return self.tier is None and self.backoff_until <= now

    def begin(self, tier: str, began: float, free_at: float) -> None:
        """Note the batch that it was given."""
        self.tier, self.began, self.free_at, self.progress, self.progress_at = tier, began, free_at, None, began

    def advance(self, progress: Progress, expected_s: float, now: float) -> None:
        """Note its batch's progress, and when it ends by that; `expected_s` is what was expected of the whole batch."""
        self.progress, self.progress_at = progress, now
        if progress.done:
            # What comes after the steps (decoding, judging, encoding) counts as one more.
            parts = progress.steps + 1
            # Each step that is done says as much of those left as what was expected says by itself.
            pace_s = (now - self.began) * parts / progress.done
            whole_s = (pace_s * progress.done + expected_s) / (progress.done + 1)
            self.free_at = now + (1 - progress.done / parts) * whole_s

    def step_s(self, expected_s: float) -> float:
        """Return the seconds of a step of its batch: those expected, or more where that is what steps took so far."""
        done = self.progress.done if self.progress else 0
        return max(expected_s, (self.progress_at - self.began) / done) if done else expected_s

    def left_s(
        self, now: float, longest_s: Callable[[str, float], float] = lambda tier, expected_s: expected_s
    ) -> float:
        """Return the seconds until its batch is done, if that lasts as long as `longest_s` says; 0 if idle.

        One that is late already is taken to last some more, by how long it has lasted.
        """
        if self.tier is None:
            return max(0.0, self.backoff_until - now)
        left_s = self.began + longest_s(self.tier, self.free_at - self.began) - now
        return max(0.0, left_s) if left_s > -_ROUNDING else _OVERRUN * (now - self.began)

    def stop(self, now: float, step_s: float) -> None:
        """Note that its batch is stopped, and ends with the step that runs."""
        self.began, self.free_at = now, now + step_s

    def end(self) -> None:
        """Note that its batch ended, however."""
        self.tier = None

    def succeeded(self) -> None:
        """Trust it again."""
        self.failures = self.refusals = 0
        self.stopping_step = None

    def stopped(self, step_s: float) -> None:
        """Note that its batch, a step of which takes so long, was cancelled: it may be at a step still."""
        self.stopping_step = self.progress_at, step_s

    def refused(self, now: float) -> None:
        """Ask it again later: it is busy; where a batch of it was cancelled, when the step that it is at is over."""
        self.refusals += 1
        wait_s = min(_LONGEST_BUSY_BACKOFF_S, _BUSY_BACKOFF_S * 2 ** min(self.refusals - 1, 10))
        if self.stopping_step is not None and self.refusals <= _STEPS_AWAITED:
            ended_at, step_s = self.stopping_step
            wait_s = step_s - (now - ended_at) % step_s + _AFTER_STEP_S
        self.backoff_until = now + wait_s

    def failed(self, now: float) -> None:
        """Leave it alone for a while, twice as long each time."""
        self.failures += 1
        self.backoff_until = now + min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** min(self.failures - 1, 10))


class RemoteWorkers:
    """Every worker by address."""

    def __init__(self, by_endpoint: Collection[str] = ()) -> None:
        """Start without any. `by_endpoint` are the tiers that endpoints make, by workers that have no other tier."""
        self._by_url: dict[str, RemoteWorker] = {}
        self._by_endpoint = frozenset(by_endpoint)
        self.common_tiers: frozenset[str] = frozenset()
        """Those that every worker which computes has."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._by_url)

    def __iter__(self) -> Iterator[RemoteWorker]:
        """Go through all of them."""
        return iter(self._by_url.values())

    def update(self, addresses: Iterable[WorkerAddress]) -> None:
        """Take the new list; the batch of a worker that left goes on, without being counted here."""
        by_url = {address.url: address for address in addresses}
        for url in list(self._by_url):
            if url not in by_url:
                del self._by_url[url]
        for url, address in by_url.items():
            if url in self._by_url:
                self._by_url[url].tiers = address.tiers
            else:
                self._by_url[url] = RemoteWorker(url, address.tiers)
        tiers = [
            frozenset(worker.tiers)
            for worker in self._by_url.values()
            if not self._by_endpoint.issuperset(worker.tiers)
        ]
        self.common_tiers = frozenset.intersection(*tiers) if tiers else frozenset()

    def idle(self, now: float) -> list[RemoteWorker]:
        """Return the workers that may be given a batch."""
        return [worker for worker in self._by_url.values() if worker.idle(now)]

    def having(self, tier: str) -> int:
        """Return how many have a tier resident."""
        return sum(tier in worker.tiers for worker in self._by_url.values())

    def running(self, tier: str) -> int:
        """Return how many run a tier now."""
        return sum(worker.tier == tier for worker in self._by_url.values())

    def peers(self, tier: str | None) -> list[RemoteWorker]:
        """Return the workers whose work a tier's jobs wait for: those of its endpoint, or all that compute.

        Without a tier, it is all of them.
        """
        if tier is None or not self._by_endpoint:
            return list(self._by_url.values())
        alone = tier in self._by_endpoint
        return [
            w
            for w in self._by_url.values()
            if (tier in w.tiers if alone else not self._by_endpoint.issuperset(w.tiers))
        ]

    def wait_together(self, tier: str, other: str) -> bool:
        """Return whether two tiers' jobs may wait for the same workers."""
        return tier == other or not self._by_endpoint & {tier, other}

    def next_free_s(self, tier: str, now: float, longest_s: Callable[[str, float], float], but: RemoteWorker) -> float:
        """Return the seconds until the first worker that has a tier is free, one left out; infinite without any."""
        others = (w for w in self._by_url.values() if w is not but and tier in w.tiers)
        return min((w.left_s(now, longest_s) for w in others), default=math.inf)

    def next_backoff_end(self, now: float) -> float | None:
        """Return when (loop time) the first of those that are left alone may be given a batch; None without any."""
        return min(
            (w.backoff_until for w in self._by_url.values() if w.tier is None and w.backoff_until > now), default=None
        )
