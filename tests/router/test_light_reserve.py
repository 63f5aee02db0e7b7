"""The light reserve where batches save time: 1, 2, 4 and 8 light images take up to 0.13, 0.182, 0.286 and 0.494 s."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from documents import profile_document, save_time_in_batches
from fake_workers import make_job, make_outlook, make_plan
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis_router.dispatch.choosing import Choice, StepDown, choose
from hadis_router.dispatch.light_demand import LightDemand
from hadis_router.dispatch.light_reserve import LightReserve
from hadis_router.dispatch.outlook import Outlook
from virtual import virtual

BOTH = ("light", "heavy")
LATER = [30 + i / 100 for i in range(20)]


def outlook_on(
    light: Sequence[float], heavy: Sequence[float] = (), workers: int = 1, heavy_workers: int = 1
) -> Outlook:
    """Return what the router sees at time 0 of idle workers and of jobs with these deadlines that wait for a tier."""
    document = profile_document()
    save_time_in_batches(document)
    profile, plan = Profile(CascadeProfile.read(document)), make_plan(batch=8, counts=(1, heavy_workers))
    outlook = make_outlook(profile, plan, [BOTH] * workers)
    for tier, deadlines in (("light", light), ("heavy", heavy)):
        for i, deadline in enumerate(deadlines):
            outlook.queues[tier].put(make_job(f"{tier}{i}", slo_s=deadline))
    return outlook


@pytest.mark.parametrize(
    ("waiting", "deadline", "workers", "takes"),
    [
        ([], 0.14, 1, True),
        ([], 0.12, 1, False),
        ([0.5] * 7, 0.5, 1, True),  # one batch of 8
        ([0.5] * 8, 0.5, 1, False),
        ([0.14, 0.53, 0.53], 0.53, 1, True),  # four single ones
        ([0.14, 0.5, 0.5], 0.5, 1, False),
        ([0.14, *[0.5] * 4], 0.5, 2, True),  # three on each worker
        ([0.3] * 3, 0.6, 1, True),
        ([0.5] * 7, 0.14, 1, False),  # a first one with little time would make the others late
        ([0.1], 0.5, 1, True),  # who is late whatever comes is no reason to refuse others
        # Of a long queue some deadlines are looked at first: six batches of 8, and nine jobs that have time but are
        # counted with them until each is looked at.
        ([*[2.98] * 41, *LATER], 40, 1, True),
        ([*[2.98] * 48, *LATER], 2.98, 1, False),
        ([*[2.98] * 48, *LATER], 40, 1, True),
    ],
)
@virtual
async def test_batches_of_one_size_must_do_for_all(
    waiting: Sequence[float], deadline: float, workers: int, takes: bool
) -> None:
    outlook = outlook_on(waiting, workers=workers)
    assert LightReserve(outlook, "light", make_job("new", slo_s=deadline)).takes(deadline) is takes


@pytest.mark.parametrize(
    ("waiting", "deadline", "workers", "takes"),
    [
        ([], 1.31, 1, True),
        ([], 1.29, 1, False),
        ([1.4], 1.6, 1, True),  # the light one before it
        ([1.4] * 2, 1.6, 1, False),
        ([1.4] * 2, 1.6, 2, True),
        ([0.14, *[1.6] * 4], 1.6, 2, True),  # five light ones on the other worker
        ([0.5] * 8, 1.9, 1, True),  # one batch of 8 before it
        ([0.5] * 9, 1.9, 1, True),  # more than can be made: who is late whatever comes is no reason to refuse others
    ],
)
@virtual
async def test_what_only_a_heavier_tier_may_make_has_its_time_beside_light_batches(
    waiting: Sequence[float], deadline: float, workers: int, takes: bool
) -> None:
    """A heavy image takes up to 1.3 s."""
    job = make_job("new", slo_s=deadline, tier="heavy")
    assert LightReserve(outlook_on(waiting, workers=workers), "light", job).takes(deadline, "heavy") is takes


@pytest.mark.parametrize(
    ("light", "heavy", "workers", "steps"),
    [
        ([0.5] * 8, [], 1, [8]),
        # One light image alone takes 0.13 s: after it, seven would not be made in time.
        ([0.55], [0.56] * 7, 1, [7, 8]),
        # Two workers share what waits, but not so that neither is there for those who wait for the heavy tier.
        ([0.5] * 4, [0.5] * 8, 2, [8, 6, 6]),
    ],
)
@virtual
async def test_a_light_batch_takes_in_jobs_of_heavier_tiers_that_must_be_in_it(
    light: Sequence[float], heavy: Sequence[float], workers: int, steps: Sequence[int]
) -> None:
    """The plan gives the heavy tier no worker, so that its jobs come after the light ones, whatever their deadlines."""
    outlook, done = outlook_on(light, heavy, workers=workers, heavy_workers=0), []
    while choice := choose(outlook):
        if isinstance(choice, StepDown):
            done.append(len(choice.jobs))
            for job in choice.jobs:
                outlook.queues["heavy"].remove(job)
                outlook.queues["light"].put(job)
        else:
            assert isinstance(choice, Choice)
            assert choice.tier == "light"
            done.append(len(outlook.queues["light"].take(choice.size)))
            choice.worker.begin("light", 0.0, outlook.batch_s("light", choice.size))
    assert done == steps


@pytest.mark.parametrize(
    ("light", "size"),
    [
        ([0.29, 3.9, 3.91, 3.92], 1),  # four take longer than the 0.2 s before it must begin
        ([0.29, 3.9, 3.91, 3.92, *[1.0] * 20], 2),  # and where some are late whatever is begun
    ],
)
@virtual
async def test_a_light_batch_is_begun_only_in_a_size_that_leaves_bound_work_its_begin(
    light: Sequence[float], size: int
) -> None:
    """Of two workers, the other one is busy for long; the first light image leaves no time for the heavy one before."""
    outlook = outlook_on(light, workers=2)
    idle, busy = outlook.workers
    busy.begin("heavy", 0.0, 3.0)
    outlook.queues["heavy"].by_turns = True
    outlook.queues["heavy"].put(make_job("bound", slo_s=1.5, tier="heavy"))
    assert choose(outlook) == Choice(idle, "light", size)


@virtual
async def test_bound_work_that_no_light_batch_can_come_before_begins_whoever_is_late() -> None:
    outlook = outlook_on([0.05])
    outlook.queues["heavy"].by_turns = True
    outlook.queues["heavy"].put(make_job("bound", slo_s=1.42, tier="heavy"))
    assert LightReserve(outlook, "light").allows(next(iter(outlook.workers)), "heavy", 1)


@virtual
async def test_of_a_long_queue_each_deadline_can_be_looked_at(profile: Profile) -> None:
    """A light image at a time is in time, on one worker and, as the other is free from a heavy one, on both."""
    for workers in (1, 2):
        outlook = make_outlook(profile, make_plan(), [BOTH] * workers)
        dues = [0.13 * k + 1e-6 for k in range(1, 61)] + [1.3 + 0.13 * k + 1e-6 for k in range(1, 61)] * (workers - 1)
        for i, due in enumerate(sorted(dues)):
            outlook.queues["light"].put(make_job(str(i), slo_s=due))
        if workers == 1:
            assert LightReserve(outlook, "light").batch() == 1
            continue
        outlook.queues["heavy"].by_turns = True
        outlook.queues["heavy"].put(make_job("bound", slo_s=1.5, tier="heavy"))
        assert LightReserve(outlook, "light").allows(next(iter(outlook.workers)), "heavy", 1)


@virtual
async def test_a_queue_that_is_looked_at_whole_is_counted_exactly(profile: Profile) -> None:
    outlook = make_outlook(profile, make_plan(), [BOTH])
    for k in range(2, 36):
        outlook.queues["light"].put(make_job(str(k), slo_s=0.13 * k + 1e-6))
    for deadline, takes in ((0.131, True), (0.129, False)):
        assert LightReserve(outlook, "light", make_job(slo_s=deadline)).takes(deadline) is takes


@virtual
async def test_jobs_with_one_deadline_do_not_hide_another_one(profile: Profile) -> None:
    """Of a long queue the second deadline is not looked at, so that its jobs must count for the first."""
    outlook = make_outlook(profile, make_plan(), [BOTH])
    for i, due in enumerate([20.0] * 33 + [20.1] * 5 + [30.0] * 10):
        outlook.queues["light"].put(make_job(str(i), slo_s=due))
    demand = LightDemand(outlook, "light", None)
    counted = [(due, demand.jobs(to, None)) for due, to in demand.deadlines()]
    assert counted == [(20.0, 38), (30.0, 48)]


@pytest.mark.parametrize(("tier", "takes"), [(None, False), ("heavy", True)])
@virtual
async def test_a_longer_size_makes_those_late_who_are_due_before_it(tier: str | None, takes: bool) -> None:
    """Unless the light tier does not make it: light images of the first size take up to 0.13 s, of the other 0.26 s."""
    document = profile_document()
    for each in document["spec"]["tiers"]:
        each["sizes"] = [each.pop("size"), "64x32"]
    outlook = make_outlook(Profile(CascadeProfile.read(document)), make_plan(), [BOTH])
    for i in range(7):
        outlook.queues["light"].put(make_job(str(i), slo_s=1.0))
    job = make_job("new", slo_s=3.9, tier=tier, size="64x32")
    assert LightReserve(outlook, "light", job).takes(3.9, tier) is takes


@virtual
async def test_light_images_with_much_time_do_not_delay_bound_work() -> None:
    """On one worker, a heavy image must begin at 0.2 s; two light ones take up to 0.182 s."""
    outlook = outlook_on([3.9] * 4)
    outlook.queues["heavy"].put(make_job("bound", slo_s=1.5, tier="heavy"))
    reserve, worker, light = LightReserve(outlook, "light"), next(iter(outlook.workers)), outlook.queues["light"]
    assert [reserve.allows_light(worker, light.following(size)) for size in (2, 4)] == [True, False]
