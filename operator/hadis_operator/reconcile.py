"""What is and what should be: pods counted, GPUs moved within the budget, differences found. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

Object = dict[str, Any]
MOVED_AT_ONCE = 4
"""One part in this many of the GPUs may be on the way from old pods to new ones."""


@dataclass(frozen=True)
class Group:
    """The pods of one worker Deployment."""

    name: str
    pool: str
    replicas: int
    """As the Deployment asks now."""
    charged: int
    """What its controllers may believe that it asks for: the former count until they have followed a lower one."""
    live: int
    """Pods that exist and do not terminate, as far as is known."""
    terminating: int
    """Pods that still hold their GPU, and that the Deployment no longer counts."""
    ready: int
    stale: bool
    """Whether its pods are not what the spec asks for any more."""


def is_ready(pod: Object) -> bool:
    """Return whether a pod is ready and stays."""
    conditions = pod.get("status", {}).get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def holds_gpu(pod: Object) -> bool:
    """Return whether a pod that exists still holds what it asked for."""
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")


def next_replicas(
    groups: Sequence[Group], targets: Mapping[str, int], budget: int, *, room: bool = True
) -> dict[str, int]:
    """Return the replicas that each group's Deployment may have now, on the way to `targets` (by pool).

    What pods hold or Deployments may create at any moment is never over `budget`. New pods come before old ones go as
    far as the budget is larger than what is wanted; `room` is whether the nodes are, too. Called again whenever a pod
    comes or goes, until nothing changes.
    """
    wanted = {g.name: 0 if g.stale else targets.get(g.pool, 0) for g in groups}
    result = {g.name: min(g.replicas, wanted[g.name]) if not g.stale else g.replicas for g in groups}
    total = min(budget, sum(wanted.values()))
    fresh_ready = sum(min(g.ready, wanted[g.name]) for g in groups if not g.stale)
    stale_left = sum(min(g.replicas, g.ready) for g in groups if g.stale)
    surplus = budget - total if room else 0
    missing = max(0, max(1, total // MOVED_AT_ONCE) - surplus) if total else 0
    free = max(0, stale_left + fresh_ready - (total - missing)) if fresh_ready < total else 10**6
    for g in groups:
        if g.stale:
            unready = max(0, g.replicas - g.ready)  # those serve nobody
            give = min(g.replicas, free + unready)
            free -= max(0, give - unready)
            result[g.name] = g.replicas - give
    # What is there, and what may still be created by controllers that have not followed a lower count.
    due = {g.name: g.live + max(0, g.charged - g.live - g.terminating) for g in groups}
    left = budget - sum(max(result[g.name], due[g.name]) + g.terminating for g in groups)
    for g in groups:
        paid = max(result[g.name], due[g.name])
        most = min(wanted[g.name], paid + max(0, left))
        if not g.stale and most > result[g.name]:
            left -= max(0, most - paid)
            result[g.name] = most
    return result


_QUANTITY = re.compile(r"^(\d+(?:\.\d+)?)(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")
_SCALE: dict[str | None, Decimal] = {
    None: Decimal(1), "m": Decimal("0.001"), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9),
    "T": Decimal(10**12), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
}  # fmt: skip


def differs(wanted: Any, found: Any) -> bool:
    """Return whether an object lacks something of what we want; what others added is left alone."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return bool(wanted)
        return any(differs(value, found.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(wanted) != len(found):
            return bool(wanted or found)
        return any(differs(a, b) for a, b in zip(wanted, found, strict=True))
    return bool(wanted != found and (found is None or _amount(wanted) != _amount(found)))


def _amount(value: Any) -> Any:
    """Return a quantity as a number: the API server writes 1000m as 1."""
    match = (
        _QUANTITY.match(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    )
    return Decimal(match[1]) * _SCALE[match[2]] if match else value
