"""The components of a tier's pipeline that come from elsewhere, and what each component is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
import transformers
from hadis.api.pipeline import Component
from hadis.api.tier import Tier

from hadis_worker.errors import LoadError
from hadis_worker.loading.faults import explain
from hadis_worker.loading.modules import Recipe, recipe, weights_of
from hadis_worker.loading.sources import CONFIG, check_file, component_folder, file_of, local_folder, named

_LIBRARIES = {"diffusers": diffusers, "transformers": transformers}


def own_recipes(folder: Path, index: Mapping[str, Any], variant: str | None, dtype: torch.dtype) -> dict[str, Recipe]:
    """Return what the modules in a pipeline's folder are made of; others than modules have no weights, and no entry."""
    return {
        name: recipe(folder / name / CONFIG, weights, dtype)
        for name in _names(index)
        if (folder / name / CONFIG).is_file() and (weights := weights_of(folder / name, variant))
    }


def other_recipes(tier: Tier, folder: Path, index: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Recipe]:
    """Return what a tier's components from elsewhere are made of, fetched if need be; raise LoadError."""
    _check_names(tier, index)
    made_of = {}
    for name, part in tier.components.items():
        with named(folder, part.model, f"components.{name}", _advice(part)):
            made_of[name] = _recipe(tier, name, part, folder, dtype)
    return made_of


def check_components(tier: Tier, folder: Path, index: Mapping[str, Any]) -> None:
    """Raise LoadError where files of a tier's components are not there, or may not be had."""
    _check_names(tier, index)
    for name, part in tier.components.items():
        with named(folder, part.model, f"components.{name}", _advice(part)):
            check_file(folder, part.model, "/".join(filter(None, (part.subfolder, part.file or CONFIG))), part.revision)
    if (local := local_folder(folder, tier.model)) is None:
        return
    for name in _names(index):
        if any(index[name]) and name not in tier.components and not (local / name).is_dir():
            raise LoadError(f"there is no {name} in {local}")


def _check_names(tier: Tier, index: Mapping[str, Any]) -> None:
    for name in tier.components:
        if name not in _names(index):
            raise LoadError(f"components.{name}: the pipeline has none; it has {', '.join(_names(index))}")


def _advice(part: Component) -> str:
    return "" if part.single_file else "; where the weights are a single file, write file"


def _recipe(tier: Tier, name: str, part: Component, folder: Path, dtype: torch.dtype) -> Recipe:
    if part.single_file is not None:
        file = "/".join(filter(None, (part.subfolder, part.single_file)))
        config = file_of(folder, tier.model, f"{name}/{CONFIG}", tier.revision)
        return recipe(config, (file_of(folder, part.model, file, part.revision),), dtype)
    home = component_folder(folder, part)
    weights = weights_of(home, part.variant)
    if not weights:
        raise FileNotFoundError(f"there are no weights in {home}")
    return recipe(home / CONFIG, weights, dtype)


def load_component(
    name: str, part: Component, made_of: Recipe, index: Mapping[str, Any], quantization: Any = None
) -> torch.nn.Module:
    """Load a component from elsewhere, quantized as a configuration of diffusers' says; raise LoadError."""
    options: dict[str, Any] = {"dtype": made_of.dtype}
    if part.gguf is not None:
        quantization = diffusers.GGUFQuantizationConfig(compute_dtype=made_of.dtype)
    if quantization is not None:
        options["quantization_config"] = quantization
    try:
        kind = _class(index[name], json.loads(made_of.config))
        if part.single_file is None:
            home = made_of.weights[0].parent
            module = kind.from_pretrained(home, variant=part.variant, **options)
        else:
            file, config = str(made_of.weights[0]), str(made_of.config_file)
            module = kind.from_single_file(file, config=config, **options)
    except Exception as error:  # whatever diffusers raises of files that do not fit is said of this component
        raise LoadError(f"components.{name}: {part.model!r} cannot be loaded: {explain(error)}") from error
    if any(weight.is_meta for weight in module.parameters()):
        raise LoadError(f"components.{name}: {part.model!r} has not all weights of a {kind.__name__}")
    return cast(torch.nn.Module, module)


def _class(kind: Sequence[str | None], config: Mapping[str, Any]) -> Any:
    """Return the class that a component's config names, as a small VAE's does, or else that of the pipeline's own."""
    own = config.get("_class_name")
    if own is not None:
        return getattr(diffusers, own)
    library, name = kind
    if library is None:
        return getattr(transformers, config["architectures"][0])
    return getattr(_LIBRARIES[library], str(name))


def _names(index: Mapping[str, Any]) -> list[str]:
    return [name for name, kind in index.items() if isinstance(kind, list) and not name.startswith("_")]
