"""The discriminator: a small network that tells from an image and its prompt whether a light image is good enough.

It runs in the worker, in the same call as the light tier, so that pixels stay here. The profiler trains it and
imports this network; the folder it writes is `config.json` beside `model.safetensors`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

PAD, UNKNOWN = 0, 1
_WORD = re.compile(r"\w+")
CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class DiscriminatorConfig:
    """What the network is made of, and its calibration."""

    vocabulary: tuple[str, ...]
    image_size: int = 32
    channels: tuple[int, ...] = (32, 64, 96)
    text_width: int = 64
    text_layers: int = 2
    joint_layers: int = 2
    max_tokens: int = 32
    temperature: float = 1.0

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the configuration in a JSON file; raise ValueError for one that does not fit."""
        try:
            values = json.loads(path.read_text("utf-8"))
            config = cls(**values)
            config = replace(config, vocabulary=tuple(config.vocabulary), channels=tuple(config.channels))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: is no discriminator's configuration: {error}") from None
        if not config.temperature > 0:
            raise ValueError(f"{path}: temperature must be over 0, is {config.temperature}")
        return config


def _encoder(width: int, layers: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, nn.functional.silu, batch_first=True, norm_first=True)
    # Nested tensors would leave out the padding, and warn that they are a prototype.
    return nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    """Return convolutions that halve the width and the height."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
        nn.GroupNorm(8, outputs),
        nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.GroupNorm(8, outputs),
        nn.SiLU(),
    )


class Discriminator(nn.Module):
    """Image cells and words in one attention: a word looks for its object, a cell for the words about it.

    The image becomes a grid of cells (4x4 for 32 pixels), each with a learned place; the prompt goes through its own
    small encoder first. Both then attend to each other, and the mean of each feeds the verdict.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = config
        widths = (3, *config.channels)
        cells, width = (config.image_size // 2 ** len(config.channels)) ** 2, config.channels[-1]
        self.image = nn.Sequential(*(_stage(a, b) for a, b in itertools.pairwise(widths)))
        self.places = nn.Parameter(torch.randn(cells, width) * 0.02)
        self.words = nn.Embedding(len(config.vocabulary) + 2, config.text_width)
        self.positions = nn.Parameter(torch.randn(config.max_tokens, config.text_width) * 0.02)
        self.text = _encoder(config.text_width, config.text_layers)
        self.widen = nn.Linear(config.text_width, width)
        self.joint = _encoder(width, config.joint_layers)
        self.head = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 1))
        self._index = {word: i + 2 for i, word in enumerate(config.vocabulary)}

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        """Return the logits (n,) that images (n, 3, size, size) in -1..1 are good enough for tokens (n, T)."""
        padding = tokens == PAD
        # An empty prompt keeps one token, for attention over nothing is not a number.
        padding = torch.cat([torch.zeros_like(padding[:, :1]), padding[:, 1:]], 1)
        text = self.text(self.words(tokens) + self.positions[: tokens.shape[1]], src_key_padding_mask=padding)
        cells = self.image(images).flatten(2).transpose(1, 2) + self.places
        mask = torch.cat([torch.zeros(cells.shape[:2], dtype=torch.bool, device=padding.device), padding], 1)
        both = self.joint(torch.cat([cells, self.widen(text)], 1), src_key_padding_mask=mask)
        seen, read = both[:, : cells.shape[1]], both[:, cells.shape[1] :]
        keep = (~padding).unsqueeze(-1).to(read.dtype)
        read = (read * keep).sum(1) / keep.sum(1)
        logits: Tensor = self.head(torch.cat([seen.mean(1), read], 1)).squeeze(1)
        return logits

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Return word numbers (n, max_tokens): lower-case words, unknown ones 1, padded with 0, the rest cut off."""
        tokens = torch.full((len(prompts), self.config.max_tokens), PAD, dtype=torch.long)
        for row, prompt in zip(tokens, prompts, strict=True):
            for i, word in zip(range(self.config.max_tokens), _WORD.finditer(prompt.lower()), strict=False):
                row[i] = self._index.get(word.group(), UNKNOWN)
        return tokens

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """Return images as a tensor (n, 3, size, size) in -1..1, resized where they are of another size."""
        size = (self.config.image_size, self.config.image_size)
        fitted = (image if image.size == size else image.resize(size, Image.Resampling.BOX) for image in images)
        stacked = np.stack([np.asarray(image.convert("RGB"), np.float32) for image in fitted])
        return torch.from_numpy(stacked).permute(0, 3, 1, 2) / 127.5 - 1

    @torch.inference_mode()
    def confidence(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> list[float]:
        """Return the calibrated probability (0..1) that each image is good enough for its prompt."""
        if not images:
            return []
        device = self.places.device
        logits = self(self.pixels(images).to(device), self.tokenize(prompts).to(device))
        values: list[float] = torch.sigmoid(logits.float() / self.config.temperature).tolist()
        return values

    def calibrate(self, temperature: float) -> None:
        """Set what logits are divided by before they become a probability (Guo et al. 2017, section 4.2)."""
        if not temperature > 0:
            raise ValueError(f"temperature must be over 0, is {temperature}")
        self.config = replace(self.config, temperature=temperature)

    def save(self, folder: Path) -> None:
        """Write `config.json` and `model.safetensors` to a folder, made where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps(asdict(self.config), indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the network that a folder holds, ready to judge; raise OSError or ValueError."""
        network = cls(DiscriminatorConfig.read(folder / CONFIG))
        try:
            network.load_state_dict(load_file(folder / WEIGHTS))
        except RuntimeError as error:
            raise ValueError(f"{folder}: the weights do not fit {CONFIG}: {error}") from None
        return network.eval()
