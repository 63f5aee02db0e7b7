"""Choosing without HTTP or clock: which tier, which worker, how many jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_workers import make_job, make_outlook, make_plan
from hadis.planning.plan import TierPlan
from hadis.planning.profile import Profile
from hadis_router.dispatch.choosing import Choice, GiveUp, StepDown, batch_size, choose
from hadis_router.dispatch.estimates import Estimates
from hadis_router.dispatch.outlook import Outlook
from virtual import virtual

BOTH = ("light", "heavy")


def put(outlook: Outlook, tier: str, *slos_s: float) -> None:
    for i, slo_s in enumerate(slos_s):
        outlook.queues[tier].put(make_job(f"{tier}{i}", slo_s=slo_s))


def chosen(outlook: Outlook) -> tuple[str, str, int] | None:
    choice = choose(outlook)
    assert choice is None or isinstance(choice, Choice)
    return None if choice is None else (choice.worker.url, choice.tier, choice.size)


@virtual
async def test_nothing_waits_or_nobody_is_idle(profile: Profile) -> None:
    assert chosen(make_outlook(profile, make_plan())) is None
    busy = make_outlook(profile, make_plan(), busy_s=1)
    put(busy, "light", 4)
    assert chosen(busy) is None


@virtual
async def test_the_tier_with_the_least_time_to_spare_is_first(profile: Profile) -> None:
    """Of two jobs with nearly one deadline, the heavy one must begin earlier: it takes 0.9 s longer."""
    for heavy_slo_s, tier in ((4.8, "heavy"), (5.0, "light")):
        outlook = make_outlook(profile, make_plan(), tiers=(BOTH,))
        put(outlook, "light", 4)
        put(outlook, "heavy", heavy_slo_s)
        assert chosen(outlook) == ("w0", tier, 1)


@virtual
async def test_a_tier_at_its_count_waits_for_the_other_one_but_not_for_nobody(profile: Profile) -> None:
    outlook = make_outlook(profile, make_plan(counts=(1, 1)), tiers=(BOTH, BOTH))
    next(iter(outlook.workers)).begin("heavy", 0.0, 1.0)
    put(outlook, "heavy", 1.5)
    assert chosen(outlook) == ("w1", "heavy", 1)
    put(outlook, "light", 4)
    assert chosen(outlook) == ("w1", "light", 1)


@virtual
async def test_a_tier_that_the_plan_does_not_use_goes_by_its_jobs_time_alone(profile: Profile) -> None:
    """What waits for it stands in for images that are late, so it must not wait until all others had their turn."""
    plan = make_plan(light="heavy", heavy="heavy")
    plan = replace(plan, tiers=(TierPlan("heavy", 1, 1),))
    for light_slo_s, tier in ((3.0, "light"), (3.2, "heavy")):
        outlook = make_outlook(profile, plan, tiers=(BOTH,))
        put(outlook, "light", light_slo_s)
        put(outlook, "heavy", 4)
        assert chosen(outlook) == ("w0", tier, 1)


@virtual
async def test_a_worker_gets_only_tiers_that_it_has(profile: Profile) -> None:
    outlook = make_outlook(profile, make_plan(), tiers=(("light",), ("heavy",)))
    put(outlook, "heavy", 2)
    assert chosen(outlook) == ("w1", "heavy", 1)
    only_light = make_outlook(profile, make_plan(), tiers=(("light",),))
    put(only_light, "heavy", 2)
    assert chosen(only_light) is None


@pytest.mark.parametrize(
    ("waiting", "idle", "first_slo_s", "size"),
    [
        (8, 1, 4, 4),  # the plan's batch
        (3, 1, 4, 3),  # all that waits
        (4, 2, 4, 2),  # two workers share it
        (8, 1, 0.25, 1),  # two images may take SLACK times 0.2 s
        (8, 1, 0.27, 2),
        (8, 1, 0.01, 1),  # late in any case
    ],
)
@virtual
async def test_the_size_of_a_batch(profile: Profile, waiting: int, idle: int, first_slo_s: float, size: int) -> None:
    outlook = make_outlook(profile, make_plan(batch=4, light="light", heavy="light"))
    put(outlook, "light", first_slo_s, *[4.0] * (waiting - 1))
    assert batch_size(outlook, "light", next(iter(outlook.workers)), idle) == size


@virtual
async def test_heavy_waits_where_light_could_not_answer_all_in_time_any_more(profile: Profile) -> None:
    """One worker: a heavy image takes up to 1.3 s, and a light one up to 0.13 s."""
    outlook = make_outlook(profile, make_plan())
    put(outlook, "heavy", 2.0)
    put(outlook, "light", 1.4)
    choice = choose(outlook)
    assert isinstance(choice, StepDown)
    assert ([job.id for job in choice.jobs], choice.tier) == (["heavy0"], "light")
    roomy = make_outlook(profile, make_plan())
    put(roomy, "heavy", 2.0)
    put(roomy, "light", 1.5)
    assert chosen(roomy) == ("w0", "heavy", 1)


@virtual
async def test_a_worker_that_has_no_light_tier_starts_heavy_work_whatever_waits(profile: Profile) -> None:
    outlook = make_outlook(profile, make_plan(), tiers=(("light",), ("heavy",)), busy_s=0)
    next(iter(outlook.workers)).begin("light", 0.0, 5.0)
    put(outlook, "heavy", 2.0)
    put(outlook, "light", 1.4)
    assert chosen(outlook) == ("w1", "heavy", 1)


@virtual
async def test_a_slow_worker_comes_last_and_gets_nothing_that_it_would_make_late(profile: Profile) -> None:
    outlook = make_outlook(profile, make_plan(), tiers=(BOTH, BOTH))
    for _ in range(20):
        outlook.estimates.learn("w0", "heavy", 1, False, 4.0)
        outlook.estimates.learn("w1", "heavy", 1, False, 1.0)
    put(outlook, "heavy", 3.0)
    assert chosen(outlook) == ("w1", "heavy", 1)
    next(iter(reversed(list(outlook.workers)))).begin("heavy", 0.0, 1.0)
    assert chosen(outlook) is None


@virtual
async def test_a_slow_worker_is_not_given_a_job_whose_light_image_would_be_the_answer_before(profile: Profile) -> None:
    outlook = make_outlook(profile, make_plan(), tiers=(BOTH,))
    put(outlook, "heavy", 3.0)
    head = outlook.queues["heavy"].head()
    assert head is not None
    outlook.queues["heavy"].remove(head)
    head.light_image = b"light"
    outlook.queues["heavy"].put(head)
    ratios = {"w0": 4.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Estimates, "worker_ratio", lambda _, worker: ratios[worker])
        assert chosen(outlook) is None
        ratios["w0"] = 1.6
        assert chosen(outlook) == ("w0", "heavy", 1)


@virtual
async def test_a_slow_worker_leaves_a_light_job_to_one_that_is_in_time(profile: Profile) -> None:
    outlook = make_outlook(profile, make_plan(), tiers=(BOTH, BOTH))
    put(outlook, "light", 0.5)
    _, usual = outlook.workers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Estimates, "worker_ratio", lambda _, worker: 9.0 if worker == "w0" else 1.0)
        usual.begin("light", 0.0, 0.2)
        assert chosen(outlook) is None
        usual.begin("light", 0.0, 0.4)
        assert chosen(outlook) == ("w0", "light", 1), "neither is in time"


@virtual
async def test_a_job_that_is_late_whatever_begins_gives_way_to_those_behind_it(profile: Profile) -> None:
    """A heavy image takes 1 s: in an overload, one batch that is begun in vain makes the next one late, and so on."""
    outlook = make_outlook(profile, make_plan(light="heavy"), tiers=(("heavy",),))
    put(outlook, "heavy", 0.9)
    assert chosen(outlook) == ("w0", "heavy", 1), "there is nothing better to do"
    outlook.queues["heavy"].put(make_job("behind it", slo_s=1.5))
    assert choose(outlook) == GiveUp(outlook.queues["heavy"].following(1)[0])
