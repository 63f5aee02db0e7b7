"""Requests that are alike: kept answers, one job for several requests, and what becomes of those that follow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from documents import profile_document
from fake_workers import SLO_S, FakeWorkers, make_dispatcher, make_job, make_plan
from fastapi import FastAPI
from hadis.api.cache import CacheSpec
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis_router.app import create_app
from hadis_router.dispatch.answer import Answer, Attempt, ServeError
from hadis_router.dispatch.job import Job
from hadis_router.dispatch.transport import WorkerGone
from hadis_router.http.images import GenerateRequest
from hadis_router.http.repeats.cache import AnswerCache
from hadis_router.http.repeats.keys import repeat_keys
from hadis_router.http.repeats.service import Repeats
from hypothesis import given, settings
from hypothesis import strategies as st
from test_api import PLAN, Instant, LengthScorer, make_manifest
from test_edits import MASK, PNG
from test_forwarding import until
from virtual import virtual

CACHE = CacheSpec.read({"memory": "16Mi"})
HEAVY_ONLY = make_plan(direct=1.0)


def profile_of_two() -> Profile:
    return Profile(CascadeProfile.read(profile_document()))


class Bench:
    """A dispatcher behind the repeats of its requests; `counted` are the jobs that were made anew."""

    def __init__(self, workers: FakeWorkers | None = None, limit: int = 100) -> None:
        self.workers = workers or FakeWorkers()
        self.dispatcher = make_dispatcher(profile_of_two(), self.workers, HEAVY_ONLY)
        self.counted: list[Job] = []
        self.repeats = Repeats(CACHE, self.dispatcher, limit, self.counted.append)

    def job(self, name: str, key: bytes | None = b"alike", slo_s: float = SLO_S, **fields: Any) -> Job:
        job = make_job(name, slo_s=slo_s, **fields)
        job.repeat_key = key
        return job

    def submit(self, name: str, **fields: Any) -> Job:
        job = self.job(name, **fields)
        self.repeats.submit(job)
        return job

    @property
    def made(self) -> list[str]:
        """The jobs that workers began, in order."""
        return [name for _, _, _, names in self.workers.calls for name in names]


@virtual
async def test_one_picture_is_made_for_requests_that_are_alike() -> None:
    bench = Bench()
    leader = bench.submit("a")
    await asyncio.sleep(0.5)
    follower, other = bench.submit("b"), bench.submit("c", key=b"another")
    answers = [await job.future for job in (leader, follower)]
    assert [answer.repeat for answer in answers] == [None, "coalesced"]
    assert [answer.latency_s for answer in answers] == pytest.approx([1.0, 0.5])
    kept = bench.submit("d")
    assert kept.done
    assert (kept.future.result().repeat, kept.future.result().latency_s) == ("cached", 0.0)
    await other.future
    assert bench.made == ["a", "c"]
    counted = bench.dispatcher.recent.totals["answered"]
    assert (counted["coalesced"], counted["cached"], counted["heavy"]) == (1, 1, 2)


@virtual
async def test_without_the_setting_every_request_is_made() -> None:
    bench = Bench()
    bench.repeats = Repeats(None, bench.dispatcher, 100, bench.counted.append)
    first, second = (bench.submit(name, key=None) for name in "ab")
    await asyncio.gather(first.future, second.future)
    assert bench.made == ["a", "b"]


@virtual
async def test_a_leader_whose_client_goes_away_is_made_for_the_others() -> None:
    bench = Bench()
    leader = bench.submit("a")
    follower = bench.submit("b")
    await asyncio.sleep(0.5)
    bench.repeats.cancel(leader)
    bench.repeats.cancel(leader)
    assert (await follower.future).latency_s == pytest.approx(1.0)
    assert bench.made == ["a"]


@virtual
async def test_it_is_given_up_with_the_last_of_them() -> None:
    bench = Bench()
    blocker, leader = bench.submit("x", key=None), bench.submit("a")
    follower = bench.submit("b")
    bench.repeats.cancel(leader)
    assert bench.dispatcher.queued["heavy"] == 1
    bench.repeats.cancel(follower)
    assert bench.dispatcher.queued["heavy"] == 0
    await blocker.future
    assert bench.made == ["x"]


@virtual
async def test_a_leader_that_fails_does_not_fail_the_others() -> None:
    workers = FakeWorkers()
    workers.faults = [WorkerGone("gone")] * 3  # more than its retries
    bench = Bench(workers)
    leader, first, second = (bench.submit(name, tier="heavy", slo_s=60.0) for name in "abc")
    with pytest.raises(ServeError):
        await leader.future
    answers = await asyncio.gather(first.future, second.future)
    assert [answer.repeat for answer in answers] == [None, "coalesced"]
    assert (bench.made[-1], [job.id for job in bench.counted]) == ("b", ["b"])


@virtual
async def test_those_of_a_leader_that_expired_are_refused_in_their_own_time() -> None:
    workers = FakeWorkers()
    bench = Bench(workers)
    bench.dispatcher.set_workers([])
    bench.dispatcher.first_worker.hold_s = SLO_S
    leader = bench.submit("a")
    await asyncio.sleep(1.0)
    follower = bench.submit("b")
    for job in (leader, follower):
        with pytest.raises(ServeError):
            await job.future
        assert asyncio.get_running_loop().time() <= job.deadline


@virtual
async def test_a_request_with_less_time_is_made_for_itself() -> None:
    bench = Bench()
    leader = bench.submit("a", slo_s=100.0)
    urgent = bench.submit("b", slo_s=3.0)
    late = bench.submit("c", slo_s=50.0)
    await asyncio.gather(leader.future, urgent.future, late.future)
    assert bench.made == ["a", "b"]
    assert (urgent.future.result().repeat, late.future.result().repeat) == (None, "coalesced")


@virtual
async def test_no_more_follow_than_may_wait() -> None:
    bench = Bench(limit=2)
    jobs = [bench.submit(name) for name in "abcd"]
    await asyncio.gather(*(job.future for job in jobs))
    assert bench.made == ["a", "d"]


@virtual
async def test_what_is_kept_for_want_of_time_is_not_kept_for_others() -> None:
    workers = FakeWorkers(confidence=0.0)
    bench = Bench(workers)
    bench.dispatcher.set_plan(make_plan(deferral=1.0))
    leader, follower = bench.submit("a", slo_s=0.6), bench.submit("b", slo_s=0.6)
    assert [(await job.future).path for job in (leader, follower)] == ["kept-light", "kept-light"]
    assert not bench.repeats.is_repeat(bench.job("c"))


@virtual
async def test_a_request_that_is_refused_has_no_answer_of_its_images() -> None:
    bench = Bench()
    await bench.submit("a").future
    bench.dispatcher.set_workers([])
    kept, new = bench.job("b"), bench.job("c", key=b"new")
    with pytest.raises(ServeError):
        bench.repeats.submit(kept, new)
    assert not kept.done


class Story:
    """A request that is like the others: when it comes, how long it may take, and when its client goes away, if so."""

    def __init__(self, comes_s: float, slo_s: float, stays_s: float | None) -> None:
        self.comes_s, self.slo_s, self.stays_s = comes_s, slo_s, stays_s

    def __repr__(self) -> str:
        return f"Story({self.comes_s}, {self.slo_s}, {self.stays_s})"


STORIES = st.builds(
    Story,
    st.integers(0, 30).map(lambda tenths: tenths / 10),
    st.sampled_from([1.5, 3.0, SLO_S]),
    st.none() | st.integers(0, 20).map(lambda tenths: tenths / 10),
)


@settings(max_examples=150)
@given(
    stories=st.lists(STORIES, min_size=1, max_size=8),
    faults=st.lists(st.sampled_from([None, WorkerGone("gone")]), max_size=8),
)
def test_each_ends_within_its_own_deadline_whatever_becomes_of_the_others(
    stories: Sequence[Story], faults: Sequence[Exception | None]
) -> None:
    @virtual
    async def run() -> None:
        workers = FakeWorkers()
        workers.faults = list(faults)
        bench = Bench(workers)

        async def play(number: int, story: Story) -> None:
            await asyncio.sleep(story.comes_s)
            job = bench.job(str(number), slo_s=story.slo_s)
            try:
                bench.repeats.submit(job)
            except ServeError as error:
                bench.repeats.cancel(job, error)
            await asyncio.wait([job.future], timeout=story.stays_s if story.stays_s is not None else story.slo_s + 0.01)
            if story.stays_s is not None:
                bench.repeats.cancel(job)
                return
            assert job.done, "it had to end by its deadline"
            job.future.exception()

        await asyncio.gather(*(play(i, story) for i, story in enumerate(stories)))
        await asyncio.sleep(2 * SLO_S)
        assert sum(bench.dispatcher.queued.values()) == 0
        assert not bench.repeats.busy

    run()


# What is alike


def request(**fields: Any) -> GenerateRequest:
    return GenerateRequest.model_validate({"prompt": "a", "seed": 1, **fields})


def key(
    spec: CacheSpec = CACHE, tier: str | None = None, client: str = "ann", edit: str | None = None, **fields: Any
) -> bytes | None:
    return repeat_keys(request(**fields), spec, tier, client, edit)[0]


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "b"}, {"negative_prompt": "b"}, {"negative_prompt": ""}, {"seed": 2}, {"size": "32x32"},
        {"num_inference_steps": 3}, {"guidance_scale": 2.0}, {"output_format": "webp"}, {"output_compression": 50},
        {"quality": "high"}, {"tier": "heavy"}, {"client": "bob"}, {"edit": "0a"},
    ],
)  # fmt: skip
def test_what_changes_the_picture_or_whose_it_is_makes_another_key(other: dict[str, Any]) -> None:
    assert key(**other) != key()


@pytest.mark.parametrize(
    "other", [{"stream": True}, {"explain": True}, {"user": "x"}, {"quality": "medium"}, {"model": "dall-e-3"}]
)
def test_what_does_not_change_it_makes_no_other(other: dict[str, Any]) -> None:
    assert key(**other) == key()


def test_every_field_was_thought_of() -> None:
    looked_at = {
        "prompt", "negative_prompt", "size", "num_inference_steps", "guidance_scale", "output_format",
        "output_compression", "seed", "n", "model", "quality",
    }  # fmt: skip
    how_it_is_answered = {
        "response_format", "stream", "partial_images", "explain", "keep_light", "user", "safety_identifier",
    }  # fmt: skip
    without_effect = {
        "background", "style", "moderation", "complexity", "frame_count", "frame_duration_ms", "svg", "image", "images",
        "mask",
    }  # fmt: skip
    assert set(GenerateRequest.model_fields) == looked_at | how_it_is_answered | without_effect


def test_without_a_seed_two_requests_ask_for_two_pictures_unless_the_service_says_otherwise() -> None:
    assert repeat_keys(request(seed=None, n=2), CACHE, None, "ann", None) == [None, None]
    unseeded = CACHE.model_copy(update={"unseeded": True})
    first = repeat_keys(request(seed=None, n=2), unseeded, None, "ann", None)
    assert len({*first, None}) == 3
    assert first == repeat_keys(request(seed=None, n=2), unseeded, None, "ann", None)
    assert key() == repeat_keys(request(seed=0, n=2), CACHE, None, "ann", None)[1]


def test_other_clients_get_it_where_the_service_says_so() -> None:
    shared = CACHE.model_copy(update={"across_clients": True})
    assert key(shared, client="bob") == key(shared, client="ann")


# What is kept


def answer(size: int) -> Answer:
    attempts = (Attempt("light", "w", 0.0, 0.1, "32x32", None),)
    return Answer(b"x" * size, "light", 1, None, None, None, attempts, 0, 0.1, 1, (None, None))


@virtual
async def test_the_cache_is_bounded_in_bytes_and_in_time() -> None:
    cache = AnswerCache(30_000, 60.0)
    for i in range(3):
        cache.put(bytes([i]), answer(8_000))
    assert [cache.get(bytes([i])) is not None for i in range(3)] == [False, True, True]
    cache.put(b"large", answer(40_000))
    assert cache.get(b"large") is None
    cache.put(b"\1", replace(answer(8_000), light_image=b"x" * 10_000))
    assert (cache.get(b"\2"), cache.get(b"\1") is not None) == (None, True)
    await asyncio.sleep(60.0)
    assert cache.get(b"\1") is None
    await asyncio.sleep(0)
    counts = cache.counts
    assert (counts.stored, counts.evicted, counts.expired) == (4, 2, 1)


# By HTTP


@asynccontextmanager
async def serving(workers: Instant, **cache: Any) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    async def states() -> AsyncIterator[RunState]:
        yield RunState(PLAN, (WorkerAddress("http://w", ("light", "heavy")),))
        await asyncio.Event().wait()

    manifest = make_manifest(profile_of_two())
    spec = manifest.service.spec.model_copy(update={"cache": CacheSpec.read({"memory": "16Mi", **cache})})
    manifest = replace(manifest, service=manifest.service.model_copy(update={"spec": spec}))
    app = create_app(manifest, states, LengthScorer(), workers)
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client:
            yield app, client


async def ask(client: httpx.AsyncClient, key: str = "", **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    body = {"prompt": "a", "seed": 3, **body}
    answer = await client.post("/v1/images/generations", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


async def test_a_repeat_says_so_and_is_no_demand() -> None:
    workers = Instant()
    async with serving(workers) as (_, client):
        first, again = await ask(client), await ask(client, explain=True)
        other = await ask(client, key="another")
        status, metrics = (await client.get("/v1/hadis/status")).json(), (await client.get("/metrics")).text
    assert ["x-hadis-repeat" in answer.headers for answer in (first, again, other)] == [False, True, False]
    assert again.headers["x-hadis-repeat"] == again.json()["hadis"][0]["repeat"] == "cached"
    assert again.json()["data"] == first.json()["data"]
    assert len(workers.jobs) == status["arrivals_total"] == 2
    assert status["answers"] == {"light": 2, "cached": 1}
    assert 'hadis_router_answers_total{path="cached"} 1.0' in metrics
    assert 'hadis_router_stored_total{event="stored",kind="answer"} 2.0' in metrics


async def test_a_repeat_is_answered_where_others_are_refused() -> None:
    async with serving(Instant()) as (app, client):
        await ask(client)
        dispatcher = app.state.gateway.dispatcher
        dispatcher.set_workers([])
        idle_since = dispatcher.idle_s
        assert (await ask(client)).headers["x-hadis-repeat"] == "cached"
        assert dispatcher.idle_s >= idle_since, "it keeps no GPU"
        refused = await client.post("/v1/images/generations", json={"prompt": "another", "seed": 3})
        assert refused.status_code == 503


async def test_streams_and_jobs_share_it_and_the_seed_is_that_of_the_picture() -> None:
    workers = Instant()
    workers.gate = asyncio.Event()
    async with serving(workers, unseeded=True) as (_, client):
        first = asyncio.create_task(ask(client, seed=None))
        await until(lambda: bool(workers.jobs))
        job = (await client.post("/v1/hadis/jobs", json={"prompt": "a"})).json()
        stream = asyncio.create_task(ask(client, seed=None, stream=True, partial_images=2))
        await asyncio.sleep(0.05)
        assert (await client.get(job["url"])).json()["status"] in ("queued", "running")
        workers.gate.set()
        seed = (await first).headers["x-hadis-seed"]
        streamed = await stream
        assert (streamed.headers["x-hadis-seed"], "image_generation.completed" in streamed.text) == (seed, True)
        again = await ask(client, seed=None)
        assert (again.headers["x-hadis-seed"], again.headers["x-hadis-repeat"]) == (seed, "cached")
        async with asyncio.timeout(20):
            while (await client.get(job["url"])).json()["status"] != "succeeded":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert len(workers.jobs) == 1


async def test_edits_are_alike_only_with_the_same_images() -> None:
    workers = Instant()
    async with serving(workers) as (_, client):

        async def edit(image: bytes, **fields: Any) -> httpx.Response:
            data = {"prompt": "a", "seed": "3", **fields}
            answer = await client.post("/v1/images/edits", data=data, files={"image": ("a.png", image)})
            assert answer.status_code == 200, answer.text
            return answer

        answers = [await edit(PNG), await edit(PNG), await edit(MASK), await edit(PNG, strength="0.4")]
    assert [answer.headers.get("x-hadis-repeat") for answer in answers] == [None, "cached", None, None]


@pytest.mark.parametrize("code", ["content_filtered", "failed"])
async def test_what_is_no_image_is_kept_for_nobody(code: Any) -> None:
    workers = Instant()
    workers.failing_seed, workers.error_code = 3, code
    async with serving(workers) as (app, client):
        for count in (1, 2):
            assert (await client.post("/v1/images/generations", json={"prompt": "a", "seed": 3})).status_code >= 400
            assert len(workers.jobs) == count
        assert app.state.gateway.repeats.counts.stored == 0
