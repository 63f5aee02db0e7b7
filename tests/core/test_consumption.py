"""What plans say of energy and money."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hadis.api.resources import Objective
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.solve import Solver
from hadis.planning.tuning import Tuning
from test_objectives import JOULES, joules_of, profile_of, tier


def plan_of(profile: Profile, gpus_per_worker: int = 1, gpus: int = 8, **objective: Any) -> Plan:
    goal = Objective.model_validate({"latency": "4s", **objective})
    solver = Solver(profile, goal, shared=True, tuning=Tuning(refine=1), gpus_per_worker=gpus_per_worker)
    return solver.solve(6.0, gpus)


@pytest.mark.parametrize("gpus_per_worker", [1, 2])
def test_a_plan_tells_the_energy_and_the_money_of_an_image(gpus_per_worker: int) -> None:
    plan = plan_of(profile_of({**JOULES}), gpus_per_worker, gpuPrice=0.9)
    ratios = plan.light, plan.heavy, plan.direct_ratio, plan.deferral_ratio
    assert plan.joules_per_image == pytest.approx(joules_of(*ratios))
    seconds = {"light": 0.1, "heavy": 0.5, "frugal": 1.0}  # of an image, in every batch
    heavy = plan.direct_ratio + (1 - plan.direct_ratio) * plan.deferral_ratio
    gpu_s = (1 - plan.direct_ratio) * seconds[plan.light] + heavy * seconds[plan.heavy]
    assert plan.money_per_image == pytest.approx(gpu_s * gpus_per_worker * 0.9 / 3600)


def test_what_is_not_known_is_left_out() -> None:
    plan = plan_of(profile_of({}, [tier(name, 0.1, None) for name in JOULES]))
    assert (plan.joules_per_image, plan.money_per_image) == (None, None)


def test_the_price_of_an_endpoint_is_not_known() -> None:
    remote = {**tier("frugal", 0.1, None), "remote": {"url": "https://images.example/v1", "slots": 9}}
    profile = profile_of({}, [tier("light", 0.1, None), tier("heavy", 40.0, None), remote])
    plan = plan_of(profile, gpuPrice=0.9)
    assert plan.heavy == "frugal"
    assert plan.money_per_image is None


def test_the_power_of_a_batch_is_between_those_that_were_measured() -> None:
    points = [{"batch": 1, "seconds": 1.0, "joules": 100.0}, {"batch": 3, "seconds": 2.0, "joules": 600.0}]
    profile = profile_of({}, [{**tier(name, 0.1, None), "latency": points} for name in JOULES])
    assert profile.power_w("light", 1) == 100.0
    assert profile.power_w("light", 2) == pytest.approx(350 / 1.5)
    assert profile.power_w("light", 3) == profile.power_w("light", 9) == 300.0
    unknown = profile_of(
        {}, [{**tier(name, 0.1, None), "latency": [points[0], {"batch": 3, "seconds": 2.0}]} for name in JOULES]
    )
    assert unknown.power_w("light", 1) == math.inf
