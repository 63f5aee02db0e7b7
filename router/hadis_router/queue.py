"""The queue of one tier: earliest deadline first, and batches of jobs that can be made together.

It holds no lock and no task: the dispatcher owns it. The bound on the total is admission's, which sees all queues.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from itertools import islice
from operator import attrgetter
from typing import NamedTuple

from hadis_router.job import Job

_SCAN = 256
"""How many entries from the head on are looked through to fill a batch."""


class QueueEntry(NamedTuple):
    """A job's place: entries sort by deadline (loop time) and, among equals, by their number, which is unique."""

    deadline: float
    number: int
    job: Job
    needy: bool
    """Whether it was needy when it came."""


class TierQueue:
    """Waiting jobs of one tier, by deadline and, among equals, by arrival in the queue."""

    def __init__(self) -> None:
        """Start empty."""
        self._entries: list[QueueEntry] = []
        self._by_id: dict[str, QueueEntry] = {}
        self._number = 0
        self.needy: list[float] = []
        """Deadlines, rising, of the jobs that have no image yet and may be answered by a lighter tier."""

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return len(self._entries)

    def put(self, job: Job) -> None:
        """Add a job at its deadline's place."""
        self._number += 1
        entry = QueueEntry(job.deadline, self._number, job, job.needy)
        self._by_id[job.id] = entry
        insort(self._entries, entry)
        if entry.needy:
            insort(self.needy, job.deadline)

    def remove(self, job: Job) -> bool:
        """Take one job out; return whether it was here."""
        entry = self._by_id.pop(job.id, None)
        if entry is None:
            return False
        del self._entries[bisect_left(self._entries, entry)]
        if entry.needy:
            del self.needy[bisect_left(self.needy, job.deadline)]
        return True

    def head(self) -> Job | None:
        """Return the most urgent job that is not done; those before it, which are, are dropped."""
        while self._entries and self._entries[0].job.done:
            self.remove(self._entries[0].job)
        return self._entries[0].job if self._entries else None

    def ahead_of(self, deadline: float) -> int:
        """Return how many waiting jobs have this deadline or an earlier one."""
        return bisect_right(self._entries, deadline, key=_deadline)

    def take(self, limit: int) -> list[Job]:
        """Take the most urgent job and up to `limit` - 1 more of the same size, steps and guidance, in order."""
        first = self.head()
        if first is None:
            return []
        key = first.params.batch_key
        near = (entry.job for entry in self._entries[:_SCAN])
        batch = list(islice((job for job in near if not job.done and job.params.batch_key == key), limit))
        for job in batch:
            self.remove(job)
        return batch

    def most_urgent_needy(self, limit: int) -> list[Job]:
        """Return up to so many jobs that have no image yet and may be answered by a lighter tier, in order."""
        near = (entry.job for entry in self._entries[:_SCAN])
        return list(islice((job for job in near if not job.done and job.needy), limit))

    def drain(self) -> list[Job]:
        """Take every job."""
        jobs = [entry.job for entry in self._entries]
        self._entries.clear()
        self._by_id.clear()
        self.needy.clear()
        return jobs


_deadline = attrgetter("deadline")
