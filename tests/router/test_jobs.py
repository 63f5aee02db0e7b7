"""Long jobs: created, followed, cancelled, kept within bounds, and told of to webhooks that may be told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import standardwebhooks
from aiohttp import web
from documents import profile_document
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis.protocol.worker import Progress
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import OnProgress, Result
from hadis_router.http.jobs import webhook
from hadis_router.http.jobs.idempotency import Idempotency
from hadis_router.http.jobs.record import JobRecord, JobRequest
from hadis_router.http.jobs.settings import JobSettings
from hadis_router.http.jobs.store import MemoryJobs
from hadis_router.http.store_metrics import StoreCounts
from pydantic import ValidationError
from test_api import IMAGE, Instant, make_app
from test_forwarding import running, until
from virtual import virtual

JOBS = "/v1/hadis/jobs"
SECRET = "whsec_" + "QUJD" * 8


class Gated(Instant):
    """Has done one of four steps, until `gate` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = self.opened = asyncio.Event()

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        on_progress(Progress(done=1, steps=4))
        return await super().generate(url, tier, jobs, discriminate, timeout_s, on_progress)


@asynccontextmanager
async def asking(workers: Instant, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(Profile(CascadeProfile.read(profile_document())), workers, jobs=JobSettings(**settings))
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client:
            yield client


async def create(client: httpx.AsyncClient, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {"idempotency-key": key} if key is not None else {}
    return await client.post(JOBS, json={"prompt": "a", **body}, headers=headers)


async def ended(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while (document := (await client.get(url)).json())["status"] in ("queued", "running"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    answer: dict[str, Any] = document
    return answer


async def test_a_job_is_followed_to_its_result() -> None:
    workers = Gated()
    async with asking(workers) as client:
        first, second = await create(client), await create(client, n=2)
        assert (first.status_code, first.headers["location"]) == (202, first.json()["url"])
        await until(lambda: bool(workers.jobs))
        running = (await client.get(first.json()["url"])).json()
        waiting = (await client.get(second.json()["url"])).json()
        assert (running["status"], running["progress"], running["position"]) == ("running", 0.25, None)
        assert (waiting["status"], waiting["progress"], waiting["position"]) == ("queued", 0, 0)
        assert running["expires_at"] == running["created_at"] + 3600
        assert running["result"] is None
        workers.opened.set()
        done = await ended(client, second.json()["url"])
    assert (done["status"], done["progress"], done["position"]) == ("succeeded", 1, None)
    assert len(done["result"]["data"]) == 2


async def test_a_request_may_prefer_to_be_a_job() -> None:
    async with asking(Instant()) as client:
        body = {"prompt": "a", "response_format": "url"}
        headers = {"prefer": "wait=5, respond-async"}
        answer = await client.post("/v1/images/generations", json=body, headers=headers)
        assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
        done = await ended(client, answer.headers["location"])
        assert (await client.get(done["result"]["data"][0]["url"])).content == IMAGE


async def test_a_job_is_cancelled_and_its_batch_with_it() -> None:
    workers = Gated()
    async with asking(workers) as client:
        url = (await create(client, n=2)).json()["url"]
        await until(lambda: bool(workers.jobs))
        cancelled = await client.delete(url)
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
        assert all(job.done for job in workers.jobs)
        assert (await client.get(url)).json()["status"] == "cancelled"
        assert (await client.delete(url)).json()["status"] == "cancelled"


async def test_a_job_that_fails_says_why() -> None:
    workers = Instant()
    workers.failing_seed = 7
    async with asking(workers) as client:
        failed = await ended(client, (await create(client, seed=7)).json()["url"])
    assert (failed["status"], failed["result"]) == ("failed", None)
    assert "out of memory" in failed["error"]["message"]


@virtual
async def test_a_job_has_the_deadline_of_any_request() -> None:
    async with asking(Gated()) as client:
        url = (await create(client)).json()["url"]
        await asyncio.sleep(61)
        assert (await client.get(url)).json()["error"]["code"] == "deadline_expired"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"model": "x"}, 404, "model_not_found"),
        ({"stream": True}, 400, "invalid_value"),
        ({"webhook": "https://hooks.example/x"}, 400, "invalid_webhook"),
        ({"n": 0}, 400, "invalid_value"),
        ({"images": ["data:image/png;base64,"]}, 400, "invalid_value"),
        ({"images": []}, 400, "invalid_value"),
        ({"mask": "data:image/png;base64,"}, 400, "invalid_value"),
        ({"seed": 7, "x": "x" * 1_000_000}, 413, "body_too_large"),
    ],
)
async def test_what_is_refused_is_no_job(body: dict[str, Any], status: int, code: str) -> None:
    async with asking(Instant(), job_count=1) as client:
        answer = await create(client, "k", **body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert (await create(client, "k")).status_code == 202, "neither its place nor its key is taken"


@pytest.mark.parametrize("name", ["x", "job_", "job_zzzzzzzz", "job_" + "0" * 40])
async def test_there_is_no_such_job(name: str) -> None:
    async with asking(Instant()) as client:
        for answer in (await client.get(f"{JOBS}/{name}"), await client.delete(f"{JOBS}/{name}")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_not_found")


async def test_a_key_makes_one_job() -> None:
    workers = Instant()
    async with asking(workers) as client:
        first, again = await create(client, "k", seed=1), await create(client, "k", seed=1)
        other_body, other_key = await create(client, "k", seed=2), await create(client, "l", seed=1)
        other_client = await client.post(
            JOBS, json={"prompt": "b"}, headers={"idempotency-key": "k", "authorization": "Bearer another"}
        )
        assert (await create(client, "")).status_code == 400
        await ended(client, other_client.json()["url"])
    assert again.json()["id"] == first.json()["id"] not in (other_key.json()["id"], other_client.json()["id"])
    assert (other_body.status_code, other_body.json()["error"]["code"]) == (409, "idempotency_key_in_use")
    assert len(workers.jobs) == 3


def record(number: int, **fields: Any) -> JobRecord:
    request = JobRequest(prompt="a")
    times = {"created_at": float(number), "expires_at": number + 100.0}
    return JobRecord(id=str(number), request=request, client="c", base_url="http://r", **times, **fields)


async def test_jobs_are_bounded_in_number_bytes_and_age() -> None:
    now = 0.0
    store = MemoryJobs(3, 10, lambda: now)
    for i in range(3):
        assert await store.add(record(i), Idempotency(f"k{i}", "body")) is None
    with pytest.raises(ServeError, match="3 jobs are kept"):
        await store.add(record(3), None)
    await store.save(record(1, status="succeeded", untold=True), b"x" * 5)
    with pytest.raises(ServeError, match="none of them has ended"):
        await store.add(record(3), None)
    await store.save(record(1, status="succeeded"))
    assert await store.add(record(3), None) is None
    assert await store.get("1") is None, "the oldest that has ended made room"
    assert await store.add(record(4, status="failed"), Idempotency("k0", "body")) == record(0)
    await store.save(record(0, status="succeeded"), b"x" * 6)
    await store.save(record(2, status="succeeded"), b"x" * 6)
    assert await store.get("0") is None
    assert await store.result("2") == b"x" * 6
    now = 102.5
    assert [await store.get(name) is None for name in ("2", "3")] == [True, False]
    assert (store._bytes, store._keys, store._key_of) == (0, {}, {})
    assert store.counts == StoreCounts(stored=4, stored_bytes=17, evicted=2, expired=1)


ALLOWED = [
    ("https://hooks.example.com/x", "hooks.example.com", True),
    ("http://HOOKS.example.com:80/x", "hooks.example.com", True),
    ("https://a.b.example.com/x", "*.example.com", True),
    ("https://example.com/x", "*.example.com", False),
    ("https://hooks.example.com.evil.org/x", "hooks.example.com", False),
    ("https://hooks.example.com:8443/x", "hooks.example.com", False),
    ("https://hooks.example.com:8443/x", "hooks.example.com:8443", True),
    ("https://hooks.example.com/x", "hooks.example.com:8443", False),
    ("https://hooks.example.com@evil.org/x", "hooks.example.com", False),
    ("https://user:password@hooks.example.com/x", "hooks.example.com", False),
    ("https://evil.org\\@hooks.example.com/x", "hooks.example.com", False),
    ("https://evil.org#@hooks.example.com/x", "hooks.example.com", False),
    ("ftp://hooks.example.com/x", "hooks.example.com", False),
    ("https://169.254.169.254/x", "*.example.com", False),
    ("http://[::1]/x", "[::1]", True),
    ("https://hooks.example.com:x/", "hooks.example.com", False),
    ("https:///x", "*", False),
]


@pytest.mark.parametrize(("url", "pattern", "may"), ALLOWED)
def test_only_hosts_that_are_listed_may_be_told(url: str, pattern: str, may: bool) -> None:
    assert webhook.allowed(url, ["other.example", pattern]) is may


@pytest.mark.parametrize("secret", [None, "whsec_", "whsec_QUJD", "QUJD" * 8, "whsec_!" + "QUJD" * 8])
def test_webhooks_need_a_secret(secret: str | None) -> None:
    with pytest.raises(ValidationError, match=r"secret|SECRET"):
        JobSettings(webhook_hosts=("a",), webhook_secret=secret)


@asynccontextmanager
async def listening(*statuses: int) -> AsyncIterator[tuple[int, list[tuple[dict[str, str], bytes]]]]:
    """Answer webhooks with these statuses, and give the port and what came."""
    hooks: list[tuple[dict[str, str], bytes]] = []

    async def take(request: web.Request) -> web.Response:
        hooks.append((dict(request.headers), await request.read()))
        return web.Response(status=statuses[len(hooks) - 1], headers={"location": "/elsewhere"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1], hooks
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("statuses", [(200,), (500, 302, 204), (410,), (500,) * 5])
async def test_a_webhook_is_told_until_it_takes_it(monkeypatch: pytest.MonkeyPatch, statuses: tuple[int, ...]) -> None:
    monkeypatch.setattr(webhook, "BACKOFF_S", (0.001,) * 4)
    async with listening(*statuses) as (port, hooks):
        settings = {"webhook_hosts": (f"127.0.0.1:{port}",), "webhook_secret": SECRET, "job_count": 1}
        async with asking(Instant(), **settings) as client:
            job = (await create(client, webhook=f"http://127.0.0.1:{port}/hook")).json()
            await until(lambda: len(hooks) == len(statuses))
            await until_room(client)
            lines = (await client.get("/metrics")).text.splitlines()
    delivered = statuses[-1] < 300
    assert f'hadis_router_webhooks_total{{outcome="delivered"}} {float(delivered)}' in lines
    assert f'hadis_router_webhooks_total{{outcome="failed"}} {float(not delivered)}' in lines
    assert 'hadis_router_stored_total{event="evicted",kind="job"} 1.0' in lines, "the second job took its place"
    for headers, content in hooks:
        standardwebhooks.Webhook(SECRET).verify(content, headers)
        message = json.loads(content)
        assert (message["type"], message["data"]["id"]) == ("image.job.succeeded", job["id"])
        assert headers["webhook-id"] == job["id"]
    assert len(hooks) == len(statuses)


async def until_room(client: httpx.AsyncClient) -> None:
    """Wait until the only job has nothing left to be done for."""
    async with asyncio.timeout(20):
        while (await create(client)).status_code == 429:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_every_router_answers_for_a_job_of_another(profile: Profile) -> None:
    async with running(profile, 3) as (owner, first, second), httpx.AsyncClient() as http:
        made = await http.post(first.url + JOBS, json={"prompt": "a"}, headers={"idempotency-key": "k"})
        again = await http.post(second.url + JOBS, json={"prompt": "a"}, headers={"idempotency-key": "k"})
        assert again.json()["id"] == made.json()["id"]
        assert made.headers["location"].startswith(first.url), "as its client reaches the service"
        for router in (owner, first, second):
            done = await ended(http, f"{router.url}{JOBS}/{made.json()['id']}")
            assert done["result"]["data"][0]["b64_json"]
        assert (await http.delete(f"{second.url}{JOBS}/{made.json()['id']}")).json()["status"] == "succeeded"
