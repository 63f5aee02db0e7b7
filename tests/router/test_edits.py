"""Edits and variations as clients send them: read, refused in words, routed, and given to workers with their images."""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib
from collections.abc import AsyncIterator, Sequence
from itertools import groupby
from typing import Any, cast

import httpx
import openai
import pytest
from documents import profile_document
from fastapi import FastAPI
from hadis.api.resources import CascadeProfile
from hadis.planning.profile import Profile
from hadis.protocol.batch_request import decode_batch, encode_batch
from hadis.protocol.worker import WireJob
from hadis_router.dispatch.edit import EditInputs, batch_of
from hadis_router.http.capabilities import requested_size
from hadis_router.http.edit_request import EditRequest
from hadis_router.http.image_bodies import ImageBodies
from test_api import Instant, make_app


def png(width: int = 32, height: int = 32, more: bytes = b"") -> bytes:
    """Return a file whose header is a PNG's; the router reads no further."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + more


PNG, MASK = png(), png(more=b"mask")
HEAVY = {"images": 16, "masks": True}


def profile_of(light: Any, heavy: Any, **fields: Sequence[Any]) -> Profile:
    """Return a profile whose tiers can edit so, and have these values of other fields."""
    tiers = profile_document()["spec"]["tiers"]
    for name, values in {"edits": (light, heavy), **fields}.items():
        for tier, value in zip(tiers, values, strict=True):
            tier[name] = value
    return Profile(CascadeProfile.read(profile_document(tiers=tiers)))


class Bench:
    """A router with clients."""

    def __init__(self, app: FastAPI, transport: Instant) -> None:
        self.app, self.transport = app, transport
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router")
        self.official = openai.AsyncOpenAI(
            api_key="none", base_url="http://router/v1", http_client=cast(Any, self.http), max_retries=0
        )

    @property
    def edit(self) -> EditInputs:
        """What the last job is made from."""
        edit = self.transport.jobs[-1].params.edit
        assert edit is not None
        return edit

    @property
    def bodies(self) -> ImageBodies:
        bodies: ImageBodies = self.app.state.image_bodies
        return bodies

    async def post(self, path: str = "edits", **request: Any) -> httpx.Response:
        return await self.http.post(f"/v1/images/{path}", **request)


@pytest.fixture
async def bench(profile: Profile) -> AsyncIterator[Bench]:
    transport = Instant()
    app = make_app(profile_of({"images": 1, "masks": False}, HEAVY), transport)
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        yield Bench(app, transport)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI serves variations no more
async def test_the_official_client_edits_and_varies(bench: Bench) -> None:
    made = await bench.official.images.edit(
        image=PNG, mask=MASK, prompt="a red hat", n=2, size="32x32", extra_body={"seed": 7, "strength": 0.5}
    )
    assert made.data is not None
    assert [bool(one.b64_json) for one in made.data] == [True, True]
    first, second = bench.transport.jobs
    assert (first.params.seed, second.params.seed, first.params.edit is second.params.edit) == (7, 8, True)
    assert (bench.edit.images, bench.edit.mask, bench.edit.strength) == ((PNG,), MASK, 0.5)
    await bench.official.images.edit(image=[PNG, MASK], prompt="both")
    assert (bench.edit.images, bench.edit.mask, bench.edit.strength) == ((PNG, MASK), None, None)
    made = await bench.official.images.create_variation(image=PNG, n=1, response_format="b64_json")
    assert made.data is not None
    assert (bench.transport.jobs[-1].params.prompt, bench.edit.strength) == ("", 0.7)


async def test_the_official_client_streams_an_edit_which_is_held_until_its_end(bench: Bench) -> None:
    bench.transport.gate = asyncio.Event()
    task = asyncio.ensure_future(bench.official.images.edit(image=PNG, prompt="a", stream=True, partial_images=1))
    while not bench.transport.jobs:  # noqa: ASYNC110 (a request is waited for)
        await asyncio.sleep(0)
    assert bench.bodies.held > len(PNG)
    bench.transport.gate.set()
    assert [event.type async for event in await task] == ["image_edit.completed"]
    assert bench.bodies.held == 0


def form(*files: tuple[str, bytes], **fields: Any) -> dict[str, Any]:
    return {"files": [(name, ("a", data)) for name, data in files], "data": {"prompt": "a", **fields}}


URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
NO_FILE = b'; filename=""\r\ncontent-type: application/octet-stream'


def raw_form(*parts: tuple[bytes, bytes]) -> dict[str, Any]:
    """Return a form with parts as they could not be written by a library: what follows `form-data`, and the content."""
    head = b"--b\r\ncontent-disposition: form-data; "
    body = b"".join(head + rest + b"\r\n\r\n" + content + b"\r\n" for rest, content in ((b"name=prompt", b"a"), *parts))
    return {"content": body + b"--b--\r\n", "headers": {"content-type": "multipart/form-data; boundary=b"}}


REMOTE = "https://example.org/a.png"


@pytest.mark.parametrize(
    ("request_", "images"),
    [
        (form(("image", PNG)), (PNG,)),
        (form(("image[]", PNG), ("image[]", MASK)), (PNG, MASK)),
        (form(("image[0]", PNG), ("image[1]", MASK)), (PNG, MASK)),
        (form(("images", PNG), n="1", stream="False", guidance_scale="", user=""), (PNG,)),
        ({"files": {"prompt": (None, "a"), "image": (None, URL)}}, (PNG,)),
        ({"json": {"prompt": "a", "images": [{"image_url": URL}]}}, (PNG,)),
        ({"json": {"prompt": "a", "image": [URL, URL.partition(",")[2]], "mask": None}}, (PNG, PNG)),
        ({"json": {"prompt": "a", "image": {"image_url": {"url": URL}}}}, (PNG,)),
        ({"json": {"prompt": "a", "image": {"image_url": URL, "file_id": None}}}, (PNG,)),
        ({"json": {"prompt": "a", "image": URL[:60] + "\r\n" + URL[60:] + "\n"}}, (PNG,)),
        ({"json": {"prompt": "a", "image": " DATA:image/png;BASE64," + URL.partition(",")[2]}}, (PNG,)),
        (raw_form((b"name=image; filename=a.png; filename*=utf-8''a.png", PNG)), (PNG,)),
        (raw_form((b'name="image"; filename="a;\\"b.png"', PNG)), (PNG,)),
        (raw_form((b"name=\"image\"; filename*=UTF-8''a%20b.png", PNG)), (PNG,)),
        (raw_form((b'name="image[]"', PNG), (b'name="image[]"', MASK)), (PNG, MASK)),
        (raw_form((b'name="mask"' + NO_FILE, b""), (b'name="image"', PNG), (b'name="image"' + NO_FILE, b"")), (PNG,)),
    ],
)
async def test_images_come_as_every_client_sends_them(
    bench: Bench, request_: dict[str, Any], images: tuple[bytes, ...]
) -> None:
    answer = await bench.post(**request_)
    assert (answer.status_code, bench.edit.images) == (200, images), answer.text


@pytest.mark.parametrize("text", ["42", "true", "1e3", "null", '"a"'])
@pytest.mark.parametrize("path", ["edits", "variations"])
async def test_what_is_text_stays_text_in_a_form_whatever_it_looks_like(bench: Bench, path: str, text: str) -> None:
    fields = dict.fromkeys(("prompt", "user", "safety_identifier", "negative_prompt", "style"), text)
    answer = await bench.post(path, **form(("image", PNG), **fields, n="1", seed="7"))
    assert answer.status_code == 200, answer.text
    [job] = bench.transport.jobs
    assert (job.params.prompt, job.params.negative_prompt, job.client) == (text, text, f"user:{text}")
    assert answer.headers["x-hadis-ignored"] == "style"


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        (form(), 415, "content-type"),
        (form(("mask", PNG)), 400, "image: is missing; send a PNG, JPEG or WebP file"),
        (form(("image", b"GIF89a")), 400, "image: is no PNG, JPEG or WebP image"),
        (form(("image", b"")), 400, "image: is no PNG, JPEG or WebP image"),
        (raw_form((b'name="image"' + NO_FILE, b"")), 400, "image: is missing; send a PNG, JPEG or WebP file"),
        (raw_form(*[(b'name="image"' + NO_FILE, b"")] * 70), 400, "the form has more than 64 parts"),
        (raw_form((b'name="image"', b"\xff")), 400, "a field of the form is no UTF-8 text"),
        ({"json": {"prompt": "a", "image": {"image_url": None, "file_id": None}}}, 400, "image.image_url: write the"),
        (form(("image", PNG[:12])), 400, "image: its file is damaged"),
        (form(("image", png(10_000, 10_000))), 400, "image: has more than 50 million pixels; send a smaller one"),
        (form(("image", PNG), ("mask", png(8))), 400, "mask: is 8x32, but the image is 32x32; make them alike"),
        (form(("image", PNG), ("mask", PNG), ("mask", PNG)), 400, "mask: there are several; send one"),
        (form(*[("image[]", PNG)] * 17), 400, "image: there are 17; send at most 16"),
        (form(*[("image[]", PNG)] * 70), 400, "the form has more than 64 parts"),
        (form(("picture", PNG)), 400, "picture: is a file; files are image, image[] and mask"),
        (form(("image", PNG), prompt=""), 400, "prompt: is empty; say what to draw"),
        (form(("image", PNG), strength="0"), 400, "strength: Input should be greater than or equal to 0.01"),
        (form(("image", PNG), strength="NaN"), 400, "strength: "),
        (form(("image", PNG), n="two"), 400, "n: Input should be a valid integer"),
        (
            {"content": b"--x", "headers": {"content-type": "multipart/form-data"}},
            400,
            "content-type names no boundary",
        ),
        (
            {"content": b"nonsense", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            "the form cannot be read",
        ),
        ({"json": {"prompt": "a", "images": [{"image_url": REMOTE}]}}, 400, "image.image_url: is at another address"),
        ({"json": {"prompt": "a", "images": [URL, {"file_id": "f"}]}}, 400, "images.1: file_id: there are no stored"),
        ({"json": {"prompt": "a", "images": ["data:image/png,xx"]}}, 400, "image: is no data: URL in base64"),
        ({"json": {"prompt": "a", "images": ["no!"]}}, 400, "image: is no base64"),
        ({"json": {"prompt": "a", "images": [7]}}, 400, "image: write the image as a data: URL"),
        ({"json": {"prompt": "a"}}, 400, "image: is missing"),
        ({"json": [1]}, 400, "the body must be a JSON object"),
    ],
)
async def test_what_is_wrong_is_said(bench: Bench, request_: dict[str, Any], status: int, message: str) -> None:
    answer = await bench.post(**request_)
    assert (answer.status_code, answer.json()["error"]["message"][: len(message)]) == (status, message)
    assert bench.bodies.held == 0
    assert not bench.transport.jobs


async def test_large_bodies_and_those_beside_many_others_are_refused(bench: Bench) -> None:
    bench.bodies.limit = 1000
    large = await bench.post(**form(("image", PNG + b"x" * 1000)))
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 500

    chunked = await bench.post(content=chunks(), headers={"content-type": "multipart/form-data; boundary=x"})
    assert chunked.status_code == 413
    bench.bodies.room = 100
    full = await bench.post(**form(("image", PNG)))
    assert (full.status_code, full.json()["error"]["code"], full.headers["retry-after"]) == (429, "queue_full", "2")
    assert bench.bodies.held == 0


@pytest.mark.parametrize(
    ("light", "heavy", "request_", "tiers"),
    [
        ({"images": 1}, {"images": 1}, form(("image", PNG)), ["light"]),
        ({"images": 0}, {"images": 1}, form(("image", PNG)), ["heavy"]),
        (None, {"images": 0}, form(("image", PNG)), ["light"]),
        ({"images": 1}, HEAVY, form(("image", PNG), ("mask", PNG)), ["heavy"]),
        ({"images": 1}, HEAVY, form(("image[]", PNG), ("image[]", PNG)), ["heavy"]),
        ({"images": 1}, HEAVY, form(("image", PNG), model="heavy"), ["heavy"]),
        ({"images": 0}, {"images": 0}, form(("image", PNG)), "image: is not taken by light, heavy; ask for"),
        ({"images": 1}, {"images": 1}, form(("image", PNG), ("mask", PNG)), "mask: is not taken by light, heavy"),
        ({"images": 1}, {"images": 1}, form(("image[]", PNG), ("image[]", PNG)), "image: several are not taken by"),
        ({"images": 1}, HEAVY, form(("image", PNG), ("mask", PNG), model="light"), "mask: is not taken by light"),
    ],
)
async def test_an_edit_goes_to_the_tiers_that_can_make_it(
    light: Any, heavy: Any, request_: dict[str, Any], tiers: list[str] | str
) -> None:
    transport = Instant()
    app = make_app(profile_of(light, heavy), transport)
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        answer = await Bench(app, transport).post(**request_)
    if isinstance(tiers, str):
        assert (answer.status_code, answer.json()["error"]["message"][: len(tiers)]) == (400, tiers)
        assert not transport.jobs
    else:
        assert answer.headers["x-hadis-tiers"].split(",") == tiers


REFERENCES, SHARES = {"images": 16, "strength": False}, {"images": 1}


@pytest.mark.parametrize(
    ("light", "heavy", "path", "fields", "ignored"),
    [
        (SHARES, REFERENCES, "edits", {"strength": "0.5"}, None),
        (SHARES, REFERENCES, "edits", {"strength": "0.5", "model": "heavy"}, "strength"),
        (REFERENCES, REFERENCES, "edits", {"strength": "0.5", "style": "1"}, "style,strength"),
        (REFERENCES, REFERENCES, "edits", {"strength": "0.5", "stream": "true"}, "strength"),
        (REFERENCES, REFERENCES, "edits", {}, None),
        (REFERENCES, REFERENCES, "variations", {}, None),
        (None, REFERENCES, "edits", {"strength": "0.5"}, None),
        (SHARES, SHARES, "edits", {"input_fidelity": "7"}, "input_fidelity"),
    ],
)
async def test_what_has_no_effect_on_an_edit_is_named(
    light: Any, heavy: Any, path: str, fields: dict[str, str], ignored: str | None
) -> None:
    transport = Instant()
    app = make_app(profile_of(light, heavy), transport)
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        answer = await Bench(app, transport).post(path, **form(("image", PNG), **fields))
    assert (answer.status_code, answer.headers.get("x-hadis-ignored")) == (200, ignored), answer.text


async def test_models_say_what_they_edit(bench: Bench) -> None:
    models = {model["id"]: model for model in (await bench.http.get("/v1/models")).json()["data"]}
    keys = ("edits", "inpainting", "edit_images")
    assert [models["light"][key] for key in keys] == [True, False, 1]
    assert [models["heavy"][key] for key in keys] == [models["auto"][key] for key in keys] == [True, True, 16]


@pytest.mark.parametrize(
    ("of_image", "asked", "made"),
    [((300, 100), "auto", "64x32"), ((90, 100), "auto", None), ((10, 30), "auto", "32x64"), ((9, 9), "64x32", "64x32")],
)
def test_a_size_that_is_left_open_is_the_nearest_to_the_images_ratio(
    of_image: tuple[int, int], asked: str, made: str | None
) -> None:
    sizes = ["32x32", "64x32", "32x64"]
    tiers = list(profile_of(HEAVY, HEAVY, sizes=[sizes, sizes], size=["32x32", "32x32"]).tiers.values())
    request = EditRequest(prompt="a", size=asked).with_edit(EditInputs((PNG,), None, None, of_image))
    assert requested_size(request, tiers) == made


def test_sizes_that_not_all_tiers_make_are_left_to_each() -> None:
    tiers = list(profile_of(HEAVY, HEAVY, size=["32x32", "64x32"]).tiers.values())
    request = EditRequest(prompt="a").with_edit(EditInputs((PNG,), None, None, (9, 3)))
    assert requested_size(request, tiers) is None


async def test_batches_hold_edits_that_are_alike(bench: Bench) -> None:
    image, mask = ("image", PNG), ("mask", PNG)
    for request in (form(image), form(image, n="2"), form(image, strength="0.5"), form(image, mask)):
        assert (await bench.post(**request)).status_code == 200
    await bench.http.post("/v1/images/generations", json={"prompt": "a"})
    assert [len(list(alike)) for _, alike in groupby(job.params.batch_key for job in bench.transport.jobs)] == [
        3,
        1,
        1,
        1,
    ]


def test_inputs_go_to_the_worker_once_for_all_jobs_of_a_request() -> None:
    one, other = EditInputs((PNG,), MASK, 0.5, (32, 32)), EditInputs((bytes(bytearray(PNG)),), MASK, 0.5, (32, 32))
    jobs = [(WireJob(id=str(i), prompt="p", seed=i), edit) for i, edit in enumerate((one, one, other))]
    content_type, pieces = encode_batch(batch_of("t", jobs, False))
    read = decode_batch(content_type, b"".join(pieces))
    assert read.inputs == (PNG, MASK, PNG)
    assert [job.edit and job.edit.inputs for job in read.jobs] == [(0, 1), (0, 1), (2, 1)]
