"""Images behind links in a real S3-compatible store (versitygw on a folder)."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import binaries
import pytest
from hadis_router.dispatch.answer import ServeError
from hadis_router.http.links.service import links_of
from hadis_router.http.links.settings import LinkSettings
from pydantic import ValidationError

pytestmark = pytest.mark.slow
KEYS = {"s3_access_key_id": "key", "s3_secret_access_key": "secret-of-the-test"}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("s3")
    (folder / "pictures").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    env = {**os.environ, "ROOT_ACCESS_KEY": KEYS["s3_access_key_id"], "ROOT_SECRET_KEY": KEYS["s3_secret_access_key"]}
    command = [str(binaries.binary("versitygw")), "--port", address, "--quiet", "posix", str(folder)]
    server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                socket.create_connection((address.split(":")[0], int(address.split(":")[1])), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://{address}"
    finally:
        server.terminate()
        server.wait(20)


def settings(endpoint: str, **fields: Any) -> LinkSettings:
    return LinkSettings(**{"s3_bucket": "pictures", "s3_endpoint": endpoint, **KEYS, **fields})


async def test_every_router_reads_what_one_put_and_only_by_its_link(endpoint: str) -> None:
    one, other = (links_of(settings(endpoint), f"http://{name}") for name in "ab")
    links = await one.save("http://service", [b"first", b"second" * 500_000], "webp")
    names = [link.url.rpartition("/")[2] for link in links]
    assert [one.owner(name) for name in names] == [other.owner(name) for name in names] == [None, None]
    assert (await other.image(names[0]))[0].content == b"first"
    stored, left_s = await other.image(names[1])
    assert (len(stored.content), stored.media_type) == (3_000_000, "image/webp")
    assert 590 < left_s <= 600
    strange = links_of(settings(endpoint), None)
    strange._key = b"another"
    with pytest.raises(ServeError, match="no image at this address"):
        await strange.image(names[0])


async def test_an_image_that_the_bucket_deleted_is_gone(endpoint: str) -> None:
    links = links_of(settings(endpoint), None)
    (link,) = await links.save("http://service", [b"image"], "png")
    store: Any = links._store
    for listed in await store._store.list().collect_async():
        await store._store.delete_async(listed["path"])
    with pytest.raises(ServeError, match="the store has deleted it") as gone:
        await links.image(link.url.rpartition("/")[2])
    assert gone.value.status == 404


@pytest.mark.parametrize(
    "fields", [{"s3_secret_access_key": "wrong"}, {"s3_bucket": "none"}, {"s3_endpoint": "http://127.0.0.1:1"}]
)
async def test_a_store_that_does_not_take_images_is_said(endpoint: str, fields: dict[str, str]) -> None:
    links = links_of(settings(endpoint, **fields), None)
    with pytest.raises(ServeError) as refused:
        await links.save("http://service", [b"image"], "png")
    assert (refused.value.status, refused.value.code) == (503, "store_away")


def test_a_bucket_needs_keys() -> None:
    with pytest.raises(ValidationError, match="S3_BUCKET needs"):
        LinkSettings(s3_bucket="pictures")
