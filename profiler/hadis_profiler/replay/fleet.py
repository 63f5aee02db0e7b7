"""The simulated workers: a latency table in place of GPUs, and tiers that take time to change."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Protocol

from hadis.planning.profile import Profile
from hadis.planning.snapshot import Worker, WorkerGroup
from hadis.protocol.labels import EVERY_TIER
from hadis.protocol.run_state import WorkerAddress
from hadis.protocol.worker import JobResult, Progress
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import OnProgress, Result, WorkerBusy, WorkerGone

from hadis_profiler.replay.disturbances import BatchFactors
from hadis_profiler.replay.inputs import ScoredPrompts

_IMAGE = b"i"
_TAKEN = Progress(done=0, steps=1)


class TableTransport:
    """A worker for every address: takes as long as the profile says times a factor, and knows each confidence."""

    def __init__(self, profile: Profile, prompts: ScoredPrompts, factors: BatchFactors) -> None:
        """Keep the tables; a job's seed is its prompt's index."""
        self._profile, self._confidence = profile, dict(zip(profile.tiers, prompts.confidence.tolist(), strict=True))
        self._factors = factors
        self._ends: dict[str, asyncio.Event] = {}
        """By worker, set when its last batch ended."""
        self._lost: set[str] = set()
        self.busy_s, self.calls, self.batches = 0.0, 0, 0

    async def generate(
        self,
        url: str,
        tier: str,
        jobs: Sequence[Job],
        discriminate: bool,
        timeout_s: float,
        on_progress: OnProgress,
    ) -> list[Result]:
        """Sleep for the batch's time and return a result per job.

        Cancelling it frees the worker at its next step; a caller that gives up after `timeout_s` leaves it busy.
        """
        self.calls += 1
        if self.busy(url):
            raise WorkerBusy(url)
        self.batches += 1
        loop = asyncio.get_running_loop()
        factor = self._factors.draw(worker_number(url), tier, loop.time())
        seconds = self._profile.latency_s(tier, len(jobs), discriminate, jobs[0].params.size) * factor
        self.busy_s += seconds
        end = self._ends[url] = asyncio.Event()
        timer = loop.call_later(seconds, end.set)
        on_progress(_TAKEN)
        try:
            await asyncio.wait_for(end.wait(), timeout_s if seconds > timeout_s else None)
        except asyncio.CancelledError:
            left_s = timer.when() - loop.time()
            step_s = seconds / (self._profile.tiers[tier].steps + 1)  # what comes after the steps counts as one
            timer.cancel()
            loop.call_later(left_s % step_s, end.set)
            self.busy_s -= left_s - left_s % step_s
            raise
        except TimeoutError:
            raise WorkerGone(f"no answer within {timeout_s:g} s") from None
        if url in self._lost:
            timer.cancel()
            raise WorkerGone(f"{url} is lost")
        known = self._confidence[tier]
        return [
            (JobResult(id=j.id, confidence=known[j.params.seed] if discriminate else None, service_s=seconds), _IMAGE)
            for j in jobs
        ]

    def lose(self, url: str) -> None:
        """Let a worker die, with the batch that it runs."""
        self._lost.add(url)
        if url in self._ends:
            self._ends[url].set()

    def busy(self, url: str) -> bool:
        """Return whether a worker runs a batch."""
        return url in self._ends and not self._ends[url].is_set()

    async def until_free(self, url: str) -> None:
        """Wait for the end of the batch that a worker runs."""
        if url in self._ends:
            await self._ends[url].wait()


def worker_name(number: int) -> str:
    """Return the address of the worker of a number."""
    return f"w{number}"


def worker_number(url: str) -> int:
    """Return the number in an address that `worker_name` made."""
    return int(url[1:])


def observe_workers(
    groups: Mapping[str, tuple[str, ...]],
    group_of: Mapping[str, str],
    changing: Container[str],
    remote: Container[str] = (),
) -> tuple[tuple[WorkerGroup, ...], tuple[Worker, ...]]:
    """Return groups (with their tiers) and workers (with their groups) as the control step sees them.

    `remote` are the groups of tiers that endpoints make.
    """
    counts = Counter(group_of.values())
    found = (
        WorkerGroup(
            name, tiers, replicas=counts[name], created=counts[name], exists=counts[name] > 0, remote=name in remote
        )
        for name, tiers in groups.items()
    )
    workers = (
        Worker(url, group, groups[group], ready=url not in changing, url=url, remote=group in remote)
        for url, group in group_of.items()
    )
    return tuple(found), tuple(workers)


class SlotFleet:
    """Workers of the tiers that endpoints make: as many as there are slots, always there."""

    def __init__(self, slots: Mapping[str, int], first: int) -> None:
        """Number them from `first` on."""
        tiers = [tier for tier, count in slots.items() for _ in range(count)]
        self.tier_of = {worker_name(first + i): tier for i, tier in enumerate(tiers)}
        self.tiers = tuple(slots)

    @property
    def addresses(self) -> list[WorkerAddress]:
        """Return them as routers know them."""
        return [WorkerAddress(url, (tier,)) for url, tier in self.tier_of.items()]


class Fleet(Protocol):
    """The simulated machines: observed and moved by the control step, published to the routers."""

    def observe(self) -> tuple[tuple[WorkerGroup, ...], tuple[Worker, ...]]:
        """Return the groups and the workers as the control step sees them."""

    def apply(self, workers_by_tier: Mapping[str, int]) -> None:
        """Move workers towards what is desired."""

    def lose(self, count: int) -> None:
        """Lose so many workers for good, those of the highest numbers first, with the batches that they run."""


Publish = Callable[[Sequence[WorkerAddress]], None]
"""Gives every router the workers that are ready."""


class SharedFleet:
    """Workers that keep every tier: nothing to change."""

    def __init__(
        self, publish: Publish, transport: TableTransport, tiers: Sequence[str], gpus: int, slots: SlotFleet
    ) -> None:
        """Publish all of them; `tiers` are those that GPUs make."""
        self._publish_to, self._transport, self._tiers, self._slots = publish, transport, tuple(tiers), slots
        self._names = [worker_name(i) for i in range(gpus)]
        self._publish()

    def observe(self) -> tuple[tuple[WorkerGroup, ...], tuple[Worker, ...]]:
        """Return the groups and the workers as the control step sees them."""
        return self._seen

    def apply(self, workers_by_tier: Mapping[str, int]) -> None:
        """Do nothing: any worker may run any tier."""

    def lose(self, count: int) -> None:
        """Lose so many workers for good, those of the highest numbers first, with the batches that they run."""
        self._names, lost = self._names[: len(self._names) - count], self._names[len(self._names) - count :]
        self._publish()
        for name in lost:
            self._transport.lose(name)

    def _publish(self) -> None:
        slots = self._slots
        self._seen = observe_workers(
            {EVERY_TIER: self._tiers} | {tier: (tier,) for tier in slots.tiers},
            dict.fromkeys(self._names, EVERY_TIER) | slots.tier_of,
            (),
            slots.tiers,
        )
        self._publish_to([*(WorkerAddress(name, self._tiers) for name in self._names), *slots.addresses])


class DedicatedFleet:
    """Workers of one tier each. A change ends the batch that runs and then takes `change_s`.

    A GPU changes its tier in place, as if its old pod ended and its new one began in one: so the budget, which no
    moment of this exceeds, is not in the way, and workers follow what is desired.
    """

    def __init__(
        self,
        publish: Publish,
        transport: TableTransport,
        counts: Mapping[str, int],
        change_s: float,
        slots: SlotFleet,
    ) -> None:
        """Start with these tiers, which GPUs make, loaded."""
        self._publish_to, self._transport, self._change_s, self._slots = publish, transport, change_s, slots
        tiers = [tier for tier, count in counts.items() for _ in range(count)]
        self._tier = {worker_name(i): tier for i, tier in enumerate(tiers)}
        self._all_tiers = tuple(counts)
        self._changing: dict[str, asyncio.Task[None]] = {}
        self._publish()

    def observe(self) -> tuple[tuple[WorkerGroup, ...], tuple[Worker, ...]]:
        """Return the groups and the workers as the control step sees them."""
        slots = self._slots
        groups = {tier: (tier,) for tier in (*self._all_tiers, *slots.tiers)}
        return observe_workers(groups, self._tier | slots.tier_of, self._changing, slots.tiers)

    def apply(self, workers_by_tier: Mapping[str, int]) -> None:
        """Change as few workers as needed, idle ones first; those that change already are counted as done."""
        have = Counter(self._tier.values())
        by_gpu = {tier: count for tier, count in workers_by_tier.items() if tier in self._all_tiers}
        short = [tier for tier, count in by_gpu.items() for _ in range(count - have[tier])]
        for tier in short:
            over = [u for u, t in self._tier.items() if u not in self._changing and have[t] > workers_by_tier.get(t, 0)]
            if not over:
                break
            url = min(over, key=self._transport.busy)
            have[self._tier[url]] -= 1
            self._tier[url] = tier
            have[tier] += 1
            self._changing[url] = asyncio.ensure_future(self._change(url))
        if short:
            self._publish()

    def lose(self, count: int) -> None:
        """Lose so many workers for good, those of the highest numbers first, with the batches that they run."""
        lost = sorted(self._tier, key=worker_number)[len(self._tier) - count :]
        for url in lost:
            del self._tier[url]
            if url in self._changing:
                self._changing.pop(url).cancel()
        self._publish()
        for url in lost:
            self._transport.lose(url)

    async def _change(self, url: str) -> None:
        await self._transport.until_free(url)
        await asyncio.sleep(self._change_s)
        del self._changing[url]
        self._publish()

    def _publish(self) -> None:
        ready = (WorkerAddress(u, (t,)) for u, t in self._tier.items() if u not in self._changing)
        self._publish_to([*ready, *self._slots.addresses])
