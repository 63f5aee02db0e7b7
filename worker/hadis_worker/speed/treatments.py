"""What a tier's settings do to each component: tiers share the modules to which the same was done.

What is done to weights (their order, their type, where they lie) parts them. What is hung on a module (compiled code, a
step cache, an attention backend) needs a module of its own, but not weights of its own.
"""

from __future__ import annotations

from typing import Any

from hadis.api.speed import DENOISERS
from hadis.api.tier import TierSettings


def weights_treatment(tier: TierSettings, component: str, *, fused: bool = False) -> str:
    """Return what a tier's settings do to the weights of a component; empty where that is nothing.

    `fused` is whether LoRAs are added to them, each of which has other keys for each component.
    """
    if tier.speed.offload != "none":
        return f"{component} {every_setting(tier)}"  # a pipeline moves its weights when it needs them
    quantization = tier.quantization.get(component)
    return _text(
        component=fused and component,
        quantization=quantization and quantization.model_dump_json(),
        channels_last=tier.speed.channels_last and component in (*DENOISERS, "vae"),
    )


def hooks_treatment(tier: TierSettings, component: str) -> str:
    """Return what a tier's settings hang on a component; empty where that is nothing."""
    speed = tier.speed
    if component == "vae":
        return _text(slicing=speed.vae.slicing, tiling=speed.vae.tiling)
    if component not in DENOISERS:
        return ""
    if speed.cache is not None:
        return every_setting(tier)  # its hooks know the pipeline, and how many steps there are
    return _text(compile=speed.compile != "off" and speed.compile, attention=speed.attention)


def every_setting(tier: TierSettings) -> str:
    """Return all settings of a tier but its name."""
    return tier.model_dump_json(include=set(TierSettings.model_fields) - {"name"})


def _text(**done: Any) -> str:
    return " ".join(f"{name}={value}" for name, value in done.items() if value)
