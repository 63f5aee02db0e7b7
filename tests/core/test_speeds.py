"""Plans follow what batches really take: in steps, by a corrected profile, and told in conditions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hadis.api.resources import ServiceSpec
from hadis.planning.conditions import slow_worker
from hadis.planning.decide import Decision, decide
from hadis.planning.fleet import capacity_by_tier, missing_gpus
from hadis.planning.memory import Memory
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Snapshot, Worker, WorkerGroup
from hadis.planning.speeds import corrected, followed, mean_ratios, mean_worker_ratios, out_of_date
from hadis.protocol.labels import EVERY_TIER

TIERS = ("light", "heavy")
SPEC = ServiceSpec.read(
    {"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}, "placement": "Shared", "mode": "Auto"}
)
WORKERS = tuple(Worker(f"p{i}", EVERY_TIER, TIERS, ready=True, url=f"http://p{i}") for i in range(4))
GROUP = WorkerGroup(EVERY_TIER, TIERS, replicas=4, created=4)


def steps(profile: Profile, memory: Memory | None = None, **reading: object) -> Decision:
    """Take steps at 2 requests per second for a minute."""
    decision = Decision(memory or Memory(), ())
    for at in range(0, 60, 2):
        observed = DemandReading(float(at), {"r": 2.0 * at})
        snapshot = Snapshot(float(at), SPEC, profile, replace(observed, **reading), WORKERS, (GROUP,))  # type: ignore[arg-type]  # tests' words
        decision = decide(snapshot, decision.memory)
    return decision


def condition(decision: Decision, kind: str) -> tuple[str, str]:
    return next((c.status, c.reason) for c in decision.conditions if c.type == kind)


def test_a_slower_world_gets_a_lighter_plan_and_a_stale_profile(profile: Profile) -> None:
    usual = steps(profile, ratios={"light": {1: 1.0}})
    slow = steps(profile, ratios={tier: dict.fromkeys((1, 2, 4), 3.0) for tier in TIERS})
    assert usual.plan is not None
    assert slow.plan is not None
    assert slow.plan.quality > usual.plan.quality  # a distance: lower is better
    assert condition(usual, "ProfileFresh") == ("True", "AsMeasured")
    assert condition(slow, "ProfileFresh") == ("False", "Stale")
    assert slow.memory.ratios["heavy"] == {1: 3.0, 2: 3.0, 4: 3.0}


def test_what_was_learnt_outlives_a_restart_and_not_another_profile(profile: Profile) -> None:
    ratios = {"heavy": {1: 2.5, 2: 2.5, 4: 2.5}}
    assert steps(profile, Memory(ratios=ratios)).memory.ratios == ratios
    assert steps(profile, Memory(ratios=ratios, profile_hash=profile.hash)).memory.ratios == ratios
    assert steps(profile, Memory(ratios=ratios, profile_hash="another's")).memory.ratios == {}
    other = profile.resource.model_copy(
        update={"spec": profile.resource.spec.model_copy(update={"source": "measured again"})}
    )
    before = steps(profile, Memory(ratios=ratios)).memory
    after = decide(Snapshot(99.0, SPEC, Profile(other), DemandReading(99.0, {"r": 1.0}), WORKERS, (GROUP,)), before)
    assert after.memory.ratios == {}


def test_a_slow_worker_is_named_and_no_whole_gpu(profile: Profile) -> None:
    reading = DemandReading(1.0, {"r": 1.0}, worker_ratios={"http://p1": 4.0})
    snapshot = Snapshot(1.0, SPEC, profile, reading, WORKERS, (GROUP,))
    assert capacity_by_tier(snapshot, TIERS) == {"light": 3.25, "heavy": 3.25}
    problem = slow_worker(snapshot)
    assert problem is not None
    assert "p1 takes 4.0 times" in problem.message
    assert condition(steps(profile, worker_ratios={"http://p1": 4.0}), "Degraded") == ("True", "SlowWorker")
    assert slow_worker(replace(snapshot, reading=DemandReading(1.0, {"r": 1.0}))) is None


def test_gpus_are_missing_where_ready_workers_are_slow_and_fast_ones_give_none_back(profile: Profile) -> None:
    reading = DemandReading(1.0, {"r": 1.0}, worker_ratios={"http://p1": 4.0, "http://p2": 0.5, "http://p3": 4.0})
    workers = (*WORKERS[:3], replace(WORKERS[3], ready=False))
    assert missing_gpus(Snapshot(1.0, SPEC, profile, reading, workers, (GROUP,))) == 0.75


def test_planning_follows_in_steps() -> None:
    planned = {"heavy": {1: 1.0, 4: 1.0}}
    assert followed(planned, {"heavy": {1: 1.05, 4: 0.96}}) == planned
    assert followed(planned, {"heavy": {1: 1.0, 4: 1.1}, "light": {1: 1.0}}) == {"heavy": {1: 1.0, 4: 1.1}}
    assert followed({}, {"light": {1: 2.0}}) == {"light": {1: 2.0}}


def test_a_corrected_profile_is_the_same_object_for_the_same_ratios(profile: Profile) -> None:
    slow = corrected(profile, {"heavy": {1: 2.0, 2: 3.0}})
    assert slow is corrected(profile, {"heavy": {2: 3.0, 1: 2.0}})
    assert corrected(profile, {}) is profile
    assert [slow.latency_s("heavy", size) for size in (1, 2, 4)] == [2.0, 6.0, 4.0]
    assert slow.latency_s("light", 1) == profile.latency_s("light", 1)


def test_routers_are_averaged_where_they_know_something() -> None:
    assert mean_ratios([{"heavy": {1: 1.0}}, {"heavy": {1: 2.0}, "light": {1: 3.0}}, {}]) == {
        "heavy": {1: 1.5},
        "light": {1: 3.0},
    }
    assert mean_worker_ratios([{"a": 1.0}, {"a": 2.0, "b": 4.0}]) == {"a": 1.5, "b": 4.0}


@pytest.mark.parametrize(("ratio", "stale"), [(1.2, False), (0.85, False), (1.3, True), (0.7, True)])
def test_a_profile_is_out_of_date_beyond_a_band(ratio: float, stale: bool) -> None:
    assert bool(out_of_date({"heavy": {1: 1.0, 4: ratio}})) is stale
