"""What the example cascade must be for the demo to mean anything, on its committed weights and its measured profile."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hadis.api.manifest import read_manifest
from hadis.api.resources import Configuration
from hadis.cli.scenes import parse_scene, random_scene
from hadis.protocol.worker import GenerateBatch, WireJob
from hadis_profiler.offline.engines import as_tier
from hadis_profiler.offline.prompts import read_prompts
from hadis_profiler.offline.ranking import area_under_curve
from hadis_profiler.offline.spec import Run, read_run
from hadis_profiler.scenes.publish import PROMPTS, distinct_prompts
from hadis_profiler.scenes.scorer import SceneScorer
from hadis_worker.discriminator import load_discriminator
from hadis_worker.engine import Engine
from hadis_worker.loading.tiers import load_painter
from PIL import Image

SCENES = Path(__file__).parents[2] / "examples" / "scenes"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that `make scenes` ends with."""
    return read_run(SCENES / "profile-run.yaml", tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def rows() -> tuple[Configuration, ...]:
    """The rows of the shipped profile."""
    return read_manifest(SCENES.parent / "scenes.yaml").profile.spec.configurations


def light_images(run: Run, prompts: list[str]) -> list[Image.Image]:
    """Return the lightest tier's images."""
    tier = as_tier(run.spec.tiers[0])
    engine = Engine([tier], {tier.name: load_painter(tier, run.models, "cpu")}, device="cpu")
    images = []
    for start in range(0, len(prompts), 50):
        jobs = tuple(
            WireJob(id=str(i), prompt=prompt, seed=i) for i, prompt in enumerate(prompts[start : start + 50], start)
        )
        images += [image for _, image in engine.generate(GenerateBatch(tier=tier.name, jobs=jobs)) if image]
    return images


def test_heavier_tiers_are_better_by_distance_and_by_share_drawn_right(rows: tuple[Configuration, ...]) -> None:
    singles = [row for row in rows if row.light == row.heavy]
    quality, right = [row.quality for row in singles], [row.measures["score"] for row in singles]
    assert quality == sorted(quality, reverse=True)
    assert right == sorted(right)


def test_the_profile_is_what_the_spec_describes(run: Run, rows: tuple[Configuration, ...]) -> None:
    profile = read_manifest(SCENES.parent / "scenes.yaml").profile
    assert [tier.model_dump() for tier in run.spec.tiers] == [
        tier.model_dump(include=set(type(run.spec.tiers[0]).model_fields)) for tier in profile.spec.tiers
    ]
    cells = run.spec.grid**2
    assert sum(not row.best_of_two for row in rows) == 4 + 6 * cells
    assert sum(row.best_of_two for row in rows) <= 6 * cells
    assert run.spec.scorer in profile.spec.source
    assert read_prompts(run).texts == distinct_prompts(PROMPTS)


def test_the_models_are_small_enough_to_commit() -> None:
    assert sum(file.stat().st_size for file in SCENES.rglob("*") if file.is_file()) < 25e6


def test_harder_prompts_are_worse_on_light_and_the_discriminator_sees_it(run: Run) -> None:
    rng = random.Random(42)
    prompts = [str(random_scene(rng, things)) for things in (1, 2, 3, 4) for _ in range(100)]
    assert len(parse_scene(prompts[0]).things) == 1
    images = light_images(run, prompts)
    scores = SceneScorer(SCENES).scores(prompts, images)
    assert scores is not None
    by_things = scores.reshape(4, 100).mean(1)
    assert by_things[0] > by_things[1:].mean()
    assert by_things[:2].mean() > by_things[2:].mean()
    confidence = load_discriminator(SCENES / "discriminator").confidence(images, prompts, run.spec.tiers[0].name)
    assert area_under_curve(np.asarray(confidence), scores > 0) > 0.7


def test_scenes_are_read_from_their_captions() -> None:
    rng = random.Random(0)
    for _ in range(200):
        scene = random_scene(rng)
        assert parse_scene(str(scene)) == scene
    for wrong in ("", "a cat", "a big red circle top left", "the big red circle top left on white"):
        with pytest.raises(ValueError, match="is no scene"):
            parse_scene(wrong)
