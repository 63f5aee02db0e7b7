"""The simulated workers: a latency table in place of GPUs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from functools import lru_cache

from hadis.planning.profile import Profile
from hadis.protocol.worker import JobResult, Progress
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import OnProgress, Result, WorkerBusy, WorkerGone

from hadis_profiler.replay.disturbances import BatchFactors
from hadis_profiler.replay.inputs import ScoredPrompts

_IMAGE = b"i"
_TAKEN = Progress(done=0, steps=1)
_MOST_REPORTS = 8
"""Times that a batch's steps are told of at most: enough to see early that it is slow."""


class TableTransport:
    """A worker for every address: takes as long as the profile says times a factor, and knows each confidence."""

    def __init__(self, profile: Profile, prompts: ScoredPrompts, factors: BatchFactors) -> None:
        """Keep the tables; a job's seed is its prompt's index."""
        self._profile, self._confidence = profile, dict(zip(profile.tiers, prompts.confidence.tolist(), strict=True))
        self._factors = factors
        self._ends: dict[str, asyncio.Event] = {}
        """By worker, set when its last batch ended."""
        self._lost: set[str] = set()
        self.busy_s, self.joules, self.calls, self.batches = 0.0, 0.0, 0, 0

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
        power_w = self._profile.power_w(tier, len(jobs))
        self._worked(seconds, power_w)
        end = self._ends[url] = asyncio.Event()
        timer = loop.call_later(seconds, end.set)
        on_progress(_TAKEN)
        steps = _Steps(self._profile.tiers[tier].steps, seconds, on_progress)
        try:
            await asyncio.wait_for(end.wait(), timeout_s if seconds > timeout_s else None)
        except asyncio.CancelledError:
            left_s = timer.when() - loop.time()
            timer.cancel()
            loop.call_later(left_s % steps.each_s, end.set)
            self._worked(left_s % steps.each_s - left_s, power_w)
            raise
        except TimeoutError:
            raise WorkerGone(f"no answer within {timeout_s:g} s") from None
        finally:
            steps.stop()
        if url in self._lost:
            timer.cancel()
            raise WorkerGone(f"{url} is lost")
        known = self._confidence[tier]
        return [
            (JobResult(id=j.id, confidence=known[j.params.seed] if discriminate else None, service_s=seconds), _IMAGE)
            for j in jobs
        ]

    def _worked(self, seconds: float, power_w: float) -> None:
        """Count what a batch takes; below 0: what it took less, because it was cancelled."""
        self.busy_s += seconds
        self.joules += seconds * power_w if math.isfinite(power_w) else math.inf

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


class _Steps:
    """The steps of a running batch, told as a worker tells them."""

    def __init__(self, steps: int, seconds: float, on_progress: OnProgress) -> None:
        """Begin; `seconds` are those of the whole batch."""
        self._steps, self._on_progress = steps, on_progress
        self.each_s = seconds / (steps + 1)  # what comes after the steps counts as one
        self._every = math.ceil(steps / _MOST_REPORTS)
        self._began = asyncio.get_running_loop().time()
        self._report_at(self._every)

    def stop(self) -> None:
        """Tell nothing more."""
        self._timer.cancel()

    def _report_at(self, done: int) -> None:
        self._timer = asyncio.get_running_loop().call_at(self._began + done * self.each_s, self._report, done)

    def _report(self, done: int) -> None:
        self._on_progress(_progress(done, self._steps))
        if done + self._every <= self._steps:
            self._report_at(done + self._every)


@lru_cache(maxsize=1024)
def _progress(done: int, steps: int) -> Progress:
    return Progress(done=done, steps=steps)


def worker_name(number: int) -> str:
    """Return the address of the worker of a number."""
    return f"w{number}"


def worker_number(url: str) -> int:
    """Return the number in an address that `worker_name` made."""
    return int(url[1:])
