"""The judge of scene pictures: a small classifier that names each corner's shape, colour and size, and the background.

Its features give the Fréchet distance of a configuration; its answers say whether a scene was drawn right.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from hadis.cli.scenes import BACKGROUNDS, COLOURS, CORNERS, SHAPES, SIZES, Scene, random_scene
from numpy.typing import NDArray
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


class Judge(nn.Module):
    """Pictures (n, 3, 32, 32) in -1..1 to logits a corner, logits of the background, and features (n, 64)."""

    def __init__(self) -> None:
        """Make an untrained judge."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 32, 3, 1, 1), nn.SiLU(), nn.Conv2d(32, 48, 3, 2, 1), nn.GroupNorm(8, 48), nn.SiLU(),
            nn.Conv2d(48, 64, 3, 2, 1), nn.GroupNorm(8, 64), nn.SiLU(), nn.Conv2d(64, 64, 3, 1, 1), nn.SiLU(),
        )  # fmt: skip
        self.squeeze = nn.Sequential(nn.Conv2d(64, 16, 1), nn.Flatten(), nn.Linear(16 * 64, 64), nn.Tanh())
        self.corner = nn.Sequential(nn.Linear(64 * 16 + 64, 128), nn.SiLU(), nn.Linear(128, sum(_HEADS)))
        self.background = nn.Linear(64, len(BACKGROUNDS))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return corner logits (n, 4, 12), background logits (n, 4) and features (n, 64)."""
        cells = self.body(images)
        features = self.squeeze(cells)
        corners = [cells[:, :, y : y + 4, x : x + 4].flatten(1) for y in (0, 4) for x in (0, 4)]
        stacked = torch.stack([torch.cat([corner, features], 1) for corner in corners], 1)
        return self.corner(stacked), self.background(features), features


def train_judge(steps: int = 900, seed: int = 0) -> Judge:
    """Return a judge trained on drawn pictures, slightly blurred and noised so that it reads generated ones."""
    torch.manual_seed(seed)
    rng, judge = random.Random(seed), Judge()
    optimizer = torch.optim.AdamW(judge.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        scenes = [random_scene(rng) for _ in range(96)]
        images = draw(scenes, rng)
        images = images + torch.randn_like(images) * torch.rand(len(images), 1, 1, 1) * 0.12
        corners, background = labels(scenes)
        guess, ground, _ = judge(images)
        loss = nn.functional.cross_entropy(ground, background)
        for part, head in enumerate(guess.split(list(_HEADS), -1)):
            loss = loss + nn.functional.cross_entropy(
                head.flatten(0, 1), corners[:, :, part].flatten(), ignore_index=-1
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return judge.eval()


@torch.no_grad()
def judge_pictures(
    judge: Judge, scenes: Sequence[Scene], images: torch.Tensor
) -> tuple[NDArray[np.bool_], torch.Tensor]:
    """Return whether each picture has every thing's shape, colour and place right (and nothing else), and features.

    The features (n, 52) are the probabilities that the judge gives to each shape, colour and size in each corner and to
    each background: what it sees, not how sharply.
    """
    guess, ground, _ = judge(images)
    heads = guess.split(list(_HEADS), -1)
    shape, colour, _ = (head.argmax(-1) for head in heads)
    corners, background = labels(scenes)
    same_colour = (colour == corners[:, :, 1]) | (corners[:, :, 1] < 0)
    right = ((shape == corners[:, :, 0]) & same_colour).all(1) & (ground.argmax(-1) == background)
    seen = torch.softmax(heads[0], -1)
    # An empty corner has no colour and no size, whatever the judge would guess.
    there = 1 - seen[..., _NOTHING:]
    parts = [seen, *(there * torch.softmax(head, -1) for head in heads[1:])]
    features = torch.cat([*(part.flatten(1) for part in parts), torch.softmax(ground, -1)], 1)
    return right.numpy(), features


def frechet(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the Fréchet distance of two sets of features (n, d) as Gaussians (Heusel et al. 2017, equation 6)."""
    mean, cov_a, cov_b = a.mean(0) - b.mean(0), np.cov(a.T), np.cov(b.T)
    # The trace of the square root of a product of covariances is the sum of the roots of its eigenvalues.
    roots = np.sqrt(np.clip(np.linalg.eigvals(cov_a @ cov_b).real, 0, None)).sum()
    return float(mean @ mean + np.trace(cov_a) + np.trace(cov_b) - 2 * roots)
