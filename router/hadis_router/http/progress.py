"""How far a request's jobs are, for those who wait: as JSON data, and as a line of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hadis_router.dispatch.job import Job
from hadis_router.dispatch.stages import Stage
from hadis_router.http.access import Visitor
from hadis_router.http.gateway import Gateway


def jobs_shown(gateway: Gateway, request_id: str, visitor: Visitor) -> Sequence[Job]:
    """Return the jobs of a request that is under way, as far as they are a visitor's business."""
    return [job for job in gateway.under_way.jobs.get(request_id, ()) if visitor.may_see(job.client)]


def job_under_way(jobs: Sequence[Job]) -> Job | None:
    """Return the first job that was admitted and has not ended, or the one that it follows."""
    return next(
        (job for job in (job.follows or job for job in jobs) if not job.done and job.stage is not Stage.NEW), None
    )


def progress_of(gateway: Gateway, job: Job) -> dict[str, Any]:
    """Return how far an admitted job is, as JSON data."""
    progress = gateway.dispatcher.progress(job)
    return {
        "stage": "running" if job.stage is Stage.RUNNING else "queued",
        "tier": job.tier,
        "ahead": progress.ahead,
        "seconds": progress.left_s,
        "deferred": job.deferred,
        "steps": progress.steps.model_dump() if progress.steps else None,
    }


def progress_line(gateway: Gateway, jobs: Sequence[Job]) -> str:
    """Return how far a request is, in words."""
    job = job_under_way(jobs)
    if job is None:
        return "sending"
    progress = gateway.dispatcher.progress(job)
    if progress.steps is not None:
        return f"{job.tier}: step {progress.steps.done} of {progress.steps.steps}"
    if job.stage is Stage.RUNNING:
        return f"{job.tier}: running"
    return f"{job.tier}: {progress.ahead} ahead, about {progress.left_s:.0f} s"
