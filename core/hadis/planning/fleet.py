"""The workers by tier: whether each keeps every tier or one, and how many are ready, asked for and desired. Pure.

Workers of a remote tier have no GPU: they are as many as its endpoint has slots, whatever is planned.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hadis.api.resources import ServiceSpec
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Snapshot, Worker, WorkerGroup


def is_shared(spec: ServiceSpec, profile: Profile) -> bool:
    """Return whether every worker with a GPU keeps every tier that GPUs make.

    It is as the spec says, or where the tiers fit in memory together.
    """
    if spec.placement is not None:
        return spec.placement == "Shared"
    memory = profile.resource.spec.gpu_memory_bytes
    return memory == 0 or resident_bytes(profile) <= memory


def resident_bytes(profile: Profile) -> int:
    """Return the GPU memory that all tiers which GPUs make take together; weights that they share count once."""
    local = {name: profile.tiers[name].memory_bytes for name in profile.local_tiers}
    twice = sum(
        (len(local.keys() & set(weights.tiers)) - 1) * weights.bytes
        for weights in profile.resource.spec.shared_weights
        if local.keys() & set(weights.tiers)
    )
    return sum(local.values()) - twice


def ready_by_tier(workers: Sequence[Worker], profile: Profile) -> dict[str, int]:
    """Return the workers that are ready for each tier; one with several tiers counts for each."""
    return {tier: len(_ready_for(tier, workers, profile.slots)) for tier in profile.tiers}


def _ready_for(tier: str, workers: Sequence[Worker], remote: Collection[str]) -> list[Worker]:
    """Return the workers that are ready for a tier: while it moves between GPUs and an endpoint, the new ones alone.

    Both are no one pool. Before the first new one is ready, it is those of before.
    """
    ready = [worker for worker in workers if worker.ready and tier in worker.tiers]
    return [worker for worker in ready if worker.remote == (tier in remote)] or ready


def capacity_by_tier(snapshot: Snapshot, tiers: Iterable[str]) -> dict[str, float]:
    """Return what the workers that are ready for each tier do, in workers of usual speed."""
    remote = _slots(snapshot)
    return {
        tier: sum(1 / worker_ratio(snapshot, worker) for worker in _ready_for(tier, snapshot.workers, remote))
        for tier in tiers
    }


def _slots(snapshot: Snapshot) -> Mapping[str, int]:
    return snapshot.profile.slots if isinstance(snapshot.profile, Profile) else {}


def missing_gpus(snapshot: Snapshot) -> float:
    """Return how many GPUs' work is not done because workers that are ready are slower than their peers."""
    ready = (worker for worker in snapshot.workers if worker.ready and not worker.remote)
    return sum(max(0.0, 1 - 1 / worker_ratio(snapshot, worker)) for worker in ready)


def worker_ratio(snapshot: Snapshot, worker: Worker) -> float:
    """Return how many times as long as its peers a worker takes; 1 where that is not known."""
    reading = snapshot.reading
    return reading.worker_ratios.get(worker.url, 1.0) if isinstance(reading, DemandReading) else 1.0


def replicas_by_tier(groups: Iterable[WorkerGroup], profile: Profile) -> dict[str, int]:
    """Return the workers with GPUs that groups are asked for now.

    Those of several tiers, or of none, count for the lightest that GPUs make.
    """
    counts = dict.fromkeys(profile.local_tiers, 0)
    for group in groups if counts else ():
        if group.remote:
            continue
        tier = group.tiers[0] if len(group.tiers) == 1 else ""
        counts[tier if tier in counts else next(iter(counts))] += group.replicas
    return counts


@dataclass(frozen=True)
class Part:
    """Workers that have a budget of their own: those with GPUs, or those of one endpoint."""

    snapshot: Snapshot
    """With these workers and their groups alone."""
    targets: Mapping[str, int]
    """Workers that each group which the spec asks for should have in the end."""
    budget: int
    """GPUs, or an endpoint's slots."""

    @property
    def names(self) -> set[str]:
        """Names of its groups, those that are gone while workers of them are there included."""
        return {group.name for group in self.snapshot.groups} | {worker.group for worker in self.snapshot.workers}


def on_gpus(snapshot: Snapshot, workers_by_tier: Mapping[str, int], *, shared: bool) -> Part:
    """Return the part of a snapshot that has GPUs, on its way to so many workers by tier."""
    groups = tuple(group for group in snapshot.groups if not group.remote)
    total = sum(workers_by_tier.values())
    targets = {
        group.name: total if shared else workers_by_tier.get(group.tiers[0], 0) for group in groups if not group.stale
    }
    seen = replace(snapshot, groups=groups, workers=tuple(w for w in snapshot.workers if not w.remote))
    return Part(seen, targets, snapshot.gpus.max)


def by_endpoint(snapshot: Snapshot) -> list[Part]:
    """Return the parts of a snapshot that have no GPUs. An endpoint that is not asked for any more gets nothing new."""
    slots = _slots(snapshot)
    groups = [group for group in snapshot.groups if group.remote]
    workers = [worker for worker in snapshot.workers if worker.remote]
    parts = []
    for tiers in sorted({group.tiers for group in groups} | {worker.tiers for worker in workers}):
        mine = tuple(group for group in groups if group.tiers == tiers)
        budget = sum(slots.get(tier, 0) for tier in tiers) or sum(group.replicas for group in mine)
        seen = replace(snapshot, groups=mine, workers=tuple(w for w in workers if w.tiers == tiers))
        parts.append(Part(seen, {group.name: budget for group in mine if not group.stale}, budget))
    return parts


def parts_of(snapshot: Snapshot, workers_by_tier: Mapping[str, int], *, shared: bool) -> list[Part]:
    """Return all parts of a snapshot, on their way to so many workers with GPUs by tier."""
    return [on_gpus(snapshot, workers_by_tier, shared=shared), *by_endpoint(snapshot)]


def not_as_desired(snapshot: Snapshot, desired: Mapping[str, int]) -> Iterator[str]:
    """Yield in words where workers are others than `desired` (by group), more or fewer, or are not ready.

    Sums would not do: workers of another tier, or of a former template, are not those of the plan.
    """
    current = [group for group in snapshot.groups if not group.stale]
    for group in current:
        count, workers = desired.get(group.name, 0), [w for w in snapshot.workers if w.group == group.name]
        ready, held = sum(worker.ready for worker in workers), max(group.replicas, group.created, len(workers))
        counts = {ready, len(workers), group.replicas, group.created}
        if counts != {count} or not group.observed:
            yield f"{', '.join(group.tiers)}: {count} desired, {ready} ready, {held} exist or are asked for"
    former = {worker.group for worker in snapshot.workers} - {group.name for group in current}
    left = sum(worker.group in former for worker in snapshot.workers)
    to_come = sum(max(group.replicas, group.created) for group in snapshot.groups if group.stale)
    if left or to_come:
        yield f"{max(left, to_come)} of former templates exist or are asked for"


def waiting_for_successors(part: Part, others: Iterable[Part]) -> set[str]:
    """Return the stale groups of a part whose tier one of the others is to make, and has not all workers for yet."""
    late = {tier for other in others for tier in _late_tiers(other)}
    made_here = {tier for group in part.snapshot.groups if not group.stale for tier in group.tiers}
    return {
        group.name for group in part.snapshot.groups if group.stale and (late - made_here).intersection(group.tiers)
    }


def _late_tiers(part: Part) -> Iterator[str]:
    for name, target in part.targets.items():
        ready = sum(worker.ready for worker in part.snapshot.workers if worker.group == name)
        if ready < target:
            yield from next(group.tiers for group in part.snapshot.groups if group.name == name)
