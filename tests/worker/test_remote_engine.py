"""The remote engine against a stand-in for its endpoint: what is asked, every way to fail, retries, cancelling."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Sequence
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import numpy as np
import pytest
from hadis.api.tier import Tier
from hadis.protocol.worker import ErrorCode, GenerateBatch, Progress, WireJob
from hadis_worker.batches import Fault
from hadis_worker.errors import BatchCancelled, BatchError, EngineUnavailable, LoadError
from hadis_worker.remote_engine import RemoteEngine
from hadis_worker.steps import Steps
from PIL import Image
from stand_in import Behaviour, StandIn, document, hang, picture, raw, refusal, right
from virtual import virtual

URL = "http://engine/v1"


def remote_tier(size: str = "32x32", call: dict[str, Any] | None = None, **remote: Any) -> Tier:
    fields = {"url": URL, "slots": 1, "timeout": "30s", **remote}
    latency = [{"batch": 1, "seconds": 1.0}]
    return Tier.read(
        {"name": "t", "model": "org/m", "steps": 20, "size": size, "remote": fields, "latency": latency}
        | ({"call": call} if call else {})
    )


def engine_of(stand_in: StandIn, tier: Tier | None = None, judge: Any = None, key: str | None = None) -> RemoteEngine:
    keys = {"t": key} if key else {}
    return RemoteEngine([tier or remote_tier()], keys, judge, httpx.ASGITransport(stand_in.app))


def jobs_of(count: int, **fields: Any) -> tuple[WireJob, ...]:
    return tuple(WireJob(id=str(i), prompt=f"p{i}", seed=i, **fields) for i in range(count))


async def fetched(stand_in: StandIn, tier: Tier | None = None, **fields: Any) -> bytes | Fault:
    tier = tier or remote_tier()
    [answer] = await engine_of(stand_in, tier).fetch(tier, jobs_of(1, **fields))
    return answer


def fault(code: ErrorCode, words: str, answer: bytes | Fault) -> None:
    assert isinstance(answer, Fault)
    assert answer.code == code
    assert words in answer.message


# What is asked


@virtual
async def test_an_endpoint_is_asked_for_one_image_per_job_all_at_once() -> None:
    stand_in, tier = StandIn(seconds=3.0), remote_tier()
    answers = await engine_of(stand_in, tier).fetch(tier, jobs_of(3))
    assert answers == [picture(color=(seed, 30, 30)) for seed in range(3)]
    assert asyncio.get_running_loop().time() == pytest.approx(3.0, abs=0.06)
    assert stand_in.most_at_once == 3
    assert stand_in.bodies[1] == {
        "model": "org/m", "prompt": "p1", "n": 1, "size": "32x32", "seed": 1, "response_format": "b64_json",
    }  # fmt: skip


@virtual
async def test_an_endpoint_is_told_what_it_accepts_and_nothing_else() -> None:
    stand_in = StandIn()
    await fetched(stand_in, remote_tier(accepts=[], model="gpt-image-1", call={"quality": "high"}), steps=3)
    every = ["seed", "negative_prompt", "num_inference_steps", "guidance_scale"]
    fields = {"negative_prompt": "blur", "steps": 3, "guidance": 0.0}
    await fetched(stand_in, remote_tier(accepts=every), **fields)
    await fetched(stand_in, remote_tier(accepts=every))
    plain, given, left_open = stand_in.bodies
    assert plain == {"model": "gpt-image-1", "prompt": "p0", "n": 1, "size": "32x32", "quality": "high"}
    assert given == {
        "model": "org/m", "prompt": "p0", "n": 1, "size": "32x32", "seed": 0, "negative_prompt": "blur",
        "num_inference_steps": 3, "guidance_scale": 0.0,
    }  # fmt: skip
    assert (left_open["num_inference_steps"], left_open.keys() & {"negative_prompt", "guidance_scale"}) == (20, set())


@virtual
async def test_seeds_that_endpoints_cannot_take_are_made_shorter_and_stay_apart() -> None:
    stand_in, tier = StandIn(), remote_tier()
    await engine_of(stand_in, tier).fetch(
        tier, [WireJob(id=str(s), prompt="p", seed=s) for s in (2**62 + 7, 2**62 + 8)]
    )
    assert [body["seed"] for body in stand_in.bodies] == [7, 8]


@virtual
async def test_a_negative_prompt_is_refused_where_it_is_not_accepted_and_an_empty_one_asks_for_nothing() -> None:
    stand_in = StandIn()
    fault("invalid", "tier t takes no negative prompt", await fetched(stand_in, negative_prompt="blur"))
    assert stand_in.bodies == []
    assert isinstance(await fetched(stand_in, negative_prompt=""), bytes)


# What it answers


@virtual
async def test_images_may_be_at_a_url_and_the_key_goes_to_the_endpoint_alone() -> None:
    data = "data:image/png;base64," + base64.b64encode(picture()).decode()
    stand_in, tier = StandIn(), remote_tier()
    engine = engine_of(stand_in, tier, key="secret")
    for url in ("http://engine/files/image.webp", "/files/image.webp", "http://elsewhere/files/image.webp", data):
        stand_in.coming.append(document(url=url))
        [answer] = await engine.fetch(tier, jobs_of(1))
        assert answer == (picture() if url == data else picture(form="WEBP"))
    ours = ("/v1/images/generations", "Bearer secret")
    file = "/files/image.webp"
    assert stand_in.keys == [ours, (file, "Bearer secret"), ours, (file, "Bearer secret"), ours, (file, None), ours]


NO_IMAGE = "its answer holds no image"


@pytest.mark.parametrize(
    ("behaviour", "code", "words"),
    [
        (refusal(400, "content_policy_violation"), "content_filtered", "filtered the image"),
        (refusal(400, "moderation_blocked"), "content_filtered", "filtered the image"),
        (refusal(400, "invalid_size", "size must\nbe 1024x1024"), "invalid", "status 400: size must be 1024x1024"),
        (refusal(422, message="x" * 999), "invalid", "status 422: " + 200 * "x"),
        (refusal(500, message="CUDA error"), "failed", "status 500: CUDA error"),
        (raw(b"<html>", 500), "failed", "answers with status 500"),
        (raw(b"<html>"), "failed", NO_IMAGE),
        (raw(b"[]"), "failed", NO_IMAGE),
        (raw(json.dumps({"data": []}).encode()), "failed", NO_IMAGE),
        (raw(json.dumps({"data": [[]]}).encode()), "failed", NO_IMAGE),
        (document(), "failed", NO_IMAGE),
        (document(b64_json="%%%"), "failed", NO_IMAGE),
        (document(url=7), "failed", NO_IMAGE),
        (document(url="http://engine:port/x"), "failed", NO_IMAGE),
        (document(url="file:///etc/passwd"), "failed", "not at an http or https URL"),
        (document(url="/nowhere"), "failed", "its image cannot be fetched (status 404)"),
        (raw(bytes(65 * 2**20)), "failed", "more than 64 MiB"),
        (hang, "failed", "no image from the endpoint of tier t within 30s"),
    ],
)
def test_whatever_is_wrong_with_an_answer_is_its_jobs_error(behaviour: Behaviour, code: ErrorCode, words: str) -> None:
    @virtual
    async def check() -> None:
        fault(code, words, await fetched(StandIn(then=behaviour)))

    check()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (picture("16x32"), "makes 16x32 where 32x32 is asked for"),
        (b"GIF89a", "no PNG, JPEG or WebP image"),
        (picture()[:60], "no PNG, JPEG or WebP image"),
        (b"", "its answer holds no image"),
    ],
)
def test_an_image_is_looked_at_before_it_is_passed_on(body: bytes, words: str) -> None:
    stand_in = StandIn(then=document(b64_json=base64.b64encode(body).decode()))
    [(result, image)] = engine_of(stand_in).generate(GenerateBatch(tier="t", jobs=jobs_of(1)))
    assert image is None
    assert result.error_code == "failed"
    assert words in str(result.error)


@virtual
async def test_one_jobs_fault_is_not_its_neighbours() -> None:
    stand_in, tier = StandIn(), remote_tier()
    stand_in.coming.extend([refusal(400, "content_policy_violation"), right, refusal(401)])
    filtered, image, refused = await engine_of(stand_in, tier).fetch(tier, jobs_of(3))
    fault("content_filtered", "filtered", filtered)
    assert isinstance(image, bytes)
    fault("unavailable", "refuses the API key", refused)


# Retries, and when the endpoint itself is away


@virtual
async def test_an_overloaded_endpoint_is_asked_again_when_it_says() -> None:
    stand_in, clock = StandIn(), asyncio.get_running_loop().time
    stand_in.coming.extend([refusal(429, retry_after="7"), refusal(503, retry_after="2"), refusal(429)])
    assert isinstance(await fetched(stand_in), bytes)
    assert clock() == pytest.approx(7 + 2 + 4, abs=0.2)


@pytest.mark.parametrize(
    ("behaviours", "asked", "words"),
    [
        ([refusal(429, message="slow down")] * 4, 4, "overloaded (status 429): slow down"),
        ([refusal(503, retry_after="31")], 1, "overloaded (status 503)"),
        ([refusal(429, retry_after=formatdate(4e9, usegmt=True))], 1, "overloaded"),
        ([refusal(401, message="key sk-12**")], 1, "refuses the API key (status 401)"),
        ([refusal(404, message="no such model")], 1, "status 404: no such model"),
        ([raw(b"bad gateway", 502)], 1, "status 502"),
    ],
)
def test_what_is_wrong_with_the_endpoint_is_no_jobs_fault(behaviours: list[Behaviour], asked: int, words: str) -> None:
    @virtual
    async def check() -> None:
        stand_in = StandIn()
        stand_in.coming.extend(behaviours)
        with pytest.raises(EngineUnavailable) as caught:
            await fetched(stand_in)
        assert words in str(caught.value)
        assert "sk-12" not in str(caught.value)
        assert len(stand_in.bodies) == asked

    check()


@virtual
async def test_an_endpoint_that_cannot_be_reached_is_unavailable() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    tier = remote_tier()
    engine = RemoteEngine([tier], transport=httpx.MockTransport(refuse))
    with pytest.raises(EngineUnavailable, match="the endpoint of tier t cannot be reached: ConnectError"):
        await engine.fetch(tier, jobs_of(2))


@virtual
async def test_a_date_of_retry_after_is_understood_and_nonsense_is_not_waited_for() -> None:
    stand_in, clock = StandIn(), asyncio.get_running_loop().time
    stand_in.coming.extend([refusal(429, retry_after=formatdate(0, usegmt=True)), refusal(429, retry_after="soon")])
    assert isinstance(await fetched(stand_in), bytes)
    assert clock() == pytest.approx(0 + 2, abs=0.2)


# Cancelling and progress


@virtual
async def test_a_batch_that_nobody_waits_for_hangs_up() -> None:
    stand_in, tier, counter = StandIn(then=hang), remote_tier(), Steps(2, 20)
    asyncio.get_running_loop().call_later(4, counter.cancel)
    with pytest.raises(BatchCancelled):
        await engine_of(stand_in, tier).fetch(tier, jobs_of(2), counter)
    assert asyncio.get_running_loop().time() == pytest.approx(4, abs=0.1)
    assert (stand_in.hung_up, stand_in.running) == (2, 0)


@virtual
async def test_progress_counts_the_images_that_came() -> None:
    stand_in, tier, counter = StandIn(), remote_tier(), Steps(2, 20)
    stand_in.coming.extend([right, hang])
    task = asyncio.create_task(engine_of(stand_in, tier).fetch(tier, jobs_of(2), counter))
    await asyncio.sleep(1)
    assert counter.progress == Progress(done=10, steps=20)
    task.cancel()


# Whether it is there


@virtual
async def test_it_is_available_once_the_endpoint_answers_and_away_after_some_silence() -> None:
    stand_in = StandIn(models_status=404)  # not every endpoint lists its models
    engine = engine_of(stand_in)
    assert engine.unavailable == "the endpoint has not answered yet"
    watching = asyncio.create_task(engine.watch())
    await asyncio.sleep(1)
    assert engine.unavailable is None
    stand_in.models_status = 503
    await asyncio.sleep(4)
    assert engine.unavailable is None
    await asyncio.sleep(2)
    assert engine.unavailable == "the endpoint of tier t answers with status 503"
    stand_in.models_status = 401
    await asyncio.sleep(2)
    assert engine.unavailable == "the endpoint of tier t refuses the API key (status 401)"
    stand_in.models_status = 200
    await asyncio.sleep(2)
    assert engine.unavailable is None
    watching.cancel()


@pytest.mark.parametrize("status", [401, 403, 404])
@virtual
async def test_an_endpoint_that_answers_but_makes_no_images_is_away_and_tried_again(status: int) -> None:
    stand_in, tier = StandIn(then=refusal(status)), remote_tier()
    engine = engine_of(stand_in, tier)
    watching = asyncio.create_task(engine.watch())
    for _ in range(3):
        await asyncio.sleep(3)
        assert engine.unavailable is None
        with pytest.raises(EngineUnavailable):
            await engine.fetch(tier, jobs_of(2))
    for pause_s in (10, 20):
        await asyncio.sleep(pause_s - 1)
        assert engine.unavailable is not None
        assert f"status {status}" in engine.unavailable
        await asyncio.sleep(4)
        assert engine.unavailable is None
        with pytest.raises(EngineUnavailable):
            await engine.fetch(tier, jobs_of(1))
    await asyncio.sleep(45)
    stand_in.then = right
    await engine.fetch(tier, jobs_of(1))
    for _ in range(2):
        stand_in.coming.append(refusal(status))
        with pytest.raises(EngineUnavailable):
            await engine.fetch(tier, jobs_of(1))
    await asyncio.sleep(3)
    assert engine.unavailable is None
    watching.cancel()


@pytest.mark.parametrize(
    ("url", "moved_to", "words"),
    [
        ("/files/moved/1", "http://engine/files/image.webp", None),
        ("/files/moved/3", "http://engine/files/image.webp", None),
        ("/files/moved/4", "http://engine/files/image.webp", "redirected more than 3 times"),
        ("/files/moved/1", "file:///etc/passwd", "not at an http or https URL"),
        ("/files/moved/1", "http://engine/files/none", "cannot be fetched (status 404)"),
    ],
)
@virtual
async def test_a_few_redirects_of_an_images_url_are_followed(url: str, moved_to: str, words: str | None) -> None:
    stand_in = StandIn(then=document(url=url), moved_to=moved_to)
    answer = await fetched(stand_in)
    if words:
        fault("failed", words, answer)
    else:
        assert answer == picture(form="WEBP")


# As the service sees it


class Doubt:
    """Is sure of red images only."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def confidence(self, images: Sequence[Image.Image], prompts: Sequence[str], tier: str) -> list[float]:
        self.seen += prompts
        return [float(np.asarray(image)[0, 0, 0]) / 255 for image in images]


def test_a_batch_becomes_results_and_images_that_a_discriminator_may_judge() -> None:
    stand_in, judge = StandIn(), Doubt()
    stand_in.coming.extend([right, refusal(400, "content_policy_violation")])
    jobs = tuple(WireJob(id=str(i), prompt=f"p{i}", seed=51) for i in range(3))
    made = engine_of(stand_in, judge=judge).generate(GenerateBatch(tier="t", jobs=jobs, discriminate=True))
    assert [result.error_code for result, _ in made] == [None, "content_filtered", None]
    assert [result.confidence for result, _ in made] == [0.2, None, 0.2]
    assert made[0][0].size == "32x32"
    assert made[2][1] is not None
    assert made[2][1].getpixel((0, 0)) == (51, 30, 30)
    assert judge.seen == ["p0", "p2"]


def test_batches_that_cannot_be_made_are_refused_and_so_is_a_url_that_is_none() -> None:
    engine = engine_of(StandIn())
    with pytest.raises(BatchError, match="no discriminator"):
        engine.generate(GenerateBatch(tier="t", jobs=jobs_of(1), discriminate=True))
    with pytest.raises(BatchError, match="makes 32x32, not 64x64"):
        engine.generate(GenerateBatch(tier="t", jobs=jobs_of(1, size="64x64")))
    with pytest.raises(LoadError, match=r"tier t: remote\.url: "):
        RemoteEngine([remote_tier(url="http://engine:port/v1")])


def test_batches_share_connections() -> None:
    connections = []
    body = json.dumps({"data": [{"b64_json": base64.b64encode(picture()).decode()}]}).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            connections.append(self.client_address)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        engine = RemoteEngine([remote_tier(url=f"http://127.0.0.1:{server.server_port}/v1")])
        for _ in range(3):
            [(result, image)] = engine.generate(GenerateBatch(tier="t", jobs=jobs_of(1)))
            assert (result.error, image is None) == (None, False)
        assert engine._http is not None
        engine._loop.run_until_complete(engine._http.aclose())
        server.shutdown()
    assert len(connections) == 1
