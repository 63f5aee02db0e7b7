"""Stage difficulty: weights of text features that predict on which prompts the light tier is worse than the heavy.

`ngrams` adds what the prompts' words predict beyond them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hadis.api.resources import Difficulty
from hadis_router.difficulty.features import FEATURES
from numpy.typing import NDArray

from hadis_profiler.offline.notes import NgramNote
from hadis_profiler.paper.features import spearman

Array = NDArray[np.float64]
QUANTILES = np.linspace(0, 1, 101)
_RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
FOLDS = 5
_BINS = 20
"""Bins of the gap, of equal counts, that mutual information is estimated with."""


@dataclass(frozen=True)
class DifficultyFit:
    """Weights, the scores of all prompts (n,), and how well they rank held-out prompts."""

    difficulty: Difficulty
    scores: Array
    """By n-grams where these are better."""
    by_features: Array
    """By the text features alone."""
    held_out: float
    """Spearman's rank correlation of score and quality gap on prompts that were not fitted on."""
    noise: float
    """The correlation that chance alone exceeds in one of twenty cases (1.96 / sqrt(n - 1))."""
    held_out_by_information: float
    """Like `held_out`, of the paper's kind of weights: see `information`."""
    ngrams: NgramNote | None = None
    """How n-grams compare with the features; None where nobody looked."""

    @property
    def predicts(self) -> bool:
        """Whether the score ranks held-out prompts better than chance."""
        return self.held_out > self.noise


def fit(texts: Array, gap: Array, train: NDArray[np.intp], held_out: NDArray[np.intp]) -> DifficultyFit:
    """Fit the quality gap (n,) on text features (n, 8) by ridge regression, its strength chosen by cross-validation."""
    mean, std = texts[train].mean(0), texts[train].std(0)
    std[std < 1e-9] = 1.0
    z = (texts - mean) / std
    weights = _ridge(z[train], gap[train], _strength(z[train], gap[train]))
    weights /= np.abs(weights).max() or 1.0
    scores = z @ weights
    difficulty = Difficulty(
        features=FEATURES,
        mean=rounded(mean),
        std=rounded(std),
        weights=rounded(weights),
        quantiles=rounded(np.quantile(scores, QUANTILES)),
    )
    informed = z @ information(texts[train], gap[train])
    return DifficultyFit(
        difficulty,
        scores,
        scores,
        rank_correlation(scores[held_out], gap[held_out]),
        1.96 / np.sqrt(max(1, len(held_out) - 1)),
        rank_correlation(informed[held_out], gap[held_out]),
    )


def information(texts: Array, gap: Array) -> Array:
    """Return weights (f,) by the mutual information of each feature and the gap, in nats; none is negative.

    Weights of this kind rank the paper's prompts as its published ones do (Spearman 0.96 on its own data, where a
    regression finds nothing). They say how much a feature tells and not in which direction, and an estimate from few
    prompts is larger for features of many values, whatever they tell: the regression is what a profile gets.
    """
    edges = np.quantile(gap, np.linspace(0, 1, _BINS + 1)[1:-1])
    column = np.digitize(gap, edges)
    nats = []
    for k in range(texts.shape[1]):
        row = np.unique(texts[:, k], return_inverse=True)[1]
        joint = np.zeros((row.max() + 1, _BINS))
        np.add.at(joint, (row, column), 1 / len(gap))
        independent = np.outer(joint.sum(1), joint.sum(0))
        some = joint > 0
        nats.append(float((joint[some] * np.log(joint[some] / independent[some])).sum()))
    return np.array(nats)


def rank_correlation(scores: Array, gap: Array) -> float:
    """Return Spearman's correlation, 0 where all scores, or all gaps, are alike."""
    return spearman(scores, gap) if np.ptp(scores) and np.ptp(gap) else 0.0


def _strength(z: Array, gap: Array) -> float:
    """Return the ridge of the least squared error on folds that were left out."""
    folds = np.arange(len(z)) % FOLDS
    errors = []
    for ridge in _RIDGES:
        squares = 0.0
        for fold in range(FOLDS):
            inside = folds != fold
            weights = _ridge(z[inside], gap[inside], ridge)
            squares += float(((gap[~inside] - gap[inside].mean() - z[~inside] @ weights) ** 2).sum())
        errors.append(squares)
    return _RIDGES[int(np.argmin(errors))]


def _ridge(z: Array, gap: Array, ridge: float) -> Array:
    return np.asarray(np.linalg.solve(z.T @ z + len(z) * ridge * np.eye(z.shape[1]), z.T @ (gap - gap.mean())))


def rounded(values: Array) -> tuple[float, ...]:
    """Return numbers as profiles hold them."""
    return tuple(round(float(v), 6) for v in values)
