"""What choosing prompts is worth: routing and deferral beside drawing lots, and beside those who know, at equal cost.

Each *way* of choosing serves some prompts by the heavy tier of a pair. Over all pairs and ratios, its configurations
are points of cost and mean score; a service that alternates between two of them reaches every point between, so that
what a way reaches at a cost is the upper concave hull of its points there. Every way may use every tier alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RATIOS = tuple(i / 20 for i in range(21))
_LOW, _HIGH = 0.05, 0.95
"""Ends of a 90% interval."""


class Way(StrEnum):
    """How the prompts that the heavy tier serves are chosen."""

    RANDOM = "random, best pair"
    TEXT = "text difficulty alone"
    JUDGE = "discriminator alone"
    BOTH = "both"
    KNOWS_WRONG = "knows which light images are wrong"
    KNOWS_GAIN = "knows where heavy is better, before drawing"


@dataclass(frozen=True)
class Judged:
    """Prompts (n) that nothing was trained on, as they came out of k tiers, from light to heavy."""

    scores: Array
    """How good each image is by itself (k, n), higher is better."""
    confidence: Array
    """The discriminator's (k, n)."""
    difficulty: Array
    """Of each prompt (n,)."""
    image_s: tuple[float, ...]
    """GPU seconds per image of each tier."""
    judge_s: float
    """GPU seconds that the discriminator takes per image."""


@dataclass(frozen=True)
class Reached:
    """The mean score that a way reaches at a cost (GPU seconds per request), with its 90% interval."""

    score: float
    low: float
    high: float


@dataclass(frozen=True)
class Gain:
    """What every way reaches at one cost, and the share of the gap closed from drawing lots to a perfect judge."""

    cost: float
    reached: dict[Way, Reached]
    closed: Reached
    """Of `Way.BOTH`, between RANDOM (0) and KNOWS_WRONG (1)."""


def gains(judged: Judged, costs: Sequence[float], resamples: int = 200, seed: int = 0) -> list[Gain]:
    """Return the gain at each cost (GPU seconds per request); NaN where even the lightest tier costs more.

    Intervals are percentiles over resampled prompts (Efron 1979).
    """
    n = judged.scores.shape[1]
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n, np.full(n, 1 / n), resamples) if resamples else np.empty((0, n))
    weights = np.vstack([np.ones(n), drawn]).T / n
    by_way = {way: _reached(judged, way, weights, costs) for way in Way}
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = by_way[Way.KNOWS_WRONG] - by_way[Way.RANDOM]
        closed = np.where(gap > 0, (by_way[Way.BOTH] - by_way[Way.RANDOM]) / gap, np.nan)
    return [
        Gain(cost, {way: _with_interval(values[:, i]) for way, values in by_way.items()}, _with_interval(closed[:, i]))
        for i, cost in enumerate(costs)
    ]


def usual_costs(judged: Judged, count: int = 7) -> list[float]:
    """Return costs between those of the lightest and of the heaviest tier, each as many times the one before."""
    return [float(cost) for cost in np.geomspace(judged.image_s[0] * 1.2, judged.image_s[-1] * 0.9, count)]


def hull_at(points: Array, at: Sequence[float]) -> Array:
    """Return the upper concave hull of points (m, 2) of cost and score, at some costs; NaN left of the cheapest."""
    points = points[np.lexsort((-points[:, 1], points[:, 0]))]
    corners: list[tuple[float, float]] = []
    for x, y in points.tolist():
        if corners and y <= corners[-1][1]:
            continue
        while len(corners) > 1 and _is_under(corners[-1], corners[-2], (x, y)):
            corners.pop()
        corners.append((x, y))
    costs, scores = zip(*corners, strict=True)
    return np.asarray(np.interp(at, costs, scores, left=np.nan))


def _is_under(middle: tuple[float, float], left: tuple[float, float], right: tuple[float, float]) -> bool:
    slope = (right[1] - left[1]) / (right[0] - left[0])
    return middle[1] <= left[1] + slope * (middle[0] - left[0])


def _reached(judged: Judged, way: Way, weights: Array, costs: Sequence[float]) -> Array:
    """Return what a way reaches with each weighting of the prompts (n, w), at each cost: (w, costs)."""
    outcomes = list(_configurations(judged, way))
    cost = np.stack([each for each, _ in outcomes]) @ weights
    score = np.stack([each for _, each in outcomes]) @ weights
    return np.stack([hull_at(np.stack([c, s], 1), costs) for c, s in zip(cost.T, score.T, strict=True)])


def _configurations(judged: Judged, way: Way) -> Iterator[tuple[Array, Array]]:
    """Yield the cost and the score of each prompt (n,), by configuration."""
    n = judged.scores.shape[1]
    for seconds, scores in zip(judged.image_s, judged.scores, strict=True):
        yield np.full(n, seconds), scores
    for light, heavy in itertools.combinations(range(len(judged.image_s)), 2):
        for direct, deferred in _CHOICES[way](judged, light, heavy):
            light_s = judged.image_s[light] + (0.0 if deferred is None else judged.judge_s)
            again = direct if deferred is None else direct | deferred
            cost = np.where(direct, 0.0, light_s) + again * judged.image_s[heavy]
            yield cost, np.where(again, judged.scores[heavy], judged.scores[light])


_Flags = NDArray[np.bool_]
_Choices = Iterator[tuple[_Flags, _Flags | None]]
"""Which prompts go straight to the heavy tier, and which are deferred to it; None where no image is looked at."""


def _first(order: NDArray[np.intp], count: int, n: int) -> _Flags:
    flags = np.zeros(n, bool)
    flags[order[:count]] = True
    return flags


def _hardest(difficulty: Array) -> _Choices:
    order, n = np.argsort(-difficulty, kind="stable"), len(difficulty)
    return ((_first(order, round(ratio * n), n), None) for ratio in RATIOS)


def _doubtful(confidence: Array, direct: _Flags) -> _Choices:
    order, n = np.argsort(confidence, kind="stable"), len(confidence)
    rest = order[~direct[order]]
    return ((direct, _first(rest, round(ratio * len(rest)), n)) for ratio in RATIOS)


def _both(judged: Judged, light: int, _: int) -> _Choices:
    for direct, _nothing in _hardest(judged.difficulty):
        yield from _doubtful(judged.confidence[light], direct)


_CHOICES: dict[Way, Callable[[Judged, int, int], _Choices]] = {
    Way.RANDOM: lambda judged, light, heavy: iter(()),
    Way.TEXT: lambda judged, light, heavy: _hardest(judged.difficulty),
    Way.JUDGE: lambda judged, light, heavy: _doubtful(judged.confidence[light], np.zeros(judged.scores.shape[1], bool)),
    Way.BOTH: _both,
    Way.KNOWS_WRONG: lambda judged, light, heavy: _doubtful(
        judged.scores[light], np.zeros(judged.scores.shape[1], bool)
    ),
    Way.KNOWS_GAIN: lambda judged, light, heavy: _hardest(judged.scores[heavy] - judged.scores[light]),
}


def _with_interval(values: Array) -> Reached:
    """Return the first value, which is of the prompts as they are, with the interval of the others."""
    if len(values) < 2 or np.isnan(values[0]):
        return Reached(float(values[0]), float("nan"), float("nan"))
    low, high = np.nanquantile(values[1:], [_LOW, _HIGH])
    return Reached(float(values[0]), float(low), float(high))
