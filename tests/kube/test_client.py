"""The Kubernetes client against an API server that a test plays."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hadis.kube.client import ApiError, Kube, Object, connect
from kubernetes.aio import client, config

PODS = "/api/v1/namespaces/n/pods"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeApi:
    """Answers requests in order with what the test says, then hangs up; keeps what was sent."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[tuple[str, str, dict[str, str], str, Any]] = []
        self.tokens: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        kind = request.headers.get("Content-Type", "")
        query = dict(request.query)
        self.requests.append((request.method, request.path, query, kind, json.loads(body) if body else None))
        self.tokens.append(request.headers.get("Authorization", ""))
        return await self._answers.pop(0)(request) if self._answers else await hangs_up(request)


@asynccontextmanager
async def running(*answers: Answer) -> AsyncIterator[tuple[FakeApi, Kube]]:
    api = FakeApi(*answers)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    async with TestServer(app) as server:
        kube = Kube(client.ApiClient(client.Configuration(host=f"http://{server.host}:{server.port}")), first_wait_s=0)
        yield api, kube
        await kube.close()


def says(document: Object, status: int = 200) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(document, status=status)

    return answer


def text(body: str, status: int) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body, status=status)

    return answer


async def hangs_up(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer (the client asks again, once)."""
    assert request.transport
    request.transport.close()
    return web.Response()


async def breaks(request: web.Request) -> web.StreamResponse:
    """Close the connection within the answer."""
    stream = web.StreamResponse(headers={"Content-Length": "100"})
    await stream.prepare(request)
    await stream.write(b'{"metadata":')
    return await hangs_up(request)


def watch(*chunks: str) -> Answer:
    """Send parts of a watch's answer, then end it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        for chunk in chunks:
            await stream.write(chunk.encode())
        return stream

    return answer


def pod(name: str, version: str = "1") -> Object:
    return {"metadata": {"namespace": "n", "name": name, "resourceVersion": version}}


def listed(*names: str, version: str = "7") -> Answer:
    return says({"metadata": {"resourceVersion": version}, "items": [pod(name) for name in names]})


def event(kind: str, item: Object) -> str:
    return json.dumps({"type": kind, "object": item}) + "\n"


async def test_an_object_is_applied_by_the_server() -> None:
    async with running(says(pod("a", "2"))) as (api, kube):
        assert await kube.apply(f"{PODS}/a", pod("a"), "hadis") == pod("a", "2")
    query = {"fieldManager": "hadis", "force": "true"}
    assert api.requests == [("PATCH", f"{PODS}/a", query, "application/apply-patch+yaml", pod("a"))]


async def test_a_patch_is_merged_and_an_object_created() -> None:
    patch: Object = {"status": {"conditions": [], "gone": None}}
    async with running(says(pod("a")), says(pod("b"), 201), says(pod("a"))) as (api, kube):
        assert await kube.merge(f"{PODS}/a/status", patch) == pod("a")
        assert await kube.create(PODS, pod("b")) == pod("b")
        assert await kube.get(PODS, labelSelector="a=b,c in (d, e)") == pod("a")
    assert api.requests == [
        ("PATCH", f"{PODS}/a/status", {}, "application/merge-patch+json", patch),
        ("POST", PODS, {}, "application/json", pod("b")),
        ("GET", PODS, {"labelSelector": "a=b,c in (d, e)"}, api.requests[2][3], None),
    ]


async def test_what_is_gone_already_may_be_deleted() -> None:
    async with running(says({}), says({"message": "not found"}, 404), says({"message": "no"}, 403)) as (api, kube):
        await kube.delete(f"{PODS}/a")
        await kube.delete(f"{PODS}/a")
        with pytest.raises(ApiError, match="no"):
            await kube.delete(f"{PODS}/a")
    sent = ("DELETE", f"{PODS}/a", {"propagationPolicy": "Background"})
    assert [request[:3] for request in api.requests] == [sent] * 3


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (says({"kind": "Status", "message": 'pods "a" is forbidden'}, 403), 403, 'pods "a" is forbidden'),
        (text("upstream connect error", 503), 503, "upstream connect error"),
        (says({"reason": "Conflict"}, 409), 409, '{"reason": "Conflict"}'),
        (text("<html>a proxy's page</html>", 200), 200, "the API server's answer is no JSON: <html>a proxy's page"),
        (hangs_up, 0, "the API server does not answer: ServerDisconnectedError"),
        (breaks, 0, "the API server does not answer: ClientPayloadError"),
    ],
)
async def test_errors_are_told_in_words(answer: Answer, status: int, words: str) -> None:
    async with running(answer) as (_, kube):
        with pytest.raises(ApiError) as caught:
            await kube.get(f"{PODS}/a")
    assert caught.value.status == status
    assert str(caught.value).startswith(words)


async def test_a_server_that_is_not_there_is_told_in_words() -> None:
    async with running() as (_, gone):
        pass
    with pytest.raises(ApiError, match="the API server does not answer: ClientConnectorError") as caught:
        await gone.get(PODS)
    assert caught.value.status == 0
    await gone.close()


async def test_credentials_that_are_lost_are_told_in_words() -> None:
    def lost(_: Any) -> None:
        raise config.ConfigException("Token file exists but empty.")

    settings = client.Configuration(host="http://127.0.0.1:1", api_key={"BearerToken": "x"})
    settings.refresh_api_key_hook = lost
    kube = Kube(client.ApiClient(settings))
    with pytest.raises(ApiError, match=r"there are no credentials for the API server: Token file exists but empty\."):
        await kube.get(PODS)
    await kube.close()


async def test_a_list_follows_its_watch() -> None:
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
    late = event("ADDED", pod("c"))
    changes = watch(
        event("MODIFIED", pod("a", "2")) + bookmark + event("DELETED", pod("b")) + event("DELETED", pod("b")),
        late[:9],  # a line in two parts
        late[9:],
    )
    async with running(listed("a", "b"), changes, listed("a", "c")) as (api, kube):
        seen = [
            {name: item["metadata"]["resourceVersion"] for name, item in objects.items()}
            async for objects in _take(5, kube)
        ]
    assert seen == [
        {"n/a": "1", "n/b": "1"},
        {"n/a": "2", "n/b": "1"},
        {"n/a": "2"},
        {"n/a": "2"},  # a deletion that repeats
        {"n/a": "2", "n/c": "1"},
    ]
    assert api.requests[1][2] == {"watch": "1", "resourceVersion": "7", "timeoutSeconds": "300", "labelSelector": "x"}


async def _take(count: int, kube: Kube) -> AsyncIterator[dict[str, Object]]:
    """Yield copies of the first states of a list, then leave it."""
    states = kube.follow(PODS, labelSelector="x")
    for _ in range(count):
        async with asyncio.timeout(20):  # a test that fails ends
            state = await anext(states)
        yield dict(state)
    await states.aclose()  # type: ignore[attr-defined]  # it is a generator


@pytest.mark.parametrize(
    ("end", "warning"),
    [
        (watch(), None),
        (watch(event("ERROR", {"code": 410, "message": "too old resource version"})), None),
        (watch(event("ADDED", pod("x"))[:9]), None),
        (breaks, "watch of /api/v1/namespaces/n/pods broke off: ClientPayloadError"),
        (watch('{"type": "ADD\n'), "watch of /api/v1/namespaces/n/pods broke off: JSONDecodeError"),
        (says({"message": "too many requests"}, 429), "list or watch of /api/v1/namespaces/n/pods: too many requests"),
    ],
)
async def test_a_watch_that_ends_begins_from_a_new_list(
    end: Answer, warning: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    again = watch(event("ADDED", pod("d")))
    with caplog.at_level(logging.WARNING, "hadis.kube.client"):
        async with running(listed("a", "b"), end, listed("b", version="8"), again, listed("b")) as (api, kube):
            seen = [set(objects) async for objects in _take(3, kube)]
    assert seen == [{"n/a", "n/b"}, {"n/b"}, {"n/b", "n/d"}]  # a was deleted meanwhile
    assert api.requests[3][2]["resourceVersion"] == "8"
    assert [m.startswith(str(warning)) for m in caplog.messages] == [True] * (warning is not None)


async def test_a_list_that_fails_is_retried(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hadis.kube.client"):
        async with running(says({"message": "etcd is away"}, 500), breaks, listed("a")) as (_, kube):
            assert [set(objects) async for objects in _take(1, kube)] == [{"n/a"}]
    assert len(caplog.messages) == 2
    assert "etcd is away" in caplog.messages[0]


async def test_the_file_that_names_the_cluster_is_read(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(says(pod("a"))) as (api, kube):
        host = kube._api.configuration.host
        path = tmp_path / "kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "c",
                    "clusters": [{"name": "c", "cluster": {"server": host}}],
                    "users": [{"name": "c", "user": {"token": "secret"}}],
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
                }
            )
        )
        monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        connected = Kube(await connect())
        assert await connected.get(f"{PODS}/a") == pod("a")
        await connected.close()
    assert api.tokens == ["Bearer secret"]
