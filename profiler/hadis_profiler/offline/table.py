"""Stage table: everything that was measured as a CascadeProfile, refused where no useful plan could be made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from hadis.api.cascade_profile import SharedWeights
from hadis.api.resources import API_VERSION, CascadeProfile, Configuration, Metadata, ProfileSpec
from hadis.api.shares import cascade_gpu_s
from hadis.api.tier import Tier
from hadis.planning.expected_confidence import MEASURE
from hadis.planning.pareto import pareto_front
from numpy.typing import NDArray

from hadis_profiler.offline import discriminator, quality
from hadis_profiler.offline.difficulty import DifficultyFit
from hadis_profiler.offline.discriminator import TIMED_BATCH, Discrimination
from hadis_profiler.offline.features import ImageFeatures
from hadis_profiler.offline.latency import TierLatency, batch_latencies
from hadis_profiler.offline.quality import Row, heavy_images, interval
from hadis_profiler.offline.spec import Run

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
_QUANTILES = np.linspace(0, 1, 41)
_LEAST_POINTS = 3
_RANDOM_DRAWS = 5


class TableError(RuntimeError):
    """Measurements that make no useful profile; the message says why and what to do."""


@dataclass(frozen=True)
class Hardware:
    """What was measured on, as a profile says it."""

    product: str
    memory_bytes: int


@dataclass(frozen=True)
class Measurements:
    """Everything that the stages before this one found."""

    latency: dict[str, TierLatency]
    features: ImageFeatures
    difficulty: DifficultyFit
    discrimination: Discrimination
    rows: list[Row]
    test: NDArray[np.intp]
    """Prompts that quality was measured on."""
    hardware: Hardware
    shared: tuple[SharedWeights, ...] = ()
    """Weights that tiers have in common."""


def cost_of(row: Row, image_s: Sequence[float], discriminator_s: float) -> float:
    """Return the GPU seconds per request from those per image of each tier and of the discriminator."""
    if row.light == row.heavy:
        return image_s[row.light]
    seconds = image_s[row.light], image_s[row.heavy], discriminator_s
    return cascade_gpu_s(row.direct, row.deferral, *seconds, best_of_two=row.best_of_two)


def build(run: Run, measured: Measurements, advance: Callable[[], None] = lambda: None) -> CascadeProfile:
    """Return the profile; raise TableError. `advance` is called for each row of the front, which takes a while."""
    return CascadeProfile(
        api_version=API_VERSION,
        kind="CascadeProfile",
        metadata=Metadata(name=run.spec.name),
        spec=ProfileSpec(
            gpu_product=measured.hardware.product,
            gpu_memory_bytes=measured.hardware.memory_bytes,
            software={name: version(name) for name in ("torch", "diffusers", "transformers")},
            source=f"hadis profile run: quality on {len(measured.test)} prompts by {run.spec.scorer}, "
            f"seed {run.spec.seed}",
            discriminator=discriminator.FOLDER,
            tiers=tuple(_tiers(run, measured)),
            shared_weights=measured.shared,
            difficulty=measured.difficulty.difficulty,
            configurations=tuple(_configurations(run, measured, advance)),
        ),
    )


def _configurations(run: Run, measured: Measurements, advance: Callable[[], None]) -> Iterator[Configuration]:
    """Yield every row; those on the front have intervals and the random baseline in their measures.

    The better of two images is kept only by pairs that are on the front with it.
    """
    names, rows = [tier.name for tier in run.spec.tiers], measured.rows
    image_s = [measured.latency[name].image_s for name in names]
    costs = [cost_of(row, image_s, measured.discrimination.seconds / TIMED_BATCH) for row in rows]
    distinct = [i for i, row in enumerate(rows) if row.deferral or not row.best_of_two]
    front = [distinct[i] for i in pareto_front([(costs[i], rows[i].quality) for i in distinct])]
    check(names, rows, front)
    on_front = set(front)
    better = {(rows[i].light, rows[i].heavy) for i in front if rows[i].best_of_two}
    for i, (row, cost) in enumerate(zip(rows, costs, strict=True)):
        if row.best_of_two and (row.light, row.heavy) not in better:
            continue
        measures = {MEASURE: round(confidence_of(measured, row), 5)}
        measures |= {} if row.score is None else {"score": round(row.score, 5)}
        if i in on_front:
            measures |= _front_measures(run, measured, row)
            advance()
        yield Configuration(
            light=names[row.light],
            heavy=names[row.heavy],
            direct_ratio=round(row.direct, 6),
            deferral_ratio=round(row.deferral, 6),
            best_of_two=row.best_of_two,
            quality=round(max(row.quality, 1e-6), 6),
            cost=round(cost, 8),
            measures=measures,
        )


def _tiers(run: Run, measured: Measurements) -> Iterator[Tier]:
    trained = measured.discrimination
    for tier, confidence in zip(run.spec.tiers, trained.confidence, strict=True):
        latency = measured.latency[tier.name]
        quantiles = np.quantile(confidence[measured.test], _QUANTILES)
        yield Tier(
            **tier.model_dump(),
            latency=batch_latencies(latency),
            memory_bytes=latency.memory_bytes,
            load_seconds=round(latency.load_s, 2),
            discriminator_seconds=round(trained.seconds, 6),
            negative_prompts=latency.negative_prompts,
            edits=latency.edits,
            prompt_tokens=latency.prompt_tokens,
            confidence_quantiles=tuple(round(float(q), 6) for q in quantiles),
        )


def confidence_of(measured: Measurements, row: Row) -> float:
    """Return the discriminator's mean confidence in the images of a row's configuration."""
    light, heavy = (measured.discrimination.confidence[tier][measured.test] for tier in (row.light, row.heavy))
    return float(np.where(_made_and_kept(measured, row)[1], heavy, light).mean())


def _front_measures(run: Run, measured: Measurements, row: Row) -> dict[str, float]:
    """Return the interval of a row's quality, and for a pair the random baseline.

    The baseline is the quality of as many heavy images as are made, given to prompts drawn at random.
    """
    light, heavy = (measured.features.by_tier[tier][measured.test] for tier in (row.light, row.heavy))
    made, chosen = _made_and_kept(measured, row)
    reference = measured.features.reference
    low, high = interval((light, heavy), reference, chosen, run.spec.bootstrap, run.spec.seed)
    measures = {} if np.isnan(low) else {"qualityLow": round(low, 6), "qualityHigh": round(high, 6)}
    if row.light != row.heavy:
        baseline = quality.random_quality((light, heavy), reference, int(made.sum()), _RANDOM_DRAWS, run.spec.seed)
        measures["random"] = round(baseline, 6)
    return measures


def _made_and_kept(measured: Measurements, row: Row) -> tuple[Flags, Flags]:
    """Return which of the test prompts a heavy image is made for in a row's configuration, and of which it is kept."""
    hard = measured.difficulty.scores[measured.test]
    if row.light == row.heavy:
        everything = np.ones(len(hard), bool)
        return everything, everything
    light, heavy = (measured.discrimination.confidence[tier][measured.test] for tier in (row.light, row.heavy))
    made = heavy_images(hard, light, row.direct, row.deferral)
    return made, heavy_images(hard, light, row.direct, row.deferral, heavy) if row.best_of_two else made


def check(names: Sequence[str], rows: Sequence[Row], front: Sequence[int]) -> None:
    """Raise TableError where the heaviest tier is not better than the lightest, or the front has too few points."""
    singles = {row.light: row.quality for row in rows if row.light == row.heavy}
    first, last = 0, len(names) - 1
    if singles[last] >= singles[first]:
        raise TableError(
            f"the heavy tier is not better: {names[last]} has {singles[last]:.4g}, {names[first]} {singles[first]:.4g} "
            "(a distance, lower is better); put the tiers in order, give the heavy one more steps, or take another pair"
        )
    if len(front) < _LEAST_POINTS:
        raise TableError(
            f"only {len(front)} configurations are on the Pareto front; {_LEAST_POINTS} are the least for a plan to "
            "move between: use more prompts, a finer grid, or tiers that differ more in time and quality"
        )
