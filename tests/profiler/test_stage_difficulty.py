"""Stage difficulty: weights that predict the quality gap, and a clear word where nothing does."""

from __future__ import annotations

import numpy as np
import pytest
from hadis_profiler.offline import difficulty
from hadis_profiler.paper.features import paper_score, read_columns, spearman
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


@pytest.mark.skipif(not DATA.is_dir(), reason="the paper's data is not here")
def test_weights_by_information_rank_as_the_papers_do() -> None:
    _, columns = read_columns(DATA / "prompt_features.csv")
    light, heavy = (np.loadtxt(DATA / f"confidence/model_{k}.txt")[:, 1].reshape(-1, 4).mean(1) for k in (0, 3))
    z = (columns - columns.mean(0)) / columns.std(0)
    score = z @ difficulty.information(columns, heavy - light)
    assert spearman(score, paper_score(columns)) > 0.95
