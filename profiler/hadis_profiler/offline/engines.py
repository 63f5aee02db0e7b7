"""What measures and makes the images of a tier that has no profile yet: a remote one is asked as a worker would ask."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from hadis.api.tier import BatchLatency, Tier, TierSettings
from hadis.protocol.api_keys import api_keys
from hadis.protocol.worker import GenerateBatch, TierAbility, WireJob
from hadis_worker import company
from hadis_worker.calls import call_of
from hadis_worker.editing import ability_of
from hadis_worker.errors import EngineUnavailable, LoadError
from hadis_worker.loading.editors import load_editors
from hadis_worker.loading.tiers import load_painter
from hadis_worker.outcomes import check_count, check_size
from hadis_worker.painter import Call, Painter, Pixels
from hadis_worker.pipelines import DiffusersPainter
from hadis_worker.remote_engine import RemoteEngine

from hadis_profiler.offline.spec import Run

_PROMPTS = (
    "a photograph of a red bicycle beside a blue door in the rain",
    "a cat",
    "an oil painting of a harbour at dusk, with many small boats, a lighthouse behind them, gulls over the water, and "
    "the lights of a town on the hill, in warm colours and with heavy strokes of the brush",
    "three green bottles on a shelf",
)
"""Of different lengths, as requests are: models that read only as much text as there is pad all to the longest."""


class Batches(Protocol):
    """Makes batches of a tier to be timed."""

    ability: TierAbility
    weight_bytes: Mapping[str, int]
    """Of each component; empty where that is not known."""

    def make(self, size: str, batch: int) -> None:
        """Make a batch of a size (width x height, pixels); raise LoadError where its images are not as they should."""

    def depend_on_company(self, size: str) -> bool:
        """Return whether an image depends on those beside it, as far as that can be seen."""


def batches_of(run: Run, tier: TierSettings, device: str) -> Batches:
    """Return what makes a tier's batches; raise LoadError, and ValueError for a remote tier without its API key."""
    if tier.remote is not None:
        return _RemoteBatches(tier, remote_engine(tier))
    painter = load_painter(as_tier(tier), run.models, device)
    return _LocalBatches(tier, painter, ability_of(painter, load_editors(as_tier(tier), painter)))


def as_tier(tier: TierSettings) -> Tier:
    """Return a tier that was not measured yet, for what loads and paints tiers."""
    return Tier(**tier.model_dump(), latency=(BatchLatency(batch=1, seconds=1),))


def remote_engine(tier: TierSettings) -> RemoteEngine:
    """Return the engine of a remote tier; raise ValueError without its API key, and LoadError."""
    return RemoteEngine([as_tier(tier)], api_keys([tier], os.environ))


class _LocalBatches:
    """Has a pipeline make the batches."""

    def __init__(self, tier: TierSettings, painter: Painter, ability: TierAbility) -> None:
        self._tier, self._painter, self.ability = tier, painter, ability
        self.weight_bytes: Mapping[str, int] = {}
        if isinstance(painter, DiffusersPainter):
            self.weight_bytes = painter.weight_bytes

    def make(self, size: str, batch: int) -> None:
        call = self._call(size, tuple(_prompts(batch)))
        with torch.inference_mode():  # as the worker does: a compiled model has graphs of its own for it
            painted = self._painter.paint(call)
        check_count(call, painted)
        height, width = painted.pixels.shape[1:3]
        check_size(self._tier, size, width, height)

    def depend_on_company(self, size: str) -> bool:
        return company.matters(partial(self._images, size))

    def _images(self, size: str, prompts: tuple[str, ...]) -> Pixels | None:
        """Return the images of a batch, the last with seed 0; None where one was filtered."""
        call = self._call(size, prompts)
        with torch.inference_mode():
            painted = self._painter.paint(replace(call, seeds=call.seeds[::-1]))
        return None if any(painted.filtered or ()) else painted.pixels

    def _call(self, size: str, prompts: tuple[str, ...]) -> Call:
        jobs = [WireJob(id=str(seed), prompt=prompt, seed=seed, size=size) for seed, prompt in enumerate(prompts)]
        return call_of(self._tier, jobs, self._painter)


class _RemoteBatches:
    """Has an endpoint make the batches, each time with other seeds.

    An endpoint may keep what it made, and the time of a repetition would be that of looking it up.
    """

    def __init__(self, tier: TierSettings, engine: RemoteEngine) -> None:
        self._tier, self._engine, self._seeds = tier, engine, itertools.count()
        self.ability = engine.abilities[tier.name]
        self.weight_bytes: Mapping[str, int] = {}

    def make(self, size: str, batch: int) -> None:
        jobs = tuple(
            WireJob(id=str(i), prompt=prompt, seed=next(self._seeds), size=size)
            for i, prompt in enumerate(_prompts(batch))
        )
        for result, _ in self._engine.generate(GenerateBatch(tier=self._tier.name, jobs=jobs)):
            if result.error_code == "unavailable":
                raise EngineUnavailable(result.error)
            if result.error is not None:
                raise LoadError(f"tier {self._tier.name}: a batch of {batch} failed: {result.error}")

    def depend_on_company(self, size: str) -> bool:
        """Return False: each image of a batch is a request of its own."""
        return False


def _prompts(batch: int) -> Iterator[str]:
    return itertools.islice(itertools.cycle(_PROMPTS), batch)
