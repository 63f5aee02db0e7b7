"""Forms, jobs and connections that are meant to harm: refused in words, within bounds, and nothing of them is left."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hadis.planning.profile import Profile
from hadis_router.http.jobs import webhook
from hadis_router.http.keys import KeyRing
from starlette.types import Message
from test_api import Instant, make_app
from test_edits import MASK, PNG, png
from test_hostile_inputs import FORM, JSON, MOST_CPU_S, SIZE, URL, bounded, form, image
from test_request_fields import served

EDITS, GENERATIONS, JOBS = "/v1/images/edits", "/v1/images/generations", "/v1/hadis/jobs"
CTE = b'content-disposition: form-data; name="image"; filename="a"\r\ncontent-transfer-encoding: '


def field(name: bytes, value: bytes = b"1") -> bytes:
    return b'content-disposition: form-data; name="%s"\r\n\r\n' % name + value


def document(fields: str) -> bytes:
    """Return a JSON body with an image, and fields as they could not be written by a library."""
    return b'{"prompt": "a", "image": "' + URL + b64encode(PNG) + b'", ' + fields.encode() + b"}"


BODIES: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "a form in a part": (lambda: form(image(form(image(PNG)).replace(b"--b", b"--c"))), 400, "is no PNG"),
    "forms in forms": (lambda: form(image(b"--c\r\n" * (SIZE // 5))), 400, "is no PNG"),
    "a form that ends in a part": (lambda: form(image(PNG + b"\r\n--b--\r\n" + PNG * 1_000)), 200, ""),
    "a part without a name": (lambda: form(b"content-disposition: form-data\r\n\r\na"), 400, "the form cannot be read"),
    "a part without headers": (lambda: form(b"\r\na"), 400, "the form cannot be read"),
    "10,000 parts without a name": (
        lambda: form(*[b"content-disposition: form-data\r\n\r\n"] * 10_000),
        400,
        "the form cannot be read",
    ),
    "10,000 fields": (lambda: form(image(PNG), *[field(b"n")] * 10_000), 400, "more than 64 parts"),
    "10,000 files of a field": (lambda: form(*[image(PNG, b"n")] * 10_000), 400, "more than 64 parts"),
    "10,000 headers of a part": (lambda: form(b"x: a\r\n" * 10_000 + image(PNG)), 400, "the form cannot be read"),
    "an empty name": (lambda: form(image(PNG), field(b"")), 200, ""),
    "a name of other bytes": (lambda: form(image(PNG), field(b"\xff\x00")), 400, "no UTF-8"),
    "a long name of a field": (lambda: form(image(PNG), field(b"x" * 3_000)), 200, ""),
    "a long name of a file": (lambda: form(image(PNG, b"x" * 3_000)), 400, "is a file"),
    "a long part without a name": (
        lambda: form(b"content-disposition: " + b"x" * 3_000 + b"\r\n\r\na"),
        400,
        "the form cannot be read",
    ),
    "a name that splits headers": (lambda: form(image(PNG), field(b"x%0d%0aset-cookie: a=b")), 200, ""),
    "a file named for another folder": (
        lambda: form(image(PNG).replace(b'filename="a"', b'filename="../../../etc/passwd"')),
        200,
        "",
    ),
    "an encoding that is none": (lambda: form(CTE + b"gzip\r\n\r\n" + PNG), 200, ""),
    "base64 that is cut off": (lambda: form(CTE + b"base64\r\n\r\n" + b64encode(PNG)[:-3]), 400, "cannot be read"),
    "base64 of other characters": (lambda: form(CTE + b"base64\r\n\r\n" + b"!" * SIZE), 400, "is no PNG"),
    "quoted text": (lambda: form(CTE + b"quoted-printable\r\n\r\n" + b"=" * SIZE), 400, "is no PNG"),
    "what comes before a form": (lambda: b"a" * SIZE + b"\r\n" + form(image(PNG)), 400, "the form cannot be read"),
    "what comes behind a form": (lambda: form(image(PNG)) + b"a" * SIZE, 200, ""),
    "lines that end otherwise": (lambda: form(image(PNG)).replace(b"\r\n", b"\n"), 400, "the form cannot be read"),
    "an integer of 5,000 digits": (lambda: form(image(PNG), field(b"seed", b"9" * 5_000)), 400, "seed: "),
    "an integer of 4,000 digits": (lambda: form(image(PNG), field(b"n", b"9" * 4_000)), 400, "n: "),
    "an integer that is endless": (lambda: form(image(PNG), field(b"n", b"1e400")), 400, "n: "),
    "a float that is endless": (lambda: form(image(PNG), field(b"strength", b"1e400")), 400, "strength: "),
    "a float of many digits": (lambda: form(image(PNG), field(b"strength", b"0." + b"1" * SIZE)), 200, ""),
    "a number in lists": (lambda: form(image(PNG), field(b"n", b"[" * 100_000)), 400, "n: "),
    "a prompt of half a character": (lambda: form(image(PNG), prompt=b"\xed\xa0\x80"), 400, "no UTF-8"),
    "a prompt of a control character": (lambda: form(image(PNG), prompt=b"a\x00"), 400, "control character"),
    "two prompts": (lambda: form(image(PNG), field(b"prompt", b"b")), 200, ""),
    "a mask alone, as text": (lambda: form(field(b"mask", URL + b64encode(MASK))), 400, "image: is missing"),
    "a PNG of no size": (lambda: form(image(png(0, 0))), 400, "damaged"),
    "a PNG as large as can be said": (lambda: form(image(png(2**31 - 1, 2**31 - 1))), 400, "million pixels"),
    "a PNG of more than can be said": (lambda: form(image(png(2**32 - 1, 1))), 400, "image: "),
    "a PNG whose header is elsewhere": (lambda: form(image(PNG[:8] + b"\0\0\0\1tEXt" + b"a" * 1_000)), 400, "image: "),
    "a JPEG whose part is longer than it": (lambda: form(image(b"\xff\xd8\xff\xe0\xff\xff")), 400, "damaged"),
    "a WebP that is cut off": (lambda: form(image(b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0")), 400, "damaged"),
    "JSON 10,000 deep": (lambda: document(f'"x": {"[" * 10_000}{"]" * 10_000}'), 400, "recursion limit"),
    "objects 10,000 deep": (lambda: document('"x": ' + '{"a":' * 1_900 + "0" + "}" * 1_900), 400, "recursion limit"),
    "images twice": (lambda: document('"image": "no", "images": []'), 400, "image: is no base64"),
    "an image beside images": (lambda: document(f'"images": ["{URL.decode()}"]'), 400, "is no PNG"),
    "a lone surrogate in an image": (lambda: b'{"prompt": "a", "image": "\\ud800"}', 400, "the body is not JSON"),
    "an integer of 5,000 digits in JSON": (lambda: document(f'"seed": {"9" * 5_000}'), 400, ""),
    "1e400 in JSON": (lambda: document('"strength": 1e400'), 400, "strength: "),
    "a type of an image without end": (
        lambda: b'{"prompt": "a", "image": "data:' + b"x" * SIZE + b';base64,"}',
        400,
        "is no PNG",
    ),
    "an image of 16,000 objects": (lambda: document('"images": [' + "{}," * 16_000 + "{}]"), 400, "images."),
}


@pytest.mark.parametrize("path", [EDITS, JOBS])
@pytest.mark.parametrize("name", BODIES)
async def test_a_body_with_images_that_is_meant_to_harm(profile: Profile, name: str, path: str) -> None:
    make, status, words = BODIES[name]
    content, workers = make(), Instant()
    async with served(profile, workers) as client:
        began = time.process_time()
        answer = await client.post(path, content=content, headers=JSON if content.startswith(b"{") else FORM)
        assert time.process_time() - began < MOST_CPU_S
        taken = 202 if path == JOBS else 200
        assert (answer.status_code, words in answer.text) == (taken if status == 200 else status, True), answer.text
        assert len(answer.content) < 2_000 and sum(map(len, answer.headers.values())) < 2_000
        assert "set-cookie" not in answer.headers
        await nothing_left(client)


async def nothing_left(client: httpx.AsyncClient) -> None:
    """Check that a router holds no images and makes none, and that it still serves."""
    app = app_of(client)
    async with asyncio.timeout(10):
        while app.state.image_bodies.held or app.state.jobs._runs:  # noqa: ASYNC110 (a thread ends)
            await asyncio.sleep(0.01)
    assert not app.state.gateway.under_way.jobs
    assert not any(app.state.gateway.dispatcher.queued.values())
    assert (await client.post(GENERATIONS, json={"prompt": "a"})).status_code == 200


def app_of(client: httpx.AsyncClient) -> FastAPI:
    transport: Any = client._transport
    app: FastAPI = transport.app
    return app


TYPES: list[tuple[bytes, int]] = [
    (b"multipart/form-data; boundary=", 400),
    (b'multipart/form-data; boundary=""', 400),
    (b'multipart/form-data; boundary="b', 400),
    (b"multipart/form-data; boundary=\xff\xfe", 400),
    (b"multipart/form-data; boundary=" + b"x" * 30_000, 400),
    (b"multipart/form-data" + b";a=b" * 7_000 + b"; boundary=b", 200),
    (b"multipart/form-data" + b';a="' * 7_000 + b"; boundary=b", 200),
    (b"multipart/form-data; boundary*0=b; boundary*1=b", 400),
    (b"multipart/form-data; boundary=c; boundary=b", 200),
    (b"multipart/form-data; boundary=b; charset=utf-16", 200),
    (b"multipart/mixed; boundary=b", 415),
    (b"multipart/form-data, application/json", 415),
    (b"x" * 30_000, 415),
]


@pytest.mark.parametrize("path", [EDITS, JOBS])
@pytest.mark.parametrize(("media_type", "status"), TYPES, ids=lambda value: str(value)[:50])
async def test_a_type_of_a_form_that_is_meant_to_harm(
    profile: Profile, path: str, media_type: bytes, status: int
) -> None:
    async with served(profile, Instant()) as client:
        began = time.process_time()
        headers = [(b"content-type", media_type)]
        answer = await client.request("POST", path, content=form(image(PNG)), headers=headers)
        assert time.process_time() - began < MOST_CPU_S
        assert answer.status_code in (status, status + 2 * (status == 200)), answer.text
        assert len(answer.content) < 2_000
        await nothing_left(client)


async def test_a_form_is_read_within_its_bound_of_memory(profile: Profile) -> None:
    content = form(*[image(b"a" * 100_000)] * 40)
    async with served(profile, Instant()) as client:
        with bounded():
            assert (await client.post(EDITS, content=content, headers=FORM)).status_code == 400


IDS = ["job_" + "f" * 60_000, "job_*", "..%2f..%2fjob_", "%00", "%ff%fe", "job_00000000:busy", "job_%0d%0aDEL%20x", "ä"]


@pytest.mark.parametrize("name", IDS, ids=lambda name: name[:20])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_job_by_a_name_that_is_meant_to_harm(profile: Profile, method: str, name: str) -> None:
    async with served(profile, Instant()) as client:
        answer = await client.request(method, f"http://router{JOBS}/{name}")
        assert (answer.status_code, len(answer.content) < 2_000) == (404, True)


async def test_a_job_is_its_clients_alone(profile: Profile, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    lines = [f"sha256:{hashlib.sha256(key.encode()).hexdigest()} name={key}\n" for key in ("ann", "bob")]
    keys.write_text("".join(lines))
    app = make_app(profile, workers := Instant(), keys=KeyRing(keys))
    workers.gate = asyncio.Event()
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client,
    ):
        await asyncio.sleep(0)
        ann, bob = [{"authorization": f"Bearer {key}"} for key in ("ann", "bob")]
        url = (await client.post(JOBS, json={"prompt": "a"}, headers=ann)).json()["url"]
        for method in ("GET", "DELETE"):
            assert (await client.request(method, url, headers=bob)).json()["error"]["code"] == "job_not_found"
            assert (await client.request(method, url)).status_code == 401
        assert (await client.get(url, headers=ann)).json()["status"] in ("queued", "running")
        assert (await client.delete(url, headers=ann)).json()["status"] == "cancelled"


HOOKS = [
    "http://2130706433/x",
    "http://0x7f.1/x",
    "http://0177.0.0.1/x",
    "http://[::ffff:127.0.0.1]/x",
    "http://[fd00:ec2::254]/x",
    "http://169.254.169.254/latest/meta-data",
    "http://localhost/x",
    "http://kubernetes.default.svc/api",
    "http://hooks.example.com\t@127.0.0.1/x",
    "http://hooks.example.com:80@127.0.0.1/x",
    "http://hooks.example.com\n.evil.org/x",
    "http://hooks.example.com%00.evil.org/x",
    "http://hooks.example.com%2f@evil.org/x",
    "http://127.0.0.1?hooks.example.com",
    "http://127.0.0.1#hooks.example.com",
    "http://hooks\u3002example.com.evil.org/x",
    "HTTP:/hooks.example.com",
    "http:hooks.example.com",
    "gopher://hooks.example.com/x",
]


@pytest.mark.parametrize("url", HOOKS)
def test_a_webhook_that_would_go_elsewhere(url: str) -> None:
    assert not webhook.allowed(url, ["hooks.example.com", "*.example.com", "[::1]"])


class Gone:
    """A client that goes away after so many messages of the answer, without a word or with an error."""

    def __init__(self, path: str, content: bytes, headers: dict[str, str], after: int, fails: bool) -> None:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        self.scope: dict[str, Any] = {"type": "http", "method": "POST", "scheme": "http", "path": path}
        self.scope |= {"query_string": b"", "root_path": "", "headers": raw, "asgi": {"spec_version": "2.4"}}
        self.content, self.left, self.fails = content, after, fails
        self.gone, self.sent = asyncio.Event(), False

    async def receive(self) -> Message:
        if not self.sent and self.left >= 0:
            self.sent = True
            return {"type": "http.request", "body": self.content, "more_body": False}
        if self.left > 0:
            await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.left -= 1
        if self.left <= 0:
            self.gone.set()
            if self.fails:
                raise OSError("the connection is lost")


STREAM = json.dumps({"prompt": "a", "n": 3, "stream": True, "partial_images": 2}).encode()
REQUESTS: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "a stream": (GENERATIONS, STREAM, JSON),
    "an edit": (EDITS, form(image(PNG)), FORM),
    "a stream of an edit": (EDITS, form(image(PNG), field(b"stream", b"true"), field(b"n", b"2")), FORM),
    "a job": (JOBS, form(image(PNG)), FORM),
}


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("after", range(-1, 8))
@pytest.mark.parametrize("name", REQUESTS)
async def test_a_client_that_goes_away_at_any_moment_leaves_nothing(
    profile: Profile, name: str, after: int, fails: bool
) -> None:
    path, content, headers = REQUESTS[name]
    async with served(profile, Instant()) as client:
        connection = Gone(path, content, headers, after, fails)
        async with asyncio.timeout(10):
            try:
                await app_of(client)(connection.scope, connection.receive, connection.send)
            except OSError:
                assert fails
        await nothing_left(client)
