"""Stage latency: the time of a batch of each size on each tier, until its median is known well enough."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from hadis.api.edits import Edits
from hadis.api.fields import parse_duration_s
from hadis.api.tier import BatchLatency, TierSettings
from hadis.protocol.api_keys import api_keys
from hadis_worker.errors import EngineUnavailable, LoadError
from hadis_worker.loading.faults import plain
from hadis_worker.outcomes import is_out_of_memory
from rich.progress import Progress

from hadis_profiler.offline import store
from hadis_profiler.offline.engines import Batches, batches_of
from hadis_profiler.offline.spec import Run
from hadis_profiler.offline.timing import BatchTiming, time_batch

_GAIN = 0.02
"""A batch size that gives less than this share more images per second ends the search."""


@dataclass(frozen=True)
class TierLatency:
    """What was measured of one tier."""

    points: tuple[BatchTiming, ...]
    """By rising batch size, of the tier's first image size."""
    load_s: float
    misfit: float
    """See `misfit`."""
    end: str
    """Why larger batches were left out, as the end of a sentence; empty where none was."""
    negative_prompts: bool | None = None
    """Whether the pipeline takes negative prompts; None where that was not looked at."""
    others: Mapping[str, tuple[BatchTiming, ...]] = field(default_factory=dict)
    """Likewise of its other image sizes."""
    edits: Edits | None = None
    """What the pipeline makes from images; None where that was not looked at."""
    prompt_tokens: int | None = None
    """Tokens of a prompt that its text encoders read; None where that is not known."""
    weight_bytes: Mapping[str, int] = field(default_factory=dict)
    """Of each component of the pipeline; empty where that was not looked at."""

    @property
    def best(self) -> BatchTiming:
        """The batch size of most throughput."""
        return min(self.points, key=lambda point: point.p50_s / point.batch)

    @property
    def image_s(self) -> float:
        """Seconds per image in the batch of most throughput."""
        return self.best.p50_s / self.best.batch

    @property
    def memory_bytes(self) -> int:
        """GPU memory of the batch that takes most."""
        return max(point.memory_bytes for points in (self.points, *self.others.values()) for point in points)

    def document(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self) | {"edits": self.edits and self.edits.model_dump()}

    @classmethod
    def read(cls, document: dict[str, Any]) -> TierLatency:
        """Return what `document` wrote."""
        others = {size: _read_points(points) for size, points in document["others"].items()}
        edits = document.get("edits") and Edits(**document["edits"])
        return cls(**{**document, "points": _read_points(document["points"]), "others": others, "edits": edits})


def _read_points(documents: Sequence[dict[str, Any]]) -> tuple[BatchTiming, ...]:
    return tuple(BatchTiming(**point) for point in documents)


def batch_latencies(measured: TierLatency) -> tuple[BatchLatency, ...]:
    """Return the times of a tier as a profile has them; those of its first image size name none."""
    by_size: dict[str | None, tuple[BatchTiming, ...]] = {None: measured.points}
    by_size.update(measured.others)
    return tuple(
        BatchLatency(batch=p.batch, size=size, seconds=round(p.p50_s, 6), joules=joules(p.energy_j))
        for size, points in by_size.items()
        for p in points
    )


def joules(energy_j: float | None) -> float | None:
    """Return a batch's energy for the profile; None where NVML tells nothing: its counter may miss short batches."""
    return round(energy_j or 0.0, 3) or None


def measure(run: Run, device: str, progress: Progress, say: Callable[[str], None]) -> dict[str, TierLatency]:
    """Return the latency of each tier; what was measured before, for the same settings, is kept."""
    api_keys(run.spec.tiers, os.environ)  # a key that is missing is told before anything is measured
    by_tier: dict[str, TierLatency] = {}
    points = [len(tier.all_sizes) * len(run.spec.batches) for tier in run.spec.tiers]
    task = progress.add_task("latency", total=sum(points))
    with run_threads(run, device):
        for number, tier in enumerate(run.spec.tiers):
            settings = run.spec.batches, run.spec.seconds_per_point, run.spec.threads
            made_from = store.mark(tier.model_dump(), settings, device)
            path = run.work / "latency" / f"{tier.name}.json"
            kept = store.load(path, made_from)
            if kept is None:
                measured = _tier(run, tier, device, lambda: progress.advance(task))
                store.save(path, made_from, measured.document())
                say(_summary(tier, measured))
            else:
                measured = TierLatency.read(kept)
            by_tier[tier.name] = measured
            progress.update(task, completed=sum(points[: number + 1]))
    return by_tier


@contextlib.contextmanager
def run_threads(run: Run, device: str) -> Iterator[None]:
    """Compute with the threads of one worker, on a CPU, where the spec says how many."""
    threads = torch.get_num_threads()
    if device == "cpu" and run.spec.threads:
        torch.set_num_threads(run.spec.threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _summary(tier: TierSettings, measured: TierLatency) -> str:
    first, last = measured.points[0], measured.points[-1]
    others = (f"; {size} takes {p[0].p50_s / first.p50_s:.2f} times as long" for size, p in measured.others.items())
    return (
        f"{tier.name}: {first.p50_s:.3g} s for one image, {last.p50_s:.3g} s for {last.batch}; the line through the "
        f"points is off by at most {measured.misfit:.0%}{measured.end}{''.join(others)}"
    )


def _tier(run: Run, tier: TierSettings, device: str, advance: Callable[[], None]) -> TierLatency:
    began = time.perf_counter()
    batches = batches_of(run, tier, device)
    if tier.remote is not None:
        device = "cpu"  # whatever this machine's GPU does meanwhile has nothing to do with it
    load_s = time.perf_counter() - began
    (points, end), *others = (_size(run, tier, size, batches, device, advance) for size in tier.all_sizes)
    by_size = dict(zip(tier.all_sizes[1:], (tuple(points) for points, _ in others), strict=True))
    can = batches.ability
    return TierLatency(
        tuple(points),
        load_s,
        misfit(points),
        end,
        negative_prompts=can.negative_prompts,
        others=by_size,
        edits=can.edits,
        prompt_tokens=can.prompt_tokens,
        weight_bytes=batches.weight_bytes,
    )


def _size(
    run: Run, tier: TierSettings, size: str, batches: Batches, device: str, advance: Callable[[], None]
) -> tuple[list[BatchTiming], str]:
    """Return the times of an image size by rising batch, and why larger batches were left out."""
    limit_s = parse_duration_s(run.spec.seconds_per_point)
    points: list[BatchTiming] = []
    end = ""
    for batch in run.spec.batches:
        try:
            if len(points) == 1 and batches.depend_on_company(size):
                end = "; images depend on those beside them, so it makes one at a time"
                break
            point = time_batch(functools.partial(batches.make, size, batch), batch, limit_s, device)
        except LoadError:
            raise
        except EngineUnavailable as error:
            if not points:
                raise LoadError(f"tier {tier.name}: a batch of {batch} failed: {error}") from None
            end = f"; the endpoint takes no batch of {batch}: {error}"
            break
        except Exception as error:
            if not is_out_of_memory(error) or not points:
                raise LoadError(f"tier {tier.name}: a batch of {batch} failed: {plain(error)}") from error
            gc.collect()
            end = f"; batch {batch} does not fit in memory"
            break
        points.append(point)
        advance()
        if len(points) > 2 and all(_gain(points, i) < _GAIN for i in (-1, -2)):
            end = f"; batches larger than {batch} are not faster per image"
            break
    return points, end


def misfit(points: list[BatchTiming]) -> float:
    """Return the largest distance of a median from the line a + b batch that fits them best, as a share of it."""
    if len(points) < 3:
        return 0.0
    sizes, seconds = np.array([p.batch for p in points], float), np.array([p.p50_s for p in points])
    weights = np.stack([np.ones_like(sizes), sizes], 1) / seconds[:, None]
    line = np.linalg.lstsq(weights, np.ones_like(seconds), rcond=None)[0]
    return float(np.abs((line[0] + line[1] * sizes) / seconds - 1).max())


def _gain(points: list[BatchTiming], i: int) -> float:
    before, point = points[i - 1], points[i]
    return (point.batch / point.p50_s) / (before.batch / before.p50_s) - 1
