"""Stage difficulty: weights that predict the quality gap, and a clear word where nothing does."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hadis_profiler.offline import difficulty
from hadis_profiler.offline.difficulty import Array, DifficultyFit
from hadis_profiler.offline.ngrams import with_ngrams
from hadis_profiler.paper.features import paper_score, read_columns, spearman
from hadis_router.difficulty.features import features
from hadis_router.difficulty.scorer import DifficultyScorer
from profiler_runs import DATA


def test_difficulty_predicts_a_gap_that_the_text_explains_and_no_other() -> None:
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(800, 8))
    train, rest = np.arange(400), np.arange(400, 800)
    fit = difficulty.fit(texts, texts @ np.array([3.0, 0, 1, 0, 0, 0, 0, -2]) + rng.normal(size=800), train, rest)
    assert fit.predicts
    assert fit.held_out > 0.9
    assert fit.difficulty.weights[0] == 1
    low, high = fit.difficulty.quantiles[0], fit.difficulty.quantiles[-1]
    assert (low, high) == pytest.approx((fit.scores.min(), fit.scores.max()), abs=1e-6)
    assert not difficulty.fit(texts, rng.normal(size=800), train, rest).predicts
    assert not difficulty.fit(np.ones((800, 8)), rng.normal(size=800), train, rest).predicts


def test_ranks_agree_with_themselves() -> None:
    assert spearman(np.arange(9.0), np.arange(9.0) ** 3) == pytest.approx(1)


COLOURS, SHAPES = ("red", "green", "blue", "grey"), ("ring", "cube", "star", "cone")


def scenes(count: int) -> tuple[list[str], Array, Array]:
    """Return prompts of one length, their text features, and whether a red thing is followed by a star (n,)."""
    rng = random.Random(0)
    pairs = [[(rng.choice(COLOURS), rng.choice(SHAPES)) for _ in range(2)] for _ in range(count)]
    prompts = [f"a {a} {b} and a {c} {d}" for (a, b), (c, d) in pairs]
    hard = np.array([float(("red", "star") in pair) for pair in pairs])
    return prompts, np.stack([features(prompt) for prompt in prompts]), hard


def learned(prompts: list[str], texts: Array, gap: Array) -> DifficultyFit:
    parts = np.arange(200), np.arange(200, len(gap))
    return with_ngrams(difficulty.fit(texts, gap, *parts), prompts, gap, *parts)


def test_ngrams_are_in_the_profile_where_words_tell_what_features_do_not() -> None:
    prompts, texts, hard = scenes(500)
    fit = learned(prompts, texts, hard + np.random.default_rng(0).normal(size=500) * 0.2)
    assert fit.ngrams is not None
    assert fit.ngrams.is_better
    assert fit.held_out == fit.ngrams.held_out > fit.ngrams.features_held_out + 0.1
    assert fit.ngrams.auc > fit.ngrams.features_auc
    assert fit.difficulty.known_ngrams is not None
    scorer = DifficultyScorer(fit.difficulty)  # the router's
    assert [scorer.score(prompt) for prompt in prompts[:20]] == pytest.approx(fit.scores[:20].tolist(), abs=1e-4)
    low, high = fit.difficulty.score_quantiles[0], fit.difficulty.score_quantiles[-1]
    unseen = fit.scores[200:]
    assert (low, high) == pytest.approx((unseen.min(), unseen.max()), abs=1e-4)
    assert not np.array_equal(fit.by_features, fit.scores)
    assert "The profile has n-grams" in fit.ngrams.words


@pytest.mark.parametrize("gap", ["noise", "equal", "length"])
def test_ngrams_that_are_no_better_than_noise_are_left_out(gap: str) -> None:
    prompts, texts, _ = scenes(500)
    rng = np.random.default_rng(1)
    gaps = {"noise": rng.normal(size=500), "equal": np.ones(500), "length": texts[:, 0] + rng.normal(size=500) * 0.01}
    fit = learned(prompts, texts, gaps[gap])
    assert fit.ngrams is not None
    assert not fit.ngrams.is_better
    assert fit.difficulty.ngrams is None
    assert fit.scores is fit.by_features
    assert "the profile has none" in fit.ngrams.words


@pytest.mark.skipif(not DATA.is_dir(), reason="the paper's data is not here")
def test_weights_by_information_rank_as_the_papers_do() -> None:
    _, columns = read_columns(DATA / "prompt_features.csv")
    light, heavy = (np.loadtxt(DATA / f"confidence/model_{k}.txt")[:, 1].reshape(-1, 4).mean(1) for k in (0, 3))
    z = (columns - columns.mean(0)) / columns.std(0)
    score = z @ difficulty.information(columns, heavy - light)
    assert spearman(score, paper_score(columns)) > 0.95
