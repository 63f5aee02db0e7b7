"""Whether an image depends on those that are made beside it: of some pipelines it does, and they make one at a time.

Some pad prompts to the longest of a batch and let the model see the padding, some choose for the whole batch how to
guide. The same seed would then be another image each time, and the discriminator's confidence that of a coincidence.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hadis_worker.pipelines import Pixels

PROMPT = "a red circle"
OTHER = (
    "a crowded market square in the rain at night, seen from a balcony, with lanterns over the stalls, people under "
    'umbrellas, and above the gate a large sign that reads "Open until midnight"'
)
"""Longer, with words to paint: what pipelines may decide for the whole batch by."""
_ROUNDING = 0.5 / 255
"""Mean difference of pixels that another order of additions may make in full precision."""
_SHARE = 0.25
"""Of the difference that another prompt makes: roundings of half precision add up over the steps, but not so far."""


def matters(paint: Callable[[tuple[str, ...]], Pixels | None]) -> bool:
    """Return whether the image of a prompt is another one beside another prompt, from two batches or three.

    `paint` makes one batch, whose last image has the same seed each time; None where one was filtered, of which nothing
    is known.
    """
    # The last of a batch: some (OmniGen) make them all as the first one needs it.
    alone, beside = paint((PROMPT,)), paint((OTHER, PROMPT))
    if alone is None or beside is None or _distance(alone, beside) <= _ROUNDING:
        return False
    other = paint((OTHER,))
    return other is not None and _distance(alone, beside) > _SHARE * _distance(alone, other)


def _distance(one: Pixels, other: Pixels) -> float:
    """Return the mean difference between the last images of two batches."""
    return float(np.abs(one[-1] - other[-1]).mean())
