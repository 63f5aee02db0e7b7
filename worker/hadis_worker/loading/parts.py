"""What the pipeline of a tier is made of, before anything is loaded: its index, its files, and a recipe per module."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hadis.api.tier import Tier, TierSettings
from huggingface_hub.errors import RemoteEntryNotFoundError

from hadis_worker.errors import LoadError
from hadis_worker.loading.classes import pipeline_class
from hadis_worker.loading.components import other_recipes, own_recipes
from hadis_worker.loading.loras import fetch_loras, touched
from hadis_worker.loading.modules import Fused, Modules, Recipe
from hadis_worker.loading.safety import left_out
from hadis_worker.loading.sources import INDEX, file_of, local_folder, pipeline_folder
from hadis_worker.speed.treatments import hooks_treatment, weights_treatment


@dataclass(frozen=True)
class PipelineParts:
    """A tier's pipeline as files, which are fetched."""

    kind: Any
    """Its diffusers class."""
    index: Mapping[str, Any]
    """What it has, components that the tier leaves out apart."""
    left_out: frozenset[str]
    home: Path
    loras: tuple[Fused, ...]
    fused: frozenset[str]
    """Components that the LoRAs become part of."""
    elsewhere: frozenset[str]
    """Components that are not the repository's own."""
    recipes: Mapping[str, Recipe]
    """What each module is made of, by component."""


def pipeline_parts(tier: Tier, folder: Path, dtype: torch.dtype) -> PipelineParts:
    """Return what a tier's pipeline is made of, and fetch it; raise LoadError, and what the hub's client raises."""
    whole = index_of(tier, folder)
    kind, index, none = pipeline_class(tier, whole), without_left_out(tier, whole), frozenset(left_out(tier, whole))
    others = other_recipes(tier, folder, index, dtype)
    home = pipeline_folder(tier, folder, [*tier.components, *none])
    loras = fetch_loras(tier, folder)
    fused = touched(kind, loras)
    recipes = {
        name: replace(
            made_of,
            loras=loras if name in fused else (),
            treatment=weights_treatment(tier, name, fused=name in fused),
            hooks=hooks_treatment(tier, name),
        )
        for name, made_of in (own_recipes(home, index, tier.variant, dtype) | others).items()
    }
    return PipelineParts(kind, index, none, home, loras, fused, frozenset(others), recipes)


def common_modules(tiers: Sequence[Tier], folder: Path, device: str) -> list[dict[str, str]]:
    """Return the modules that several tiers have in common where a worker has them all: the component by tier.

    Raises what `pipeline_parts` raises.
    """
    modules, groups = Modules(), list[tuple[Recipe, dict[str, str]]]()
    for tier in tiers:
        for component, made_of in pipeline_parts(tier, folder, dtype_on(tier, device)).recipes.items():
            group = next((by_tier for other, by_tier in groups if modules.same(other, made_of)), None)
            if group is None:
                groups.append((made_of, {tier.name: component}))
            else:
                group.setdefault(tier.name, component)
    return [by_tier for _, by_tier in groups if len(by_tier) > 1]


def dtype_on(tier: TierSettings, device: str) -> torch.dtype:
    """Return the type that a tier's weights are loaded as: CPUs have no fast half precision, and lack operators."""
    return torch.float32 if device == "cpu" else getattr(torch, tier.dtype)


def index_of(tier: Tier, folder: Path) -> dict[str, Any]:
    """Return the index of a tier's pipeline; raise LoadError where there is none, and what `file_of` raises."""
    try:
        path = file_of(folder, tier.model, INDEX, tier.revision)
    except (FileNotFoundError, RemoteEntryNotFoundError) as error:
        if isinstance(error, RemoteEntryNotFoundError) or local_folder(folder, tier.model):
            raise LoadError(
                f"it has no {INDEX}, so it is no pipeline; where it is a UNet, a transformer or a LoRA, write it under "
                "components or loras, and as model the pipeline that it was made for"
            ) from error
        raise
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


def without_left_out(tier: Tier, index: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pipeline's index without the components that the tier leaves out."""
    return {name: part for name, part in index.items() if name not in left_out(tier, index)}
