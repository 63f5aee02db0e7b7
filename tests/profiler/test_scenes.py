"""What the example cascade must be for the demo to mean anything, on its committed weights and its measured profile."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hadis.api.manifest import read_manifest
from hadis.api.resources import Configuration
from hadis.cli.scenes import random_scene
from hadis_profiler.scenes.discriminate import area_under_curve
from hadis_profiler.scenes.judge import Judge, judge_pictures
from hadis_profiler.scenes.tiers import TIERS, paint
from hadis_worker.discriminator import SmallDiscriminator, load_discriminator
from safetensors.torch import load_file

SCENES = Path(__file__).parents[2] / "examples" / "scenes"


@pytest.fixture(scope="module")
def singles() -> list[Configuration]:
    """Each tier alone, as measured, from light to heavy."""
    rows = read_manifest(SCENES.parent / "scenes.yaml").profile.spec.configurations
    return [row for row in rows if row.light == row.heavy]


def test_heavier_tiers_are_better_by_distance_and_by_share_drawn_right(singles: list[Configuration]) -> None:
    quality = [row.quality for row in singles]
    right = [row.measures["right"] for row in singles]
    assert quality == sorted(quality, reverse=True)
    assert right == sorted(right)


def test_the_models_are_small_enough_to_commit() -> None:
    assert sum(file.stat().st_size for file in SCENES.rglob("*") if file.is_file()) < 25e6


def test_harder_prompts_are_worse_on_light_and_the_discriminator_sees_it() -> None:
    judge = Judge().eval()
    judge.load_state_dict(load_file(SCENES / "judge.safetensors"))
    discriminator = load_discriminator(SCENES / "discriminator")
    assert isinstance(discriminator, SmallDiscriminator)
    rng = random.Random(42)
    scenes = [random_scene(rng, things) for things in (1, 2, 3, 4) for _ in range(100)]
    pictures = paint(TIERS[0], SCENES, scenes, seed=5_000_000)
    good = judge_pictures(judge, scenes, pictures)[0]
    by_things = good.reshape(4, 100).mean(1)
    assert by_things[0] > by_things[1:].mean()
    assert by_things[:2].mean() > by_things[2:].mean()
    with torch.no_grad():
        logits = discriminator(pictures, discriminator.tokenize([str(scene) for scene in scenes])).double().numpy()
    assert area_under_curve(np.asarray(logits), good) > 0.8
