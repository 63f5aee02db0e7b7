"""From a tier to its pipeline on the device: what is in memory already is taken from there, the rest is loaded."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import PipelineQuantizationConfig
from hadis.api.tier import Tier

from hadis_worker.arguments import call_settings, check_call
from hadis_worker.errors import LoadError
from hadis_worker.loading.classes import pipeline_class
from hadis_worker.loading.components import check_components, load_component, load_own, other_recipes
from hadis_worker.loading.faults import explain
from hadis_worker.loading.loras import check_loras, fetch_loras, fuse
from hadis_worker.loading.modules import Modules
from hadis_worker.loading.parts import dtype_on, index_of, pipeline_parts, without_left_out
from hadis_worker.loading.safety import Checker, Checkers, check_checker, left_out, load_checker, say_who_checks
from hadis_worker.loading.scheduler import scheduler_of
from hadis_worker.loading.sources import check_name, local_folder, pipeline_folder
from hadis_worker.loading.unloaded import check_settings
from hadis_worker.loading.whole import check_whole
from hadis_worker.pipelines import DiffusersPainter
from hadis_worker.speed.apply import apply
from hadis_worker.speed.caching import check_guidance
from hadis_worker.speed.quantization import quantization_configs
from hadis_worker.speed.treatments import every_setting

log = logging.getLogger(__name__)
_LOADED = {
    "model",
    "revision",
    "variant",
    "pipeline",
    "components",
    "loras",
    "scheduler",
    "safety",
    "dtype",
    "quantization",
    "speed",
}
"""Settings that say what is loaded; the others say how it is called."""


def load_painter(tier: Tier, folder: Path, device: str) -> DiffusersPainter:
    """Load one tier; see `load_painters`."""
    return load_painters([tier], folder, device)[tier.name]


def load_painters(tiers: Sequence[Tier], folder: Path, device: str) -> dict[str, DiffusersPainter]:
    """Load every tier from folders (relative to `folder`) or the hub; raise LoadError.

    Tiers that load the same share a pipeline, and others the modules that are made of the same files.
    """
    _quiet()
    loaded: dict[str, tuple[Any, Checker | None]] = {}
    modules, checkers = Modules(), Checkers(folder, device)
    painters = {}
    for tier in tiers:
        key = _key(tier)
        if key not in loaded:
            loaded[key] = _load(tier, folder, device, modules, checkers)
        pipeline, checker = loaded[key]
        say_who_checks(tier, pipeline)
        painters[tier.name] = DiffusersPainter(pipeline, tier, checker)
    return painters


def check_tier(tier: Tier, folder: Path) -> None:
    """Raise LoadError where files that a tier names may not be had, or its settings do nothing; fetches no weights."""
    _quiet()
    with _named(tier, folder):
        check_name(folder, tier.model)
        index = index_of(tier, folder)
        kind = pipeline_class(tier, index)
        index = without_left_out(tier, index)
        check_components(tier, folder, index)
        check_loras(tier, folder)
        check_checker(tier, folder)
        pipeline = check_settings(tier, folder, index, kind)
    check_call(tier, kind)
    if pipeline is not None:
        check_guidance(tier, call_settings(tier, pipeline).is_guided)


def fetch_tier(tier: Tier, folder: Path) -> None:
    """Fetch every file of a tier that loading it would fetch, so that it can be loaded offline; raise LoadError."""
    _quiet()
    with _named(tier, folder):
        check_name(folder, tier.model)
        index = index_of(tier, folder)
        other_recipes(tier, folder, without_left_out(tier, index), torch.float32)
        pipeline_folder(tier, folder, [*tier.components, *left_out(tier, index)])
        fetch_loras(tier, folder)
        load_checker(tier, folder, torch.float32, "cpu")


def _key(tier: Tier) -> str:
    """Return what tells the pipeline of one tier from another's; a step cache knows how its tier is called."""
    return tier.model_dump_json(include=_LOADED) if tier.speed.cache is None else every_setting(tier)


def _load(tier: Tier, folder: Path, device: str, modules: Modules, checkers: Checkers) -> tuple[Any, Checker | None]:
    dtype = dtype_on(tier, device)
    with _named(tier, folder):
        check_name(folder, tier.model)
        pipeline = load_pipeline(tier, folder, dtype, modules)
        if tier.speed.offload == "none":
            pipeline.to(device)
        checker = checkers.get(tier, dtype)
    try:
        apply(tier, pipeline, device)
    except LoadError as error:
        raise LoadError(f"tier {tier.name}: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, checker


@contextlib.contextmanager
def _named(tier: Tier, folder: Path) -> Iterator[None]:
    """Turn whatever is raised into a LoadError that names the tier."""
    try:
        yield
    except Exception as error:  # diffusers raises much else than it documents, and none of it may be a traceback
        where = (
            ""
            if local_folder(folder, tier.model) or isinstance(error, LoadError)
            else f" ({folder / tier.model} is no folder, so it was looked for on the hub)"
        )
        reason = explain(error)
        raise LoadError(f"tier {tier.name}: model {tier.model!r} cannot be loaded{where}: {reason}") from error


def load_pipeline(tier: Tier, folder: Path, dtype: torch.dtype, modules: Modules) -> Any:
    """Return a tier's pipeline in CPU memory, and leave its modules in `modules` for other tiers.

    Raises LoadError, and what diffusers and the hub's client raise.
    """
    parts = pipeline_parts(tier, folder, dtype)
    index, changed, recipes = parts.index, parts.fused, parts.recipes
    quantized = quantization_configs(tier, index, changed, dtype)
    held, fresh = set[str](), dict[str, torch.nn.Module]()
    for name, made_of in recipes.items():
        if (module := modules.find(made_of)) is not None:
            held.add(name)
        elif name in parts.elsewhere:
            module = load_component(name, tier.components[name], made_of, index, quantized.get(name))
        else:
            module = load_own(name, made_of, index, tier.variant, quantized.get(name))
        if module is None:
            continue
        fresh[name] = module
        if name not in held and name not in changed:  # at once: the next may be made of the same
            modules.hold(made_of, module)
            held.add(name)
    options: dict[str, Any] = {"dtype": dtype, "variant": tier.variant, **fresh, **dict.fromkeys(parts.left_out)}
    if mapping := {name: how for name, how in quantized.items() if name not in options}:
        options["quantization_config"] = PipelineQuantizationConfig(quant_mapping=mapping)
    try:
        pipeline = parts.kind.from_pretrained(parts.home, **options)
    except OSError as error:
        raise LoadError(explain(error, parts.home, tier.variant)) from error
    _check_modules(pipeline, dtype)
    if new := (changed & recipes.keys()) - held:
        fuse(pipeline, parts.loras, new)
    pipeline.scheduler = scheduler_of(tier.scheduler, pipeline.scheduler)
    for name in recipes.keys() - held:
        modules.hold(recipes[name], getattr(pipeline, name))
    return pipeline


def _check_modules(pipeline: Any, dtype: torch.dtype) -> None:
    """Raise LoadError where a module lacks weights, or has them of a wider type than they were asked for."""
    for name, part in pipeline.components.items():
        if not isinstance(part, torch.nn.Module):
            continue
        try:
            check_whole(part)
        except LoadError as error:
            raise LoadError(f"{name} {error}") from error
        loaded = _dtype_of(part)
        # Narrower ones are quantized weights, which are meant.
        if loaded is not None and loaded != dtype and loaded.itemsize >= dtype.itemsize:
            raise LoadError(f"{name} was loaded as {loaded}, not as {dtype}; diffusers 0.40 or later is needed")


def _dtype_of(module: torch.nn.Module) -> torch.dtype | None:
    """Return the floating-point type of most weights; models may keep single layers in float32."""
    sizes = Counter[torch.dtype]()
    for weight in module.parameters():
        if weight.is_floating_point():
            sizes[weight.dtype] += weight.numel()
    return max(sizes, key=sizes.__getitem__, default=None)


def _quiet() -> None:
    """Keep progress bars and advice about optional image processors out of the log."""
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
