"""Weights that tiers have in common, in memory once where a worker has them all: by their files and recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hadis.api.cascade_profile import SharedWeights
from hadis.api.tier import Tier
from hadis_worker.loading.parts import common_modules

from hadis_profiler.offline import store
from hadis_profiler.offline.engines import as_tier
from hadis_profiler.offline.latency import TierLatency
from hadis_profiler.offline.spec import Run


def shared_weights(run: Run, latency: Mapping[str, TierLatency], device: str) -> tuple[SharedWeights, ...]:
    """Return what tiers share, by those that share it; what was found before, for the same settings, is kept.

    Raises what `common_modules` raises where a model's files are not to be had any more.
    """
    tiers = [as_tier(tier) for tier in run.spec.tiers if tier.remote is None and latency[tier.name].weight_bytes]
    made_from = store.mark([tier.model_dump() for tier in tiers], device)
    path = run.work / "latency" / "shared.json"
    if (kept := store.load(path, made_from)) is not None:
        return tuple(SharedWeights(**document) for document in kept)
    shared = _measured(run, tiers, latency, device)
    store.save(path, made_from, [weights.model_dump() for weights in shared])
    return shared


def _measured(
    run: Run, tiers: Sequence[Tier], latency: Mapping[str, TierLatency], device: str
) -> tuple[SharedWeights, ...]:
    by_tiers: dict[tuple[str, ...], int] = {}
    for components in common_modules(tiers, run.models, device):
        first, component = next(iter(components.items()))
        names = tuple(components)
        by_tiers[names] = by_tiers.get(names, 0) + latency[first].weight_bytes.get(component, 0)
    return tuple(SharedWeights(tiers=names, bytes=count) for names, count in by_tiers.items() if count)
