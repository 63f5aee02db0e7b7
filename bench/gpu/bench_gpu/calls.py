"""Batches of a tier: as plain diffusers makes them, and as a worker does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hadis.api.tier import Tier
from hadis.protocol.worker import GenerateBatch, WireJob
from hadis_worker.engine import Engine
from hadis_worker.pipelines import DiffusersPainter

from bench_gpu.tiers import Subject

Make = Callable[[int], None]
"""Makes a batch of so many images."""
_PROMPT = "a photograph of a red bicycle beside a blue door in the rain"


def plain_call(pipeline: Any, subject: Subject, steps: int) -> Make:
    """Return what makes batches with the pipeline alone, called as its documentation does."""
    width, height = (int(side) for side in subject.size.split("x"))

    def make(batch: int) -> None:
        guidance: dict[str, Any] = {"guidance_scale": subject.guidance}
        if subject.true_guidance:
            guidance = {"true_cfg_scale": subject.guidance, "negative_prompt": [""] * batch}
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in range(batch)]
        pipeline(
            prompt=[_PROMPT] * batch,
            num_inference_steps=steps,
            width=width,
            height=height,
            generator=generators,
            **guidance,
        )

    return make


def worker_call(pipeline: Any, tier: Tier, device: str) -> Make:
    """Return what makes batches with the worker's engine; it raises MemoryError, and RuntimeError for a job's error."""
    engine = Engine([tier], {tier.name: DiffusersPainter(pipeline, tier)}, None, device)

    def make(batch: int) -> None:
        jobs = tuple(WireJob(id=str(seed), prompt=_PROMPT, seed=seed) for seed in range(batch))
        made = engine.generate(GenerateBatch(tier=tier.name, jobs=jobs))
        if engine.out_of_memory_total:
            raise MemoryError("the engine made the batch in parts")
        for result, _ in made:
            if result.error is not None:
                raise RuntimeError(result.error)

    return make
