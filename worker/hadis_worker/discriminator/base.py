"""What every discriminator is: inputs from images and prompts, a logit for each, and a calibrated confidence."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor, nn

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Discriminator(nn.Module, abc.ABC):
    """Tells how sure it is that images are good enough for their prompts."""

    image_size: int
    """Pixels of an edge that it looks at."""

    def __init__(self, temperature: float, shifts: Mapping[str, float]) -> None:
        """Take how logits become probabilities: see `calibrate`."""
        super().__init__()
        self.calibrate(temperature, shifts)

    @abc.abstractmethod
    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return what `forward` reads of images and prompts, each with n rows."""

    @abc.abstractmethod
    def forward(self, seen: Tensor, read: Tensor) -> Tensor:
        """Return the logits (n,) that images are good enough for their prompts."""

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything that `load_discriminator` needs to a folder, made where it is missing."""

    @classmethod
    @abc.abstractmethod
    def load(cls, folder: Path, values: dict[str, Any]) -> Self:
        """Return the one in a folder, with the values of its configuration; raise OSError or what torch raises."""

    @torch.inference_mode()
    def confidence(self, images: Sequence[Image.Image], prompts: Sequence[str], tier: str) -> list[float]:
        """Return the calibrated probability (0..1) that each image of a tier is good enough for its prompt."""
        if not images:
            return []
        device = next(self.parameters()).device
        logits = self(*(part.to(device) for part in self.inputs(images, prompts)))
        values: list[float] = torch.sigmoid(logits.float() / self.temperature + self.shifts.get(tier, 0.0)).tolist()
        return values

    def calibrate(self, temperature: float, shifts: Mapping[str, float]) -> None:
        """Set what logits are divided by before they become a probability (Guo et al. 2017, section 4.2).

        `shifts` are added then, by tier: what looks alike is good more often where a better tier made it.
        """
        if not temperature > 0:
            raise ValueError(f"temperature must be over 0, is {temperature}")
        self.temperature, self.shifts = temperature, dict(shifts)
