"""The canary's step: how far a changed profile has come (`rollout`), and the plan by which routers try it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hadis.api.fields import parse_duration_s
from hadis.planning.fleet import capacity_by_tier, is_shared
from hadis.planning.memory import Memory
from hadis.planning.objectives import criterion
from hadis.planning.planner import Planner, planner_for
from hadis.planning.profile import Profile
from hadis.planning.restricted import with_restricted
from hadis.planning.rollout import Canary, advance, canary_of, on_cascade
from hadis.planning.sizes import with_mix
from hadis.planning.snapshot import DemandReading, Problem, Snapshot
from hadis.planning.tuning import Tuning


def try_candidate(
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
    why_not = criterion(spec.objective).refusal(candidate)
    if why_not is not None and rollout.verdict == "TakenOver":
        rollout = memory.rollout  # what is refused is never in force, however good it is
    rows = None if plan is None or why_not else on_cascade(candidate, plan.light, plan.heavy)
    if plan is not None and rows is None and rollout.verdict == "Comparing":
        text = f"the new profile has no rows of {plan.headline.partition(',')[0]}, which serves now"
        why_not = why_not or Problem("OtherCascade", text)
        rollout = replace(rollout, reason=why_not.reason, message=why_not.message)
    memory = replace(memory, rollout=rollout)
    if rollout.verdict != "Comparing" or rows is None or not any(ready.values()):
        return None, replace(memory, canary_plan=None)
    every_s, shared = parse_duration_s(spec.plan_every), is_shared(spec, profile)
    queued_s = reading.queued_s if isinstance(reading, DemandReading) else {}
    by_candidate = planner_for(
        with_restricted(with_mix(rows, memory.mix), memory.restricted),
        spec.objective,
        shared=shared,
        every_s=every_s,
        tuning=tuning,
        gpus_per_worker=spec.worker.gpus_per_worker,
    )
    demand_rps, capacity = by_candidate.demand_rps(memory.demand), capacity_by_tier(snapshot, planner.tiers)
    tried_for = *memory.planned_for, candidate.hash
    keeps = memory.canary_for == tried_for
    tried = by_candidate.route(demand_rps, ready, capacity, queued_s, memory.canary_plan, keeps=keeps)
    memory = replace(memory, canary_plan=tried, canary_for=tried_for)
    return canary_of(profile, candidate, spec.rollout.canary, tried), memory
