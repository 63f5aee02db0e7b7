"""A profile as the planner and the router use it: arrays instead of documents."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hadis.api.resources import CascadeProfile, Configuration, Tier

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Profile:
    """A checked CascadeProfile with the look-ups that planning and serving need; what is made of it can be cached."""

    resource: CascadeProfile

    @cached_property
    def tiers(self) -> dict[str, Tier]:
        """Tiers by name, from light to heavy."""
        return {tier.name: tier for tier in self.resource.spec.tiers}

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """The measured rows."""
        return self.resource.spec.configurations

    @property
    def has_discriminator(self) -> bool:
        """Whether light images can be judged."""
        return self.resource.spec.discriminator is not None

    @cached_property
    def hash(self) -> str:
        """Content hash of the profile."""
        return self.resource.content_hash()

    def batch_sizes(self, tier: str) -> tuple[int, ...]:
        """Return the measured batch sizes of a tier, rising from 1."""
        return tuple(point.batch for point in self.tiers[tier].latency)

    def latency_s(self, tier: str, batch: int, discriminated: bool = False) -> float:
        """Return the seconds of a batch: linear between the measured sizes, in proportion to the last one beyond it.

        `discriminated` adds the time of the discriminator, if there is one.
        """
        points = self.tiers[tier].latency
        extra = self.tiers[tier].discriminator_seconds if discriminated and self.has_discriminator else 0.0
        last = points[-1]
        if batch > last.batch:
            return last.seconds * batch / last.batch + extra
        return float(np.interp(batch, [p.batch for p in points], [p.seconds for p in points])) + extra

    def energy_j(self, tier: str, batch: int) -> float:
        """Return the joules of a measured batch, without the discriminator; infinite where they are not known."""
        joules = next(point.joules for point in self.tiers[tier].latency if point.batch == batch)
        return math.inf if joules is None else joules

    def difficulty_threshold(self, direct_ratio: float) -> float:
        """Return the score over which the hardest `direct_ratio` of the profiled prompts lie.

        It is infinite for none, and minus infinity for all.
        """
        if direct_ratio <= 0:
            return float("inf")
        if direct_ratio >= 1:
            return -float("inf")
        return quantile(self.resource.spec.difficulty.quantiles, 1 - direct_ratio)

    def confidence_threshold(self, light: str, deferral_ratio: float) -> float:
        """Return the confidence under which the worst `deferral_ratio` of a tier's profiled images lie.

        It is 0 for none, or where nothing was profiled, and over 1 for all.
        """
        quantiles = self.tiers[light].confidence_quantiles
        if deferral_ratio <= 0 or not quantiles:
            return 0.0
        return quantile(quantiles, deferral_ratio) if deferral_ratio < 1 else 1.1


def quantile(quantiles: tuple[float, ...], q: float) -> float:
    """Return the q-quantile (0..1) from evenly spaced quantiles, linear in between."""
    return float(np.interp(q, np.linspace(0, 1, len(quantiles)), quantiles))
