"""The control loop's state machine: generations, hysteresis, backlog, and where tiers may live."""

from __future__ import annotations

from typing import Any

import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.planning.control import Controller, is_shared
from hadis.planning.profile import Profile


def make_spec(**fields: Any) -> ServiceSpec:
    return ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}, **fields})


FOUR = {"light": 4, "heavy": 4}


def test_the_generation_grows_only_when_the_plan_routes_differently(profile: Profile) -> None:
    controller = Controller(profile, make_spec(), shared=True)
    quiet = [controller.step(2.0 * t, 0.5 * t, FOUR, {}).generation for t in range(30)]
    assert quiet[0] == 1
    assert quiet[-1] == quiet[-5]
    busy = [controller.step(60 + 2.0 * t, 15 + 30.0 * t, FOUR, {}) for t in range(1, 10)]
    assert busy[-1].generation > quiet[-1]
    assert busy[-1].quality > 21


def test_more_gpus_than_the_budget_are_not_asked_for(profile: Profile) -> None:
    controller = Controller(profile, make_spec(), shared=True)
    controller.step(0, 0, FOUR, {})
    controller.step(10, 900, FOUR, {})
    assert sum(controller.target(10, 64, FOUR, FOUR).values()) <= 4


def test_a_queue_makes_the_plan_ask_for_less(profile: Profile) -> None:
    calm, behind = (Controller(profile, make_spec(), shared=True) for _ in range(2))
    for t in range(30):
        calm_plan = calm.step(2.0 * t, 8.0 * t, FOUR, {})
        plan = behind.step(2.0 * t, 8.0 * t, FOUR, {"heavy": 6.0})
    assert plan.demand_rps == calm_plan.demand_rps
    assert plan.quality > calm_plan.quality
    assert plan.feasible


def test_demand_past_the_gpus_takes_the_cheapest_row_and_says_so(profile: Profile) -> None:
    controller = Controller(profile, make_spec(), shared=True)
    controller.step(0, 0, FOUR, {})
    plan = controller.step(2, 1000, FOUR, {})
    assert (plan.light, plan.direct_ratio, plan.deferral_ratio, plan.feasible) == ("light", 0, 0, False)
    assert "too few GPUs" in plan.reason


def test_nothing_is_ready(profile: Profile) -> None:
    plan = Controller(profile, make_spec(), shared=True).step(0, 0, {}, {})
    assert not plan.feasible
    assert plan.gpus == 0


def test_gpus_are_given_back_when_fewer_sufficed_for_the_window(profile: Profile) -> None:
    controller = Controller(profile, make_spec(scaleDownAfter="20s", objective={
        "latency": "4s", "optimize": "Cost", "quality": 29.0}), shared=True)  # fmt: skip
    counts = []
    for t in range(100):
        total = 20.0 * min(t, 20)  # 20 requests/s for 20 s, then none
        controller.step(float(t), total, FOUR, {})
        counts.append(sum(controller.target(float(t), 4, FOUR, FOUR).values()))
    assert max(counts) > 1
    assert counts[30] == max(counts)
    assert counts[-1] == 1


def dedicated(profile: Profile, load_s: float) -> Controller:
    document = profile.resource.model_dump(mode="json", by_alias=True)
    for tier in document["spec"]["tiers"]:
        tier["loadSeconds"] = load_s
    return Controller(Profile(CascadeProfile.read(document)), make_spec(gpus={"max": 8}), shared=False)


def test_dedicated_gpus_move_for_a_gain_and_stay_without_one(profile: Profile) -> None:
    controller = dedicated(profile, load_s=5)
    counts: dict[str, int] = {"light": 4, "heavy": 4}
    history = []
    for t in range(60):
        controller.step(float(t), 6.0 * t, counts, {})
        counts = controller.target(float(t), 8, counts, counts)
        history.append(counts)
    assert 6 <= sum(counts.values()) <= 8
    assert counts["heavy"] > 4
    assert all(c == counts for c in history[20:])


def test_no_gpu_is_moved_that_must_serve_meanwhile(profile: Profile) -> None:
    controller = dedicated(profile, load_s=5)
    for t in range(30):
        controller.step(float(t), 18.0 * t, {"light": 2, "heavy": 6}, {})
    counts = controller.target(30.0, 8, {"light": 2, "heavy": 6}, {"light": 2, "heavy": 6})
    assert counts["light"] >= 2


@pytest.mark.parametrize(
    ("placement", "memory", "each", "shared"),
    [
        (None, 0, 0, True),
        (None, 100, 50, True),
        (None, 100, 51, False),
        ("Dedicated", 100, 10, False),
        ("Shared", 100, 90, True),
    ],
)
def test_tiers_share_a_gpu_where_they_fit(placement: str | None, memory: int, each: int, shared: bool) -> None:
    document = profile_document(gpuMemoryBytes=memory)
    for tier in document["spec"]["tiers"]:
        tier["memoryBytes"] = each
    profile = Profile(CascadeProfile.read(document))
    assert is_shared(make_spec(**({"placement": placement} if placement else {})), profile) is shared
