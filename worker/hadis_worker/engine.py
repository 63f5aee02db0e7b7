"""The engine that computes: a batch of jobs to images and confidences with diffusers' pipelines.

Every way in which a model fails becomes a job's error. It runs in one thread (`service.WorkerService` sees to that) and
knows nothing of HTTP. The profiler measures with it too.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from hadis.api.pipeline import width_height
from hadis.api.tier import Tier
from hadis.protocol.worker import GenerateBatch, TierAbility, WireJob

from hadis_worker import company
from hadis_worker.batches import Fault, JobOutcome, Judge, Made, Picture, check_batch, result_of
from hadis_worker.calls import acting_of, call_of, negative_of, observed, refusal_of, tuned
from hadis_worker.discriminator import load_judge
from hadis_worker.editing import NO_EDITORS, Editors, Work, ability_of, works_of
from hadis_worker.errors import BatchCancelled, LoadError
from hadis_worker.loading.editors import load_editors
from hadis_worker.loading.tiers import load_painters
from hadis_worker.outcomes import check_count, check_size, is_out_of_memory, outcome_of
from hadis_worker.painter import Call, Painter, Pixels
from hadis_worker.settings import Models
from hadis_worker.speed.compiling import graphs_made
from hadis_worker.steps import Steps

log = logging.getLogger(__name__)
_SHORT = "a cat"
_LONG = "an oil painting of a harbour at dusk with boats, a lighthouse behind them and gulls over the water, " * 3
_COMPILED = ((_SHORT,), (_LONG,), (_SHORT, _SHORT), (_SHORT, _LONG), (_SHORT, _LONG, company.PROMPT))
"""Batches for which torch compiles: it does for every size once it has seen two, but for one, which stays a case of its
own. Some models mask text only in batches whose prompts differ in length."""
_DIFFERENT_SIZES = 2
"""Image sizes after which torch's graphs are of any size, so that one batch tells whether another is a case apart."""


class Engine:
    """The resident tiers and the discriminator."""

    def __init__(
        self,
        tiers: Sequence[Tier],
        painters: Mapping[str, Painter],
        discriminator: Judge | None = None,
        device: str = "cpu",
        editors: Mapping[str, Editors] | None = None,
    ) -> None:
        """Take tiers with their painters, and with their editors where they take images, by name."""
        self.tiers = {tier.name: tier for tier in tiers}
        self.device = device
        self.out_of_memory_total = 0
        self.broken: str | None = None
        """What made the device unusable until the process starts again (CUDA errors are for good)."""
        self.unavailable: str | None = None
        self._painters, self._editors = painters, dict(editors or {})
        self._discriminator = discriminator
        self._one_at_a_time: set[str] = set()
        """Tiers whose images depend on their company, by name."""

    @classmethod
    def load(cls, models: Models, device: str) -> Self:
        """Load tiers and discriminator and run each once, so that the first batch takes no longer than the next.

        Raises LoadError.
        """
        started = time.perf_counter()
        discriminator = load_judge(models.discriminator, device) if models.discriminator else None
        painters = load_painters(models.tiers, models.folder, device)
        engine = cls(models.tiers, painters, discriminator, device)
        log.info("models took %.2f s", time.perf_counter() - started)
        for tier in models.tiers:
            with painters[tier.name].previewer.learning():
                engine.warm_up(tier)
            engine._editors[tier.name] = load_editors(tier, painters[tier.name])
        return engine

    def warm_up(self, tier: Tier) -> None:
        """Make one image, then two at once, with the tier's own steps (some schedules fail with fewer); then each size.

        Where the company of an image changes it, the tier makes one at a time from then on. A model that is compiled
        sees other batches and lengths of text too, so that no request waits for a compiler. Raises LoadError.
        """
        started = time.perf_counter()
        if company.matters(functools.partial(self._first_images, tier, tier.size)):
            self._one_at_a_time.add(tier.name)
            log.warning("tier %s: images depend on those beside them: it makes one at a time", tier.name)
        for size in tier.all_sizes[1:]:
            self._first_images(tier, size, (company.PROMPT,))
        if tier.speed.compile != "off":
            self._have_compiled(tier)
        log.info("tier %s is warm (%.2f s)", tier.name, time.perf_counter() - started)

    def makes_one_at_a_time(self, tier: str) -> bool:
        """Return whether the images of a tier depend on their company, as its warm-up found."""
        return tier in self._one_at_a_time

    @property
    def abilities(self) -> dict[str, TierAbility]:
        """What each tier can do, by name."""
        return {n: ability_of(painter, self._editors.get(n, NO_EDITORS)) for n, painter in self._painters.items()}

    def _have_compiled(self, tier: Tier) -> None:
        alone = tier.name in self._one_at_a_time
        batches = _COMPILED[:2] if alone else _COMPILED
        for number, size in enumerate(tier.all_sizes):
            before = graphs_made()
            for prompts in batches if number < _DIFFERENT_SIZES else batches[::-1]:
                self._first_images(tier, size, prompts)
                if number >= _DIFFERENT_SIZES and graphs_made() == before:
                    break
            if tier.tunable:  # unguided, a batch of one is one to the model too
                self._first_images(tier, size, (_SHORT,), guidance=1.0)

    def _first_images(
        self, tier: Tier, size: str, prompts: tuple[str, ...], guidance: float | None = None
    ) -> Pixels | None:
        """Return the images of a batch, the last with seed 0, None where one was filtered; raise LoadError."""
        seeds = range(len(prompts) - 1, -1, -1)
        jobs = tuple(
            WireJob(id=str(seed), prompt=prompt, seed=seed, size=size, guidance=guidance)
            for seed, prompt in zip(seeds, prompts, strict=True)
        )
        batch = GenerateBatch(tier=tier.name, jobs=jobs, discriminate=self._discriminator is not None)
        pixels: list[Pixels] = []
        painter = self._painters[tier.name]
        for outcome in self._halving(batch, jobs, painter, call_of(tier, jobs, painter)):
            if isinstance(outcome, Picture):
                check_size(tier, size, outcome.image.width, outcome.image.height)
                pixels.append(np.asarray(outcome.image, np.float32) / np.float32(255))
            elif outcome.code != "content_filtered":  # a checker's mistake, which says that model and checker work
                raise LoadError(f"tier {tier.name}: the first batch of {len(jobs)} failed: {outcome.message}")
        return np.stack(pixels) if len(pixels) == len(jobs) else None

    def check(self, batch: GenerateBatch) -> Tier:
        """Return the batch's tier; raise UnknownTierError or BatchError, whose messages are for the caller."""
        return check_batch(batch, self.tiers, judges=self._discriminator is not None)

    async def watch(self) -> None:
        """Return at once: what is loaded stays."""

    def generate(self, batch: GenerateBatch, counter: Steps | None = None) -> Made:
        """Return each job's result and image (None beside an error), in order.

        Raises what `check` raises, and BatchCancelled where `counter` was told to stop the batch.
        """
        tier, started = self.check(batch), time.perf_counter()
        outcomes: dict[str, JobOutcome] = {}
        size = width_height(batch.jobs[0].size or tier.size)
        works, faults = works_of(batch, self._painters[tier.name], self._editors.get(tier.name, NO_EDITORS), *size)
        outcomes.update(faults)
        for work in works:
            outcomes |= self._work(tier, batch, work, counter)
        service_s = time.perf_counter() - started
        return [result_of(job, outcomes[job.id], service_s) for job in batch.jobs]

    def _work(self, tier: Tier, batch: GenerateBatch, work: Work, counter: Steps | None) -> dict[str, JobOutcome]:
        """Return what becomes of the jobs of one painter, by id."""
        painter, outcomes = work.painter, dict[str, JobOutcome]()
        # An absent negative prompt is not an empty one to every pipeline (SDXL), so the two are not made together.
        acting = acting_of(painter, work.jobs[0].guidance)
        for job in work.jobs:
            if (refusal := refusal_of(job, tier, acting)) is not None:
                outcomes[job.id] = Fault("invalid", refusal)
        able = [job for job in work.jobs if job.id not in outcomes]
        for has_negative in (False, True):
            jobs = tuple(job for job in able if (negative_of(job, acting) is not None) == has_negative)
            for part in self._together(tier, jobs):
                call = work.call(observed(call_of(tier, part, painter), batch, part, counter), part)
                made = self._halving(batch, part, painter, call)
                outcomes |= {job.id: outcome for job, outcome in zip(part, made, strict=True)}
        return outcomes

    def _together(self, tier: Tier, jobs: tuple[WireJob, ...]) -> list[tuple[WireJob, ...]]:
        """Return which jobs are made at once."""
        return [(job,) for job in jobs] if tier.name in self._one_at_a_time else [jobs] if jobs else []

    def _halving(
        self, batch: GenerateBatch, jobs: tuple[WireJob, ...], painter: Painter, call: Call
    ) -> list[JobOutcome]:
        """Make the jobs at once, or in halves, and those in halves, as long as memory does not suffice."""
        try:
            return self._at_once(batch, painter, call)
        except BatchCancelled:
            raise
        except Exception as error:  # whatever a model raises is these jobs' error, and the worker goes on
            if not is_out_of_memory(error):
                log.exception("tier %s: a batch of %d failed", batch.tier, len(jobs))
                return [self._failed(error, jobs)] * len(jobs)
        # Outside of the handler: the error's traceback keeps the tensors of the failed batch alive.
        self._free_memory()
        if len(jobs) == 1:
            log.error("tier %s: out of memory for a single image", batch.tier)
            return [Fault("out_of_memory", f"tier {batch.tier} has not enough memory for one image")]
        middle = len(jobs) // 2
        log.warning("tier %s: out of memory at batch %d; trying %d", batch.tier, len(jobs), len(jobs) - middle)
        return [
            outcome
            for part in (slice(0, middle), slice(middle, None))
            for outcome in self._halving(batch, jobs[part], painter, call.part(part))
        ]

    def _at_once(self, batch: GenerateBatch, painter: Painter, call: Call) -> list[JobOutcome]:
        if call.counter is not None:
            call.counter.count(len(call.prompts), 0, call.steps)
        with torch.inference_mode():
            painted = painter.paint(call)
        if call.counter is not None:
            call.counter.end_call(len(call.prompts))
        check_count(call, painted)
        outcomes = [outcome_of(painted, i) for i in range(len(painted.pixels))]
        good = [(i, outcome) for i, outcome in enumerate(outcomes) if isinstance(outcome, Picture)]
        if batch.discriminate and self._discriminator is not None and good:
            prompts = [call.prompts[i] for i, _ in good]
            with call.counter.timed("judge") if call.counter else contextlib.nullcontext():
                sure = self._discriminator.confidence([picture.image for _, picture in good], prompts, batch.tier)
            for (i, picture), confidence in zip(good, sure, strict=True):
                outcomes[i] = replace(picture, confidence=confidence)
        return outcomes

    def _failed(self, error: Exception, jobs: Sequence[WireJob]) -> Fault:
        message = " ".join(str(error).split())[:300]
        if "CUDA error" in message:
            self.broken = message
        if isinstance(error, ValueError) and (own := tuned(jobs[0])):  # what pipelines say of arguments
            return Fault("invalid", f"{own}: {message}")
        return Fault("failed", f"{type(error).__name__}: {message}")

    def _free_memory(self) -> None:
        self.out_of_memory_total += 1
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
