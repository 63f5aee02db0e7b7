"""What workers really take, as routers learn it, in the planner's hands: a profile that is corrected by it. Pure.

A *ratio* is a measured time divided by the profile's: 2 is half as fast. Planning follows it in steps, for each step
makes tables anew, and the noise of a mean over some dozens of batches must not move a plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

from hadis.api.tier import Tier
from hadis.planning.profile import Profile

Key = TypeVar("Key")
Ratios = Mapping[str, Mapping[int, float]]
"""By tier and batch size."""
DEAD_BAND = 0.06
"""Share by which some ratio of a tier must differ from the one that is planned with before planning follows."""
STALE = 1.25
"""A tier that takes this many times as long as its profile says, or as short, has a profile that is out of date."""
SLOW_WORKER = 1.5
"""A worker that takes this many times as long as its peers is slow."""


def read_ratios(document: Mapping[str, Mapping[str, float]]) -> dict[str, dict[int, float]]:
    """Return ratios from a JSON document, whose batch sizes are texts; raise ValueError or TypeError for others."""
    return {
        tier: {int(batch): float(ratio) for batch, ratio in by_batch.items()} for tier, by_batch in document.items()
    }


def mean_ratios(of_routers: Iterable[Ratios]) -> dict[str, dict[int, float]]:
    """Return the mean of what each router that ran a tier learnt of it."""
    by_tier: dict[str, list[Mapping[int, float]]] = {}
    for ratios in of_routers:
        for tier, by_batch in ratios.items():
            by_tier.setdefault(tier, []).append(by_batch)
    return {tier: _mean(each) for tier, each in by_tier.items()}


def mean_worker_ratios(of_routers: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of what each router that knows a worker learnt of it."""
    return _mean(list(of_routers))


def _mean(maps: Sequence[Mapping[Key, float]]) -> dict[Key, float]:
    by_key: dict[Key, list[float]] = {}
    for each in maps:
        for key, value in each.items():
            by_key.setdefault(key, []).append(value)
    return {key: sum(values) / len(values) for key, values in by_key.items()}


def followed(planned: Ratios, learnt: Ratios) -> dict[str, dict[int, float]]:
    """Return the ratios to plan with: a tier's are those of before until what was learnt leaves the dead band."""
    ratios = {tier: dict(by_batch) for tier, by_batch in planned.items()}
    for tier, by_batch in learnt.items():
        before = ratios.get(tier, {})
        if any(abs(ratio / before.get(batch, 1.0) - 1) > DEAD_BAND for batch, ratio in by_batch.items()):
            ratios[tier] = before | dict(by_batch)
    return ratios


def corrected(profile: Profile, ratios: Ratios) -> Profile:
    """Return the profile with its latencies times the ratios: the same object for the same ratios, to be a key."""
    key = tuple((tier, tuple(sorted(ratios[tier].items()))) for tier in profile.tiers if tier in ratios)
    return _corrected(profile, key) if key else profile


@lru_cache(maxsize=64)
def _corrected(profile: Profile, key: tuple[tuple[str, tuple[tuple[int, float], ...]], ...]) -> Profile:
    by_tier = {tier: dict(ratios) for tier, ratios in key}
    return profile.with_tiers(tuple(_slowed(tier, by_tier.get(name, {})) for name, tier in profile.tiers.items()))


def _slowed(tier: Tier, ratios: Mapping[int, float]) -> Tier:
    points = tuple(p.model_copy(update={"seconds": p.seconds * ratios.get(p.batch, 1.0)}) for p in tier.latency)
    # The discriminator ran in the batches that were measured: it is as slow as the smallest of them.
    discriminator_s = tier.discriminator_seconds * ratios.get(1, 1.0)
    return tier.model_copy(update={"latency": points, "discriminator_seconds": discriminator_s})


def worst_by_tier(ratios: Ratios) -> dict[str, float]:
    """Return each tier's ratio that is farthest from 1, over its batch sizes."""
    return {tier: max(by.values(), key=_distance) for tier, by in ratios.items() if by}


def out_of_date(ratios: Ratios) -> dict[str, float]:
    """Return the tiers whose profile should be measured again, with the ratio that is farthest from 1."""
    return {tier: ratio for tier, ratio in worst_by_tier(ratios).items() if _distance(ratio) > STALE}


def _distance(ratio: float) -> float:
    """Return how far a ratio is from 1: twice as long is as far as half as long."""
    return max(ratio, 1 / ratio)
