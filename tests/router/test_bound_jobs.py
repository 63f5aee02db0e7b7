"""Jobs that only a heavier tier can make: who is admitted gets an image, whatever the light tier is asked for."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from fake_workers import FakeWorkers, make_dispatcher, make_job, make_outlook, make_plan
from hadis.planning.profile import Profile
from hadis_router.dispatch.admission import admit
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.cascade import CascadeRouting
from hadis_router.dispatch.choosing import Choice, choose
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.light_reserve import LightReserve
from hadis_router.dispatch.queue import TierQueue
from virtual import virtual

ONLY_HEAVY = frozenset({"heavy"})


def bound_job(name: str = "bound", slo_s: float = 4.0, forced: bool = False) -> Job:
    """Return a job of a size that only heavy makes, or of a client that names that tier."""
    return make_job(name, slo_s=slo_s, tier="heavy" if forced else None, able=None if forced else ONLY_HEAVY)


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize(("workers", "rps"), [(1, 8.0), (2, 6.0), (4, 12.0)])
@virtual
async def test_who_is_admitted_is_made_under_load(profile: Profile, workers: int, rps: float, forced: bool) -> None:
    """One request in twenty; the plan gives heavy one worker, which deferred images could fill."""
    plan = make_plan(0.2, 0.5, 4, (max(1, workers - 1), 1))
    dispatcher = make_dispatcher(profile, FakeWorkers(confidence=0.5), plan, workers=workers)
    draw, admitted, loop = random.Random(0), list[Job](), asyncio.get_running_loop()
    while loop.time() < 40:
        await asyncio.sleep(draw.expovariate(rps))
        name, bound = str(len(admitted)), draw.random() < 0.05
        job = bound_job(name, forced=forced) if bound else make_job(name, difficulty=20 * draw.random())
        try:
            dispatcher.submit(job)
            admitted.append(job)
        except ServeError as error:
            assert error.code == "too_late"
    await asyncio.gather(*(job.future for job in admitted), return_exceptions=True)
    ends = Counter((job.bound, job.future.exception() is None) for job in admitted)
    assert ends[True, False] == ends[False, False] == 0, ends
    assert sum(job.tier == "heavy" and (job.forced_tier or job.able_tiers) is not None for job in admitted) > 1


@virtual
async def test_it_goes_before_all_that_a_light_image_can_answer_and_not_before_others_in_the_light_queue() -> None:
    queue, light = TierQueue(), TierQueue()
    queue.by_turns = True
    for each in (queue, light):
        for job in (make_job("needy", slo_s=1), bound_job("late", 3), bound_job("early", 2)):
            each.put(job)
    assert [job.id for job in queue.following(3)] == ["early", "late", "needy"]
    assert [job.id for job in light.following(3)] == ["needy", "early", "late"]
    ahead = [queue.ahead_of_job(job) for job in (bound_job(slo_s=2.5), make_job(slo_s=0.5), make_job(slo_s=1.5))]
    assert ahead == [1, 2, 3]
    assert queue.begun_bound(1) == [2.0]
    assert light.begun_bound(1) == []
    queue.put(make_job("other size", 2.5, slo_s=2.5, tier="heavy", size="48x32"))
    assert queue.begun_bound(2) == [2.0, 3.0]


@virtual
async def test_no_count_of_workers_keeps_it_from_beginning_in_time(profile: Profile) -> None:
    for slo_s, tier in ((3.5, "light"), (1.6, "heavy")):
        outlook = make_outlook(profile, make_plan(counts=(1, 1)), tiers=(("light", "heavy"),) * 2)
        next(iter(outlook.workers)).begin("heavy", 0.0, 1.0)
        outlook.queues["heavy"].by_turns = True
        outlook.queues["heavy"].put(bound_job(slo_s=slo_s))
        outlook.queues["light"].put(make_job(slo_s=1.7))
        choice = choose(outlook)
        assert isinstance(choice, Choice)
        assert (choice.worker.url, choice.tier) == ("w1", tier)


@virtual
async def test_others_are_admitted_and_begun_only_beside_it(profile: Profile) -> None:
    """One worker. A heavy image is taken to last up to 1.3 s, and must begin at 2.7 s; a light one up to 0.13 s."""
    outlook = make_outlook(profile, make_plan(direct=1.0), busy_s=0.5)
    outlook.queues["heavy"].by_turns = True
    reserve, worker = LightReserve(outlook, "light"), next(iter(outlook.workers))
    room = reserve.spare(4.0)
    outlook.queues["heavy"].put(bound_job())
    beside = LightReserve(outlook, "light")
    assert room - beside.spare(4.0) == pytest.approx(10), "a heavy image takes as long as ten light ones"
    assert beside.allows(worker, "heavy", 1), "it does not stand in its own way"
    for i in range(13):
        outlook.queues["light"].put(make_job(str(i), slo_s=2.8))
    assert not LightReserve(outlook, "light").allows(worker, "heavy", 1), "one worker has no time for it before them"
    assert LightReserve(outlook, "light").takes(3.9)
    for i in range(2):
        outlook.queues["light"].put(make_job(f"more{i}", slo_s=2.8))
    assert not LightReserve(outlook, "light").takes(3.9)


@pytest.mark.parametrize("forced", [False, True])
@virtual
async def test_it_is_refused_where_those_who_wait_could_not_be_made_beside_it(profile: Profile, forced: bool) -> None:
    outlook = make_outlook(profile, make_plan(), busy_s=0.1)
    for i in range(25):
        outlook.queues["light"].put(make_job(str(i), slo_s=3.9))
    assert outlook.ends_at(bound_job(), "heavy") < 4.0
    with pytest.raises(ServeError, match="too long"):
        admit(bound_job(forced=forced), outlook, CascadeRouting(profile), 100)
