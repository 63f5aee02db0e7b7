"""How many workers each group may have now, so that a service never takes more GPUs than it may. Pure.

The invariant: at every moment, the workers that exist or that a controller may still create, those that terminate
included, are at most the budget. A worker holds its GPU until it is gone, so GPUs are freed before they are taken.

Two things can exceed it that nobody but a cluster's own controllers could prevent: a worker that somebody else deletes
is replaced at once, while it still terminates; and a budget that was lowered is reached by draining. While either
lasts, nothing is added.

What may still be created is not only what a group is asked for now: after its count was lowered, its controllers may go
on creating up to the former one, which counts until they have followed (see `lowered`). After a restart the former
counts are not known, so that nothing is added before every controller has seen its group's present count.

The promise to those who are served: when templates change, new workers come before old ones go as far as the budget
and the nodes have room for both; where they have none, at most one part in `REPLACED_AT_ONCE` of the workers, and at
least one, is missing at a time. Called again whenever a worker comes or goes, until nothing changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hadis.planning.lowered import SETTLE_S
from hadis.planning.memory import Lowered, Memory
from hadis.planning.snapshot import Snapshot, Worker, WorkerGroup

REPLACED_AT_ONCE = 4
"""One part in this many of the workers may be on the way from an old template to a new one."""


@dataclass(frozen=True)
class GroupCount:
    """The workers of one group, counted."""

    name: str
    replicas: int
    """As the group is asked for now."""
    committed: int
    """What its controllers may believe that it is asked for: the former count until they have followed a lower one."""
    live: int
    """Workers that exist and do not terminate, as far as is known."""
    terminating: int
    """Workers that still hold their GPU, and that the group no longer counts."""
    ready: int
    stale: bool
    """Whether its workers are not what the spec asks for any more."""
    gpus: int = 1
    """GPUs that each of its workers takes."""

    @property
    def due(self) -> int:
        """Workers that exist, or that controllers which have not followed a lower count may still create."""
        return self.live + max(0, self.committed - self.live - self.terminating)

    @property
    def held(self) -> int:
        """Workers that are there to stay if more are asked for.

        After a lower count, controllers may be ending those beyond it already, and would make others beside them.
        """
        return self.replicas if self.committed > self.replicas else max(self.replicas, self.due)


def count_groups(snapshot: Snapshot, memory: Memory) -> list[GroupCount]:
    """Return the counts of every group, also of workers whose group is gone: they hold their GPUs all the same."""
    return _count_groups(snapshot.groups, snapshot.workers, memory.lowered)


def gpus_taken(
    groups: Iterable[WorkerGroup],
    workers: Iterable[Worker],
    lowered: Mapping[str, Lowered],
    replicas: Mapping[str, int] | None = None,
) -> int:
    """Return the most GPUs that a service holds or that controllers may take for it until it is looked at again.

    `replicas` are what groups are about to be asked for, where that is decided.
    """
    groups = list(groups)
    remote = {group.name for group in groups if group.remote}
    own = {name: each for name, each in lowered.items() if name not in remote}
    counts = _count_groups([g for g in groups if not g.remote], [w for w in workers if not w.remote], own)
    return sum((max((replicas or {}).get(g.name, g.replicas), g.due) + g.terminating) * g.gpus for g in counts)


def _count_groups(
    groups: Sequence[WorkerGroup], workers: Sequence[Worker], lowered: Mapping[str, Lowered]
) -> list[GroupCount]:
    orphaned = sorted({worker.group for worker in workers}.union(lowered) - {group.name for group in groups})
    everyone = (*groups, *(_orphaned(name, workers, lowered.get(name)) for name in orphaned))
    return [_count(group, workers, lowered.get(group.name)) for group in everyone]


def _orphaned(name: str, workers: Iterable[Worker], lowered: Lowered | None) -> WorkerGroup:
    each = [worker.gpus for worker in workers if worker.group == name]
    return WorkerGroup(name, (), stale=True, exists=False, gpus=max([*each, lowered.gpus if lowered else 1]))


def _count(group: WorkerGroup, workers: Iterable[Worker], lowered: Lowered | None) -> GroupCount:
    members = [worker for worker in workers if worker.group == group.name]
    terminating = sum(worker.terminating for worker in members)
    return GroupCount(
        name=group.name,
        replicas=group.replicas,
        committed=max(group.replicas, lowered.former if lowered else 0),
        live=max(len(members) - terminating, group.created),
        terminating=terminating,
        ready=sum(worker.ready for worker in members),
        stale=group.stale,
        gpus=group.gpus,
    )


def may_add(snapshot: Snapshot, memory: Memory) -> bool:
    """Return whether enough is known of what controllers may still create for anything to be added.

    Only what was lowered before a restart is not known: a controller that has not seen the present count, or that has
    more workers than it is asked for, may be at work on a larger one. Of a group that is as it was made there is none.
    """
    began_s = snapshot.now_s if memory.began_s is None else memory.began_s
    changed = [group for group in snapshot.groups if group.exists and not group.as_made]
    unknown = [
        group
        for group in changed
        if group.name not in memory.lowered and not (group.observed and group.created <= group.replicas)
    ]
    return not unknown and (not changed or snapshot.now_s - began_s > SETTLE_S)


def next_replicas(
    groups: Sequence[GroupCount],
    targets: Mapping[str, int],
    budget: int,
    *,
    room: bool = True,
    add: bool = True,
    held: Collection[str] = (),
) -> dict[str, int]:
    """Return the replicas that each group may be asked for now, on the way to `targets` (by group; others end).

    `budget` counts GPUs, of which workers of an old and of a new template may take another number each.
    `room` is whether the nodes have GPUs for more workers than there are; `add` is whether anything may be added.
    `held` are stale groups whose successors have another budget and are not ready: they stay as far as there is room.
    """
    desired = {g.name: 0 if g.stale else targets.get(g.name, 0) for g in groups}
    result = {g.name: min(g.replicas, desired[g.name]) if not g.stale else g.replicas for g in groups}
    _end_stale(groups, desired, result, budget, room=room, held=held)
    left = budget - sum((max(result[g.name], g.due) + g.terminating) * g.gpus for g in groups)
    if left < 0:  # a worker beyond the budget may be gone already: to ask for it once more would be to add
        return result
    for g in groups:
        paid = max(result[g.name], g.held)
        most = min(desired[g.name], paid + left // g.gpus)
        if add and not g.stale and most > result[g.name]:
            left -= max(0, most - paid) * g.gpus
            result[g.name] = most
    return result


def _end_stale(
    groups: Sequence[GroupCount],
    desired: Mapping[str, int],
    result: dict[str, int],
    budget: int,
    *,
    room: bool,
    held: Collection[str],
) -> None:
    """Lower the stale groups by the workers that nobody has to wait for. All sums are of GPUs.

    Where one worker takes several, what may be missing or is over is whole workers of the largest kind, and where old
    ones take others than new ones (`slack`), what their whole numbers leave of that: less would free too little for
    the next one, and nothing would move.
    """
    largest = max((g.gpus for g in groups), default=1)
    fresh = max((g.gpus for g in groups if not g.stale), default=1)
    slack = largest - 1 if len({g.gpus for g in groups}) > 1 else 0
    total = min(budget // fresh * fresh, sum(desired[g.name] * g.gpus for g in groups if not g.stale))
    fresh_ready = sum(min(g.ready, desired[g.name]) * g.gpus for g in groups if not g.stale)
    surplus = max(0, budget - total - slack) // largest * largest if room else 0
    kept = {}
    for g in groups:
        kept[g.name] = min(g.replicas, g.ready, surplus // g.gpus) if g.stale and g.name in held else 0
        surplus -= kept[g.name] * g.gpus
    stale_ready = sum((min(g.replicas, g.ready) - kept[g.name]) * g.gpus for g in groups if g.stale)
    missing = max(0, max(largest + slack, total // REPLACED_AT_ONCE) - surplus) if total else 0
    spare = max(0, stale_ready + fresh_ready - (total - missing)) if fresh_ready < total else stale_ready
    for g in groups:
        if g.stale:
            unready = max(0, g.replicas - g.ready)  # those serve nobody
            ended = min(g.replicas - kept[g.name], spare // g.gpus + unready)
            spare -= max(0, ended - unready) * g.gpus
            result[g.name] = g.replicas - ended
