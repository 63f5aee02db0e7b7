"""Stage latency: how long a median is measured, and which batch sizes are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hadis.api.edits import Edits
from hadis.api.tier import Tier
from hadis_profiler.offline import engines, latency
from hadis_profiler.offline.latency import TierLatency, misfit
from hadis_profiler.offline.timing import BatchTiming, median_interval, time_batch
from hadis_worker.errors import LoadError
from hadis_worker.painter import Call, Painted
from profiler_runs import run_of
from rich.progress import Progress


def point(batch: int, seconds: float) -> BatchTiming:
    return BatchTiming(batch, seconds, seconds, seconds, seconds, 5, 0, None)


def test_a_median_is_measured_until_it_is_known() -> None:
    calls = []
    measured = time_batch(lambda: calls.append(0), 4, 5.0, "cpu")
    assert measured.runs == len(calls) - 1 >= 5
    assert measured.low_s <= measured.p50_s <= measured.high_s
    values = np.random.default_rng(0).normal(10, 1, (400, 51))
    inside = [low <= 10 <= high for low, high in (median_interval(v.tolist()) for v in values)]
    assert 0.93 < np.mean(inside) < 0.99
    assert misfit([point(b, 0.1 + 0.2 * b) for b in (1, 2, 4)]) == pytest.approx(0, abs=1e-9)


def test_the_best_batch_has_the_fewest_seconds_per_image() -> None:
    measured = TierLatency((point(1, 1.0), point(2, 1.2), point(4, 2.8)), 0.5, 0.0, "")
    assert (measured.best.batch, measured.image_s) == (2, 0.6)
    assert TierLatency.read(measured.document()) == measured


def test_a_batch_that_does_not_fit_ends_the_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Painter:
        default_negative_prompt = None
        prompt_tokens = None
        takes_negative_prompts = True
        edits = Edits(images=0)

        def paint(self, call: Call) -> Painted:
            if len(call.prompts) == 8:
                raise MemoryError("out of memory")
            return Painted(np.zeros((len(call.prompts), call.height, call.width, 3), np.float32))

    monkeypatch.setattr(engines, "load_painter", lambda *_: Painter())
    monkeypatch.setattr(latency, "_gain", lambda *_: 1.0)
    said: list[str] = []
    run = run_of(tmp_path, batches=[1, 2, 4, 8, 16], secondsPerPoint="100ms")
    with Progress(disable=True) as progress:
        measured = latency.measure(run, "cpu", progress, said.append)
        assert [p.batch for p in measured["a"].points] == [1, 2, 4]
        assert "batch 8 does not fit in memory" in said[0]
        assert measured["a"].negative_prompts is True
        assert measured["a"].edits == Edits(images=0)
        assert latency.measure(run, "cpu", progress, said.append) == measured  # kept
    assert len(said) == 2


def test_every_size_is_measured_and_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Painter:
        default_negative_prompt = None
        prompt_tokens = None
        takes_negative_prompts = True
        edits = Edits(images=0)

        def paint(self, call: Call) -> Painted:
            if len(call.prompts) * call.width > 64:
                raise MemoryError("out of memory")
            return Painted(np.zeros((len(call.prompts), call.height, call.width, 3), np.float32))

    monkeypatch.setattr(engines, "load_painter", lambda *_: Painter())
    monkeypatch.setattr(latency, "_gain", lambda *_: 1.0)
    tiers = [{"name": name, "model": name, "steps": 1, "sizes": ["16x16", "32x16"]} for name in "ab"]
    run, said = run_of(tmp_path, tiers=tiers, batches=[1, 2, 4], secondsPerPoint="100ms"), list[str]()
    with Progress(disable=True) as progress:
        measured = latency.measure(run, "cpu", progress, said.append)
        assert latency.measure(run, "cpu", progress, said.append) == measured  # kept
    points = latency.batch_latencies(measured["a"])
    assert [(p.size, p.batch) for p in points] == [
        (None, 1), (None, 2), (None, 4), ("32x16", 1), ("32x16", 2),
    ]  # fmt: skip
    tier = Tier(**run.spec.tiers[0].model_dump(), latency=points)
    assert [len(points) for points in tier.latency_by_size.values()] == [3, 2]
    assert "; 32x16 takes " in said[0]


def test_a_batch_has_prompts_of_different_lengths_and_always_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_size: dict[int, set[tuple[str, ...]]] = {}

    class Painter:
        default_negative_prompt = None
        prompt_tokens = None
        takes_negative_prompts = True
        edits = Edits(images=0)

        def paint(self, call: Call) -> Painted:
            by_size.setdefault(len(call.prompts), set()).add(call.prompts)
            return Painted(np.zeros((len(call.prompts), call.height, call.width, 3), np.float32))

    monkeypatch.setattr("hadis_worker.company.matters", lambda _: False)
    monkeypatch.setattr(engines, "load_painter", lambda *_: Painter())
    monkeypatch.setattr(latency, "_gain", lambda *_: 1.0)
    with Progress(disable=True) as progress:
        latency.measure(run_of(tmp_path, batches=[1, 2, 4, 8]), "cpu", progress, lambda _: None)
    assert {size: len(prompts) for size, prompts in by_size.items()} == {1: 1, 2: 1, 4: 1, 8: 1}
    for size, [prompts] in by_size.items():
        assert len({len(prompt) for prompt in prompts}) == min(size, 4)


def test_a_pipeline_that_fails_is_one_line_that_names_the_tier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Painter:
        default_negative_prompt = None
        prompt_tokens = None
        takes_negative_prompts = False
        edits = Edits(images=0)

        def paint(self, call: Call) -> None:
            raise TypeError("image is of the wrong type")

    monkeypatch.setattr(engines, "load_painter", lambda *_: Painter())
    with (
        Progress(disable=True) as progress,
        pytest.raises(LoadError, match="tier a: a batch of 1 failed: TypeError: image is of the wrong type"),
    ):
        latency.measure(run_of(tmp_path), "cpu", progress, lambda _: None)


def test_a_model_that_makes_another_size_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Doubling:
        default_negative_prompt = None
        prompt_tokens = None
        takes_negative_prompts = True
        edits = Edits(images=0)

        def paint(self, call: Call) -> Painted:
            return Painted(np.zeros((len(call.prompts), 2 * call.height, 2 * call.width, 3), np.float32))

    monkeypatch.setattr(engines, "load_painter", lambda *_: Doubling())
    with Progress(disable=True) as progress, pytest.raises(LoadError, match="its model makes"):
        latency.measure(run_of(tmp_path), "cpu", progress, lambda _: None)


def test_a_tier_whose_images_depend_on_their_company_is_measured_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Padded:
        default_negative_prompt = None
        prompt_tokens = None
        takes_negative_prompts = True
        edits = Edits(images=0)

        def paint(self, call: Call) -> Painted:
            longest = max(map(len, call.prompts))
            return Painted(np.full((len(call.prompts), call.height, call.width, 3), longest / 1000, np.float32))

    monkeypatch.setattr(engines, "load_painter", lambda *_: Padded())
    said: list[str] = []
    with Progress(disable=True) as progress:
        measured = latency.measure(run_of(tmp_path, secondsPerPoint="50ms"), "cpu", progress, said.append)
    assert [p.batch for p in measured["a"].points] == [1]
    assert "images depend on those beside them, so it makes one at a time" in said[0]


@pytest.mark.parametrize(("energy_j", "joules"), [(None, None), (0.0, None), (12.34567, 12.346)])
def test_energy_is_in_the_profile_where_it_was_measured(energy_j: float | None, joules: float | None) -> None:
    assert latency.joules(energy_j) == joules
