"""The four tiers of the example cascade, and their pictures of given scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from hadis.cli.scenes import Scene

from hadis_profiler.scenes.draw import PIXELS


@dataclass(frozen=True)
class SceneTier:
    """A trained model with its steps and guidance."""

    name: str
    model: str
    steps: int
    guidance: float


TIERS = (
    SceneTier("scenes-small-1", "small", 1, 1.0),
    SceneTier("scenes-small-8", "small", 8, 1.5),
    SceneTier("scenes-large-8", "large", 8, 1.0),
    SceneTier("scenes-large-50", "large", 50, 3.0),
)


def paint(tier: SceneTier, folder: Path, scenes: Sequence[Scene], seed: int = 0, batch: int = 50) -> torch.Tensor:
    """Return a tier's pictures (n, 3, 32, 32) in -1..1; picture i has the seed `seed + i`."""
    pipeline = DiffusionPipeline.from_pretrained(folder / tier.model, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    parts = []
    for start in range(0, len(scenes), batch):
        some = scenes[start : start + batch]
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(some))]
        parts.append(
            pipeline(
                [str(scene) for scene in some],
                num_inference_steps=tier.steps,
                guidance_scale=tier.guidance,
                height=PIXELS,
                width=PIXELS,
                output_type="pt",
                generator=generators,
            ).images
        )
    # What a user gets has 256 levels a channel; so has what is judged.
    return (torch.cat(parts) * 255).round() / 127.5 - 1
