"""What clients saw is what the router counts: answered, refused, failed, cancelled, and their own faults."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from hadis.planning.profile import Profile
from hadis_router.dispatch.stats import EndedJob, RecentJobs
from test_api import PLAN, Instant, make_app, post
from virtual import virtual

SLO_S = 60.0


class Tenth(Instant):
    """Workers that take a tenth of a second, or as long as they are told."""

    batch_s = 0.1

    async def generate(self, *args: Any) -> Any:
        await asyncio.sleep(self.batch_s)
        return await super().generate(*args)


class Router:
    """A router of one worker, as its clients and its scrapes see it."""

    def __init__(self, profile: Profile, workers: int = 1) -> None:
        self.workers = Tenth()
        self.app = make_app(profile, self.workers, workers=workers, plan=PLAN)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://router")

    async def __aenter__(self) -> Router:
        self._lifespan = self.app.router.lifespan_context(self.app)
        await self._lifespan.__aenter__()
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.client.aclose()
        await self._lifespan.__aexit__(None, None, None)

    async def status(self) -> dict[str, Any]:
        document: dict[str, Any] = (await self.client.get("/v1/hadis/status")).json()
        return document

    async def counters(self) -> dict[str, float]:
        """Return what is not 0 of the counts of images, by name and labels."""
        lines = (await self.client.get("/metrics")).text.splitlines()
        names = ("hadis_router_failures_total", "hadis_router_objective_images_total", "hadis_router_arrivals_total")
        pairs = (line.removeprefix("hadis_router_").rsplit(" ", 1) for line in lines if line.startswith(names))
        return {name: float(value) for name, value in pairs if float(value)}


@virtual
@pytest.mark.parametrize(
    ("workers", "batch_s", "body", "attainment", "unanswered"),
    [
        (1, 0.1, {"n": 2}, 1.0, {}),
        (0, 0.1, {"n": 3}, 0.0, {"refused": {"no_workers": 3}}),
        (1, 2 * SLO_S, {"model": "light"}, 0.0, {"failed": {"deadline_expired": 1}}),
        (1, 0.1, {"seed": 7}, 0.0, {"failed": {"failed": 1}}),
        (1, 0.1, {"model": "no-such"}, None, {"invalid": {"model_not_found": 1}}),
    ],
)
async def test_attainment_is_what_clients_saw(
    profile: Profile,
    workers: int,
    batch_s: float,
    body: dict[str, Any],
    attainment: float | None,
    unanswered: dict[str, dict[str, int]],
) -> None:
    async with Router(profile, workers) as router:
        router.workers.batch_s, router.workers.failing_seed = batch_s, 7
        await post(router.client, prompt="a", **body)
        status, counters = await router.status(), await router.counters()
    assert status["attainment"] == attainment
    assert {how: codes for how, codes in status["unanswered"].items() if codes} == unanswered
    count = body.get("n", 1)
    expected = {f'arrivals_total{{size="{"auto"}"}}': float(count)}
    for outcome, codes in unanswered.items():
        expected |= {f'failures_total{{code="{code}",outcome="{outcome}"}}': float(n) for code, n in codes.items()}
    if attainment is not None:
        expected[f'objective_images_total{{in_time="{"true" if attainment else "false"}"}}'] = float(count)
    assert counters == expected


JSON, TEXT = "application/json", "text/plain"


@virtual
@pytest.mark.parametrize(
    ("path", "kind", "body", "code"),
    [
        ("images/generations", TEXT, b"{}", "invalid_content_type"),
        ("images/generations", JSON, b" " * 1_000_001, "body_too_large"),
        ("images/generations", JSON, b"{", "invalid_json"),
        ("images/edits", TEXT, b"{}", "invalid_content_type"),
        ("images/edits", JSON, b"{}", "invalid_value"),
        ("hadis/jobs", JSON, b"[]", "invalid_json"),
        ("images/generations", JSON, b'{"prompt": "a", "size": "no"}', "invalid_value"),
    ],
)
async def test_a_body_that_is_refused_counts_once_by_its_reason(
    profile: Profile, path: str, kind: str, body: bytes, code: str
) -> None:
    async with Router(profile) as router:
        refused = await router.client.post(f"/v1/{path}", content=body, headers={"content-type": kind})
        status, counters = await router.status(), await router.counters()
    assert refused.json()["error"]["code"] == code
    assert status["unanswered"]["invalid"] == {code: 1}
    assert counters == {f'failures_total{{code="{code}",outcome="invalid"}}': 1.0}


@virtual
async def test_a_body_that_does_not_come_whole_counts_too(profile: Profile) -> None:
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None: ...

    async with Router(profile) as router:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"99")]
        scope = {"type": "http", "method": "POST", "path": "/v1/images/generations", "headers": headers}
        await router.app({**scope, "query_string": b"", "client": ("10.0.0.7", 1)}, receive, send)
        status = await router.status()
    assert status["unanswered"]["invalid"] == {"body_unfinished": 1}


@virtual
async def test_images_that_another_image_of_their_request_took_along_are_refused_with_it(profile: Profile) -> None:
    async with Router(profile) as router:
        router.app.state.gateway.dispatcher._queue_limit = 2
        refused = await post(router.client, prompt="a", n=5)
        status = await router.status()
    assert refused.status_code == 429
    assert status["unanswered"]["refused"] == {"queue_full": 5}
    assert status["unanswered"]["cancelled"] == {}


@virtual
async def test_a_client_that_goes_away_counts_as_cancelled_alone(profile: Profile) -> None:
    async with Router(profile) as router:
        asking = asyncio.create_task(post(router.client, prompt="a"))
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.sleep(0.2)
        status = await router.status()
    assert status["unanswered"]["cancelled"] == {"cancelled": 1}
    assert status["attainment"] is None


def ended(at: float, outcome: Any = "answered", how: str = "light") -> EndedJob:
    return EndedJob(at, outcome, how, 1.0, outcome == "answered")


def test_rates_and_attainment_are_of_the_last_minute() -> None:
    recent = RecentJobs()
    for at in range(200):
        recent.add(ended(at + 0.5))
        recent.add(ended(at + 0.5, "refused", "queue_full"), 3)
    now = 200.0
    assert recent.attainment(now) == pytest.approx(0.25)
    assert recent.rates(now)["answered"] == {"light": pytest.approx(1.0, rel=0.02)}
    assert recent.rates(now)["refused"] == {"queue_full": pytest.approx(3.0, rel=0.02)}
    assert recent.totals["refused"]["queue_full"] == 600
    assert recent.latency_s(now, 0.5) == [1.0], "refusals are nobody's wait"
    assert recent.attainment(now + 61) is None


def test_a_flood_does_not_push_the_rest_of_the_minute_out() -> None:
    recent = RecentJobs()
    for at in range(50):
        recent.add(ended(float(at)))
    for _ in range(30_000):
        recent.add(ended(50.0, "refused", "over_share"))
    assert recent.attainment(51.0) == pytest.approx(50 / 30_050)
    assert len(recent._seconds) <= 61
    assert len(recent._latencies) == 50
