"""The control step: what was observed and what is remembered, to what is decided. Pure, and all there is that decides.

Operator, `hadis up` and the replay observe in their own ways, call `decide`, and act in their own ways:

    observe -> decide(snapshot, memory) -> act on the Decision

Everything that is promised is decided here: no plan from nonsense (`readings`), what holds while nothing is known,
GPUs within the budget and new workers before old ones (`gpu_budget`), what cannot be met as a condition
(`conditions`). It is level-triggered: every event and the timer call the same step, on whatever is there then.

After a restart the plan and the workers of before, read back from the status, are held until the demand is known again:
they were chosen for a demand, and "none read yet" is not "none".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hadis.api.conditions import Condition, is_true
from hadis.api.fields import parse_duration_s
from hadis.planning.canary import try_candidate
from hadis.planning.conditions import (
    DesiredState,
    profile_condition,
    service_conditions,
    unplanned_conditions,
)
from hadis.planning.endpoints import unready_since, without_away
from hadis.planning.fleet import (
    capacity_by_tier,
    is_shared,
    missing_gpus,
    parts_of,
    ready_by_tier,
    replicas_by_tier,
)
from hadis.planning.idle import followed_rest, resting_workers
from hadis.planning.memory import Memory
from hadis.planning.objectives import criterion
from hadis.planning.plan import Plan
from hadis.planning.planner import Planner, planner_for
from hadis.planning.profile import Profile
from hadis.planning.readings import believed, last_known
from hadis.planning.replicas import replicas_by_group
from hadis.planning.restricted import followed_restricted, restricted_arrivals, with_restricted
from hadis.planning.rollout import Canary, rollout_condition
from hadis.planning.sizes import arrivals_by_size, followed_mix, with_mix
from hadis.planning.snapshot import DemandReading, Problem, Snapshot
from hadis.planning.speeds import corrected, followed
from hadis.planning.tuning import Tuning
from hadis.planning.watched_quality import quality_condition

_PAUSED = Problem("Paused", "mode is Paused: nothing is planned or changed")


@dataclass(frozen=True)
class Decision:
    """What one step decided. Where nothing was planned (`planned` False), what runs is left as it is."""

    memory: Memory
    """For the next step."""
    conditions: tuple[Condition, ...]
    planned: bool = False
    plan: Plan | None = None
    """The plan that routes; None while no worker is ready."""
    target: Plan | None = None
    """The plan for the demand that is coming; None while the plan of before a restart is held."""
    forecast_rps: float = 0.0
    """The demand that workers are sized by."""
    workers_by_tier: Mapping[str, int] = field(default_factory=dict)
    """Workers desired."""
    ready_by_tier: Mapping[str, int] = field(default_factory=dict)
    canary: Canary | None = None
    """How a new profile is tried, where one is."""
    replicas: Mapping[str, int] | None = None
    """What each group of workers may be asked for now; None where the mode is to touch none."""
    gpus_desired: int | None = None
    """GPUs that the plan would have if its service had the pool alone; None where nothing was planned."""


def decide(snapshot: Snapshot, memory: Memory, tuning: Tuning = Tuning()) -> Decision:
    """Return what to do about one service now."""
    profile = snapshot.profile
    if not isinstance(profile, Problem):
        profile = criterion(snapshot.spec.objective).refusal(profile) or profile
    if isinstance(snapshot.reading, DemandReading):
        snapshot = replace(snapshot, reading=believed(snapshot.reading, snapshot.now_s))
    conditions = [profile_condition(profile)]
    memory = replace(memory, began_s=snapshot.now_s if memory.began_s is None else memory.began_s)
    if snapshot.spec.mode == "Paused":
        return Decision(memory, (*conditions, *unplanned_conditions(snapshot.serving, _PAUSED, wrong=False)))
    if isinstance(profile, Problem):
        return Decision(memory, (*conditions, *unplanned_conditions(snapshot.serving, profile)))
    shared, ready = is_shared(snapshot.spec, profile), ready_by_tier(snapshot.workers, profile)
    memory = _observe(snapshot, profile, memory, tuning)
    memory = replace(memory, rest=followed_rest(snapshot, profile, memory.rest, shared=shared))
    every_s = parse_duration_s(snapshot.spec.plan_every)
    since_s = unready_since(memory.unready_since_s, ready, profile, snapshot.now_s)
    memory = replace(memory, unready_since_s=since_s)
    known = with_mix(without_away(profile, since_s, snapshot.now_s), memory.mix)
    known = corrected(with_restricted(known, memory.restricted), memory.ratios)
    planner = planner_for(
        known,
        snapshot.spec.objective,
        shared=shared,
        every_s=every_s,
        tuning=tuning,
        gpus_per_worker=snapshot.spec.worker.gpus_per_worker,
    )
    last = last_known(snapshot, memory)
    # A plan holds until the next one, which is in force when the jobs of its first seconds are done.
    forecast_rps = memory.demand.forecast_rps(every_s)
    if _holds(memory):
        plan, worker_count = memory.plan, sum((memory.workers_by_tier or {}).values())
    else:
        plan, worker_count, memory = _choose(last, planner, memory, ready, forecast_rps)
    canary, memory = try_candidate(last, profile, memory, ready, planner, tuning)
    desired = resting_workers(memory.workers_by_tier or {}, snapshot, profile, memory.rest, shared=shared)
    worker_count = 0 if memory.rest.idle else max(worker_count, sum(desired.values()))
    memory = replace(memory, workers_by_tier=desired)
    desired = _within(desired, snapshot.worker_bounds.max)
    parts = parts_of(snapshot, desired, shared=shared)
    replicas, memory = replicas_by_group(snapshot, memory, parts)
    by_group = {name: count for part in parts for name, count in part.targets.items()}
    informed = memory.demand.informed
    planned = DesiredState(plan, memory.target, by_group, informed, memory.ratios, memory.rest, last.reading)
    conditions += service_conditions(snapshot, planned)
    if snapshot.spec.quality_watch is not None:
        sums = last.reading.quality if isinstance(last.reading, DemandReading) else None
        quality = quality_condition(profile, plan, sums, memory.quality_as_predicted)
        if sums is not None:
            memory = replace(memory, quality_as_predicted=is_true(quality))
        conditions.append(quality)
    if snapshot.spec.rollout is not None:
        conditions.append(rollout_condition(memory.rollout, profile, snapshot.candidate))
    return Decision(
        memory=memory,
        conditions=tuple(conditions),
        planned=True,
        plan=plan,
        canary=canary,
        target=memory.target,
        forecast_rps=forecast_rps,
        workers_by_tier={tier: profile.slots.get(tier, desired.get(tier, 0)) for tier in profile.tiers},
        ready_by_tier=ready,
        replicas=replicas if snapshot.spec.mode == "Auto" else None,
        gpus_desired=worker_count * snapshot.spec.worker.gpus_per_worker,
    )


def _observe(snapshot: Snapshot, profile: Profile, memory: Memory, tuning: Tuning) -> Memory:
    """Take the reading; forget what was for other tiers, or for another spec."""
    demand, reading = replace(memory.demand, tuning=tuning), snapshot.reading
    if memory.profile_hash not in ("", profile.hash):
        memory = replace(memory, ratios={})
    if isinstance(reading, DemandReading):
        demand = demand.add(reading.at_s, reading.series)
        by_size = arrivals_by_size(memory.by_size, reading, tuning)
        mix = followed_mix(profile, memory.mix, by_size)
        by_restriction = restricted_arrivals(memory.by_restriction, reading, tuning)
        restricted = followed_restricted(memory.restricted, by_restriction, demand.mix_arrivals)
        memory = replace(memory, by_restriction=by_restriction, restricted=restricted)
        learnt = {tier: ratios for tier, ratios in reading.ratios.items() if tier in profile.tiers}
        memory = replace(memory, reading=reading, ratios=followed(memory.ratios, learnt), by_size=by_size, mix=mix)
    plan = memory.plan if memory.plan and {memory.plan.light, memory.plan.heavy} <= set(profile.tiers) else None
    known = memory.workers_by_tier or replicas_by_tier(snapshot.groups, profile)
    known = {tier: count for tier, count in known.items() if tier not in profile.slots}
    desired = {tier: known.get(tier, 0) for tier in profile.local_tiers}
    memory = replace(memory, demand=demand, plan=plan, workers_by_tier=desired, profile_hash=profile.hash)
    spec = snapshot.spec
    planned_for = (
        profile.hash,
        spec.profile,
        spec.objective,
        spec.worker_bounds,
        spec.placement,
        spec.plan_every,
        spec.scale_down_after,
    )
    if planned_for == memory.planned_for:
        return memory
    began = ((snapshot.now_s, sum(known.values())),)
    return replace(memory, planned_for=planned_for, target=None, recent_gpus=began)


def _holds(memory: Memory) -> bool:
    """Return whether the plan and the workers of before a restart are held: the demand is not known again.

    A service that wakes is not held at none.
    """
    if memory.rest.waking and not any((memory.workers_by_tier or {}).values()):
        return False
    return memory.plan is not None and memory.target is None and not memory.demand.informed


def _choose(
    snapshot: Snapshot, planner: Planner, memory: Memory, ready: Mapping[str, int], forecast_rps: float
) -> tuple[Plan | None, int, Memory]:
    """Return the plan for the workers that are ready, the workers that are needed, and the memory with those desired.

    In a pool, a service needs what its plan would have alone, and has what it is granted of that.
    """
    alone, bounds = snapshot.spec.worker_bounds, snapshot.worker_bounds
    demand, reading = memory.demand, snapshot.reading
    queued_s = reading.queued_s if isinstance(reading, DemandReading) else {}
    plan, capacity = None, capacity_by_tier(snapshot, planner.tiers)
    if any(ready.values()):
        keeps = memory.routed_for == memory.planned_for
        plan = planner.route(planner.demand_rps(demand), ready, capacity, queued_s, memory.plan, keeps=keeps)
        memory = replace(memory, plan=plan, routed_for=memory.planned_for)
    unbound = target = planner.target(forecast_rps, alone, memory.target)
    if bounds != alone:
        target = planner.target(forecast_rps, bounds, memory.target)
    recent = _recent_gpus(snapshot, memory, unbound.gpus)
    worker_count = max(gpus for _, gpus in recent) + round(missing_gpus(snapshot))
    worker_count = min(alone.max, max(alone.min, worker_count))  # a plan of remote tiers alone needs none
    total = min(worker_count, bounds.max)
    # From what was desired last, not what groups are asked for now: a GPU on its way is between them.
    assigned = memory.workers_by_tier or {}
    desired = planner.workers_by_tier(target, forecast_rps, total, ready, assigned, capacity)
    workers_by_tier = dict.fromkeys(assigned, 0) | desired
    memory = replace(memory, target=target, recent_gpus=recent, workers_by_tier=workers_by_tier)
    return plan, worker_count, memory


def _within(workers_by_tier: Mapping[str, int], most: int) -> dict[str, int]:
    """Return workers by tier that are `most` at most, taken from where there are many: a held plan may be of more."""
    counts = dict(workers_by_tier)
    while sum(counts.values()) > most:
        counts[max(counts, key=counts.__getitem__)] -= 1
    return counts


def _recent_gpus(snapshot: Snapshot, memory: Memory, gpus: int) -> tuple[tuple[float, int], ...]:
    """Return what plans asked for within the scale-down window: GPUs are given back when fewer sufficed all along."""
    oldest_s = snapshot.now_s - parse_duration_s(snapshot.spec.scale_down_after)
    return (*(kept for kept in memory.recent_gpus if kept[0] >= oldest_s), (snapshot.now_s, gpus))
