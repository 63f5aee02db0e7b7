"""Deadlines on a virtual clock: what is called when, for each thing a job may wait for."""

from __future__ import annotations

import asyncio

from fake_workers import SLO_S, make_job
from hadis_router.dispatch.deadlines import Deadlines
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.stages import Stage, TierReason
from virtual import virtual

BY = SLO_S * 0.98
"""When an answer must leave the router."""


class Calls:
    """Notes what Deadlines calls back."""

    def __init__(self) -> None:
        self.at: list[tuple[str, float]] = []
        self.deadlines = Deadlines(SLO_S)
        self.deadlines.owner = self

    def expired(self, job: Job) -> None:
        self.at.append(("expired", round(asyncio.get_running_loop().time(), 6)))

    def late(self, job: Job) -> None:
        self.at.append(("late", round(asyncio.get_running_loop().time(), 6)))


@virtual
async def test_a_job_expires_at_its_deadline() -> None:
    calls = Calls()
    calls.deadlines.watch(make_job())
    await asyncio.sleep(10)
    assert calls.at == [("expired", SLO_S)]


@virtual
async def test_a_job_is_late_before_it_expires() -> None:
    calls = Calls()
    calls.deadlines.watch_lateness(make_job(), needs_s=1.0)
    await asyncio.sleep(10)
    assert calls.at == [("late", BY - 1.0), ("expired", SLO_S)]


@virtual
async def test_the_last_moment_may_be_over_already() -> None:
    calls = Calls()
    calls.deadlines.watch_lateness(make_job(), needs_s=7.0)
    await asyncio.sleep(10)
    assert calls.at == [("late", 0.0), ("expired", SLO_S)]


@virtual
async def test_a_deferred_job_gives_heavy_up_when_it_cannot_end_in_time() -> None:
    calls, job = Calls(), make_job()
    job.tier_reason, job.stage, job.light_image = TierReason.DEFERRED, Stage.WAITING, b""
    calls.deadlines.watch_deferral(job, heavy_s=1.0)
    await asyncio.sleep(10)
    assert calls.at == [("expired", BY - 1.0)]


@virtual
async def test_a_deferred_job_that_runs_has_until_an_answer_must_leave() -> None:
    calls, job = Calls(), make_job()
    job.tier_reason, job.stage, job.light_image = TierReason.DEFERRED, Stage.RUNNING, b""
    calls.deadlines.watch_deferral(job, heavy_s=1.0)
    await asyncio.sleep(10)
    assert calls.at == [("expired", BY)]


@virtual
async def test_a_job_that_ended_is_not_watched() -> None:
    calls, job = Calls(), make_job()
    calls.deadlines.watch(job)
    calls.deadlines.forget(job)
    calls.deadlines.forget(job)
    await asyncio.sleep(10)
    assert calls.at == []
