"""Stage quality: the distance of every configuration, from statistics of features that were taken once per image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from hadis.planning.best_of_two import light_is_better
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Reference:
    """The Fréchet distance (Heusel et al. 2017, equation 6) to one set of features, made quick for many others.

    With C = L L' the reference's covariance, the trace of (A C)^1/2 is that of (L' A L)^1/2: a symmetric matrix, whose
    eigenvalues are found quickly. So features are multiplied by L once, and a configuration only adds up moments.
    """

    def __init__(self, reference: Array) -> None:
        """Take features (m, d)."""
        self.mean = reference.mean(0)
        covariance = np.atleast_2d(np.cov(reference.T))
        values, vectors = np.linalg.eigh(covariance)
        self._root = vectors * np.sqrt(np.clip(values, 0, None))
        self._trace = float(values.clip(0).sum())

    def moments(self, features: Array) -> Moments:
        """Return what is needed of n images' features (n, d), one row per image."""
        centred = features - self.mean
        return Moments(centred, centred @ self._root)

    def distance(self, total: Sums) -> float:
        """Return the distance of the images that were added up."""
        n = total.count
        mean, turned = total.centred / n, total.turned / n
        trace = (total.squares - n * float(mean @ mean)) / (n - 1)
        inner = (total.products - n * np.outer(turned, turned)) / (n - 1)
        roots = float(np.sqrt(np.linalg.eigvalsh(inner).clip(0)).sum())
        return max(0.0, float(mean @ mean) + trace + self._trace - 2 * roots)


@dataclass(frozen=True)
class Moments:
    """Features less the reference's mean (n, d), and the same times the root of its covariance (n, d)."""

    centred: Array
    turned: Array


class Sums:
    """Sums over the images of a configuration, which change by the images that change."""

    def __init__(self, size: int) -> None:
        """Start with no images of features (size,)."""
        self.count = 0
        self.centred, self.turned = np.zeros(size), np.zeros(size)
        self.products = np.zeros((size, size))
        self.squares = 0.0

    def add(self, moments: Moments, rows: NDArray[np.intp], sign: int = 1) -> None:
        """Add some images' rows, or take them away with `sign` -1."""
        centred, turned = moments.centred[rows], moments.turned[rows]
        self.count += sign * len(rows)
        self.centred += sign * centred.sum(0)
        self.turned += sign * turned.sum(0)
        self.products += sign * (turned.T @ turned)
        self.squares += sign * float((centred**2).sum())


@dataclass(frozen=True)
class Row:
    """A configuration by tiers' numbers, with its distance and the mean score of its images."""

    light: int
    heavy: int
    direct: float
    deferral: float
    quality: float
    score: float | None
    best_of_two: bool = False


def heavy_images(
    difficulty: Array, confidence: Array, direct: float, deferral: float, heavy_confidence: Array | None = None
) -> NDArray[np.bool_]:
    """Return which of n prompts get a heavy image: the hardest, and of the rest the least confident light ones.

    `confidence` is that in light images; with that in heavy ones, those of the rest whose light image is better do not.
    """
    n = len(difficulty)
    hardest = np.argsort(-difficulty, kind="stable")
    rest = hardest[round(direct * n) :]
    doubtful = rest[np.argsort(confidence[rest], kind="stable")]
    chosen = np.ones(n, bool)
    chosen[doubtful[round(deferral * len(rest)) :]] = False
    if heavy_confidence is not None:
        chosen[rest] &= ~light_is_better(confidence[rest], heavy_confidence[rest])
    return chosen


def grid(
    features: Array,
    scores: Array | None,
    reference: Array,
    difficulty: Array,
    confidence: Array,
    steps: int,
    advance: Callable[[], None] = lambda: None,
) -> Iterator[Row]:
    """Yield every single tier, and every pair on the grid with either way of deferral.

    They are made from features (k, n, d), confidences (k, n) and scores (k, n). The prompts must be none that
    difficulty or discriminator were trained on.
    """
    target = Reference(reference)
    moments = [target.moments(part) for part in features]
    ratios = [i / (steps - 1) for i in range(steps)]
    everything = np.arange(features.shape[1])

    def score(k: int, j: int, heavy: NDArray[np.bool_]) -> float | None:
        return None if scores is None else float(np.where(heavy, scores[k], scores[j]).mean())

    singles = []
    for k, part in enumerate(moments):
        sums = Sums(features.shape[2])
        sums.add(part, everything)
        singles.append(target.distance(sums))
        yield Row(k, k, 0.0, 0.0, singles[k], None if scores is None else float(scores[k].mean()))
        advance()
    for k in range(len(features)):
        for j in range(k):
            sums = Sums(features.shape[2])
            sums.add(moments[j], everything)
            before = np.zeros(len(everything), bool)
            for best_of_two, direct in itertools.product((False, True), ratios):
                for deferral in ratios if round(direct * steps) % 2 == 0 else ratios[::-1]:
                    second = confidence[k] if best_of_two else None
                    heavy = heavy_images(difficulty, confidence[j], direct, deferral, second)
                    for rows, sign in ((np.flatnonzero(heavy & ~before), 1), (np.flatnonzero(before & ~heavy), -1)):
                        if len(rows):
                            sums.add(moments[k], rows, sign)
                            sums.add(moments[j], rows, -sign)
                    before = heavy
                    quality = singles[k] if heavy.all() else singles[j] if not heavy.any() else target.distance(sums)
                    yield Row(j, k, direct, deferral, quality, score(k, j, heavy), best_of_two)
                    advance()


def interval(
    features: tuple[Array, Array], reference: Array, heavy: NDArray[np.bool_], resamples: int, seed: int
) -> tuple[float, float]:
    """Return the 90% bootstrap interval of a mixture's distance, over prompts; (NaN, NaN) without resamples.

    A resample repeats prompts, which makes every distance larger; the interval is moved back by that (basic bootstrap).
    """
    if not resamples:
        return float("nan"), float("nan")
    light, strong = features
    mixed = np.where(heavy[:, None], strong, light)
    target, rng, n = Reference(reference), np.random.default_rng(seed), len(mixed)
    moments = target.moments(mixed)

    def distance(rows: NDArray[np.intp]) -> float:
        sums = Sums(mixed.shape[1])
        sums.add(moments, rows)
        return target.distance(sums)

    whole = distance(np.arange(n))
    drawn = [distance(rng.integers(0, n, n)) for _ in range(resamples)]
    shift = float(np.mean(drawn)) - whole
    low, high = np.quantile(drawn, [0.05, 0.95]) - shift
    return max(0.0, float(low)), float(high)


def random_quality(features: tuple[Array, Array], reference: Array, heavy: int, draws: int, seed: int) -> float:
    """Return the mean distance over draws of which `heavy` prompts get heavy images: what choosing them is worth."""
    target, rng, n = Reference(reference), np.random.default_rng(seed), len(features[0])
    light, strong = (target.moments(part) for part in features)
    distances = []
    for _ in range(draws):
        order, sums = rng.permutation(n), Sums(reference.shape[1])
        sums.add(light, order[heavy:])
        sums.add(strong, order[:heavy])
        distances.append(target.distance(sums))
    return float(np.mean(distances))
