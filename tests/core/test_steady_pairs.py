"""Which pair of tiers routes in steady load: a queue that comes and goes with every batch moves its ratios alone."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hadis.api.manifest import read_profile
from hadis.api.resources import Objective
from hadis.planning.plan import Plan
from hadis.planning.planner import Planner
from hadis.planning.profile import Profile
from hadis.planning.speeds import corrected
from hadis.planning.tuning import Tuning

SCENES = Profile(read_profile(Path(__file__).parents[2] / "examples/scenes/profile.yaml"))


@pytest.mark.parametrize("rps", [3.0, 6.0, 9.0, 11.0, 12.0, 13.0, 20.0])
@pytest.mark.parametrize("slower", [1.0, 1.5, 3.0])
def test_a_queue_that_comes_and_goes_leaves_the_pair_in_force(rps: float, slower: float) -> None:
    """Unless it is so long that no row of the pair is light enough."""
    profile = corrected(SCENES, {tier: dict.fromkeys(SCENES.batch_sizes(tier), slower) for tier in SCENES.tiers})
    planner = Planner(profile, Objective(latency="4s"), shared=True, every_s=1.0, tuning=Tuning())
    ready, plan, pairs = dict.fromkeys(profile.tiers, 2), None, []
    for second in range(40):
        queued_s = {"scenes-large-20": 6.0 if second % 4 == 3 else 0.0}
        plan = planner.route(rps, ready, ready, queued_s, plan)
        pairs.append(pair_of(plan))
    assert sum(a != b for a, b in pairwise(pairs)) <= 1


def pair_of(plan: Plan) -> tuple[str, str]:
    return plan.light, plan.heavy
