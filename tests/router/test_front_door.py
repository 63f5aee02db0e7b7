"""The front door: what it refuses unseen, what counts as demand, how fast refusals are told, and limits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fake_workers import SLO_S, FakeWorkers, make_dispatcher, make_job, make_plan
from hadis.api.access import ClientLimits
from hadis.planning.profile import Profile
from hadis_router.dispatch.answer import ServeError
from hadis_router.http import refusal_pace
from hadis_router.http.client_use import ClientBuckets
from hadis_router.http.refusal_pace import BURST, LONGEST_S, RATE_PER_S, RefusalPace
from hadis_router.http.retries import FORGOTTEN_S, MOST, Retries
from test_api import Instant, make_app
from virtual import virtual


class Scored(Exception):
    """A prompt was scored."""


class Visit:
    """Sends requests to an app as a server does."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def post(
        self, body: bytes, client: str = "a", path: str = "/v1/images/generations", **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        sent: list[Any] = []
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return messages.pop() if messages else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        fields = {"content-type": "application/json", "content-length": str(len(body)), **headers}
        fields["authorization"] = f"Bearer {client}"
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
        scope = {"type": "http", "method": "POST", "path": path, "headers": raw}
        await self.app({**scope, "query_string": b"", "http_version": "1.1", "client": ("10.0.0.7", 1)}, receive, send)
        answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], answered, json.loads(b"".join(part["body"] for part in sent[1:]) or b"null")


def full(visit: Visit) -> None:
    """Have the queue be full, whatever is in it."""
    gateway = visit.app.state.gateway
    gateway.dispatcher._queue_limit = 0

    async def score(prompt: str) -> float:
        raise Scored

    gateway.scorers.of(canary=False).score_off_loop_if_long = score


BODY = b'{"prompt": "a red circle", "n": 2}'


@virtual
async def test_a_full_queue_refuses_before_anything_is_looked_at(profile: Profile) -> None:
    app = make_app(profile, Instant())
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        visit, gateway = Visit(app), app.state.gateway
        full(visit)
        status, headers, document = await visit.post(BODY)
        assert (status, document["error"]["code"]) == (429, "queue_full")
        assert headers["retry-after"]
        for _ in range(5):  # retries are no demand of their own
            await visit.post(BODY)
        assert gateway.metrics.arrivals_total == 2
        await visit.post(BODY, client="b")
        await visit.post(BODY.replace(b"red", b"blue"))
        await visit.post(b"{nonsense")
        assert gateway.metrics.arrivals_total == 2 + 2 + 2 + 1
        del gateway.scorers.of(canary=False).score_off_loop_if_long
        gateway.dispatcher._queue_limit = 500
        assert (await visit.post(BODY))[0] == 200
        assert gateway.metrics.arrivals_total == 7  # the retry that is served was counted with its first try
        assert (await visit.post(BODY))[0] == 200
        assert gateway.metrics.arrivals_total == 9  # the same prompt again is wanted again


@virtual
async def test_limits_are_told_as_openai_tells_them_and_hold(profile: Profile) -> None:
    app = make_app(profile, Instant())
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        visit, gateway = Visit(app), app.state.gateway
        gateway.use = ClientBuckets(lambda client: ClientLimits(requests_per_minute=2))
        left = []
        for _ in range(2):
            status, headers, _ = await visit.post(BODY)
            assert status == 200
            left.append(headers["x-ratelimit-remaining-requests"])
        assert left == ["1", "0"]
        status, headers, document = await visit.post(BODY)
        assert (status, document["error"]["code"]) == (429, "rate_limit_exceeded")
        assert (headers["retry-after"], headers["x-ratelimit-limit-requests"]) == ("30", "2")
        assert headers["x-ratelimit-reset-requests"] == "60.000s"
        assert (await visit.post(BODY, client="b"))[0] == 200
        await asyncio.sleep(30)
        assert (await visit.post(BODY))[0] == 200
        assert (await visit.post(BODY))[0] == 429


@virtual
async def test_images_in_flight_are_bounded_and_given_back(profile: Profile) -> None:
    workers = Instant()
    workers.gate = asyncio.Event()
    app = make_app(profile, workers)
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        visit, gateway = Visit(app), app.state.gateway
        gateway.use = ClientBuckets(lambda client: ClientLimits(images_in_flight=3))
        first = asyncio.create_task(visit.post(BODY))
        await asyncio.sleep(1)
        status, headers, document = await visit.post(BODY)  # two and two
        limits = {name: value for name, value in headers.items() if name.startswith("x-ratelimit")}
        assert limits == {"x-ratelimit-limit-images-in-flight": "3", "x-ratelimit-remaining-images-in-flight": "1"}
        assert (status, document["error"]["code"]) == (429, "too_many_in_flight")
        status, _, document = await visit.post(b'{"prompt": "a", "n": 4}')  # at any time
        assert (status, document["error"]["param"]) == (400, "n")
        one = asyncio.create_task(visit.post(b'{"prompt": "a"}'))
        await asyncio.sleep(1)
        workers.gate.set()
        assert [(await task)[0] for task in (first, one)] == [200, 200]
        assert not gateway.use._images
        assert (await visit.post(BODY))[0] == 200


def test_refusals_are_told_at_once_up_to_a_rate_and_then_later_but_never_too_late() -> None:
    pace = RefusalPace()
    assert [pace.delay_s("a", 0.0) for _ in range(BURST)] == pytest.approx([0.0] * BURST)
    assert pace.delay_s("a", 0.0) == pytest.approx(1 / RATE_PER_S)
    assert pace.delay_s("b", 0.0) == 0.0
    assert max(pace.delay_s("a", 0.0) for _ in range(1000)) == LONGEST_S
    assert pace.delay_s("a", BURST / RATE_PER_S + LONGEST_S) == 0.0


@virtual
@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/images/generations", 400), ("/v1/images/edits", 400), ("/v1/hadis/jobs", 400), ("/v1/x", 404), ("/", 405)],
)
async def test_floods_of_faults_are_told_of_at_a_pace_per_client(profile: Profile, path: str, status: int) -> None:
    app = make_app(profile, Instant())
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        visit, clock = Visit(app), asyncio.get_running_loop().time
        began = clock()
        for count, took_s in ((BURST, 0.0), (5, 5 / RATE_PER_S)):
            for _ in range(count):
                assert (await visit.post(b"{}", path=path))[0] == status
            assert clock() - began == pytest.approx(took_s, abs=0.05)
        began = clock()
        await visit.post(b"{}", client="b", path=path)
        assert clock() == began
        for _ in range(BURST):
            await visit.post(b'{"prompt": "a"}')
        assert clock() == began, "what is answered waits for nothing"


def test_the_pace_and_the_retries_are_kept_in_bounded_memory() -> None:
    pace, retries = RefusalPace(), Retries()
    for i in range(MOST + 10):
        pace.delay_s(str(i), 0.0)
        retries.refused(i, 1, 0.0)
    assert len(pace._empty_at) == refusal_pace._MOST_CLIENTS
    assert len(retries._refused) == MOST
    assert retries.take(0, 0.0) is None
    assert retries.take(MOST, 0.0) == 1


def test_a_retry_after_long_is_wanted_anew() -> None:
    retries = Retries()
    attempt = retries.attempt("a", b"x")
    retries.refused(attempt, 3, 0.0)
    assert retries.take(attempt, FORGOTTEN_S) is None
    assert retries.attempt("b", b"x") != attempt != retries.attempt("a", b"y")


@virtual
async def test_who_is_over_its_share_is_refused_unseen_until_it_has_room(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan())
    dispatcher.submit(make_job("other", client="b"))
    with pytest.raises(ServeError) as refusal:
        for i in range(100):
            dispatcher.submit(make_job(f"a{i}", client="a"))
    unseen = dispatcher.sure_refusal("a")
    assert unseen is not None and unseen.code == refusal.value.code
    assert dispatcher.sure_refusal("b") is None
    assert dispatcher.sure_refusal(None) is None
    await asyncio.sleep(SLO_S)
    assert dispatcher.sure_refusal("a") is None


@virtual
async def test_a_newcomer_finds_room_beside_a_client_that_takes_all_it_can(profile: Profile) -> None:
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan())
    with pytest.raises(ServeError):
        for i in range(100):
            dispatcher.submit(make_job(f"a{i}", client="a"))
    job = make_job("new", client="b")
    dispatcher.submit(job)
    assert (await job.future).latency_s <= SLO_S


@virtual
async def test_batch_work_leaves_half_of_the_room_to_the_others(profile: Profile) -> None:
    """A light image takes 0.1 s, and the objective is 4 s."""
    dispatcher = make_dispatcher(profile, FakeWorkers(), make_plan())
    admitted = {"batch": 0, "interactive": 0}
    for kind in admitted:
        with pytest.raises(ServeError, match="too long"):
            while True:
                job = make_job(f"{kind}{admitted[kind]}")
                job.batch = kind == "batch"
                dispatcher.submit(job)
                admitted[kind] += 1
    assert 0 < admitted["batch"] <= 0.55 * sum(admitted.values())
    assert admitted["interactive"] >= 0.4 * sum(admitted.values())
