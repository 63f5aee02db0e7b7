"""Everything that makes images passes one front door: edits, jobs and streams as well as plain generations."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import openai
import pytest
from fastapi import FastAPI
from hadis.api.access import ClientLimits
from hadis.planning.profile import Profile
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis_router.app import create_app
from hadis_router.http import events
from hadis_router.http.client_use import ClientBuckets
from hadis_router.http.jobs.settings import JobSettings
from hadis_router.http.keys import KeyRing
from hadis_router.http.links.settings import LinkSettings
from test_api import PLAN, Instant, LengthScorer, make_app, make_manifest
from test_edits import PNG, png
from test_forwarding import until
from virtual import virtual

IMAGES, JOBS, EDITS = "/v1/images/generations", "/v1/hadis/jobs", "/v1/images/edits"
VARIATIONS = "/v1/images/variations"
KEY = {"authorization": "Bearer shop-key"}
BODY = {"prompt": "a red circle", "n": 2}
ID = "a-request-id-of-the-client"
PAGE = "https://pages.example"


@asynccontextmanager
async def asking(app: FastAPI, sender: str = "10.0.0.7") -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        transport = httpx.ASGITransport(app, client=(sender, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://router") as client:
            yield client


@pytest.fixture
def workers() -> Instant:
    return Instant()


@pytest.fixture
def keyed(profile: Profile, workers: Instant, tmp_path: Path) -> FastAPI:
    """A router below `/ai` whose clients have keys, and that pages of another origin may call."""
    path = tmp_path / "keys"
    path.write_text(
        "".join(
            f"sha256:{hashlib.sha256(b'%b-key' % name).hexdigest()} name={name.decode()}\n"
            for name in (b"shop", b"other")
        )
    )

    async def states() -> AsyncIterator[RunState]:
        yield RunState(PLAN, (WorkerAddress("http://w0", ("light", "heavy")),))
        await asyncio.Event().wait()

    manifest = make_manifest(profile, corsOrigins=[PAGE])
    links = LinkSettings(root_path="/ai")
    return create_app(manifest, states, LengthScorer(), workers, links=links, keys=KeyRing(path))


async def ask(client: httpx.AsyncClient, path: str, **headers: str) -> httpx.Response:
    """Send a request for images as clients of a path do."""
    if path == EDITS:
        return await client.post(path, data={"prompt": "a", "n": "1"}, files={"image": PNG}, headers=headers)
    return await client.post(path, json=BODY, headers=headers)


async def test_a_refusal_at_the_door_has_an_id_that_pages_of_other_origins_may_read(keyed: FastAPI) -> None:
    async with asking(keyed) as client:
        refused = await client.post("/ai" + IMAGES, json=BODY, headers={"x-request-id": ID, "origin": PAGE})
        preflight = {"origin": PAGE, "access-control-request-method": "POST"}
        assert (await client.options("/ai" + IMAGES, headers=preflight)).status_code == 200
        metrics = (await client.get("/metrics")).text
    assert (refused.status_code, refused.headers["x-request-id"]) == (401, ID)
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.headers["access-control-allow-origin"] == PAGE
    assert 'hadis_router_failures_total{code="invalid_api_key",outcome="invalid"} 1.0' in metrics
    assert keyed.state.gateway.dispatcher.recent.totals["invalid"] == {"invalid_api_key": 1}


async def test_of_clients_with_keys_each_is_told_the_progress_of_its_own_requests_alone(
    keyed: FastAPI, workers: Instant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_UNKNOWN_S", 0.0)
    workers.gate = asyncio.Event()
    async with asking(keyed) as client:
        made = asyncio.create_task(client.post(IMAGES, json=BODY, headers={**KEY, "x-request-id": ID}))
        await until(lambda: bool(workers.jobs))
        other = await client.get(f"/v1/hadis/progress/{ID}", headers={"authorization": "Bearer other-key"})
        nobody = await client.get("/v1/hadis/progress/x", headers=KEY)
        own = asyncio.create_task(client.get(f"/v1/hadis/progress/{ID}", headers=KEY))
        for _ in range(100):
            await asyncio.sleep(0)  # until it is told
        workers.gate.set()
        assert (await made).status_code == 200
        assert other.text == nobody.text == "event: end\ndata: {}\n\n"
        assert "event: progress" in (await own).text


async def test_links_need_no_key_and_jobs_do(keyed: FastAPI) -> None:
    async with asking(keyed) as client:
        made = await client.post(IMAGES, json=BODY | {"response_format": "url"}, headers=KEY)
        assert (await client.get(made.json()["data"][0]["url"])).status_code == 200
        job = await client.post(JOBS, json=BODY, headers=KEY)
        assert job.status_code == 202
        for headers, status in (({}, 401), (KEY, 200)):
            assert (await client.get(job.json()["url"], headers=headers)).status_code == status
        assert (await client.delete(job.json()["url"])).status_code == 401


CODINGS = ["gzip", "GZIP", "br", "deflate", "zstd", "gzip, gzip", "identity, gzip", "aws-chunked", "x" * 10_000]


@pytest.mark.parametrize("coding", CODINGS, ids=lambda coding: coding[:20])
@pytest.mark.parametrize("path", [IMAGES, JOBS, EDITS, VARIATIONS])
async def test_a_compressed_body_is_refused_in_words_and_is_not_unpacked(
    profile: Profile, path: str, coding: str
) -> None:
    headers = {"content-type": "application/json", "content-encoding": coding}
    async with asking(make_app(profile, Instant())) as client:
        answer = await client.post(path, content=gzip.compress(json.dumps(BODY).encode()), headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (415, "invalid_content_type")
    assert error["message"] == f"content-encoding is {coding[:64]!r}; send the body uncompressed"


@pytest.mark.parametrize("coding", ["identity", " Identity ", ""])
@pytest.mark.parametrize("path", [IMAGES, JOBS, EDITS])
async def test_a_body_that_is_said_to_be_as_it_is_is_read(profile: Profile, path: str, coding: str) -> None:
    async with asking(make_app(profile, Instant())) as client:
        answer = await ask(client, path, **{"content-encoding": coding})
    assert answer.status_code == (202 if path == JOBS else 200), answer.text


@virtual
@pytest.mark.parametrize("path", [IMAGES, JOBS, EDITS])
async def test_what_is_sure_to_be_refused_is_refused_and_counted_as_lost_at_once(profile: Profile, path: str) -> None:
    app = make_app(profile, Instant())
    async with asking(app) as client:
        gateway = app.state.gateway
        gateway.dispatcher._queue_limit = 0
        gateway.jobs = None  # nothing gets so far
        for _ in range(2):
            answer = await ask(client, path, **{"x-request-id": ID})
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
            assert answer.headers["x-request-id"] == ID
        images = 1 if path == EDITS else 2
        assert gateway.dispatcher.recent.totals["refused"] == {"queue_full": 2 * images}
        assert gateway.metrics.arrivals_total == images


@virtual
@pytest.mark.parametrize("more", [0, 20_000])
async def test_the_official_client_that_tries_an_edit_again_is_no_new_demand(profile: Profile, more: int) -> None:
    """Neither with a body that is read before it is refused, nor with one that is not."""
    app = make_app(profile, Instant())
    async with asking(app) as client:
        app.state.gateway.dispatcher._queue_limit = 0
        official = openai.AsyncOpenAI(
            api_key="a", base_url="http://router/v1", http_client=cast(Any, client), max_retries=2
        )
        with pytest.raises(openai.RateLimitError):
            await official.images.edit(image=png(more=b"a" * more), prompt="a")
        assert app.state.gateway.dispatcher.recent.totals["refused"] == {"queue_full": 3}
        assert app.state.gateway.metrics.arrivals_total == 1
        with pytest.raises(openai.RateLimitError):
            await official.images.edit(image=png(more=b"b" * (more + 1)), prompt="a")
        assert app.state.gateway.metrics.arrivals_total == 2


@virtual
@pytest.mark.parametrize("how", ["jobs", "streams"])
async def test_images_in_flight_are_those_of_jobs_and_streams_too(profile: Profile, how: str) -> None:
    workers = Instant()
    workers.gate = asyncio.Event()
    app = make_app(profile, workers)
    async with asking(app) as client:
        gateway = app.state.gateway
        gateway.use = ClientBuckets(lambda client: ClientLimits(images_in_flight=3))
        path, body = (JOBS, BODY) if how == "jobs" else (IMAGES, BODY | {"stream": True})
        first = asyncio.create_task(client.post(path, json=body))
        await asyncio.sleep(1)
        refused = await client.post(path, json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_in_flight")
        assert gateway.dispatcher.recent.totals["refused"] == {"too_many_in_flight": 2}
        workers.gate.set()
        assert (await first).status_code in (200, 202)
        await asyncio.sleep(1)
        assert not gateway.use._images
        assert (await client.post(path, json=body)).status_code in (200, 202)


@virtual
async def test_images_of_a_request_that_is_refused_or_left_are_given_back(profile: Profile) -> None:
    workers = Instant()
    workers.gate = asyncio.Event()
    app = make_app(profile, workers)
    async with asking(app) as client:
        gateway = app.state.gateway
        gateway.use = ClientBuckets(lambda client: ClientLimits(images_in_flight=9))
        job = (await client.post(JOBS, json=BODY)).json()["url"]
        gateway.dispatcher._queue_limit = 2  # the job's second image waits
        refused = await client.post(IMAGES, json=BODY)
        assert refused.json()["error"]["code"] == "queue_full"
        assert gateway.use._images.total() == 2
        await client.delete(job)
        await asyncio.sleep(1)
        assert not gateway.use._images
        await gateway.dispatcher.drain()


@pytest.mark.parametrize(("priority", "status"), [("batch", 202), ("interactive", 202), ("urgent", 400)])
async def test_a_job_keeps_its_priority(profile: Profile, priority: str, status: int) -> None:
    workers = Instant()
    app = make_app(profile, workers, jobs=JobSettings())
    async with asking(app) as client:
        answer = await client.post(JOBS, json=BODY, headers={"x-hadis-priority": priority})
        assert answer.status_code == status
        if status == 202:
            await until(lambda: len(workers.jobs) == 2)
            assert {job.batch for job in workers.jobs} == {priority == "batch"}
            record = await app.state.jobs._store.get(answer.json()["id"])
            assert record.batch == (priority == "batch")


async def test_a_wrong_priority_is_no_demand(profile: Profile) -> None:
    app = make_app(profile, Instant())
    async with asking(app) as client:
        answer: Any = await client.post(IMAGES, json=BODY, headers={"x-hadis-priority": "urgent"})
        assert answer.json()["error"]["code"] == "invalid_priority"
    assert app.state.gateway.metrics.arrivals_total == 0
