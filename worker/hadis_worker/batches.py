"""What every engine has in common: its protocol, which batches it refuses, and what becomes of a job.

An engine makes the images of a worker's tiers. There are two: `engine.Engine` computes them with diffusers,
`remote_engine.RemoteEngine` has an endpoint make them. Apart from them, so that the second one needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hadis.api.tier import Tier
from hadis.protocol.worker import ErrorCode, GenerateBatch, JobResult, TierAbility, WireJob
from PIL import Image

from hadis_worker.errors import BatchError, UnknownTierError
from hadis_worker.steps import Steps

Made = list[tuple[JobResult, Image.Image | None]]
"""Each job's result and image (None beside an error), in order."""


class BatchEngine(Protocol):
    """What makes images. It is loaded and called in one thread; its properties are read in others."""

    device: str
    """cuda or cpu."""
    out_of_memory_total: int
    """Batches, or parts of one, that memory did not suffice for."""
    broken: str | None
    """Why the process must start again before it can be used; None where it need not."""
    unavailable: str | None
    """Why no image can be made at the moment; None where one can."""

    @property
    def abilities(self) -> dict[str, TierAbility]:
        """What each tier can do, by name."""

    def check(self, batch: GenerateBatch) -> Tier:
        """Return the batch's tier; raise UnknownTierError or BatchError, whose messages are for the caller."""

    def generate(self, batch: GenerateBatch, counter: Steps | None = None) -> Made:
        """Return each job's result and image, in order.

        Raises what `check` raises, BatchCancelled where `counter` was told to stop the batch, and EngineUnavailable.
        """

    async def watch(self) -> None:
        """Keep `unavailable` up to date until cancelled; return at once where nothing can change it."""


class Judge(Protocol):
    """Tells how sure it is that images are good enough for their prompts, as the discriminator does."""

    def confidence(self, images: Sequence[Image.Image], prompts: Sequence[str], tier: str) -> list[float]:
        """Return a probability (0..1) for each image of a tier."""


@dataclass(frozen=True)
class Fault:
    """Why a job has no image."""

    code: ErrorCode
    message: str


@dataclass(frozen=True)
class Picture:
    """An image, how many tokens of its prompt were not read, and the confidence in it where that was asked for."""

    image: Image.Image
    truncated_tokens: int | None = None
    confidence: float | None = None


JobOutcome = Picture | Fault


def check_batch(batch: GenerateBatch, tiers: Mapping[str, Tier], *, judges: bool) -> Tier:
    """Return the batch's tier of those that are resident; raise UnknownTierError or BatchError.

    `judges` is whether there is a discriminator.
    """
    tier = tiers.get(batch.tier)
    if tier is None:
        raise UnknownTierError(f"tier {batch.tier!r} is not resident; resident are {', '.join(tiers)}")
    if len({job.id for job in batch.jobs}) < len(batch.jobs):
        raise BatchError("two jobs of the batch have the same id")
    if len({(job.size, job.steps, job.guidance, job.edit and job.edit.key) for job in batch.jobs}) > 1:
        raise BatchError("the jobs of a batch must be alike in size, steps, guidance and kind of edit")
    if (last := max((n for job in batch.jobs if job.edit for n in job.edit.inputs), default=-1)) >= len(batch.inputs):
        raise BatchError(f"a job is made from input {last}, but there are {len(batch.inputs)}")
    first = batch.jobs[0]
    if first.size not in (None, *tier.all_sizes):
        raise BatchError(f"tier {tier.name} makes {', '.join(tier.all_sizes)}, not {first.size}")
    if not tier.tunable and (first.steps not in (None, tier.steps) or first.guidance not in (None, tier.guidance)):
        raise BatchError(f"tier {tier.name} does not let a request set steps or guidance")
    if batch.discriminate and not judges:
        raise BatchError("this worker has no discriminator: the profile names none")
    return tier


def result_of(job: WireJob, outcome: JobOutcome, service_s: float) -> tuple[JobResult, Image.Image | None]:
    """Return a job's result and image; `service_s` is the time of its batch."""
    if isinstance(outcome, Fault):
        return JobResult(id=job.id, error=outcome.message, error_code=outcome.code, service_s=service_s), None
    confidence = outcome.confidence
    if confidence is not None and not math.isfinite(confidence):
        confidence = 0.0  # a discriminator that fails must not pass an image as good
    result = JobResult(
        id=job.id,
        confidence=confidence,
        size=f"{outcome.image.width}x{outcome.image.height}",
        truncated_tokens=outcome.truncated_tokens,
        service_s=service_s,
    )
    return result, outcome.image
