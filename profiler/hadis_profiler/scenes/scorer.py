"""The scorer of the example models: what a classifier sees in a picture, beside what its caption says."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from hadis.cli.scenes import Scene, parse_scene, random_scene
from numpy.typing import NDArray
from PIL import Image

from hadis_profiler.scenes.classifier import SceneClassifier, conditions
from hadis_profiler.scenes.draw import draw

Array = NDArray[np.float64]
WEIGHTS = "classifier.safetensors"
_SCALE_SCENES = 500
"""Drawn scenes that the scale of the condition's half is taken from."""


class SceneScorer:
    """Features of image and caption joined, so that a good picture of another scene counts as wrong.

    The distance on them is the Fréchet joint distance (DeVries et al. 2019, On the evaluation of conditional GANs,
    section 4): the condition's half is scaled by alpha, the mean norm of the image features over the mean norm of
    the conditions, both of real pictures, so that the halves weigh alike. Without it, how far a picture is from its
    caption counts more or less by how many numbers happen to encode a caption. Alpha comes from drawn scenes that are
    the same in every run, so that distances of different sets of prompts can be compared.
    """

    def __init__(self, folder: Path) -> None:
        """Load the classifier of a folder of scenes' models."""
        self._classifier = SceneClassifier.load(folder / WEIGHTS)
        rng = random.Random(0)
        scenes = [random_scene(rng) for _ in range(_SCALE_SCENES)]
        images = self._classifier.read(draw(scenes, rng)).probabilities
        self._alpha = _mean_norm(images) / _mean_norm(conditions(scenes))

    def features(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Array:
        """Return the joint features (n, d)."""
        return self._join(_scenes(prompts), as_pictures(images))

    def scores(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Array | None:
        """Return 1 for a picture with every thing's shape, colour and place right, else 0."""
        return self._classifier.read(as_pictures(images)).shows(_scenes(prompts)).astype(float)

    def reference(self, prompts: Sequence[str]) -> Array:
        """Return the features of pictures that are drawn right."""
        scenes = _scenes(prompts)
        return self._join(scenes, draw(scenes, random.Random(0)))

    def _join(self, scenes: Sequence[Scene], pictures: torch.Tensor) -> Array:
        return np.hstack([self._classifier.read(pictures).probabilities, self._alpha * conditions(scenes)])


def as_pictures(images: Sequence[Image.Image]) -> torch.Tensor:
    """Return images as the classifier reads them: (n, 3, 32, 32) in -1..1."""
    stacked = np.stack([np.asarray(image.convert("RGB"), np.float32) for image in images])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2) / 127.5 - 1


def _scenes(prompts: Sequence[str]) -> list[Scene]:
    return [parse_scene(prompt) for prompt in prompts]


def _mean_norm(features: Array) -> float:
    return float(np.linalg.norm(features, axis=1).mean())
