"""Returns: what becomes of the jobs of a batch that ended, made or not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from hadis_router.dispatch import refusals
from hadis_router.dispatch.endings import Endings
from hadis_router.dispatch.fallback import MOST_RETRIES, fallback
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.lanes import Lanes
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.partials import show_light_image
from hadis_router.dispatch.placing import Placing
from hadis_router.dispatch.results import Answered, Deferred, Failed, Unmade, makes_light, read_result
from hadis_router.dispatch.running import Batch
from hadis_router.dispatch.transport import Result


class Returns:
    """Sees to the jobs that batches give back (`running.BatchOwner`)."""

    def __init__(
        self,
        placing: Placing,
        endings: Endings,
        lanes: Lanes,
        outlook: Callable[[], Outlook],
        dispatch: Callable[[], None],
    ) -> None:
        """Use the dispatcher's own; `outlook` returns that of this moment, `dispatch` gives idle workers batches."""
        self._placing, self._endings, self._lanes = placing, endings, lanes
        self._outlook, self.freed = outlook, dispatch

    def take_results(self, batch: Batch, results: Sequence[Result], needed_by: Collection[Job]) -> None:
        """See to each job that still needs a batch by its result; one that waits for another one does not."""
        outlook = self._outlook()
        for job, result in zip(batch.jobs, results, strict=True):
            if job in needed_by and not job.done:
                self._take_result(job, batch, result, outlook)

    def watch_slow(self, batch: Batch, needed_by: Collection[Job]) -> None:
        """Watch the jobs of a batch that is found to be slow, each by what its steps take."""
        in_order = (job for job in batch.jobs if job in needed_by)
        self._placing.watch_running(batch, in_order, self._outlook())

    def retry(self, batch: Batch, needed_by: Collection[Job], *, failed: bool) -> None:
        """Queue the jobs that need a batch again; `failed`: unless workers have failed them too often."""
        for job in batch.jobs:
            if job in needed_by:
                self._retry(job, batch.tier, failed=failed)

    def _retry(self, job: Job, tier: str, *, failed: bool) -> None:
        job.retries += failed
        if job.done:
            return
        if job.retries <= MOST_RETRIES:
            self._placing.put(job, tier)
        elif job.needy and (lighter := fallback(self._outlook(), tier, running=False)) is not None:
            self._placing.step_down(job, lighter)  # whatever is wrong with the heavier workers, others may be well
        else:
            self._endings.fail(job, refusals.workers_failed())

    def _take_result(self, job: Job, batch: Batch, result: Result, outlook: Outlook) -> None:
        report, _ = result
        decider, seen = self._lanes.decides(job, outlook)
        if report.error is None and makes_light(job, seen.plan):
            job.confidence = report.confidence
        elif report.error is None:
            job.heavy_confidence = report.confidence
        is_first = not job.deferred
        step = read_result(job, result, seen, decider, outlook.slo_s)
        if is_first and seen.plan is not None:
            self._lanes.judged(job, seen.plan, deferred=isinstance(step, Deferred))
        if isinstance(step, Answered | Deferred):
            job.add_attempt(batch.tier, batch.worker.url, batch.began, report)
        match step:
            case Answered(image, path):
                self._endings.answer(job, image, path)
            case Deferred(image, cascade, best_of_two, in_time):
                job.defer(image, cascade, best_of_two=best_of_two)
                if in_time:
                    show_light_image(job)
                    self._placing.await_heavy(job, cascade[1])
                else:
                    self._endings.answer(job, image, "kept-light")
            case Failed(error):
                self._endings.fail(job, error)
            case Unmade():
                self._retry(job, batch.tier, failed=True)
