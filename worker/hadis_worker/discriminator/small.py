"""A discriminator that is small and trained from nothing: for images that CLIP would not know what to make of."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hadis_worker.discriminator.base import CONFIG, WEIGHTS, Discriminator

PAD, UNKNOWN = 0, 1
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class SmallConfig:
    """What the network is made of, and its calibration."""

    vocabulary: tuple[str, ...]
    image_size: int = 32
    channels: tuple[int, ...] = (32, 64, 96)
    text_width: int = 64
    text_layers: int = 2
    joint_layers: int = 2
    max_tokens: int = 32
    temperature: float = 1.0
    shifts: Mapping[str, float] = field(default_factory=dict)


def _encoder(width: int, layers: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, nn.functional.silu, batch_first=True, norm_first=True)
    # Nested tensors would leave out the padding, and warn that they are a prototype.
    return nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)


def conv_stage(inputs: int, outputs: int) -> nn.Sequential:
    """Return convolutions that halve the width and the height."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
        nn.GroupNorm(8, outputs),
        nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.GroupNorm(8, outputs),
        nn.SiLU(),
    )


def pixels(images: Sequence[Image.Image], side: int) -> Tensor:
    """Return images as a tensor (n, 3, side, side) in -1..1, resized where they are of another size."""
    size = (side, side)
    fitted = (image if image.size == size else image.resize(size, Image.Resampling.BOX) for image in images)
    stacked = np.stack([np.asarray(image.convert("RGB"), np.float32) for image in fitted])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2) / 127.5 - 1


class SmallDiscriminator(Discriminator):
    """Image cells and words in one attention: a word looks for its object, a cell for the words about it.

    The image becomes a grid of cells (4x4 for 32 pixels), each with a learned place; the prompt goes through its own
    small encoder first. Both then attend to each other, and the mean of each feeds the verdict.
    """

    def __init__(self, config: SmallConfig) -> None:
        """Build the network with random weights."""
        super().__init__(config.temperature, config.shifts)
        self.config, self.image_size = config, config.image_size
        widths = (3, *config.channels)
        cells, width = (config.image_size // 2 ** len(config.channels)) ** 2, config.channels[-1]
        self.image = nn.Sequential(*(conv_stage(a, b) for a, b in itertools.pairwise(widths)))
        self.places = nn.Parameter(torch.randn(cells, width) * 0.02)
        self.words = nn.Embedding(len(config.vocabulary) + 2, config.text_width)
        self.positions = nn.Parameter(torch.randn(config.max_tokens, config.text_width) * 0.02)
        self.text = _encoder(config.text_width, config.text_layers)
        self.widen = nn.Linear(config.text_width, width)
        self.joint = _encoder(width, config.joint_layers)
        self.head = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 1))
        self._index = {word: i + 2 for i, word in enumerate(config.vocabulary)}

    def forward(self, seen: Tensor, read: Tensor) -> Tensor:
        """Return the logits (n,) that pixels (n, 3, size, size) in -1..1 are good enough for tokens (n, T)."""
        padding = read == PAD
        # An empty prompt keeps one token, for attention over nothing is not a number.
        padding = torch.cat([torch.zeros_like(padding[:, :1]), padding[:, 1:]], 1)
        text = self.text(self.words(read) + self.positions[: read.shape[1]], src_key_padding_mask=padding)
        cells = self.image(seen).flatten(2).transpose(1, 2) + self.places
        mask = torch.cat([torch.zeros(cells.shape[:2], dtype=torch.bool, device=padding.device), padding], 1)
        both = self.joint(torch.cat([cells, self.widen(text)], 1), src_key_padding_mask=mask)
        places, words = both[:, : cells.shape[1]], both[:, cells.shape[1] :]
        keep = (~padding).unsqueeze(-1).to(words.dtype)
        mean = (words * keep).sum(1) / keep.sum(1)
        logits: Tensor = self.head(torch.cat([places.mean(1), mean], 1)).squeeze(1)
        return logits

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Return word numbers (n, max_tokens): lower-case words, unknown ones 1, padded with 0, the rest cut off."""
        tokens = torch.full((len(prompts), self.config.max_tokens), PAD, dtype=torch.long)
        for row, prompt in zip(tokens, prompts, strict=True):
            for i, word in zip(range(self.config.max_tokens), _WORD.finditer(prompt.lower()), strict=False):
                row[i] = self._index.get(word.group(), UNKNOWN)
        return tokens

    def inputs(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return what `forward` reads: pixels and tokens."""
        return pixels(images, self.image_size), self.tokenize(prompts)

    def save(self, folder: Path) -> None:
        """Write `config.json` and `model.safetensors`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / WEIGHTS)
        values = asdict(replace(self.config, temperature=self.temperature, shifts=self.shifts))
        (folder / CONFIG).write_text(json.dumps(values, indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path, values: dict[str, Any]) -> Self:
        """Return the one in a folder whose configuration has these values."""
        known = values | {name: tuple(values[name]) for name in ("vocabulary", "channels") if name in values}
        network = cls(SmallConfig(**known))
        network.load_state_dict(load_file(folder / WEIGHTS))
        return network
