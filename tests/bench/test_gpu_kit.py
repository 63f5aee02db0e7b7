"""The GPU kit, with tiny models on the CPU: it builds what it says, measures every row it can, and ends in time."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from bench_gpu import measure, session, table
from bench_gpu.__main__ import main
from bench_gpu.end_to_end import Prediction, predictions
from bench_gpu.floor import Flops, count_flops, matmul_rate
from bench_gpu.limits import attempt
from bench_gpu.measure import Bench, Measured, of_all_steps, run_group
from bench_gpu.models import REAL
from bench_gpu.session import Session
from bench_gpu.tiers import COMPILE, EAGER, PLAIN, Group, Subject, chosen_subjects, groups, ways_of
from bench_gpu.weights import empty_module
from hadis_profiler.offline.timing import BatchTiming
from hadis_worker import gpu
from hadis_worker.painter import Call, Painted
from hadis_worker.pipelines import DiffusersPainter
from torch._dynamo.utils import counters

PUBLISHED = {
    "sdxl": 2.57e9,
    "sd35-large": 8.1e9,
    "sd35-medium": 2.5e9,
    "flux": 11.9e9,
    "z-image": 6.15e9,
    "qwen-image": 20.4e9,
}
"""Of what denoises, with the table of positions that SD 3.5's files hold too."""
WAYS = ways_of("cpu")
BENCH = Bench("cpu", WAYS, rate=1e9, row_s=120, measure_s=0, compiler="eager")
TINY = chosen_subjects("", 2, small=True)


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """What is to be compiled runs as it is."""
    with torch._dynamo.config.patch(disable=True):
        yield


def subject(name: str) -> Subject:
    return next(one for one in TINY if one.name == name)


def forever() -> float:
    return 1e9


def outcomes(name: str, way: str, *batches: int) -> dict[int, measure.Outcome]:
    return dict(run_group(Group(subject(name), way, batches), BENCH, None, forever))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_real_config_has_the_parameters_that_the_model_is_published_with(name: str) -> None:
    weights = empty_module(REAL[name].denoiser, "meta").state_dict().values()
    assert all(weight.is_meta for weight in weights)
    assert sum(weight.numel() for weight in weights) == pytest.approx(PUBLISHED[name], rel=0.05)


@pytest.mark.parametrize("name", [one.name for one in TINY])
@pytest.mark.parametrize("way", [PLAIN, EAGER])
def test_every_tier_runs_plainly_and_through_the_worker(name: str, way: str) -> None:
    measured = outcomes(name, way, 1, 2)
    assert all(isinstance(one, Measured) and one.vae_share > 0 for one in measured.values()), measured


@pytest.mark.parametrize("name", [one.name for one in TINY if one.name != "sdxl-lightning"])  # its model is SDXL's
def test_every_model_runs_compiled(name: str) -> None:
    batches = (1, 2) if name == "qwen-image" else (1,)  # the second is compiled anew
    counters.clear()
    measured = outcomes(name, COMPILE, *batches)
    assert all(isinstance(one, Measured) and one.vae_share > 0 for one in measured.values()), measured
    assert counters["stats"]["unique_graphs"] >= len(batches)


def test_what_a_worker_refuses_or_lacks_is_said_in_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hadis_worker.speed.quantization._installed", lambda _: False)
    quantized, attention = WAYS.names[-1], WAYS.names[-2]
    assert "the library torchao is not installed" in str(outcomes("flux-dev", quantized, 1)[1])
    refused = str(outcomes("sd35-large", attention, 1)[1])
    assert refused.startswith("speed.attention: SD3Transformer2DModel has one attention only")
    assert isinstance(outcomes("flux-dev", attention, 1)[1], Measured)


def test_weights_are_quantized_as_loading_would(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, object]] = []
    library = SimpleNamespace(quantize_=lambda module, how: done.append((type(module).__name__, how)))
    config = SimpleNamespace(quant_type="int8")
    monkeypatch.setitem(sys.modules, "torchao.quantization", library)
    monkeypatch.setattr(measure, "quantization_configs", lambda tier, *_: dict.fromkeys(tier.quantization, config))
    assert isinstance(outcomes("sd35-large", WAYS.names[-1], 1)[1], Measured)
    assert done == [("SD3Transformer2DModel", "int8")]


def test_a_batch_that_memory_does_not_suffice_for_ends_its_tier_in_this_way_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(self: Any, batch: int, flops: Flops | None) -> int:
        if batch == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batch

    monkeypatch.setattr(measure._Runner, "measure", measured)
    expected: dict[int, object] = {1: 1, 2: 2, 4: "out of memory", 8: "left out, for batch 4 did not run"}
    assert outcomes("flux-dev", PLAIN, 1, 2, 4, 8) == expected


def test_an_engine_that_halves_a_batch_has_not_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    painted = DiffusersPainter.paint

    def paint(self: DiffusersPainter, call: Call) -> Painted:
        if len(call.prompts) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return painted(self, call)

    monkeypatch.setattr(DiffusersPainter, "paint", paint)
    measured = outcomes("flux-dev", EAGER, 1, 2)
    assert isinstance(measured[1], Measured)
    assert measured[2] == "out of memory"


def test_what_takes_too_long_is_stopped_also_where_exceptions_are_caught() -> None:
    def stubborn() -> None:
        for _ in range(2):
            with contextlib.suppress(Exception):
                time.sleep(2)

    assert attempt(stubborn, 0.05) == "stopped after 0 s"
    assert attempt(lambda: 1, 60) == 1
    assert attempt(lambda: 1, 0) == "stopped after 0 s"


def test_all_steps_are_reckoned_from_those_measured() -> None:
    timing = BatchTiming(2, p50_s=1.5, p95_s=2, low_s=1, high_s=2, runs=5, memory_bytes=7, energy_j=300.0)
    tier = replace(subject("flux-dev"), steps=28, measured_steps=7)
    measured = of_all_steps(tier, replace(BENCH, rate=1e12), timing, first_s=21.5, vae_s=0.5, flops=Flops(5e10, 1e11))
    assert measured == Measured(
        seconds=4.5, first_s=20.0, memory_bytes=7, energy_j=450.0, vae_share=0.5 / 4.5, floor_share=3.0 / 4.5
    )
    assert of_all_steps(tier, BENCH, replace(timing, energy_j=None), 1.0, 0.5, None) == replace(
        measured, first_s=0.0, energy_j=None, floor_share=None
    )


def test_operations_are_counted_by_step() -> None:
    guided, unguided = (count_flops(subject(name), "cpu", torch.float32) for name in ("sdxl", "sdxl-lightning"))
    assert guided.per_step == 2 * unguided.per_step > 0
    assert guided.once == unguided.once > 0
    assert matmul_rate("cpu", torch.float32) > 0


def test_single_images_and_what_compiling_gives_come_first() -> None:
    order = list(groups(TINY, WAYS))
    assert [(group.subject.name, group.way, group.batches) for group in order[:3]] == [
        ("flux-dev", PLAIN, (1,)),
        ("flux-dev", COMPILE, (1,)),
        ("sd35-large", PLAIN, (1,)),
    ]
    assert {group.way for group in order[: 2 * len(TINY)]} == {PLAIN, COMPILE}
    assert len(order) == len({(group.subject.name, group.way, group.batches) for group in order}) == 2 * 5 * len(TINY)


def test_an_unknown_tier_is_one_line() -> None:
    with pytest.raises(ValueError, match="no tier is named 'sd2'; there are flux-dev, "):
        chosen_subjects("flux-dev,sd2", 8, small=False)


@pytest.mark.usefixtures("uncompiled")
def test_a_run_writes_every_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "predictions", lambda *_: [Prediction("few-steps", 1, 2.0, 2.1, 2.2)])
    chosen = (subject("flux-dev"),)
    Session(tmp_path / "t.md", chosen, True, 3600).run(BENCH)
    text = (tmp_path / "t.md").read_text()
    rows = {tuple(row[:3]): row for row in cells(text) if row[0].startswith("flux-dev")}
    assert len(rows) == 4 * 5
    row = dict(zip(table.COLUMNS, rows["flux-dev, 28 steps", "8", COMPILE], strict=True))
    on_gpus = {"peak memory, GiB", "J per image"}
    assert {column for column, value in row.items() if not value} == on_gpus
    assert "Step caches are left out" in text and "Tiny models on a CPU" in text
    assert "| few-steps | 1 | 2.000 | 2.100 | +5% | 2.200 |" in text
    assert "Not reached" not in text


def test_rows_that_time_did_not_suffice_for_are_said(tmp_path: Path) -> None:
    Session(tmp_path / "t.md", TINY, True, 0).run(BENCH)
    text = (tmp_path / "t.md").read_text()
    assert f"- flux-dev, {COMPILE}: batch 1, 2, 4, 8" in text
    assert text.count("\n- ") >= 5 * len(TINY)
    assert text.rstrip().endswith("Not reached.")


def test_a_gpu_that_is_lost_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "predictions", lambda *_: [])

    def lost(*_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(measure._Runner, "measure", lost)
    Session(tmp_path / "t.md", TINY[:1], True, 3600).run(BENCH)
    rows = [row for row in cells((tmp_path / "t.md").read_text()) if row[0] == "flux-dev, 28 steps"]
    assert len(rows) == 1
    assert "CUDA error" in rows[0][3]


def test_where_there_is_no_gpu_tiny_models_run_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "pick_device", lambda _: "cpu")
    main(tmp_path / "t.md", minutes=0)
    assert "torch finds no NVIDIA GPU: tiny models run on the CPU" in capsys.readouterr().err
    assert (tmp_path / "t.md").read_text().startswith("# Tiny models on a CPU")


@pytest.mark.slow
def test_a_worker_is_profiled_started_and_asked() -> None:
    told = predictions("cpu", torch.float32, small=True, ready_s=120)
    assert [(one.tier, one.batch) for one in told][:2] == [("few-steps", 1), ("few-steps", 2)]
    assert {one.tier for one in told} == {"few-steps", "more-steps"}
    assert all(0 < one.worker_s <= one.request_s and one.profile_s > 0 for one in told)


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
