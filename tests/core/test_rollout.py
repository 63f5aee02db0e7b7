"""A changed profile: tried, compared, taken over or rolled back; a pure function of what routers counted."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from typing import Any

import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.api.rollout import RolloutSpec
from hadis.planning.comparison import GroupCounts, difference_over, group_counts, regression, wilson
from hadis.planning.decide import decide
from hadis.planning.memory import Memory
from hadis.planning.profile import Profile
from hadis.planning.rollout import (
    COMPARISONS,
    LEAST_IMAGES,
    MOST_TIMES,
    RISK,
    Rollout,
    advance,
    on_cascade,
    profiles_in_force,
    rollout_condition,
    why_not_comparable,
)
from hadis.planning.snapshot import DemandReading, Snapshot, Worker, WorkerGroup
from hypothesis import given, settings
from hypothesis import strategies as st

FOR_S = 600.0
SPEC = RolloutSpec.read({"canary": 0.05, "for": "10m"})


def profile_of(**changes: Any) -> Profile:
    document = profile_document()
    document["spec"] |= copy.deepcopy(changes)
    return Profile(CascadeProfile.read(document))


OLD, NEW, THIRD = profile_of(), profile_of(source="measured again"), profile_of(source="and again")


def counted(
    chance: random.Random, images: int, missed: float = 0.02, failed: float = 0.0, deferral: float = 0.3, **more: float
) -> GroupCounts:
    """Return what chance makes of so many images; `more` are the mean confidence and the planned deferral ratio."""
    late = sum(chance.random() < missed for _ in range(images))
    unanswered = sum(chance.random() < failed for _ in range(images))
    confidences = [min(1.0, max(0.0, chance.gauss(more.get("confidence", 0.7), 0.2))) for _ in range(images)]
    return GroupCounts(
        images,
        min(images, late + unanswered),
        unanswered,
        images,
        sum(chance.random() < deferral for _ in range(images)),
        images * more.get("planned", deferral),
        sum(confidences),
        sum(c * c for c in confidences),
    )


def tried(chance: random.Random, rps: float = 10.0, share: float = 0.05, times: float = 1.0, **worse: float) -> Rollout:
    """Return what becomes of a profile after `times` the time to compare, a step every 20 s, if that many came."""
    rollout, groups, step_s = Rollout(), {OLD.hash: GroupCounts(), NEW.hash: GroupCounts()}, 20.0
    for step in range(int(times * FOR_S / step_s) + 1):
        if step:
            groups[OLD.hash] += counted(chance, round(rps * step_s * (1 - share)))
            groups[NEW.hash] += counted(chance, round(rps * step_s * share), **worse)
        rollout = advance(rollout, SPEC, OLD, NEW, groups, 1000.0 + step * step_s)
    return rollout


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_one_that_is_worse_is_rolled_back_and_says_in_what(seed: int) -> None:
    worse: list[tuple[str, dict[str, float]]] = [
        ("ErrorsRose", {"failed": 0.15}),
        ("LatencyRose", {"missed": 0.25}),
        ("DeferralRose", {"deferral": 0.6, "planned": 0.3}),
        ("ConfidenceFell", {"confidence": 0.5}),
    ]
    chance = random.Random(seed)
    reason, how = chance.choice(worse)
    rollout = tried(chance, **how)
    assert (rollout.verdict, rollout.reason) == ("RolledBack", reason)


def test_one_that_is_alike_is_taken_over_in_nearly_all_runs() -> None:
    runs = [tried(random.Random(seed)) for seed in range(60)]
    assert sum(run.verdict == "TakenOver" for run in runs) >= 58  # at most 5% are not, and tolerances make it fewer


def test_a_plan_that_defers_another_share_is_no_regression() -> None:
    assert tried(random.Random(1), deferral=0.6, planned=0.6).verdict == "TakenOver"


def test_with_too_little_traffic_it_says_so_and_waits_but_not_for_ever() -> None:
    waiting = tried(random.Random(1), rps=0.5, times=1.5)
    assert (waiting.verdict, waiting.reason) == ("Comparing", "TooFewRequests")
    assert f"{LEAST_IMAGES} of each are needed" in waiting.message
    assert tried(random.Random(1), rps=0.0, times=MOST_TIMES).verdict == "RolledBack"
    assert tried(random.Random(1), rps=2.0, times=3).verdict == "TakenOver"


def test_it_is_looked_at_so_often_and_no_more() -> None:
    rollout, comparisons = Rollout(), set()
    groups = {p.hash: GroupCounts(1000, 10, 0, 1000, 300, 300, 700, 500) for p in (OLD, NEW)}
    for second in range(int(FOR_S) + 1):
        rollout = advance(rollout, SPEC, OLD, NEW, groups, float(second))
        comparisons.add(rollout.comparisons)
    assert comparisons == set(range(COMPARISONS + 1))
    assert rollout.verdict == "TakenOver"


def test_a_third_profile_begins_anew_and_a_verdict_stays() -> None:
    groups = {OLD.hash: GroupCounts(1000), NEW.hash: GroupCounts(1000, 900)}
    begun = advance(Rollout(), SPEC, OLD, NEW, groups, 0.0)
    back = advance(begun, SPEC, OLD, NEW, groups, FOR_S / COMPARISONS)
    assert (back.verdict, back.reason) == ("RolledBack", "LatencyRose")
    assert advance(back, SPEC, OLD, NEW, {}, 10 * FOR_S) == back
    third = advance(back, SPEC, OLD, THIRD, groups, 50.0)
    assert (third.candidate, third.began_s, third.verdict) == (THIRD.hash, 50.0, "Comparing")


def test_a_clock_that_went_back_begins_anew() -> None:
    begun = advance(Rollout(), SPEC, OLD, NEW, {}, 5000.0)
    assert advance(begun, SPEC, OLD, NEW, {}, 100.0).began_s == 100.0


def test_which_profile_is_in_force() -> None:
    known, taken = {OLD.hash: OLD}, Rollout(NEW.hash, verdict="TakenOver")
    assert profiles_in_force(NEW, known, SPEC, OLD.hash, Rollout()) == (OLD, NEW)
    assert profiles_in_force(NEW, known, SPEC, OLD.hash, replace(taken, verdict="RolledBack")) == (OLD, NEW)
    for at_once in (
        profiles_in_force(NEW, known, SPEC, OLD.hash, taken),
        profiles_in_force(NEW, known, None, OLD.hash, Rollout()),
        profiles_in_force(NEW, {}, SPEC, OLD.hash, Rollout()),
        profiles_in_force(NEW, known, SPEC, "", Rollout()),
    ):
        assert at_once == (NEW, None)
    assert profiles_in_force(OLD, known, SPEC, OLD.hash, taken) == (OLD, None)


def test_other_models_are_not_tried_and_other_measures_are() -> None:
    tiers = profile_document()["spec"]["tiers"]
    slower = [tier | {"latency": [{"batch": 1, "seconds": 2.0}]} for tier in tiers]
    assert why_not_comparable(OLD, profile_of(tiers=slower)) is None
    for other in (
        profile_of(tiers=[tiers[0], tiers[1] | {"model": "another"}]),
        profile_of(tiers=[tiers[0], tiers[1] | {"steps": 7}]),
        profile_of(discriminator="another"),
    ):
        refused = advance(Rollout(), SPEC, OLD, other, {}, 0.0)
        assert (refused.verdict, refused.reason) == ("RolledBack", "TiersDiffer")


def test_the_canary_keeps_to_the_cascade_in_force() -> None:
    rows = on_cascade(NEW, "light", "heavy")
    assert rows is not None
    assert {(row.light, row.heavy) for row in rows.configurations} == {("light", "heavy")}
    assert on_cascade(NEW, "heavy", "light") is None


@pytest.mark.parametrize(
    ("first", "second", "low"),
    [  # Newcombe 1998, table II, method 10: 95% intervals
        ((56, 70), (48, 80), 0.0524),
        ((9, 10), (3, 10), 0.1705),
        ((5, 56), (0, 29), -0.0381),
    ],
)
def test_intervals_are_those_of_the_paper(first: tuple[int, int], second: tuple[int, int], low: float) -> None:
    assert difference_over(first, second, 1.959964) == pytest.approx(low, abs=5e-5)


@given(of=st.integers(1, 10**6), share=st.floats(0, 1), z=st.floats(0.1, 6))
def test_an_interval_holds_its_share(of: int, share: float, z: float) -> None:
    count = round(share * of)
    low, high = wilson(count, of, z)
    assert 0 <= low <= count / of + 1e-12 and count / of - 1e-12 <= high <= 1


def test_what_is_not_judged_is_not_compared_by_confidence() -> None:
    assert regression(GroupCounts(1000), GroupCounts(1000), 0.05) is None


@pytest.mark.parametrize(("images", "missed"), [(100, 9), (300, 19), (1000, 47)])
def test_how_much_worse_is_told_with_so_many_images(images: int, missed: int) -> None:
    stable, risk = GroupCounts(19 * images, round(19 * images * 0.02)), RISK / COMPARISONS
    assert regression(stable, GroupCounts(images, missed - 1), risk) is None
    worse = regression(stable, GroupCounts(images, missed), risk)
    assert worse is not None and worse.reason == "LatencyRose"


def test_a_mean_of_few_is_no_mean() -> None:
    stable = GroupCounts(1000, 0, 0, 1000, 300, 300.0, 700.0, 500.0)
    few = GroupCounts(100, 0, 0, 5, 1, 1.5, 1.0, 0.2)
    assert regression(stable, few, RISK) is None


@given(
    sums=st.dictionaries(st.sampled_from(list(GroupCounts.__match_args__)), st.floats(0, 2.0**53)),
    images=st.integers(30),
)
def test_whatever_a_router_says_is_compared_without_an_error(sums: dict[str, float], images: int) -> None:
    counts = replace(group_counts(sums), images=images + int(sums.get("missed", 0)))
    regression(GroupCounts(100, 1, 0, 100, 30, 30.0, 70.0, 50.0), counts, RISK / COMPARISONS)
    regression(counts, GroupCounts(100, 1, 0, 100, 30, 30.0, 70.0, 50.0), RISK / COMPARISONS)


@given(load=st.floats(0.01, 50), ready=st.integers(0, 4))
@settings(max_examples=25)
def test_what_is_tried_changes_nothing_of_plan_and_workers(load: float, ready: int) -> None:
    spec = ServiceSpec.read({
        "profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}, "rollout": {"canary": 0.5},
    })  # fmt: skip
    slow = [tier | {"latency": [{"batch": 1, "seconds": 3.0}]} for tier in profile_document()["spec"]["tiers"]]
    group = WorkerGroup("ALL", ("light", "heavy"), replicas=ready, created=ready)
    workers = tuple(Worker(f"w{i}", "ALL", ("light", "heavy"), ready=True) for i in range(ready))
    decisions = []
    for candidate in (None, profile_of(tiers=slow)):
        memory = Memory()
        for step in range(4):
            reading = DemandReading(2.0 * step, {"router": load * 2 * step})
            seen = Snapshot(2.0 * step, spec, OLD, reading, workers, (group,), candidate=candidate)
            decision = decide(seen, memory)
            memory = decision.memory
        decisions.append(decision)
    without, tried = decisions
    assert (without.plan, without.target, without.replicas) == (tried.plan, tried.target, tried.replicas)
    assert without.canary is None
    assert (tried.canary is not None) == (ready > 0)


@pytest.mark.parametrize(("in_force", "reason"), [(NEW, "TakenOver"), (THIRD, "InForce")])
def test_a_profile_that_was_taken_over_is_told_while_it_is_in_force(in_force: Profile, reason: str) -> None:
    taken = Rollout(NEW.hash, verdict="TakenOver", message="not worse")
    assert rollout_condition(taken, in_force, None).reason == reason
