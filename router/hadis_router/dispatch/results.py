"""What the result of a batch means for one of its jobs: an answer, another image, another try, or an error."""

from __future__ import annotations

from typing import NamedTuple

from hadis.planning.plan import Plan

from hadis_router.dispatch import refusals
from hadis_router.dispatch.answer import ServeError, ServingPath
from hadis_router.dispatch.cascade import CascadeRouting
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
    best_of_two: bool
    in_time: bool


class Failed(NamedTuple):
    """There is no image."""

    error: ServeError


class Unmade(NamedTuple):
    """What makes the tier was away: another worker may make the image, or a lighter tier."""


NextStep = Answered | Deferred | Failed | Unmade


def read_result(job: Job, result: Result, outlook: Outlook, cascade: CascadeRouting, slo_s: float) -> NextStep:
    """Return what a result means for a job, which has its confidence already, if the discriminator judged it."""
    report, image = result
    if report.error is not None or image is None:
        code = report.error_code or "failed"
        if code == "content_filtered":
            # Also of a light image: a heavy tier without a checker would answer what this one refused.
            return Failed(refusals.content_filtered())
        if code == "unavailable":
            return Unmade()
        return Failed(ServeError(400 if code == "invalid" else 500, code, report.error or "no image"))
    if job.light_image is not None and job.light_is_better:
        return Answered(job.light_image, "better-light")
    if job.deferred:
        return Answered(image, "deferred")
    plan = outlook.plan
    if plan is not None and cascade.should_defer(job, plan):
        ends_in_time = outlook.ends_at(job, plan.heavy) <= answer_by(job, slo_s)
        in_time = ends_in_time and outlook.workers.having(plan.heavy) > 0
        return Deferred(image, (plan.light, plan.heavy), plan.best_of_two, in_time)
    return Answered(image, "light" if makes_light(job, plan) else "heavy")


def makes_light(job: Job, plan: Plan | None) -> bool:
    """Return whether the image that a job's batch made is a light one."""
    return not job.deferred and (plan is None or job.tier in (plan.light, job.cascade[0]))
