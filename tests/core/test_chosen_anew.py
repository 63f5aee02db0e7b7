"""What routes is chosen anew once objective, SLO, prices or profile are others, however steady the load is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hadis.planning.decide import decide
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Problem, Snapshot
from hadis.protocol.labels import EVERY_TIER
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decide import Fleet, Service, group_of, make_spec
from test_objectives import JOULES, profile_of

World = tuple[str, str, dict[str, Any]]
"""A profile in force, one that is tried, and an objective."""

TIERS = ("light", "heavy", "frugal")
STEPS, EVERY_S = 12, 2.0
PROFILES = {"measured": profile_of({**JOULES}), "as hungry": profile_of({**JOULES, "frugal": 900.0})}
BEST, FRUGAL = {"latency": "4s"}, {"latency": "4s", "optimize": "Energy", "quality": 27.0}
CHEAP = {"latency": "4s", "optimize": "Money", "quality": 27.0, "gpuPrice": 2.0}
OBJECTIVES: list[dict[str, Any]] = [
    BEST,
    {**BEST, "latency": "3s"},
    FRUGAL,
    {**FRUGAL, "quality": 29.0},
    CHEAP,
    {**CHEAP, "gpuPrice": 4.0},
]
profiles = st.sampled_from(sorted(PROFILES))
worlds = st.tuples(profiles, profiles, st.sampled_from(OBJECTIVES))


@dataclass
class Tried(Service):
    """A service that tries a new profile beside the one in force."""

    candidate: Profile | None = None

    def put(self, world: World) -> None:
        """Give it a profile, one to try, and an objective."""
        profile, candidate, objective = world
        self.profile, self.candidate = PROFILES[profile], PROFILES[candidate]
        self.spec = make_spec(objective=objective, rollout={})

    def snapshot(self, now_s: float, reading: DemandReading | Problem, fleet: Fleet) -> Snapshot:
        return replace(super().snapshot(now_s, reading, fleet), candidate=self.candidate)


def fleet(workers: int) -> Fleet:
    return group_of(EVERY_TIER, TIERS, workers)


@settings(deadline=None)
@given(before=worlds, after=worlds, rps=st.floats(0.5, 20.0), workers=st.integers(1, 4), away=st.booleans())
def test_in_another_world_plans_are_those_of_a_service_that_had_none(
    before: World, after: World, rps: float, workers: int, away: bool
) -> None:
    service, times = Tried(PROFILES[before[0]]), [step * EVERY_S for step in range(STEPS + 2)]
    service.put(before)
    for now_s in times[:-2]:
        service.step(now_s, now_s * rps, fleet(workers))
    service.put(after if away else before)
    service.step(times[-2], times[-2] * rps, fleet(0 if away else workers))
    service.put(after)
    seen = service.snapshot(times[-1], DemandReading(times[-1], {"router": times[-1] * rps}), fleet(workers))
    memory = decide(seen, service.memory).memory
    if (before[0], before[2]) != (after[0], after[2]):
        first = decide(seen, replace(service.memory, plan=None)).memory
        assert unnumbered(memory.plan) == unnumbered(first.plan)
    if before != after:  # of the same plan in force: it says between which tiers the candidate chooses
        first = decide(seen, replace(service.memory, canary_plan=None)).memory
        assert unnumbered(memory.canary_plan) == unnumbered(first.canary_plan)


def unnumbered(plan: Plan | None) -> Plan | None:
    """Return a plan but for its generation."""
    return plan and plan.numbered(0)
