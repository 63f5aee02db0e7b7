"""Writes only while this process leads; and reconciling, too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import aiohttp
import pytest
from fake_kube import FakeKube
from hadis.kube.client import ApiError
from hadis_operator.controller import Controller
from hadis_operator.leader.fence import Fence, FencedKube
from hadis_operator.settings import OperatorSettings
from kube_objects import service_object
from virtual import virtual

PATH = "/api/v1/namespaces/x/pods/y"


class Answer:
    """An answer of the API server."""

    status = 200

    async def read(self) -> bytes:
        return b"{}"


class Recorded(FencedKube):
    """Keeps what would be sent; answers after some seconds."""

    def __init__(self, fence: Fence, seconds: float = 0.0) -> None:
        super().__init__(cast(Any, None), fence)
        self.sent: list[tuple[str, dict[str, str]]] = []
        self._seconds = seconds

    async def _send(self, method: str, path: str, query: dict[str, str], *_: Any, **__: Any) -> aiohttp.ClientResponse:
        self.sent.append((method, query))
        await asyncio.sleep(self._seconds)
        return cast(aiohttp.ClientResponse, Answer())


@virtual
async def test_reads_pass_at_any_time_and_writes_while_the_fence_is_open() -> None:
    fence = Fence()
    kube = Recorded(fence)
    writes: list[Callable[[], Awaitable[object]]] = [
        lambda: kube.apply(PATH, {}, "us"),
        lambda: kube.merge(PATH, {}),
        lambda: kube.create(PATH, {}),
        lambda: kube.update(PATH, {}),
        lambda: kube.delete(PATH),
    ]
    await kube.get(PATH)
    for write in writes:
        with pytest.raises(ApiError, match="leads no more"):
            await write()
    assert kube.sent == [("GET", {})]
    fence.open(asyncio.get_running_loop().time() + 7.5)
    for write in writes:
        await write()
    assert [query["timeout"] for _, query in kube.sent[1:]] == ["8s"] * 5
    await asyncio.sleep(7.5)
    with pytest.raises(ApiError, match="leads no more"):
        await kube.merge(PATH, {})


@virtual
async def test_a_write_ends_with_the_lease() -> None:
    fence = Fence()
    fence.open(5.0)
    with pytest.raises(ApiError, match="no answer while this operator led"):
        await Recorded(fence, seconds=60.0).merge(PATH, {})
    assert asyncio.get_running_loop().time() == pytest.approx(5.0, abs=0.01)
    assert await fence.drained(0.1)


@virtual
async def test_services_are_reconciled_while_the_controller_runs_and_from_the_status_when_it_runs_again() -> None:
    kube = FakeKube()
    controller = Controller(OperatorSettings(), kube)
    path = "/apis/hadis.dev/v1alpha1/namespaces/default/diffusionservices/images"

    def change(generation: int) -> None:
        item = service_object(generation=generation, gpus={"max": -generation})
        controller.cache.saw("services", "MODIFIED", kube.put(path, item))

    change(1)
    await asyncio.sleep(10)
    assert kube.requests == []
    for generation in (2, 3):
        running = asyncio.create_task(controller.run())
        await asyncio.sleep(10)
        assert {request.path for request in kube.requests if request.name != "events"} == {f"{path}/status"}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        kube.requests.clear()
        change(generation)
        await asyncio.sleep(100)
        assert kube.requests == []
