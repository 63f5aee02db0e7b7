"""An edit in the words of diffusers' pipelines."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from hadis_worker.inputs import EditInput

_FEW_STEPS = 10
"""Models that were distilled to fewer know no schedules of many."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Edit:
    """What the images of a call are made from, one input per image, and the share of the steps that are made."""

    inputs: tuple[EditInput, ...]
    strength: float

    def part(self, part: slice) -> Edit:
        """Return that of some of the images."""
        return replace(self, inputs=self.inputs[part])


def edit_arguments(edit: Edit | None, steps: int, accepts: Collection[str]) -> dict[str, Any]:
    """Return what an edit of so many steps adds to the arguments of a pipeline, which are those that it `accepts`."""
    if edit is None:
        return {}
    if "strength" not in accepts:  # all images are references of one prompt; `loading.editors` has it made alone
        return {"image": list(edit.inputs[0].images)}
    # At least one step is made. A tier of one step makes one of several, for it would not see its input otherwise.
    steps = max(steps, min(math.ceil(1 / edit.strength), _FEW_STEPS))
    return {
        "image": [one.images[0] for one in edit.inputs],
        "mask_image": [one.mask for one in edit.inputs],
        "strength": min(1.0, max(edit.strength, (1 + _ROUNDING) / steps)),
        "num_inference_steps": steps,
    }
