"""What makes images, as an engine calls it: a call of prompts and seeds, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hadis_worker.arguments import Acting
from hadis_worker.edit_call import Edit
from hadis_worker.steps import Steps

Pixels = NDArray[np.float32]


class PreviewCount(NamedTuple):
    """How many previews a job has at most."""

    job_id: str
    most: int


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
    edit: Edit | None = None
    """What the images are made from, where that is more than text."""
    previews: tuple[PreviewCount, ...] = ()
    """One per prompt; empty where no image has any."""

    def part(self, part: slice) -> Call:
        """Return the call for some of the prompts."""
        negatives = None if self.negative_prompts is None else self.negative_prompts[part]
        edit = self.edit and self.edit.part(part)
        call = replace(self, prompts=self.prompts[part], negative_prompts=negatives, seeds=self.seeds[part], edit=edit)
        return replace(call, previews=self.previews[part])


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
    prompt_tokens: int | None
    """How many of a prompt's tokens its text encoders read; None where that is not known."""

    def paint(self, call: Call) -> Painted:
        """Return one image per prompt; raise whatever the model raises."""


@runtime_checkable
class Tunes(Protocol):
    """A painter in which not the same acts at every guidance."""

    def acting(self, guidance: float) -> Acting:
        """Return what acts where a request sets the guidance."""
