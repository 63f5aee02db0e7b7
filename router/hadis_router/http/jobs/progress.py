"""How far a job is, by the images that are made for it."""

from __future__ import annotations

from collections.abc import Sequence

from hadis_router.dispatch.job import Job
from hadis_router.dispatch.stages import Stage
from hadis_router.http.gateway import Gateway
from hadis_router.http.jobs.record import JobRecord
from hadis_router.http.progress import job_under_way


def seen_now(record: JobRecord, gateway: Gateway, jobs: Sequence[Job]) -> JobRecord:
    """Return the record of a job that runs, with its status, position and progress as they are now."""
    job = job_under_way(jobs)
    if job is None:
        return record
    begun = any(each.done or each.attempts or each.stage is Stage.RUNNING for each in jobs)
    waits = job.stage is Stage.WAITING
    ended = sum(each.done for each in jobs)
    progress = gateway.dispatcher.progress(job)
    own = sum(each.stage is Stage.WAITING for each in jobs) - 1
    steps = progress.steps
    share = steps.done / steps.steps if steps and steps.steps else 0.0
    return record.model_copy(
        update={
            "status": "running" if begun else "queued",
            "position": max(0, progress.ahead - own) if waits else None,
            "progress": (ended + share) / len(jobs),
        }
    )
