"""From jobs that are alike to the call that makes them, the tier's settings standing in for what they leave open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hadis.api.pipeline import width_height
from hadis.api.tier import Tier
from hadis.protocol.worker import GenerateBatch, WireJob

from hadis_worker.pipelines import Call, Painter
from hadis_worker.previews.previewer import PreviewCount
from hadis_worker.steps import Steps


def negative_of(job: WireJob, painter: Painter) -> str | None:
    """Return a job's negative prompt; where none acts, an empty one asks for nothing."""
    if not painter.takes_negative_prompts:
        return job.negative_prompt or None
    return painter.default_negative_prompt if job.negative_prompt is None else job.negative_prompt


def call_of(tier: Tier, jobs: Sequence[WireJob], painter: Painter) -> Call:
    """Return how jobs that are alike are made."""
    first = jobs[0]
    width, height = width_height(first.size or tier.size)
    negatives = tuple(text for job in jobs if (text := negative_of(job, painter)) is not None)
    return Call(
        prompts=tuple(job.prompt for job in jobs),
        negative_prompts=negatives or None,
        seeds=tuple(job.seed for job in jobs),
        width=width,
        height=height,
        steps=first.steps or tier.steps,
        guidance=tier.guidance if first.guidance is None else first.guidance,
    )


def told(call: Call, batch: GenerateBatch, jobs: Sequence[WireJob], counter: Steps | None) -> Call:
    """Return the call for some jobs of a batch that tells `counter` its steps, and their previews."""
    counts = batch.previews
    previews = tuple(PreviewCount(job.id, counts.get(job.id, 0)) for job in jobs) if counts else ()
    return replace(call, counter=counter, previews=previews)
