"""Router, workers and a stand-in for an engine in one process: a cascade whose heavy tier an endpoint makes."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from documents import profile_document
from hadis.api.manifest import Manifest
from hadis.api.resources import API_VERSION, CascadeProfile, DiffusionService
from hadis.planning.plan import Plan, TierPlan
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis.protocol.worker import GenerateBatch, decode_answer
from hadis_router.app import create_app as create_router
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import OnProgress, Result, WorkerGone
from hadis_worker.app import create_app as create_worker
from hadis_worker.batches import BatchEngine
from hadis_worker.engine import Engine
from hadis_worker.painter import Call, Painted
from hadis_worker.remote_engine import RemoteEngine
from hadis_worker.service import WorkerService
from PIL import Image
from stand_in import StandIn, hang, refusal

SLOTS = 2
RED, GREY = (200, 30, 30), (128, 128, 128)


class Grey:
    """The light tier: paints grey."""

    takes_negative_prompts = False
    default_negative_prompt: str | None = None
    prompt_tokens: int | None = None

    def paint(self, call: Call) -> Painted:
        return Painted(np.full((len(call.prompts), call.height, call.width, 3), 128 / 255, np.float32))


class Unsure:
    """Judges every light image as poor."""

    def confidence(self, images: Sequence[Image.Image], prompts: Sequence[str], tier: str) -> list[float]:
        return [0.0] * len(images)


class InProcess:
    """The router's transport: workers' applications by URL."""

    def __init__(self) -> None:
        self.clients: dict[str, httpx.AsyncClient] = {}

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        batch = GenerateBatch(tier=tier, jobs=tuple(job.wire() for job in jobs), discriminate=discriminate)
        answer = await self.clients[url].post("/generate", json=batch.model_dump(mode="json", by_alias=True))
        if answer.status_code != 200:
            raise WorkerGone(answer.text)
        try:
            return decode_answer(answer.content)
        except ValueError as error:
            raise WorkerGone(str(error)) from None


class Scorer:
    """Every prompt is as hard as it is long."""

    async def score_off_loop_if_long(self, prompt: str) -> float:
        return float(len(prompt))


@asynccontextmanager
async def serving(
    stand_in: StandIn, direct: float, deferral: float, latency: str = "60s"
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a router with one light worker and `SLOTS` of the endpoint."""
    document = profile_document()
    document["spec"]["tiers"][1] |= {"remote": {"url": "http://engine/v1", "slots": SLOTS}, "tunable": False}
    profile = CascadeProfile.read(document)
    light, heavy = profile.spec.tiers
    engines: list[BatchEngine] = [Engine([light], {"light": Grey()}, Unsure())]
    engines += [RemoteEngine([heavy], transport=httpx.ASGITransport(stand_in.app)) for _ in range(SLOTS)]
    transport, addresses = InProcess(), []
    async with AsyncExitStack() as stack:
        for i, engine in enumerate(engines):
            tier = "heavy" if i else "light"
            worker = WorkerService((tier,), lambda engine=engine: engine, 1, lambda: None)  # type: ignore[misc]
            worker.start()
            stack.callback(worker.close)
            client = httpx.AsyncClient(transport=httpx.ASGITransport(create_worker(worker)), base_url="http://w")
            transport.clients[f"http://w{i}"] = await stack.enter_async_context(client)
            addresses.append(WorkerAddress(f"http://w{i}", (tier,)))
            while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 (as a probe does)
                await asyncio.sleep(0.005)
        spec = {"profile": "two", "objective": {"latency": latency}, "gpus": {"max": 1}}
        service = DiffusionService.read(
            {"apiVersion": API_VERSION, "kind": "DiffusionService", "metadata": {"name": "two"}, "spec": spec}
        )
        tiers = TierPlan("light", 1, 4), TierPlan("heavy", SLOTS, 1, remote=True)
        plan = Plan("light", "heavy", direct, deferral, tiers, 1.0, 25.0, 1.0, 2.0)

        async def states() -> AsyncIterator[RunState]:
            yield RunState(plan, tuple(addresses))
            await asyncio.Event().wait()

        app = create_router(Manifest(service, profile, Path()), states, Scorer(), transport)
        await stack.enter_async_context(app.router.lifespan_context(app))
        await asyncio.sleep(0)
        router = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router")
        yield await stack.enter_async_context(router)


async def draw(router: httpx.AsyncClient, n: int = 1, **fields: object) -> httpx.Response:
    return await router.post("/v1/images/generations", json={"prompt": "a" * 19, "n": n, "seed": 200, **fields})


def colors(answer: httpx.Response) -> list[object]:
    bodies = [base64.b64decode(item["b64_json"]) for item in answer.json()["data"]]
    return [Image.open(io.BytesIO(body)).convert("RGB").getpixel((0, 0)) for body in bodies]


async def test_poor_light_images_are_made_again_by_the_endpoint() -> None:
    stand_in = StandIn()
    async with serving(stand_in, direct=0.0, deferral=1.0) as router:
        answer = await draw(router)
    assert answer.status_code == 200, answer.text
    assert colors(answer) == [RED]
    assert answer.headers["x-hadis-path"] == "deferred"
    assert [body["prompt"] for body in stand_in.bodies] == ["a" * 19]


async def test_the_endpoint_makes_as_many_at_once_as_it_has_slots() -> None:
    stand_in = StandIn(seconds=0.05)
    async with serving(stand_in, direct=1.0, deferral=0.0) as router:
        answer = await draw(router, n=6)
    assert answer.status_code == 200, answer.text
    assert len(colors(answer)) == 6
    assert stand_in.most_at_once == SLOTS


async def test_while_the_endpoint_is_away_everybody_gets_a_light_image() -> None:
    async with serving(StandIn(then=refusal(502)), direct=1.0, deferral=0.0) as router:
        answer = await draw(router)
    assert answer.status_code == 200, answer.text
    assert colors(answer) == [GREY]


async def test_an_endpoint_that_fails_leaves_a_deferred_job_its_light_image() -> None:
    async with serving(StandIn(then=refusal(500)), direct=0.0, deferral=1.0) as router:
        answer = await draw(router)
    assert answer.status_code == 200, answer.text
    assert colors(answer) == [GREY]
    assert answer.headers["x-hadis-path"] == "kept-light"


@pytest.mark.slow
async def test_an_endpoint_that_is_too_slow_is_hung_up_on_and_the_light_image_comes_in_time() -> None:
    stand_in = StandIn(then=hang)
    async with serving(stand_in, direct=0.0, deferral=1.0, latency="2s") as router:
        answer = await draw(router)
        while not stand_in.hung_up:  # noqa: ASYNC110 (a thread is waited for)
            await asyncio.sleep(0.005)
    assert answer.status_code == 200, answer.text
    assert colors(answer) == [GREY]
    assert answer.headers["x-hadis-path"] == "kept-light"
    assert (stand_in.hung_up, stand_in.running) == (1, 0)


async def test_what_the_endpoint_filters_is_told_as_openai_does() -> None:
    async with serving(StandIn(then=refusal(400, "moderation_blocked")), direct=1.0, deferral=0.0) as router:
        answer = await draw(router)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "content_policy_violation"
