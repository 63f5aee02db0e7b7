"""What is alike for every address: ids of requests, plain paths, methods, and what browsers ask first."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
import pytest
from hadis.planning.profile import Profile
from hadis.protocol.worker import GenerateBatch, WireJob
from hadis_router.http import events
from hadis_router.http.images import GenerateRequest
from test_api import Instant, make_app, post
from test_request_fields import served

PATH = "/v1/images/generations"
ADDRESSES = [
    ("GET", "/healthz", 200),
    ("GET", "/nothing", 404),
    ("PUT", "/v1/models", 405),
    ("GET", "/v1/models/none", 404),
    ("GET", "/", 200),
    ("GET", "/page/none.js", 404),
    ("GET", "/page", 404),
    ("OPTIONS", PATH, 405),
]


@pytest.mark.parametrize(("method", "path", "status"), ADDRESSES)
async def test_every_answer_says_the_requests_id(profile: Profile, method: str, path: str, status: int) -> None:
    async with served(profile, Instant()) as client:
        answer = await client.request(method, path, headers={"x-request-id": "its-own"})
        made = await client.request(method, path)
    assert (answer.status_code, answer.headers.get_list("x-request-id")) == (status, ["its-own"])
    assert len(made.headers["x-request-id"]) == 32


@pytest.mark.parametrize("unsafe", ["", "a b", "a" * 129, "\x7f", "a\tb", "ü", '"', "<a>", "a/b", "a;b"])
async def test_an_id_that_is_unsafe_or_long_is_made_anew(profile: Profile, unsafe: str) -> None:
    async with served(profile, Instant()) as client:
        answer = await client.get("/healthz", headers=[(b"x-request-id", unsafe.encode())])
    assert len(answer.headers["x-request-id"]) == 32


async def test_a_faults_answer_and_log_say_the_id(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: GenerateRequest) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(GenerateRequest, "end_user", property(fail))
    app = make_app(profile, Instant())
    http = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=http, base_url="http://router") as client:
        await asyncio.sleep(0)
        answer = await client.post(PATH, json={"prompt": "a"}, headers={"x-request-id": "its-own"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "its-own")
    assert "request its-own: the router has a fault: RuntimeError: a fault" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "line"),
    [
        ("POST", PATH, "request its-own: POST '/v1/images/generations': 200"),
        ("POST", "/v1/hadis/jobs", "request its-own: POST '/v1/hadis/jobs': 202"),
        ("GET", "/v1/hadis/images/secret", "request its-own: GET '/v1/hadis/images': 404"),
        ("GET", "/v1/a%0Ab", r"request its-own: GET '/v1/a\nb': 404"),
    ],
)
async def test_every_answer_is_logged_by_its_requests_id_where_that_is_wanted(
    profile: Profile, caplog: pytest.LogCaptureFixture, method: str, path: str, line: str
) -> None:
    caplog.set_level(logging.DEBUG, "hadis_router")
    async with served(profile, Instant()) as client:
        await client.request(method, path, json={"prompt": "a"}, headers={"x-request-id": "its-own"})
    assert line in caplog.messages


async def test_a_failed_image_is_logged_by_its_requests_id(profile: Profile, caplog: pytest.LogCaptureFixture) -> None:
    workers = Instant()
    workers.failing_seed = 7
    async with served(profile, workers) as client:
        answer = await client.post(PATH, json={"prompt": "a", "seed": 7}, headers={"x-request-id": "its-own"})
    assert answer.status_code == 500
    assert caplog.record_tuples[-1][1:] == (logging.WARNING, "request its-own: failed: out of memory")
    assert workers.jobs[0].wire().request_id == "its-own", "for the worker's log"


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([None], "requests without an id"),
        (["a", None, "a", "b"], "requests a, b"),
        ([str(i) for i in range(10)], "requests 0, 1, 2, 3, 4, 5, 6, 7 and 2 more"),
    ],
)
def test_logs_name_the_requests_of_a_batch(ids: list[str | None], words: str) -> None:
    jobs = tuple(WireJob(id=str(i), prompt="a", seed=0, request_id=name) for i, name in enumerate(ids))
    assert GenerateBatch(tier="t", jobs=jobs).requests == words


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/images/generations/", 200),
        ("//v1//images/generations", 200),
        ("/v1/images//generations//", 200),
        ("/v1/images/generations/x", 404),
    ],
)
async def test_slashes_too_many_are_no_other_address(profile: Profile, path: str, status: int) -> None:
    async with served(profile, Instant()) as client:
        answer = await client.post(f"http://router{path}", json={"prompt": "a"})
        assert answer.status_code == status
        assert (await client.get("http://router/v1//models/")).status_code == 200
        assert (await client.get("http://router//")).headers["content-type"].startswith("text/html")


async def test_it_is_so_below_a_path_of_a_proxy(profile: Profile) -> None:
    app = make_app(profile, Instant())
    http = httpx.ASGITransport(app, root_path="/sub")
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=http, base_url="http://router") as client:
        statuses = [(await client.get(path)).status_code for path in ("/sub/v1/models/", "/sub/", "/sub/page/main.js")]
    assert statuses == [200, 200, 200]


READABLE = ["/", "/page/main.js", "/healthz", "/readyz", "/v1/models", "/v1/models/dall-e-3", "/v1/hadis/status"]


@pytest.mark.parametrize("path", READABLE)
async def test_what_can_be_read_has_a_head(profile: Profile, path: str) -> None:
    async with served(profile, Instant()) as client:
        head, whole = await client.head(path), await client.get(path)
    assert head.status_code == 200
    assert head.headers["content-length"] == whole.headers["content-length"]


async def test_metrics_have_a_head(profile: Profile) -> None:
    async with served(profile, Instant()) as client:
        assert (await client.head("/metrics")).status_code == 200


async def test_a_base_url_without_its_version_is_told_the_right_one(profile: Profile) -> None:
    async with served(profile, Instant()) as client:
        answer = await client.post("/images/generations", json={"prompt": "a"})
    assert answer.status_code == 404
    assert "a base URL ends in /v1" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_there_are_no_pages_of_the_framework(profile: Profile, path: str) -> None:
    async with served(profile, Instant()) as client:
        assert (await client.get(path)).status_code == 404


async def preflight(client: httpx.AsyncClient, origin: str, path: str = PATH, method: str = "POST") -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type,x-stainless-lang",
    }
    return await client.options(path, headers=headers)


@pytest.mark.parametrize(
    ("origins", "allowed"),
    [([], None), (["https://app.example"], "https://app.example"), (["https://other.example"], None), (["*"], "*")],
)
async def test_pages_of_allowed_origins_may_call(profile: Profile, origins: list[str], allowed: str | None) -> None:
    origin = "https://app.example"
    async with served(profile, Instant(), corsOrigins=origins) as client:
        allowance = await preflight(client, origin)
        cancelling = await preflight(client, origin, "/v1/hadis/jobs/some", "DELETE")
        answers = [
            await client.post(PATH, json=body, headers={"origin": origin}) for body in ({"prompt": "a"}, {"prompt": ""})
        ]
    assert [answer.status_code for answer in answers] == [200, 400]
    for answer in (allowance, *answers):
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert answer.headers["x-request-id"]
    assert allowance.status_code == cancelling.status_code == (405 if not origins else 200 if allowed else 400)
    if allowed:
        assert "x-stainless-lang" in allowance.headers["access-control-allow-headers"]
        assert answers[0].headers["access-control-expose-headers"] == "*"


@pytest.mark.parametrize("guessable", ["short", "of-sixteen-letters", "a" * 32 + "%0a", "a" * 36, "0" * 128, "ü" * 32])
async def test_progress_is_told_to_who_knows_an_id_that_nobody_guesses(profile: Profile, guessable: str) -> None:
    async with served(profile, Instant()) as client:
        answer = await client.get(f"/v1/hadis/progress/{guessable}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "request_id")
    assert "or that is a UUID" in answer.json()["error"]["message"]


async def test_progress_is_told_by_the_id_that_the_router_made(profile: Profile, monkeypatch: Any) -> None:
    monkeypatch.setattr(events, "_UNKNOWN_S", 0.0)
    workers = Instant()
    workers.gate = asyncio.Event()
    async with served(profile, workers) as client:
        waiting = asyncio.create_task(post(client, prompt="a"))
        while not workers.jobs:  # noqa: ASYNC110 (the request is on its way)
            await asyncio.sleep(0)
        request_id = workers.jobs[0].request_id
        progress = asyncio.create_task(client.get(f"/v1/hadis/progress/{request_id}"))
        for _ in range(100):
            await asyncio.sleep(0)  # until it is told
        workers.gate.set()
        assert (await waiting).headers["x-request-id"] == request_id
        assert "event: progress" in (await progress).text
