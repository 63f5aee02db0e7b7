"""Links to images: where they lead behind proxies, how long, and at which router."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
from fastapi import FastAPI
from hadis.planning.profile import Profile
from hadis.protocol.secret import HEADER
from hadis_router.dispatch.answer import ServeError
from hadis_router.http.links.proxy_headers import client_url
from hadis_router.http.links.service import ImageLinks, links_of
from hadis_router.http.links.settings import LinkSettings
from hadis_router.http.links.store import MemoryImages, StoredImage
from hadis_router.http.store_metrics import StoreCounts
from pydantic import SecretStr
from test_api import IMAGE, Instant, make_app, post
from test_forwarding import running
from virtual import virtual


@asynccontextmanager
async def asking(app: FastAPI, sender: str = "127.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        transport = httpx.ASGITransport(app, client=(sender, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://router:8080") as client:
            yield client


def app_with(profile: Profile, proxies: Sequence[str] = (), **settings: Any) -> FastAPI:
    return make_app(profile, Instant(), links=LinkSettings(**settings), proxies=proxies)


async def test_a_link_leads_to_its_image(profile: Profile) -> None:
    async with asking(app_with(profile)) as client:
        data = (await post(client, prompt="a", n=2, response_format="url", output_format="webp")).json()["data"]
        assert len({item["url"] for item in data}) == 2
        image = await client.get(data[0]["url"])
        head = await client.head(data[0]["url"])
    assert data[0]["url"].startswith("http://router:8080/v1/hadis/images/")
    assert image.content == IMAGE
    assert not head.content
    for answer in (image, head):
        assert answer.headers["content-type"] == "image/webp"
        assert answer.headers["content-length"] == str(len(IMAGE))
        assert answer.headers["cache-control"].startswith("private, max-age=59")
        assert answer.headers["content-disposition"].endswith('.webp"')


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({}, "b64_json"),
        ({"model": "gpt-image-1"}, "b64_json"),
        ({"model": "dall-e-2"}, "url"),
        ({"model": "dall-e-3"}, "url"),
        ({"model": "dall-e-3", "response_format": "b64_json"}, "b64_json"),
    ],
)
async def test_what_an_image_comes_as_by_default_is_up_to_the_models_name(
    profile: Profile, fields: dict[str, str], form: str
) -> None:
    async with asking(app_with(profile)) as client:
        (image,) = (await post(client, prompt="a", **fields)).json()["data"]
    assert form in image


FORWARDED = {"x-forwarded-proto": "https", "x-forwarded-host": "pictures.example, inner", "x-forwarded-prefix": "/ai/"}


@pytest.mark.parametrize(
    ("settings", "sender", "headers", "base"),
    [
        ({}, "10.1.1.1", {}, "http://router:8080"),
        ({}, "10.1.1.1", FORWARDED, "http://router:8080"),
        ({}, "127.0.0.1", FORWARDED, "http://router:8080"),
        ({"proxies": ["127.0.0.1"]}, "127.0.0.1", FORWARDED, "https://pictures.example/ai"),
        ({"proxies": ["192.0.2.1", "10.0.0.0/8"]}, "10.1.1.1", FORWARDED, "https://pictures.example/ai"),
        ({}, "10.1.1.1", {"hadis-public-url": "https://other"}, "http://router:8080"),
        ({"root_path": "/sub/"}, "10.1.1.1", {}, "http://router:8080/sub"),
        (
            {"root_path": "/sub", "proxies": ["127.0.0.1"]},
            "127.0.0.1",
            {"x-forwarded-host": "[2001:db8::1]:8443"},
            "http://[2001:db8::1]:8443/sub",
        ),
        (
            {"public_url": "https://set.example/x/", "proxies": ["127.0.0.1"]},
            "127.0.0.1",
            FORWARDED,
            "https://set.example/x",
        ),
    ],
)
async def test_links_begin_where_the_client_reaches_the_service(
    profile: Profile, settings: dict[str, Any], sender: str, headers: dict[str, str], base: str
) -> None:
    async with asking(app_with(profile, **settings), sender) as client:
        body = {"prompt": "a", "response_format": "url"}
        answer = await client.post("/v1/images/generations", json=body, headers=headers)
        url = answer.json()["data"][0]["url"]
        assert url.startswith(f"{base}/v1/hadis/images/")
        assert (await client.get(url.removeprefix(base))).content == IMAGE


PROXY = ("https", "ex.com", "")
"""What a request says itself: scheme, host and prefix."""


@pytest.mark.parametrize(
    ("headers", "url"),
    [
        ({}, "https://ex.com"),
        ({"x-forwarded-port": "8443"}, "https://ex.com:8443"),
        ({"x-forwarded-port": "8443, 443"}, "https://ex.com:8443"),
        ({"x-forwarded-port": "443"}, "https://ex.com"),
        ({"x-forwarded-port": "80"}, "https://ex.com"),
        ({"x-forwarded-port": "port"}, "https://ex.com"),
        ({"x-forwarded-port": "8443", "x-forwarded-host": "a.example:9000"}, "https://a.example:9000"),
        ({"x-forwarded-port": "8443", "x-forwarded-host": "[2001:db8::1]"}, "https://[2001:db8::1]:8443"),
        ({"x-forwarded-prefix": "sub"}, "https://ex.com/sub"),
        ({"x-forwarded-prefix": "/sub/"}, "https://ex.com/sub"),
        ({"x-forwarded-prefix": "/"}, "https://ex.com"),
        ({"x-forwarded-proto": "HTTP"}, "http://ex.com"),
        ({"forwarded": "for=192.0.2.60;proto=HTTP;host=a.example"}, "http://a.example"),
        ({"forwarded": 'Host="a.example:8443" ; proto=http, host=inner;proto=https'}, "http://a.example:8443"),
        ({"forwarded": r'for="[2001:db8::1]";host="a\.example"'}, "https://a.example"),
        ({"forwarded": 'host="a.example'}, "https://ex.com"),
        ({"forwarded": "host=a.example", "x-forwarded-host": "b.example"}, "https://b.example"),
    ],
)
def test_proxies_say_the_address_in_either_form(headers: dict[str, str], url: str) -> None:
    assert client_url(headers, *PROXY) == url


@pytest.mark.parametrize(
    ("shown", "base"),
    [({}, "http://router:8080"), ({HEADER: "a-guess"}, "http://router:8080"), ({HEADER: "secret"}, "https://told")],
)
async def test_another_router_is_believed_by_the_secret_alone(
    profile: Profile, shown: dict[str, str], base: str
) -> None:
    headers = {"hadis-forwarded": "1", "hadis-public-url": "https://told", **shown}
    async with asking(make_app(profile, Instant(), secret="secret")) as client:
        body = {"prompt": "a", "response_format": "url"}
        answer = await client.post("/v1/images/generations", json=body, headers=headers)
    assert answer.json()["data"][0]["url"].startswith(f"{base}/v1/")


@pytest.mark.parametrize("headers", [{"host": 'a"b'}, {"host": ""}, {"x-forwarded-proto": "javascript"}])
async def test_headers_that_make_no_url_are_refused(profile: Profile, headers: dict[str, str]) -> None:
    async with asking(app_with(profile, ["127.0.0.1"])) as client:
        answer = await client.post(
            "/v1/images/generations", json={"prompt": "a", "response_format": "url"}, headers=headers
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_host")


@pytest.mark.parametrize("path", ["/sub/v1/models", "/v1/models", "/sub/", "/sub", "/", "/sub/page/main.js"])
async def test_a_sub_path_may_be_left_on_or_taken_off(profile: Profile, path: str) -> None:
    async with asking(app_with(profile, root_path="/sub")) as client:
        assert (await client.get(path)).status_code == 200
        assert (await client.get("/subway")).status_code == 404


async def test_what_is_no_link_or_changed_is_not_found(profile: Profile) -> None:
    async with asking(app_with(profile)) as client:
        url = (await post(client, prompt="a", response_format="url")).json()["data"][0]["url"]
        stem = url.removesuffix(".png")
        for i in (0, 20, 35, 55):
            at = len(stem) - 56 + i
            changed = stem[:at] + ("A" if stem[at] != "A" else "B") + stem[at + 1 :]
            for name in (changed, stem[:-1], f"{stem}.png/x", f"{stem}!"):
                answer = await client.get(f"{name}.png")
                assert (answer.status_code, set(answer.json())) == (404, {"error"})


@virtual
async def test_a_link_expires() -> None:
    clock = asyncio.get_running_loop().time
    links = ImageLinks(LinkSettings(link_expires_s=60), None, clock=clock)
    (link,) = await links.save("http://r", [IMAGE], "png")
    assert link.expires_at == 60
    name = link.url.rpartition("/")[2]
    await asyncio.sleep(59)
    assert await links.image(name) == (StoredImage(IMAGE, "image/png"), 1)
    await asyncio.sleep(1)
    with pytest.raises(Exception, match="expired, as all do after 60 s"):
        await links.image(name)


@virtual
async def test_the_oldest_images_make_room_and_say_so() -> None:
    links = ImageLinks(LinkSettings(image_bytes=25, image_count=3), None)
    made = [link.url.rpartition("/")[2] for link in await links.save("http://r", [b"x" * 10] * 3, "png")]
    with pytest.raises(Exception, match="newer images took its place"):
        await links.image(made[0])
    assert (await links.image(made[2]))[0].content == b"x" * 10
    store = MemoryImages(100, 2, 10.0)
    for i in range(4):
        await store.put(bytes([i]), StoredImage(b"x", "image/png"))
    assert [await store.get(bytes([i])) is None for i in range(4)] == [True, True, False, False]
    await asyncio.sleep(11)
    assert await store.get(bytes([3])) is None
    await store.put(b"new", StoredImage(b"x", "image/png"))
    assert len(store._images) == 1, "those that have ended make room too"
    assert store.counts == StoreCounts(stored=5, stored_bytes=5, evicted=2, expired=2)


async def test_an_image_that_a_bucket_deleted_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = LinkSettings(s3_bucket="b", s3_access_key_id="a", s3_secret_access_key=SecretStr("s"))
    links = links_of(bucket, None)
    for name in ("put", "get"):
        monkeypatch.setattr(links._store, name, AsyncMock(return_value=None))
    (link,) = await links.save("http://r", [IMAGE], "png")
    with pytest.raises(ServeError, match="the store has deleted it"):
        await links.image(link.url.rpartition("/")[2])


async def test_a_link_leads_to_its_image_at_every_router(profile: Profile) -> None:
    async with running(profile, 3) as (owner, first, second), httpx.AsyncClient() as http:
        headers = {"host": "pictures.example"}
        body = {"prompt": "a", "response_format": "url"}
        made = await http.post(first.url + "/v1/images/generations", json=body, headers=headers)
        url = made.json()["data"][0]["url"]
        assert url.startswith("http://pictures.example/v1/"), "the owner knows what the first router was told"
        path = url.removeprefix("http://pictures.example")
        assert (await http.get(first.url + "/v1/hadis/status", headers={"host": "a!b"})).status_code == 200
        for router in (owner, first, second):
            image, head = await http.get(router.url + path), await http.head(router.url + path)
            assert image.content == IMAGE
            assert image.headers["content-type"] == "image/png"
            assert head.headers["content-length"] == str(len(IMAGE))
        await owner.end()
        gone = await http.get(first.url + path)
        assert (gone.status_code, gone.json()["error"]["code"]) == (503, "router_away")
        first.gateway.peers.update([first.url, second.url], (), 0.0)
        gone = await http.get(first.url + path)
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "image_gone")
