"""Requests that only some tiers may make: the shares of a plan's tiers hold them, and planning follows what comes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from documents import profile_document, router_status
from hadis.api.cascade_profile import CascadeProfile
from hadis.api.resources import Gpus, Objective, ServiceSpec
from hadis.cli.control_loop import _read_demand
from hadis.planning.decide import decide
from hadis.planning.forecast import Demand
from hadis.planning.memory import Memory
from hadis.planning.planner import planner_for
from hadis.planning.profile import Profile, Restricted
from hadis.planning.readings import believed
from hadis.planning.restricted import followed_restricted, read_restricted, with_restricted
from hadis.planning.snapshot import DemandReading, Problem, Snapshot, Worker, WorkerGroup
from hadis.planning.solve import Solver
from hadis.planning.speeds import corrected
from hadis.planning.table import Table
from hadis.planning.tuning import Tuning
from hadis.protocol.labels import EVERY_TIER
from hypothesis import given
from hypothesis import strategies as st

TIERS = ("light", "middle", "heavy")
SPEC = ServiceSpec.read(
    {"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 8}, "placement": "Shared", "mode": "Auto"}
)


def three_tiers() -> Profile:
    """Return a profile of three tiers of 0.1, 0.5 and 1 s per image, with every pair and single tier."""
    document = profile_document()
    light, heavy = document["spec"]["tiers"]
    middle = {**light, "name": "middle", "latency": [{"batch": b, "seconds": 0.5 * b} for b in (1, 2, 4)]}
    names = [(a, b) for i, a in enumerate(TIERS) for b in TIERS[i:]]
    grid = (0.0, 0.5, 1.0)
    rows = [
        {"light": a, "heavy": b, "directRatio": x, "deferralRatio": y, "quality": 20.0, "cost": 1.0}
        for a, b in names
        for x in grid
        for y in grid
        if a != b or x == y == 0.0
    ]
    return Profile(CascadeProfile.read(profile_document(tiers=[light, middle, heavy], configurations=rows)))


@st.composite
def restrictions(draw: st.DrawFn) -> Restricted:
    sets = st.lists(st.sampled_from(TIERS), min_size=1, max_size=2, unique=True).map(
        lambda names: ",".join(sorted(names, key=TIERS.index))
    )
    chosen = draw(st.lists(sets, max_size=4, unique=True))
    shares = draw(st.lists(st.floats(0.01, 0.25), min_size=len(chosen), max_size=len(chosen)))
    return tuple(sorted(zip(chosen, shares, strict=True)))


def expected(light: str, heavy: str, direct: float, deferral: float, restricted: Restricted) -> tuple[float, ...]:
    """Return the shares (light, deferred, heavy) of a row, counted kind by kind of request."""
    seconds = dict(zip(TIERS, (0.1, 0.5, 1.0), strict=True))
    to_light = to_heavy = deferred = 0.0
    free = 1 - sum(share for _, share in restricted)
    for able, share in [*((tiers.split(","), share) for tiers, share in restricted), (list(TIERS), free)]:
        if light in able and heavy in able:
            to_light += share * (1 - direct)
            deferred += share * (1 - direct) * deferral
            to_heavy += share * direct
        elif light in able:
            to_light += share
        elif heavy in able:
            to_heavy += share
        else:
            to_heavy += share * seconds[able[-1]] / seconds[heavy]
    return (to_light + to_heavy, 0.0, 0.0) if light == heavy else (to_light, deferred, to_heavy + deferred)


PROFILE = three_tiers()


@given(restricted=restrictions())
def test_a_row_has_its_share_of_the_free_requests_and_all_that_its_other_tier_may_not_make(
    restricted: Restricted,
) -> None:
    table = Table(with_restricted(PROFILE, restricted), 4.0)
    for i in range(len(table.quality)):
        light, heavy, direct, deferral, _ = table.row(i)
        shares = table.light_share[i], table.deferred_share[i], table.heavy_share[i]
        assert shares == pytest.approx(expected(light, heavy, direct, deferral, restricted))
        if light != heavy and all({light, heavy} & set(tiers.split(",")) for tiers, _ in restricted):
            assert shares[0] + shares[2] - shares[1] == pytest.approx(1.0), "each request once"


def test_tiers_that_a_profile_does_not_have_restrict_nothing() -> None:
    free, other = Table(PROFILE, 4.0), Table(with_restricted(PROFILE, (("gone", 0.5),)), 4.0)
    assert np.array_equal(free.heavy_share, other.heavy_share)
    mixed = Table(with_restricted(PROFILE, (("gone,heavy", 0.5),)), 4.0)
    assert np.array_equal(mixed.heavy_share, Table(with_restricted(PROFILE, (("heavy", 0.5),)), 4.0).heavy_share)


@given(
    share=st.floats(0.05, 0.9), demand=st.floats(0.5, 20), shared=st.booleans(),
)  # fmt: skip
def test_a_plan_has_the_gpus_for_what_its_heavy_tier_alone_may_make(share: float, demand: float, shared: bool) -> None:
    profile = Profile(CascadeProfile.read(profile_document()))
    objective = Objective.read({"latency": "4s", "attainment": 0.95, "optimize": "Cost", "quality": 30.0})
    plain = Solver(profile, objective, shared=shared).solve(demand, 64)
    plan = Solver(with_restricted(profile, (("heavy", share),)), objective, shared=shared).solve(demand, 64)
    assert plan.feasible
    heavy_s = demand * share * 1.0  # a heavy image takes a second
    used = plan.gpus if shared or plan.light == plan.heavy else next(t.count for t in plan.tiers if t.tier == "heavy")
    assert used > heavy_s
    assert plan.gpus >= plain.gpus


def shares_of(counts: dict[str, float], total: float, planned: Restricted = ()) -> Restricted:
    series = {tiers: Demand().add(0.0, {"": 0.0}).add(10.0, {"": count}) for tiers, count in counts.items()}
    return followed_restricted(planned, series, total)


def test_planning_follows_a_share_once_noise_does_not_explain_it() -> None:
    assert shares_of({"heavy": 6.0}, 19.0) == ()
    assert shares_of({"heavy": 30.0, "light": 0.0}, 100.0) == (("heavy", 0.3),)
    planned = (("heavy", 0.3),)
    assert shares_of({"heavy": 34.0}, 100.0, planned) is planned
    assert shares_of({"heavy": 3400.0}, 10000.0, planned) == (("heavy", 0.34),)
    assert shares_of({"heavy": 0.0}, 1000.0, planned) == ()
    assert shares_of({}, 1000.0, planned) == ()
    assert shares_of({"heavy": 60.0, "light": 60.0}, 100.0) == (("heavy", 0.5), ("light", 0.5))


def test_shares_come_back_from_a_status_as_far_as_they_can_be_believed() -> None:
    document = {"light": 0.2, "heavy": 0.3, "a": -1.0, "b": 2.0, "c": math.nan}
    assert read_restricted(document) == (("heavy", 0.3), ("light", 0.2))


def test_a_count_that_cannot_be_one_is_refused_by_name() -> None:
    reading = DemandReading(0.0, {"r": 1.0}, restricted={"heavy": {"r": -1.0}})
    problem = believed(reading, 0.0)
    assert isinstance(problem, Problem)
    assert problem.message == "arrivals at r for heavy alone is -1; a count is never negative"


def test_a_profile_to_plan_with_is_one_object_for_the_same_shares(profile: Profile) -> None:
    restricted = (("heavy", 0.3),)
    assert with_restricted(profile, ()) is profile
    assert with_restricted(profile, restricted) is with_restricted(profile, (("heavy", 0.3),))
    assert corrected(with_restricted(profile, restricted), {"light": {1: 2.0}}).restricted == restricted


def readings(share: float, rps: float, every_s: float, until_s: float) -> list[DemandReading]:
    times = [i * every_s for i in range(int(until_s / every_s) + 1)]
    return [DemandReading(at, {"r": at * rps}, restricted={"heavy": {"r": at * rps * share}}) for at in times]


def test_the_step_plans_with_what_it_read() -> None:
    workers = tuple(Worker(f"p{i}", EVERY_TIER, ("light", "heavy"), ready=True, url=f"http://p{i}") for i in range(8))
    group = WorkerGroup(EVERY_TIER, ("light", "heavy"), replicas=8, created=8)
    profile, plans = Profile(CascadeProfile.read(profile_document())), {}
    for share in (0.0, 0.5):
        memory = Memory()
        for reading in readings(share, 8.0, 2.0, 60.0):
            decision = decide(Snapshot(reading.at_s, SPEC, profile, reading, workers, (group,)), memory)
            memory = decision.memory
        assert memory.restricted == ((("heavy", 0.5),) if share else ())
        assert decision.target is not None
        plans[share] = decision.target
    # The time of 4 of the 8 GPUs is spoken for before the plan's ratios have a say.
    assert plans[0.5].direct_ratio < plans[0.0].direct_ratio
    restarted = replace(Memory(), restricted=memory.restricted)
    held = decide(Snapshot(0.0, SPEC, profile, Problem("NoRouter", "-"), workers, (group,)), restarted)
    assert held.memory.restricted == memory.restricted


async def test_hadis_up_reads_them_from_the_routers_status() -> None:
    status: Any = router_status(arrivals_by_size={"auto": 5}, restricted_arrivals={"heavy": 2}).json_text()
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text=status))
    async with httpx.AsyncClient(transport=transport) as http:
        reading = await _read_demand(http, "http://r")
    assert isinstance(reading, DemandReading)
    assert reading.restricted == {"heavy": {"http://r": 2.0}}


@pytest.mark.parametrize(("rps", "feasible"), [(20.0, True), (24.0, False)])
def test_dedicated_gpus_keep_a_tier_that_alone_may_make_some_requests(rps: float, feasible: bool) -> None:
    """The middle tier would make all of them cheaper, and most where they are too many."""
    known, ready = with_restricted(PROFILE, (("heavy", 0.3),)), {"light": 1, "middle": 2, "heavy": 5}
    objective = Objective.model_validate({"latency": "4s"})
    planner = planner_for(known, objective, shared=False, every_s=2.0, tuning=Tuning())
    target = planner.target(rps, Gpus(min=8, max=8), None)
    assert target.feasible == feasible
    counts = planner.workers_by_tier(target, rps, 8, ready, ready, ready)
    assert counts == {"light": 2, "middle": 0, "heavy": 6}
