"""The simulated workers: a latency table in place of GPUs, and tiers that take time to change."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Container, Mapping, Sequence

from hadis.planning.profile import Profile
from hadis.planning.snapshot import Worker, WorkerGroup
from hadis.protocol.labels import EVERY_TIER
from hadis.protocol.run_state import WorkerAddress
from hadis.protocol.worker import JobResult
from hadis_router.dispatch import Dispatcher
from hadis_router.job import Job
from hadis_router.transport import Result

from hadis_profiler.replay.inputs import ScoredPrompts

_IMAGE = b"i"


class TableTransport:
    """A worker for every address: takes as long as the profile says, and knows each prompt's confidence."""

    def __init__(self, profile: Profile, prompts: ScoredPrompts) -> None:
        """Keep the tables; a job's seed is its prompt's index."""
        self._profile, self._confidence = profile, dict(zip(profile.tiers, prompts.confidence.tolist(), strict=True))
        self.free: dict[str, asyncio.Event] = {}
        self.busy_s = 0.0

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float
    ) -> list[Result]:
        """Sleep for the batch's time and return a result per job."""
        seconds = self._profile.latency_s(tier, len(jobs), discriminate)
        free = self.free.setdefault(url, asyncio.Event())
        free.clear()
        try:
            await asyncio.sleep(seconds)
        finally:
            free.set()
        self.busy_s += seconds
        known = self._confidence[tier]
        return [
            (JobResult(id=j.id, confidence=known[j.params.seed] if discriminate else None, service_s=seconds), _IMAGE)
            for j in jobs
        ]


def observe_workers(
    groups: Mapping[str, tuple[str, ...]], group_of: Mapping[str, str], changing: Container[str]
) -> tuple[tuple[WorkerGroup, ...], tuple[Worker, ...]]:
    """Return groups (with their tiers) and workers (with their groups) as the control step sees them."""
    counts = Counter(group_of.values())
    found = (
        WorkerGroup(name, tiers, replicas=counts[name], created=counts[name], exists=counts[name] > 0)
        for name, tiers in groups.items()
    )
    workers = (Worker(url, group, groups[group], ready=url not in changing) for url, group in group_of.items())
    return tuple(found), tuple(workers)


class SharedFleet:
    """Workers that keep every tier: nothing to change."""

    def __init__(self, dispatcher: Dispatcher, tiers: Sequence[str], gpus: int) -> None:
        """Give all of them to the dispatcher."""
        names, resident = [f"w{i}" for i in range(gpus)], tuple(tiers)
        self._seen = observe_workers({EVERY_TIER: resident}, dict.fromkeys(names, EVERY_TIER), ())
        dispatcher.set_workers(WorkerAddress(name, resident) for name in names)

    def observe(self) -> tuple[tuple[WorkerGroup, ...], tuple[Worker, ...]]:
        """Return the groups and the workers as the control step sees them."""
        return self._seen

    def apply(self, workers_by_tier: Mapping[str, int]) -> None:
        """Do nothing: any worker may run any tier."""


class DedicatedFleet:
    """Workers of one tier each. A change ends the batch that runs and then takes `change_s`.

    A GPU changes its tier in place, as if its old pod ended and its new one began in one: so the budget, which no
    moment of this exceeds, is not in the way, and workers follow what is desired.
    """

    def __init__(
        self, dispatcher: Dispatcher, transport: TableTransport, counts: Mapping[str, int], change_s: float
    ) -> None:
        """Start with these tiers loaded."""
        self._dispatcher, self._transport, self._change_s = dispatcher, transport, change_s
        tiers = [tier for tier, count in counts.items() for _ in range(count)]
        self._tier = {f"w{i}": tier for i, tier in enumerate(tiers)}
        self._all_tiers = tuple(counts)
        self._changing: dict[str, asyncio.Task[None]] = {}
        self._publish()

    def observe(self) -> tuple[tuple[WorkerGroup, ...], tuple[Worker, ...]]:
        """Return the groups and the workers as the control step sees them."""
        return observe_workers({tier: (tier,) for tier in self._all_tiers}, self._tier, self._changing)

    def apply(self, workers_by_tier: Mapping[str, int]) -> None:
        """Change as few workers as needed, idle ones first; those that change already are counted as done."""
        have = Counter(self._tier.values())
        short = [tier for tier, count in workers_by_tier.items() for _ in range(count - have[tier])]
        busy = {w.url: bool(w.tier) for w in self._dispatcher.workers}
        for tier in short:
            over = [u for u, t in self._tier.items() if u not in self._changing and have[t] > workers_by_tier.get(t, 0)]
            if not over:
                break
            url = min(over, key=lambda u: busy.get(u, False))
            have[self._tier[url]] -= 1
            self._tier[url] = tier
            have[tier] += 1
            self._changing[url] = asyncio.ensure_future(self._change(url))
        if short:
            self._publish()

    async def _change(self, url: str) -> None:
        if url in self._transport.free:
            await self._transport.free[url].wait()
        await asyncio.sleep(self._change_s)
        del self._changing[url]
        self._publish()

    def _publish(self) -> None:
        self._dispatcher.set_workers(WorkerAddress(u, (t,)) for u, t in self._tier.items() if u not in self._changing)
