"""The mean confidence that a plan's answers have by the profile. Pure.

A profile has that mean as a measure of each configuration. One that was made before that holds each tier's confidences
as quantiles, not which prompts they are of: what it predicts is a range, which holds whatever the prompts' difficulties
have to do with the confidences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hadis.planning.plan import Plan
from hadis.planning.profile import Profile

MEASURE = "confidence"
"""Of a profile's configurations: the mean confidence of their images."""


@dataclass(frozen=True)
class Range:
    """From `low` to `high`."""

    low: float
    high: float

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.low:.3f} to {self.high:.3f}"


def expected_confidence(profile: Profile, plan: Plan) -> Range | None:
    """Return what the mean confidence of a plan's answers is by the profile; None where it does not tell.

    Without a measure of the configuration it follows from the quantiles: of the (1 - rho) prompts that are not sent to
    heavy, the (1 - delta) most confident light images are answered. Those prompts have the least confident ones of all
    at worst, the most confident at best, and so have those that heavy serves.
    """
    measured = _measured(profile, plan.light, plan.heavy, plan.best_of_two).get(
        _at(plan.direct_ratio, plan.deferral_ratio)
    )
    if measured is not None:
        return Range(measured, measured)
    light, heavy = (profile.tiers[name].confidence_quantiles for name in (plan.light, plan.heavy))
    if not heavy or not light:
        return None
    rho, delta = plan.direct_ratio, plan.deferral_ratio
    kept, doubtful = (1 - rho) * (1 - delta), (1 - rho) * delta
    made_heavy = 1 - kept
    low = _integral(light, doubtful, 1 - rho) + _integral(heavy, 0.0, made_heavy)
    high = _integral(light, rho + doubtful, 1.0) + _integral(heavy, kept, 1.0)
    if plan.best_of_two:  # the more confident of two images is at most as much as both together
        high += _integral(light, rho, rho + doubtful)
    return Range(min(1.0, low), min(1.0, high))


@lru_cache(maxsize=16)
def _measured(profile: Profile, light: str, heavy: str, best_of_two: bool) -> dict[tuple[float, float], float]:
    """Return the measured mean confidences of a cascade by its ratios."""
    cascade = light, heavy, best_of_two
    rows = (row for row in profile.configurations if (row.light, row.heavy, row.best_of_two) == cascade)
    return {_at(row.direct_ratio, row.deferral_ratio): row.measures[MEASURE] for row in rows if MEASURE in row.measures}


def _at(direct_ratio: float, deferral_ratio: float) -> tuple[float, float]:
    return round(direct_ratio, 6), round(deferral_ratio, 6)


def mean_confidence(quantiles: Sequence[float]) -> float:
    """Return the mean of values that have these evenly spaced quantiles."""
    return _integral(quantiles, 0.0, 1.0)


def _integral(quantiles: Sequence[float], start: float, end: float) -> float:
    """Return the integral of the quantile function, linear between its points, over shares from `start` to `end`."""
    if end <= start:
        return 0.0
    grid = np.linspace(0, 1, len(quantiles)) if len(quantiles) > 1 else np.array([0.0, 1.0])
    values = np.asarray(quantiles if len(quantiles) > 1 else [quantiles[0]] * 2)
    at = np.concatenate(([start], grid[(grid > start) & (grid < end)], [end]))
    return float(np.trapezoid(np.interp(at, grid, values), at))
