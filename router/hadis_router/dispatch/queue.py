"""The queue of one tier: earliest deadline first, and batches of jobs that can be made together.

Where a tier's images are not what is promised (`by_turns`), clients that wait at one time take turns (`turns.py`). Jobs
that no lighter tier can make go before them all: no other image can be their answer.

It holds no lock and no task: the dispatcher owns it. The bound on the total is admission's, which sees all queues.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from itertools import chain, islice
from operator import attrgetter
from typing import TypeVar

from hadis_router.dispatch.image_params import BatchKey
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.turns import QueueEntry, Turns

_SCAN = 256
"""How many entries from the head on are looked through to fill a batch."""


class TierQueue:
    """Waiting jobs of one tier, by deadline and, among equals, by arrival in the queue."""

    def __init__(self, weight: Callable[[str], float] = lambda client: 1.0) -> None:
        """Start empty; `weight` by client."""
        self._entries: list[QueueEntry] = []
        self._by_id: dict[str, QueueEntry] = {}
        self._number = 0
        self._turns = Turns(weight)
        """Of the jobs that a lighter image can be the answer to. The others were promised one of this tier in time."""
        self.by_turns = False
        """Whether clients take turns, where several wait."""
        self.needy: list[float] = []
        """Deadlines, rising, of the jobs that have no image yet and may be answered by a lighter tier."""
        self.needy_by_size: dict[str | None, list[float]] = {}
        """The same by image size."""
        self.bound: list[float] = []
        """Deadlines, rising, of those without an image that no lighter tier may make."""
        self.bound_by_size: dict[str | None, list[float]] = {}
        """The same by image size."""
        self.kinds: dict[BatchKey, int] = {}
        """How many jobs wait that can share a batch."""
        self.unmade_s: dict[str, float] = {}
        """By client, the GPU seconds that the first images of its jobs take."""

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return len(self._entries)

    def put(self, job: Job, work_s: float = 0.0) -> None:
        """Add a job at its deadline's place; `work_s`: GPU seconds that its first image takes, 0 if it has one."""
        self._number += 1
        entry = QueueEntry(job.deadline, self._number, job, job.needy, job.bound, work_s)
        self._by_id[job.id] = entry
        insort(self._entries, entry)
        if _yields(entry):
            self._turns.put(entry)
        _count(self.kinds, job.params.batch_key, 1)
        if entry.needy:
            insort(self.needy, job.deadline)
            insort(self.needy_by_size.setdefault(job.params.size, []), job.deadline)
        if entry.bound:
            insort(self.bound, job.deadline)
            insort(self.bound_by_size.setdefault(job.params.size, []), job.deadline)
        if work_s:
            self.unmade_s[job.client] = self.unmade_s.get(job.client, 0.0) + work_s

    def remove(self, job: Job) -> bool:
        """Take one job out; return whether it was here."""
        entry = self._by_id.pop(job.id, None)
        if entry is None:
            return False
        del self._entries[bisect_left(self._entries, entry)]
        if _yields(entry):
            self._turns.remove(entry)
        _count(self.kinds, job.params.batch_key, -1)
        if entry.needy:
            del self.needy[bisect_left(self.needy, job.deadline)]
            _remove(self.needy_by_size, job)
        if entry.bound:
            del self.bound[bisect_left(self.bound, job.deadline)]
            _remove(self.bound_by_size, job)
        if entry.work_s:
            self.unmade_s[job.client] -= entry.work_s
            if self.unmade_s[job.client] < _NOTHING_S:
                del self.unmade_s[job.client]
        return True

    def head(self) -> Job | None:
        """Return the most urgent job that is not done; those before it, which are, are dropped."""
        while self._entries and self._entries[0].job.done:
            self.remove(self._entries[0].job)
        return self._entries[0].job if self._entries else None

    def first(self) -> Job | None:
        """Return the job that is taken next."""
        return next(iter(self.following(1)), None) if self._contended else self.head()

    def alike(self, limit: int) -> int:
        """Return how many jobs, up to a limit, the next batch could hold."""
        return min(limit, len(self)) if len(self.kinds) < 2 else len(self.following(limit))

    def dues(self, size: int) -> tuple[float, float]:
        """Return the earliest deadline of the `size` jobs taken next, and of those among them without an image."""
        if self._contended or len(self.kinds) > 1:
            jobs = self.following(size)
            imageless = [job.deadline for job in jobs if job.light_image is None]
            return min((job.deadline for job in jobs), default=math.inf), min(imageless, default=math.inf)
        head, due = self.head(), min((dues[0] for dues in (self.needy, self.bound) if dues), default=math.inf)
        ahead = self.ahead_of(math.nextafter(due, -math.inf))
        return head.deadline if head else math.inf, due if ahead < size else math.inf

    def ahead_of(self, deadline: float) -> int:
        """Return how many waiting jobs have this deadline or an earlier one."""
        return bisect_right(self._entries, deadline, key=_deadline)

    def ahead_of_job(self, job: Job) -> int:
        """Return how many waiting jobs go before one that waits here, or would."""
        if not self.by_turns:
            return self.ahead_of(job.deadline)
        if job.bound:
            return bisect_right(self.bound, job.deadline)
        if not self._turns.others_than(job.client):
            return self.ahead_of(job.deadline) + len(self.bound) - bisect_right(self.bound, job.deadline)
        return len(self) - self._turns.jobs + self._turns.ahead_of(job.client, job.deadline)

    def take(self, limit: int) -> list[Job]:
        """Take the next job and up to `limit` - 1 more of the same size, steps and guidance, in order."""
        batch = self.following(limit)
        for job in batch:
            if _yields(self._by_id[job.id]):
                self._turns.serve(job.client)
            self.remove(job)
        return batch

    def following(self, limit: int) -> list[Job]:
        """Return the jobs that `take` would take."""
        self.head()
        near = (entry.job for entry in islice(self._in_order(), _SCAN) if not entry.job.done)
        first = next(near, None)
        if first is None:
            return []
        alike = (job for job in near if job.params.batch_key == first.params.batch_key)
        return [first, *islice(alike, limit - 1)]

    @property
    def _contended(self) -> bool:
        return self.by_turns and (len(self._turns) > 1 or bool(self.bound and self._turns.jobs))

    def _in_order(self) -> Iterator[QueueEntry]:
        if not self._contended:
            return iter(self._entries)
        return chain((entry for entry in self._entries[:_SCAN] if not _yields(entry)), self._turns)

    def most_urgent_needy(self, limit: int) -> list[Job]:
        """Return up to so many jobs that have no image yet and may be answered by a lighter tier, in order."""
        near = (entry.job for entry in self._entries[:_SCAN])
        return list(islice((job for job in near if not job.done and job.needy), limit))

    def begun_bound(self, size: int) -> list[float]:
        """Return the deadlines of those among the `size` jobs taken next that go first."""
        return [job.deadline for job in self.following(size) if job.bound] if self.bound and self.by_turns else []

    def drain(self) -> list[Job]:
        """Take every job."""
        jobs = [entry.job for entry in self._entries]
        for job in reversed(jobs):  # from the end: nothing has to move up
            self.remove(job)
        return jobs


_NOTHING_S = 1e-9
_Key = TypeVar("_Key")
_deadline = attrgetter("deadline")


def _count(counts: dict[_Key, int], key: _Key, change: int) -> None:
    """Add to a count; what is at 0 is not kept."""
    counts[key] = counts.get(key, 0) + change
    if not counts[key]:
        del counts[key]


def _remove(by_size: dict[str | None, list[float]], job: Job) -> None:
    """Take a job's deadline out; a size of which there are none is not kept."""
    deadlines = by_size[job.params.size]
    del deadlines[bisect_left(deadlines, job.deadline)]
    if not deadlines:
        del by_size[job.params.size]


def _yields(entry: QueueEntry) -> bool:
    """Return whether a lighter image can be the answer in place of the one that a job waits for."""
    return entry.needy or entry.job.light_image is not None
