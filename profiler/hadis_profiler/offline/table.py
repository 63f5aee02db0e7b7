"""Stage table: everything that was measured as a CascadeProfile, refused where a plan made of it would be of no use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from hadis.api.resources import (
    API_VERSION,
    BatchLatency,
    CascadeProfile,
    Configuration,
    Metadata,
    ProfileSpec,
    Tier,
)
from numpy.typing import NDArray

from hadis_profiler.offline import discriminate, quality
from hadis_profiler.offline.difficulty import Fitted
from hadis_profiler.offline.discriminate import Judged
from hadis_profiler.offline.latency import joules
from hadis_profiler.offline.look import Looks
from hadis_profiler.offline.quality import Row, heavy_images, interval
from hadis_profiler.offline.spec import Run

Array = NDArray[np.float64]
_QUANTILES = np.linspace(0, 1, 41)
_LEAST_POINTS = 3
_RANDOM_DRAWS = 5


class TableError(RuntimeError):
    """What was measured makes no useful profile; the message says why and what to do."""


def front(rows: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the (cost, quality) rows that no other beats on both, by rising cost.

    Lower is better in both. Of rows that are alike the first is kept.
    """
    order = sorted(range(len(rows)), key=lambda i: (rows[i], i))
    found: list[int] = []
    for i in order:
        if not found or rows[i][1] < rows[found[-1]][1]:
            found.append(i)
    return found


def image_seconds(measured: dict[str, Any]) -> float:
    """Return the least seconds an image of a tier."""
    return min(float(point["p50_s"]) / int(point["batch"]) for point in measured["points"])


def cost_of(row: Row, seconds: Sequence[float], look_s: float) -> float:
    """Return the GPU seconds a request (the paper's section 4.2); `look_s` are the discriminator's an image."""
    if row.light == row.heavy:
        return seconds[row.light]
    to_heavy = row.direct + (1 - row.direct) * row.deferral
    return (1 - row.direct) * (seconds[row.light] + look_s) + to_heavy * seconds[row.heavy]


def build(
    run: Run, latency: dict[str, Any], looks: Looks, fitted: Fitted, judged: Judged, rows: list[Row],
    test: NDArray[np.intp], device: tuple[str, int], advance: Callable[[], None] = lambda: None,
) -> CascadeProfile:  # fmt: skip
    """Return the profile; raise TableError. `device` is the product's name and its memory in bytes."""
    names = [tier.name for tier in run.spec.tiers]
    look_s = judged.seconds / 8
    costs = [cost_of(row, [image_seconds(latency[name]) for name in names], look_s) for row in rows]
    best = front([(cost, row.quality) for cost, row in zip(costs, rows, strict=True)])
    _check(names, rows, best)
    extra = {i: _around(run, looks, fitted, judged, rows[i], test, advance) for i in best}
    configurations = tuple(
        Configuration(
            light=names[row.light],
            heavy=names[row.heavy],
            direct_ratio=round(row.direct, 6),
            deferral_ratio=round(row.deferral, 6),
            quality=round(max(row.quality, 1e-6), 6),
            cost=round(cost, 8),
            measures={**({} if row.score is None else {"score": round(row.score, 5)}), **extra.get(i, {})},
        )
        for i, (row, cost) in enumerate(zip(rows, costs, strict=True))
    )
    tiers = tuple(_tier(run, k, latency[name], judged, test) for k, name in enumerate(names))
    return CascadeProfile(
        api_version=API_VERSION,
        kind="CascadeProfile",
        metadata=Metadata(name=run.spec.name),
        spec=ProfileSpec(
            gpu_product=device[0],
            gpu_memory_bytes=device[1],
            software={name: version(name) for name in ("torch", "diffusers", "transformers")},
            source=f"hadis profile run: quality of {len(test)} prompts by {run.spec.scorer}, seed {run.spec.seed}",
            discriminator=discriminate.FOLDER,
            tiers=tiers,
            difficulty=fitted.difficulty,
            configurations=configurations,
        ),
    )


def _tier(run: Run, k: int, measured: dict[str, Any], judged: Judged, test: NDArray[np.intp]) -> Tier:
    points = measured["points"]
    quantiles = np.quantile(judged.confidence[k][test], _QUANTILES)
    return Tier(
        **run.spec.tiers[k].model_dump(),
        latency=tuple(
            BatchLatency(batch=p["batch"], seconds=round(p["p50_s"], 6), joules=joules(p["energy_j"])) for p in points
        ),
        memory_bytes=max(p["memory_bytes"] for p in points),
        load_seconds=round(measured["load_s"], 2),
        discriminator_seconds=round(judged.seconds, 6),
        confidence_quantiles=tuple(round(float(q), 6) for q in quantiles),
    )


def _around(
    run: Run,
    looks: Looks,
    fitted: Fitted,
    judged: Judged,
    row: Row,
    test: NDArray[np.intp],
    advance: Callable[[], None],
) -> dict[str, float]:
    """Return the interval of a row's quality, and the quality of the same ratios with prompts drawn at random."""
    light, heavy = looks.features[row.light][test], looks.features[row.heavy][test]
    chosen = heavy_images(fitted.scores[test], judged.confidence[row.light][test], row.direct, row.deferral)
    chosen = np.ones(len(test), bool) if row.light == row.heavy else chosen
    low, high = interval((light, heavy), looks.reference, chosen, run.spec.bootstrap, run.spec.seed)
    advance()
    found = {} if np.isnan(low) else {"qualityLow": round(low, 6), "qualityHigh": round(high, 6)}
    if row.light == row.heavy:
        return found
    rng, target = np.random.default_rng(run.spec.seed), quality.Reference(looks.reference)
    moments = target.moments(light), target.moments(heavy)
    drawn = []
    for _ in range(_RANDOM_DRAWS):
        some, sums = rng.permutation(len(test)), quality.Sums(light.shape[1])
        for part, which in zip(moments, (some[chosen.sum() :], some[: chosen.sum()]), strict=True):
            sums.add(part, which)
        drawn.append(target.distance(sums))
    return found | {"random": round(float(np.mean(drawn)), 6)}


def _check(names: list[str], rows: list[Row], best: list[int]) -> None:
    singles = {row.light: row.quality for row in rows if row.light == row.heavy}
    first, last = 0, len(names) - 1
    if singles[last] >= singles[first]:
        raise TableError(
            f"the heavy tier is not better: {names[last]} has {singles[last]:.4g}, {names[first]} {singles[first]:.4g} "
            "(a distance, lower is better); put the tiers in order, give the heavy one more steps, or take another pair"
        )
    if len(best) < _LEAST_POINTS:
        raise TableError(
            f"only {len(best)} configurations are worth anything; {_LEAST_POINTS} are the least for a plan to move "
            "between: use more prompts, a finer grid, or tiers that differ more in time and quality"
        )
