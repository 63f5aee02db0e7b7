"""Modules (text encoders, VAEs, denoisers) by what they were made of, so that each is in memory once for all tiers."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from hadis_worker.loading.tensors import Contents

_WEIGHTS = (".safetensors", ".bin")
_NOTES = ("_name_or_path", "_diffusers_version", "transformers_version", "torch_dtype", "dtype")
"""What a config says beside what the module is."""


@dataclass(frozen=True)
class Fused:
    """A LoRA that is part of the weights."""

    file: Path
    scale: float


@dataclass(frozen=True)
class Recipe:
    """What a module is made of."""

    config: str
    """What the config says of the module, as JSON."""
    config_file: Path
    weights: tuple[Path, ...]
    dtype: torch.dtype
    loras: tuple[Fused, ...] = ()
    treatment: str = ""
    """What is done to the weights; see `speed.treatments`."""
    hooks: str = ""
    """What is hung on the module, and leaves the weights as they are."""


def recipe(config: Path, weights: tuple[Path, ...], dtype: torch.dtype) -> Recipe:
    """Return the recipe of a module from its config and its files, wherever they are."""
    document = {k: v for k, v in json.loads(config.read_text("utf-8")).items() if k not in _NOTES}
    return Recipe(json.dumps(document, sort_keys=True), config, weights, dtype)


def weights_of(folder: Path, variant: str | None) -> tuple[Path, ...]:
    """Return the weights of a module's folder that are loaded for a variant; those without one where it has none."""
    files = sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS)
    plain = tuple(path for path in files if "." not in path.stem)
    named = tuple(path for path in files if variant and f".{variant}" in path.stem)
    return named or plain


class Modules:
    """The modules that tiers have loaded."""

    def __init__(self) -> None:
        """Hold none yet."""
        self._held: list[tuple[Recipe, torch.nn.Module]] = []
        self._bare: list[tuple[Recipe, torch.nn.Module]] = []
        """The same without what is hung on them."""
        self._contents = Contents()

    def find(self, recipe: Recipe) -> torch.nn.Module | None:
        """Return the module that was made of the same, also where the files are another copy of them.

        Where only what is hung on it differs, it is a new module that has the weights of the other.
        """
        for held, module in self._held:
            if held.hooks == recipe.hooks and self.same(held, recipe):
                return module
        for held, module in self._bare:
            if self.same(held, recipe):
                self._held.append((recipe, twin := _twin(module)))
                return twin
        return None

    def hold(self, recipe: Recipe, module: torch.nn.Module) -> None:
        """Remember a module on which nothing is hung yet."""
        self._held.append((recipe, module))
        self._bare.append((recipe, _twin(module)))

    def same(self, one: Recipe, other: Recipe) -> bool:
        """Return whether two modules have the same weights, whatever is hung on them."""
        return (
            (one.config, one.dtype, one.treatment) == (other.config, other.dtype, other.treatment)
            and [lora.scale for lora in one.loras] == [lora.scale for lora in other.loras]
            and self._contents.same(one.weights, other.weights)
            and self._contents.same([lora.file for lora in one.loras], [lora.file for lora in other.loras])
        )


def weight_bytes(module: torch.nn.Module) -> int:
    """Return the bytes that a module's weights take in memory."""
    return sum(map(_bytes, (*module.parameters(), *module.buffers())))


def _bytes(weight: torch.Tensor) -> int:
    """Return the bytes of a tensor; quantized ones hold several others."""
    parts = getattr(weight, "__tensor_flatten__", None)
    return sum(_bytes(getattr(weight, name)) for name in parts()[0]) if parts else weight.nbytes


def _twin(module: torch.nn.Module) -> torch.nn.Module:
    """Return a module like another, with the same weights in memory."""
    weights = {id(weight): weight for weight in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, weights)
