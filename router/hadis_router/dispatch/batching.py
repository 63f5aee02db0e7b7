"""Batching: every idle worker takes the most urgent batch that it can make, as soon as there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from hadis_router.dispatch import refusals
from hadis_router.dispatch.choosing import Choice, GiveUp, StepDown, choose
from hadis_router.dispatch.endings import Endings
from hadis_router.dispatch.judging import Judging
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.placing import Placing
from hadis_router.dispatch.queue import TierQueue
from hadis_router.dispatch.running import Runner
from hadis_router.dispatch.spare import SpareWork


class Batching:
    """Takes jobs from queues and starts batches of them."""

    def __init__(
        self,
        queues: Mapping[str, TierQueue],
        placing: Placing,
        judging: Judging,
        runner: Runner,
        endings: Endings,
        spare: SpareWork,
        outlook: Callable[[], Outlook],
    ) -> None:
        """Use the dispatcher's own; `outlook` returns the outlook of this moment."""
        self._queues, self._placing, self._judging = queues, placing, judging
        self._runner, self._endings, self._spare, self._outlook = runner, endings, spare, outlook
        self._wake_up: asyncio.TimerHandle | None = None

    def dispatch(self) -> None:
        """Give every idle worker the most urgent batch that it can make."""
        if self._runner.stopped:
            return
        outlook = self._outlook()
        if self._spare.worker is not None and outlook.waiting():
            self._spare.stop()
        while (choice := choose(outlook)) is not None:
            if isinstance(choice, StepDown):
                for job in choice.jobs:
                    self._placing.step_down(job, choice.tier)
            elif isinstance(choice, GiveUp):
                self._endings.fail(choice.job, refusals.expired(outlook.slo_s))
            else:
                self._start(choice, outlook)
        self._wake_up_after_backoff(outlook)

    def _start(self, choice: Choice, outlook: Outlook) -> None:
        worker, tier, size = choice
        jobs = self._queues[tier].take(size)
        batch = outlook.batch(worker, tier, jobs, discriminate=self._judging.judges(tier, jobs, outlook.plan))
        self._runner.start(batch)
        self._placing.watch_running(batch, jobs, outlook)

    def _wake_up_after_backoff(self, outlook: Outlook) -> None:
        """Dispatch again when a worker that is left alone now may be given something."""
        end = outlook.workers.next_backoff_end(outlook.now)
        if end is not None and (self._wake_up is None or end < self._wake_up.when()):
            if self._wake_up is not None:
                self._wake_up.cancel()
            self._wake_up = asyncio.get_running_loop().call_at(end, self._woken)

    def _woken(self) -> None:
        self._wake_up = None
        self.dispatch()
