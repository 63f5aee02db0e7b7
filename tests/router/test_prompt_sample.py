"""Prompts that a service keeps: how many, which, where, for whom; and that nothing of one is anywhere otherwise."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from documents import profile_document
from fastapi import FastAPI
from hadis.api.resources import CascadeProfile
from hadis.api.watch import PromptSampleSpec, WatchSpec
from hadis.planning.profile import Profile
from hadis.protocol.run_state import RunState, WorkerAddress
from hadis_router.app import create_app
from hadis_router.dispatch.judging import SAMPLED
from hadis_router.http.jobs.settings import JobSettings
from hadis_router.http.keys import KeyRing, read_keys
from hadis_router.http.prompt_sample import KeptPrompts, PromptSample
from hypothesis import given
from hypothesis import strategies as st
from test_api import PLAN, Instant, LengthScorer, make_manifest

MARKER = "xylophone-of-zanzibar"


@given(keep=st.integers(1, 20), count=st.integers(0, 60))
def test_no_more_are_kept_than_may_be_and_all_while_there_is_room(keep: int, count: int) -> None:
    sample = PromptSample(PromptSampleSpec(keep=keep), chance=random.Random(0))
    for i in range(count):
        sample.take(f"prompt {i}")
    kept = sample.kept()
    assert (kept.seen, len(kept.prompts), len(set(kept.prompts))) == (count, min(keep, count), min(keep, count))


def test_each_prompt_is_kept_with_the_same_chance() -> None:
    chance, kept = random.Random(1), Counter[str]()
    for _ in range(2000):
        sample = PromptSample(PromptSampleSpec(keep=5), chance=chance)
        for i in range(20):
            sample.take(str(i))
        kept.update(sample.kept().prompts)
    assert all(0.2 < kept[str(i)] / 2000 < 0.3 for i in range(20))


def test_what_is_no_use_for_a_profile_is_not_kept() -> None:
    sample = PromptSample(PromptSampleSpec())
    for prompt in ("", "  ", "x" * 10_001):
        sample.take(prompt)
    assert sample.kept() == KeptPrompts(seen=0, prompts=())


def test_a_file_outlives_the_router_and_goes_with_the_consent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "prompts.json"
    first = PromptSample(PromptSampleSpec(), path)
    first.take(MARKER)
    first.save()
    assert path.stat().st_mode & 0o777 == 0o600
    second = PromptSample(PromptSampleSpec(), path)
    second.take("another")
    assert second.kept() == KeptPrompts(seen=2, prompts=(MARKER, "another"))
    path.write_text("[]")
    assert PromptSample(PromptSampleSpec(), path).kept().seen == 0
    assert "holds no kept prompts" in caplog.text
    PromptSample(None, path)
    assert not path.exists()


def test_a_file_that_cannot_be_written_is_said_and_not_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sample = PromptSample(PromptSampleSpec(), tmp_path / "no folder" / "prompts.json")
    sample.take("a")
    sample.save()
    assert "cannot be saved" in caplog.text


# By HTTP


@asynccontextmanager
async def serving(
    tmp_path: Path, keys: str | None = None, workers: Instant | None = None, **fields: Any
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    async def states() -> AsyncIterator[RunState]:
        yield RunState(PLAN, (WorkerAddress("http://w", ("light", "heavy")),))
        await asyncio.Event().wait()

    manifest = make_manifest(Profile(CascadeProfile.read(profile_document())))
    spec = manifest.service.spec.model_copy(update=fields)
    manifest = replace(manifest, service=manifest.service.model_copy(update={"spec": spec}))
    ring = None
    if keys is not None:
        (tmp_path / "keys").write_text(keys)
        ring = KeyRing(tmp_path / "keys")
    app = create_app(manifest, states, LengthScorer(), workers or Instant(), keys=ring, jobs=JobSettings())
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://router") as client:
            yield app, client


def line(key: str, *words: str) -> str:
    return " ".join((f"sha256:{sha256(key.encode()).hexdigest()}", *words)) + "\n"


def shown(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_only_a_key_that_may_reads_them(tmp_path: Path) -> None:
    keys, spec = line("shop") + line("analyst", "prompts=read"), PromptSampleSpec()
    async with serving(tmp_path, keys, prompt_sample=spec) as (_, client):
        body = {"prompt": MARKER, "n": 2}
        assert (await client.post("/v1/images/generations", json=body, headers=shown("shop"))).status_code == 200
        answers = [await client.get("/v1/hadis/prompts", headers=shown(key)) for key in ("analyst", "shop", "other")]
    assert [answer.status_code for answer in answers] == [200, 403, 401]
    assert answers[0].json() == {"seen": 1, "prompts": [MARKER]}
    assert answers[0].headers["cache-control"] == "no-store"


async def test_without_keys_or_consent_nobody_does(tmp_path: Path) -> None:
    async with serving(tmp_path, prompt_sample=PromptSampleSpec()) as (_, client):
        assert (await client.get("/v1/hadis/prompts")).status_code == 403
    async with serving(tmp_path, line("analyst", "prompts=read")) as (_, client):
        answer = await client.get("/v1/hadis/prompts", headers=shown("analyst"))
    assert (answer.status_code, "promptSample" in answer.text) == (404, True)


@pytest.mark.parametrize("word", ["prompts=write", "prompts=", "prompts"])
def test_another_word_for_it_is_refused(tmp_path: Path, word: str) -> None:
    (tmp_path / "keys").write_text(line("a", word))
    with pytest.raises(ValueError, match="prompts=read"):
        read_keys(tmp_path / "keys")


async def test_nothing_of_a_prompt_is_kept_or_told_without_consent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("TMPDIR", str(home))
    caplog.set_level(logging.DEBUG)
    workers = Instant()
    workers.failing_seed = 3
    async with serving(tmp_path, workers=workers, quality_watch=WatchSpec(share=1.0)) as (app, client):
        statuses = []
        wrong = ({"seed": 3}, {"size": "7x7"}, {"n": 11}, {"model": MARKER}, {"prompt": f"{MARKER}\0"})
        right: list[dict[str, Any]] = [*[{}] * SAMPLED, {"negative_prompt": MARKER}, {"stream": True}]
        for fields in (*right, *wrong):
            body = {"prompt": MARKER, **fields}
            statuses.append((await client.post("/v1/images/generations", json=body)).status_code)
        await app.state.gateway.watch.judge_waiting(app.state.gateway.dispatcher)
        await client.post("/v1/hadis/jobs", json={"prompt": MARKER})
        texts = [(await client.get(path)).text for path in ("/metrics", "/v1/hadis/status", "/v1/models")]
        points = repr(list(app.state.history.points))
        assert app.state.gateway.prompts.kept() == KeptPrompts(seen=0, prompts=())
        assert app.state.gateway.watch.counts["judged"] > 0
    assert 200 in statuses
    assert all(MARKER not in text for text in (*texts, points, caplog.text))
    files = [Path(folder) / name for folder, _, names in os.walk(tmp_path) for name in names]
    assert all(MARKER.encode() not in path.read_bytes() for path in files)
