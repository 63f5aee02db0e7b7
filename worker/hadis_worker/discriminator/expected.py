"""A discriminator that knows what a scorer would see: in the image, and in good images of its prompt.

A scorer measures images by features, and can take a hundred times as long as a light image. What it sees in an image
is learnt by a small network of its pixels; what it sees in good images of a prompt by one of the states of a text
encoder. How far the two are apart says how wrong the image is, and needs few prompts to be learnt: every image teaches
all of its features, where good or poor is a single bit.
"""

from __future__ import annotations

import itertools
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
from hadis_worker.discriminator.small import conv_stage, pixels
from hadis_worker.discriminator.text_states import TextStates

_LEAST = 1e-3
"""Of a squared difference, before its logarithm is taken."""


@dataclass(frozen=True)
class ExpectedConfig:
    """What the networks are made of, and the calibration."""

    features: int
    """Numbers that the scorer sees in an image."""
    image_size: int = 32
    channels: tuple[int, ...] = (32, 64)
    queries: int = 8
    """Questions that the words of a prompt are asked (attention with learnt queries)."""
    width: int = 256
    dropout: float = 0.1
    temperature: float = 1.0
    shifts: Mapping[str, float] = field(default_factory=dict)


class ExpectedDiscriminator(Discriminator):
    """Logits from the difference between what is seen in an image and what its prompt makes expect."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ExpectedConfig, text: TextStates) -> None:
        """Build the networks with random weights, over a text encoder that is not trained."""
        super().__init__(config.temperature, config.shifts)
        self.config, self.image_size, self.text = config, config.image_size, text
        cells = (config.image_size // 2 ** len(config.channels)) ** 2 * config.channels[-1]
        stages = (conv_stage(a, b) for a, b in itertools.pairwise((3, *config.channels)))
        self.trunk = nn.Sequential(
            *stages, nn.Flatten(), nn.Linear(cells, config.width), nn.SiLU(), nn.Linear(config.width, config.features)
        )
        self.norm = nn.LayerNorm(text.width)
        self.queries = nn.Parameter(torch.randn(config.queries, text.width) * 0.1)
        self.keys, self.values = nn.Linear(text.width, text.width), nn.Linear(text.width, text.width)
        self.guess = nn.Sequential(
            nn.LayerNorm(config.queries * text.width),
            nn.Dropout(config.dropout),
            nn.Linear(config.queries * text.width, config.width),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.width, config.features),
        )
        self.verdict = nn.Linear(2, 1)
        self.register_buffer("mean", torch.zeros(config.features))
        self.register_buffer("std", torch.ones(config.features))

    def expected(self, read: Tensor) -> Tensor:
        """Return the features (n, d), less their mean and through their deviation, of good images of states."""
        states, nothing = self.norm(read), (read == 0).all(-1)
        scores = torch.einsum("qw,ntw->nqt", self.queries, self.keys(states)) / states.shape[-1] ** 0.5
        attention = scores.masked_fill(nothing.unsqueeze(1), torch.finfo(scores.dtype).min).softmax(-1)
        guess: Tensor = self.guess((attention @ self.values(states)).flatten(1))
        return guess

    def compare(self, seen: Tensor, expected: Tensor) -> Tensor:
        """Return the logits (n,) of features seen and expected (n, d): by their distance and its largest part."""
        squares = (seen - expected) ** 2
        measures = torch.stack([squares.sum(-1), squares.max(-1).values], -1)
        logits: Tensor = self.verdict((measures + _LEAST).log()).squeeze(-1)
        return logits

    def forward(self, seen: Tensor, read: Tensor) -> Tensor:
        """Return the logits (n,) that pixels (n, 3, size, size) in -1..1 are good enough for states (n, T, w)."""
        return self.compare(self.trunk(seen), self.expected(read))

    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return what `forward` reads: pixels and the states of the prompts' words."""
        return pixels(images, self.image_size), self.text.read(prompts)

    def save(self, folder: Path) -> None:
        """Write the networks, the configuration and the text encoder to a folder."""
        self.text.save(folder)
        own = {name: value.contiguous() for name, value in self.state_dict().items() if not name.startswith("text.")}
        save_file(own, folder / WEIGHTS)
        values = {"features": "expected"} | {
            "config": asdict(replace(self.config, temperature=self.temperature, shifts=self.shifts))
        }
        (folder / CONFIG).write_text(json.dumps(values, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path, values: dict[str, Any]) -> Self:
        """Return the one in a folder whose configuration has these values."""
        known = values["config"] | {"channels": tuple(values["config"]["channels"])}
        network = cls(ExpectedConfig(**known), TextStates.of(str(folder)))
        missing, unknown = network.load_state_dict(load_file(folder / WEIGHTS), strict=False)
        lacking = [name for name in missing if not name.startswith("text.")]
        if lacking or unknown:
            raise RuntimeError(f"it lacks {lacking} and has {unknown}")
        return network
