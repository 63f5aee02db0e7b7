"""Endpoints that are away, as far as planning has to know it: workers are sized for the tiers that are left. Pure.

What routes follows the workers that are ready, so that nothing is asked of an endpoint that is away. But workers with
GPUs are sized by the profile: as long as that counts on an endpoint's slots, nothing is added in their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from hadis.api.cascade_profile import Configuration
from hadis.api.shares import heavy_share, light_share
from hadis.planning.profile import Profile

AWAY_S = 30.0
"""Seconds without any ready worker of its tier after which an endpoint is away: one that starts loads nothing, and a
GPU that is added for less would be given back as it gets ready."""


def unready_since(
    before: Mapping[str, float], ready: Mapping[str, int], profile: Profile, now_s: float
) -> dict[str, float]:
    """Return since when each remote tier has had no ready worker; `ready` are workers by tier, `before` the last."""
    return {tier: before.get(tier, now_s) for tier in profile.slots if not ready.get(tier)}


def without_away(profile: Profile, since_s: Mapping[str, float], now_s: float) -> Profile:
    """Return the profile to size workers by: without the configurations that ask something of an endpoint that is away.

    It is the same object for the same endpoints, to be a key; the profile itself where nothing would be left.
    """
    away = tuple(sorted(tier for tier, at_s in since_s.items() if now_s - at_s > AWAY_S))
    return _without(profile, away) if away else profile


@lru_cache(maxsize=64)
def _without(profile: Profile, away: tuple[str, ...]) -> Profile:
    left = tuple(row for row in profile.configurations if not used_tiers(row) & set(away))
    if not left:
        return profile
    spec = profile.resource.spec.model_copy(update={"configurations": left})
    return replace(profile, resource=profile.resource.model_copy(update={"spec": spec}))


def used_tiers(row: Configuration) -> set[str]:
    """Return the tiers that a configuration asks something of."""
    if row.light == row.heavy:
        return {row.light}
    shares = (row.light, light_share(row.direct_ratio)), (row.heavy, heavy_share(row.direct_ratio, row.deferral_ratio))
    return {tier for tier, share in shares if share > 0}
