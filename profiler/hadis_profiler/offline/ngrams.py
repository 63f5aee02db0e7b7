"""Stage difficulty, its second part: hashed n-grams beside the text features, kept where they predict better.

The features of all languages but English are their length; n-grams tell what is drawn. Both together are fitted to the
quality gap by one ridge regression, in its dual form (Saunders, Gammerman and Vovk 1998), as there are more grams than
prompts. The profile gets it only if it ranks held-out prompts better than the features alone, by more than noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hadis.api.difficulty import NGRAM_PLACES, NgramScore
from hadis_router.difficulty.ngrams import ngrams
from numpy.typing import NDArray

from hadis_profiler.offline.difficulty import FOLDS, QUANTILES, DifficultyFit, rank_correlation, rounded
from hadis_profiler.offline.discriminator import area_under_curve
from hadis_profiler.offline.notes import NgramNote

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
_RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_FEATURE_RIDGE = 0.1
_MOST_PROMPTS = 4000
"""Trained on; the time grows with the third power, and each strength takes about a second per fold."""
_RESAMPLES = 400
_ENDS = (0.025, 0.975)


def with_ngrams(
    fit: DifficultyFit, prompts: Sequence[str], texts: Array, gap: Array, train: Indices, held_out: Indices
) -> DifficultyFit:
    """Return a fit to the gap (n,) on text features (n, 8) that notes how n-grams compare, and has them if better."""
    score, scores = _fit(fit, prompts, texts, gap, train, held_out)
    low, high = _difference(scores[held_out], fit.scores[held_out], gap[held_out])
    hard = gap[held_out] > gap[held_out].mean()
    note = NgramNote(
        held_out=rank_correlation(scores[held_out], gap[held_out]),
        auc=area_under_curve(scores[held_out], hard),
        features_held_out=fit.held_out,
        features_auc=area_under_curve(fit.scores[held_out], hard),
        difference_low=low,
        difference_high=high,
    )
    if not note.is_better:
        return replace(fit, ngrams=note)
    difficulty = fit.difficulty.model_copy(update={"ngrams": score})
    return replace(fit, difficulty=difficulty, scores=scores, held_out=note.held_out, ngrams=note)


def _fit(
    fit: DifficultyFit, prompts: Sequence[str], texts: Array, gap: Array, train: Indices, held_out: Indices
) -> tuple[NgramScore, Array]:
    """Return the score that the regression gives, and what it gives each prompt (n,)."""
    train = train[:_MOST_PROMPTS]
    z = (texts - np.array(fit.difficulty.mean)) / np.array(fit.difficulty.std)
    grams = [ngrams(prompt) for prompt in prompts]
    counts = np.zeros((len(train), NGRAM_PLACES))
    for row, i in zip(counts, train, strict=True):
        places, values = grams[i]
        row[places] = values
    counts -= counts.mean(0)
    target = gap[train]
    by_features = z[train] @ z[train].T / (len(train) * _FEATURE_RIDGE)
    by_counts = counts @ counts.T / len(train)
    ridge = _strength(by_features, by_counts, target)
    dual = _dual(by_features + by_counts / ridge, target)
    feature_weights = z[train].T @ dual / (len(train) * _FEATURE_RIDGE)
    place_weights = counts.T @ dual / (len(train) * ridge)
    score = NgramScore.of(rounded(feature_weights), place_weights.tolist(), (0.0, 0.0))
    weights = np.array(score.place_weights)
    scores = z @ np.array(score.feature_weights) + np.array([values @ weights[places] for places, values in grams])
    # Of prompts that it was not fitted on: on the others it is more certain than it will ever be again.
    return score.model_copy(update={"quantiles": rounded(np.quantile(scores[held_out], QUANTILES))}), scores


def _strength(by_features: Array, by_counts: Array, gap: Array) -> float:
    """Return the ridge of the n-grams that errs least on folds that were left out."""
    folds = np.arange(len(gap)) % FOLDS
    errors = []
    for ridge in _RIDGES:
        kernel, squares = by_features + by_counts / ridge, 0.0
        for fold in range(FOLDS):
            inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            dual = _dual(kernel[np.ix_(inside, inside)], gap[inside])
            predicted = gap[inside].mean() + kernel[np.ix_(outside, inside)] @ dual
            squares += float(((gap[outside] - predicted) ** 2).sum())
        errors.append(squares)
    return _RIDGES[int(np.argmin(errors))]


def _dual(kernel: Array, gap: Array) -> Array:
    """Return the weight (n,) of each prompt in the regression whose penalties the kernel (n, n) holds."""
    return np.asarray(np.linalg.solve(kernel + np.eye(len(gap)), gap - gap.mean()))


def _difference(scores: Array, others: Array, gap: Array) -> tuple[float, float]:
    """Return the 95% interval of how much better scores rank than others, over resampled prompts (Efron 1979)."""
    rng, differences = np.random.default_rng(0), []
    for _ in range(_RESAMPLES):
        drawn = rng.integers(0, len(gap), len(gap))
        better = rank_correlation(scores[drawn], gap[drawn]) - rank_correlation(others[drawn], gap[drawn])
        differences.append(better)
    low, high = np.quantile(differences, _ENDS)
    return float(low), float(high)
