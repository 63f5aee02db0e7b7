"""The simulated workers: a latency table in place of GPUs, and tiers that take time to change."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from hadis.planning.profile import Profile
from hadis.protocol.run_state import WorkerAddress
from hadis.protocol.worker import JobResult
from hadis_router.dispatch import Dispatcher
from hadis_router.job import Job
from hadis_router.transport import Result

from hadis_profiler.replay.inputs import Prompts

_IMAGE = b"i"


class TableTransport:
    """A worker for every address: takes as long as the profile says, and knows each prompt's confidence."""

    def __init__(self, profile: Profile, prompts: Prompts) -> None:
        """Keep the tables; a job's seed is its prompt's index."""
        self._profile, self._confidence = profile, dict(zip(profile.tiers, prompts.confidence.tolist(), strict=True))
        self.free: dict[str, asyncio.Event] = {}
        self.busy_s = 0.0

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float
    ) -> list[Result]:
        """Sleep for the batch's time and return a result a job."""
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


class SharedFleet:
    """Workers that keep every tier: nothing to change."""

    def __init__(self, dispatcher: Dispatcher, tiers: Sequence[str], gpus: int) -> None:
        """Give all of them to the dispatcher."""
        self.ready: Mapping[str, int] = dict.fromkeys(tiers, gpus)
        self.assigned = self.ready
        dispatcher.set_workers(WorkerAddress(f"w{i}", tuple(tiers)) for i in range(gpus))

    def follow(self, counts: Mapping[str, int]) -> None:
        """Do nothing: any worker may run any tier."""


class DedicatedFleet:
    """Workers of one tier each. A change ends the batch that runs and then takes `change_s`."""

    def __init__(
        self, dispatcher: Dispatcher, transport: TableTransport, counts: Mapping[str, int], change_s: float
    ) -> None:
        """Start with these tiers loaded."""
        self._dispatcher, self._transport, self._change_s = dispatcher, transport, change_s
        tiers = [tier for tier, count in counts.items() for _ in range(count)]
        self._tier = {f"w{i}": tier for i, tier in enumerate(tiers)}
        self._changing: dict[str, asyncio.Task[None]] = {}
        self._publish()

    @property
    def ready(self) -> Mapping[str, int]:
        """GPUs that serve now, by tier."""
        return Counter(tier for url, tier in self._tier.items() if url not in self._changing)

    @property
    def assigned(self) -> Mapping[str, int]:
        """GPUs by tier, those that still change to it included."""
        return Counter(self._tier.values())

    def follow(self, counts: Mapping[str, int]) -> None:
        """Change as few workers as the counts need, idle ones first; those that change already are counted as done."""
        have = Counter(self._tier.values())
        short = [tier for tier, count in counts.items() for _ in range(count - have[tier])]
        busy = {w.url: bool(w.tier) for w in self._dispatcher.workers}
        for tier in short:
            over = [u for u, t in self._tier.items() if u not in self._changing and have[t] > counts.get(t, 0)]
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
