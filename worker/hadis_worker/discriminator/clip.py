"""A discriminator with CLIP's features: image and prompt as CLIP embeds them, and a small head that is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hadis_worker.discriminator.base import CONFIG, WEIGHTS, Discriminator

_CLIP = "clip"


def embed(model: Any, processor: Any, images: Sequence[Image.Image], prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return a CLIPModel's embeddings (n, d) of images and prompts, each of length 1."""
    pictures = [image.convert("RGB") for image in images]
    read = processor(text=list(prompts), images=pictures, return_tensors="pt", padding=True, truncation=True)
    out = model(**read.to(model.device))
    return out.image_embeds.float(), out.text_embeds.float()


@dataclass(frozen=True)
class ClipConfig:
    """What the head is made of, and its calibration."""

    width: int = 256
    temperature: float = 1.0
    shifts: Mapping[str, float] = field(default_factory=dict)


class ClipDiscriminator(Discriminator):
    """A head over CLIP's embeddings of image and prompt and their product, whose sum is CLIP's own score.

    CLIP itself is not trained; it is saved with the head, so that a folder is all that a worker needs.
    """

    def __init__(self, config: ClipConfig, model: Any, processor: Any) -> None:
        """Take a CLIPModel and its CLIPProcessor; the head gets random weights."""
        super().__init__(config.temperature, config.shifts)
        self.config = config
        self.image_size = int(model.config.vision_config.image_size)
        self.clip, self._processor = model.eval().requires_grad_(False), processor
        size = int(model.config.projection_dim)
        self.head = nn.Sequential(nn.Linear(3 * size, config.width), nn.SiLU(), nn.Linear(config.width, 1))

    @classmethod
    def of(cls, source: str, config: ClipConfig) -> Self:
        """Return an untrained one over a CLIP model of a folder or repository; raise OSError or ValueError."""
        from transformers import CLIPModel, CLIPProcessor

        return cls(config, CLIPModel.from_pretrained(source), CLIPProcessor.from_pretrained(source))

    @torch.no_grad()
    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return CLIP's embeddings (n, d) of images and prompts, each of length 1."""
        return embed(self.clip, self._processor, images, prompts)

    def forward(self, seen: Tensor, read: Tensor) -> Tensor:
        """Return the logits (n,) of embeddings (n, d)."""
        # Numbers of an embedding of length 1 are small; a head learns from those near 1.
        scale = seen.shape[1] ** 0.5
        logits: Tensor = self.head(torch.cat([seen * scale, read * scale, seen * read * scale**2], 1)).squeeze(1)
        return logits

    def save(self, folder: Path) -> None:
        """Write head, configuration and CLIP to a folder."""
        self.clip.save_pretrained(folder / _CLIP)
        self._processor.save_pretrained(folder / _CLIP)
        save_file({name: value.contiguous() for name, value in self.head.state_dict().items()}, folder / WEIGHTS)
        values = {"features": "clip"} | asdict(replace(self.config, temperature=self.temperature, shifts=self.shifts))
        (folder / CONFIG).write_text(json.dumps(values, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path, values: dict[str, Any]) -> Self:
        """Return the one in a folder whose configuration has these values."""
        network = cls.of(str(folder / _CLIP), ClipConfig(**values))
        network.head.load_state_dict(load_file(folder / WEIGHTS))
        return network
