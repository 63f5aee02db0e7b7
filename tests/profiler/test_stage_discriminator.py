"""Stage discriminator: which images are good, how well a network ranks them, and what a worker loads."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hadis_profiler.offline import discriminator, images, store
from hadis_profiler.offline.discriminator import calibration, good_images
from hadis_profiler.offline.expected_training import informative
from hadis_profiler.offline.features import ImageFeatures
from hadis_profiler.offline.learning import shift
from hadis_profiler.offline.prompts import Split
from hadis_profiler.offline.ranking import area_under_curve
from hadis_profiler.offline.spec import SpecError
from hadis_worker.discriminator import load_discriminator
from PIL import Image
from profiler_runs import run_of, write_tiny_clip
from rich.progress import Progress


def test_area_under_the_curve_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    scores, good = rng.integers(0, 5, 200).astype(float), rng.random(200) < 0.4
    pairs = scores[good][:, None] - scores[~good][None, :]
    assert area_under_curve(scores, good) == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)
    assert area_under_curve(scores, np.ones(200, bool)) == 0.5


def test_calibration_compares_confidence_with_the_share_that_is_good() -> None:
    bins = calibration(np.array([0.11, 0.13, 0.99, 1.0]), np.array([False, True, True, True]))
    assert [(round(b.confidence, 3), b.good, b.images) for b in bins] == [(0.12, 0.5, 2), (0.995, 1.0, 2)]


def test_a_shift_makes_the_mean_confidence_the_share_that_is_good() -> None:
    rng = np.random.default_rng(0)
    confidence, good = rng.random(500) * 0.98 + 0.01, rng.random(500) < 0.8
    logits = np.log(confidence / (1 - confidence)) + shift(confidence, good)
    assert (1 / (1 + np.exp(-logits))).mean() == pytest.approx(good.mean(), abs=1e-3)
    assert (
        shift(confidence, np.ones(500, bool)) == -shift(confidence, np.zeros(500, bool)) == pytest.approx(6, abs=1e-3)
    )


def test_good_is_by_score_where_there_is_one_and_else_by_nearness() -> None:
    features = np.array([[[4.0], [1], [9]], [[2.0], [1], [3]], [[0.0], [0], [0]]])
    by_score = ImageFeatures(features, np.array([[0.1, 0.9, 0.2], [0.8, 0.9, 0.2], [0.8, 0.9, 0.2]]), features[0])
    assert good_images(by_score).tolist() == [[False, True, True], [True, True, True], [True, True, True]]
    right_or_wrong = ImageFeatures(features, np.array([[0.0, 1, 0], [1, 1, 0], [1, 1, 0]]), features[0])
    assert good_images(right_or_wrong).tolist() == [[False, True, False], [True, True, False], [True, True, False]]
    by_nearness = ImageFeatures(features, None, features[0])
    assert good_images(by_nearness).tolist() == [[False, True, False], [True, True, False], [True, True, True]]
    assert by_nearness.quality_gap.tolist() == [4, 1, 9]


def test_a_discriminator_learns_what_a_scorer_sees_and_a_worker_loads_it(tmp_path: Path) -> None:
    """Prompts ask for red or for blue; an image is good if it has the colour that its prompt asks for."""
    models = Path(__file__).parents[2] / "examples/scenes"
    run = run_of(tmp_path, models=str(models), discriminator={"textEncoder": "large", "rounds": 12})
    rng, colours = np.random.default_rng(0), {"red": (220, 30, 30), "blue": (30, 30, 220)}
    asked = [("red", "blue")[i % 2] for i in range(120)]
    prompts = [f"a small {colour} circle top left on white" for colour in asked]
    tiers = len(run.spec.tiers)
    good = rng.random((tiers, 120)) < 0.5
    seen = np.zeros((tiers, 120, 3))
    for k, tier in enumerate(run.spec.tiers):
        for i, colour in enumerate(asked):
            shown = colour if good[k, i] else {"red": "blue", "blue": "red"}[colour]
            noisy = np.clip(np.array(colours[shown]) + rng.integers(-25, 25, (32, 32, 3)), 0, 255).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(noisy).save(buffer, "PNG")
            store.write(images.path_of(run.work / f"images/{tier.name}", i), buffer.getvalue())
            seen[k, i] = shown == "red", shown == "blue", i  # the last one only tells the prompt
    features = ImageFeatures(seen, good.astype(float), seen[0])
    assert informative(seen).tolist() == seen[..., :2].tolist()
    part = np.arange(120)
    with Progress(disable=True) as progress:
        trained = discriminator.train(run, prompts, features, Split(part[:70], part[70:90], part[90:]), "cpu", progress)
    assert trained.auc > 0.95
    assert [point.prompts for point in trained.curve] == [18, 35, 70]
    assert trained.curve[-1].auc == pytest.approx(trained.auc)
    loaded = load_discriminator(run.work / "discriminator")
    name = run.spec.tiers[0].name
    some = list(images.read_images(run, run.spec.tiers[0], [100, 101]))
    assert loaded.confidence(some, prompts[100:102], name) == pytest.approx(trained.confidence[0][100:102], abs=1e-5)
    first, other = loaded.confidence([some[0]] * 2, prompts[100:102], name)
    assert abs(first - other) > 0.3, "one picture is good for one of the two prompts"
    nowhere = run_of(tmp_path, discriminator={"textEncoder": "./nowhere"})
    with (
        Progress(disable=True) as progress,
        pytest.raises(SpecError, match=r"textEncoder: \./nowhere cannot be loaded"),
    ):
        discriminator.train(nowhere, prompts, features, Split(part[:70], part[70:90], part[90:]), "cpu", progress)


def test_one_reader_of_prompts_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="clip and textEncoder exclude each other"):
        run_of(tmp_path, discriminator={"textEncoder": "large", "clip": "clip"})


def test_a_discriminator_reads_the_features_of_a_clip_and_a_worker_loads_it(tmp_path: Path) -> None:
    write_tiny_clip(tmp_path / "clip")
    run = run_of(tmp_path, discriminator={"clip": "clip", "rounds": 40})
    # Red is good, blue is poor: even an untrained CLIP's features differ between them.
    rng, prompts = np.random.default_rng(0), [f"picture {i}" for i in range(80)]
    good = rng.random((len(run.spec.tiers), 80)) < 0.5
    good[-1] = True
    for k, tier in enumerate(run.spec.tiers):
        for i in range(80):
            colour = (220, 30, 30) if good[k][i] else (30, 30, 220)
            noisy = np.clip(np.array(colour) + rng.integers(-25, 25, (16, 16, 3)), 0, 255).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(noisy).save(buffer, "PNG")
            store.write(images.path_of(run.work / f"images/{tier.name}", i), buffer.getvalue())
    features = ImageFeatures(np.zeros((len(good), 80, 1)), good.astype(float), np.zeros((80, 1)))
    part = np.arange(80)
    parts = Split(part[:40], part[40:60], part[60:])
    with Progress(disable=True) as progress:
        trained = discriminator.train(run, prompts, features, parts, "cpu", progress)
        assert trained.auc > 0.9
        assert sum(b.images for b in trained.calibration) == 20
        loaded = load_discriminator(run.work / "discriminator")
        some, name = list(images.read_images(run, run.spec.tiers[0], [60, 61])), run.spec.tiers[0].name
        assert loaded.confidence(some, prompts[60:62], name) == pytest.approx(trained.confidence[0][60:62], abs=1e-5)
        assert loaded.temperature != 1.0
        nowhere = run_of(tmp_path, discriminator={"clip": "./nowhere"})
        with pytest.raises(SpecError, match=r"\./nowhere cannot be loaded"):
            discriminator.train(nowhere, prompts, features, parts, "cpu", progress)
