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
from hadis_worker.loading.faults import explain, no_such_files, variants_of
from hadis_worker.loading.modules import Recipe, recipe, weights_of
from hadis_worker.loading.sources import (
    CONFIG,
    check_file,
    check_weights,
    component_folder,
    file_of,
    is_cached,
    local_folder,
    named,
)
from hadis_worker.loading.whole import check_whole, lacking, load_whole

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
            file = "/".join(filter(None, (part.subfolder, part.single_file or CONFIG)))
            check_file(folder, part.model, file, part.revision)
            if part.single_file is None:
                if local_folder(folder, part.model) or not is_cached(part.model, file, part.revision):
                    check_weights(folder, part)
            elif index[name][0] in _LIBRARIES:
                check_single_file(part, class_of(index[name], {}))
    if (local := local_folder(folder, tier.model)) is not None:
        _check_own(tier, local, index)


def _check_own(tier: Tier, local: Path, index: Mapping[str, Any]) -> None:
    for name in _names(index):
        if not any(index[name]) or name in tier.components:
            continue
        if not (local / name).is_dir():
            raise LoadError(f"there is no {name} in {local}")
        if (local / name / CONFIG).is_file() and not weights_of(local / name, tier.variant):
            others = variants_of(path.name for path in (local / name).glob("*.safetensors"))
            raise LoadError(f"{name}: {no_such_files(others) if others else f'there are no weights in {local / name}'}")


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
    if not (weights := weights_of(home, part.variant)):
        check_weights(folder, part)
        raise FileNotFoundError(f"there are no weights in {home}")
    return recipe(home / CONFIG, weights, dtype)


def config_file(tier: Tier, folder: Path, name: str) -> Path:
    """Return the config of a component, the tier's own or from elsewhere; raise what `file_of` raises."""
    part = tier.components.get(name)
    if part is None or part.single_file is not None:
        return file_of(folder, tier.model, f"{name}/{CONFIG}", tier.revision)
    return file_of(folder, part.model, "/".join(filter(None, (part.subfolder, CONFIG))), part.revision)


def load_component(
    name: str, part: Component, made_of: Recipe, index: Mapping[str, Any], quantization: Any = None
) -> torch.nn.Module:
    """Load a component from elsewhere, quantized as a configuration of diffusers' says; raise LoadError."""
    if part.gguf is not None:
        quantization = diffusers.GGUFQuantizationConfig(compute_dtype=made_of.dtype)
    kind = class_of(index[name], json.loads(made_of.config))
    try:
        check_single_file(part, kind)
        if part.single_file is None:
            return load_whole(kind, made_of.weights[0].parent, **_options(made_of, part.variant, quantization))
        file, config = str(made_of.weights[0]), str(made_of.config_file)
        module = kind.from_single_file(file, config=config, **_options(made_of, None, quantization))
        check_whole(module)
    except KeyError as error:  # of what translates the names of weights
        what = lacking(made_of.weights[0], kind, json.loads(made_of.config)) or f"is no {kind.__name__}: no {error}"
        raise LoadError(f"components.{name}: {part.model!r} {what}") from error
    except LoadError as error:
        raise LoadError(f"components.{name}: {part.model!r} {error}") from error
    except Exception as error:  # whatever diffusers raises of files that do not fit is said of this component
        raise LoadError(f"components.{name}: {part.model!r} cannot be loaded: {explain(error)}") from error
    return cast(torch.nn.Module, module)


def load_own(
    name: str, made_of: Recipe, index: Mapping[str, Any], variant: str | None, quantization: Any = None
) -> torch.nn.Module | None:
    """Load one of a pipeline's own components; None for what the pipeline loads itself, which is all of diffusers'.

    Raises LoadError, and what transformers raises.
    """
    library, called = index[name]
    home = _LIBRARIES.get(library) or getattr(diffusers.pipelines, str(library), None)
    kind = getattr(home, str(called), None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        return None
    try:
        return load_whole(kind, made_of.weights[0].parent, **_options(made_of, variant, quantization))
    except LoadError as error:
        raise LoadError(f"{name} {error}") from error


def _options(made_of: Recipe, variant: str | None, quantization: Any) -> dict[str, Any]:
    options = {"dtype": made_of.dtype, "quantization_config": quantization}
    options["variant"] = variant if any("." in path.stem for path in made_of.weights) else None
    return {name: value for name, value in options.items() if value is not None}


def check_single_file(part: Component, kind: Any) -> None:
    """Raise LoadError where a class is loaded from folders only, as those of transformers are."""
    if part.single_file is not None and not hasattr(kind, "from_single_file"):
        field = "file" if part.file else "gguf"
        raise LoadError(
            f"cannot be loaded as {field}: a {kind.__name__} is no single file; leave {field} out, and write as model "
            f"(and subfolder) the folder that holds its {CONFIG} and its weights"
        )


def class_of(kind: Sequence[str | None], config: Mapping[str, Any]) -> Any:
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
