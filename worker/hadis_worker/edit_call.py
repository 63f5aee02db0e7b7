"""An edit in the words of diffusers' pipelines."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from hadis_worker.inputs import EditInput


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
    return {
        "image": [one.images[0] for one in edit.inputs],
        "mask_image": [one.mask for one in edit.inputs],
        "strength": edit.strength,
        "num_inference_steps": _steps(steps, edit.strength),
    }


def _steps(steps: int, strength: float) -> int:
    """Return the steps to ask for, so that of their share that is made there is at least one."""
    while int(steps * strength) < 1:
        steps += 1
    return steps
