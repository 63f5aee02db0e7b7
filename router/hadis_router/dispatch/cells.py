"""Cells: which router owns the queues for which workers, where there are several routers. Pure.

Earliest deadline first, batches and the light reserve ask for one owner of a queue. So the workers of a service are
parted into cells, each with its queues in one router, its owner, which alone gives these workers batches; every other
router forwards requests to an owner. While a cell is large, nothing is lost by there being several: so there is one
cell as long as two would have fewer than LEAST_WORKERS of some kind of worker each. The slots of an endpoint are few
beside the GPUs of a large service: of them a cell needs LEAST_SLOTS, and they are dealt out evenly.

Every router computes this for itself from the same two lists, by rendezvous hashing (Thaler and Ravishankar 1998,
"Using name-based mappings to increase hit rates"): when a worker or a router comes or goes, little else moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from hadis.planning.plan import Plan
from hadis.protocol.run_state import WorkerAddress

LEAST_WORKERS = 64
"""Of each kind (workers that have the same tiers) in each cell where there is more than one."""
LEAST_SLOTS = 4
"""The same of workers whose tier an endpoint makes."""


@dataclass(frozen=True)
class Cell:
    """Workers whose queues one router owns."""

    owner: str
    """The router's URL."""
    workers: tuple[WorkerAddress, ...]


def cells_of(
    workers: Sequence[WorkerAddress],
    routers: Collection[str],
    suspects: Collection[str] = (),
    by_endpoint: Collection[str] = (),
) -> tuple[Cell, ...]:
    """Return the cells with their owners; none without routers.

    `suspects` are routers that do not answer: they own nothing, but the workers are parted as if they did, so that what
    is in order stays where it is. `by_endpoint` are the tiers that endpoints make.
    """
    known = sorted(routers)
    if not known:
        return ()
    count = _count(workers, len(known), by_endpoint)
    members: list[list[WorkerAddress]] = [[] for _ in range(count)]
    for worker in workers:
        if not _is_slot(worker.tiers, by_endpoint):
            members[_closest(worker.url, range(count))].append(worker)
    slots = sorted((w for w in workers if _is_slot(w.tiers, by_endpoint)), key=lambda w: (w.tiers, w.url))
    for place, slot in enumerate(slots):  # by hashes alone, a cell might have none
        members[place % count].append(slot)
    owners = _assigned({}, range(count), known)
    able = [router for router in known if router not in suspects] or known
    kept = {number: owner for number, owner in owners.items() if owner in able}
    owners = _assigned(kept, [number for number in owners if number not in kept], able)
    return tuple(Cell(owners[number], tuple(inside)) for number, inside in enumerate(members))


def part_of(plan: Plan, share: float) -> Plan:
    """Return the plan for a cell with a share (0 to 1) of the workers: its part of the demand and of the counts."""
    if share >= 1:
        return plan
    tiers = tuple(replace(tier, count=max(min(1, tier.count), round(tier.count * share))) for tier in plan.tiers)
    return replace(plan, tiers=tiers, demand_rps=plan.demand_rps * share)


class RoundRobin:
    """Whose turn it is among names of different weight: each as often as its weight, spread evenly.

    Smooth weighted round robin, as nginx does it for upstream servers.
    """

    def __init__(self) -> None:
        """Start with nobody."""
        self._credits: dict[str, float] = {}

    def next(self, weights: Mapping[str, float]) -> str:
        """Return one of the names, of which there must be one."""
        total = sum(weights.values())
        self._credits = {name: self._credits.get(name, 0.0) + weight for name, weight in weights.items()}
        name = max(self._credits, key=self._credits.__getitem__)
        self._credits[name] -= total
        return name


def _count(workers: Iterable[WorkerAddress], routers: int, by_endpoint: Collection[str]) -> int:
    kinds = Counter(worker.tiers for worker in workers)
    least = {tiers: LEAST_SLOTS if _is_slot(tiers, by_endpoint) else LEAST_WORKERS for tiers in kinds}
    return max(1, min(routers, *(number // least[tiers] for tiers, number in kinds.items()))) if kinds else 1


def _is_slot(tiers: Collection[str], by_endpoint: Collection[str]) -> bool:
    return bool(tiers) and all(tier in by_endpoint for tier in tiers)


def _assigned(kept: Mapping[int, str], cells: Iterable[int], routers: Sequence[str]) -> dict[int, str]:
    """Return the owner of each cell: those that are kept, and for others the closest router among those with fewest."""
    owners = dict(kept)
    for number in cells:
        owned = Counter(owners.values())
        least = min(owned[router] for router in routers)
        owners[number] = _closest_router(number, [router for router in routers if owned[router] == least])
    return owners


def _closest(name: str, numbers: Iterable[int]) -> int:
    return max(numbers, key=lambda number: _distance(name, number))


def _closest_router(number: int, routers: Iterable[str]) -> str:
    return max(routers, key=lambda router: _distance(router, number))


def _distance(name: str, number: int) -> bytes:
    return blake2b(f"{number} {name}".encode(), digest_size=8).digest()
