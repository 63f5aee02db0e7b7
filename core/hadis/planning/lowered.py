"""Groups whose count was lowered, until their controllers have surely followed. Pure.

Controllers work behind what we write: they may go on creating workers up to the former count. It is believed that they
have followed when they say so and some time has passed (`SETTLE_S`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from hadis.planning.memory import Lowered, Memory
from hadis.planning.snapshot import Snapshot, WorkerGroup

SETTLE_S = 1.0
"""Status of a group may be older than its workers: it is believed when it says the same for this long."""
_JUST_AFTER_S = 0.01


def still_lowered(snapshot: Snapshot, memory: Memory) -> dict[str, Lowered]:
    """Return the lowered groups whose controllers have not surely followed; a group that is gone has."""
    groups = {group.name: group for group in snapshot.groups if group.exists}
    remaining = {}
    for name, lowered in memory.lowered.items():
        group = groups.get(name)
        if not _left_former(group, lowered):
            remaining[name] = replace(lowered, followed_since_s=None, again=None)
            continue
        since_s = snapshot.now_s if lowered.followed_since_s is None else lowered.followed_since_s
        if snapshot.now_s - since_s <= SETTLE_S:
            remaining[name] = replace(lowered, followed_since_s=since_s)
        elif lowered.again is not None:
            followed_s = snapshot.now_s if group is None or group.followed else None
            remaining[name] = Lowered(lowered.again, followed_s, lowered.gpus)
    return remaining


def _left_former(group: WorkerGroup | None, lowered: Lowered) -> bool:
    """Return whether the controllers say that they have followed, of one lowered again: the first time."""
    if group is None:
        return True
    return group.followed if lowered.again is None else group.created <= lowered.again


def settles_in_s(lowered: Mapping[str, Lowered], now_s: float) -> float:
    """Return the seconds until the next lower count is believed, whose GPUs may then be given away.

    Infinite where there is none to come: what a paused service remembers settles in no step.
    """
    since_s = (each.followed_since_s for each in lowered.values())
    left_s = (at_s + SETTLE_S + _JUST_AFTER_S - now_s for at_s in since_s if at_s is not None)
    return min((seconds for seconds in left_s if seconds > 0), default=math.inf)


def remember_lowered(
    groups: Iterable[WorkerGroup], replicas: Mapping[str, int], lowered: Mapping[str, Lowered]
) -> dict[str, Lowered]:
    """Return `lowered` with the groups that `replicas` asks less of than they are asked for now."""
    remembered = dict(lowered)
    for group in groups:
        if replicas.get(group.name, group.replicas) < group.replicas:
            remembered[group.name] = _lowered_again(group, lowered.get(group.name))
    return remembered


def _lowered_again(group: WorkerGroup, before: Lowered | None) -> Lowered:
    """Return what is remembered of a group that is lowered now, and was `before`.

    Controllers that have followed once do not go back: that time goes on, or who lowers a group step by step would
    never have its GPUs.
    """
    if before is None or before.followed_since_s is None or group.replicas > before.former:
        return Lowered(max(group.replicas, before.former if before else 0), gpus=group.gpus)
    return replace(before, again=max(group.replicas, before.again or 0))
