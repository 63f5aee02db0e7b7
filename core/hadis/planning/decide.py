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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hadis.api.conditions import Condition
from hadis.api.fields import parse_duration_s
from hadis.planning.conditions import (
    DesiredState,
    nodes_have_room,
    profile_condition,
    service_conditions,
    unplanned_conditions,
)
from hadis.planning.endpoints import unready_since, without_away
from hadis.planning.fleet import (
    Part,
    by_endpoint,
    capacity_by_tier,
    is_shared,
    missing_gpus,
    on_gpus,
    ready_by_tier,
    replicas_by_tier,
    waiting_for_successors,
)
from hadis.planning.gpu_budget import count_groups, may_add, next_replicas, remember_lowered, still_lowered
from hadis.planning.idle import followed_rest, resting_workers
from hadis.planning.plan import Plan
from hadis.planning.planner import Planner, planner_for
from hadis.planning.profile import Profile
from hadis.planning.readings import believed
from hadis.planning.rollout import Canary, advance, canary_of, on_cascade, rollout_condition
from hadis.planning.sizes import arrivals_by_size, followed_mix, with_mix
from hadis.planning.snapshot import DemandReading, Memory, Problem, Snapshot
from hadis.planning.speeds import corrected, followed
from hadis.planning.tuning import Tuning

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
    gpus_wanted: int | None = None
    """GPUs that the plan would have if nobody else wanted any; None where nothing was planned."""


def decide(snapshot: Snapshot, memory: Memory, tuning: Tuning = Tuning()) -> Decision:
    """Return what to do about one service now."""
    profile = snapshot.profile
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
    known = corrected(with_mix(without_away(profile, since_s, snapshot.now_s), memory.mix), memory.ratios)
    planner = planner_for(
        known,
        snapshot.spec.objective,
        shared=shared,
        every_s=every_s,
        tuning=tuning,
        gpus_per_worker=snapshot.spec.worker.gpus_per_worker,
    )
    # A plan holds until the next one, which is in force when the jobs of its first seconds are done.
    forecast_rps = memory.demand.forecast_rps(every_s)
    if _holds(memory):
        plan, wanted = memory.plan, sum((memory.workers_by_tier or {}).values())
    else:
        plan, wanted, memory = _choose(snapshot, planner, memory, ready, forecast_rps)
    canary, memory = _try_candidate(snapshot, profile, memory, ready, planner, tuning)
    desired = resting_workers(memory.workers_by_tier or {}, snapshot, profile, memory.rest, shared=shared)
    wanted = 0 if memory.rest.idle else max(wanted, sum(desired.values()))
    memory = replace(memory, workers_by_tier=desired)
    desired = _within(desired, snapshot.worker_bounds.max)
    replicas, memory = _replicas(snapshot, memory, desired, shared=shared)
    count = sum(desired.values()) + sum(profile.slots.values())
    conditions += service_conditions(snapshot, DesiredState(plan, memory.target, count, memory.ratios, memory.rest))
    if snapshot.spec.rollout is not None:
        conditions.append(rollout_condition(memory.rollout, snapshot.candidate))
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
        gpus_wanted=wanted * snapshot.spec.worker.gpus_per_worker,
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
        learnt = {tier: ratios for tier, ratios in reading.ratios.items() if tier in profile.tiers}
        memory = replace(memory, ratios=followed(memory.ratios, learnt), by_size=by_size, mix=mix)
    plan = memory.plan if memory.plan and {memory.plan.light, memory.plan.heavy} <= set(profile.tiers) else None
    known = memory.workers_by_tier or replicas_by_tier(snapshot.groups, profile)
    known = {tier: count for tier, count in known.items() if tier not in profile.slots}
    desired = {tier: known.get(tier, 0) for tier in profile.local_tiers}
    memory = replace(memory, demand=demand, plan=plan, workers_by_tier=desired, profile_hash=profile.hash)
    spec = snapshot.spec
    planned_for = (
        profile.hash, spec.profile, spec.objective, spec.worker_bounds, spec.placement, spec.plan_every,
        spec.scale_down_after,
    )  # fmt: skip
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
    """Return the plan for the workers that are ready, the workers wanted, and the memory with the workers to have.

    Of a pool, a service wants what its plan would have alone, and has what it is granted of that.
    """
    alone, bounds = snapshot.spec.worker_bounds, snapshot.worker_bounds
    demand, reading = memory.demand, snapshot.reading
    queued_s = reading.queued_s if isinstance(reading, DemandReading) else {}
    plan, capacity = None, capacity_by_tier(snapshot, planner.tiers)
    if any(ready.values()):
        plan = planner.route(planner.demand_rps(demand), ready, capacity, queued_s, memory.plan)
    unbound = target = planner.target(forecast_rps, alone, memory.target)
    if bounds != alone:
        target = planner.target(forecast_rps, bounds, memory.target)
    recent = _recent_gpus(snapshot, memory, unbound.gpus)
    wanted = max(gpus for _, gpus in recent) + round(missing_gpus(snapshot))
    wanted = min(alone.max, max(alone.min, wanted))  # a plan of remote tiers alone needs none
    total = min(wanted, bounds.max)
    # From what was desired last, not what groups are asked for now: a GPU on its way is between them.
    assigned = memory.workers_by_tier or {}
    desired = planner.workers_by_tier(target, forecast_rps, total, ready, assigned, capacity)
    workers_by_tier = dict.fromkeys(assigned, 0) | desired
    return (
        plan,
        wanted,
        replace(memory, plan=plan or memory.plan, target=target, recent_gpus=recent, workers_by_tier=workers_by_tier),
    )


def _within(workers_by_tier: Mapping[str, int], most: int) -> dict[str, int]:
    """Return workers by tier that are `most` at most, taken from where there are many: a held plan may be of more."""
    counts = dict(workers_by_tier)
    while sum(counts.values()) > most:
        counts[max(counts, key=counts.__getitem__)] -= 1
    return counts


def _try_candidate(
    snapshot: Snapshot, profile: Profile, memory: Memory, ready: Mapping[str, int], planner: Planner, tuning: Tuning
) -> tuple[Canary | None, Memory]:
    """Return how routers try the new profile, and the memory of how far it has come.

    Its plan is made by its own latencies, not by those that were learnt beside the old one's: they are tried, too.
    """
    spec, candidate, reading, plan = snapshot.spec, snapshot.candidate, snapshot.reading, memory.plan
    if spec.rollout is None or candidate is None:
        return None, replace(memory, canary_plan=None)
    groups = reading.groups if isinstance(reading, DemandReading) else {}
    rollout = advance(memory.rollout, spec.rollout, profile, candidate, groups, snapshot.now_s)
    rows = None if plan is None else on_cascade(candidate, plan.light, plan.heavy)
    if plan is not None and rows is None and rollout.verdict == "Comparing":
        text = f"the new profile has no rows of {plan.headline.partition(',')[0]}, which serves now"
        rollout = replace(rollout, reason="OtherCascade", message=text)
    memory = replace(memory, rollout=rollout)
    if rollout.verdict != "Comparing" or rows is None or not any(ready.values()):
        return None, replace(memory, canary_plan=None)
    every_s, shared = parse_duration_s(spec.plan_every), is_shared(spec, profile)
    queued_s = reading.queued_s if isinstance(reading, DemandReading) else {}
    by_candidate = planner_for(
        with_mix(rows, memory.mix),
        spec.objective,
        shared=shared,
        every_s=every_s,
        tuning=tuning,
        gpus_per_worker=spec.worker.gpus_per_worker,
    )
    demand_rps, capacity = by_candidate.demand_rps(memory.demand), capacity_by_tier(snapshot, planner.tiers)
    tried = by_candidate.route(demand_rps, ready, capacity, queued_s, memory.canary_plan)
    return canary_of(profile, candidate, spec.rollout.canary, tried), replace(memory, canary_plan=tried)


def _recent_gpus(snapshot: Snapshot, memory: Memory, gpus: int) -> tuple[tuple[float, int], ...]:
    """Return what plans asked for within the scale-down window: GPUs are given back when fewer sufficed all along."""
    oldest_s = snapshot.now_s - parse_duration_s(snapshot.spec.scale_down_after)
    return (*(kept for kept in memory.recent_gpus if kept[0] >= oldest_s), (snapshot.now_s, gpus))


def _part_replicas(part: Part, others: Sequence[Part], memory: Memory) -> dict[str, int]:
    """Return what each group of a part may be asked for now; the groups of `others` do not count in it."""
    seen, elsewhere = part.snapshot, {name for other in others for name in other.names}
    lowered = {name: each for name, each in memory.lowered.items() if name not in elsewhere}
    memory = replace(memory, lowered=lowered)
    return next_replicas(
        count_groups(seen, memory),
        part.targets,
        part.budget,
        room=nodes_have_room(seen.workers, seen.groups, seen.now_s, seen.late_s),
        add=may_add(seen, memory),
        held=waiting_for_successors(part, others),
    )


def _replicas(
    snapshot: Snapshot, memory: Memory, desired: dict[str, int], *, shared: bool
) -> tuple[dict[str, int], Memory]:
    """Return what each group may be asked for now, and the memory of what was lowered by that.

    An endpoint's slots are a budget beside that of the GPUs, under the same rules: its workers are never more.
    """
    memory = replace(memory, lowered=still_lowered(snapshot, memory))
    parts = [on_gpus(snapshot, desired, shared=shared), *by_endpoint(snapshot)]
    replicas: dict[str, int] = {}
    for part in parts:
        replicas |= _part_replicas(part, [other for other in parts if other is not part], memory)
    if snapshot.spec.mode != "Auto":
        return replicas, memory
    lowered = remember_lowered(snapshot.groups, replicas, memory.lowered)
    return replicas, replace(memory, lowered=lowered)
