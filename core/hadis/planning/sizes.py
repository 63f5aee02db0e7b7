"""The image sizes that arrive, and how planning reckons with them: a profile that is planned with has a mix. Pure.

A batch holds images of one size, so a tier has no one time for a batch. Two of them are planned with:

- the mean over the mix, for what GPUs can do: over many batches sizes come in their shares;
- the longest, for what is promised: a request must be in time whatever its size.

A size whose single image takes longer than the SLO on a tier does not count there: the router answers it with a lighter
tier's. Planning follows the mix in steps, as it follows what workers take (`speeds`): each step makes tables anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from hadis.planning.forecast import Demand
from hadis.planning.profile import FIRST_SIZES, Mix, Profile
from hadis.planning.snapshot import DemandReading
from hadis.planning.tuning import Tuning

AUTO = "auto"
"""How a size that a request leaves open is called in counters and documents."""
_DEAD_BAND = 0.05
"""Share by which a tier's mean must differ from the one that is planned with before planning follows."""
LEAST_ARRIVALS = 20
"""Requests within the mix's window before their shares say anything."""
_LEAST_SHARE = 0.01
"""A rarer size is not planned with; one that is stays for as long as it comes."""


def with_mix(profile: Profile, mix: Mix) -> Profile:
    """Return the profile to plan with for a mix: the same object for the same mix, to be a key."""
    return profile if mix == profile.mix else _with_mix(profile, mix)


@lru_cache(maxsize=64)
def _with_mix(profile: Profile, mix: Mix) -> Profile:
    return replace(profile, mix=mix)


def mean_and_longest_s(
    profile: Profile, tier: str, batch: int, discriminated: bool = False, slo_s: float = math.inf
) -> tuple[float, float]:
    """Return the seconds of a batch of a tier: the mean over the profile's mix, and those of the longest size in it."""
    shares = _shares(profile, tier, slo_s)
    seconds = {size: profile.latency_s(tier, batch, discriminated, size) for size in shares}
    # Routers make no larger batch of a size than was measured of it.
    made = {size: min(batch, profile.largest_batch(tier, size) or batch) for size in shares}
    longest_s = max(profile.latency_s(tier, made[size], discriminated, size) for size in shares)
    return sum(shares[size] * seconds[size] for size in shares), longest_s


def alike_share(profile: Profile, tier: str, slo_s: float) -> float:
    """Return the share of a tier's jobs that an average job can share a batch with: those of its own size."""
    return sum(share**2 for share in _shares(profile, tier, slo_s).values())


def _shares(profile: Profile, tier: str, slo_s: float) -> dict[str | None, float]:
    """Return the sizes of the mix that a tier makes in time, with their shares, which add up to 1."""
    made = {size: share for size, share in profile.mix if size is None or size in profile.tiers[tier].all_sizes}
    in_time = {size: share for size, share in made.items() if profile.latency_s(tier, 1, size=size) <= slo_s}
    shares = in_time or made or dict(FIRST_SIZES)
    total = sum(shares.values())
    return {size: share / total for size, share in shares.items()}


def arrivals_by_size(before: Mapping[str, Demand], reading: DemandReading, tuning: Tuning) -> dict[str, Demand]:
    """Return the arrivals of each size with one more reading of their counters."""
    series: dict[str, dict[str, float]] = {}
    for name, size in reading.sizes.items():
        series.setdefault(size, {})[name] = reading.series[name]
    return {size: before.get(size, Demand(tuning)).add(reading.at_s, own) for size, own in series.items()}


def followed_mix(profile: Profile, planned: Mix, arrivals: Mapping[str, Demand]) -> Mix:
    """Return the mix to plan with: the one of before until what arrives differs by enough."""
    made = {AUTO, *(size for tier in profile.tiers.values() for size in tier.all_sizes)}
    counts = {read_size(size): demand.mix_arrivals for size, demand in arrivals.items() if size in made}
    total = sum(counts.values())
    if total < LEAST_ARRIVALS:
        return planned
    known = {size for size, _ in planned}
    shares = {size: count / total for size, count in counts.items()}
    mix = _in_order(
        (size, round(share, 3))
        for size, share in shares.items()
        if share >= _LEAST_SHARE or (share > 0 and size in known)
    )
    return mix if _differ(with_mix(profile, planned), with_mix(profile, mix)) else planned


def _in_order(mix: Iterable[tuple[str | None, float]]) -> Mix:
    """Return a mix in the one order in which it is planned with: a document's keys may come back in another."""
    return tuple(sorted(mix, key=lambda each: each[0] or ""))


def _differ(one: Profile, other: Profile) -> bool:
    """Return whether two mixes take notably different times on some tier."""
    for tier in one.tiers:
        (mean, longest), (other_mean, other_longest) = (mean_and_longest_s(each, tier, 1) for each in (one, other))
        if longest != other_longest or abs(other_mean / mean - 1) > _DEAD_BAND:
            return True
    return False


def size_name(size: str | None) -> str:
    """Return how a size is called in counters and documents."""
    return size or AUTO


def read_size(name: str) -> str | None:
    """Return the size that `size_name` named."""
    return None if name == AUTO else name


def mix_document(mix: Mix) -> dict[str, float]:
    """Return a mix as a JSON document; nothing for that of tiers of one size."""
    return {} if mix == FIRST_SIZES else {size_name(size): share for size, share in mix}


def read_mix(document: Mapping[str, float]) -> Mix:
    """Return the mix that `mix_document` wrote."""
    return _in_order((read_size(size), share) for size, share in document.items()) or FIRST_SIZES
