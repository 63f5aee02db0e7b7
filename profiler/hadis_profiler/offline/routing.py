"""What choosing prompts is worth: routing and deferral beside drawing lots, and beside those who know, at equal cost.

Each *way* of choosing serves some prompts by the heavy tier of a pair. Over all pairs and ratios, its configurations
are points of cost and mean score; a service that alternates between two of them reaches every point between, so that
what a way reaches at a cost is the upper concave hull of its points there. Every way may use every tier alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from hadis.planning.best_of_two import light_is_better
from numpy.typing import NDArray

from hadis_profiler.offline.hull import Outcome, hulls_at
from hadis_profiler.offline.ranking import area_under_curve, good_by_score

Array = NDArray[np.float64]
RATIOS = tuple(i / 20 for i in range(21))
_LOW, _HIGH = 0.05, 0.95
"""Ends of a 90% interval."""
_WORSE_BY, _DRAWS = 2, 3
"""Hundredths of AUC that a judge is made worse by, and how often, to see what one is worth."""


class Way(StrEnum):
    """How the prompts that the heavy tier serves are chosen."""

    RANDOM = "random, best pair"
    TEXT = "text difficulty alone"
    JUDGE = "discriminator alone"
    BOTH = "both"
    BETTER = "both, or the better of two images kept"
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
    """Of `Way.BETTER`, between RANDOM (0) and KNOWS_WRONG (1)."""
    auc_worth: float
    """What a hundredth of the judge's area under the ROC curve is worth: the score that `Way.BETTER` loses without."""


def gains(judged: Judged, costs: Sequence[float], resamples: int = 200, seed: int = 0) -> list[Gain]:
    """Return the gain at each cost (GPU seconds per request); NaN where even the lightest tier costs more.

    Intervals are percentiles over resampled prompts (Efron 1979).
    """
    rng = np.random.default_rng(seed)
    weights = resampled(judged.scores.shape[1], resamples, rng)
    by_way = {way: hulls_at(_configurations(judged, way), weights, costs) for way in Way}
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = by_way[Way.KNOWS_WRONG] - by_way[Way.RANDOM]
        closed = np.where(gap > 0, (by_way[Way.BETTER] - by_way[Way.RANDOM]) / gap, np.nan)
    worth = (by_way[Way.BETTER][0] - _with_worse_judge(judged, costs, rng)) / _WORSE_BY
    return [
        Gain(
            cost,
            {way: with_interval(values[:, i]) for way, values in by_way.items()},
            with_interval(closed[:, i]),
            float(worth[i]),
        )
        for i, cost in enumerate(costs)
    ]


def resampled(n: int, resamples: int, rng: np.random.Generator) -> Array:
    """Return weights (n, resamples + 1) of prompts, which add up to 1: alike, then by how often each was drawn."""
    drawn = rng.multinomial(n, np.full(n, 1 / n), resamples) if resamples else np.empty((0, n))
    return np.asarray(np.vstack([np.ones(n), drawn]).T / n)


def _with_worse_judge(judged: Judged, costs: Sequence[float], rng: np.random.Generator) -> Array:
    """Return what BETTER reaches at each cost by a judge whose AUC is lower by `_WORSE_BY` hundredths.

    Noise on the logits makes it so.
    """
    good = good_by_score(judged.scores)[:-1].ravel()
    logits = _logits(judged.confidence)
    enough = area_under_curve(logits[:-1].ravel(), good) - _WORSE_BY / 100
    weights = np.full((judged.scores.shape[1], 1), 1 / judged.scores.shape[1])
    reached = []
    for _ in range(_DRAWS):
        noise, low, high = rng.normal(size=logits.shape), 0.0, 100.0
        for _ in range(30):
            middle = (low + high) / 2
            worse = area_under_curve((logits + middle * noise)[:-1].ravel(), good) < enough
            low, high = (low, middle) if worse else (middle, high)
        noisy = 1 / (1 + np.exp(-(logits + low * noise)))
        configurations = _configurations(replace(judged, confidence=noisy), Way.BETTER)
        reached.append(hulls_at(configurations, weights, costs)[0])
    return np.asarray(np.mean(reached, 0))


def _logits(confidence: Array) -> Array:
    clipped = confidence.clip(1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def usual_costs(lightest_s: float, heaviest_s: float, count: int = 7) -> list[float]:
    """Return costs between those of the lightest and of the heaviest tier, each as many times the one before."""
    return [float(cost) for cost in np.geomspace(lightest_s * 1.2, heaviest_s * 0.9, count)]


def _configurations(judged: Judged, way: Way) -> Iterator[Outcome]:
    """Yield the outcome of each configuration."""
    n = judged.scores.shape[1]
    for seconds, scores in zip(judged.image_s, judged.scores, strict=True):
        yield np.full(n, seconds), scores
    for light, heavy in itertools.combinations(range(len(judged.image_s)), 2):
        for choice in _CHOICES[way](judged, light, heavy):
            made = choice.direct | choice.deferred
            judgements = choice.deferred.any() * (~choice.direct + choice.best_of_two * made)
            cost = ~choice.direct * judged.image_s[light] + made * judged.image_s[heavy] + judgements * judged.judge_s
            kept = made
            if choice.best_of_two:
                better = light_is_better(judged.confidence[light], judged.confidence[heavy])
                kept = choice.direct | (choice.deferred & ~better)
            yield cost, np.where(kept, judged.scores[heavy], judged.scores[light])


_Flags = NDArray[np.bool_]


class _Choice(NamedTuple):
    """Which prompts go straight to the heavy tier, which are deferred to it, and which of their two images is kept."""

    direct: _Flags
    deferred: _Flags
    best_of_two: bool = False


_Choices = Iterator[_Choice]


def _first(order: NDArray[np.intp], count: int, n: int) -> _Flags:
    flags = np.zeros(n, bool)
    flags[order[:count]] = True
    return flags


def _hardest(difficulty: Array) -> _Choices:
    order, n = np.argsort(-difficulty, kind="stable"), len(difficulty)
    return (_Choice(_first(order, round(ratio * n), n), np.zeros(n, bool)) for ratio in RATIOS)


def _doubtful(confidence: Array, direct: _Flags) -> _Choices:
    order, n = np.argsort(confidence, kind="stable"), len(confidence)
    rest = order[~direct[order]]
    return (_Choice(direct, _first(rest, round(ratio * len(rest)), n)) for ratio in RATIOS)


def _both(judged: Judged, light: int, _: int) -> _Choices:
    for choice in _hardest(judged.difficulty):
        yield from _doubtful(judged.confidence[light], choice.direct)


def _better(judged: Judged, light: int, heavy: int) -> _Choices:
    for choice in _both(judged, light, heavy):
        yield choice
        yield choice._replace(best_of_two=True)


_CHOICES: dict[Way, Callable[[Judged, int, int], _Choices]] = {
    Way.RANDOM: lambda judged, light, heavy: iter(()),
    Way.TEXT: lambda judged, light, heavy: _hardest(judged.difficulty),
    Way.JUDGE: lambda judged, light, heavy: _doubtful(judged.confidence[light], np.zeros(judged.scores.shape[1], bool)),
    Way.BOTH: _both,
    Way.BETTER: _better,
    Way.KNOWS_WRONG: lambda judged, light, heavy: _doubtful(
        judged.scores[light], np.zeros(judged.scores.shape[1], bool)
    ),
    Way.KNOWS_GAIN: lambda judged, light, heavy: _hardest(judged.scores[heavy] - judged.scores[light]),
}


def with_interval(values: Array) -> Reached:
    """Return the first value, which is of the prompts as they are, with the interval of the others."""
    if len(values) < 2 or np.isnan(values[0]):
        return Reached(float(values[0]), float("nan"), float("nan"))
    low, high = np.nanquantile(values[1:], [_LOW, _HIGH])
    return Reached(float(values[0]), float(low), float(high))
