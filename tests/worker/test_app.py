"""The worker's routes over an engine whose model is a test's: one batch at a time, health while it runs, draining."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from hadis.api.tier import BatchLatency, Tier
from hadis.protocol.batch_request import encode_batch
from hadis.protocol.parts import CONTENT_TYPE
from hadis.protocol.worker import AnswerReader, GenerateBatch, Progress, WireEdit, WireJob, decode_answer
from hadis_worker import app, service
from hadis_worker.app import create_app
from hadis_worker.engine import Engine
from hadis_worker.errors import LoadError
from hadis_worker.painter import Call, Painted
from hadis_worker.service import WorkerService

TIER = Tier(name="t", model="m", steps=2, size="8x8", latency=(BatchLatency(batch=1, seconds=1),))

BATCH = GenerateBatch(tier="t", jobs=(WireJob(id="0", prompt="p", seed=0),))


class HeldPainter:
    """Paints grey once `go` is set; more than two at once are out of memory.

    Where it `counts`, it calls back after each step, the first of which it makes before it waits.
    """

    takes_negative_prompts = False
    default_negative_prompt: str | None = None
    prompt_tokens: int | None = None

    def __init__(self) -> None:
        self.go, self.started = threading.Event(), threading.Event()
        self.counts = False

    def paint(self, call: Call) -> Painted:
        """Return grey pictures."""
        self._count(call, 1)
        self.started.set()
        assert self.go.wait(10)
        assert call.negative_prompts is None
        for step in range(2, call.steps + 1):
            self._count(call, step)
        if len(call.prompts) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Painted(np.full((len(call.prompts), call.height, call.width, 3), 0.5, np.float32))

    def _count(self, call: Call, step: int) -> None:
        if self.counts and call.counter:
            call.counter.count(len(call.prompts), step, call.steps)


class Bench:
    """A worker, its painter, a client, and the failures that it reported."""

    def __init__(self) -> None:
        self.painter = HeldPainter()
        self.may_load = threading.Event()
        self.failures: list[str] = []
        self.load_error: Exception | None = None
        self.worker = WorkerService(("t",), self._load, 1, lambda: self.failures.append("failed"))
        transport = httpx.ASGITransport(create_app(self.worker))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://worker")

    def _load(self) -> Engine:
        assert self.may_load.wait(10)
        if self.load_error:
            raise self.load_error
        return Engine([TIER], {"t": self.painter})

    async def ready(self) -> None:
        """Let it load, and wait for that."""
        self.may_load.set()
        while (await self.client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 (as a probe does)
            await asyncio.sleep(0.005)

    async def generate(self, count: int = 1, **fields: Any) -> httpx.Response:
        """Ask for a batch."""
        jobs = [{"id": str(i), "prompt": "p", "seed": i, **fields} for i in range(count)]
        return await self.client.post("/generate", json={"tier": "t", "jobs": jobs})

    async def begin(self) -> asyncio.Task[httpx.Response]:
        """Ask for a batch and return once it runs."""
        task = asyncio.create_task(self.generate())
        assert await asyncio.to_thread(self.painter.started.wait, 10)
        return task


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A worker that has begun to load."""
    bench = Bench()
    bench.worker.start()
    yield bench
    bench.may_load.set()
    bench.painter.go.set()
    await bench.client.aclose()
    bench.worker.close()


async def test_it_is_healthy_but_takes_nothing_while_it_loads(bench: Bench) -> None:
    assert (await bench.client.get("/healthz")).status_code == 200
    assert (await bench.client.get("/readyz")).status_code == 503
    assert (await bench.generate()).status_code == 503
    assert (await bench.client.get("/status")).json()["ready"] is False
    await bench.ready()
    status = (await bench.client.get("/status")).json()
    assert (status["tiers"], status["ready"], status["device"], status["memoryBytes"]) == (["t"], True, "cpu", None)


async def test_it_is_ready_when_it_can_encode_and_says_what_its_tiers_can_do(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm: list[bool] = []
    monkeypatch.setattr(service, "warm_up", lambda: warm.append(True))
    assert (await bench.client.get("/status")).json()["abilities"] == {}
    await bench.ready()
    assert warm == [True]
    edits = {"images": 0, "masks": False, "strength": True}
    able = {"negativePrompts": False, "edits": edits, "promptTokens": None}
    assert (await bench.client.get("/status")).json()["abilities"] == {"t": able}


async def test_a_second_batch_is_refused_at_once_and_probes_answer(bench: Bench) -> None:
    await bench.ready()
    first = await bench.begin()
    second = await bench.generate()
    assert (second.status_code, second.json()) == (409, {"error": "a batch is running; a worker takes one at a time"})
    assert (await bench.client.get("/status")).json()["busy"] is True
    assert (await bench.client.get("/healthz")).status_code == 200
    bench.painter.go.set()
    answer = await first
    assert answer.headers["content-type"] == CONTENT_TYPE
    [(result, image)] = decode_answer(answer.content)
    assert result.error is None
    assert image is not None
    assert image.startswith(b"\x89PNG")
    assert (await bench.client.get("/status")).json()["busy"] is False


@pytest.mark.parametrize("counts", [True, False])
async def test_a_batch_whose_caller_goes_away_ends_at_its_next_step_if_its_model_tells_steps(
    bench: Bench, counts: bool
) -> None:
    await bench.ready()
    bench.painter.counts = counts
    first = await bench.begin()
    first.cancel()
    await asyncio.wait({first})
    assert (await bench.generate()).status_code == 409
    bench.painter.go.set()
    assert await bench.worker.drain(10)
    text = (await bench.client.get("/metrics")).text
    assert ('hadis_worker_cancelled_batches_total{tier="t"} 1.0' in text) == counts
    assert ('hadis_worker_batches_total{tier="t"} 1.0' in text) != counts


async def test_after_a_batch_was_cancelled_the_next_one_is_made(bench: Bench) -> None:
    await bench.ready()
    bench.painter.counts = True
    running = bench.worker.begin(BATCH)
    running.cancel()
    bench.painter.go.set()
    assert await running.answer == b""
    assert (await bench.generate()).status_code == 200


async def test_progress_is_told_while_the_batch_runs(bench: Bench) -> None:
    await bench.ready()
    bench.painter.counts = True
    running, reader = bench.worker.begin(BATCH), AnswerReader()
    assert await asyncio.to_thread(bench.painter.started.wait, 10)
    parts = running.parts()
    assert reader.feed(await anext(parts)) == [Progress(done=1, steps=2)]
    bench.painter.go.set()
    reports = [progress async for part in parts for progress in reader.feed(part)]
    assert reports in ([], [Progress(done=2, steps=2)])  # whether it was read between the last step and the end
    assert [result.error for result, _ in reader.results()] == [None]


class HeldEncoder:
    """Encodes once `go` is set."""

    def __init__(self) -> None:
        self.go, self.started = threading.Event(), threading.Event()

    def __call__(self, images: list[Any], threads: int) -> list[bytes]:
        """Return what stands for an image."""
        self.started.set()
        assert self.go.wait(10)
        return [b"image"] * len(images)


async def test_a_batch_is_taken_while_the_one_before_is_encoded_but_no_third(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = HeldEncoder()
    monkeypatch.setattr(service, "encode_all", encoder)
    await bench.ready()
    bench.painter.go.set()
    first = bench.worker.begin(BATCH)
    assert await asyncio.to_thread(encoder.started.wait, 10)
    assert not bench.worker.busy
    second = bench.worker.begin(BATCH)
    assert bench.worker.busy
    while bench.worker._running:  # noqa: ASYNC110 (a thread is waited for)
        await asyncio.sleep(0.005)
    assert (await bench.generate()).status_code == 409, "the second waits to be encoded"
    assert not first.answer.done()
    drained = asyncio.create_task(bench.worker.drain(10))
    await asyncio.sleep(0)
    assert not drained.done()
    encoder.go.set()
    assert await drained
    for answer in (await first.answer, await second.answer):
        [(result, image)] = decode_answer(answer)
        assert (result.error, image) == (None, b"image")
    assert not bench.worker.busy


async def test_an_encoder_that_fails_ends_its_batch_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise OSError("no encoder")

    await bench.ready()
    bench.painter.go.set()
    with monkeypatch.context() as broken:
        broken.setattr(service, "encode_all", fails)
        with pytest.raises(OSError, match="no encoder"):
            await bench.worker.begin(BATCH).answer
    assert (await bench.generate()).status_code == 200


async def test_draining_finishes_what_runs_and_takes_nothing_new(bench: Bench) -> None:
    await bench.ready()
    first = await bench.begin()
    drained = asyncio.create_task(bench.worker.drain(10))
    await asyncio.sleep(0)
    assert (await bench.client.get("/readyz")).status_code == 503
    assert (await bench.client.get("/healthz")).status_code == 200
    refused = await bench.generate()
    assert (refused.status_code, refused.json()) == (503, {"error": "the worker is draining"})
    bench.painter.go.set()
    assert await drained
    assert (await first).status_code == 200


async def test_a_batch_that_outlives_the_drain_is_told(bench: Bench) -> None:
    await bench.ready()
    first = await bench.begin()
    assert not await bench.worker.drain(0.01)
    bench.painter.go.set()
    await first


async def test_models_that_do_not_load_are_reported(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.load_error = LoadError("tier t: model 'm' cannot be loaded")
    bench.may_load.set()
    while not bench.failures:  # noqa: ASYNC110 (a thread is waited for)
        await asyncio.sleep(0.005)
    assert (await bench.client.get("/healthz")).status_code == 503
    assert caplog.messages == ["loading failed: tier t: model 'm' cannot be loaded"]


async def test_an_image_that_is_not_made_is_logged_by_its_request(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.ready()
    bench.painter.go.set()
    caplog.set_level(logging.DEBUG, "hadis_worker")
    assert (await bench.generate(1, negativePrompt="blue", requestId="its-own")).status_code == 200
    assert "tier t: a batch of 1 for requests its-own" in caplog.messages
    assert caplog.messages[-1] == "tier t: no image for requests its-own: tier t takes no negative prompt"


async def test_metrics_count_batches_images_and_memory_that_ran_out(bench: Bench) -> None:
    await bench.ready()
    bench.painter.go.set()
    assert (await bench.generate(4)).status_code == 200
    assert (await bench.generate(1, negativePrompt="blue")).status_code == 200
    [(asks_for_nothing, _)] = decode_answer((await bench.generate(1, negativePrompt="")).content)
    assert asks_for_nothing.error is None
    text = (await bench.client.get("/metrics")).text
    for line in (
        'hadis_worker_batches_total{tier="t"} 3.0',
        'hadis_worker_images_total{result="ok",tier="t"} 5.0',
        'hadis_worker_images_total{result="invalid",tier="t"} 1.0',
        'hadis_worker_service_seconds_count{batch="4",tier="t"} 1.0',
        'hadis_worker_out_of_memory_total{tier="t"} 1.0',
    ):
        assert line in text


async def test_a_batch_comes_with_its_inputs_and_no_more_than_can_be_held(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.ready()
    bench.painter.go.set()
    job = WireJob(id="0", prompt="p", seed=0, edit=WireEdit(images=(0,)))
    content_type, pieces = encode_batch(GenerateBatch(tier="t", jobs=(job,)).with_inputs((b"no image",)))
    body, headers = b"".join(pieces), {"content-type": content_type}
    answer = await bench.client.post("/generate", content=body, headers=headers)
    [(result, _)] = decode_answer(answer.content)
    assert (result.error_code, result.error) == ("invalid", "image: tier t takes none")
    assert (await bench.client.post("/generate", content=body[:-30], headers=headers)).status_code == 400
    monkeypatch.setattr(app, "MOST_BATCH_BYTES", len(body) - 1)
    assert (await bench.client.post("/generate", content=body, headers=headers)).status_code == 413


GOOD = {"id": "a", "prompt": "p", "seed": 1}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"no", 400, "the body is no JSON"),
        (b"\xff", 400, "the body is no JSON"),
        (b"[" * 100_000, 400, "the body is no JSON"),
        ({"tier": "x", "jobs": [GOOD]}, 404, "tier 'x' is not resident; resident are t"),
        ({"tier": "t", "jobs": []}, 400, "jobs: Tuple should have at least 1 item"),
        ({"tier": "t", "jobs": [GOOD], "jbos": 1}, 400, "did you mean 'jobs'?"),
        ({"tier": "t", "jobs": [GOOD, GOOD]}, 400, "same id"),
        ({"tier": "t", "jobs": [GOOD, GOOD | {"id": "b", "steps": 3}]}, 400, "must be alike"),
        ({"tier": "t", "jobs": [GOOD | {"seed": -1}]}, 400, "jobs.0.seed"),
        ({"tier": "t", "jobs": [GOOD | {"size": "9x9"}]}, 400, "makes 8x8, not 9x9"),
        ({"tier": "t", "jobs": [GOOD], "discriminate": True}, 400, "no discriminator"),
    ],
)
async def test_bad_batches_get_one_clear_line(bench: Bench, body: Any, status: int, message: str) -> None:
    await bench.ready()
    extra: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = await bench.client.post("/generate", **extra)
    assert answer.status_code == status
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
