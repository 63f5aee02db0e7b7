"""The better of two images in profiles and plans: rows of their own, and what judging costs them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from documents import profile_document
from hadis.api.compact import compact_document, content_hash
from hadis.api.resources import CascadeProfile, Objective
from hadis.api.shares import cascade_gpu_s
from hadis.planning.best_of_two import light_is_better
from hadis.planning.pareto import Front
from hadis.planning.profile import Profile
from hadis.planning.solve import Solver
from hadis.planning.table import cached_table
from hypothesis import given
from hypothesis import strategies as st

JUDGE_S = 0.02
COSTS = 0.1, 1.0, JUDGE_S
RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
AT = st.sampled_from(RATIOS)


def both_ways(gain: float, **spec: Any) -> Profile:
    """Return a profile that measured both ways of deferral; the better of two is better by up to `gain`."""
    rows = [
        {
            "light": "light",
            "heavy": "heavy",
            "directRatio": direct,
            "deferralRatio": deferral,
            **({"bestOfTwo": True} if better else {}),
            "quality": 30 - 8 * direct - (1 - direct) * deferral * (8 * (2 - deferral) + gain * better),
            "cost": round(cascade_gpu_s(direct, deferral, *COSTS, best_of_two=better), 8),
        }
        for better in (False, True)
        for direct in RATIOS
        for deferral in RATIOS
    ]
    rows += [
        {"light": name, "heavy": name, "directRatio": 0, "deferralRatio": 0, "quality": quality, "cost": cost}
        for name, quality, cost in (("light", 30.0, 0.1), ("heavy", 21.0, 1.0))
    ]
    document = profile_document(configurations=rows, **spec)
    for tier in document["spec"]["tiers"]:
        tier["discriminatorSeconds"] = JUDGE_S
    return Profile(CascadeProfile.read(document))


def test_both_ways_are_written_as_grids_whose_costs_follow_from_three_numbers() -> None:
    profile = both_ways(1.0)
    document = compact_document(profile.resource)
    assert "configurations" not in document["spec"]
    grids = document["spec"]["cascades"]
    assert [grid.get("bestOfTwo", False) for grid in grids if grid["light"] != grid["heavy"]] == [False, True]
    assert {(g["lightCost"], g["heavyCost"], g["judgeCost"]) for g in grids if "judgeCost" in g} == {COSTS}
    again = CascadeProfile.read(document)
    assert sorted(again.spec.configurations, key=str) == sorted(profile.configurations, key=str)
    assert content_hash(again) == profile.hash


def test_a_profile_without_it_is_known_by_the_hash_that_it_had() -> None:
    text = str(compact_document(CascadeProfile.read(profile_document())))
    assert "bestOfTwo" not in text
    assert "judgeCost" not in text


@given(AT, AT, st.booleans())
def test_a_row_takes_the_time_of_what_it_judges(direct: float, deferral: float, best_of_two: bool) -> None:
    table = cached_table(both_ways(1.0), 30.0)
    row = table.find("light", "heavy", direct, deferral, best_of_two=best_of_two)
    assert row is not None
    batch = table.batches.tolist().index(4)
    assert table.light_s[row][batch] == pytest.approx(0.4 + JUDGE_S * (deferral > 0))
    assert table.heavy_s[row][batch] == pytest.approx(4.0 + JUDGE_S * (deferral > 0 and best_of_two))


@pytest.mark.parametrize(("gain", "used"), [(-1.0, False), (1.0, True)])
def test_the_plan_keeps_the_better_of_two_where_that_is_better(gain: float, used: bool) -> None:
    objective = Objective(latency="30s")
    solver = Solver(both_ways(gain), objective, shared=True)
    plans = [solver.solve(demand, 4) for demand in (1.0, 3.0, 6.0, 8.0, 11.0)]
    deferring = [plan for plan in plans if plan.deferral_ratio]
    assert deferring
    assert any(plan.best_of_two for plan in deferring) is used, "though a plan may rather save the second look"
    for plan in deferring:
        assert [plan.judges(tier) for tier in ("light", "heavy")] == [True, plan.best_of_two]
        assert ("the better of two" in plan.summary) is plan.best_of_two
        row = solver.table.row_of(plan)
        assert row is not None
        assert solver.table.quality[row] == plan.quality
        assert plan.routes_like(replace(plan, quality=1.0))
        assert not plan.routes_like(replace(plan, best_of_two=not plan.best_of_two))
    front = Front(both_ways(gain), objective, shared=True)
    assert any(point.best_of_two for point in front.points) is used
    assert all(front.need(point, 1.0) for point in front.points)


def test_a_plan_that_defers_nothing_judges_nothing() -> None:
    plan = Solver(both_ways(1.0), Objective(latency="30s"), shared=True).solve(1.0, 4)
    assert not any(replace(plan, deferral_ratio=0.0, best_of_two=True).judges(tier) for tier in ("light", "heavy"))


NUMBERS = st.floats() | st.sampled_from([0.0, 0.5, 1.0])


@given(NUMBERS, NUMBERS)
def test_the_light_image_is_kept_only_where_both_were_judged_and_it_is_the_more_confident(
    light: float, heavy: float
) -> None:
    assert light_is_better(light, heavy) == (heavy > 0 and light > heavy)
