"""Stage quality: every distance of the grid is that of the images it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from hadis_profiler.offline import quality
from hadis_profiler.offline.quality import heavy_images
from profiler_runs import frechet


def test_every_distance_of_the_grid_is_that_of_its_images() -> None:
    rng = np.random.default_rng(0)
    n, d = 120, 5
    features = np.stack([rng.normal(m, s, (n, d)) for m, s in ((1, 2), (0.5, 1.5), (0, 1))])
    reference = rng.normal(0, 1, (200, d))
    hard, confidence, scores = rng.random(n), rng.random((3, n)), rng.random((3, n))
    rows = list(quality.grid(features, scores, reference, hard, confidence, 5))
    assert len(rows) == 3 + 3 * 2 * 25
    for row in rows:
        second = confidence[row.heavy] if row.best_of_two else None
        heavy = heavy_images(hard, confidence[row.light], row.direct, row.deferral, second)
        heavy = heavy | (row.light == row.heavy)
        mixed = np.where(heavy[:, None], features[row.heavy], features[row.light])
        assert row.quality == pytest.approx(frechet(mixed, reference), rel=1e-6), row
        assert row.score == pytest.approx(np.where(heavy, scores[row.heavy], scores[row.light]).mean())


def test_the_hardest_and_the_least_confident_get_heavy_images() -> None:
    hard, confidence = np.array([5.0, 4, 3, 2, 1, 0]), np.array([0.1, 0.2, 0.9, 0.1, 0.8, 0.3])
    assert heavy_images(hard, confidence, 1 / 3, 0.5).tolist() == [True, True, False, True, False, True]
    assert not heavy_images(hard, confidence, 0, 0).any()
    assert heavy_images(hard, confidence, 0, 1).all()


def test_of_two_images_the_more_confident_is_kept_and_heavy_where_it_was_not_judged() -> None:
    hard, light = np.array([9.0, 1, 1, 1, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.9])
    heavy = np.array([0.0, 0.1, 0.3, 0.0, np.nan, 0.1])
    chosen = heavy_images(hard, light, 1 / 6, 0.8, heavy)
    assert chosen.tolist() == [True, False, True, True, True, False], "direct, worse, alike, not judged, not deferred"


def test_an_interval_covers_the_distance() -> None:
    rng = np.random.default_rng(1)
    light, heavy, reference = rng.normal(1, 1, (300, 4)), rng.normal(0, 1, (300, 4)), rng.normal(0, 1, (300, 4))
    chosen = np.arange(300) < 150
    low, high = quality.interval((light, heavy), reference, chosen, 60, 0)
    assert low < frechet(np.where(chosen[:, None], heavy, light), reference) < high
    assert np.isnan(quality.interval((light, heavy), reference, chosen, 0, 0)[0])


def test_the_random_baseline_gives_as_many_heavy_images_to_other_prompts() -> None:
    rng = np.random.default_rng(1)
    good, poor = rng.normal(0, 1, (300, 4)), rng.normal(3, 1, (300, 4))
    hard = np.arange(300) < 100
    light, reference = np.where(hard[:, None], poor, good), rng.normal(0, 1, (300, 4))
    baseline = quality.random_quality((light, good), reference, 100, 20, 0)
    chosen = frechet(np.where(hard[:, None], good, light), reference)
    draws = []
    for _ in range(200):
        heavy = rng.permutation(hard)
        draws.append(frechet(np.where(heavy[:, None], good, light), reference))
    assert chosen < baseline == pytest.approx(np.mean(draws), rel=0.05)
    assert quality.random_quality((light, good), reference, 300, 1, 0) == pytest.approx(frechet(good, reference))
