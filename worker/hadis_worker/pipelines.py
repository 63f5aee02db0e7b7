"""One diffusers pipeline as a function from prompts and seeds to pixels; the only place that knows diffusers."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from hadis.api.resources import Tier, TierSettings
from numpy.typing import NDArray

from hadis_worker.arguments import GUIDER, call_settings
from hadis_worker.errors import LoadError

log = logging.getLogger(__name__)
Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Call:
    """What one batch is made with; `negative_prompts` is None where no job has one."""

    prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...] | None
    seeds: tuple[int, ...]
    width: int
    height: int
    steps: int
    guidance: float | None
    """None: the pipeline's own."""


class Painter(Protocol):
    """Makes images (n, height, width, 3) in 0..1; one that went wrong may hold NaN."""

    takes_negative_prompts: bool
    """Whether they act."""
    default_negative_prompt: str | None
    """What a job that has none is made with; None: without one."""

    def paint(self, call: Call) -> Pixels:
        """Return one image per prompt; raise whatever the model raises."""


class DiffusersPainter:
    """Any diffusers text-to-image pipeline, called as a tier says."""

    def __init__(self, pipeline: Any, tier: TierSettings) -> None:
        """Wrap a pipeline that is on its device; raise LoadError for a setting of the tier that it cannot honour."""
        self._pipeline = pipeline
        self._settings = call_settings(tier, pipeline)
        self._guider_scale = pipeline.guider.guidance_scale if self._settings.guidance == GUIDER else None
        self.takes_negative_prompts = self._settings.takes_negative_prompts
        self.default_negative_prompt = self._settings.negative_prompt

    def paint(self, call: Call) -> Pixels:
        """Return one image per prompt; each starts from noise of its own CPU generator, so its company does not matter.

        Kernels of another batch size add up in another order, so that an image may differ by one level of 255 in a
        few values from the same seed in another batch.
        """
        arguments: dict[str, Any] = {
            "prompt": list(call.prompts),
            "num_inference_steps": call.steps,
            "width": call.width,
            "height": call.height,
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in call.seeds],
            "output_type": "np",
        }
        if call.negative_prompts is not None:
            arguments["negative_prompt"] = list(call.negative_prompts)
        given = {name: value for name, value in arguments.items() if name in self._settings.accepts}
        output = self._pipeline(**given, **self._settings.fixed, **self._guide(call.guidance))
        images = getattr(output, "images", None)
        if images is None:
            raise TypeError(f"{type(self._pipeline).__name__} returns no images, but {type(output).__name__}")
        return np.asarray(images, np.float32)

    def _guide(self, guidance: float | None) -> dict[str, float]:
        """Return the argument that guides; a guider, which tiers share, is set in place of one."""
        name = self._settings.guidance
        if name == GUIDER:
            self._pipeline.guider.guidance_scale = self._guider_scale if guidance is None else guidance
        return {name: guidance} if name not in (None, GUIDER) and guidance is not None else {}


def load_painter(tier: Tier, folder: Path, device: str) -> DiffusersPainter:
    """Load one tier; see `load_painters`."""
    return load_painters([tier], folder, device)[tier.name]


def load_tier_pipeline(tier: Tier, folder: Path, device: str) -> Any:
    """Load a tier's pipeline from a folder (relative to `folder`) or the hub; raise LoadError."""
    local = folder / tier.model
    source = str(local) if local.is_dir() else tier.model
    # CPUs have no fast half precision, and not every operator has one at all.
    dtype = torch.float32 if device == "cpu" else getattr(torch, tier.dtype)
    try:
        pipeline = load_pipeline(source, dtype)
        pipeline.to(device)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        where = "" if local.is_dir() else f" ({local} is no folder, so it was looked for on the hub)"
        reason = " ".join(str(error).split())[:300]
        raise LoadError(f"tier {tier.name}: model {tier.model!r} cannot be loaded{where}: {reason}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_pipeline(source: str, dtype: torch.dtype) -> Any:
    """Return a diffusers pipeline of a folder or repository; raise ValueError where weights are of a wider type."""
    from diffusers import DiffusionPipeline

    _quiet()
    pipeline = DiffusionPipeline.from_pretrained(source, dtype=dtype)
    for name, part in pipeline.components.items():
        loaded = _dtype_of(part) if isinstance(part, torch.nn.Module) else None
        # Narrower ones are quantized weights, which are meant.
        if loaded is not None and loaded != dtype and loaded.itemsize >= dtype.itemsize:
            raise ValueError(f"{name} was loaded as {loaded}, not as {dtype}; diffusers 0.40 or later is needed")
    return pipeline


def _dtype_of(module: torch.nn.Module) -> torch.dtype | None:
    """Return the floating-point type of most weights; models may keep single layers in float32."""
    sizes = Counter[torch.dtype]()
    for weight in module.parameters():
        if weight.is_floating_point():
            sizes[weight.dtype] += weight.numel()
    return max(sizes, key=sizes.__getitem__, default=None)


def load_painters(tiers: Sequence[Tier], folder: Path, device: str) -> dict[str, DiffusersPainter]:
    """Load every tier; tiers of the same model and precision share one pipeline. Raise LoadError."""
    shared: dict[tuple[str, str], Any] = {}
    painters = {}
    for tier in tiers:
        key = (tier.model, tier.dtype)
        if key not in shared:
            shared[key] = load_tier_pipeline(tier, folder, device)
        painters[tier.name] = DiffusersPainter(shared[key], tier)
    return painters


def _quiet() -> None:
    """Keep progress bars and advice about optional image processors out of the log."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
