"""The worker processes of `hadis up`: how many of each group, and which go first. No process is started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
from hadis.cli.local_workers import LocalWorkers, Place
from hadis.cli.processes import ComponentProcess

GROUPS = {"light": ("light",), "heavy": ("heavy",)}


class Idle:
    """What runs in place of a worker's process."""

    def __init__(self, component: ComponentProcess, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        """Start nothing."""

    async def run(self) -> None:
        await asyncio.Event().wait()


@asynccontextmanager
async def four_places(busy: frozenset[int] = frozenset()) -> AsyncIterator[tuple[LocalWorkers, httpx.AsyncClient]]:
    """Yield workers with four places, all of which are ready when asked; `busy` are numbers of places."""

    def status(request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") != "Bearer secret":
            return httpx.Response(401, json={})
        number = (request.url.port or 0) - 9000
        return httpx.Response(200, json={"tiers": [], "ready": True, "busy": number in busy, "new": 1})

    transport = httpx.MockTransport(status)
    async with asyncio.TaskGroup() as tasks, httpx.AsyncClient(transport=transport) as http:
        places = [Place(i, 9000 + i, {}) for i in range(4)]
        workers = LocalWorkers(GROUPS, places, tasks, print, lambda: None, Idle, secret="secret")
        yield workers, http
        for task in workers.running:
            task.cancel()


async def gone() -> None:
    """Let what was cancelled come to its end."""
    for _ in range(5):
        await asyncio.sleep(0)


def at_places(workers: LocalWorkers) -> dict[str, str]:
    """Return the groups of the workers that stay, by their place."""
    return {worker.name: worker.group for worker in workers.observe()[1] if not worker.terminating}


async def test_a_group_that_grows_loses_nobody() -> None:
    async with four_places() as (workers, _):
        for count in (1, 2, 3, 4):
            workers.apply({"light": count, "heavy": 0})
            assert at_places(workers) == {str(i): "light" for i in range(count)}


async def test_a_place_is_taken_again_when_its_process_is_gone() -> None:
    async with four_places() as (workers, _):
        workers.apply({"light": 4, "heavy": 0})
        await gone()
        workers.apply({"light": 2, "heavy": 2})
        assert list(at_places(workers).values()) == ["light", "light"]
        await gone()
        workers.apply({"light": 2, "heavy": 2})
        assert sorted(at_places(workers).values()) == ["heavy", "heavy", "light", "light"]


async def test_idle_workers_go_first_and_one_that_goes_is_not_ready() -> None:
    async with four_places(busy=frozenset({0, 1})) as (workers, http):
        workers.apply({"light": 4, "heavy": 0})
        await workers.probe(http)
        assert len(workers.addresses()) == 4
        assert workers.settled
        workers.apply({"light": 2, "heavy": 0})
        assert not workers.settled
        assert at_places(workers) == {"0": "light", "1": "light"}
        assert [address.url for address in workers.addresses()] == ["http://127.0.0.1:9000", "http://127.0.0.1:9001"]
        (light, heavy), _ = workers.observe()
        assert (light.replicas, light.created, light.exists, heavy.exists) == (2, 2, True, False)


async def test_workers_that_compute_nothing_have_places_of_their_own() -> None:
    groups = {"ALL": ("light",), "heavy": ("heavy",)}
    places = [Place(0, 9000, {}), *(Place(i, 9000 + i, {}, remote=True) for i in (1, 2))]
    async with asyncio.TaskGroup() as tasks:
        workers = LocalWorkers(groups, places, tasks, print, lambda: None, Idle, remote={"heavy": 2})
        workers.apply({"ALL": 3, "heavy": 3})
        assert at_places(workers) == {"0": "ALL", "1": "heavy", "2": "heavy"}
        seen, processes = workers.observe()
        assert [group.remote for group in seen] == [False, True]
        assert [worker.remote for worker in processes] == [False, True, True]
        for task in workers.running:
            task.cancel()


async def test_a_worker_that_does_not_answer_is_not_ready() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with four_places() as (workers, _), httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as http:
        workers.apply({"light": 1, "heavy": 0})
        await workers.probe(http)
        assert workers.addresses() == ()
