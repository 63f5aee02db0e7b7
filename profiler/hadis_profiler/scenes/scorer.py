"""The scorer of the example models: what the judge sees in a picture beside what its caption asks for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from hadis.cli.scenes import parse_scene
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file

from hadis_profiler.scenes.draw import draw
from hadis_profiler.scenes.judge import Judge, judge_pictures
from hadis_profiler.scenes.measure import conditions

Array = NDArray[np.float64]


class SceneScorer:
    """Features are what the judge sees joined with what was asked for (DeVries et al. 2019); the score is 1 or 0."""

    def __init__(self, folder: Path) -> None:
        """Load the judge of a folder of scenes' models."""
        self._judge = Judge().eval()
        self._judge.load_state_dict(load_file(folder / "judge.safetensors"))

    def features(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Array:
        """Return the joint features (n, d)."""
        return self._join(prompts, _tensor(images))

    def scores(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Array | None:
        """Return 1 for a picture with every thing's shape, colour and place right, else 0."""
        return judge_pictures(self._judge, [parse_scene(p) for p in prompts], _tensor(images))[0].astype(float)

    def reference(self, prompts: Sequence[str]) -> Array:
        """Return the features of pictures that are drawn right."""
        scenes = [parse_scene(prompt) for prompt in prompts]
        return self._join(prompts, draw(scenes, random.Random(0)))

    def _join(self, prompts: Sequence[str], pictures: torch.Tensor) -> Array:
        scenes = [parse_scene(prompt) for prompt in prompts]
        seen = judge_pictures(self._judge, scenes, pictures)[1].double().numpy()
        return np.hstack([seen, conditions(scenes)])


def _tensor(images: Sequence[Image.Image]) -> torch.Tensor:
    stacked = np.stack([np.asarray(image.convert("RGB"), np.float32) for image in images])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2) / 127.5 - 1
