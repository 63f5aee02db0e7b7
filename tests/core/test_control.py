"""The control loop's state machine: generations, hysteresis, backlog, and where tiers may live."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import profile_document
from hadis.control import Controller, is_shared
from hadis.profile import Profile
from hadis.resources import CascadeProfile, ServiceSpec


def make_spec(**fields: Any) -> ServiceSpec:
    return ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}, **fields})


def test_the_generation_grows_only_when_the_plan_routes_differently(profile: Profile) -> None:
    controller = Controller(profile, make_spec(), shared=True)
    quiet = [controller.step(2.0 * t, 0.5 * t, 4).generation for t in range(30)]
    assert quiet[0] == 1
    assert quiet[-1] == quiet[-5]
    busy = [controller.step(60 + 2.0 * t, 15 + 30.0 * t, 4) for t in range(1, 10)]
    assert busy[-1].generation > quiet[-1]
    assert busy[-1].quality > 21


def test_more_gpus_than_the_budget_are_not_used(profile: Profile) -> None:
    assert Controller(profile, make_spec(), shared=True).step(0, 0, 64).gpus <= 4


def test_a_backlog_is_demand_too(profile: Profile) -> None:
    calm, behind = (Controller(profile, make_spec(), shared=True) for _ in range(2))
    for t in range(30):
        calm_plan = calm.step(2.0 * t, 2.0 * t, 4)
        plan = behind.step(2.0 * t, 2.0 * t, 4, backlog=60)
    assert plan.demand_rps > calm_plan.demand_rps
    assert plan.quality > calm_plan.quality


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
