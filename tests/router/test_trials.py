"""A service that takes itself to be too slow for every request finds out when it no longer is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from fake_workers import SLO_S, FakeWorkers, make_dispatcher, make_job, make_plan
from hadis.planning.profile import Profile
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.dispatcher import Dispatcher
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import OnProgress, Result
from hadis_router.dispatch.trials import TRIAL_EVERY_S
from virtual import virtual


class SlowWorkers(FakeWorkers):
    """Takes `times` as long as profiled."""

    times = 1.0

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        await asyncio.sleep((self.times - 1) * (0.1 if tier == "light" else 1.0) * len(jobs))
        return await super().generate(url, tier, jobs, discriminate, timeout_s, on_progress)


async def outcome(dispatcher: Dispatcher, tier: str | None = None) -> str:
    job = make_job(tier=tier)
    try:
        dispatcher.submit(job)
        return (await job.future).path
    except ServeError as error:
        return error.code


async def stalled(profile: Profile) -> tuple[SlowWorkers, Dispatcher]:
    """Return a service whose workers stood still for a while, so that it takes no more requests."""
    workers = SlowWorkers()
    dispatcher = make_dispatcher(profile, workers, make_plan())
    workers.times = 100.0
    for _ in range(3):
        job = make_job(slo_s=1000.0)  # a long job: others expire before it can be seen how long a batch takes
        dispatcher.submit(job)
        await job.future
    assert await outcome(dispatcher) == "too_late"
    return workers, dispatcher


@virtual
async def test_workers_that_stood_still_are_tried_again_and_serve_as_before(profile: Profile) -> None:
    workers, dispatcher = await stalled(profile)
    workers.times = 1.0
    outcomes = []
    for _ in range(60):
        outcomes.append(await outcome(dispatcher))
        await asyncio.sleep(1.0)
    assert outcomes[-20:] == ["light"] * 20


@virtual
async def test_while_they_stand_still_one_request_at_a_time_is_tried(profile: Profile) -> None:
    _, dispatcher = await stalled(profile)
    seconds, pending = 60, []
    for _ in range(10 * seconds):
        pending.append(asyncio.ensure_future(outcome(dispatcher)))
        await asyncio.sleep(0.1)
    outcomes = Counter(await asyncio.gather(*pending))
    assert outcomes.keys() == {"too_late", "deadline_expired"}
    assert 1 < outcomes["deadline_expired"] <= seconds / TRIAL_EVERY_S


@virtual
async def test_a_request_for_one_tier_tries_that_one(profile: Profile) -> None:
    workers, dispatcher = await stalled(profile)
    workers.times = 1.0
    assert await outcome(dispatcher, "heavy") == "too_late"
    await asyncio.sleep(TRIAL_EVERY_S)
    assert await outcome(dispatcher, "heavy") == "heavy"


@virtual
async def test_what_comes_with_little_time_left_is_no_trial(profile: Profile) -> None:
    _, dispatcher = await stalled(profile)
    await asyncio.sleep(TRIAL_EVERY_S)
    job = make_job(slo_s=SLO_S / 4)
    try:
        dispatcher.submit(job)
    except ServeError as error:
        assert error.code == "too_late"
    else:
        raise AssertionError("it was admitted")
