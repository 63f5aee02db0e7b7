"""A run says beforehand how long it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hadis_profiler.offline import images
from hadis_profiler.offline.duration import of_images, of_latency, spoken
from hadis_profiler.offline.latency import TierLatency
from hadis_profiler.offline.timing import BatchTiming
from profiler_runs import run_of


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "1 s"),
        (119, "119 s"),
        (120, "2.0 minutes"),
        (3000, "50 minutes"),
        (9000, "2.5 hours"),
        (90_000, "25 hours"),
    ],
)
def test_durations_are_spoken(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


def test_timing_takes_so_long_at_most(tmp_path: Path) -> None:
    run = run_of(tmp_path, batches=[1, 2, 4], secondsPerPoint="30s")
    assert of_latency(run) == (
        "latency: up to 6 points of 30s, so 3.0 minutes at most where three batches take less than 30s"
    )


def test_only_images_that_are_missing_take_time(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    made = images.path_of(run.work / "images/a", 1)
    made.parent.mkdir(parents=True)
    made.touch()
    missing = {tier.name: len(images.missing(run, tier, 10)) for tier in run.spec.tiers}
    assert missing == {"a": 9, "b": 10}
    quick, slow = (TierLatency((BatchTiming(4, s, s, s, s, 5, 0, None),), 1.0, 0.0, "") for s in (4.0, 160.0))
    assert of_images(missing, {"a": quick, "b": slow}) == "images: 19 to make, about 6.8 minutes"
