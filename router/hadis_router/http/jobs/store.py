"""Where jobs are kept: in this router's memory, within bounds of number, age and bytes of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from hadis_router.dispatch import refusals
from hadis_router.http.jobs.idempotency import Idempotency, same_job
from hadis_router.http.jobs.record import JobRecord
from hadis_router.http.store_metrics import StoreCounts


class JobStore(Protocol):
    """Keeps jobs and their results. Every method raises ServeError 503 where the store does not answer."""

    shared: bool
    """Whether every router of the service sees the same jobs."""
    counts: StoreCounts

    async def close(self) -> None:
        """Close what connections it has."""

    async def add(self, record: JobRecord, idempotency: Idempotency | None, inputs: bytes = b"") -> JobRecord | None:
        """Keep a new job with its input images; return instead the one that its idempotency key was used for.

        Raises ServeError 409 where that was with another body, 429 where too many jobs, or bytes of input images of
        such, have not ended.
        """

    async def get(self, job_id: str) -> JobRecord | None:
        """Return a job; None where there is none."""

    async def save(self, record: JobRecord, result: bytes | None = None) -> None:
        """Keep a job that was added as it is now, and its result if it has one."""

    async def result(self, job_id: str) -> bytes | None:
        """Return a job's result."""

    async def inputs(self, job_id: str) -> bytes:
        """Return the input images of a job that has not ended; nothing where there are none."""

    async def remove(self, job_id: str) -> None:
        """Forget a job, as if it had not been added."""

    async def ask_cancel(self, job_id: str) -> None:
        """Note that a job that another router runs is to be cancelled."""

    async def hold(self, job_ids: Sequence[str]) -> set[str]:
        """Say that this router sees to these jobs for some seconds more; return those that are to be cancelled."""

    async def let_go(self, job_id: str) -> None:
        """Say that this router sees to a job no longer."""

    async def take_over(self, most: int) -> list[JobRecord]:
        """Return busy jobs that no router sees to any more; from now on this one does."""


class MemoryJobs:
    """Jobs of this router alone: they end with it."""

    shared = False

    def __init__(self, max_count: int, max_bytes: int, clock: Callable[[], float]) -> None:
        """Start empty; `clock` gives Unix time, as records do."""
        self._max_count, self._max_bytes, self._clock = max_count, max_bytes, clock
        self._records: dict[str, JobRecord] = {}
        self._results: dict[str, bytes] = {}
        self._keys: dict[str, tuple[str, str]] = {}
        """By idempotency key, the digest of the body and the job's id."""
        self._key_of: dict[str, str] = {}
        self._bytes = 0
        self.counts = StoreCounts()

    async def close(self) -> None:
        """Do nothing: it has none."""

    async def add(self, record: JobRecord, idempotency: Idempotency | None, inputs: bytes = b"") -> JobRecord | None:
        """Keep a new job, or return that of its key; the oldest that have ended make room.

        Its input images are held by the router that makes it, within its own bound.
        """
        self._forget_expired()
        if idempotency and (known := self._keys.get(idempotency.key)):
            return self._records[same_job(known, idempotency)]
        if len(self._records) >= self._max_count and not self._forget_oldest():
            raise refusals.too_many_jobs(self._max_count)
        self._records[record.id] = record
        self.counts.stored += 1
        if idempotency:
            self._keys[idempotency.key], self._key_of[record.id] = (idempotency.body, record.id), idempotency.key
        return None

    async def get(self, job_id: str) -> JobRecord | None:
        """Return a job that has not expired."""
        self._forget_expired()
        return self._records.get(job_id)

    async def save(self, record: JobRecord, result: bytes | None = None) -> None:
        """Keep a job as it is now; the oldest that have ended make room for its result."""
        if record.id not in self._records:
            return  # it has expired
        self._records[record.id] = record
        if result is not None:
            self._results[record.id] = result
            self._bytes += len(result)
            self.counts.stored_bytes += len(result)
            while self._bytes > self._max_bytes and self._forget_oldest():
                pass

    async def result(self, job_id: str) -> bytes | None:
        """Return a job's result."""
        return self._results.get(job_id)

    async def inputs(self, job_id: str) -> bytes:
        """Return nothing: no other router would ask."""
        return b""

    async def remove(self, job_id: str) -> None:
        """Forget a job, its result and its key."""
        self._forget(job_id)

    async def ask_cancel(self, job_id: str) -> None:
        """Do nothing: no other router has the job."""

    async def hold(self, job_ids: Sequence[str]) -> set[str]:
        """Return nothing: no other router cancels one."""
        return set()

    async def let_go(self, job_id: str) -> None:
        """Do nothing: no other router would take it."""

    async def take_over(self, most: int) -> list[JobRecord]:
        """Return nothing: jobs end with their router."""
        return []

    def _forget_expired(self) -> None:
        now = self._clock()
        while self._records and next(iter(self._records.values())).expires_at <= now:
            self._forget(next(iter(self._records)))
            self.counts.expired += 1

    def _forget_oldest(self) -> bool:
        oldest = next((record.id for record in self._records.values() if not record.busy), None)
        if oldest is not None:
            self._forget(oldest)
            self.counts.evicted += 1
        return oldest is not None

    def _forget(self, job_id: str) -> None:
        self._records.pop(job_id, None)
        self._bytes -= len(self._results.pop(job_id, b""))
        self._keys.pop(self._key_of.pop(job_id, ""), None)
