"""Stage difficulty, its second part: hashed n-grams beside the text features, kept where they predict better.

Features count word classes, and of languages other than English only the length; n-grams say what is to be drawn. The
score by features and the n-grams are fitted together to the quality gap, by ridge regression in its dual form
(Saunders, Gammerman and Vovk 1998), as there are more n-grams than prompts. The profile gets it only where it ranks
held-out prompts better than the features alone, by more than noise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from hadis.api.difficulty import MOST_NGRAMS, NgramScore
from hadis_router.difficulty.ngrams import added, ngrams
from numpy.typing import NDArray

from hadis_profiler.offline.difficulty import FOLDS, QUANTILES, DifficultyFit, rank_correlation, rounded
from hadis_profiler.offline.notes import NgramNote
from hadis_profiler.offline.ranking import area_under_curve

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Grams = Mapping[int, float]
"""What each n-gram of a prompt counts, by its hash."""
_RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_FEATURE_RIDGE = 0.01
_LEAST_PROMPTS = 3
"""Of those trained on: an n-gram of fewer teaches nothing about others."""
_MOST_PROMPTS = 4000
"""Trained on; the time grows with the third power, and each strength takes about a second per fold."""
_RESAMPLES = 400
_ENDS = (0.025, 0.975)


def with_ngrams(
    fit: DifficultyFit, prompts: Sequence[str], gap: Array, train: Indices, held_out: Indices
) -> DifficultyFit:
    """Return a fit to the quality gap of prompts (n,) that notes how n-grams compare, and has them if better."""
    score, scores = regress(fit.by_features, [ngrams(prompt) for prompt in prompts], gap, train, held_out)
    low, high = _difference(scores[held_out], fit.by_features[held_out], gap[held_out])
    hard = gap[held_out] > gap[held_out].mean()
    note = NgramNote(
        held_out=rank_correlation(scores[held_out], gap[held_out]),
        auc=area_under_curve(scores[held_out], hard),
        features_held_out=fit.held_out,
        features_auc=area_under_curve(fit.by_features[held_out], hard),
        difference_low=low,
        difference_high=high,
    )
    if not note.is_better:
        return replace(fit, ngrams=note)
    difficulty = fit.difficulty.model_copy(update={"ngrams": score})
    return replace(fit, difficulty=difficulty, scores=scores, held_out=note.held_out, ngrams=note)


def regress(
    by_features: Array, grams: Sequence[Grams], gap: Array, train: Indices, held_out: Indices
) -> tuple[NgramScore, Array]:
    """Return the score that the regression gives, its quantiles by prompts held out, and what it gives each (n,)."""
    train = train[:_MOST_PROMPTS]
    listed, counts = _counts([grams[i] for i in train])
    target, feature, mean = gap[train], by_features[train], counts.mean(0)
    centred = counts - mean
    by_feature = np.outer(feature, feature) / (len(train) * _FEATURE_RIDGE)
    by_gram = centred @ centred.T / len(train)
    ridge = _strength(by_feature, by_gram, target)
    dual = _dual(by_feature + by_gram / ridge, target)
    weights = centred.T @ dual / (len(train) * ridge)
    # Under 0, it would turn the order of prompts in languages that were not profiled.
    feature_weight = max(0.0, float(feature @ dual) / (len(train) * _FEATURE_RIDGE))
    score = NgramScore.of(
        round(feature_weight, 6),
        dict(zip(listed, weights.tolist(), strict=True)),
        round(float(mean @ weights), 6),
        (0.0, 0.0),
    )
    by_hash = score.weight_by_hash
    scores = score.feature_weight * by_features + np.array([added(each, by_hash, score.mean) for each in grams])
    # Of the prompts that it was fitted on it is surer than it will ever be again.
    return score.model_copy(update={"quantiles": rounded(np.quantile(scores[held_out], QUANTILES))}), scores


def _counts(grams: Sequence[Grams]) -> tuple[list[int], Array]:
    """Return the hashes of the n-grams that most prompts (n) have, and what they count in each (n, hashes)."""
    prompts = Counter(gram for each in grams for gram in each)
    listed = [gram for gram, count in prompts.most_common(MOST_NGRAMS) if count >= _LEAST_PROMPTS]
    counts = np.array([[each.get(gram, 0.0) for gram in listed] for each in grams])
    return listed, counts.reshape(len(grams), len(listed))


def _strength(by_feature: Array, by_gram: Array, gap: Array) -> float:
    """Return the ridge of the n-grams that errs least on folds that were left out."""
    folds = np.arange(len(gap)) % FOLDS
    errors = []
    for ridge in _RIDGES:
        kernel, squares = by_feature + by_gram / ridge, 0.0
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
