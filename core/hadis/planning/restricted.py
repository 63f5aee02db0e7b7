"""Requests that only some tiers may make, and how planning reckons with them: a profile that is planned with has their
shares. Pure.

Their client named a tier, prefers the plan's light or heavy one, or asks for what others cannot make. A plan's ratios
decide on the rest alone, so a tier of the plan has its share of the rest, and all that the other one may not make.
Planning follows the shares in steps, as it follows the mix of sizes: each step makes tables anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hadis.planning.forecast import Demand
from hadis.planning.profile import Profile, Restricted
from hadis.planning.queueing import Array
from hadis.planning.sizes import LEAST_ARRIVALS
from hadis.planning.snapshot import DemandReading
from hadis.planning.tuning import Tuning

_DEAD_BAND = 0.02
"""By how much a share must differ from the one that is planned with, counting noise aside, before planning follows."""
_LEAST_SHARE = 0.01
"""A rarer restriction is not planned with."""


class RowShares(NamedTuple):
    """By row of a table, shares of the requests."""

    free: Array
    """Of those that the row's ratios decide on."""
    light: Array
    """Of those that only its light tier may make."""
    heavy: Array
    unmade: Array
    """Of those that neither may make."""


def restriction(tiers: Iterable[str]) -> str:
    """Return how requests are called that only these tiers, named from light to heavy, may make."""
    return ",".join(tiers)


def with_restricted(profile: Profile, restricted: Restricted) -> Profile:
    """Return the profile to plan with for these shares: the same object for the same ones, to be a key."""
    return profile if restricted == profile.restricted else _with_restricted(profile, restricted)


@lru_cache(maxsize=64)
def _with_restricted(profile: Profile, restricted: Restricted) -> Profile:
    return replace(profile, restricted=restricted)


def row_shares(
    restricted: Restricted, names: Sequence[str], light: NDArray[np.int_], heavy: NDArray[np.int_], image_s: Array
) -> RowShares:
    """Return the shares of rows (light, heavy), whose tiers are indices of `names`.

    What neither of them may make goes to the heaviest tier that may: it counts as so many images of the row's heavy
    tier as take as long. `image_s` are each tier's GPU seconds per image, 0 where it takes no GPU.
    """
    free, (to_light, to_heavy, unmade) = np.ones(len(light)), np.zeros((3, len(light)))
    for tiers, share in restricted:
        able = [names.index(name) for name in tiers.split(",") if name in names]
        if not able:
            continue
        by_light, by_heavy = np.isin(light, able), np.isin(heavy, able)
        free -= share * ~(by_light & by_heavy)
        to_light += share * (by_light & ~by_heavy)
        times = np.where(image_s[heavy] > 0, image_s[max(able)] / np.maximum(image_s[heavy], 1e-9), 0.0)
        to_heavy += share * np.where(by_heavy, ~by_light, np.where(by_light, 0.0, times))
        unmade += share * ~(by_light | by_heavy)
    return RowShares(np.maximum(0.0, free), to_light, to_heavy, unmade)


def restricted_arrivals(before: Mapping[str, Demand], reading: DemandReading, tuning: Tuning) -> dict[str, Demand]:
    """Return the arrivals of each restriction with one more reading of their counters."""
    return {
        tiers: before.get(tiers, Demand(tuning)).add(reading.at_s, series)
        for tiers, series in reading.restricted.items()
    }


def followed_restricted(planned: Restricted, arrivals: Mapping[str, Demand], total: float) -> Restricted:
    """Return the shares to plan with: those of before until what arrives differs by enough.

    `total` are all arrivals within the mix's window.
    """
    counts = {tiers: demand.mix_arrivals for tiers, demand in arrivals.items()}
    total = max(total, sum(counts.values()))  # routers and Prometheus are read at different times
    if total < LEAST_ARRIVALS:
        return planned
    known, shares = dict(planned), {tiers: count / total for tiers, count in counts.items()}
    pairs = [(known.get(tiers, 0.0), shares.get(tiers, 0.0)) for tiers in {*known, *shares}]
    if all(abs(now - before) <= _DEAD_BAND + _noise((now + before) / 2, total) for before, now in pairs):
        return planned
    return _in_order((tiers, round(share, 2)) for tiers, share in shares.items() if share >= _LEAST_SHARE)


def read_restricted(document: Mapping[str, float]) -> Restricted:
    """Return the shares in a JSON document; those that cannot be shares are left out."""
    return _in_order((tiers, share) for tiers, share in document.items() if 0 < share <= 1)


def _in_order(shares: Iterable[tuple[str, float]]) -> Restricted:
    return tuple(sorted(shares))  # a document's keys may come back in another order


def _noise(share: float, count: float) -> float:
    """Return the standard deviation of a share of so many arrivals."""
    return math.sqrt(share * (1 - share) / count)
