"""Partial images of a stream: previews and the light image, numbered as they come, no more than were asked for."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import httpx
import openai
import pytest
from aiohttp import web
from documents import profile_document
from fake_workers import make_job
from hadis.api.resources import CascadeProfile
from hadis.planning.plan import Plan
from hadis.planning.profile import Profile
from hadis.protocol.parts import CONTENT_TYPE
from hadis.protocol.previews import HEADER, Preview, encode_preview
from hadis.protocol.worker import JobResult, encode_answer
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.partials import Partial, Partials, previews_of
from hadis_router.dispatch.transport import OnProgress, Result, WorkerGone
from test_api import IMAGE, PLAN, Instant, make_app
from test_edits import PNG
from test_worker_client import LIMIT_S, StubWorker, calling

DEFERRING, DIRECT = replace(PLAN, deferral_ratio=1.0), replace(PLAN, direct_ratio=1.0)


class Previewing(Instant):
    """Workers that show as many previews as a job has, or `too_many`: the tier and the number of each."""

    too_many = 0
    largest = 0
    """Jobs in a batch."""

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        """Return one picture per job."""
        self.largest = max(self.largest, len(jobs))
        for i, job in enumerate(jobs):
            for number in range(self.too_many or previews_of(job, judged=discriminate)):
                on_progress(Preview(i, "32x32", f"{tier} {number}".encode()))
        await asyncio.sleep(0)
        return await super().generate(url, tier, jobs, discriminate, timeout_s, on_progress)


@asynccontextmanager
async def serving(workers: Instant, plan: Plan, profile: Profile) -> AsyncIterator[openai.AsyncOpenAI]:
    app = make_app(profile, workers, plan=plan)
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router")
        async with openai.AsyncOpenAI(
            api_key="none", base_url="http://router/v1", http_client=cast(Any, http)
        ) as official:
            yield official


async def events_of(official: openai.AsyncOpenAI, **fields: Any) -> list[Any]:
    stream = await official.images.generate(prompt="a red circle", stream=True, **fields)
    events = [event async for event in cast(Any, stream)]
    assert [event.type for event in events] == [
        *["image_generation.partial_image"] * (len(events) - 1),
        "image_generation.completed",
    ]
    return events[:-1]


def shown(events: Sequence[Any]) -> list[str]:
    return [base64.b64decode(event.b64_json).decode(errors="replace") for event in events]


LIGHT_IMAGE = IMAGE.decode(errors="replace")


@pytest.mark.parametrize(
    ("plan", "fields", "contents"),
    [
        (PLAN, {}, []),
        (PLAN, {"partial_images": 0}, []),
        (PLAN, {"partial_images": 3}, ["light 0", "light 1", "light 2"]),
        (PLAN, {"partial_images": 2, "model": "light"}, ["light 0", "light 1"]),
        (PLAN, {"partial_images": 2, "quality": "low"}, ["light 0", "light 1"]),
        (DIRECT, {"partial_images": 2}, ["heavy 0", "heavy 1"]),
        (DIRECT, {}, []),
        (DEFERRING, {}, []),
        (DEFERRING, {"partial_images": 1}, [LIGHT_IMAGE]),
        (DEFERRING, {"partial_images": 2}, [LIGHT_IMAGE, "heavy 0"]),
        (DEFERRING, {"partial_images": 3}, ["light 0", LIGHT_IMAGE, "heavy 0"]),
    ],
)
async def test_previews_and_the_light_image_come_as_they_are_made(
    profile: Profile, plan: Plan, fields: dict[str, Any], contents: list[str]
) -> None:
    async with serving(Previewing(), plan, profile) as official:
        events = await events_of(official, **fields)
    assert shown(events) == contents
    assert [event.partial_image_index for event in events] == list(range(len(events)))
    assert {event.size for event in events} <= {"32x32"}


async def test_who_made_them_is_their_quality(profile: Profile) -> None:
    async with serving(Previewing(), DEFERRING, profile) as official:
        assert [event.quality for event in await events_of(official, partial_images=3)] == ["low", "low", "high"]


@pytest.mark.parametrize("plan", [PLAN, DIRECT, DEFERRING])
async def test_a_worker_that_shows_too_much_is_cut_short(profile: Profile, plan: Plan) -> None:
    workers = Previewing()
    workers.too_many = 5
    async with serving(workers, plan, profile) as official:
        assert len(await events_of(official, partial_images=2)) == 2
        assert await events_of(official) == []
        assert (await official.images.generate(prompt="not a stream", n=2)).data


async def test_images_of_one_request_are_numbered_each(profile: Profile) -> None:
    workers = Previewing()
    async with serving(workers, PLAN, profile) as official:
        stream = await official.images.generate(prompt="a", model="light", n=5, stream=True, partial_images=2)
        events: list[Any] = [event async for event in stream]
    assert workers.largest > 1, "some share a batch"
    partial = [(event.index, event.partial_image_index) for event in events if hasattr(event, "partial_image_index")]
    assert sorted(partial) == [(i, number) for i in range(5) for number in range(2)]


async def test_the_official_client_streams_an_edit_with_previews() -> None:
    tiers = profile_document()["spec"]["tiers"]
    for tier in tiers:
        tier["edits"] = {"images": 1}
    profile = Profile(CascadeProfile.read(profile_document(tiers=tiers)))
    async with serving(Previewing(), DIRECT, profile) as official:
        stream = await official.images.edit(image=PNG, prompt="a", stream=True, partial_images=1)
        events: list[Any] = [event async for event in stream]
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
    assert (shown(events)[0], events[0].partial_image_index) == ("heavy 0", 0)


@pytest.mark.parametrize(
    ("most", "taken", "deferrable", "otherwise"), [(0, 0, 0, 0), (1, 0, 0, 1), (2, 0, 0, 2), (3, 0, 1, 3), (3, 3, 0, 0)]
)
def test_a_light_image_that_may_be_deferred_has_its_place(
    most: int, taken: int, deferrable: int, otherwise: int
) -> None:
    partials = Partials(most, lambda number, partial: None)
    for _ in range(taken):
        partials.add(Partial(b"", None, "light"))
    assert (partials.previews(may_be_deferred=True), partials.previews(may_be_deferred=False)) == (
        deferrable,
        otherwise,
    )


class StubPreviewer(StubWorker):
    """Answers with a preview of `job`, and keeps what it was told of previews."""

    job = 1

    async def generate(self, request: web.Request) -> web.StreamResponse:
        self.header = request.headers.get(HEADER)
        answer = web.StreamResponse(headers={"content-type": CONTENT_TYPE})
        await answer.prepare(request)
        await answer.write(encode_preview("image/png", Preview(self.job, "8x8", b"x" * 99_999)))
        results = [JobResult(id=job["id"]) for job in (await request.json())["jobs"]]
        await answer.write(encode_answer(results, [("png", b"image")] * len(results)))
        return answer


async def test_workers_are_told_which_jobs_have_previews_and_of_no_others() -> None:
    worker, received, jobs = StubPreviewer(), list[Any](), [make_job("a"), make_job("b")]
    async with calling(worker) as (transport, url):
        await transport.generate(url, "light", jobs, False, LIMIT_S, received.append)
        assert (worker.header, received) == (None, [Preview(1, "8x8", b"x" * 99_999)])
        jobs[1].partials = Partials(2, lambda number, partial: None)
        await transport.generate(url, "light", jobs, False, LIMIT_S, received.append)
        assert worker.header == "0,2"
        worker.job = 2
        with pytest.raises(WorkerGone, match="a preview of job 2 of 2"):
            await transport.generate(url, "light", jobs, False, LIMIT_S, received.append)
