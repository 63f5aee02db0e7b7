"""What the result of a batch means for one of its jobs: an answer, another image, another try, or an error."""

from __future__ import annotations

from typing import NamedTuple

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import ServeError, ServingPath
from hadis_router.dispatch.cascade import Cascade
from hadis_router.dispatch.deadlines import answer_by
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.outlook import Outlook
from hadis_router.dispatch.transport import Result


class Answered(NamedTuple):
    """The image is the answer."""

    image: bytes
    path: ServingPath


class Deferred(NamedTuple):
    """The heavy tier of the cascade should make another image; `in_time`: whether it can before the deadline."""

    light_image: bytes
    cascade: tuple[str, str]
    in_time: bool


class Failed(NamedTuple):
    """There is no image."""

    error: ServeError


class Unmade(NamedTuple):
    """What makes the tier was away: another worker may make the image, or a lighter tier."""


NextStep = Answered | Deferred | Failed | Unmade


def read_result(job: Job, result: Result, outlook: Outlook, cascade: Cascade, slo_s: float) -> NextStep:
    """Return what a result means for a job whose `confidence` is the result's, if the discriminator judged it."""
    report, image = result
    if report.error is not None or image is None:
        code = report.error_code or "failed"
        if code == "content_filtered":
            # Also of a light image: a heavy tier without a checker would answer what this one refused.
            return Failed(refusals.content_filtered())
        if code == "unavailable":
            return Unmade()
        return Failed(ServeError(400 if code == "invalid" else 500, code, report.error or "no image"))
    if job.deferred:
        return Answered(image, "deferred")
    plan = outlook.plan
    if plan is not None and cascade.should_defer(job, plan):
        ends_in_time = outlook.ends_at(job, plan.heavy) <= answer_by(job, slo_s)
        in_time = ends_in_time and outlook.workers.having(plan.heavy) > 0
        return Deferred(image, (plan.light, plan.heavy), in_time)
    light = plan is None or job.tier in (plan.light, job.cascade[0])
    return Answered(image, "light" if light else "heavy")
