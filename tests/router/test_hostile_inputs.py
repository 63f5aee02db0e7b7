"""Input that is meant to harm: each is answered as what it is, never by a fault, within bounds of time and memory."""

from __future__ import annotations

import asyncio
import json
import struct
import time
import tracemalloc
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hadis.planning.profile import Profile
from hadis_router.http import events
from hadis_router.http.request_body import read_request
from test_api import Instant
from test_edits import PNG
from test_request_fields import served

PATH = "/v1/images/generations"
LIMIT = 1_000_000
"""Bytes of the largest body."""
MOST_MEMORY = 40 * LIMIT
MOST_S = 10.0
"""Far over what any of them takes, on a machine however busy, and far under what a quadratic one would."""
JSON = {"content-type": "application/json"}

Bytes = bytes | Callable[[], AsyncIterator[bytes]]


def with_prompt(**fields: Any) -> bytes:
    return json.dumps({"prompt": "a", **fields}).encode()


def raw(fields: str) -> bytes:
    """Return a body with fields as they could not be written by a library."""
    return b'{"prompt": "a", ' + fields.encode() + b"}"


async def trickle() -> AsyncIterator[bytes]:
    for byte in with_prompt():
        yield bytes((byte,))


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b" " * 65_536


async def empty_parts() -> AsyncIterator[bytes]:
    for _ in range(10_000):
        yield b""
    yield with_prompt()


BODIES: dict[str, tuple[Bytes, int, str | None]] = {
    "nothing": (b"", 400, "invalid_json"),
    "a word": (b"null", 400, "invalid_json"),
    "a string": (b'"prompt"', 400, "invalid_json"),
    "a list": (b"[]", 400, "invalid_json"),
    "a number": (b"1e400", 400, "invalid_json"),
    "no field": (b"{}", 400, "invalid_value"),
    "two documents": (with_prompt() * 2, 400, "invalid_json"),
    "a comment": (b'{"prompt": "a" /* b */}', 400, "invalid_json"),
    "cut off": (with_prompt()[:-1], 400, "invalid_json"),
    "nested lists": (b"[" * LIMIT, 400, "invalid_json"),
    "nested objects": (b'{"a":' * (LIMIT // 5), 400, "invalid_json"),
    "nested lists in a field": (raw(f'"x": {"[" * 400_000}{"]" * 400_000}'), 400, "invalid_json"),
    "shallow nests in a field": (raw(f'"x": [{"[[[[]]]]," * 100_000}0]'), 400, "invalid_json"),
    "as many lists as prompts may have brackets": (raw(f'"x": [{"[]," * 64_000}0]'), 200, None),
    "too large": (b" " * (LIMIT + 1), 413, "body_too_large"),
    "all blank": (b" " * LIMIT, 400, "invalid_json"),
    "huge integer": (raw(f'"seed": 1{"0" * 900_000}'), 400, "invalid_json"),
    "large integer": (raw(f'"n": 1{"0" * 4_000}'), 400, "invalid_value"),
    "huge integer in a field that is ignored": (raw(f'"x": 1{"0" * 900_000}'), 400, "invalid_json"),
    "infinite float": (raw('"guidance_scale": 1e400'), 400, "invalid_value"),
    "NaN": (raw('"guidance_scale": NaN'), 400, "invalid_value"),
    "Infinity in a field that is ignored": (raw('"x": -Infinity'), 200, None),
    "long fraction": (raw(f'"guidance_scale": 0.{"1" * 900_000}'), 400, "invalid_value"),
    "minus zero": (raw('"seed": -0'), 200, None),
    "a field twice": (raw('"n": 0, "n": 1'), 200, None),
    "a field many times": (raw(", ".join(['"seed": 7'] * 80_000)), 400, "invalid_json"),
    "many unknown fields": (raw(", ".join(f'"f{i}": 0' for i in range(1_900))), 200, None),
    "more unknown fields": (raw(", ".join(f'"f{i}": 0' for i in range(2_100))), 400, "invalid_json"),
    "unknown fields that end with quotes": (raw(", ".join(f'"f{i}\\"": 0' for i in range(4_100))), 400, "invalid_json"),
    "a long name of a field": (raw(f'"{"x" * 900_000}": 1'), 200, None),
    "an empty name of a field": (raw('"": 1'), 200, None),
    "a name of a field that splits headers": (raw('"x\\r\\nset-cookie: a=b": 1'), 200, None),
    "a field of the class itself": (raw('"__class__": {}, "model_config": {}, "_ignored": ["a"]'), 200, None),
    "lone surrogate": (raw('"user": "\\ud800"'), 400, "invalid_json"),
    "lone surrogate in the prompt": (b'{"prompt": "\\udfff"}', 400, "invalid_json"),
    "lone surrogate in the model": (raw('"model": "\\ud800"'), 400, "invalid_json"),
    "lone surrogate in a name": (raw('"\\ud800": 1'), 400, "invalid_json"),
    "NUL": (raw('"negative_prompt": "\\u0000"'), 400, "invalid_value"),
    "escape": (b'{"prompt": "\\u001b[2J"}', 400, "invalid_value"),
    "reversed text": (b'{"prompt": "\\u202egnirts"}', 200, None),
    "unprintable bytes": (b'{"prompt": "\xc3\x28"}', 400, "invalid_json"),
    "surrogates as bytes": (b'{"prompt": "\xed\xa0\x80"}', 400, "invalid_json"),
    "byte order mark": (b"\xef\xbb\xbf" + with_prompt(), 200, None),
    "UTF-16": (with_prompt().decode().encode("utf-16"), 400, "invalid_json"),
    "UTF-16 without a mark": (with_prompt().decode().encode("utf-16-le"), 400, "invalid_json"),
    "UTF-32": (with_prompt().decode().encode("utf-32"), 400, "invalid_json"),
    "compressed": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", 400, "invalid_json"),
    "true for a number": (with_prompt(n=True), 400, "invalid_value"),
    "a float for a number": (with_prompt(n=1.5), 400, "invalid_value"),
    "a list for a number": (with_prompt(n=[1]), 400, "invalid_value"),
    "an object for the prompt": (b'{"prompt": {"a": "b"}}', 400, "invalid_value"),
    "a list for the prompt": (b'{"prompt": ["a", "b"]}', 400, "invalid_value"),
    "a long prompt": (with_prompt(prompt="x" * 900_000), 400, "invalid_value"),
    "the longest prompt": (with_prompt(prompt="\U0001f34e" * 32_000), 200, None),
    "the longest blank prompt": (with_prompt(prompt="\u2003" * 32_000), 400, "invalid_value"),
    "the longest prompt of marks": (with_prompt(prompt="a" + "\u0301" * 31_999), 200, None),
    "the longest prompt of quotes": (with_prompt(prompt='"' * 32_000), 200, None),
    "the longest prompt of brackets": (with_prompt(prompt="(" * 32_000), 200, None),
    "a long model": (with_prompt(model="x" * 900_000), 400, "invalid_value"),
    "a model with a path": (with_prompt(model="../../etc/passwd"), 404, "model_not_found"),
    "a long size": (with_prompt(size="1" * 900_000), 400, "invalid_value"),
    "a size of digits of another script": (with_prompt(size="\u0661x\u0661"), 400, "invalid_value"),
    "a size of a line more": (with_prompt(size="32x32\n32x32"), 400, "invalid_value"),
    "a user of thousands of digits": (b'{"prompt": "a", "user": ' + b"9" * 4_200 + b"}", 400, "invalid_value"),
    "a user of more digits": (b'{"prompt": "a", "user": ' + b"9" * 5_000 + b"}", 400, None),
    "a size of spaces": (with_prompt(size="1" + " " * 900_000), 400, "invalid_value"),
    "a list as text for a number": (with_prompt(n="[" + "1," * 450_000 + "1]"), 400, "invalid_value"),
    "a long user": (with_prompt(user="x" * 513), 400, "invalid_value"),
    "an endless body": (endless, 413, "body_too_large"),
    "a body by bytes": (trickle, 200, None),
    "a body of empty parts": (empty_parts, 200, None),
}


@contextmanager
def bounded() -> Iterator[None]:
    """Fail where more memory was taken at one time than is allowed."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_meant_to_harm(profile: Profile, name: str) -> None:
    body, status, code = BODIES[name]
    content = body if isinstance(body, bytes) else body()
    async with served(profile, Instant()) as client, asyncio.timeout(MOST_S):
        with bounded():
            answer = await client.post(PATH, content=content, headers=JSON)
        assert answer.status_code == status, answer.text[:500]
        assert len(answer.content) < 2_000 and sum(map(len, answer.headers.values())) < 2_000
        if code is not None:
            assert answer.json()["error"]["code"] == code
        assert "set-cookie" not in answer.headers
        assert (await client.get("/v1/hadis/status")).status_code == 200, "what it left behind can be shown"
        assert (await client.post(PATH, json={"prompt": "a"})).status_code == 200


@pytest.mark.parametrize("content", [body for body, *_ in BODIES.values() if isinstance(body, bytes)])
def test_a_strict_service_bounds_them_too(content: bytes) -> None:
    with bounded():
        try:
            read_request(content, strict=True)
        except Exception as error:
            assert 400 <= getattr(error, "status", 500) < 500
            assert len(str(error)) <= 300


HEADERS: list[tuple[Sequence[tuple[bytes, bytes]], int]] = [
    ([(b"content-type", b"application/json; charset=utf-16")], 200),
    ([(b"content-type", b"application/json; charset=" + b"x" * 10_000)], 200),
    ([(b"content-type", b'application/json;charset="UTF-8"')], 200),
    ([(b"content-type", b"APPLICATION/JSON ; a=b")], 200),
    ([(b"content-type", b"text/plain")], 415),
    ([(b"content-type", b"application/jsonx")], 415),
    ([(b"content-type", b"multipart/form-data")], 415),
    ([(b"content-type", b"\xff\xfe")], 415),
    ([(b"content-type", b"")], 415),
    ([], 415),
    ([(b"content-type", b"application/json"), (b"authorization", b"Bearer \xff" + b"x" * 60_000)], 200),
    ([(b"content-type", b"application/json"), (b"hadis-forwarded", b"9" * 5_000)], 200),
    ([(b"content-type", b"application/json"), (b"hadis-age-seconds", b"nan")], 200),
    ([(b"content-type", b"application/json"), (b"x-forwarded-for", b"\xff\x00")], 200),
    ([(b"content-type", b"application/json"), (b"x-request-id", b"a\r\nset-cookie: a=b")], 200),
    ([(b"content-type", b"application/json"), (b"accept", b"*/*;q=nan"), (b"expect", b"x")], 200),
]


@pytest.mark.parametrize(("headers", "status"), HEADERS, ids=lambda value: str(value)[:60])
async def test_headers_that_are_meant_to_harm(
    profile: Profile, headers: Sequence[tuple[bytes, bytes]], status: int
) -> None:
    async with served(profile, Instant()) as client, asyncio.timeout(MOST_S):
        with bounded():
            answer = await client.request("POST", PATH, content=with_prompt(), headers=headers)
        assert answer.status_code == status, answer.text
        assert len(answer.content) < 2_000
        assert "set-cookie" not in answer.headers
        assert (await client.get("/v1/hadis/status")).status_code == 200


PATHS = [
    ("GET", "/v1/models/" + "x" * 60_000, 404),
    ("GET", "/v1/models/%00", 404),
    ("GET", "/v1/models/..%2f..%2fetc", 404),
    ("GET", "/page/%00", 404),
    ("GET", "/page/%2e%2e/settings.py", 404),
    ("GET", "/page/..%2f..%2fapp.py", 404),
    ("GET", "/page/" + "x" * 5_000, 404),
    ("GET", "/page/%ff%fe", 404),
    ("GET", "/" * 60_000, 200),
    ("GET", "/v1/hadis/progress/" + "x" * 60_000, 400),
    ("GET", "/v1/hadis/progress/" + "%0a" * 20, 400),
    ("GET", "/v1/hadis/progress/" + "f" * 32, 200),
    ("GET", "/v1/hadis/front?" + "a=b&" * 10_000, 200),
    ("BREW", PATH, 405),
    ("DELETE", "/v1/models/auto", 405),
]


@pytest.mark.parametrize(("method", "path", "status"), PATHS, ids=lambda value: str(value)[:40])
async def test_paths_that_are_meant_to_harm(
    profile: Profile, monkeypatch: pytest.MonkeyPatch, method: str, path: str, status: int
) -> None:
    monkeypatch.setattr(events, "_UNKNOWN_S", 0.0)
    async with served(profile, Instant()) as client, asyncio.timeout(MOST_S):
        with bounded():
            answer = await client.request(method, "http://router" + path)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]["message"]
        assert len(answer.content) < 2_000


def segment(marker: int, data: bytes) -> bytes:
    """Return a part of a JPEG's header."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def form(*parts: bytes, prompt: bytes = b"a", end: bytes = b"--b--\r\n") -> bytes:
    """Return a form of a prompt and further parts, each with its headers."""
    prompted = b'content-disposition: form-data; name="prompt"\r\n\r\n' + prompt
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in (prompted, *parts)) + end


def image(data: bytes, name: bytes = b"image[]") -> bytes:
    return b'content-disposition: form-data; name="%s"; filename="a"\r\n\r\n' % name + data


FORM = {"content-type": "multipart/form-data; boundary=b"}
MOST_CPU_S = 10.0
"""Of a request by the CPU's time: fifty times what any of them takes, and far under what a quadratic one would."""
SIZE = 24_000_000
NO_ORIENTATION = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 5_440) + b"\0\1\0\1\0\0\0\1\0\0\0\0" * 5_440
JPEG = b"\xff\xd8"
TINY = segment(0xE1, b"")
URL = b"data:image/png;base64,"

EDITS: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "a JPEG of tiny segments": (lambda: form(image(JPEG + TINY * (SIZE // 4))), 400, "damaged"),
    "many JPEGs of tiny segments": (lambda: form(*[image(JPEG + TINY * (SIZE // 64))] * 15), 400, "damaged"),
    "a JPEG of EXIF data without an orientation": (
        lambda: form(image(JPEG + segment(0xE1, NO_ORIENTATION) * (SIZE // 65_536))),
        400,
        "damaged",
    ),
    "a JPEG of padding": (lambda: form(image(JPEG + b"\xff" * SIZE)), 400, "damaged"),
    "a JPEG without markers": (lambda: form(image(JPEG + b"\xff\xe0\0\2" + b"a" * SIZE)), 400, "damaged"),
    "a WebP of nothing": (lambda: form(image(b"RIFF\0\0\0\0WEBP" + b"a" * SIZE)), 400, "damaged"),
    "a mask of tiny segments": (
        lambda: form(image(PNG), image(JPEG + TINY * (SIZE // 4), b"mask")),
        400,
        "mask: its file is damaged",
    ),
    "what is nearly a boundary": (lambda: form(image(b"\r\n--a" * (SIZE // 5))), 400, "is no PNG"),
    "headers of a part without end": (lambda: form(b"x: a\r\n" * (SIZE // 6)), 400, "the form cannot be read"),
    "a long header of a part": (lambda: form(b"x: " + b"a" * SIZE), 400, "the form cannot be read"),
    "many parts": (lambda: form(*[image(b"")] * (SIZE // 80)), 400, "more than 64 parts"),
    "a long field": (
        lambda: form(image(PNG), prompt=b"a" * SIZE),
        400,
        "prompt: String should have at most 32000",
    ),
    "a form without end": (lambda: form(image(PNG), end=b"--b"), 400, "image: is missing"),
    "base64 that is none": (lambda: b'{"prompt":"a","image":"' + b"=" * SIZE + b'"}', 400, "is no base64"),
    "an image in base64 of tiny segments": (
        lambda: b'{"prompt":"a","image":"' + URL + b64encode(JPEG + TINY * (SIZE // 6)) + b'"}',
        400,
        "damaged",
    ),
    "images in images": (
        lambda: b'{"prompt":"a","images":' + b"[" * 60_000 + b"]" * 60_000 + b"}",
        400,
        "recursion limit",
    ),
    "many images": (lambda: b'{"prompt":"a","images":[' + b'"aaaa",' * 1_900 + b'"a"]}', 400, "images."),
    "an image in objects": (
        lambda: b'{"prompt":"a","image":' + b'{"image_url":' * 90 + b"{" + b"}" * 91 + b"}",
        400,
        "data: URL",
    ),
}


@pytest.mark.parametrize("name", EDITS)
async def test_an_edit_that_is_meant_to_harm(profile: Profile, name: str) -> None:
    body, status, words = EDITS[name]
    content = body()
    async with served(profile, Instant()) as client:
        began = time.process_time()
        headers = JSON if content.startswith(b"{") else FORM
        answer = await client.post("/v1/images/edits", content=content, headers=headers)
        assert time.process_time() - began < MOST_CPU_S
    assert (answer.status_code, words in answer.text) == (status, True), answer.text[:500]
    assert len(answer.content) < 2_000


JOBS: dict[str, tuple[bytes, dict[str, str], int]] = {
    "a long webhook": (with_prompt(webhook="http://" + "a" * 900_000), {}, 400),
    "a webhook that is no URL": (with_prompt(webhook="http://[::1"), {}, 400),
    "a webhook of a port that is none": (with_prompt(webhook="http://a:99999999999"), {}, 400),
    "a webhook at a file": (with_prompt(webhook="file:///etc/passwd"), {}, 400),
    "a webhook with a user": (with_prompt(webhook="http://a@b@c\\d"), {}, 400),
    "a list for the webhook": (with_prompt(webhook=["http://a"] * 1_000), {}, 400),
    "a long key": (with_prompt(), {"idempotency-key": "x" * 30_000}, 400),
    "a key of other bytes": (with_prompt(), {"idempotency-key": "\xff\xfe"}, 202),
    "many preferences": (with_prompt(), {"prefer": "a;b," * 7_000}, 202),
    "images": (with_prompt(images=["data:image/png;base64," + "A" * 900_000]), {}, 400),
    "a stream": (with_prompt(stream=True), {}, 400),
}


@pytest.mark.parametrize("name", JOBS)
async def test_a_job_that_is_meant_to_harm(profile: Profile, name: str) -> None:
    content, more, status = JOBS[name]
    headers = [(name.encode(), value.encode("latin-1")) for name, value in (JSON | more).items()]
    async with served(profile, Instant()) as client:
        began = time.process_time()
        answer = await client.request("POST", "/v1/hadis/jobs", content=content, headers=headers)
        assert time.process_time() - began < MOST_CPU_S
    assert answer.status_code == status, answer.text[:500]
    assert len(answer.content) < 2_000
