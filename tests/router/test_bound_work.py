"""Bound work: jobs of 3 s on their lanes, as late as they can be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from fake_workers import make_job, make_outlook, make_plan
from hadis.planning.profile import Profile
from hadis_router.dispatch.bound_work import BoundWork, bound_work
from hadis_router.dispatch.light_reserve import LightReserve
from virtual import virtual


def work(*deadlines: float, lanes: int = 1) -> BoundWork:
    return BoundWork({"heavy": sorted(deadlines)}, {"heavy": 3.0}, lanes)


@pytest.mark.parametrize(
    ("deadlines", "lanes", "first"),
    [
        ([], 1, math.inf),
        ([10], 1, 7),
        ([10, 11], 1, 5),  # one after the other
        ([10, 11], 2, 7),
        ([6, 10], 2, 3),
        ([6, 10, 10], 2, 3),
        ([9, 10, 10], 2, 4),
    ],
)
def test_the_first_must_begin_so_that_all_end_in_time(deadlines: Sequence[float], lanes: int, first: float) -> None:
    assert work(*deadlines, lanes=lanes).first == work(*deadlines, lanes=lanes).begins["heavy"] == first


@pytest.mark.parametrize(
    ("deadlines", "free_at", "in_time"),
    [
        ([], [99, 99], True),
        ([10], [7, 99], True),
        ([10], [7.1, 99], False),
        ([6, 10], [3, 99], True),  # both on the first worker
        ([10, 10], [1, 7.1], False),
        ([10, 10, 10], [4, 7], True),
    ],
)
def test_workers_must_be_free_when_the_lanes_begin(
    deadlines: Sequence[float], free_at: Sequence[float], in_time: bool
) -> None:
    assert work(*deadlines, lanes=2).in_time(lambda: free_at) is in_time


@pytest.mark.parametrize(("to", "batches"), [(7, 0), (7.1, 1), (8, 1), (8.1, 2), (10, 3), (99, 3)])
def test_it_takes_the_time_of_light_batches_from_when_it_must_begin(to: float, batches: int) -> None:
    both = work(10).plus("heavy", 10.0)
    assert [each.batches(to, 1.0) for each in (work(10), work(10, 7).less("heavy", [7]))] == [batches] * 2
    assert both.batches(99, 1.0) == 6


@virtual
async def test_what_workers_without_the_light_tier_make_is_in_nobodys_way(profile: Profile) -> None:
    for workers, first in (([("light", "heavy")], 2.7), ([("light",), ("heavy",)], math.inf)):
        outlook = make_outlook(profile, make_plan(), workers)
        outlook.queues["heavy"].put(make_job(slo_s=4.0, tier="heavy"))
        assert bound_work(outlook, "light", 1, None).first == pytest.approx(first)
        takes = LightReserve(outlook, "light", make_job(tier="heavy")).takes(1.2, "heavy")
        assert takes is (first == math.inf)
