"""From jobs that are alike to the call that makes them, the tier's settings standing in for what they leave open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hadis.api.pipeline import width_height
from hadis.api.tier import TierSettings
from hadis.protocol.worker import GenerateBatch, WireJob

from hadis_worker.arguments import Acting
from hadis_worker.painter import Call, Painter, PreviewCount, Tunes
from hadis_worker.steps import Steps


def acting_of(painter: Painter, guidance: float | None) -> Acting:
    """Return what acts in a painter at a request's guidance; None: the tier's."""
    if guidance is not None and isinstance(painter, Tunes):
        return painter.acting(guidance)
    return Acting(painter.takes_negative_prompts, painter.default_negative_prompt)


def refusal_of(job: WireJob, tier: TierSettings, acting: Acting) -> str | None:
    """Return why a job's guidance or negative prompt would do nothing; None where both act, or are not there."""
    if job.guidance is not None and acting.refusal is not None:
        return f"tier {tier.name}: {acting.refusal}"
    if job.negative_prompt and not acting.takes_negative_prompts:  # an empty one asks for nothing
        at = "" if job.guidance is None else f" at guidance {job.guidance:g}"
        return f"tier {tier.name} takes no negative prompt{at}"
    return None


def tuned(job: WireJob) -> str:
    """Return the settings that a request made itself, in words; empty where it made none."""
    settings = {"steps": job.steps, "guidance": job.guidance}
    return " and ".join(f"{name} {value:g}" for name, value in settings.items() if value is not None)


def negative_of(job: WireJob, acting: Acting) -> str | None:
    """Return a job's negative prompt, or what stands in for it where one acts."""
    if not acting.takes_negative_prompts:
        return None
    return acting.default_negative_prompt if job.negative_prompt is None else job.negative_prompt


def call_of(tier: TierSettings, jobs: Sequence[WireJob], painter: Painter) -> Call:
    """Return how jobs that are alike are made."""
    first = jobs[0]
    acting = acting_of(painter, first.guidance)
    width, height = width_height(first.size or tier.size)
    negatives = tuple(text for job in jobs if (text := negative_of(job, acting)) is not None)
    return Call(
        prompts=tuple(job.prompt for job in jobs),
        negative_prompts=negatives or None,
        seeds=tuple(job.seed for job in jobs),
        width=width,
        height=height,
        steps=first.steps or tier.steps,
        guidance=tier.guidance if first.guidance is None else first.guidance,
    )


def observed(call: Call, batch: GenerateBatch, jobs: Sequence[WireJob], counter: Steps | None) -> Call:
    """Return the call for some jobs of a batch that tells `counter` its steps, and their previews."""
    counts = batch.previews
    previews = tuple(PreviewCount(job.id, counts.get(job.id, 0)) for job in jobs) if counts else ()
    return replace(call, counter=counter, previews=previews)
