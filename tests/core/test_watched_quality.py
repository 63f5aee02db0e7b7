"""Quality in service beside its prediction: bounds, intervals, and when the condition changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile
from hadis.planning.expected_confidence import expected_confidence
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.watched_quality import (
    LEAST_IMAGES,
    WatchSums,
    difficulty_edges,
    live_quality,
    named_sums,
    prompt_drift,
    quality_condition,
    watch_sums,
)
from hypothesis import given
from hypothesis import strategies as st

SHARES = st.integers(0, 20).map(lambda twentieths: twentieths / 20)
CONFIDENCES = st.floats(0, 1)


def plan_of(direct: float, deferral: float, light: str = "light", heavy: str = "heavy") -> Plan:
    return Plan(light, heavy, direct, deferral, (), 1.0, 25.0, 1.0, 2.0)


def profile_of(light: Sequence[float], heavy: Sequence[float], difficulty: Sequence[float] = range(11)) -> Profile:
    document = profile_document()
    for tier, quantiles in zip(document["spec"]["tiers"], (light, heavy), strict=True):
        tier["confidenceQuantiles"] = list(quantiles)
    document["spec"]["difficulty"]["quantiles"] = list(difficulty)
    return Profile(CascadeProfile.read(document))


@given(
    images=st.lists(st.tuples(st.floats(0, 1), CONFIDENCES, CONFIDENCES), min_size=2, max_size=40),
    direct=SHARES,
    deferral=SHARES,
)
def test_the_prediction_holds_however_difficulty_and_confidences_go_together(
    images: Sequence[tuple[float, float, float]], direct: float, deferral: float
) -> None:
    difficulty, light, heavy = np.array(images).T
    n = len(images)
    straight = round(direct * n)
    deferred = round(deferral * (n - straight))
    by_difficulty = np.argsort(-difficulty, kind="stable")
    rest = by_difficulty[straight:]
    kept = rest[np.argsort(light[rest], kind="stable")][deferred:]
    made_light = np.zeros(n, bool)
    made_light[kept] = True
    mean = float(np.where(made_light, light, heavy).mean())
    # As a profile tells them: each of n values is the quantile of its n-th part.
    steps = [np.repeat(np.sort(values), 200).tolist() for values in (light, heavy)]
    plan = plan_of(straight / n, deferred / max(1, n - straight))
    expected = _expected(steps, plan)
    assert expected[0] - 0.01 <= mean <= expected[1] + 0.01


def _expected(quantiles: Sequence[Sequence[float]], plan: Plan) -> tuple[float, float]:
    profile = profile_of([0, 1], [0, 1])
    tiers = [
        tier.model_copy(update={"confidence_quantiles": tuple(values)})
        for tier, values in zip(profile.tiers.values(), quantiles, strict=True)
    ]
    expected = expected_confidence(profile.with_tiers(tuple(tiers)), plan)
    assert expected is not None
    return expected.low, expected.high


@given(light=st.lists(CONFIDENCES, min_size=2, max_size=9), direct=SHARES, deferral=SHARES)
def test_a_prediction_is_a_range_of_confidences(light: list[float], direct: float, deferral: float) -> None:
    low, high = _expected([sorted(light), [0.5, 1.0]], plan_of(direct, deferral))
    assert 0 <= low <= high + 1e-9
    assert high <= 1


@pytest.mark.parametrize(
    ("direct", "deferral", "mean"), [(0.0, 0.0, 0.5), (1.0, 0.0, 0.75), (0.0, 1.0, 0.75), (0.0, 0.5, None)]
)
def test_where_one_tier_answers_all_it_is_that_tiers_mean(direct: float, deferral: float, mean: float | None) -> None:
    low, high = _expected([[0.0, 1.0], [0.5, 1.0]], plan_of(direct, deferral))
    if mean is None:
        assert (low, high) == pytest.approx((0.375 + 0.3125, 0.375 + 0.4375))
    else:
        assert (low, high) == pytest.approx((mean, mean))


def test_a_profile_that_measured_it_predicts_a_number() -> None:
    document = profile_document()
    for row in document["spec"]["configurations"]:
        row["measures"] = {"confidence": 0.5 + row["directRatio"] / 4}
    profile = Profile(CascadeProfile.read(document))
    for direct, mean in ((0.25, 0.5625), (0.5, 0.625)):
        expected = expected_confidence(profile, plan_of(direct, 0.25))
        assert expected is not None
        assert (expected.low, expected.high) == (mean, mean)


def test_what_was_not_profiled_is_not_predicted() -> None:
    profile = profile_of([], [0.5, 1.0])
    assert expected_confidence(profile, plan_of(0.0, 0.5)) is None
    entry = quality_condition(profile, plan_of(0.0, 0.5), WatchSums(), None)
    assert (entry.status, entry.reason) == ("Unknown", "NotProfiled")


# What is seen


def sums_of(
    confidences: Sequence[float], low: float = 0.8, heavy: float = 0.9, difficulties: Sequence[float] = ()
) -> WatchSums:
    n = len(confidences)
    return WatchSums(
        images=n, answered=sum(confidences), answered_squares=sum(c * c for c in confidences), low=n * low,
        high=n * (low + 0.05), heavy=n * heavy, heavy_squares=n * heavy * heavy, heavy_profiled=n * 0.9,
        difficulties=tuple(difficulties),
    )  # fmt: skip


@given(st.lists(CONFIDENCES, min_size=1, max_size=200))
def test_the_interval_is_about_the_mean_and_narrows_with_more(confidences: list[float]) -> None:
    live, more = live_quality(sums_of(confidences)), live_quality(sums_of(confidences * 8))
    assert live is not None
    assert more is not None
    assert 0 <= live.interval.low <= live.mean + 1e-9
    assert live.mean - 1e-9 <= live.interval.high <= 1
    assert more.interval.high - more.interval.low <= live.interval.high - live.interval.low + 1e-9


def test_the_interval_has_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = rng.beta(2, 0.5, (2000, 60))
    intervals = [live_quality(sums_of(draw.tolist())) for draw in draws]
    held = [live is not None and live.interval.low <= 0.8 <= live.interval.high for live in intervals]
    assert np.mean(held) > 0.975


@given(st.lists(st.lists(CONFIDENCES, max_size=20), min_size=1, max_size=4))
def test_sums_of_several_routers_are_those_of_one_and_survive_being_told(parts: list[list[float]]) -> None:
    total = WatchSums()
    for part in parts:
        total += watch_sums(named_sums(sums_of(part, difficulties=(1.0, 2.0))))
    whole = sums_of([c for part in parts for c in part], difficulties=(len(parts), 2.0 * len(parts)))
    assert named_sums(total) == pytest.approx(named_sums(whole))


PROFILE, PLAN = profile_of([0.0, 1.0], [0.8, 1.0]), plan_of(0.2, 0.2)


def said(sums: WatchSums | None, before: bool | None = None, profile: Profile = PROFILE) -> tuple[str, str]:
    entry = quality_condition(profile, PLAN, sums, before)
    return entry.status, entry.reason


def test_what_is_said_of_the_quality() -> None:
    n = 4 * LEAST_IMAGES
    assert said(None) == said(WatchSums()) == said(sums_of([0.1] * (LEAST_IMAGES - 1))) == ("Unknown", "TooFewImages")
    assert said(sums_of([0.8] * n)) == said(sums_of([1.0] * n)) == ("True", "AsPredicted")
    assert said(sums_of([0.5] * n)) == ("False", "AnswersWorse")
    assert said(sums_of([0.5] * n, heavy=0.7)) == ("False", "HeavyTierWorse")


def test_between_worse_and_as_predicted_it_stays_as_it_was() -> None:
    unsure = sums_of([0.0] * 14 + [0.94] * 58)  # its mean is below, its interval is not
    assert said(unsure) == ("Unknown", "NotSure")
    assert said(unsure, before=True) == ("True", "AsPredicted")
    assert said(unsure, before=False)[0] == "False"


@given(
    st.lists(CONFIDENCES, min_size=LEAST_IMAGES, max_size=120), st.floats(0, 1), st.sampled_from([None, True, False])
)
def test_it_is_never_false_of_what_may_be_as_predicted(
    confidences: list[float], low: float, before: bool | None
) -> None:
    live = live_quality(sums_of(confidences, low=low))
    assert live is not None
    status = quality_condition(PROFILE, PLAN, sums_of(confidences, low=low), before).status
    if live.mean >= live.predicted.low:
        assert status == "True"
    if status == "False" and before is not False:
        assert live.interval.high < live.predicted.low


def test_prompts_that_differ_are_named() -> None:
    edges = difficulty_edges(range(11))
    assert edges == pytest.approx(tuple(range(1, 10)))
    even, hard = [50.0] * 10, [0.0] * 9 + [500.0]
    quantiles = PROFILE.resource.spec.difficulty.quantiles
    assert prompt_drift(sums_of([], difficulties=even), quantiles) is None
    assert prompt_drift(sums_of([], difficulties=hard), quantiles) == pytest.approx(0.9)
    n = 4 * LEAST_IMAGES
    assert said(sums_of([0.5] * n, difficulties=hard)) == ("False", "PromptsDiffer")
    entry = quality_condition(PROFILE, PLAN, sums_of([0.8] * n, difficulties=hard), None)
    assert (entry.status, "difficulties are not the profile's (by 90%)" in entry.message) == ("True", True)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=30))
def test_prompts_like_the_profiles_do_not_differ_also_where_many_are_equal(values: list[int]) -> None:
    quantiles = np.quantile(np.repeat(np.sort(values), 40), np.linspace(0, 1, 101)).tolist()
    edges = difficulty_edges(quantiles)
    counts = np.bincount(np.searchsorted(edges, np.repeat(values, 40)), minlength=len(edges) + 1)
    assert prompt_drift(replace(WatchSums(), difficulties=tuple(map(float, counts))), quantiles) is None
