"""The workers by tier: whether each keeps every tier or one, and how many are ready, asked for and desired. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hadis.api.resources import ServiceSpec
from hadis.planning.profile import Profile
from hadis.planning.snapshot import DemandReading, Snapshot, Worker, WorkerGroup


def is_shared(spec: ServiceSpec, profile: Profile) -> bool:
    """Return whether every worker keeps every tier: as the spec says, or where the tiers fit in memory together."""
    if spec.placement is not None:
        return spec.placement == "Shared"
    memory = profile.resource.spec.gpu_memory_bytes
    return memory == 0 or sum(tier.memory_bytes for tier in profile.resource.spec.tiers) <= memory


def ready_by_tier(workers: Iterable[Worker], profile: Profile) -> dict[str, int]:
    """Return the workers that are ready for each tier; one with several tiers counts for each."""
    counts = dict.fromkeys(profile.tiers, 0)
    for worker in workers:
        for tier in worker.tiers if worker.ready else ():
            if tier in counts:
                counts[tier] += 1
    return counts


def capacity_by_tier(snapshot: Snapshot, tiers: Iterable[str]) -> dict[str, float]:
    """Return what the workers that are ready for each tier do, in workers of usual speed."""
    counts = dict.fromkeys(tiers, 0.0)
    for worker in snapshot.workers:
        for tier in worker.tiers if worker.ready else ():
            if tier in counts:
                counts[tier] += 1 / worker_ratio(snapshot, worker)
    return counts


def missing_gpus(snapshot: Snapshot) -> float:
    """Return how many GPUs' work is not done because workers that are ready are slower than their peers."""
    return sum(max(0.0, 1 - 1 / worker_ratio(snapshot, worker)) for worker in snapshot.workers if worker.ready)


def worker_ratio(snapshot: Snapshot, worker: Worker) -> float:
    """Return how many times as long as its peers a worker takes; 1 where that is not known."""
    reading = snapshot.reading
    return reading.worker_ratios.get(worker.url, 1.0) if isinstance(reading, DemandReading) else 1.0


def replicas_by_tier(groups: Iterable[WorkerGroup], profile: Profile) -> dict[str, int]:
    """Return the workers that groups are asked for now; those of several tiers, or of none, count for the lightest."""
    counts = dict.fromkeys(profile.tiers, 0)
    for group in groups:
        tier = group.tiers[0] if len(group.tiers) == 1 else ""
        counts[tier if tier in counts else next(iter(counts))] += group.replicas
    return counts


def desired_replicas(groups: Iterable[WorkerGroup], workers_by_tier: dict[str, int], *, shared: bool) -> dict[str, int]:
    """Return the workers that each group which the spec asks for should have in the end."""
    total = sum(workers_by_tier.values())
    return {
        group.name: total if shared else workers_by_tier.get(group.tiers[0], 0) for group in groups if not group.stale
    }
