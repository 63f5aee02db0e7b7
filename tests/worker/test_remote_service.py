"""A worker of a remote tier: its routes over the remote engine, its readiness, and that its process needs no torch."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from documents import profile_document
from hadis.api.resources import CascadeProfile
from hadis.api.tier import Tier
from hadis.protocol.worker import JobResult, decode_answer
from hadis_worker.app import create_app
from hadis_worker.remote_engine import RemoteEngine
from hadis_worker.service import WorkerService
from hadis_worker.settings import SettingsError, WorkerSettings, read_models
from stand_in import StandIn, refusal

KEY = "HADIS_WORKER_API_KEY"


def remote_document(tier: int = 1, **remote: Any) -> dict[str, Any]:
    document = profile_document()
    fields = {"url": "http://engine/v1", "slots": 1, **remote}
    document["spec"]["tiers"][tier] |= {"remote": fields, "tunable": False}
    return document


def heavy_tier() -> Tier:
    return CascadeProfile.read(remote_document()).spec.tiers[1]


@asynccontextmanager
async def worker_of(stand_in: StandIn) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a worker whose endpoint is a stand-in."""
    engine = RemoteEngine([heavy_tier()], transport=httpx.ASGITransport(stand_in.app))
    worker = WorkerService(("heavy",), lambda: engine, 1, lambda: None)
    worker.start()
    transport = httpx.ASGITransport(create_app(worker))
    async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
        yield client
    worker.close()


async def until_status(client: httpx.AsyncClient, status: int) -> str:
    """Wait until the worker is ready, or not; return its words."""
    while True:
        answer = await client.get("/readyz")
        if answer.status_code == status:
            return answer.text
        await asyncio.sleep(0.005)


async def generate(client: httpx.AsyncClient, count: int = 1, **fields: Any) -> httpx.Response:
    jobs = [{"id": str(i), "prompt": "p", "seed": i, **fields} for i in range(count)]
    return await client.post("/generate", json={"tier": "heavy", "jobs": jobs})


async def test_a_worker_serves_what_its_endpoint_makes_in_the_format_that_is_asked_for() -> None:
    async with worker_of(StandIn()) as client:
        await until_status(client, 200)
        results = decode_answer((await generate(client, 2, format="webp")).content)
        assert [(result.size, result.error) for result, _ in results] == [("32x32", None)] * 2
        assert all(image and image[8:12] == b"WEBP" for _, image in results)
        status = (await client.get("/status")).json()
        assert (status["tiers"], status["ready"], status["device"]) == (["heavy"], True, "cpu")


async def test_a_worker_is_ready_once_its_endpoint_answers_and_lives_all_the_same() -> None:
    async with worker_of(StandIn(models_status=503)) as client:
        while "status 503" not in (text := await until_status(client, 503)):  # noqa: ASYNC110 (as a probe does)
            await asyncio.sleep(0.005)
        assert text == "the endpoint of tier heavy answers with status 503"
        assert (await client.get("/healthz")).status_code == 200
        assert (await generate(client)).status_code == 503


async def test_a_batch_that_the_endpoint_cannot_make_now_has_no_results_and_one_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stand_in = StandIn()
    async with worker_of(stand_in) as client:
        await until_status(client, 200)
        stand_in.then = refusal(404, message="no such model")
        answer = await generate(client, 2)
        with pytest.raises(ValueError, match="cut off"):
            decode_answer(answer.content)
        assert (await client.get("/status")).json()["busy"] is False
        stand_in.then = refusal(400, "content_policy_violation")
        [(result, _)] = decode_answer((await generate(client)).content)
        assert (result.error_code, type(result)) == ("content_filtered", JobResult)
    lines = [record for record in caplog.records if "was not made" in record.message]
    assert [record.exc_info for record in lines] == [None]
    assert "tier heavy: a batch of 2 was not made" in lines[0].message


def settings_for(folder: Path, document: dict[str, Any], tiers: str = "heavy") -> WorkerSettings:
    path = folder / "profile.yaml"
    path.write_text(json.dumps(document))
    return WorkerSettings(manifest=path, tiers=tiers)


def test_a_worker_that_judges_nothing_has_no_discriminator(tmp_path: Path) -> None:
    assert read_models(settings_for(tmp_path, remote_document())).discriminator is None
    light = read_models(settings_for(tmp_path, remote_document(tier=0), "light"))
    assert (light.remote, light.discriminator) == (True, tmp_path / "discriminator")


def test_keys_come_from_the_environment_and_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = remote_document(apiKeySecret={"name": "s", "key": "k"})
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(SettingsError, match=f"{KEY}: must be set to the API key of the endpoint of tier heavy"):
        read_models(settings_for(tmp_path, document))
    monkeypatch.setenv(KEY, "sk-secret")
    models = read_models(settings_for(tmp_path, document))
    assert models.api_keys == {"heavy": "sk-secret"}
    assert "sk-secret" not in repr(models)


def test_local_and_remote_tiers_need_workers_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="HADIS_WORKER_TIERS: heavy is made by an endpoint"):
        read_models(settings_for(tmp_path, remote_document(), ""))


def test_a_process_of_a_remote_tier_imports_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "profile.yaml"
    path.write_text(json.dumps(remote_document()))
    code = (
        "import sys, hadis_worker.__main__ as m; from hadis_worker.settings import *\n"
        "import hadis_worker.app, hadis_worker.service\n"
        "m._load_remote(read_models(WorkerSettings.read()))\n"
        "print(sorted({'torch', 'diffusers', 'transformers'} & sys.modules.keys()))"
    )
    environment = os.environ | {"HADIS_WORKER_MANIFEST": str(path), "HADIS_WORKER_TIERS": "heavy"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("[]\n", 0), run.stderr
