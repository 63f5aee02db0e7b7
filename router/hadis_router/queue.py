"""The queue of one tier: earliest deadline first, and batches of jobs that can be made together.

It holds no lock and no task: the dispatcher owns it. The bound on the total lies with the dispatcher, which sees
all queues.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from hadis_router.job import Job

_Entry = tuple[float, int, Job]
_SCAN = 256
"""How far behind the head jobs are looked at to fill a batch."""


class TierQueue:
    """Waiting jobs of one tier, by deadline and, among equals, by arrival in the queue."""

    def __init__(self) -> None:
        """Start empty."""
        self._entries: list[_Entry] = []
        self._keys: dict[str, tuple[float, int]] = {}
        self._number = 0

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return len(self._entries)

    def put(self, job: Job) -> None:
        """Add a job at its deadline's place."""
        self._number += 1
        self._keys[job.id] = (job.deadline, self._number)
        insort(self._entries, (job.deadline, self._number, job), key=_order)

    def remove(self, job: Job) -> bool:
        """Take one job out; return whether it was here."""
        key = self._keys.pop(job.id, None)
        if key is None:
            return False
        del self._entries[bisect_left(self._entries, key, key=_order)]
        return True

    def head(self) -> Job | None:
        """Return the most urgent job that is still wanted; those that are done are dropped."""
        while self._entries and self._entries[0][2].done:
            self.remove(self._entries[0][2])
        return self._entries[0][2] if self._entries else None

    def ahead_of(self, deadline: float) -> int:
        """Return how many waiting jobs have this deadline or an earlier one."""
        return bisect_left(self._entries, (deadline, self._number + 1), key=_order)

    def take(self, limit: int) -> list[Job]:
        """Take the most urgent job and up to `limit` - 1 more of the same size, steps and guidance, in order."""
        first = self.head()
        if first is None:
            return []
        key = first.params.batch_key
        alike = (j for _, _, j in self._entries[:_SCAN] if not j.done and j.params.batch_key == key)
        batch = [job for job, _ in zip(alike, range(limit), strict=False)]
        for job in batch:
            self.remove(job)
        return batch

    def drain(self) -> list[Job]:
        """Take every job."""
        jobs = [job for _, _, job in self._entries]
        self._entries.clear()
        self._keys.clear()
        return jobs


def _order(entry: _Entry) -> tuple[float, int]:
    return entry[0], entry[1]
