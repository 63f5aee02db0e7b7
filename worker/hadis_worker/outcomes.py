"""What a model made, looked at: whether it is what was asked for, and what becomes of each job."""

from __future__ import annotations

import numpy as np
import torch
from hadis.api.tier import TierSettings
from PIL import Image

from hadis_worker.batches import Fault, JobOutcome, Picture
from hadis_worker.errors import LoadError
from hadis_worker.painter import Call, Painted

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def check_size(tier: TierSettings, size: str, width: int, height: int) -> None:
    """Raise LoadError where a tier's model makes another size (pixels) than one of the tier's; many round it."""
    if size != (made := f"{width}x{height}"):
        instead = f"in sizes: {made}" if tier.sizes else f"size: {made}"
        raise LoadError(f"tier {tier.name}: its model makes {made} where {size} is asked for; write {instead}")


def check_count(call: Call, painted: Painted) -> None:
    """Raise RuntimeError where a model made more images than prompts, or fewer."""
    if (made := len(painted.pixels)) != (count := len(call.prompts)):
        raise RuntimeError(f"the model made {made} images of {count} prompts, not one each")


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory did not suffice, in any of the words that torch has for it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)


def outcome_of(painted: Painted, i: int) -> JobOutcome:
    """Return image `i` as a picture, or the fault that it was filtered or holds NaN."""
    if painted.filtered is not None and painted.filtered[i]:
        return Fault("content_filtered", "the safety checker filtered the image")
    pixels = painted.pixels[i]
    if not np.isfinite(pixels).all():
        return Fault("failed", "the model made an image that is not a number (NaN)")
    image = Image.fromarray((pixels.clip(0, 1) * 255).round().astype(np.uint8))
    return Picture(image, None if painted.truncated_tokens is None else painted.truncated_tokens[i])
