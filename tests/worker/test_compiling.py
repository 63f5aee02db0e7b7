"""What is compiled, that its images are the same, and that no request waits for a compiler."""

from __future__ import annotations

import functools
import shutil
import sysconfig
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo
from fast_tiers import PROMPTS, apart, fast, refusal
from hadis.protocol.worker import GenerateBatch, WireJob
from hadis_worker.engine import Engine
from hadis_worker.loading import tiers
from hadis_worker.loading.modules import Modules
from hadis_worker.settings import Models
from hadis_worker.speed import compiling
from hadis_worker.speed.apply import apply
from tiny_models import TinyModels, tiny_tier
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

REGIONAL, FULL = {"compile": "regional"}, {"compile": "full", "channelsLast": True}


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    """Forget what other tests compiled."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(("model", "graphs"), [("sd3-deep", 2), ("flux-deep", 3)])
def test_blocks_of_a_kind_are_one_graph(tiny: TinyModels, model: str, graphs: int) -> None:
    """SD3's last block differs from the others; FLUX has two kinds, and the first of one is given a view."""
    counter = CompileCounter()
    made = fast(tiny.get(model), compiler=counter, speed=REGIONAL).paint()
    assert counter.frame_count == graphs
    assert apart(made, fast(tiny.get(model)).paint()) < 1e-5


def test_a_unet_is_compiled_whole(tiny: TinyModels) -> None:
    counter = CompileCounter()
    made = fast(tiny.get("sdxl"), compiler=counter, speed=FULL).paint()
    assert counter.frame_count >= 1
    assert counter.op_count > 100
    assert apart(made, fast(tiny.get("sdxl")).paint()) < 1e-4


def test_a_neighbour_with_the_same_weights_is_not_compiled(tiny: TinyModels) -> None:
    modules, counter = Modules(), CompileCounter()
    compiled = fast(tiny.get("sd3-deep"), modules, counter, speed=REGIONAL)
    plain = fast(tiny.get("sd3-deep"), modules, counter)
    code = compiled.denoiser.transformer_blocks[0]._compiled_call_impl
    again = fast(tiny.get("sd3-deep"), modules, counter, speed=REGIONAL, guidance=2)
    assert again.denoiser is compiled.denoiser
    assert again.denoiser.transformer_blocks[0]._compiled_call_impl is code
    plain.paint()
    assert counter.frame_count == 0
    compiled.paint()
    graphs = counter.frame_count
    again.paint()
    assert counter.frame_count == graphs


@pytest.mark.parametrize(
    ("model", "speed", "words"),
    [
        ("sdxl", REGIONAL, "speed.compile: regional would leave out most of a UNet2DConditionModel; write full, and"),
        ("sd15", {"compile": "regional", "cache": {"kind": "firstBlock"}}, "speed.compile: regional would leave out"),
    ],
)
def test_what_cannot_be_compiled(tiny: TinyModels, model: str, speed: dict[str, Any], words: str) -> None:
    assert refusal(tiny.get(model), speed=speed).startswith(words)


def test_a_model_whose_blocks_have_no_name(tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_REPEATED_BLOCKS", {})
    words = "speed.compile: diffusers names no repeated blocks of a SD3Transformer2DModel; write full"
    assert refusal(tiny.get("sd3-deep"), speed=REGIONAL) == words


def test_a_machine_without_pythons_headers(tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    words = f"speed.compile: torch needs Python's headers, and {tmp_path} has none; install python3-dev"
    assert refusal(tiny.get("sd3-deep"), compiler="inductor", speed=REGIONAL) == words


def test_a_machine_without_a_c_compiler(tiny: TinyModels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    words = "speed.compile: torch needs a C compiler, and there is none; install gcc and g++"
    assert refusal(tiny.get("sd3-deep"), compiler="inductor", speed=REGIONAL) == words


REQUESTS: tuple[tuple[str, ...], ...] = (
    ("x",),
    ("a photograph of a big dog that runs after a ball " * 2,),
    ("x", "y"),
    ("x", "a house"),
    ("a house", "a house", "a horse"),
    PROMPTS,
)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "speed"), [("z-image", REGIONAL), ("sdxl", FULL)])
def test_no_request_waits_for_a_compiler(
    tiny: TinyModels, model: str, speed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaded and run in a thread of its own, as a worker does, for Dynamo's settings are a thread's."""
    monkeypatch.setattr(tiers, "apply", functools.partial(apply, compiler="eager"))
    tier = tiny_tier(tiny.get(model), speed=speed, tunable=True)

    def graphs() -> int:
        return sum(value for name, value in counters["stats"].items() if name == "unique_graphs")

    def load() -> Engine:
        torch.set_num_threads(1)
        return Engine.load(Models((tier,), Path(), None), "cpu")

    def generate(engine: Engine) -> list[str | None]:
        failed = []
        for prompts in REQUESTS:
            for guidance in (None, 1.0):
                jobs = tuple(WireJob(id=str(i), prompt=p, seed=i, guidance=guidance) for i, p in enumerate(prompts))
                failed += [result.error for result, _ in engine.generate(GenerateBatch(tier="t", jobs=jobs))]
        return failed

    with ThreadPoolExecutor(1) as thread:
        engine = thread.submit(load).result()
        before = graphs()
        assert before >= 2
        assert set(thread.submit(generate, engine).result()) == {None}
        assert graphs() == before
        limit = thread.submit(lambda: torch._dynamo.config.recompile_limit).result()
    assert limit == compiling._RECOMPILE_LIMIT


@pytest.mark.slow
def test_a_second_worker_takes_what_the_first_compiled(
    tiny: TinyModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    speed = {"compile": "regional"}
    first = fast(tiny.get("sd3-deep"), compiler="inductor", speed=speed).paint()
    assert counters["inductor"]["fxgraph_cache_miss"] > 0
    torch._dynamo.reset()
    counters.clear()
    second = fast(tiny.get("sd3-deep"), compiler="inductor", speed=speed).paint()
    assert counters["inductor"]["fxgraph_cache_miss"] == 0
    assert apart(first, second) == 0
    assert apart(first, fast(tiny.get("sd3-deep")).paint()) < 1e-4
