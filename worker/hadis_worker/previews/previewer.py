"""Previews of one tier: learnt while it warms up, drawn at some of the steps of a batch.

The thread that computes copies the latents of a step, no more; whoever sends previews draws them.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from hadis_worker.painter import Call
from hadis_worker.previews.colours import Array, Colours, Decoding, LatentSample, fit
from hadis_worker.previews.drawn import drawn_decodings
from hadis_worker.previews.watch import LatentsWatch, on_cpu
from hadis_worker.steps import StepPreview

log = logging.getLogger(__name__)
_MOST_SAMPLES = 8
"""Images that the map is learnt from; one of 1024 x 1024 pixels has thousands of places."""


class Previewer:
    """Draws previews once it has learnt what latents look like; until then there are none."""

    def __init__(self, pipeline: Any, colours: Colours | None = None) -> None:
        """Take a pipeline, and the colours of its latents where they are known; no pipeline: there are no previews.

        Nor are there where it has a safety checker: what may be filtered must not be seen before.
        """
        has_parts = hasattr(getattr(pipeline, "scheduler", None), "step") and hasattr(pipeline, "vae")
        checked = getattr(pipeline, "safety_checker", None) is not None
        self._pipeline = pipeline if has_parts and not checked else None
        self._colours = colours
        self._samples: list[LatentSample] | None = None

    def of(self, pipeline: Any) -> Previewer:
        """Return one of another pipeline with the same latents."""
        return Previewer(self._pipeline and pipeline, self._colours)

    @contextlib.contextmanager
    def learning(self) -> Iterator[None]:
        """Learn from the images that are made meanwhile."""
        samples: list[LatentSample] = []
        self._samples = samples
        try:
            yield
        finally:
            self._samples = None
        if samples:
            try:
                self._colours = fit(samples, drawn_decodings(self._pipeline, samples[0].decoding))
            except Exception as error:  # VAEs are of every kind, and a tier without previews makes images
                log.warning("no previews of %s: %s: %s", type(self._pipeline).__name__, type(error).__name__, error)

    @contextlib.contextmanager
    def watching(self, call: Call, watch: LatentsWatch) -> Iterator[None]:
        """Have a call of the pipeline watched, as far as something comes of it."""
        learns = self._samples is not None and len(self._samples) < _MOST_SAMPLES
        shows = self._colours is not None and any(preview.most for preview in call.previews)
        with contextlib.ExitStack() as stack:
            if self._pipeline is not None and (learns or shows):
                stack.enter_context(watch.steps_of(self._pipeline.scheduler))
            if self._pipeline is not None and learns:
                stack.enter_context(watch.decoded_by(self._pipeline.vae))
            yield

    def learn(self, watch: LatentsWatch, pixels: Array) -> None:
        """Take the images (n, height, width, 3) of a call, in 0..1, if they are to be learnt from."""
        if self._samples is None or watch.latents is None or not watch.decoded:
            return
        latents, codes = on_cpu(watch.latents), np.concatenate([on_cpu(each) for each in watch.decoded])
        if len(latents) == len(codes) == len(pixels):
            decodings = (Decoding(*pair) for pair in zip(codes, pixels, strict=True))
            self._samples += [LatentSample(*pair) for pair in zip(latents, decodings, strict=True)]

    def show(self, watch: LatentsWatch, call: Call, done: int, steps: int) -> None:
        """Hand over the previews that are due after so many of a call's steps."""
        numbers = {i: number_due(preview.most, done, steps) for i, preview in enumerate(call.previews)}
        due = [i for i, number in numbers.items() if number]
        if not due or self._colours is None or call.counter is None:
            return
        if watch.clean is None or len(watch.clean) != len(call.prompts):
            return
        for i, latents in zip(due, on_cpu(watch.clean[due]), strict=True):
            draw = functools.partial(self._colours.draw, latents, call.width, call.height)
            call.counter.show(call.previews[i].job_id, StepPreview(numbers[i], draw))


def number_due(most: int, done: int, steps: int) -> int:
    """Return which of at most so many previews, from 1, is due after `done` of all steps; 0 for none.

    They divide the steps evenly. Few steps have fewer, for after the last one it is the image that is seen.
    """
    numbers = (number for number in range(most, 0, -1) if number * steps // (most + 1) == done)
    return next(numbers, 0) if 0 < done < steps else 0
