"""How long a run will take, told before each stage that takes long: batches are timed first, images are made then."""

from __future__ import annotations

from collections.abc import Mapping

from hadis.api.fields import parse_duration_s

from hadis_profiler.offline.latency import TierLatency
from hadis_profiler.offline.spec import Run


def of_latency(run: Run) -> str:
    """Say how long timing batches takes at most: a point ends sooner where its median is known sooner."""
    points, each = (
        sum(len(tier.all_sizes) for tier in run.spec.tiers) * len(run.spec.batches),
        run.spec.seconds_per_point,
    )
    most = spoken(points * parse_duration_s(each))
    return f"latency: up to {points} points of {each}, so {most} at most where three batches take less than {each}"


def of_images(missing: Mapping[str, int], measured: Mapping[str, TierLatency]) -> str:
    """Say how long it takes to make the images that are `missing` by tier, at the speed that was measured."""
    seconds = sum(count * measured[tier].image_s for tier, count in missing.items())
    return f"images: {sum(missing.values()):,} to make, about {spoken(seconds)}"


def spoken(seconds: float) -> str:
    """Return a duration as people say it."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}" if seconds >= 10 * size else f"{seconds / size:.1f} {unit}"
    return f"{max(1, round(seconds))} s"
