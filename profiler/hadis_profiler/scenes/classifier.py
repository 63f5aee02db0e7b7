"""A small classifier of scene pictures: it names each corner's shape, colour and size, and the background.

Its probabilities are the features that the Fréchet distance is measured on; its answers say whether a picture shows
the scene of its caption.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from hadis.cli.scenes import BACKGROUNDS, COLOURS, CORNERS, SHAPES, SIZES, Scene, random_scene
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from hadis_profiler.scenes.draw import draw

_NOTHING = len(SHAPES)
_HEADS = (len(SHAPES) + 1, len(COLOURS), len(SIZES))


def labels(scenes: Sequence[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (n, 4 corners, 3) of shape, colour and size (the last two -1 where nothing is), and (n,) backgrounds."""
    corners = torch.full((len(scenes), len(CORNERS), 3), -1)
    corners[:, :, 0] = _NOTHING
    for i, scene in enumerate(scenes):
        for thing in scene.things:
            corners[i, thing.corner] = torch.tensor([thing.shape, thing.colour, thing.size])
    return corners, torch.tensor([scene.background for scene in scenes])


@dataclass(frozen=True)
class Reading:
    """What the classifier sees in n pictures: its answers, and how sure it is of each."""

    corners: torch.Tensor
    """The likeliest shape and colour of each corner (n, 4, 2)."""
    background: torch.Tensor
    """The likeliest background (n,)."""
    probabilities: NDArray[np.float64]
    """Of each shape, colour and size in each corner, and of each background (n, 52)."""

    def shows(self, scenes: Sequence[Scene]) -> NDArray[np.bool_]:
        """Return whether each picture has every thing's shape, colour and place right (and nothing else)."""
        corners, background = labels(scenes)
        shape, colour = self.corners.unbind(-1)
        same_colour = (colour == corners[:, :, 1]) | (corners[:, :, 1] < 0)
        right = ((shape == corners[:, :, 0]) & same_colour).all(1) & (self.background == background)
        return np.asarray(right.numpy())


class SceneClassifier(nn.Module):
    """Pictures (n, 3, 32, 32) in -1..1 to logits per corner and of the background."""

    def __init__(self) -> None:
        """Make an untrained classifier."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 32, 3, 1, 1),
            nn.SiLU(),
            nn.Conv2d(32, 48, 3, 2, 1),
            nn.GroupNorm(8, 48),
            nn.SiLU(),
            nn.Conv2d(48, 64, 3, 2, 1),
            nn.GroupNorm(8, 64),
            nn.SiLU(),
            nn.Conv2d(64, 64, 3, 1, 1),
            nn.SiLU(),
        )
        self.squeeze = nn.Sequential(nn.Conv2d(64, 16, 1), nn.Flatten(), nn.Linear(16 * 64, 64), nn.Tanh())
        self.corner = nn.Sequential(nn.Linear(64 * 16 + 64, 128), nn.SiLU(), nn.Linear(128, sum(_HEADS)))
        self.background = nn.Linear(64, len(BACKGROUNDS))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return a trained classifier from its safetensors file."""
        classifier = cls()
        classifier.load_state_dict(load_file(path))
        return classifier.eval()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return corner logits (n, 4, 12) and background logits (n, 4)."""
        cells = self.body(images)
        whole = self.squeeze(cells)
        corners = [cells[:, :, y : y + 4, x : x + 4].flatten(1) for y in (0, 4) for x in (0, 4)]
        stacked = torch.stack([torch.cat([corner, whole], 1) for corner in corners], 1)
        return self.corner(stacked), self.background(whole)

    @torch.no_grad()
    def read(self, images: torch.Tensor) -> Reading:
        """Return what is seen in pictures."""
        guess, ground = self(images)
        heads = guess.split(list(_HEADS), -1)
        corners = torch.stack([heads[0].argmax(-1), heads[1].argmax(-1)], -1)
        shape = torch.softmax(heads[0], -1)
        # An empty corner has no colour and no size, whatever the other heads say of it.
        occupied = 1 - shape[..., _NOTHING:]
        parts = [shape, *(occupied * torch.softmax(head, -1) for head in heads[1:])]
        probabilities = torch.cat([*(part.flatten(1) for part in parts), torch.softmax(ground, -1)], 1)
        return Reading(corners, ground.argmax(-1), probabilities.double().numpy())


def conditions(scenes: Sequence[Scene]) -> NDArray[np.float64]:
    """Return the scenes as numbers (n, d): each corner's shape, colour and size, and the background, one-hot."""
    corners, background = labels(scenes)
    one_hot = nn.functional.one_hot
    # Index 0 stands for "nothing there" in colour and size; shape has its own.
    parts = [one_hot(corners[:, :, k] + (k > 0), n).flatten(1) for k, n in enumerate((4, 7, 3))]
    return torch.cat([*parts, one_hot(background, len(BACKGROUNDS))], 1).double().numpy()


def train_classifier(steps: int = 900, seed: int = 0) -> SceneClassifier:
    """Return a classifier trained on drawn pictures with a little noise, so that it reads generated ones."""
    torch.manual_seed(seed)
    rng, classifier = random.Random(seed), SceneClassifier()
    optimizer = torch.optim.AdamW(classifier.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        scenes = [random_scene(rng) for _ in range(96)]
        images = draw(scenes, rng)
        images = images + torch.randn_like(images) * torch.rand(len(images), 1, 1, 1) * 0.12
        corners, background = labels(scenes)
        guess, ground = classifier(images)
        loss = nn.functional.cross_entropy(ground, background)
        for part, head in enumerate(guess.split(list(_HEADS), -1)):
            loss = loss + nn.functional.cross_entropy(
                head.flatten(0, 1), corners[:, :, part].flatten(), ignore_index=-1
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return classifier.eval()
