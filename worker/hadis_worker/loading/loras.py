"""LoRAs, fused into the weights at load: a step costs what it costs without them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from hadis.api.tier import Tier
from safetensors import safe_open

from hadis_worker.errors import LoadError
from hadis_worker.loading.faults import explain
from hadis_worker.loading.modules import Fused
from hadis_worker.loading.sources import check_file, file_of, named

_TEXT_KEYS = ("text_encoder", "lora_te")
"""How keys of text encoders begin, as diffusers and as kohya name them."""


def fetch_loras(tier: Tier, folder: Path) -> tuple[Fused, ...]:
    """Return the files of a tier's LoRAs with their scales."""
    fused = []
    for i, lora in enumerate(tier.loras):
        with named(folder, lora.model, f"loras.{i}"):
            fused.append(Fused(file_of(folder, lora.model, lora.file, lora.revision), lora.scale))
    return tuple(fused)


def check_loras(tier: Tier, folder: Path) -> None:
    """Raise LoadError where the file of a LoRA is not there, or may not be had."""
    for i, lora in enumerate(tier.loras):
        with named(folder, lora.model, f"loras.{i}"):
            check_file(folder, lora.model, lora.file, lora.revision)


def touched(pipeline: Any, loras: Sequence[Fused]) -> frozenset[str]:
    """Return the components of a pipeline class that some LoRA changes; raise LoadError where none may be."""
    if not loras:
        return frozenset()
    names = getattr(pipeline, "_lora_loadable_modules", ())
    if not names:
        raise LoadError(f"loras: {pipeline.__name__} takes none")
    text = any(key.startswith(_TEXT_KEYS) for lora in loras for key in _keys(lora.file))
    return frozenset(name for name in names if text or not name.startswith("text_encoder"))


def fuse(pipeline: Any, loras: Sequence[Fused], components: Collection[str]) -> None:
    """Add LoRAs to the weights of some components; raise LoadError for one that changes nothing."""
    for i, lora in enumerate(loras):
        try:
            pipeline.load_lora_weights(str(lora.file.parent), weight_name=lora.file.name)
        except Exception as error:  # whatever diffusers raises of weights that do not fit is said of this LoRA
            raise LoadError(f"loras.{i}: {lora.file.name} cannot be loaded: {explain(error)}") from error
        if not any(pipeline.get_list_adapters().values()):
            raise LoadError(f"loras.{i}: {lora.file.name} changes no layer of {type(pipeline).__name__}")
        pipeline.fuse_lora(components=sorted(components), lora_scale=lora.scale)
        pipeline.unload_lora_weights()


def _keys(path: Path) -> list[str]:
    with safe_open(path, "pt") as file:
        return list(file.keys())
