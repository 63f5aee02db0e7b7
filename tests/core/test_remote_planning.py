"""Planning with a heavy tier that an endpoint makes: as many servers as it has slots, and no GPU of the budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from documents import profile_document
from hadis.api.manifest import read_manifest, read_profile
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.planning.decide import Decision, decide
from hadis.planning.endpoints import unready_since, without_away
from hadis.planning.fleet import is_shared
from hadis.planning.memory import Memory
from hadis.planning.planner import Planner
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Snapshot, Worker, WorkerGroup
from hadis.planning.solve import Solver
from hadis.planning.tuning import Tuning
from hadis.protocol.labels import EVERY_TIER, resident_tiers, tiers_by_pool


def remote_profile(slots: int, tier: int = 1, **changes: Any) -> Profile:
    """Return the profile of two tiers, one of which an endpoint makes."""
    document = profile_document(**changes)
    document["spec"]["tiers"][tier] |= {"remote": {"url": "http://e/v1", "slots": slots}, "tunable": False}
    return Profile(CascadeProfile.read(document))


def spec_of(gpus: int, placement: str | None = None, least: int = 0) -> ServiceSpec:
    fields = {"placement": placement} if placement else {}
    return ServiceSpec.read(
        {"profile": "two", "objective": {"latency": "4s"}, "gpus": {"min": least, "max": gpus}, **fields}
    )


Fleet = tuple[tuple[WorkerGroup, ...], tuple[Worker, ...]]


def fleet_of(gpus: int, slots: int, light: str = EVERY_TIER) -> Fleet:
    """Return so many ready workers with GPUs, and of the endpoint."""
    lights = [Worker(f"g{i}", light, ("light",), ready=True) for i in range(gpus)]
    heavies = [Worker(f"e{i}", "heavy", ("heavy",), ready=True, remote=True) for i in range(slots)]
    groups = (
        WorkerGroup(light, ("light",), replicas=gpus, created=gpus),
        WorkerGroup("heavy", ("heavy",), replicas=slots, created=slots, remote=True),
    )
    return groups, (*lights, *heavies)


def steady(profile: Profile, spec: ServiceSpec, fleet: Fleet, rps: float, steps: int = 40) -> Decision:
    """Return what is decided after a while of one demand."""
    memory = Memory()
    for t in range(steps):
        reading = DemandReading(2.0 * t, {"router": rps * 2 * t})
        groups, workers = fleet
        decision = decide(Snapshot(2.0 * t, spec, profile, reading, workers, groups), memory)
        memory = decision.memory
    return decision


@pytest.mark.parametrize("shared", [True, False])
def test_a_plan_uses_all_slots_and_charges_none(shared: bool) -> None:
    solver = Solver(remote_profile(slots=3), spec_of(4).objective, shared=shared)
    plan = solver.solve(4.0, 4)
    heavy = plan.tier("heavy")
    assert heavy is not None
    assert (heavy.count, heavy.remote, plan.tier("light") and plan.tiers[0].remote) == (3, True, False)
    assert plan.gpus == plan.tiers[0].count == 1
    share = plan.direct_ratio + (1 - plan.direct_ratio) * plan.deferral_ratio
    assert 0.3 < share < 3 / 4, "three images per second of the four that come"


def test_more_gpus_do_not_make_heavier_images_and_more_slots_do() -> None:
    def quality(gpus: int, slots: int) -> float:
        return Solver(remote_profile(slots), spec_of(4).objective, shared=True).solve(6.0, gpus).quality

    assert quality(gpus=1, slots=2) == quality(gpus=8, slots=2)
    assert quality(gpus=1, slots=1) > quality(gpus=1, slots=2) > quality(gpus=1, slots=4)


def test_an_endpoint_that_can_answer_everything_needs_no_gpu() -> None:
    plan = Solver(remote_profile(slots=8), spec_of(4).objective, shared=True).solve(2.0, 4)
    assert (plan.light, plan.heavy, plan.gpus) == ("heavy", "heavy", 0)
    assert plan.tiers[0].count == 8


@pytest.mark.parametrize("shared", [True, False])
def test_what_is_too_much_is_told_in_gpus_that_would_do(shared: bool) -> None:
    plan = Solver(remote_profile(slots=1), spec_of(1).objective, shared=shared).solve(15.0, 1)
    assert not plan.feasible
    assert plan.reason == "15 requests/s within 4 s need 2 GPUs, there are 1"
    assert (plan.light, plan.gpus, plan.tiers[0].count) == ("light", 1, 1)
    assert 0 < plan.direct_ratio + plan.deferral_ratio < 1 / 15, "what the slot can make, it makes"


def test_a_light_tier_may_be_remote_too() -> None:
    plan = Solver(remote_profile(slots=2, tier=0), spec_of(4).objective, shared=False).solve(8.0, 4)
    assert (plan.light, plan.heavy) == ("light", "heavy")
    assert (plan.tiers[0].count, plan.tiers[0].remote) == (2, True)
    assert 1 <= plan.gpus == plan.tiers[1].count <= 4


@pytest.mark.parametrize("placement", ["Shared", "Dedicated"])
def test_the_step_has_a_worker_for_each_slot_whatever_comes(placement: str) -> None:
    pool = EVERY_TIER if placement == "Shared" else "light"
    for rps in (0.0, 1.0, 20.0):
        decision = steady(remote_profile(3), spec_of(4, placement), fleet_of(2, 3, pool), rps)
        assert decision.workers_by_tier["heavy"] == 3
        assert decision.replicas is not None
        assert decision.replicas["heavy"] == 3
        assert decision.replicas[pool] == decision.workers_by_tier["light"] <= 4
    assert decision.workers_by_tier["light"] >= 2


@pytest.mark.parametrize("placement", ["Shared", "Dedicated"])
def test_what_routes_keeps_the_slots_and_the_gpus_busy(placement: str) -> None:
    pool = EVERY_TIER if placement == "Shared" else "light"
    decision = steady(remote_profile(2), spec_of(2, placement, least=2), fleet_of(2, 2, pool), rps=8.0)
    plan = decision.plan
    assert plan is not None
    assert [(tier.tier, tier.count, tier.remote) for tier in plan.tiers] == [("light", 2, False), ("heavy", 2, True)]
    share = plan.direct_ratio + (1 - plan.direct_ratio) * plan.deferral_ratio
    assert 1.6 < share * 8.0 <= 2.5, "two per second, and what fills an empty queue"
    assert "of 2 GPUs' time" in plan.reason
    assert "of 2 slots of heavy" in plan.reason


def test_a_queue_at_the_endpoint_makes_the_plan_ask_it_for_less() -> None:
    planner = Planner(remote_profile(2), spec_of(2).objective, shared=True, every_s=2.0, tuning=Tuning())
    ready = {"light": 2, "heavy": 2}
    calm, behind, light_behind = (
        planner.route(8.0, ready, ready, queued, None) for queued in ({}, {"heavy": 12.0}, {"light": 1.0})
    )
    assert behind.quality > calm.quality == light_behind.quality


def test_while_the_endpoint_is_away_light_serves_alone_and_it_is_told() -> None:
    profile, spec = remote_profile(2), spec_of(2, least=2)
    groups, workers = fleet_of(2, 2)
    gone = tuple(replace(w, ready=not w.remote, started_s=0.0) for w in workers)
    decision = steady(profile, spec, (groups, gone), rps=4.0)
    assert decision.plan is not None
    assert (decision.plan.light, decision.plan.direct_ratio, decision.plan.deferral_ratio) == ("light", 0, 0)
    conditions = {c.type: (c.status, c.reason) for c in decision.conditions}
    assert conditions["Degraded"] == ("True", "EndpointAway")
    assert conditions["Ready"] == ("True", "Serving")
    assert decision.replicas == {EVERY_TIER: 2, "heavy": 2}, "it is waited for"
    started = tuple(replace(w, started_s=70.0) for w in gone)
    fresh = steady(profile, spec, (groups, started), rps=4.0)
    assert {c.type: c.status for c in fresh.conditions}["Degraded"] == "False"


@pytest.mark.parametrize("placement", ["Shared", "Dedicated"])
def test_gpus_are_added_for_an_endpoint_that_is_away_and_not_for_one_that_was_just_missed(placement: str) -> None:
    profile, spec = remote_profile(8), spec_of(4, placement)
    groups, workers = fleet_of(0, 8, EVERY_TIER if placement == "Shared" else "light")
    gone = tuple(replace(worker, ready=False) for worker in workers)
    assert steady(profile, spec, (groups, workers), rps=4.0).workers_by_tier["light"] == 0
    assert steady(profile, spec, (groups, gone), rps=4.0, steps=15).workers_by_tier["light"] == 0
    away = steady(profile, spec, (groups, gone), rps=4.0)
    assert away.workers_by_tier == {"light": 1, "heavy": 8}
    assert away.target is not None
    assert away.target.feasible
    assert away.replicas == {groups[0].name: 1, "heavy": 8}, "it is waited for"


def test_an_endpoint_is_planned_with_again_as_soon_as_it_is_back_and_where_all_are_away() -> None:
    profile, spec = remote_profile(8), spec_of(4)
    since = {"heavy": 0.0}
    assert without_away(profile, since, 31.0) is without_away(profile, since, 99.0) is not profile
    assert without_away(profile, since, 29.0) is profile
    assert unready_since(since, {"light": 0, "heavy": 1}, profile, 99.0) == {}
    assert unready_since(since, {"light": 1, "heavy": 0}, profile, 99.0) == since
    rows = [row for row in profile_document()["spec"]["configurations"] if row["light"] == "heavy"]
    only = remote_profile(8, configurations=rows)
    assert without_away(only, since, 99.0) is only
    assert steady(only, spec, fleet_of(0, 8), rps=1.0).workers_by_tier["heavy"] == 8


def test_only_what_asks_nothing_of_the_tier_that_is_away_is_left() -> None:
    light_away = without_away(remote_profile(2, tier=0), {"light": 0.0}, 31.0)
    assert {(row.light, row.heavy, row.direct_ratio) for row in light_away.configurations} == {
        ("light", "heavy", 1.0), ("heavy", "heavy", 0.0),
    }  # fmt: skip


def moved(to_gpus: bool, ready: int) -> Decision:
    """Return what is decided of two old workers of heavy, whose tier moved, where so many of the new ones are ready."""
    profile = Profile(CascadeProfile.read(profile_document())) if to_gpus else remote_profile(2)
    old = [Worker(f"o{i}", "old", ("heavy",), ready=True, remote=to_gpus) for i in range(2)]
    new = [Worker(f"n{i}", "new", ("heavy",), ready=True, remote=not to_gpus) for i in range(ready)]
    groups = (
        WorkerGroup("light", ("light",), replicas=1, created=1),
        WorkerGroup("new", ("heavy",), replicas=ready, created=ready, remote=not to_gpus),
        WorkerGroup("old", ("heavy",), replicas=2, created=2, stale=True, remote=to_gpus),
    )
    spec = spec_of(4, "Dedicated").model_copy(update={"scale_down_after": "2s"})
    light = Worker("l", "light", ("light",), ready=True)
    return steady(profile, spec, (groups, (light, *old, *new)), rps=2.0, steps=20)


@pytest.mark.parametrize(("to_gpus", "new"), [(True, 3), (False, 2)])
def test_a_tier_that_moves_from_or_to_an_endpoint_stays_until_its_successor_is(to_gpus: bool, new: int) -> None:
    for ready in range(new + 1):
        decision = moved(to_gpus, ready)
        assert decision.replicas == {"light": 1, "new": new, "old": 2 if ready < new else 0}
        assert decision.ready_by_tier["heavy"] == (ready or 2)


def test_workers_of_an_endpoint_that_is_not_asked_for_any_more_go() -> None:
    local = Profile(CascadeProfile.read(profile_document()))
    groups, workers = fleet_of(2, 2)
    both = Worker("n", "new", ("light", "heavy"), ready=True)
    old = (replace(groups[0], stale=True, replicas=0, created=0), replace(groups[1], stale=True))
    fleet = (
        (WorkerGroup("new", ("light", "heavy"), replicas=2, created=2), *old),
        (both, replace(both, name="m"), *workers[2:]),
    )
    decision = steady(local, spec_of(2, "Shared", least=2), fleet, rps=1.0)
    assert decision.replicas is not None
    assert (decision.replicas["new"], decision.replicas["heavy"]) == (2, 0)


def test_after_a_restart_the_slots_in_the_status_count_as_no_gpus() -> None:
    profile, spec = remote_profile(3), spec_of(8)
    groups, workers = fleet_of(2, 3)
    remembered = Memory(plan=None, workers_by_tier={"light": 2, "heavy": 3})
    decision = decide(Snapshot(1.0, spec, profile, DemandReading(1.0, {"r": 0.0}), workers, groups), remembered)
    assert decision.memory.workers_by_tier == {"light": 2}
    assert decision.workers_by_tier == {"light": 2, "heavy": 3}


def test_the_fewest_gpus_are_there_also_where_the_endpoint_could_answer_everybody() -> None:
    for least in (0, 1):
        decision = steady(remote_profile(8), spec_of(4, least=least), fleet_of(least, 8), rps=1.0, steps=90)
        assert decision.target is not None
        assert decision.target.gpus == 0
        assert decision.workers_by_tier == {"light": least, "heavy": 8}


def test_only_tiers_that_gpus_make_have_to_fit_together() -> None:
    profile = remote_profile(1, gpuMemoryBytes=100)
    tiers = [t.model_copy(update={"memory_bytes": 90}) for t in profile.resource.spec.tiers]
    spec = profile.resource.spec.model_copy(update={"tiers": tuple(tiers)})
    assert is_shared(spec_of(1), Profile(profile.resource.model_copy(update={"spec": spec})))


def test_the_example_plans_with_its_engine() -> None:
    manifest = read_manifest(Path(__file__).parents[2] / "examples/engines.yaml")
    profile, spec = Profile(manifest.profile), manifest.service.spec
    plan = Solver(profile, spec.objective, shared=is_shared(spec, profile)).solve(1.0, spec.gpus.max, spec.gpus.min)
    assert (plan.light, plan.heavy, plan.gpus) == ("scenes-large-5", "scenes-large-20", 1)
    assert plan.tiers[1].remote
    for model in (profile.tiers["scenes-large-5"].model, profile.resource.spec.discriminator or ""):
        assert (manifest.folder / model).is_dir()


def test_the_example_has_the_discriminators_own_table() -> None:
    examples = Path(__file__).parents[2] / "examples"
    here = Profile(read_manifest(examples / "engines.yaml").profile)
    there = Profile(read_profile(examples / "scenes/profile.yaml"))

    def rows(profile: Profile) -> set[tuple[str, str, bool, float, float, float]]:
        among = [c for c in profile.configurations if {c.light, c.heavy} <= here.tiers.keys()]
        return {(c.light, c.heavy, c.best_of_two, c.direct_ratio, c.deferral_ratio, c.quality) for c in among}

    assert rows(here) == rows(there)
    assert here.resource.spec.difficulty == there.resource.spec.difficulty
    for name, tier in here.tiers.items():
        assert tier.confidence_quantiles == there.tiers[name].confidence_quantiles


def test_a_remote_tier_has_a_pool_of_its_own() -> None:
    tiers = ("a", "b", "c")
    assert tiers_by_pool(tiers, shared=True, remote={"b"}) == {EVERY_TIER: ("a", "c"), "b": ("b",)}
    assert tiers_by_pool(tiers, shared=False, remote={"b"}) == {tier: (tier,) for tier in tiers}
    assert tiers_by_pool(("a",), shared=True, remote={"a"}) == {"a": ("a",)}
    assert resident_tiers(EVERY_TIER, tiers, {"b"}) == ("a", "c")
    assert resident_tiers("b", tiers, {"b"}) == ("b",)
