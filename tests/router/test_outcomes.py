"""What clients saw is what the router counts: answered, refused, failed, cancelled, and their own faults."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from hadis.planning.profile import Profile
from hadis_router.dispatch import refusals
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


class Away:
    """A store that takes nothing."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def __call__(self, *_: Any) -> None:
        raise self._error


@virtual
@pytest.mark.parametrize(
    ("fields", "answered", "unanswered"),
    [
        ({}, 2, {}),
        ({"response_format": "url"}, 0, {"refused": {"store_away": 2}}),
        ({"response_format": "url", "stream": True}, 2, {}),
    ],
)
async def test_images_that_were_made_and_could_not_be_saved_were_not_answered(
    profile: Profile, fields: dict[str, Any], answered: int, unanswered: dict[str, dict[str, int]]
) -> None:
    async with Router(profile) as router:
        router.app.state.links._store.put = Away(refusals.store_away())
        answer = await post(router.client, prompt="a", n=2, **fields)
        status, counters = await router.status(), await router.counters()
    assert answer.status_code == (200 if answered else 503)
    assert {how: codes for how, codes in status["unanswered"].items() if codes} == unanswered
    assert status["attainment"] == (1.0 if answered else 0.0)
    assert counters[f'objective_images_total{{in_time="{"true" if answered else "false"}"}}'] == 2.0
    assert len([name for name in counters if name.startswith("objective")]) == 1, "each image counts once"


@virtual
@pytest.mark.parametrize("part", ["links", "jobs"])
async def test_a_job_whose_result_could_not_be_saved_was_not_answered(profile: Profile, part: str) -> None:
    async with Router(profile) as router:
        state = router.app.state
        if part == "links":
            state.links._store.put = Away(refusals.store_away())
        body = {"prompt": "a", "response_format": "url"}
        job = await router.client.post("/v1/hadis/jobs", json=body)
        if part == "jobs":
            state.jobs._store.save = Away(refusals.store_away())
        await asyncio.sleep(1)
        status, kept = await router.status(), (await router.client.get(job.json()["url"])).json()
    assert (status["unanswered"]["refused"], status["attainment"]) == ({"store_away": 1}, 0.0)
    assert (kept["status"], kept["error"] and kept["error"]["code"]) == (
        ("failed", "store_away") if part == "links" else ("queued", None)
    )


@virtual
async def test_what_fails_in_an_unknown_way_after_the_image_was_made_failed(profile: Profile) -> None:
    async with Router(profile) as router:
        router.app.state.links._store.put = Away(KeyError("a"))
        with pytest.raises(KeyError):
            await post(router.client, prompt="a", response_format="url")
        assert (await router.status())["unanswered"]["failed"] == {"internal_error": 1}


@virtual
@pytest.mark.parametrize("path", ["images/generations", "hadis/jobs"])
async def test_a_host_that_makes_no_link_is_refused_before_an_image_is_made(profile: Profile, path: str) -> None:
    async with Router(profile) as router:
        body, headers = {"prompt": "a", "response_format": "url"}, {"host": "a!b"}
        refused = await router.client.post(f"/v1/{path}", json=body, headers=headers)
        status = await router.status()
    assert refused.json()["error"]["code"] == "invalid_host"
    assert (status["unanswered"]["invalid"], router.workers.jobs) == ({"invalid_host": 1}, [])


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
