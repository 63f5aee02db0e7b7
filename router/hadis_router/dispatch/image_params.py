"""What one image should be, and which images may be made in one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from hadis.protocol.worker import EditKey, Format

from hadis_router.dispatch.edit import EditInputs

Preference = Literal["light", "heavy"]
"""The tier of the plan that a client prefers, by its request's `quality`."""


class BatchKey(NamedTuple):
    """What the jobs of a batch have in common."""

    size: str | None
    steps: int | None
    guidance: float | None
    edit: EditKey | None = None


@dataclass(frozen=True, slots=True)
class ImageParams:
    """What one image should be. None means: as the tier's profile says, for the size its first one."""

    prompt: str
    seed: int
    negative_prompt: str | None = None
    size: str | None = None
    steps: int | None = None
    guidance: float | None = None
    format: Format = "png"
    compression: int = 90
    edit: EditInputs | None = None
    """What it is made from beside the prompt."""

    @property
    def batch_key(self) -> BatchKey:
        """What must be alike for two jobs to share a batch."""
        return BatchKey(self.size, self.steps, self.guidance, None if self.edit is None else self.edit.key)
