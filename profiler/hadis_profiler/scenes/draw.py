"""Scenes as pictures: 32x32 RGB in -1..1, drawn by signed distances so that edges are smooth."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from hadis.cli.scenes import Scene

PIXELS = 32
_RGB = torch.tensor(
    [[220, 40, 40], [40, 160, 60], [50, 80, 220], [240, 210, 40], [150, 60, 180], [245, 140, 30]], dtype=torch.float32
)
_BACKGROUND = torch.tensor([[250, 250, 250], [15, 15, 15], [130, 130, 130], [245, 170, 200]], dtype=torch.float32)
_RADIUS = (3.4, 6.4)
_CENTRES = torch.tensor([[8.0, 8.0], [24.0, 8.0], [8.0, 24.0], [24.0, 24.0]])


def _distance(shape: int, x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
    """Return the signed distance (pixels, negative inside) of points to a shape at the origin."""
    if shape == 0:
        return torch.sqrt(x * x + y * y) - radius
    if shape == 1:
        return torch.maximum(x.abs(), y.abs()) - radius * 0.88
    # A triangle that points up: below its two slopes, above its base.
    return torch.maximum(y - radius * 0.8, x.abs() * 0.87 - y * 0.5 - radius * 0.6)


def draw(scenes: Sequence[Scene], rng: random.Random) -> torch.Tensor:
    """Return pictures of shape (n, 3, 32, 32) in -1..1; places, sizes and shades vary a little."""
    axis = torch.arange(PIXELS, dtype=torch.float32) + 0.5
    grid_y, grid_x = torch.meshgrid(axis, axis, indexing="ij")
    pictures = []
    for scene in scenes:
        picture = _BACKGROUND[scene.background].view(3, 1, 1).expand(3, PIXELS, PIXELS)
        for thing in scene.things:
            centre = _CENTRES[thing.corner]
            x = grid_x - centre[0] - rng.uniform(-0.8, 0.8)
            y = grid_y - centre[1] - rng.uniform(-0.8, 0.8)
            inside = (0.5 - _distance(thing.shape, x, y, _RADIUS[thing.size] * rng.uniform(0.95, 1.05))).clamp(0, 1)
            colour = (_RGB[thing.colour] + rng.uniform(-8, 8)).view(3, 1, 1)
            picture = picture * (1 - inside) + colour * inside
        pictures.append(picture)
    return torch.stack(pictures) / 127.5 - 1
