"""Who looks at what a tier's images show: the checker that its model brings, one from elsewhere, or nobody.

One from elsewhere works behind every pipeline, also those (SDXL, FLUX) that have no place for one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hadis.api.tier import Tier
from numpy.typing import NDArray
from PIL import Image

from hadis_worker.errors import LoadError
from hadis_worker.loading.faults import explain
from hadis_worker.loading.sources import CONFIG, check_file, check_name, local_folder, named
from hadis_worker.loading.whole import load_whole

log = logging.getLogger(__name__)
_COMPONENT = "safety_checker"
_OWN, _OFF = "model", "off"


class Checker:
    """Stable Diffusion's safety checker: a CLIP that compares images with what they must not show."""

    def __init__(self, model: Any, processor: Any) -> None:
        """Take a StableDiffusionSafetyChecker on its device, and its image processor."""
        self._model, self._processor = model, processor

    @torch.inference_mode()
    def filtered(self, pixels: NDArray[np.float32]) -> list[bool]:
        """Return which of the images (n, height, width, 3) in 0..1 nobody may see."""
        shown = (np.nan_to_num(pixels).clip(0, 1) * 255).round().astype(np.uint8)
        read = self._processor([Image.fromarray(image) for image in shown], return_tensors="pt").pixel_values
        # It blackens what it is given; that is not asked for here.
        _, flags = self._model(
            clip_input=read.to(self._model.device, self._model.dtype), images=[np.zeros(1)] * len(shown)
        )
        return [bool(flag) for flag in flags]


def left_out(tier: Tier, index: Mapping[str, Any]) -> Collection[str]:
    """Return the components of a tier's pipeline that are not loaded."""
    return [_COMPONENT] if tier.safety != _OWN and _COMPONENT in index else []


def load_checker(tier: Tier, folder: Path, dtype: torch.dtype, device: str) -> Checker | None:
    """Return a tier's checker where it is one from elsewhere; raise LoadError."""
    if tier.safety in (_OWN, _OFF):
        return None
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPImageProcessor

    check_name(folder, tier.safety, f"safety: {tier.safety!r}")
    source = str(local_folder(folder, tier.safety) or tier.safety)
    try:
        model = load_whole(StableDiffusionSafetyChecker, source, dtype=dtype).eval().to(device)
        return Checker(model, CLIPImageProcessor.from_pretrained(source))
    except LoadError as error:
        raise LoadError(f"safety: {tier.safety!r} {error}") from error
    except Exception as error:  # transformers raises much else than it documents
        advice = "write model, off, or a checker as CompVis/stable-diffusion-safety-checker is one"
        raise LoadError(f"safety: {tier.safety!r} cannot be loaded: {explain(error)}; {advice}") from error


class Checkers:
    """The checkers from elsewhere that tiers have loaded, each once."""

    def __init__(self, folder: Path, device: str) -> None:
        """Hold none yet; `folder` is that of the tiers' models."""
        self._folder, self._device = folder, device
        self._held: dict[tuple[str, torch.dtype], Checker | None] = {}

    def get(self, tier: Tier, dtype: torch.dtype) -> Checker | None:
        """Return a tier's checker, as `load_checker` does; raise LoadError."""
        key = str(local_folder(self._folder, tier.safety) or tier.safety), dtype
        if key not in self._held:
            self._held[key] = load_checker(tier, self._folder, dtype, self._device)
        return self._held[key]


def check_checker(tier: Tier, folder: Path) -> None:
    """Raise LoadError where a tier's checker from elsewhere is not there, or may not be had."""
    if tier.safety in (_OWN, _OFF):
        return
    with named(folder, tier.safety, "safety"):
        check_file(folder, tier.safety, CONFIG)


def say_who_checks(tier: Tier, pipeline: Any) -> None:
    """Log it where nobody looks at a tier's images."""
    if tier.safety == _OFF:
        log.warning("tier %s: safety is off: nobody checks what its images show", tier.name)
    elif tier.safety == _OWN and getattr(pipeline, _COMPONENT, None) is None:
        log.warning("tier %s: its model brings no safety checker: nobody checks what its images show", tier.name)
