"""The Pareto front: of any points, and that of a profile under an objective, with what each of its points needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hadis.api.cascade_profile import Configuration
from hadis.api.fields import parse_duration_s
from hadis.api.resources import Objective
from hadis.api.shares import cascade_gpu_s
from hadis.planning.placement import MOST_GPUS, fewest, placement
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.planning.table import cached_table


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points (cost, quality) that no other beats on both, by rising cost.

    Lower is better in both. Of points that are alike the first is kept.
    """
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        if not front or points[i][1] < points[front[-1]][1]:
            front.append(i)
    return front


@dataclass(frozen=True)
class Point:
    """A measured configuration that no other beats on both quality and GPU time."""

    light: str
    heavy: str
    direct_ratio: float
    deferral_ratio: float
    best_of_two: bool
    quality: float
    gpu_s: float
    """GPU seconds per image, in the batches of most throughput that are within the SLO."""


class Front:
    """The front of a profile under an objective."""

    def __init__(self, profile: Profile, objective: Objective, *, shared: bool) -> None:
        """Leave out what is beaten, and what the SLO forbids even to a single image."""
        self._profile, self._slo_s = profile, parse_duration_s(objective.latency)
        self._table = cached_table(profile, self._slo_s)
        self._placement = placement(self._table, 1 - objective.attainment, shared=shared)
        points = [self._point(configuration) for configuration in profile.configurations]
        possible = [point for point in points if np.isfinite(point.gpu_s)]
        self.points = [possible[i] for i in pareto_front([(point.gpu_s, point.quality) for point in possible])]

    def gpu_s(self, c: Plan | Configuration) -> float:
        """Return the GPU seconds per image of a routing; infinite for tiers that the SLO forbids."""
        if c.light == c.heavy:
            return self._image_s(c.light, judged=False)
        defers = c.deferral_ratio > 0
        light_s = self._image_s(c.light, judged=defers)
        heavy_s = self._image_s(c.heavy, judged=defers and c.best_of_two)
        return cascade_gpu_s(c.direct_ratio, c.deferral_ratio, light_s, heavy_s)

    def need(self, point: Point, demand_rps: float) -> int | None:
        """Return the fewest GPUs on which a point meets the SLO at a demand; None where not even `MOST_GPUS` do."""
        ratios = point.direct_ratio, point.deferral_ratio
        row = self._table.find(point.light, point.heavy, *ratios, best_of_two=point.best_of_two)
        assert row is not None

        def enough(gpus: int) -> bool:
            return bool(self._placement.feasible(np.array([row]), demand_rps, gpus)[0])

        return fewest(enough, 1, MOST_GPUS) if enough(MOST_GPUS) else None

    def _point(self, c: Configuration) -> Point:
        return Point(c.light, c.heavy, c.direct_ratio, c.deferral_ratio, c.best_of_two, c.quality, self.gpu_s(c))

    def _image_s(self, tier: str, *, judged: bool) -> float:
        times = ((b, self._profile.latency_s(tier, b, judged)) for b in self._profile.batch_sizes(tier))
        return min((seconds / b for b, seconds in times if seconds <= self._slo_s), default=float("inf"))
