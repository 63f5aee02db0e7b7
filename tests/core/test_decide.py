"""The control step: plans and their generations, workers desired, what is held after a restart, modes, problems."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from documents import profile_document
from hadis.api.conditions import Condition
from hadis.api.resources import CascadeProfile, ServiceSpec
from hadis.planning.decide import Decision, decide
from hadis.planning.fleet import is_shared
from hadis.planning.memory import Memory
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.planner import Planner
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Problem, Snapshot, Worker, WorkerGroup
from hadis.planning.tuning import Tuning
from hadis.planning.watched_quality import WatchSums
from hadis.protocol.labels import EVERY_TIER

TIERS = ("light", "heavy")
Fleet = tuple[tuple[WorkerGroup, ...], tuple[Worker, ...]]
UNREAD = Problem("Unreachable", "no answer")
HELD = Plan("light", "heavy", 0.25, 0.5, (TierPlan("light", 1, 4), TierPlan("heavy", 3, 2)), 3, 25, 1, 2, generation=7)


def make_spec(**fields: Any) -> ServiceSpec:
    return ServiceSpec.read({"profile": "two", "objective": {"latency": "4s"}, "gpus": {"max": 4}, **fields})


def group_of(name: str, tiers: tuple[str, ...], count: int) -> Fleet:
    """Return a group of workers that are all ready."""
    workers = (Worker(f"{name}-{i}", name, tiers, ready=True) for i in range(count))
    return (WorkerGroup(name, tiers, replicas=count, created=count),), tuple(workers)


def shared_fleet(count: int) -> Fleet:
    return group_of(EVERY_TIER, TIERS, count)


def dedicated_fleet(light: int, heavy: int) -> Fleet:
    (first, lights), (second, heavies) = group_of("light", ("light",), light), group_of("heavy", ("heavy",), heavy)
    return first + second, lights + heavies


@dataclass
class Service:
    """A service whose control steps a test takes; it remembers from step to step."""

    profile: Profile | Problem
    spec: ServiceSpec = field(default_factory=make_spec)
    memory: Memory = field(default_factory=Memory)

    def snapshot(self, now_s: float, reading: DemandReading | Problem, fleet: Fleet) -> Snapshot:
        groups, workers = fleet
        return Snapshot(now_s, self.spec, self.profile, reading, workers, groups)

    def step(self, now_s: float, arrivals: float | None, fleet: Fleet, **queued_s: float) -> Decision:
        """Take a step; without a count of arrivals there is no reading."""
        reading = UNREAD if arrivals is None else DemandReading(now_s, {"router": arrivals}, queued_s)
        decision = decide(self.snapshot(now_s, reading, fleet), self.memory)
        self.memory = decision.memory
        return decision


def routed(decision: Decision) -> Plan:
    assert decision.plan is not None
    return decision.plan


def total(decision: Decision) -> int:
    return sum(decision.workers_by_tier.values())


def statuses(decision: Decision) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in decision.conditions}


# What routes


def test_the_generation_grows_only_when_the_plan_routes_differently(profile: Profile) -> None:
    service = Service(profile)
    quiet = [routed(service.step(2.0 * t, 0.5 * t, shared_fleet(4))).generation for t in range(30)]
    assert quiet[0] == 1
    assert quiet[-1] == quiet[-5]
    busy = [routed(service.step(60 + 2.0 * t, 15 + 30.0 * t, shared_fleet(4))) for t in range(1, 10)]
    assert busy[-1].generation > quiet[-1]
    assert busy[-1].quality > 21


@pytest.mark.parametrize(
    ("queued_s", "fleet"), [(6.0, shared_fleet(4)), (2.0, shared_fleet(4)), (6.0, dedicated_fleet(2, 2))]
)
def test_a_missed_reading_moves_no_plan(profile: Profile, queued_s: float, fleet: Fleet) -> None:
    placement = "Shared" if len(fleet[0]) == 1 else "Dedicated"
    service = Service(profile, make_spec(placement=placement, gpus={"min": 4, "max": 4}))
    for t in range(30):
        last = service.step(2.0 * t, 8.0 * t, fleet, heavy=queued_s)
    for t in range(30, 60):
        held = service.step(2.0 * t, None, fleet)
        assert (held.plan, held.workers_by_tier, held.replicas) == (last.plan, last.workers_by_tier, last.replicas)
    groups, workers = fleet
    fewer = service.step(120.0, None, (groups, workers[:-1]))
    assert routed(fewer).tiers != routed(last).tiers, "who is gone is seen all the same"


def test_a_queue_makes_the_plan_ask_for_less(profile: Profile) -> None:
    calm, behind = Service(profile), Service(profile)
    for t in range(30):
        calm_plan = routed(calm.step(2.0 * t, 8.0 * t, shared_fleet(4)))
        plan = routed(behind.step(2.0 * t, 8.0 * t, shared_fleet(4), heavy=6.0))
    assert plan.demand_rps == calm_plan.demand_rps
    assert plan.quality > calm_plan.quality
    assert plan.feasible


def test_demand_past_the_gpus_takes_the_cheapest_row_and_says_so(profile: Profile) -> None:
    service = Service(profile)
    service.step(0, 0, shared_fleet(4))
    decision = service.step(2, 1000, shared_fleet(4))
    plan = routed(decision)
    assert (plan.light, plan.direct_ratio, plan.deferral_ratio, plan.feasible) == ("light", 0, 0, False)
    assert "too few GPUs" in plan.reason
    assert statuses(decision)["CapacitySufficient"] == ("False", "TooFewGpus")
    assert statuses(decision)["Degraded"] == ("True", "PlanInfeasible")


def test_while_nothing_is_ready_nothing_routes_and_workers_are_asked_for(profile: Profile) -> None:
    decision = Service(profile).step(0, 0, ((WorkerGroup(EVERY_TIER, TIERS, exists=False),), ()))
    assert decision.planned
    assert decision.plan is None
    assert total(decision) >= 1
    assert statuses(decision)["Ready"] == ("False", "NoWorker")


def test_a_planner_without_workers_returns_a_plan_of_none(profile: Profile) -> None:
    plan = Planner(profile, make_spec().objective, shared=True, every_s=2.0, tuning=Tuning()).route(
        0.0, {}, {}, {}, None
    )
    assert not plan.feasible
    assert plan.gpus == 0


# How many workers


def test_more_gpus_than_the_budget_are_not_asked_for(profile: Profile) -> None:
    service = Service(profile)
    service.step(0, 0, shared_fleet(6))
    decision = service.step(10, 900, shared_fleet(6))  # six are left from a larger budget
    assert total(decision) == 4
    assert decision.replicas == {EVERY_TIER: 4}


@pytest.mark.parametrize("placement", ["Shared", "Dedicated"])
@pytest.mark.parametrize("fleet", [((), ()), dedicated_fleet(light=0, heavy=1), dedicated_fleet(light=2, heavy=2)])
def test_fewer_gpus_than_the_least_are_not_asked_for(placement: str, fleet: Fleet, profile: Profile) -> None:
    service = Service(profile, make_spec(gpus={"min": 3, "max": 4}, placement=placement))
    for t in range(10):
        assert 3 <= total(service.step(float(t), 0.0, fleet)) <= 4


def test_gpus_are_given_back_when_fewer_sufficed_for_the_window(profile: Profile) -> None:
    objective = {"latency": "4s", "optimize": "Cost", "quality": 29.0}
    service = Service(profile, make_spec(scaleDownAfter="20s", objective=objective))
    # 20 requests/s for 20 s, then none
    counts = [total(service.step(float(t), 20.0 * min(t, 20), shared_fleet(4))) for t in range(100)]
    assert max(counts) > 1
    assert counts[30] == max(counts)
    assert counts[-1] == 1


def slow_to_load(load_s: float) -> Profile:
    document = profile_document()
    for tier in document["spec"]["tiers"]:
        tier["loadSeconds"] = load_s
    return Profile(CascadeProfile.read(document))


def test_dedicated_gpus_move_for_a_gain_and_stay_without_one() -> None:
    service = Service(slow_to_load(5), make_spec(gpus={"max": 8}, placement="Dedicated"))
    counts = {"light": 4, "heavy": 4}
    history = []
    for t in range(60):
        counts = dict(service.step(float(t), 6.0 * t, dedicated_fleet(**counts)).workers_by_tier)
        history.append(counts)
    assert 6 <= sum(counts.values()) <= 8
    assert counts["heavy"] > 4
    assert all(c == counts for c in history[20:])


def test_no_gpu_is_moved_that_must_serve_meanwhile() -> None:
    service = Service(slow_to_load(5), make_spec(gpus={"max": 8}, placement="Dedicated"))
    for t in range(31):
        decision = service.step(float(t), 18.0 * t, dedicated_fleet(light=2, heavy=6))
    assert decision.workers_by_tier["light"] >= 2


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


# What is remembered


def restarted(profile: Profile) -> Service:
    return Service(profile, memory=Memory(plan=HELD, workers_by_tier={"light": 0, "heavy": 4}))


def test_after_a_restart_plan_and_workers_are_held_until_the_demand_is_known(profile: Profile) -> None:
    service = restarted(profile)
    for t in range(5):
        decision = service.step(float(t), 10.0 * t, shared_fleet(4))
        assert (decision.plan, decision.target) == (HELD, None)
        assert decision.workers_by_tier == {"light": 0, "heavy": 4}
        assert decision.replicas == {EVERY_TIER: 4}
    known = service.step(5.0, 50.0, shared_fleet(4))
    assert known.target is not None
    assert routed(known).demand_rps == pytest.approx(10.0)
    assert routed(known).generation == HELD.generation + 1


def test_after_a_restart_without_any_reading_they_are_held_for_ever(profile: Profile) -> None:
    service = restarted(profile)
    for hour in range(48):
        decision = service.step(3600.0 * hour, None, shared_fleet(4))
        assert (decision.plan, decision.replicas) == (HELD, {EVERY_TIER: 4})
        assert statuses(decision)["MetricsAvailable"] == ("False", "Unreachable")


def test_readings_that_stop_leave_the_plan_as_it_was(profile: Profile) -> None:
    service = Service(profile)
    for t in range(30):
        last = service.step(float(t), 5.0 * t, shared_fleet(4))
    for t in range(30, 600, 10):
        decision = service.step(float(t), None, shared_fleet(4))
        assert routed(decision).routes_like(routed(last))
        assert decision.workers_by_tier == last.workers_by_tier


def test_a_plan_for_tiers_that_are_gone_is_dropped(profile: Profile) -> None:
    service = restarted(profile)
    document = profile_document()
    document["spec"]["tiers"][1]["name"] = "huge"
    for row in document["spec"]["configurations"]:
        for side in ("light", "heavy"):
            row[side] = {"light": "light", "heavy": "huge"}[row[side]]
    service.profile = Profile(CascadeProfile.read(document))
    groups, workers = shared_fleet(4)
    decision = service.step(0.0, 0.0, (groups, tuple(replace(w, tiers=("light", "huge")) for w in workers)))
    assert {routed(decision).light, routed(decision).heavy} <= {"light", "huge"}
    assert set(decision.workers_by_tier) == {"light", "huge"}
    assert decision.target is not None


def test_another_spec_drops_the_target_and_what_routes_is_held(profile: Profile) -> None:
    service = Service(profile)
    service.step(0.0, 0.0, shared_fleet(4))
    before = service.step(1.0, 5.0, shared_fleet(4))
    assert before.target is not None
    service.spec = make_spec(objective={"latency": "8s"})
    decision = service.step(2.0, 10.0, shared_fleet(4))
    assert decision.target is None
    assert (decision.plan, decision.workers_by_tier) == (before.plan, before.workers_by_tier)


def test_another_spec_begins_the_scale_down_window_anew(profile: Profile) -> None:
    objective = {"latency": "4s", "optimize": "Cost", "quality": 29.0}
    services = [Service(profile, make_spec(scaleDownAfter="40s", objective=objective)) for _ in range(2)]
    history = []
    for t in range(0, 96, 2):  # 20 requests/s for 20 s, then none; the slow mean forgets them by 50 s
        if t == 60:
            services[1].spec = make_spec(scaleDownAfter="40s", objective=objective, planEvery="3s")
        history.append([total(s.step(float(t), 20.0 * min(t, 20), shared_fleet(4))) for s in services])
    assert history[30][0] == history[30][1] > 1
    assert history[-1] == [1, history[30][1]]


# Modes and problems


def test_paused_leaves_everything_as_it_is(profile: Profile) -> None:
    service = restarted(profile)
    service.spec = make_spec(mode="Paused")
    for t in range(20):
        decision = service.step(float(t), 100.0 * t, shared_fleet(2))
        assert (decision.planned, decision.plan, decision.replicas) == (False, None, None)
        assert statuses(decision)["ProfileValid"] == ("True", "Valid")
        assert statuses(decision)["PlanApplied"] == ("Unknown", "Paused")
    assert (service.memory.plan, service.memory.workers_by_tier) == (HELD, {"light": 0, "heavy": 4})


def test_advisory_plans_and_touches_no_worker(profile: Profile) -> None:
    service = Service(profile, make_spec(mode="Advisory", gpus={"max": 2}))
    decision = service.step(0.0, 0.0, shared_fleet(4))  # two more than the budget, which Auto would take away
    assert decision.plan is not None
    assert total(decision) == 2
    assert (decision.replicas, decision.memory.lowered) == (None, {})
    assert statuses(decision)["PlanApplied"] == ("False", "Advisory")
    service.spec = make_spec(gpus={"max": 2})
    assert service.step(1.0, 0.0, shared_fleet(4)).replicas == {EVERY_TIER: 2}
    assert service.memory.lowered[EVERY_TIER].former == 4


def test_without_a_usable_profile_nothing_is_planned_and_the_plan_is_kept(profile: Profile) -> None:
    service = restarted(profile)
    service.profile = Problem("NotFound", "there is no CascadeProfile two")
    decision = service.step(0.0, 0.0, shared_fleet(4))
    assert (decision.planned, decision.replicas) == (False, None)
    assert statuses(decision)["ProfileValid"] == ("False", "NotFound")
    assert statuses(decision)["Ready"][0] == "True"
    service.profile = profile
    assert service.step(1.0, 0.0, shared_fleet(4)).plan == HELD


def test_a_step_depends_on_its_arguments_alone_and_changes_none(profile: Profile) -> None:
    service = Service(profile, make_spec(gpus={"max": 8}, placement="Dedicated", scaleDownAfter="5s"))
    counts = {"light": 4, "heavy": 4}
    for t in range(20):
        reading = DemandReading(float(t), {"a": 3.0 * t, f"b{t // 5}": 2.0 * (t % 5)}, {"heavy": t % 7})
        snapshot = service.snapshot(float(t), reading, dedicated_fleet(**counts))
        memory = service.memory
        former = copy.deepcopy((memory, reading, snapshot.workers, snapshot.groups, snapshot.spec))
        first, second = decide(snapshot, memory), decide(snapshot, memory)
        assert first == second
        assert (memory, reading, snapshot.workers, snapshot.groups, snapshot.spec) == former
        service.memory = first.memory
        counts = dict(first.workers_by_tier)


def test_one_dedicated_gpu_that_changes_its_tier_arrives_there(profile: Profile) -> None:
    spec = make_spec(placement="Dedicated", gpus={"max": 1})
    planner = Planner(profile, spec.objective, shared=False, every_s=2.0, tuning=Tuning())
    target = planner.target(0.5, spec.gpus, None)
    moved = planner.workers_by_tier(target, 0.5, 1, {"light": 1}, {"light": 1, "heavy": 0}, {"light": 1.0})
    assert moved == {"light": 0, "heavy": 1}
    assert planner.workers_by_tier(target, 0.5, 1, {"light": 0, "heavy": 0}, moved, {}) == moved


def test_a_slow_dedicated_worker_does_not_count_as_a_whole_one(profile: Profile) -> None:
    def desired(ratio: float) -> Mapping[str, int]:
        spec = make_spec(placement="Dedicated", gpus={"min": 4, "max": 4})
        groups, unnamed = dedicated_fleet(light=1, heavy=3)
        workers = tuple(replace(worker, url=worker.name) for worker in unnamed)
        ratios = {"light-0": ratio}
        snapshot = Snapshot(2.0, spec, profile, DemandReading(2.0, {"r": 12.0}, worker_ratios=ratios), workers, groups)
        before = decide(replace(snapshot, now_s=0.0, reading=DemandReading(0.0, {"r": 0.0})), Memory()).memory
        return decide(snapshot, replace(before, workers_by_tier={"light": 1, "heavy": 3})).workers_by_tier

    assert desired(4.0)["light"] > desired(1.0)["light"]


def test_quality_that_is_watched_is_a_condition_of_services_that_watch_it() -> None:
    profile = Profile(CascadeProfile.read(profile_document()))
    assert "QualityAsPredicted" not in conditions_after(Service(profile), WatchSums())
    watching = Service(profile, make_spec(qualityWatch={"share": 0.1}))
    assert conditions_after(watching, None)["QualityAsPredicted"].reason == "TooFewImages"
    worse = WatchSums(images=200, answered=40, answered_squares=10, low=160, high=170, heavy=180, heavy_profiled=180)
    assert conditions_after(watching, worse)["QualityAsPredicted"].status == "False"
    assert watching.memory.quality_as_predicted is False
    again = decide(watching.snapshot(20, UNREAD, shared_fleet(2)), watching.memory)
    by_type = {each.type: each for each in again.conditions}
    assert by_type["QualityAsPredicted"].status == "False", "a missed reading changes nothing"


def conditions_after(service: Service, quality: WatchSums | None) -> dict[str, Condition]:
    reading = DemandReading(10.0, {"router": 1.0}, quality=quality)
    decision = decide(service.snapshot(10.0, reading, shared_fleet(2)), service.memory)
    service.memory = decision.memory
    return {each.type: each for each in decision.conditions}
