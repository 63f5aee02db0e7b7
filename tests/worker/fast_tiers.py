"""Tiers with `speed` settings over tiny models, loaded as a worker loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from hadis.api.tier import Tier
from hadis_worker.errors import LoadError
from hadis_worker.loading.modules import Modules
from hadis_worker.loading.tiers import load_pipeline
from hadis_worker.painter import Call, Pixels
from hadis_worker.pipelines import DiffusersPainter
from hadis_worker.speed.apply import apply
from hadis_worker.steps import Steps
from tiny_models import tiny_tier

PROMPTS = ("a cat", "a red bicycle", "two dogs")


class Fast:
    """A tier's pipeline with its painter."""

    def __init__(self, tier: Tier, modules: Modules | None = None, compiler: Any = "eager") -> None:
        """Load a tier; what torch compiles, `compiler` runs."""
        self.tier = tier
        self.pipeline = load_pipeline(tier, Path(), torch.float32, modules or Modules())
        apply(tier, self.pipeline, "cpu", compiler)
        self.pipeline.set_progress_bar_config(disable=True)
        self.painter = DiffusersPainter(self.pipeline, tier)

    @property
    def denoiser(self) -> Any:
        """What runs at every step."""
        return getattr(self.pipeline, "transformer", None) or self.pipeline.unet

    def paint(self, *prompts: str, counter: Steps | None = None) -> Pixels:
        """Return the images of prompts, by default of the first of PROMPTS; a prompt always has the same seed."""
        given = prompts or PROMPTS[:1]
        width, height = (int(side) for side in self.tier.size.split("x"))
        negatives = (self.painter.default_negative_prompt,) * len(given)
        call = Call(
            given,
            None if None in negatives else negatives,  # type: ignore[arg-type]
            tuple(len(prompt) for prompt in given),
            width,
            height,
            self.tier.steps,
            self.tier.guidance,
            counter,
        )
        with torch.inference_mode():
            return self.painter.paint(call).pixels


def fast(model: Path, modules: Modules | None = None, compiler: Any = "eager", **fields: Any) -> Fast:
    """Return a tier of a model, loaded."""
    return Fast(tiny_tier(model, **fields), modules, compiler)


def refusal(model: Path, **fields: Any) -> str:
    """Return why a tier is not loaded."""
    try:
        fast(model, **fields)
    except LoadError as error:
        text = str(error)
        assert "\n" not in text
        return text
    raise AssertionError("it was loaded")


def calls_of(module: torch.nn.Module) -> list[int]:
    """Return a list that grows with every call of a module."""
    calls: list[int] = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


def pointers(module: torch.nn.Module) -> set[int]:
    """Return where a module's weights are."""
    return {weight.data_ptr() for weight in module.parameters()}


def apart(one: Pixels, other: Pixels) -> float:
    """Return the largest difference of two images' values, in 0..1."""
    return float(np.abs(one - other).max())
