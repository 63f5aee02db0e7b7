"""What choosing prompts is worth by distance, which every scorer has: each way's best distance at equal cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from hadis.api.shares import cascade_gpu_s
from numpy.typing import NDArray

from hadis_profiler.offline.hull import hull
from hadis_profiler.offline.quality import Reference, Row, Sums, heavy_images, random_quality
from hadis_profiler.offline.routing import Way

Array = NDArray[np.float64]
Corners = tuple[tuple[float, float], ...]
"""Of a lower convex hull: GPU seconds per request, and distance."""
_DRAWS = 3
_OF_ROWS: dict[Way, Callable[[Row], bool]] = {
    Way.TEXT: lambda row: not row.deferral,
    Way.JUDGE: lambda row: not row.direct and not row.best_of_two,
    Way.BOTH: lambda row: not row.best_of_two,
    Way.BETTER: lambda row: True,
}


def distance_hulls(
    rows: Sequence[Row],
    costs: Sequence[float],
    features: Array,
    scores: Array | None,
    reference: Array,
    image_s: Sequence[float],
    judge_s: float,
    steps: int,
) -> dict[Way, Corners]:
    """Return the hull of each way, from the measured rows and their costs (GPU seconds per request).

    Lots, and without `scores` (k, n) no oracles, are measured here, from features (k, n, d), at `steps` ratios a pair.
    `image_s` are GPU seconds per image of each tier, `judge_s` per image that is judged.
    """
    measured = list(zip(rows, costs, strict=True))
    alone = [(cost, row.quality) for row, cost in measured if row.light == row.heavy]
    pairs = [(row, cost) for row, cost in measured if row.light != row.heavy]
    points = {way: [(cost, row.quality) for row, cost in pairs if of(row)] for way, of in _OF_ROWS.items()}
    ratios = [i / (steps - 1) for i in range(steps)]
    tiers = list(itertools.combinations(range(len(features)), 2))
    points[Way.RANDOM] = list(_by_lots(features, reference, tiers, ratios, image_s))
    if scores is not None:
        points |= _by_oracles(features, scores, reference, tiers, ratios, image_s, judge_s)
    return {way: _lower(alone + points[way]) for way in Way if way in points}


def _lower(points: Sequence[tuple[float, float]]) -> Corners:
    return tuple((cost, -score) for cost, score in hull(np.array([(cost, -distance) for cost, distance in points])))


def _by_lots(
    features: Array,
    reference: Array,
    tiers: Sequence[tuple[int, int]],
    ratios: Sequence[float],
    image_s: Sequence[float],
) -> Iterator[tuple[float, float]]:
    for (light, heavy), ratio in itertools.product(tiers, ratios):
        both, count = (features[light], features[heavy]), round(ratio * features.shape[1])
        cost = cascade_gpu_s(ratio, 0.0, image_s[light], image_s[heavy])
        yield cost, random_quality(both, reference, count, _DRAWS, 0)


def _by_oracles(
    features: Array,
    scores: Array,
    reference: Array,
    tiers: Sequence[tuple[int, int]],
    ratios: Sequence[float],
    image_s: Sequence[float],
    judge_s: float,
) -> dict[Way, list[tuple[float, float]]]:
    target = Reference(reference)
    points: dict[Way, list[tuple[float, float]]] = {Way.KNOWS_WRONG: [], Way.KNOWS_GAIN: []}
    for (light, heavy), ratio in itertools.product(tiers, ratios):
        gain = scores[heavy] - scores[light]
        wrong = heavy_images(np.zeros_like(gain), scores[light], 0.0, ratio)
        for way, chosen, at in (
            (Way.KNOWS_WRONG, wrong, (0.0, ratio)),
            (Way.KNOWS_GAIN, heavy_images(gain, scores[light], ratio, 0.0), (ratio, 0.0)),
        ):
            sums = Sums(features.shape[2])
            everything = np.arange(len(gain))
            sums.add(target.moments(np.where(chosen[:, None], features[heavy], features[light])), everything)
            cost = cascade_gpu_s(*at, image_s[light], image_s[heavy], judge_s)
            points[way].append((cost, target.distance(sums)))
    return points
