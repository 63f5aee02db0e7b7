"""The shares of a cascade's tiers, and the Pareto front of any points."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hadis.api.shares import cascade_gpu_s, deferred_share, heavy_share, light_share
from hadis.planning.pareto import pareto_front
from hypothesis import given
from hypothesis import strategies as st

RATIO = st.floats(0, 1)


def test_the_heavy_tier_serves_direct_and_deferred_requests() -> None:
    assert heavy_share(0.25, 0.5) == 0.25 + 0.75 * 0.5
    direct, deferral = np.array([0.0, 0.25, 1.0]), np.array([1.0, 0.5, 0.3])
    assert heavy_share(direct, deferral).tolist() == [1.0, 0.625, 1.0]


@given(RATIO, RATIO)
def test_every_request_is_served_and_only_deferred_ones_twice(direct: float, deferral: float) -> None:
    twice = light_share(direct) + heavy_share(direct, deferral) - 1
    assert twice == pytest.approx(deferred_share(direct, deferral), abs=1e-12)


def test_a_tier_that_serves_nothing_costs_nothing() -> None:
    assert cascade_gpu_s(0.2, 0.5, 1.5, 10.0) == pytest.approx(0.8 * 1.5 + 0.6 * 10)
    assert cascade_gpu_s(1.0, 0.5, float("inf"), 10.0) == 10.0
    assert cascade_gpu_s(0.0, 0.0, 1.5, float("inf")) == 1.5


def test_only_what_may_be_deferred_is_judged_and_of_two_images_both() -> None:
    assert cascade_gpu_s(0.2, 0.0, 1.0, 10.0, 0.5, best_of_two=True) == pytest.approx(0.8 * 1 + 0.2 * 10)
    assert cascade_gpu_s(0.2, 0.5, 1.0, 10.0, 0.5) == pytest.approx(0.8 * 1.5 + 0.6 * 10)
    assert cascade_gpu_s(0.2, 0.5, 1.0, 10.0, 0.5, best_of_two=True) == pytest.approx(0.8 * 1.5 + 0.6 * 10.5)


def test_a_front_holds_what_no_other_point_beats() -> None:
    points = [(1.0, 5.0), (2.0, 4.0), (2.0, 6.0), (3.0, 4.0), (0.5, 7.0), (1.0, 5.0)]
    assert pareto_front(points) == [4, 0, 1]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_a_front_beats_every_other_point(points: list[tuple[int, int]]) -> None:
    front = [points[i] for i in pareto_front(points)]
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in itertools.pairwise(front))
    assert all(any(f[0] <= p[0] and f[1] <= p[1] for f in front) for p in points)
