"""What every decision must keep, said once more in other words than the code's: see `gpu_budget` and `conditions`."""

from __future__ import annotations

from collections.abc import Mapping

from hadis.planning.conditions import nodes_have_room
from hadis.planning.decide import Decision
from hadis.planning.gpu_budget import REPLACED_AT_ONCE
from hadis.planning.memory import Memory
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Snapshot, Worker, WorkerGroup


def assert_conditions(snapshot: Snapshot, decision: Decision) -> None:
    """Each kind is told once, and what it says is so."""
    status = {each.type: each.status for each in decision.conditions}
    assert len(status) == len(decision.conditions)
    read = isinstance(snapshot.reading, DemandReading)
    assert (status["MetricsAvailable"] == "True") == read
    assert (status["CapacitySufficient"] == "True") <= (read and decision.target is not None)
    assert (status["PlanApplied"] == "True") == _is_applied(snapshot, decision.workers_by_tier)
    assert (status["Ready"] == "True") == any(worker.ready for worker in snapshot.workers)


def _is_applied(snapshot: Snapshot, workers_by_tier: Mapping[str, int]) -> bool:
    """Return whether there are the workers that are desired and no others, and controllers agree."""
    assert isinstance(snapshot.profile, Profile)
    slots, current = snapshot.profile.slots, {group.name: group for group in snapshot.groups if not group.stale}
    shared = snapshot.spec.placement == "Shared"
    on_gpus = sum(count for tier, count in workers_by_tier.items() if tier not in slots)
    for name, group in current.items():
        count = on_gpus if shared and not group.remote else workers_by_tier[group.tiers[0]]
        members = [worker for worker in snapshot.workers if worker.group == name]
        if not (len(members) == count and all(worker.ready for worker in members)):
            return False
        if not (group.observed and group.created == group.replicas == count):
            return False
    if any(group.replicas or group.created for group in snapshot.groups if group.stale):
        return False
    return all(worker.group in current for worker in snapshot.workers)


def assert_held(memory: Memory, snapshot: Snapshot, decision: Decision) -> None:
    """Without a reading the demand stays as it was; where it was never known, so do the plan and the workers."""
    if isinstance(snapshot.reading, DemandReading):
        return
    assert decision.memory.demand == memory.demand
    if memory.plan is None or memory.target is not None or memory.demand.informed:
        return
    assert (decision.plan, decision.target) == (memory.plan, None)
    if memory.workers_by_tier:
        held = decision.memory.workers_by_tier or {}
        assert held == {tier: memory.workers_by_tier.get(tier, 0) for tier in held}


def assert_ready_are_kept(snapshot: Snapshot, decision: Decision) -> None:
    """No more ready workers go for a new template than may: none where the budget and the nodes have room for both.

    All counts are of GPUs. Where workers of two sizes meet, what may be missing is one of the larger, and the rest
    that its size leaves.
    """
    assert decision.replicas is not None
    groups, workers = _with_gpus(snapshot)
    ready = kept = 0
    for group in groups:
        mine = sum(worker.ready for worker in workers if worker.group == group.name)
        mine = min(mine, group.replicas) if group.stale else mine  # others are on their way out already
        ready += mine * group.gpus
        kept += (min(mine, decision.replicas[group.name]) if group.stale else mine) * group.gpus
    sizes = {group.gpus for group in groups} | {worker.gpus for worker in workers}
    largest, each, budget = max(sizes), snapshot.spec.worker.gpus_per_worker, snapshot.gpus.max
    rest = largest - 1 if len(sizes) > 1 else 0
    total = min(budget // each, sum((decision.memory.workers_by_tier or {}).values())) * each
    room = max(0, budget - total - rest) // largest * largest
    if not nodes_have_room(workers, groups, snapshot.now_s, snapshot.late_s):
        room = 0
    missing = max(0, max(largest + rest, total // REPLACED_AT_ONCE) - room)
    assert kept >= min(ready, total - missing)


def _with_gpus(snapshot: Snapshot) -> tuple[list[WorkerGroup], list[Worker]]:
    groups = [group for group in snapshot.groups if not group.remote]
    return groups, [worker for worker in snapshot.workers if not worker.remote]
