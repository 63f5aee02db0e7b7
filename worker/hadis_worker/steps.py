"""The steps of a running batch: counted and shown where they are made, read and stopped from the event loop.

A thread cannot be stopped from outside, but a pipeline calls back after every step: there a batch that nobody waits
for any more ends.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hadis.protocol.worker import Progress
from PIL import Image

from hadis_worker.errors import BatchCancelled


@dataclass(frozen=True, slots=True)
class TimedPart:
    """Something beside the steps that took its time: from when to when, in nanoseconds of Unix time."""

    name: str
    began_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class StepPreview:
    """What a job's image looks like after some of its steps."""

    number: int
    """Of the job's previews, from 1."""
    draw: Callable[[], Image.Image | None]
    """Returns the image, of the final size, or None where it cannot be told; takes milliseconds."""


class Steps:
    """The steps of one batch. Its images may be made by several calls of the pipeline, one after the other."""

    def __init__(self, images: int, steps: int) -> None:
        """Take the batch's size and the steps of an image."""
        self._images, self._steps = images, steps
        self._made, self._done = 0, 0
        self._cancelled = threading.Event()
        self._previews: dict[str, StepPreview] = {}
        self._shown: dict[str, int] = {}
        self.parts: list[TimedPart] = []
        """What was made beside the steps: the images' confidences (judge), and their files (encode)."""

    @property
    def progress(self) -> Progress:
        """Return the steps that are done, over all images of the batch."""
        return Progress(done=self._done, steps=self._steps)

    def cancel(self) -> None:
        """Have the batch stop at its next step."""
        self._cancelled.set()

    def count(self, images: int, done: int, steps: int) -> None:
        """Note that a call of the pipeline for so many images is at a step; raise BatchCancelled to stop it."""
        if self._cancelled.is_set():
            raise BatchCancelled
        images_made = self._made * steps + images * min(done, steps)  # in parts of `steps`, for whole numbers
        self._done = images_made * self._steps // (steps * self._images)

    def show(self, job_id: str, preview: StepPreview) -> None:
        """Have a job's preview sent, in place of one that was not yet; none comes twice where a call is repeated."""
        if preview.number > self._shown.get(job_id, 0):
            self._shown[job_id] = preview.number
            self._previews[job_id] = preview

    def take_preview(self, job_id: str) -> StepPreview | None:
        """Return a job's newest preview, if it was not taken before."""
        return self._previews.pop(job_id, None)

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Note how long something beside the steps takes."""
        began_ns = time.time_ns()
        try:
            yield
        finally:
            self.parts.append(TimedPart(name, began_ns, time.time_ns()))

    def end_call(self, images: int) -> None:
        """Note that a call made so many images; one that failed counts for nothing."""
        self._made += images
