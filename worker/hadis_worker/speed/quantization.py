"""diffusers' and transformers' configurations of how components are quantized when they are loaded."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Collection, Mapping
from typing import Any

import diffusers
import torch
import transformers
from hadis.api.speed import Quantization
from hadis.api.tier import TierSettings

from hadis_worker.errors import LoadError


def quantization_configs(
    tier: TierSettings, index: Mapping[str, Any], with_loras: Collection[str], dtype: torch.dtype
) -> dict[str, Any]:
    """Return the configurations of a tier's components by name; raise LoadError.

    `index` names the pipeline's components with their libraries, `with_loras` those that LoRAs are fused into.
    """
    files = [name for name, part in tier.components.items() if part.gguf]
    for name in (*tier.quantization, *files):
        if name in with_loras:
            raise LoadError(f"quantization.{name}: LoRAs cannot be fused into quantized weights; leave one of them out")
    if files and not _installed("gguf"):
        raise LoadError(f"components.{files[0]}: {_lacking('gguf')}")
    return {name: _config(name, how, index, dtype) for name, how in tier.quantization.items()}


def _config(name: str, how: Quantization, index: Mapping[str, Any], dtype: torch.dtype) -> Any:
    libraries = {part: kind[0] for part, kind in index.items() if isinstance(kind, list) and part[0] != "_"}
    if name not in libraries:
        raise LoadError(f"quantization.{name}: the pipeline has no such component; it has {', '.join(libraries)}")
    if not _installed(how.kind):
        raise LoadError(f"quantization.{name}: {_lacking(how.kind)}")
    # Of either library's classes only its own models know what to do with.
    owner: Any = transformers if libraries[name] == "transformers" else diffusers
    skip = list(how.skip) or None
    if how.kind == "torchao":
        return owner.TorchAoConfig(_torchao_type(how.type), modules_to_not_convert=skip)
    if how.type == "int8":
        return owner.BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip)
    return owner.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=how.type, bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=skip
    )


def _installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _lacking(library: str) -> str:
    return f"the library {library} is not installed; pip install 'hadis[speed]'"


def _torchao_type(name: str) -> Any:
    library = importlib.import_module("torchao.quantization")
    return getattr(library, f"{name[0].upper()}{name[1:]}Config")()
