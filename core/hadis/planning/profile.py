"""A profile as the planner and the router use it: arrays instead of documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hadis.api.cascade_profile import CascadeProfile, Configuration
from hadis.api.compact import content_hash
from hadis.api.pipeline import width_height
from hadis.api.tier import BatchLatency, Tier

Array = NDArray[np.float64]
Mix = tuple[tuple[str | None, float], ...]
"""Image sizes (None: each tier's first) with their shares of the requests."""
FIRST_SIZES: Mix = ((None, 1.0),)
Restricted = tuple[tuple[str, float], ...]
"""Tiers, their names from light to heavy joined by commas, with the share of the requests that only they may make."""


@dataclass(frozen=True, eq=False)
class Profile:
    """A checked CascadeProfile with the look-ups that planning and serving need; what is made of it can be cached."""

    resource: CascadeProfile
    mix: Mix = FIRST_SIZES
    """The sizes that are planned for: see `hadis.planning.sizes`."""
    restricted: Restricted = ()
    """The requests that not every tier may make, as they are planned for: see `hadis.planning.restricted`."""

    @cached_property
    def tiers(self) -> dict[str, Tier]:
        """Tiers by name, from light to heavy."""
        return {tier.name: tier for tier in self.resource.spec.tiers}

    @cached_property
    def slots(self) -> dict[str, int]:
        """Of each remote tier, the batches that its endpoint makes at one time; these workers have no GPU."""
        return {tier.name: tier.remote.slots for tier in self.tiers.values() if tier.remote is not None}

    @cached_property
    def local_tiers(self) -> tuple[str, ...]:
        """Names of the tiers that GPUs make, from light to heavy."""
        return tuple(name for name in self.tiers if name not in self.slots)

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
        return content_hash(self.resource)

    def with_tiers(self, tiers: tuple[Tier, ...]) -> Profile:
        """Return the profile with other times of its tiers."""
        spec = self.resource.spec.model_copy(update={"tiers": tiers})
        return replace(self, resource=self.resource.model_copy(update={"spec": spec}))

    def batch_sizes(self, tier: str) -> tuple[int, ...]:
        """Return the measured batch sizes of a tier's first image size, rising from 1."""
        return tuple(point.batch for point in self._points[tier, None])

    def largest_batch(self, tier: str, size: str | None) -> int | None:
        """Return the largest measured batch of an image size; None where the size was not measured."""
        points = self._points.get((tier, size))
        return points[-1].batch if points else None

    def latency_s(self, tier: str, batch: int, discriminated: bool = False, size: str | None = None) -> float:
        """Return the seconds of a batch: linear between the measured ones, in proportion to the last one beyond it.

        `discriminated` adds the time of the discriminator, if there is one. `size` is that of the images, by default
        the tier's first; one that was not measured takes its time in proportion to its pixels.
        """
        extra = self.tiers[tier].discriminator_seconds if discriminated and self.has_discriminator else 0.0
        points = self._points.get((tier, size))
        if points is None:
            return _interpolated_s(self._points[tier, None], batch) * self._pixel_ratio(tier, size) + extra
        return _interpolated_s(points, batch) + extra

    def energy_j(self, tier: str, batch: int) -> float:
        """Return the joules of a measured batch of a tier's first image size, without the discriminator.

        They are infinite where they are not known.
        """
        joules = next(point.joules for point in self._points[tier, None] if point.batch == batch)
        return math.inf if joules is None else joules

    def power_w(self, tier: str, batch: int) -> float:
        """Return the watts that a batch of a tier's first image size draws, energy being linear between measured ones.

        They are infinite where they are not known.
        """
        points = self._points[tier, None]
        joules = [math.inf if point.joules is None else point.joules for point in points]
        if math.inf in joules:
            return math.inf
        batch = min(batch, points[-1].batch)
        return float(np.interp(batch, [p.batch for p in points], joules)) / _interpolated_s(points, batch)

    @cached_property
    def _points(self) -> dict[tuple[str, str | None], tuple[BatchLatency, ...]]:
        """By tier and image size; None is the tier's first."""
        known: dict[tuple[str, str | None], tuple[BatchLatency, ...]] = {}
        for name, tier in self.tiers.items():
            known |= {(name, size): points for size, points in tier.latency_by_size.items()}
            known[name, None] = known[name, tier.size]
        return known

    def _pixel_ratio(self, tier: str, size: str | None) -> float:
        first = self.tiers[tier].size
        return math.prod(width_height(size or first)) / math.prod(width_height(first))

    def difficulty_threshold(self, direct_ratio: float) -> float:
        """Return the score over which the hardest `direct_ratio` of the profiled prompts lie.

        It is infinite for none, and minus infinity for all.
        """
        if direct_ratio <= 0:
            return float("inf")
        if direct_ratio >= 1:
            return -float("inf")
        return quantile(self.resource.spec.difficulty.score_quantiles, 1 - direct_ratio)

    def confidence_threshold(self, light: str, deferral_ratio: float) -> float:
        """Return the confidence under which the worst `deferral_ratio` of a tier's profiled images lie.

        It is 0 for none, or where nothing was profiled, and over 1 for all.
        """
        quantiles = self.tiers[light].confidence_quantiles
        if deferral_ratio <= 0 or not quantiles:
            return 0.0
        return quantile(quantiles, deferral_ratio) if deferral_ratio < 1 else 1.1


def _interpolated_s(points: Sequence[BatchLatency], batch: int) -> float:
    last = points[-1]
    if batch > last.batch:
        return last.seconds * batch / last.batch
    return float(np.interp(batch, [p.batch for p in points], [p.seconds for p in points]))


def quantile(quantiles: tuple[float, ...], q: float) -> float:
    """Return the q-quantile (0..1) from evenly spaced quantiles, linear in between."""
    return float(np.interp(q, np.linspace(0, 1, len(quantiles)), quantiles))
