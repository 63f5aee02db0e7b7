"""What a client sees before its answer: previews, and the light image while the heavy tier makes another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hadis.protocol.previews import Preview

from hadis_router.dispatch.job import Job
from hadis_router.dispatch.stages import TierReason


@dataclass(frozen=True, slots=True)
class Partial:
    """An encoded image that is not the answer."""

    image: bytes
    size: str | None
    """Width x height, in pixels; None where the worker does not tell."""
    made_by: Literal["light", "heavy"]


class Partials:
    """The partial images of one job, as many as its client takes; numbered from 0 as they come."""

    def __init__(self, most: int, show: Callable[[int, Partial], None]) -> None:
        """`show` gets each with its number."""
        self._most, self._show, self._shown = most, show, 0

    def previews(self, *, may_be_deferred: bool) -> int:
        """Return how many previews a batch may make.

        One is left for a light image that may be deferred, and of the others half for the heavy batch after it.
        """
        left = self._most - self._shown
        return max(0, left - 1) // 2 if may_be_deferred else left

    def add(self, partial: Partial) -> None:
        """Show a partial image, unless there were enough."""
        if self._shown < self._most:
            self._shown += 1
            self._show(self._shown - 1, partial)


def previews_of(job: Job, *, judged: bool) -> int:
    """Return how many previews a job's batch may make; `judged`: whether a discriminator looks at its images."""
    if job.partials is None:
        return 0
    chosen = job.forced_tier is not None or job.preference is not None
    may_be_deferred = judged and job.tier != job.cascade[1] and job.tier_reason is TierReason.PLANNED and not chosen
    return job.partials.previews(may_be_deferred=may_be_deferred)


def show_preview(job: Job, preview: Preview) -> None:
    """Show a preview of the batch that a job runs in."""
    if job.partials is not None and not job.done:
        job.partials.add(Partial(preview.image, preview.size, "light" if job.tier == job.cascade[0] else "heavy"))


def show_light_image(job: Job) -> None:
    """Show the light image of a job that is kept while the heavy tier makes another."""
    if job.partials is not None and job.light_image is not None:
        job.partials.add(Partial(job.light_image, job.attempts[-1].size, "light"))
