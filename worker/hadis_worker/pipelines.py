"""One diffusers pipeline as a function from prompts and seeds to pixels; `loading` makes the pipelines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from hadis.api.resources import TierSettings
from numpy.typing import NDArray

from hadis_worker.arguments import GUIDER, call_settings
from hadis_worker.steps import Steps
from hadis_worker.tokens import text_limits, truncated_tokens

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
    counter: Steps | None = None
    """Told of every step, and may stop the call there."""


@dataclass(frozen=True)
class Painted:
    """What became of a call, one item per prompt."""

    pixels: Pixels
    """Images (n, height, width, 3) in 0..1; one that went wrong may hold NaN."""
    filtered: Sequence[bool] | None = None
    """Which images the model's safety checker replaced; None where none looked at them."""
    truncated_tokens: Sequence[int] | None = None
    """How many tokens of each prompt no text encoder read; None where that is not known."""


class Painter(Protocol):
    """Makes images."""

    takes_negative_prompts: bool
    """Whether they act."""
    default_negative_prompt: str | None
    """What a job that has none is made with; None: without one."""

    def paint(self, call: Call) -> Painted:
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
        self._text_limits = text_limits(pipeline, tier.max_sequence_length)

    def paint(self, call: Call) -> Painted:
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
        if call.counter is not None:
            arguments["callback_on_step_end"] = _step_counter(call, call.counter)
        given = {name: value for name, value in arguments.items() if name in self._settings.accepts}
        output = self._pipeline(**given, **self._settings.fixed, **self._guide(call.guidance))
        images = getattr(output, "images", None)
        if images is None:
            raise TypeError(f"{type(self._pipeline).__name__} returns no images, but {type(output).__name__}")
        # DeepFloyd's pipelines have a name of their own for it.
        filtered = getattr(output, "nsfw_content_detected", None) or getattr(output, "nsfw_detected", None)
        cut = truncated_tokens(call.prompts, self._text_limits)
        return Painted(np.asarray(images, np.float32), filtered, cut)

    def _guide(self, guidance: float | None) -> dict[str, float]:
        """Return the argument that guides; a guider, which tiers share, is set in place of one."""
        name = self._settings.guidance
        if name == GUIDER:
            self._pipeline.guider.guidance_scale = self._guider_scale if guidance is None else guidance
        return {name: guidance} if name not in (None, GUIDER) and guidance is not None else {}


def _step_counter(call: Call, counter: Steps) -> Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]:
    """Return what a pipeline calls after each step."""

    def count(pipeline: Any, step: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        # Some schedulers (Heun, PNDM) take more timesteps than the steps that they were told.
        counter.count(len(call.prompts), step + 1, getattr(pipeline, "num_timesteps", None) or call.steps)
        return tensors

    return count
