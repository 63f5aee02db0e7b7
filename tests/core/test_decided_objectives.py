"""What an objective does in the control step: one that the product does not know, energy, and money."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
from hadis.api.optimize import Optimize
from hadis.api.resources import Objective, ServiceSpec
from hadis.api.rollout import RolloutSpec
from hadis.planning.decide import Decision, decide
from hadis.planning.objectives import CRITERIA, Criterion
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.queueing import Array
from hadis.planning.snapshot import DemandReading, Problem
from hadis.planning.table import Table
from hadis.protocol.labels import EVERY_TIER
from numpy.typing import NDArray
from test_decide import Service, group_of, make_spec
from test_objectives import GOAL, JOULES, profile_of, tier

TIERS = ("light", "heavy", "frugal")


@dataclass(frozen=True)
class FewestDirect(Criterion):
    """As few prompts straight to the heavy tier as a share of a quality that is asked for allows."""

    quality: float

    def values(self, table: Table) -> Array:
        """Order by the direct ratio what is good enough, and the rest behind it."""
        return np.where(self.acceptable(table), 1 + table.direct, 10 + table.quality)

    def acceptable(self, table: Table) -> NDArray[np.bool_]:
        """Accept what reaches the quality."""
        return table.quality <= self.quality

    def reason(self, *, acceptable: bool) -> str:
        """Say so."""
        return "fewest direct" if acceptable else "all are direct"

    def shortfall(self, plan: Plan, gpus: int) -> Problem | None:
        """Say so."""
        return Problem("TooDirect", f"on {gpus}") if plan.quality > self.quality else None

    def refusal(self, profile: Profile) -> Problem | None:
        """Refuse a profile without the frugal tier."""
        return None if "frugal" in profile.tiers else Problem("NotFrugal", "add the tier frugal")


@pytest.fixture
def unknown() -> Iterator[Optimize]:
    """The name of an objective that the API does not know."""
    name = cast(Optimize, "FewestDirect")
    CRITERIA[name] = lambda objective: FewestDirect(objective.quality or 0.0)
    yield name
    del CRITERIA[name]


def spec_of(**objective: Any) -> ServiceSpec:
    return make_spec(gpus={"max": 8}, objective={"latency": "4s", **objective})


def decided(profile: Profile, spec: ServiceSpec) -> Decision:
    """Return the last of four steps of a service with one request per second."""
    service = Service(profile, spec)
    for t in (0.0, 5.0, 10.0, 15.0):
        decision = service.step(t, t, group_of(EVERY_TIER, TIERS, 8))
    return decision


def conditions(decision: Decision) -> dict[str, tuple[str, str, str]]:
    return {c.type: (c.status, c.reason, c.message) for c in decision.conditions}


def with_objective(name: Optimize, quality: float) -> ServiceSpec:
    objective = Objective(latency="4s", quality=quality).model_copy(update={"optimize": name})
    return spec_of().model_copy(update={"objective": objective})


def test_the_step_takes_an_objective_that_it_does_not_know(unknown: Optimize) -> None:
    decision = decided(profile_of({**JOULES}), with_objective(unknown, 29.0))
    for plan in (decision.plan, decision.target):
        assert plan is not None
        assert plan.direct_ratio == 0.0
        assert plan.quality <= 29.0
        assert plan.reason.startswith("fewest direct")
    assert conditions(decision)["CapacitySufficient"][:2] == ("True", "Sufficient")
    short = decided(profile_of({**JOULES}), with_objective(unknown, 1.0))
    assert short.plan is not None
    assert short.plan.reason.startswith("all are direct")
    assert conditions(short)["CapacitySufficient"] == ("False", "TooDirect", "on 8")


def test_the_step_plans_nothing_with_a_profile_that_the_objective_refuses(unknown: Optimize, profile: Profile) -> None:
    decision = decided(profile, with_objective(unknown, 29.0))
    assert not decision.planned
    assert conditions(decision)["ProfileValid"] == ("False", "NotFrugal", "add the tier frugal")


def test_energy_takes_the_frugal_tier_and_says_so() -> None:
    spec = spec_of(optimize="Energy", quality=GOAL)
    decision = decided(profile_of({**JOULES}), spec)
    for plan in (decision.plan, decision.target):
        assert plan is not None
        assert plan.heavy == "frugal"
        assert plan.quality <= GOAL
        assert plan.reason.startswith(f"quality {GOAL:g} with the least energy")
    missed = decided(profile_of({**JOULES}), spec_of(optimize="Energy", quality=1.0))
    status, reason, message = conditions(missed)["CapacitySufficient"]
    assert (status, reason) == ("False", "QualityNotReached")
    assert "objective.quality 1 is not reached" in message


@pytest.mark.parametrize("batches", [(), (1, 2)])
def test_energy_refuses_a_profile_that_does_not_tell_it(batches: tuple[int, ...]) -> None:
    heavy = tier("heavy", 0.5, 900.0)
    for point in heavy["latency"]:
        if point["batch"] not in batches:
            del point["joules"]
    profile = profile_of({}, [tier("light", 0.1, 20.0), heavy, tier("frugal", 1.0, 300.0)])
    decision = decided(profile, spec_of(optimize="Energy", quality=GOAL))
    assert not decision.planned
    status, reason, message = conditions(decision)["ProfileValid"]
    assert (status, reason) == ("False", "EnergyUnknown")
    assert "does not have of heavy; measure on a GPU" in message
    assert "write Cost" in message


def test_a_new_profile_that_the_objective_refuses_is_not_tried() -> None:
    spec = spec_of(optimize="Energy", quality=GOAL).model_copy(update={"rollout": RolloutSpec()})
    old, new = profile_of({**JOULES}), profile_of({**JOULES, "heavy": None})
    service = Service(old, spec)
    service.step(0.0, 0.0, group_of(EVERY_TIER, TIERS, 8))
    reading = DemandReading(2.0, {"router": 2.0})
    seen = service.snapshot(2.0, reading, group_of(EVERY_TIER, TIERS, 8))
    for candidate, told in ((new, "EnergyUnknown"), (profile_of({**JOULES, "light": 21.0}), "Comparing")):
        decision = decide(replace(seen, candidate=candidate), service.memory)
        assert (decision.canary is None) is (candidate is new)
        assert conditions(decision)["ProfileRollout"][1] == told


def test_money_takes_the_fewest_gpus_and_says_so() -> None:
    profile = profile_of({**JOULES})
    money = decided(profile, spec_of(optimize="Money", quality=GOAL, gpuPrice=0.8))
    cost = decided(profile, spec_of(optimize="Cost", quality=GOAL))
    assert money.target is not None and cost.target is not None
    assert money.target.routes_like(cost.target)
    assert money.target.reason.startswith(f"quality {GOAL:g} with the least money")


def test_money_refuses_tiers_whose_price_is_not_known() -> None:
    remote = {**tier("frugal", 1.0, None), "remote": {"url": "https://images.example/v1", "slots": 2}}
    profile = profile_of({}, [tier("light", 0.1, None), tier("heavy", 0.5, None), remote])
    decision = decided(profile, spec_of(optimize="Money", quality=GOAL, gpuPrice=0.8))
    status, reason, message = conditions(decision)["ProfileValid"]
    assert (status, reason) == ("False", "PriceUnknown")
    assert "endpoints of frugal" in message
