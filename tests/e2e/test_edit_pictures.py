"""The official client edits pictures, and sees them in the making: over HTTP, by the cascade of the example models."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import uvicorn
from fastapi import FastAPI
from hadis.api.manifest import Manifest, read_manifest
from hadis.planning.plan import Plan, TierPlan
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis_router.app import create_app
from hadis_router.difficulty.scorer import DifficultyScorer
from hadis_worker.app import create_app as create_worker
from hadis_worker.engine import Engine
from hadis_worker.service import WorkerService
from hadis_worker.settings import WorkerSettings, read_models
from PIL import Image

MANIFEST = Path(__file__).parents[2] / "examples/scenes.yaml"
LIGHT, HEAVY = "scenes-small-1", "scenes-large-5"
TIERS = (LIGHT, HEAVY)
PLAN = Plan(LIGHT, HEAVY, 0.0, 1.0, tuple(TierPlan(tier, 1, 4) for tier in TIERS), 1.0, 25.0, 1.0, 2.0)


class Server(uvicorn.Server):
    """Leaves signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """Serve an application, and yield its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=0))
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def service() -> AsyncIterator[str]:
    """Run a worker and a router in this process, and yield the router's URL once both are ready."""
    manifest = in_no_hurry(read_manifest(MANIFEST))
    models = read_models(WorkerSettings(manifest=MANIFEST, tiers=TIERS, device="cpu", threads=1))
    worker = WorkerService(TIERS, lambda: Engine.load(models, "cpu"), 1, lambda: None)
    async with serving(create_worker(worker)) as worker_url:
        async with asyncio.timeout(120):
            while worker.not_ready:  # noqa: ASYNC110 (as a probe does)
                await asyncio.sleep(0.05)

        async def states() -> AsyncIterator[RunState]:
            yield RunState(PLAN, (WorkerAddress(worker_url, TIERS),))
            await asyncio.Event().wait()

        scorer = DifficultyScorer(manifest.profile.spec.difficulty)
        async with serving(create_app(manifest, states, scorer)) as url:
            yield url


def in_no_hurry(manifest: Manifest) -> Manifest:
    """Return a manifest whose objective a busy machine meets, too."""
    spec = manifest.service.spec
    objective = spec.objective.model_copy(update={"latency": "60s"})
    service = manifest.service.model_copy(update={"spec": spec.model_copy(update={"objective": objective})})
    return replace(manifest, service=service)


def levels(made: Any) -> Any:
    """Return the pixels of an answer's first image."""
    return np.asarray(Image.open(BytesIO(base64.b64decode(made.data[0].b64_json))), np.int16)


def see_in_the_making(stream: Any, name: str) -> None:
    """Check what a stream shows before its image."""
    *partial, completed = stream
    assert 1 <= len(partial) <= 3
    assert [event.type for event in partial] == [f"{name}.partial_image"] * len(partial)
    assert [event.partial_image_index for event in partial] == list(range(len(partial)))
    assert completed.type == f"{name}.completed"
    pictures = [Image.open(BytesIO(base64.b64decode(event.b64_json))) for event in (*partial, completed)]
    assert {(picture.format, picture.size) for picture in pictures} == {("PNG", (32, 32))}
    assert len({picture.tobytes() for picture in pictures}) == len(pictures), "each is another"


def use(url: str, folder: Path) -> None:
    """Do as an application does, with the client that blocks."""
    source, mask = folder / "in.png", folder / "mask.png"
    left = Image.new("RGBA", (32, 32), "#000000ff")
    left.paste("#00000000", (0, 0, 16, 32))
    left.save(mask)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        given = client.images.generate(prompt="a big red circle top left on white", extra_body={"seed": 3})
        assert given.data
        source.write_bytes(base64.b64decode(given.data[0].b64_json or ""))
        before, prompt = levels(given), "a big blue circle top left on white"
        near, far = (
            client.images.edit(image=source, prompt=prompt, extra_body={"seed": 3, "strength": s, "explain": True})
            for s in (0.1, 0.8)
        )
        assert far.model_extra is not None
        assert far.model_extra["hadis"][0]["path"] == "deferred"
        assert [attempt["tier"] for attempt in far.model_extra["hadis"][0]["attempts"]] == list(TIERS)
        assert 1 < np.abs(levels(near) - before).mean() < np.abs(levels(far) - before).mean()
        assert _is_red(before) and not _is_red(levels(far)), "the circle has another colour"
        masked = levels(client.images.edit(image=source, mask=mask, prompt=prompt, extra_body={"seed": 3}))
        assert np.array_equal(masked[:, 16:], before[:, 16:]), "what the mask keeps"
        assert not _is_red(masked)
        varied = client.images.create_variation(image=source, n=2)
        assert varied.data
        assert len(varied.data) == 2
        with source.open("rb") as image:
            edit = {"image": image, "prompt": prompt, "model": HEAVY, "extra_body": {"num_inference_steps": 50}}
            see_in_the_making(client.images.edit(**edit, stream=True, partial_images=3), "image_edit")  # type: ignore[call-overload]
        see_in_the_making(client.images.generate(prompt=prompt, stream=True, partial_images=1), "image_generation")
        with pytest.raises(openai.BadRequestError, match="mask: has no transparent pixels"):
            client.images.edit(image=source, mask=source, prompt=prompt)


def _is_red(pixels: Any) -> bool:
    """Return whether the circle is red rather than blue."""
    return bool(pixels[7, 7, 0] > pixels[7, 7, 2])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI serves variations no more
async def test_the_official_client_edits_with_the_example_models(tmp_path: Path) -> None:
    async with service() as url:
        await asyncio.to_thread(use, url, tmp_path)
