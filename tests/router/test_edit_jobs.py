"""Edits and variations as long jobs: their images are held until they have ended, and no longer."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from hadis_router.dispatch.edit import EditInputs
from hadis_router.http.image_bodies import ImageBodies
from hadis_router.http.jobs import webhook
from hadis_router.http.jobs.inputs import packed, unpacked
from hadis_router.http.jobs.record import JobRecord
from test_api import IMAGE, Instant
from test_edits import MASK, PNG, URL, form
from test_forwarding import until
from test_jobs import JOBS, SECRET, Gated, asking, ended, listening

EDITS, VARIATIONS = "/v1/images/edits", "/v1/images/variations"
LATER = {"prefer": "respond-async"}


def bodies_of(client: httpx.AsyncClient) -> ImageBodies:
    transport: Any = client._transport
    bodies: ImageBodies = transport.app.state.image_bodies
    return bodies


@pytest.mark.parametrize(
    ("path", "request_", "prompt", "edit"),
    [
        (EDITS, form(("image", PNG), ("mask", MASK)), "a", EditInputs((PNG,), MASK, None, (32, 32))),
        (
            EDITS,
            {"json": {"prompt": "a", "images": [{"image_url": URL}]}},
            "a",
            EditInputs((PNG,), None, None, (32, 32)),
        ),
        (VARIATIONS, {"files": {"image": PNG}}, "", EditInputs((PNG,), None, 0.7, (32, 32))),
        (JOBS, form(("image[]", PNG), ("image[]", MASK)), "a", EditInputs((PNG, MASK), None, None, (32, 32))),
        (JOBS, {"json": {"prompt": "a", "image": URL, "strength": 1}}, "a", EditInputs((PNG,), None, 1, (32, 32))),
    ],
)
async def test_an_edit_is_followed_to_its_result(
    path: str, request_: dict[str, Any], prompt: str, edit: EditInputs
) -> None:
    workers = Gated()
    async with asking(workers) as client:
        answer = await client.post(path, headers={} if path == JOBS else LATER, **request_)
        assert (answer.status_code, answer.headers["location"]) == (202, answer.json()["url"]), answer.text
        assert answer.headers.get("preference-applied") == (None if path == JOBS else "respond-async")
        await until(lambda: bool(workers.jobs))
        running = (await client.get(answer.json()["url"])).json()
        assert (running["status"], running["progress"], running["position"]) == ("running", 0.25, None)
        assert bodies_of(client).held >= sum(map(len, edit.files)), "a worker that fails is not the end of it"
        workers.opened.set()
        done = await ended(client, answer.json()["url"])
        assert base64.b64decode(done["result"]["data"][0]["b64_json"]) == IMAGE
        assert bodies_of(client).held == 0
    [job] = workers.jobs
    assert (job.params.prompt, job.params.edit) == (prompt, edit)


async def test_what_of_it_is_ignored_is_named() -> None:
    async with asking(Instant()) as client:
        answer = await client.post(EDITS, headers=LATER, **form(("image", PNG), input_fidelity="high", x="1"))
        assert (answer.status_code, answer.headers["x-hadis-ignored"]) == (202, "x,input_fidelity")
        await ended(client, answer.headers["location"])


async def test_what_has_ended_keeps_no_images() -> None:
    workers = Gated()
    async with asking(workers) as client:
        url = (await client.post(JOBS, **form(("image", PNG)))).json()["url"]
        await until(lambda: bool(workers.jobs))
        assert (await client.delete(url)).json()["status"] == "cancelled"
        assert bodies_of(client).held == 0
        transport: Any = client._transport
        record = await transport.app.state.jobs._store.get(url.rpartition("/")[2])
    assert (record.kind, record.request.edit) == ("edit", None)


@pytest.mark.parametrize(
    ("fields", "status"), [({"model": "x"}, 404), ({"webhook": "http://a"}, 400), ({"stream": "true"}, 400)]
)
async def test_what_is_refused_is_not_held(fields: dict[str, str], status: int) -> None:
    async with asking(Instant(), job_count=1) as client:
        assert (await client.post(JOBS, **form(("image", PNG), **fields))).status_code == status
        assert bodies_of(client).held == 0
        assert (await client.post(JOBS, **form(("image", PNG)))).status_code == 202, "nor is its place taken"


async def test_images_of_jobs_fill_the_room_of_all() -> None:
    workers = Gated()
    async with asking(workers) as client:
        first = await client.post(JOBS, **form(("image", PNG)))
        bodies_of(client).room = bodies_of(client).held + 10
        full = await client.post(EDITS, **form(("image", PNG)))
        assert (full.status_code, full.json()["error"]["code"]) == (429, "queue_full")
        workers.opened.set()
        await ended(client, first.json()["url"])
        bodies_of(client).room = 10_000
        assert (await client.post(EDITS, **form(("image", PNG)))).status_code == 200


async def test_a_key_is_of_the_images_too() -> None:
    workers, key = Instant(), {"idempotency-key": "k"}
    async with asking(workers) as client:
        first, again = [await client.post(JOBS, headers=key, **form(("image", PNG))) for _ in range(2)]
        assert first.request.headers["content-type"] != again.request.headers["content-type"], "another boundary"
        others = [form(("image", MASK)), form(("image[]", PNG), ("image[]", PNG)), form(("image", PNG), ("mask", PNG))]
        statuses = [(await client.post(JOBS, headers=key, **other)).status_code for other in others]
        varied = await client.post(VARIATIONS, headers=key | LATER, files={"image": PNG})
        await ended(client, first.json()["url"])
        assert bodies_of(client).held == 0
    assert (again.json()["id"], len(workers.jobs)) == (first.json()["id"], 1)
    assert [*statuses, varied.status_code] == [409] * 4


async def test_its_webhook_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "BACKOFF_S", (0.001,) * 4)
    async with listening(500, 200) as (port, hooks):
        settings = {"webhook_hosts": (f"127.0.0.1:{port}",), "webhook_secret": SECRET}
        async with asking(Instant(), **settings) as client:
            url = f"http://127.0.0.1:{port}/hook"
            job = await client.post(EDITS, headers=LATER, **form(("image", PNG), webhook=url))
            await until(lambda: len(hooks) == 2)
    message = json.loads(hooks[-1][1])
    assert (message["type"], message["data"]["id"]) == ("image.job.succeeded", job.json()["id"])


async def test_nothing_is_held_while_its_webhook_does_not_answer() -> None:
    async with listening(500) as (port, hooks):
        settings = {"webhook_hosts": (f"127.0.0.1:{port}",), "webhook_secret": SECRET}
        async with asking(Instant(), **settings) as client:
            await client.post(JOBS, **form(("image", PNG), webhook=f"http://127.0.0.1:{port}/hook"))
            await until(lambda: len(hooks) == 1)
            assert bodies_of(client).held == 0


@pytest.mark.parametrize(
    "edit", [EditInputs((PNG, b""), MASK, 0.5, (32, 32)), EditInputs((b"\r\n",), None, None, (1, 9))]
)
def test_inputs_are_kept_to_the_byte(edit: EditInputs) -> None:
    assert unpacked(packed(edit)) == edit


@pytest.mark.parametrize("cut", [0, 1, 60, -9])
def test_inputs_that_are_cut_off_are_none(cut: int) -> None:
    with pytest.raises((ValueError, KeyError)):
        unpacked(packed(EditInputs((PNG,), None, None, (32, 32)))[:cut])


def test_a_record_of_an_older_router_is_read() -> None:
    old = {"id": "a", "request": {"prompt": "a"}, "client": "c", "base_url": "u", "created_at": 1, "expires_at": 2}
    assert JobRecord.model_validate_json(json.dumps(old)).request.kind == "generation"
