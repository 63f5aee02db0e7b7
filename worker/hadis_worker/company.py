"""Whether an image depends on those that are made beside it: of some pipelines it does, and they make one at a time.

Some pad prompts to the longest of a batch and let the model see the padding, some choose for the whole batch how to
guide. The same seed would then be another image each time, and the discriminator's confidence that of a coincidence.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hadis_worker.painter import Pixels

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
    """Return whether the image of a prompt is another one beside another prompt, from two batches or up to four.

    `paint` makes one batch, whose last image has the same seed each time; None where one was filtered, of which nothing
    is known.
    """
    # The last of a batch: some (OmniGen) make them all as the first one needs it.
    alone, beside = paint((PROMPT,)), paint((OTHER, PROMPT))
    if alone is None or beside is None or _distance(alone, beside) <= _ROUNDING:
        return False
    changed, other = _distance(alone, beside), paint((OTHER,))
    if other is None or changed <= _SHARE * _distance(alone, other):
        return False
    itself = paint((PROMPT, PROMPT))  # as far as a batch of two changes it anyway
    return itself is not None and changed > 2 * _distance(alone, itself)


def _distance(one: Pixels, other: Pixels) -> float:
    """Return the mean difference between the last images of two batches."""
    return float(np.abs(one[-1] - other[-1]).mean())
