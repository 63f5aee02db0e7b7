"""A tier's `speed` done to its pipeline: after it is loaded, before it is warmed up, in the thread that computes."""

from __future__ import annotations

from typing import Any

from hadis.api.speed import DENOISERS, Speed
from hadis.api.tier import TierSettings

from hadis_worker.errors import LoadError
from hadis_worker.loading.faults import explain
from hadis_worker.speed.attention import set_attention
from hadis_worker.speed.caching import enable_cache
from hadis_worker.speed.compiling import INDUCTOR, compile_denoiser
from hadis_worker.speed.memory import offload, save_vae_memory, set_channels_last


def apply(tier: TierSettings, pipeline: Any, device: str, compiler: str = INDUCTOR) -> None:
    """Make a pipeline fast as its tier says; raise LoadError for what its model cannot do.

    It is on its device already, but where it is offloaded. `compiler` is torch.compile's backend.
    """
    speed = tier.speed
    if speed == Speed():
        return
    try:
        set_channels_last(speed, pipeline)
        save_vae_memory(speed.vae, pipeline)
        if speed.attention is not None:
            set_attention(speed.attention, _denoiser(pipeline, "attention"))
        # Before the cache: its hooks then run as they are, around blocks that are compiled.
        if speed.compile != "off":
            compile_denoiser(speed, _denoiser(pipeline, "compile"), compiler)
        if speed.cache is not None:
            enable_cache(tier, pipeline, _denoiser(pipeline, "cache"))
        if speed.offload != "none":
            offload(speed.offload, pipeline, device)
    except LoadError as error:
        raise LoadError(f"speed.{error}") from error
    except Exception as error:  # diffusers and torch raise much else than they document
        raise LoadError(f"speed: {explain(error)}") from error


def _denoiser(pipeline: Any, field: str) -> Any:
    module = next((part for name in DENOISERS if (part := getattr(pipeline, name, None)) is not None), None)
    if module is None:
        raise LoadError(f"{field}: {type(pipeline).__name__} has neither a transformer nor a UNet; leave it out")
    return module
