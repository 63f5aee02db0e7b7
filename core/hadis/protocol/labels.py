"""The labels by which a service's objects are found in a cluster: the operator writes them, the router reads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping

SERVICE, COMPONENT = "hadis.dev/service", "hadis.dev/component"
POOL, REVISION = "hadis.dev/pool", "hadis.dev/revision"
EVERY_TIER = "ALL"
"""The pool of workers that keep every tier; no tier can have this name, for theirs are in lower case."""
REMOTE = "hadis.dev/remote"
"""On workers that have an endpoint make their images, and no GPU."""
GPUS = "hadis.dev/gpus"
"""On workers that take more than one GPU: how many."""
LONGEST = 63


def digest(value: object) -> str:
    """Return a short hash of JSON data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def label(value: str) -> str:
    """Return a label's value: the name itself, or its beginning with a hash where it is too long."""
    return value if len(value) <= LONGEST else f"{value[:50]}-{digest(value)}"


def gpu_workers(service: str) -> str:
    """Return the selector of a service's worker pods that have GPUs."""
    return f"{SERVICE}={label(service)},{COMPONENT}=worker,!{REMOTE}"


def read_gpus(labels: Mapping[str, str]) -> int:
    """Return how many GPUs a worker with these labels takes."""
    text = labels.get(GPUS, "")
    return int(text) if text.isdecimal() and int(text) else 1


def tiers_by_pool(tiers: Collection[str], *, shared: bool, remote: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
    """Return the pools of workers with the tiers that each worker keeps.

    One has them all, or there is one per tier; a remote tier always has its own.
    """
    local = tuple(tier for tier in tiers if tier not in remote)
    if not shared or not local:
        return {tier: (tier,) for tier in tiers}
    return {EVERY_TIER: local} | {tier: (tier,) for tier in tiers if tier in remote}


def resident_tiers(pool: str, tiers: Iterable[str], remote: Collection[str] = ()) -> tuple[str, ...]:
    """Return which of the tiers a pool's workers keep; none for a pool of a tier that is not among them."""
    return tuple(tier for tier in tiers if pool == tier or (pool == EVERY_TIER and tier not in remote))
