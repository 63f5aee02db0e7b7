"""Pre-emption: which batch stops at its next step, where a job would go without an image else.

A stand-in that waits for a worker at the last moment for its image gets one from a batch that is stopped: that of the
late job itself, or one whose jobs have a light image already. One of which no image is expected in time comes first:
nothing is lost by it. Else it is that of the late job, if that goes without an image otherwise: the others in it get
light images, too, then. What an endpoint makes cannot be stopped, and a worker that has not said that it took its batch
would not hear of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from hadis_router.dispatch.deadlines import answer_by
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.running import Batch, BatchRun


def lead_s(outlook: Outlook, batch: Batch, light: str) -> float:
    """Return how long (seconds) before an answer is due a batch must be stopped for a light image in its place.

    The step that runs ends first. Until then the worker says that it is busy, and is asked ever less often: that may
    last as long again.
    """
    size = min(len(batch.jobs), outlook.batch_limit(light, batch.image_size))
    light_s = outlook.batch_s(light, size, batch.image_size) * outlook.estimates.worker_ratio(batch.worker.url)
    return 2 * _step_s(batch, outlook) + outlook.longest_s(light, light_s)


def run_to_stop(job: Job, own: BatchRun, runs: Iterable[BatchRun], outlook: Outlook, light: str) -> BatchRun | None:
    """Return the batch to stop for a light image of a job of `own`; None where none should be."""
    able = [run for run in runs if _spared(run, but_needy=run is own) and _can_stop(run, outlook, light)]
    in_vain = [run for run in able if not any(_ends_at(run, outlook) <= each.deadline for each in run.needed_by)]
    if own not in in_vain and in_vain:
        return in_vain[0]
    return own if own in able and _ends_at(own, outlook) > answer_by(job, outlook.slo_s) else None


def _spared(run: BatchRun, *, but_needy: bool) -> bool:
    """Return whether all in a batch have a light image, `but_needy` those who may get one."""
    return all(job.light_image is not None or (but_needy and job.needy) for job in run.needed_by)


def _can_stop(run: BatchRun, outlook: Outlook, light: str) -> bool:
    """Return whether that frees a worker for a light image: one at its last step is free as soon by itself."""
    worker, batch = run.batch.worker, run.batch
    ends = 0 <= worker.free_at - outlook.now <= _step_s(batch, outlook)
    return light in worker.tiers and worker.progress is not None and not ends


def _ends_at(run: BatchRun, outlook: Outlook) -> float:
    """Return when (loop time) a batch is expected to end.

    Of one that lasts longer than it may there is no telling, unless its steps tell it.
    """
    worker = run.batch.worker
    if outlook.now >= run.batch.overdue_at and (worker.progress is None or not worker.progress.done):
        return math.inf
    return outlook.now + worker.left_s(outlook.now)


def _step_s(batch: Batch, outlook: Outlook) -> float:
    return batch.worker.step_s(outlook.estimates.step_s(batch.tier, batch.expected_s))
