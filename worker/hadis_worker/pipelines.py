"""One diffusers pipeline as a function from prompts and seeds to pixels; `loading` makes the pipelines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
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
    """Which images a safety checker filtered; None where none looked at them."""
    truncated_tokens: Sequence[int] | None = None
    """How many tokens of each prompt no text encoder read; None where that is not known."""


class ImageChecker(Protocol):
    """Looks at what images show."""

    def filtered(self, pixels: Pixels) -> list[bool]:
        """Return which images nobody may see."""


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

    def __init__(self, pipeline: Any, tier: TierSettings, checker: ImageChecker | None = None) -> None:
        """Wrap a pipeline that is on its device; raise LoadError for a setting of the tier that it cannot honour.

        A `checker` looks at the images in place of the pipeline's own.
        """
        self._pipeline = pipeline
        self._checker = checker
        self._settings = call_settings(tier, pipeline)
        self._guiders = _guiders(pipeline) if self._settings.guidance == GUIDER else ()
        self.takes_negative_prompts = self._settings.takes_negative_prompts
        self.default_negative_prompt = self._settings.negative_prompt
        self._text_limits = text_limits(pipeline, tier.max_sequence_length)

    def paint(self, call: Call) -> Painted:
        """Return one image per prompt; each starts from noise of its own CPU generator, so its place does not matter.

        What its company does to it is found out by `company`. Kernels of another batch size add up in another order,
        so that an image may differ by one level of 255 in a few values from the same seed in another batch.
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
            arguments |= _step_callback(call, call.counter, self._settings.accepts)
        given = {name: value for name, value in arguments.items() if name in self._settings.accepts}
        output = self._pipeline(**given, **self._settings.fixed, **self._guide(call.guidance))
        images = getattr(output, "images", None)
        if images is None:
            raise TypeError(f"{type(self._pipeline).__name__} returns no images, but {type(output).__name__}")
        pixels = np.asarray(images, np.float32)
        # DeepFloyd's pipelines have a name of their own for it.
        filtered = getattr(output, "nsfw_content_detected", None) or getattr(output, "nsfw_detected", None)
        if self._checker is not None:
            filtered = self._checker.filtered(pixels)
        return Painted(pixels, filtered, truncated_tokens(call.prompts, self._text_limits))

    def _guide(self, guidance: float | None) -> dict[str, float]:
        """Return the argument that guides; a guider, which tiers share, is set in place of one."""
        name = self._settings.guidance
        for guider, own in self._guiders:
            guider.guidance_scale = own if guidance is None else guidance
        return {name: guidance} if name not in (None, GUIDER) and guidance is not None else {}


def _guiders(pipeline: Any) -> tuple[tuple[Any, float], ...]:
    """Return the guiders of a pipeline with their own scales; HunyuanImage has one for prompts with words to paint."""
    guiders = (getattr(pipeline, name, None) for name in ("guider", "ocr_guider"))
    return tuple((guider, guider.guidance_scale) for guider in guiders if guider is not None)


def _step_callback(call: Call, counter: Steps, accepts: Collection[str]) -> dict[str, Callable[..., Any]]:
    """Return the argument by which a pipeline tells each step; some (PixArt) have only the one of older diffusers."""

    def count(pipeline: Any, step: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        # Some schedulers (Heun, PNDM) take more timesteps than the steps that they were told.
        counter.count(len(call.prompts), step + 1, getattr(pipeline, "num_timesteps", None) or call.steps)
        return tensors

    def count_as_before(step: int, *_: Any) -> None:
        counter.count(len(call.prompts), step + 1, call.steps)

    return {"callback_on_step_end": count} if "callback_on_step_end" in accepts else {"callback": count_as_before}
