"""Step caches: what changes little from one step to the next is taken from the last one.

diffusers keeps them as hooks with a state, which a pipeline resets when it ends. One that is stopped does not: see
`DiffusersPainter`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import diffusers
import torch
from diffusers.hooks.first_block_cache import FBCBlockHook, FBCHeadBlockHook
from hadis.api.speed import StepCache
from hadis.api.tier import TierSettings

from hadis_worker.errors import LoadError
from hadis_worker.loading.faults import explain


def enable_cache(tier: TierSettings, pipeline: Any, denoiser: Any) -> None:
    """Give a denoiser a step cache; raise LoadError where the cache would do nothing there, or harm."""
    cache = tier.speed.cache
    assert cache is not None
    kind = type(denoiser).__name__
    if not hasattr(denoiser, "enable_cache"):
        raise LoadError(f"cache: {kind} has no step caches; leave it out")
    if "cache_context" not in inspect.getsource(type(pipeline)):
        # Without it the hooks cannot tell guided from unguided calls, and fail.
        raise LoadError(f"cache: {type(pipeline).__name__} does not tell caches what it computes; leave it out")
    try:
        denoiser.enable_cache(_CONFIGS[cache.kind](cache, tier, pipeline, denoiser))
    except Exception as error:  # of a model that it does not know it raises what happens to go wrong
        raise LoadError(f"cache: {cache.kind} cannot be used with {kind}: {explain(error)}") from error
    if len({hook._metadata.return_encoder_hidden_states_index is None for hook in _first_block_hooks(denoiser)}) > 1:
        # diffusers compares what the first block returns with what the last one does, and fails at the first image.
        raise LoadError(
            f"cache: {cache.kind} knows no model whose last blocks take text and image as one, as {kind}'s do"
        )
    if not any(_stateful(module) for module in denoiser.modules()):
        raise LoadError(f"cache: {cache.kind} finds nothing to keep in {kind}; leave it out")


def _first_block(cache: StepCache, *_: Any) -> Any:
    return diffusers.FirstBlockCacheConfig(**cache.arguments)


def _taylor_seer(cache: StepCache, tier: TierSettings, pipeline: Any, denoiser: Any) -> Any:
    return diffusers.TaylorSeerCacheConfig(**cache.arguments, taylor_factors_dtype=denoiser.dtype)


def _mag_cache(cache: StepCache, tier: TierSettings, *_: Any) -> Any:
    arguments = cache.arguments | {"mag_ratios": torch.tensor(cache.mag_ratios)}
    return diffusers.MagCacheConfig(**arguments, num_inference_steps=tier.steps)


def _faster_cache(cache: StepCache, tier: TierSettings, pipeline: Any, denoiser: Any) -> Any:
    if not hasattr(type(pipeline), "current_timestep"):
        raise LoadError(f"{type(pipeline).__name__} does not tell its timestep")
    # "Distilled" in its sense: no call makes a guided and an unguided image at once. See `check_guidance`.
    return diffusers.FasterCacheConfig(
        **cache.arguments, is_guidance_distilled=True, current_timestep_callback=lambda: pipeline.current_timestep
    )


def check_guidance(tier: TierSettings, guided: bool) -> None:
    """Raise LoadError where a tier is guided by a second call per step, which its cache would mix with the first."""
    cache = tier.speed.cache
    if cache is not None and cache.kind == "fasterCache" and guided:
        raise LoadError(
            f"tier {tier.name}: speed.cache: fasterCache does not tell guided calls from unguided ones; "
            "write guidance: 0, or another kind"
        )


_CONFIGS: dict[str, Callable[[StepCache, TierSettings, Any, Any], Any]] = {
    "firstBlock": _first_block,
    "taylorSeer": _taylor_seer,
    "magCache": _mag_cache,
    "fasterCache": _faster_cache,
}


def _stateful(module: torch.nn.Module) -> bool:
    return any(hook._is_stateful for hook in _hooks(module))


def _first_block_hooks(denoiser: torch.nn.Module) -> list[Any]:
    kinds = FBCHeadBlockHook, FBCBlockHook
    return [hook for module in denoiser.modules() for hook in _hooks(module) if isinstance(hook, kinds)]


def _hooks(module: torch.nn.Module) -> list[Any]:
    registry = getattr(module, "_diffusers_hook", None)
    return [] if registry is None else list(registry.hooks.values())
