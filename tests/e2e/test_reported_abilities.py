"""The paper's profile, which says nothing of negative prompts and edits, on workers that do: over HTTP, as it runs."""

from __future__ import annotations

import asyncio
import base64
import io
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from hadis.api.manifest import Manifest, read_profile
from hadis.api.resources import API_VERSION, DiffusionService
from hadis.api.tier import Tier
from hadis.planning.plan import Plan, TierPlan
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis_router.app import create_app as create_router
from hadis_worker.app import create_app as create_worker
from hadis_worker.engine import Engine
from hadis_worker.painter import Call, Painted
from hadis_worker.service import WorkerService
from PIL import Image

ROOT = Path(__file__).parents[2]
LIGHT, HEAVY = "sdxl-lightning", "sd35-medium"
PLAN = Plan(LIGHT, HEAVY, 0.0, 0.0, (TierPlan(LIGHT, 1, 1), TierPlan(HEAVY, 1, 1)), 1.0, 25.0, 1.0, 2.0)
PATH = "/v1/images/generations"


class Guided:
    """Paints grey, and takes negative prompts where its tier has guidance, as the pipelines of the paper's tiers do."""

    default_negative_prompt: str | None = None
    prompt_tokens: int | None = None

    def __init__(self, tier: Tier) -> None:
        self.takes_negative_prompts = bool(tier.guidance)

    def paint(self, call: Call) -> Painted:
        return Painted(np.full((len(call.prompts), call.height, call.width, 3), 0.5, np.float32))


class Sure:
    """Judges every image as good."""

    def confidence(self, images: Sequence[Image.Image], prompts: Sequence[str], tier: str) -> list[float]:
        return [1.0] * len(images)


class Scorer:
    """No prompt is hard."""

    async def score_off_loop_if_long(self, prompt: str) -> float:
        return 0.0


class Server(uvicorn.Server):
    """Leaves signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Yield the address of an application that is ready."""
    listening = socket.create_server(("127.0.0.1", 0))
    url, server = f"http://127.0.0.1:{listening.getsockname()[1]}", Server(uvicorn.Config(app, log_level="error"))
    serving = asyncio.create_task(server.serve([listening]))
    try:
        async with httpx.AsyncClient() as client, asyncio.timeout(20):
            while (await client.get(f"{url}/readyz")).status_code != 200:  # noqa: ASYNC110 (as a probe does)
                await asyncio.sleep(0.01)
        yield url
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def paper_service() -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a router that has one worker with every tier."""
    profile = read_profile(ROOT / "examples/paper/profile.yaml")
    tiers = {tier.name: tier for tier in profile.spec.tiers}
    engine = Engine(list(tiers.values()), {name: Guided(tier) for name, tier in tiers.items()}, Sure())
    spec = {"profile": "paper", "objective": {"latency": "60s"}, "gpus": {"max": 1}}
    service = {"apiVersion": API_VERSION, "kind": "DiffusionService", "metadata": {"name": "paper"}, "spec": spec}
    async with AsyncExitStack() as stack:
        app = create_worker(WorkerService(tuple(tiers), lambda: engine, 1, lambda: None))
        url = await stack.enter_async_context(served(app))

        async def states() -> AsyncIterator[RunState]:
            yield RunState(PLAN, (WorkerAddress(url, tuple(tiers)),))
            await asyncio.Event().wait()

        manifest = Manifest(DiffusionService.read(service), profile, ROOT)
        router = await stack.enter_async_context(served(create_router(manifest, states, Scorer())))
        yield await stack.enter_async_context(httpx.AsyncClient(base_url=router, timeout=20))


@pytest.mark.slow
async def test_requests_go_where_workers_say_that_they_can_be_made() -> None:
    negative = {"prompt": "a cat", "negative_prompt": "a dog"}
    async with paper_service() as client:
        async with asyncio.timeout(20):
            while (await client.get(f"/v1/models/{HEAVY}")).json()["edits"] is None:  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(0.05)
        tiers = [
            (await client.post(PATH, json=body)).headers["x-hadis-tiers"]
            for body in ({"prompt": "a cat"}, negative, negative | {"negative_prompt": ""})
        ]
        assert tiers == [LIGHT, HEAVY, LIGHT]
        refused = await client.post(PATH, json=negative | {"model": LIGHT})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "negative_prompt"
        picture = io.BytesIO()
        Image.new("RGB", (64, 64)).save(picture, "PNG")
        image = {"image_url": f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"}
        edit = await client.post("/v1/images/edits", json={"prompt": "a cat", "images": [image]})
        assert edit.status_code == 400
        assert edit.json()["error"]["message"].startswith("image: is not taken by sdxl-lightning, ")
