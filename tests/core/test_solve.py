"""The solver against a plain search, and what a person expects of plans."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from documents import profile_document
from hadis.api.resources import API_VERSION, CascadeProfile, Objective
from hadis.planning.grid import refined
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.solve import Solver
from hadis.planning.tuning import Tuning
from hypothesis import given, settings
from hypothesis import strategies as st

MEASURED = Tuning(refine=1)
"""Only the rows that the profile has."""


def wait_s(util: float, servers: int, service: float, scv: float, tail: float) -> float:
    """The formula of `hadis.planning.queueing`, written down once more."""
    if util >= 1 or servers == 0:
        return math.inf
    waits = util ** (math.sqrt(2 * (servers + 1)) - 1)
    return (1 + scv) / 2 * service / (servers * (1 - util)) * max(0.0, math.log(max(waits, 1e-300) / tail))


def slowest_s(profile: Profile, row: Any, demand: float, counts: tuple[int, int], batches: tuple[int, int],
              late: float, shared: bool) -> float:  # fmt: skip
    """Return the latency of a row's slowest path; infinite where it cannot keep up."""
    pair = row.light != row.heavy
    shares = (1 - row.direct_ratio, row.direct_ratio + (1 - row.direct_ratio) * row.deferral_ratio) if pair else (1, 0)
    deferred = (1 - row.direct_ratio) * row.deferral_ratio if pair else 0.0
    tail = late / (1 + deferred)
    defers = pair and row.deferral_ratio > 0
    judged = defers, defers and row.best_of_two
    times = [profile.latency_s(row.light, batches[0], judged[0]), profile.latency_s(row.heavy, batches[1], judged[1])]
    used = [i for i in (0, 1) if shares[i] > 0]
    if shared:
        flows = [demand * shares[i] / batches[i] for i in used]
        if demand == 0:  # any demand, for the mean
            flows = [shares[i] / batches[i] for i in used]
        mean = sum(f * times[i] for f, i in zip(flows, used, strict=True)) / sum(flows)
        square = sum(f * times[i] ** 2 for f, i in zip(flows, used, strict=True)) / sum(flows)
        util = 0.0 if demand == 0 else sum(flows) * mean / counts[0]
        wait = wait_s(util, counts[0], mean, square / mean**2 - 1, tail)
        paths = [times[i] + wait for i in used]
    else:
        paths = []
        for i in used:
            util = demand * shares[i] * times[i] / (counts[i] * batches[i]) if counts[i] else math.inf
            paths.append(times[i] + wait_s(util, counts[i], times[i], 0.0, tail))
    return sum(paths) if deferred > 0 else max(paths)


def brute_force(profile: Profile, slo: float, late: float, demand: float, gpus: int, shared: bool) -> float | None:
    """Return the best quality that fits, by looking at everything."""
    fitting = []
    for row in profile.configurations:
        pairs = itertools.product(profile.batch_sizes(row.light), profile.batch_sizes(row.heavy))
        slots = profile.slots.get(row.light, 0), profile.slots.get(row.heavy, 0)
        pooled = shared and not any(slots)
        # All GPUs are for the other tier where an endpoint makes one.
        one_pool = pooled or any(slots)
        splits = [(slots[0] or gpus, slots[1] or gpus)] if one_pool else [(n, gpus - n) for n in range(gpus + 1)]
        if any(
            slowest_s(profile, row, demand, split, pair, late, pooled) <= slo
            for pair, split in itertools.product(pairs, splits)
        ):
            fitting.append(row.quality)
    return min(fitting, default=None)


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Two or three tiers and a handful of rows with any numbers."""
    seconds = st.floats(0.01, 3)
    names = ["a", "b", "c"][: draw(st.integers(2, 3))]
    tiers = []
    for name in names:
        one = draw(seconds)
        latency = [{"batch": 1, "seconds": one}, {"batch": 2, "seconds": one * draw(st.floats(1, 2.2))}]
        tiers.append({"name": name, "model": "m", "steps": 1, "latency": latency,
                      "discriminatorSeconds": draw(st.sampled_from([0.0, 0.05]))})  # fmt: skip
        if slots := draw(st.sampled_from([0, 0, 0, 1, 3])):
            tiers[-1]["remote"] = {"url": "http://engine/v1", "slots": slots}
    ratio = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
    rows = []
    for i in range(draw(st.integers(1, 12))):
        light, heavy = sorted(draw(st.tuples(st.sampled_from(names), st.sampled_from(names))))
        pair = light != heavy
        quality = draw(st.integers(1, 50)) + i / 100  # no two alike
        rows.append({"light": light, "heavy": heavy, "directRatio": draw(ratio) if pair else 0,
                     "deferralRatio": draw(ratio) if pair else 0, "bestOfTwo": pair and draw(st.booleans()),
                     "quality": quality, "cost": 0})  # fmt: skip
    difficulty = {"features": ["prompt_length"], "mean": [0], "std": [1], "weights": [1], "quantiles": [0, 1]}
    spec = {"discriminator": "d", "tiers": tiers, "difficulty": difficulty, "configurations": rows}
    return Profile(CascadeProfile.read(
        {"apiVersion": API_VERSION, "kind": "CascadeProfile", "metadata": {"name": "x"}, "spec": spec}
    ))  # fmt: skip


@settings(max_examples=250)
@given(
    profiles(),
    st.sampled_from(["1s", "3s", "8s"]),
    st.just(0.0) | st.floats(0.01, 20),
    st.integers(1, 6),
    st.booleans(),
)
def test_the_best_quality_is_that_of_a_plain_search(
    profile: Profile, slo: str, demand: float, gpus: int, shared: bool
) -> None:
    solver = Solver(profile, Objective(latency=slo, attainment=0.95), shared=shared, tuning=MEASURED)
    plan = solver.solve(demand, gpus)
    best = brute_force(profile, float(slo[:-1]), 0.05, demand, gpus, shared)
    assert plan.feasible == (best is not None)
    if best is not None:
        assert plan.quality == best
    assert plan.gpus <= gpus
    if best is not None and plan.gpus > 1:
        fewer = brute_force(profile, float(slo[:-1]), 0.05, demand, plan.gpus - 1, shared)
        assert fewer is None or fewer > best  # the fewest GPUs of this quality


def solver_for(profile: Profile, **objective: Any) -> Solver:
    return Solver(profile, Objective(**{"latency": "4s", **objective}), shared=False, tuning=MEASURED)


def test_more_gpus_and_less_demand_never_hurt(profile: Profile) -> None:
    solver = solver_for(profile)
    by_gpus = [solver.solve(3.0, gpus).quality for gpus in range(2, 12)]
    assert by_gpus == sorted(by_gpus, reverse=True)
    by_demand = [solver.solve(demand, 6).quality for demand in (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)]
    assert by_demand == sorted(by_demand)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("demand_rps", [0.0, 0.01, 2.0])
def test_a_tier_alone_gets_the_least_number_of_gpus_whatever_the_demand(
    profile: Profile, shared: bool, demand_rps: float
) -> None:
    plan = Solver(profile, Objective(latency="4s"), shared=shared).solve(demand_rps, 6, min_gpus=4)
    assert (plan.light, plan.heavy, plan.gpus) == ("heavy", "heavy", 4)
    assert plan.heavy_latency_s == plan.light_latency_s >= 1


def test_cost_takes_the_fewest_gpus_that_reach_the_quality(profile: Profile) -> None:
    plan = solver_for(profile, optimize="Cost", quality=26).solve(3.0, 12)
    assert plan.quality <= 26
    fewer = solver_for(profile).solve(3.0, plan.gpus - 1)
    assert fewer.quality > 26


def test_cost_says_when_the_quality_is_out_of_reach(profile: Profile) -> None:
    plan = solver_for(profile, optimize="Cost", quality=1).solve(1.0, 12)
    assert plan.feasible
    assert "cannot be reached" in plan.reason


@pytest.mark.parametrize(
    ("demand", "gpus", "slo", "words"),
    [
        (100.0, 2, "4s", "need 11 GPUs, there are 2"),
        (1.0, 4, "50ms", "no tier can meet 0.05 s: the fastest takes 0.1 s"),
        (1.0, 0, "4s", "there are 0"),
        (1e6, 2, "4s", "need more than 4096 GPUs, there are 2"),
    ],
)
def test_what_cannot_be_done_is_said(profile: Profile, demand: float, gpus: int, slo: str, words: str) -> None:
    plan = solver_for(profile, latency=slo).solve(demand, gpus)
    assert not plan.feasible
    assert words in plan.reason
    assert plan.gpus == gpus
    assert plan.light == "light"


def test_small_moves_of_demand_do_not_flap_the_plan(profile: Profile) -> None:
    solver = solver_for(profile)
    plan: Plan | None = None
    seen = []
    for step in range(40):
        plan = solver.solve(3.0 + 0.05 * (step % 2), 6, 6, plan)
        seen.append((plan.direct_ratio, plan.deferral_ratio))
    assert len(set(seen[2:])) == 1


def test_a_plan_that_no_longer_fits_is_left_at_once(profile: Profile) -> None:
    solver = solver_for(profile)
    before = solver.solve(1.0, 6)
    after = solver.solve(12.0, 6, 0, before)
    assert after.feasible
    assert after.quality > before.quality


@pytest.mark.parametrize("demand", [math.nan, math.inf, -1.0])
def test_a_demand_that_is_no_number_is_refused(profile: Profile, demand: float) -> None:
    with pytest.raises(ValueError, match="demand"):
        solver_for(profile).solve(demand, 4)


def test_refined_rows_lie_between_measured_ones(profile: Profile) -> None:
    coarse = Solver(profile, Objective(latency="4s"), shared=True, tuning=MEASURED)
    fine = Solver(profile, Objective(latency="4s"), shared=True)
    assert all(fine.solve(d, 4).quality <= coarse.solve(d, 4).quality for d in (0.5, 1.0, 2.0, 3.3, 5.0))


def test_a_big_table_is_divided_less(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    measured, names = len(profile.configurations), list(profile.tiers)
    assert len(refined(profile.configurations, names, 4)) == 17 * 17 + 2
    monkeypatch.setattr("hadis.planning.grid.MOST_FINER", 4 * measured)
    assert len(refined(profile.configurations, names, 4)) == 9 * 9 + 2
    monkeypatch.setattr("hadis.planning.grid.MOST_FINER", measured - 1)
    assert len(refined(profile.configurations, names, 4)) == measured


def test_a_light_answer_waits_once_where_nothing_is_deferred() -> None:
    rows = [{"light": "light", "heavy": "heavy", "directRatio": 0.5, "deferralRatio": 0, "quality": 25, "cost": 1}]
    one = Profile(CascadeProfile.read(profile_document(configurations=rows)))
    plan = Solver(one, Objective(latency="4s"), shared=True).solve(2.0, 2)
    waits = plan.heavy_latency_s - one.latency_s("heavy", plan.tiers[1].batch)
    assert waits > 0
    assert plan.light_latency_s == pytest.approx(one.latency_s("light", plan.tiers[0].batch) + waits)
