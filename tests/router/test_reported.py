"""What workers report of their tiers stands in for what a profile leaves open, and for no more than that."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from aiohttp import web
from documents import profile_document
from fastapi import FastAPI
from hadis.api.cascade_profile import CascadeProfile
from hadis.api.edits import Edits
from hadis.api.images_api import ImagesApi
from hadis.api.tier import BatchLatency, Tier
from hadis.planning.profile import Profile
from hadis.protocol.worker import TierAbility, WorkerStatus
from hadis_router.dispatch.transport import WorkerGone
from hadis_router.dispatch.worker_client import HttpTransport
from hadis_router.http.models import ModelNames
from hadis_router.http.reported import follow_abilities, leaves_open, with_reported
from test_api import Instant, make_app, post
from test_worker_client import transport_to
from virtual import virtual

UNABLE = TierAbility(negative_prompts=False, edits=Edits(images=0))
ABLE = TierAbility(negative_prompts=True, edits=Edits(images=2, masks=True))


def tier(**fields: object) -> Tier:
    return Tier(name="t", model="m", steps=1, latency=(BatchLatency(batch=1, seconds=1),)).model_copy(update=fields)


def test_the_profile_has_the_last_word() -> None:
    assert with_reported(tier(), UNABLE).negative_prompts is False
    assert with_reported(tier(), ABLE).edits == ABLE.edits
    measured = tier(negative_prompts=True, edits=Edits(images=1), prompt_tokens=77)
    assert with_reported(measured, UNABLE) is measured
    half = with_reported(tier(negative_prompts=True), UNABLE)
    assert (half.negative_prompts, half.edits) == (True, UNABLE.edits)
    assert leaves_open(tier(negative_prompts=True))
    assert not leaves_open(measured)


def test_models_say_what_the_last_worker_reported() -> None:
    models = ModelNames({"t": tier()}, ImagesApi())
    assert models.document("t")["edits"] is None, "unknown is not no"
    models.report({"t": UNABLE, "another": ABLE})
    assert models.document("t")["edits"] is False
    models.report({"t": ABLE})
    assert models.document("auto")["edit_images"] == 2


@virtual
async def test_each_worker_is_asked_until_it_has_told_and_again_when_it_comes_back() -> None:
    ready, calls, reports = ["a", "b"], Counter[str](), list[object]()
    answers: dict[str, WorkerStatus | None] = {
        "a": WorkerStatus(tiers=("t",), ready=True, busy=False, abilities={"t": ABLE}),
        "b": None,
    }

    async def status_of(url: str) -> WorkerStatus:
        calls[url] += 1
        if (status := answers[url]) is None:
            raise WorkerGone("no route")
        return status

    following = asyncio.create_task(follow_abilities(lambda: ready, status_of, reports.append))
    await asyncio.sleep(2.5)
    assert calls == {"a": 1, "b": 3}
    answers["b"] = WorkerStatus(tiers=("t",), ready=True, busy=False)  # of a version that does not tell
    await asyncio.sleep(1)
    answers["b"] = answers["a"]
    await asyncio.sleep(5)
    assert calls == {"a": 1, "b": 5}
    assert reports == [{"t": ABLE}, {"t": ABLE}]
    ready.remove("a")
    await asyncio.sleep(1)
    ready.append("a")
    await asyncio.sleep(1)
    assert calls == {"a": 2, "b": 5}
    following.cancel()


async def test_difficulty_is_of_what_the_light_tier_reads() -> None:
    document = profile_document()
    document["spec"]["tiers"][0]["promptTokens"] = 3
    transport = Instant()
    app = make_app(Profile(CascadeProfile.read(document)), transport)
    async with running_client(app) as client:
        for prompt in ("a red circle", "a red circle and a long tail"):
            assert (await post(client, prompt=prompt)).status_code == 200
    assert [job.difficulty for job in transport.jobs] == [len("a red circle")] * 2
    assert transport.jobs[1].params.prompt == "a red circle and a long tail"


@pytest.mark.parametrize(
    ("fields", "counted"),
    [
        ({}, {}),
        ({"model": "heavy"}, {"heavy": 2}),
        ({"negative_prompt": "b"}, {"heavy": 2}),
        ({"quality": "low"}, {"light": 2}),
        ({"quality": "high"}, {"heavy": 2}),
        ({"quality": "low", "negative_prompt": "b"}, {"heavy": 2}),
        ({"size": "9x9"}, {}),
    ],
)
async def test_requests_that_not_every_tier_may_make_are_counted(
    profile: Profile, fields: dict[str, str], counted: dict[str, int]
) -> None:
    app = make_app(profile, Instant())
    async with running_client(app) as client:
        await post(client, prompt="a", n=2, **fields)
        status = (await client.get("/v1/hadis/status")).json()
        metrics = (await client.get("/metrics")).text
    arrivals = {"light": 0, "heavy": 0} | counted
    assert status["restricted_arrivals"] == arrivals
    for tier, count in arrivals.items():
        assert f'hadis_router_restricted_arrivals_total{{tiers="{tier}"}} {count}.0' in metrics
    assert status["arrivals_total"] == 2


@asynccontextmanager
async def running_client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://router") as client:
            yield client


@asynccontextmanager
async def worker(body: str, status: int = 200) -> AsyncIterator[tuple[HttpTransport, str]]:
    async def answer(request: web.Request) -> web.Response:
        shown = request.headers.get("authorization") == "Bearer s"
        return web.Response(text=body, status=status if shown else 401)

    app = web.Application()
    app.router.add_get("/status", answer)
    async with transport_to(app, "s") as connected:
        yield connected


async def test_a_status_is_read_whatever_else_it_holds() -> None:
    sent = WorkerStatus(tiers=("t",), ready=True, busy=False, abilities={"t": ABLE})
    body = sent.model_dump_json(by_alias=True)
    async with worker(body[:-1] + ', "of": "a later version"}') as (transport, url):
        assert await transport.status(url) == sent


@pytest.mark.parametrize(("body", "status"), [("nonsense", 200), ('{"tiers": 1}', 200), ("no", 500)])
async def test_what_is_no_status_is_as_no_answer(body: str, status: int) -> None:
    async with worker(body, status) as (transport, url):
        with pytest.raises(WorkerGone):
            await transport.status(url)
