"""The images API as its clients meet it: the official client, wrong input, clients that go away, many at once."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import openai
import pytest
from documents import profile_document
from fastapi import FastAPI
from hadis.api.manifest import Manifest
from hadis.api.resources import API_VERSION, CascadeProfile, DiffusionService
from hadis.planning.plan import Plan, TierPlan
from hadis.planning.profile import Profile
from hadis.protocol.address import worker_name
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis.protocol.worker import ErrorCode, JobResult
from hadis_router.app import create_app
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import OnProgress, Result
from hadis_router.http.jobs.settings import JobSettings
from hadis_router.http.keys import KeyRing
from hadis_router.http.links.settings import LinkSettings
from virtual import virtual

PLAN = Plan("light", "heavy", 0.0, 0.0, (TierPlan("light", 1, 4), TierPlan("heavy", 1, 4)), 1.0, 25.0, 1.0, 2.0)
IMAGE = b"\x89PNG picture"


class LengthScorer:
    """Counts characters."""

    async def score_off_loop_if_long(self, prompt: str) -> float:
        """Return the length."""
        return float(len(prompt))


class Instant:
    """Workers that answer at once, or when `gate` is set."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.gate: asyncio.Event | None = None
        self.failing_seed: int | None = None
        self.error_code: ErrorCode = "failed"

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        """Return one picture per job, or an error for `failing_seed`."""
        self.jobs += jobs
        if self.gate:
            await self.gate.wait()
        confidence = 0.9 if discriminate else None
        return [
            (JobResult(id=job.id, error="out of memory", error_code=self.error_code), None)
            if job.params.seed == self.failing_seed
            else (JobResult(id=job.id, confidence=confidence, size="32x32", truncated_tokens=3), IMAGE)
            for job in jobs
        ]


def make_manifest(profile: Profile, proxies: Sequence[str] = (), **api: Any) -> Manifest:
    """Return a service with its profile, which trusts some proxies; `api` is its `spec.api`."""
    spec = {"profile": "two", "objective": {"latency": "60s"}, "gpus": {"max": 2}, "queue": {"limit": 500}, "api": api}
    spec["access"] = {"trustedProxies": list(proxies)}
    document = {"apiVersion": API_VERSION, "kind": "DiffusionService", "metadata": {"name": "two"}, "spec": spec}
    return Manifest(DiffusionService.read(document), profile.resource, Path())


def make_app(
    profile: Profile,
    transport: Instant,
    workers: int = 1,
    plan: Plan = PLAN,
    links: LinkSettings | None = None,
    jobs: JobSettings | None = None,
    proxies: Sequence[str] = (),
    secret: str | None = None,
    keys: KeyRing | None = None,
    **api: Any,
) -> FastAPI:
    async def states() -> AsyncIterator[RunState]:
        yield RunState(plan, tuple(WorkerAddress(f"http://w{i}", ("light", "heavy")) for i in range(workers)))
        await asyncio.Event().wait()

    manifest = make_manifest(profile, proxies, **api)
    return create_app(manifest, states, LengthScorer(), transport, links=links, jobs=jobs, keys=keys, secret=secret)


@pytest.fixture
def transport() -> Instant:
    return Instant()


@pytest.fixture
async def client(profile: Profile, transport: Instant) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(profile, transport)
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        http = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=http, base_url="http://router") as client:
            yield client


async def post(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/v1/images/generations", json=body)


async def test_the_official_client_gets_images(client: httpx.AsyncClient) -> None:
    official = openai.AsyncOpenAI(api_key="none", base_url="http://router/v1", http_client=cast(Any, client))
    made = await official.images.generate(prompt="a red circle", model="auto", n=3, extra_body={"seed": 7})
    assert made.data is not None
    assert len(made.data) == 3
    assert made.data[0].b64_json
    assert [m.id async for m in official.models.list()] == ["auto", "light", "heavy"]


async def test_the_official_client_gets_the_light_image_first_in_a_stream(profile: Profile, transport: Instant) -> None:
    app = make_app(profile, transport, plan=replace(PLAN, deferral_ratio=1.0))
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router")
        async with openai.AsyncOpenAI(
            api_key="none", base_url="http://router/v1", http_client=cast(Any, http)
        ) as official:
            stream = await official.images.generate(prompt="a red circle", n=2, stream=True, partial_images=1)
            events = [event async for event in stream]
    kinds = [event.type for event in events]
    assert sorted(kinds) == ["image_generation.completed"] * 2 + ["image_generation.partial_image"] * 2
    assert kinds[0] == "image_generation.partial_image"
    assert {event.size for event in events} == {"32x32"}
    assert all(base64.b64decode(event.b64_json) == IMAGE for event in events)


async def test_a_stream_that_is_refused_has_its_own_status(profile: Profile, client: httpx.AsyncClient) -> None:
    assert (await post(client, prompt="a", stream=True, model="x")).status_code == 404
    app = make_app(profile, Instant(), workers=0)
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as none_ready:
            refused = await post(none_ready, prompt="a", stream=True)
    assert (refused.status_code, refused.headers["content-type"]) == (503, "application/json")


async def test_a_stream_that_fails_later_ends_in_an_error(client: httpx.AsyncClient, transport: Instant) -> None:
    transport.failing_seed = 8
    official = openai.AsyncOpenAI(api_key="none", base_url="http://router/v1", http_client=cast(Any, client))
    stream = await official.images.generate(prompt="a", n=2, stream=True, extra_body={"seed": 7})
    assert (await anext(stream)).type == "image_generation.completed"
    with pytest.raises(openai.APIError, match="out of memory"):
        await anext(stream)


async def test_a_filtered_image_is_the_error_that_openais_clients_know(
    client: httpx.AsyncClient, transport: Instant
) -> None:
    transport.failing_seed, transport.error_code = 7, "content_filtered"
    official = openai.AsyncOpenAI(api_key="none", base_url="http://router/v1", http_client=cast(Any, client))
    with pytest.raises(openai.BadRequestError) as refused:
        await official.images.generate(prompt="a", extra_body={"seed": 7})
    assert (refused.value.code, refused.value.type) == ("content_policy_violation", "invalid_request_error")
    assert (
        'hadis_router_failures_total{code="content_policy_violation",outcome="invalid"} 1.0'
        in (await client.get("/metrics")).text
    )


async def test_what_happened_is_in_headers_and_on_request_in_the_body(client: httpx.AsyncClient) -> None:
    answer = await post(client, prompt="a red circle", explain=True)
    assert answer.headers["x-hadis-path"] == "light"
    assert "x-hadis-confidence" not in answer.headers, "nobody judges where nothing is deferred"
    assert answer.json()["hadis"][0]["confidence"] is None
    assert answer.headers["x-hadis-truncated-tokens"] == "3"
    assert answer.json()["hadis"][0]["truncated_tokens"] == 3
    assert answer.headers["x-hadis-size"] == answer.json()["hadis"][0]["size"] == "32x32"
    assert answer.json()["hadis"][0]["attempts"][0]["tier"] == "light"
    assert "hadis" not in (await post(client, prompt="a red circle")).json()


async def test_image_i_has_seed_plus_i_and_a_forced_tier_its_settings(
    client: httpx.AsyncClient, transport: Instant
) -> None:
    body = {"n": 2, "seed": 2**63 - 1, "model": "heavy", "num_inference_steps": 3}
    answer = await post(client, prompt="x", output_format="webp", **body)
    assert answer.headers["x-hadis-path"] == "heavy"
    assert sorted(job.params.seed for job in transport.jobs) == [0, 2**63 - 1]
    assert {job.params.steps for job in transport.jobs} == {3}


async def test_a_negative_prompt_goes_to_the_tier_that_takes_them(
    client: httpx.AsyncClient, transport: Instant
) -> None:
    answer = await post(client, prompt="an easy prompt", negative_prompt="blue")
    assert (answer.status_code, answer.headers["x-hadis-tiers"]) == (200, "heavy")
    assert (await post(client, prompt="an easy prompt", negative_prompt="")).headers["x-hadis-tiers"] == "light"


WRONG = [
    ({"prompt": ""}, "prompt", "is empty"),
    ({"prompt": "x" * 100_000}, "prompt", "at most 32000"),
    ({"prompt": "a\x00b"}, "prompt", "U+0000"),
    ({"prompt": "a", "n": 0}, "n", "greater than or equal to 1"),
    ({"prompt": "a", "n": 11}, "n", "less than or equal to 10"),
    ({"prompt": "a", "negative_prompt": "b", "model": "light"}, "negative_prompt", "not taken by light; leave it out"),
    ({"prompt": "a", "seed": -2}, "seed", "greater than or equal to 0"),
    ({"prompt": "a", "seed": 2**63}, "seed", "less than"),
    ({"prompt": "a", "num_inference_steps": 3}, "num_inference_steps", "needs `model`"),
    ({"prompt": "a", "model": "light", "guidance_scale": 3}, "guidance_scale", "tunable"),
    ({"n": 1}, "prompt", "required"),
]


@pytest.mark.parametrize(("body", "param", "words"), WRONG, ids=lambda value: str(value)[:30])
async def test_wrong_input_is_a_400_that_names_the_field(
    client: httpx.AsyncClient, body: dict[str, Any], param: str, words: str
) -> None:
    answer = await post(client, **body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert words in error["message"]
    assert (await post(client, prompt="still there")).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "invalid_json"),
        (b"[" * 200_000, "application/json", 400, "invalid_json"),
        (b"[1]", "application/json", 400, "invalid_json"),
        (b"\xff\xfe", "application/json", 400, "invalid_json"),
        (b'{"prompt":"\\ud800"}', "application/json", 400, "invalid_json"),
        (b"prompt=a", "application/x-www-form-urlencoded", 415, "invalid_content_type"),
        (b" " * 10_000_000, "application/json", 413, "body_too_large"),
    ],
)
async def test_a_body_that_is_no_request(
    client: httpx.AsyncClient, content: bytes, kind: str, status: int, code: str
) -> None:
    answer = await client.post("/v1/images/generations", content=content, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_every_error_has_the_envelope(client: httpx.AsyncClient) -> None:
    unknown = await post(client, prompt="a", model="x")
    for answer in (await client.get("/nothing"), await client.get("/v1/images/generations"), unknown):
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert unknown.status_code == 404
    assert "there are auto, light, heavy" in unknown.json()["error"]["message"]


async def test_a_client_that_goes_away_frees_its_jobs(profile: Profile, transport: Instant) -> None:
    transport.gate = asyncio.Event()
    app = make_app(profile, transport)
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        left = asyncio.Event()
        messages = [{"type": "http.request", "body": json.dumps({"prompt": "a", "n": 4}).encode()}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/images/generations",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "app": app,
            "root_path": "",
        }
        request = asyncio.create_task(app(scope, receive, send))
        while not transport.jobs:  # noqa: ASYNC110 (the fake worker has no event)
            await asyncio.sleep(0)
        assert sum(app.state.gateway.dispatcher.queued.values()) == 3
        left.set()
        await request
        assert sum(app.state.gateway.dispatcher.queued.values()) == 0
        transport.gate.set()


async def test_two_hundred_at_once_are_all_answered(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(post(client, prompt=f"number {i}") for i in range(200)))
    assert {answer.status_code for answer in answers} == {200}


async def test_without_workers_it_is_alive_but_not_ready(profile: Profile, transport: Instant) -> None:
    app = make_app(profile, transport, workers=0)
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client:
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 503
            refused = await post(client, prompt="a", n=3)
            metrics = (await client.get("/metrics")).text
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert 'hadis_router_arrivals_total{size="auto"} 3.0' in metrics
    assert 'hadis_router_failures_total{code="no_workers",outcome="refused"} 3.0' in metrics, "images, as arrivals are"


class TenthOfASecond(Instant):
    """Workers that take 0.1 s for each light image."""

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        """Return one picture per job, after its time."""
        await asyncio.sleep(0.1 * len(jobs))
        return await super().generate(url, tier, jobs, discriminate, timeout_s, on_progress)


@virtual
async def test_a_client_keeps_its_objective_while_another_floods() -> None:
    """One worker makes 10 images/s; one key asks for 50 per second, another for 1."""
    profile = Profile(CascadeProfile.read(profile_document()))
    app = make_app(profile, TenthOfASecond())
    clock = asyncio.get_running_loop().time
    answers: dict[str, list[tuple[httpx.Response, float]]] = {"flood": [], "small": []}

    async def ask(client: httpx.AsyncClient, key: str) -> None:
        began = clock()
        answer = await client.post(
            "/v1/images/generations", json={"prompt": "a"}, headers={"authorization": f"Bearer {key}"}
        )
        answers[key].append((answer, clock() - began))

    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client:
            async with asyncio.TaskGroup() as group:
                for i in range(50 * 30):
                    if i % 50 == 0:
                        group.create_task(ask(client, "small"))
                    group.create_task(ask(client, "flood"))
                    await asyncio.sleep(0.02)
            status = (await client.get("/v1/hadis/status")).json()
            metrics = (await client.get("/metrics")).text
    assert [answer.status_code for answer, _ in answers["small"]] == [200] * 30
    assert max(seconds for _, seconds in answers["small"]) <= 60
    refused = [answer for answer, _ in answers["flood"] if answer.status_code == 429]
    assert {answer.json()["error"]["code"] for answer in refused} == {"over_share"}
    assert max(int(answer.headers["retry-after"]) for answer in refused) > 10
    assert len(answers["flood"]) == 1500
    assert status["clients"]["active"] == 2
    assert [each["weight"] for each in status["clients"]["busiest"]] == [1.0, 1.0]
    flood, small = (each["gpus"] for each in status["clients"]["busiest"])
    assert flood == pytest.approx(50 * small, rel=0.1)
    assert "flood" not in json.dumps(status) + metrics
    assert f'hadis_router_failures_total{{code="over_share",outcome="refused"}} {len(refused)}.0' in metrics
    assert "hadis_router_clients 2.0" in metrics


async def test_a_size_is_made_by_the_tiers_that_have_it(transport: Instant) -> None:
    tiers = profile_document()["spec"]["tiers"]
    for tier in tiers:
        tier["sizes"] = [tier.pop("size"), "64x32"]
    tiers[1]["sizes"].append("64x64")
    profile = Profile(CascadeProfile.read(profile_document(tiers=tiers)))
    app = make_app(profile, transport, sizePolicy="exact")
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client:
            for size in ("auto", "32x32", "64x32", "64x64"):
                assert (await post(client, prompt="a", size=size)).status_code == 200
            refused = await post(client, prompt="a", size="1x1")
            models = (await client.get("/v1/models")).json()["data"]
            front = (await client.get("/v1/hadis/front")).json()
            status = (await client.get("/v1/hadis/status")).json()
    assert [job.params.size for job in transport.jobs] == [None, None, "64x32", "64x64"]
    assert "write 32x32, 64x32, 64x64 or auto" in refused.json()["error"]["message"]
    assert {model["id"]: model["sizes"] for model in models} == {
        "auto": ["32x32", "64x32", "64x64"],
        "light": ["32x32", "64x32"],
        "heavy": ["32x32", "64x32", "64x64"],
    }
    assert front["tiers"][0] == {"name": "light", "sizes": ["32x32", "64x32"]}
    assert status["arrivals_by_size"] == {"auto": 2, "64x32": 1, "64x64": 1, "other": 1}


async def test_status_and_metrics(client: httpx.AsyncClient) -> None:
    await post(client, prompt="a", n=2)
    status = (await client.get("/v1/hadis/status")).json()
    assert (status["arrivals_total"], status["answers"]) == (2, {"light": 2})
    assert status["attainment"] == 1.0
    text = (await client.get("/metrics")).text
    assert 'hadis_router_answers_total{path="light"} 2.0' in text
    assert 'hadis_router_queue_jobs{tier="heavy"} 0.0' in text


class OneSlow(Instant):
    """Light batches take 1.5 times as long as the profile says, and all batches of w1 four times as long."""

    async def generate(
        self, url: str, tier: str, jobs: Sequence[Job], discriminate: bool, timeout_s: float, on_progress: OnProgress
    ) -> list[Result]:
        """Return one picture per job."""
        await asyncio.sleep({"light": 0.15, "heavy": 1.0}[tier] * len(jobs) * (4 if url == "http://w1" else 1))
        return await super().generate(url, tier, jobs, discriminate, timeout_s, on_progress)


@virtual
async def test_status_says_which_tiers_are_out_of_date_and_which_workers_slow(profile: Profile) -> None:
    app = make_app(profile, OneSlow(), workers=2)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client,
    ):
        await asyncio.sleep(0)
        assert (await client.get("/v1/hadis/status")).json()["tiers"] == {}
        for model in ("light", "heavy") * 10:
            await asyncio.gather(*(post(client, prompt="a", model=model) for _ in range(2)))
        status = (await client.get("/v1/hadis/status")).json()
        metrics = (await client.get("/metrics")).text
    assert f'hadis_router_worker_time_ratio{{worker="{worker_name("http://w1")}"}}' in metrics
    assert status["tiers"] == {
        "light": {"time_ratio": pytest.approx(1.5, rel=0.2), "stale": True},
        "heavy": {"time_ratio": pytest.approx(1.0, rel=0.2), "stale": False},
    }
    assert [(worker["name"], worker["slow"]) for worker in status["workers"]] == [
        (worker_name("http://w0"), False),
        (worker_name("http://w1"), True),
    ]
    assert "http://" not in json.dumps(status) + metrics, "addresses are the service's own affair"
