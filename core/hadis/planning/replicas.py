"""What each group of workers may be asked for now: the budgets of GPUs and of endpoints' slots, part by part. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hadis.planning.conditions import nodes_have_room
from hadis.planning.fleet import Part, waiting_for_successors
from hadis.planning.gpu_budget import count_groups, may_add, next_replicas
from hadis.planning.lowered import remember_lowered, still_lowered
from hadis.planning.memory import Memory
from hadis.planning.snapshot import Snapshot


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


def replicas_by_group(snapshot: Snapshot, memory: Memory, parts: Sequence[Part]) -> tuple[dict[str, int], Memory]:
    """Return what each group may be asked for now, and the memory of what was lowered by that.

    An endpoint's slots are a budget beside that of the GPUs, under the same rules: its workers are never more.
    """
    memory = replace(memory, lowered=still_lowered(snapshot, memory))
    replicas: dict[str, int] = {}
    for part in parts:
        replicas |= _part_replicas(part, [other for other in parts if other is not part], memory)
    if snapshot.spec.mode != "Auto":
        return replicas, memory
    lowered = remember_lowered(snapshot.groups, replicas, memory.lowered)
    return replicas, replace(memory, lowered=lowered)
