"""Fetching models before a worker starts: once, by revision, told as it goes, refused in the hub's words."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from documents import profile_document
from fake_hub import FakeHub
from hadis.protocol.fetch import FetchProgress

if TYPE_CHECKING:
    from tiny_models import TinyModels

pytestmark = pytest.mark.slow
MODEL, OTHER, GATED = "team/tiny", "team/other", "team/gated"
_PROCESS_S = 120.0
LOAD = """
import os, sys
from pathlib import Path
from hadis_worker.settings import WorkerSettings, read_models
from hadis_worker.loading.tiers import load_painters
models = read_models(WorkerSettings.read())
print(sorted(load_painters(models.tiers, models.folder, "cpu")))
"""


@pytest.fixture
def hub(tiny: TinyModels) -> Iterator[FakeHub]:
    folder = tiny.get("sd15")
    with FakeHub({MODEL: folder, OTHER: folder, GATED: folder}, gated=(GATED,)) as hub:
        yield hub


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def manifest(path: Path, tier: dict[str, Any]) -> Path:
    """Write a profile whose tiers have these fields."""
    document = profile_document()
    for each in document["spec"]["tiers"]:
        each |= tier
    path.write_text(yaml.safe_dump(document))
    return path


def environment(hub: FakeHub, folder: Path) -> dict[str, str]:
    """Return the environment of a worker that keeps its models in a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HADIS_"))}
    return kept | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HADIS_WORKER_MODELS": str(folder),
    }


def start(env: dict[str, str], *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, *words]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def communicated(process: subprocess.Popen[str]) -> str:
    """Return what a process printed; it must end well."""
    try:
        out, err = process.communicate(timeout=_PROCESS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    assert process.returncode == 0, err
    return out


FETCHES = """
import contextlib, errno, io, json, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from huggingface_hub import file_download
from hadis_worker.fetch import fetch
from hadis_worker.loading import tiers  # once: it imports torch
from hadis_worker.settings import WorkerSettings, read_models

def fetched(manifest, token=None):
    settings = WorkerSettings(manifest=Path(manifest))
    os.environ.pop("HF_TOKEN", None)
    if token:
        os.environ["HF_TOKEN"] = token
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        code = fetch(settings, read_models(settings))
    return code, err.getvalue().strip().splitlines()[-1:]

def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")

cases = json.loads(sys.argv[1])
first = WorkerSettings(manifest=Path(cases[0][0]))
with ThreadPoolExecutor() as pods:  # two on one volume: the files' locks are between file descriptors
    codes = list(pods.map(lambda models: fetch(first, models), [read_models(first)] * 2))
results = [(codes, [])]
for manifest, token in cases[1:]:
    download = file_download.http_get
    if token == "full":
        file_download.http_get = full
    results.append(fetched(manifest, None if token == "full" else token))
    file_download.http_get = download
print(json.dumps(results))
"""
"""One process for all, for torch takes long to import."""
CASES: list[tuple[dict[str, Any], str | None, tuple[str, ...]]] = [
    ({"model": MODEL, "revision": "v1"}, None, ()),
    ({"model": GATED}, None, ("is gated", "the hub says 401: Access to model team/gated is restricted")),
    ({"model": "team/none"}, None, ("no such repository", "the hub says 404: Repository not found")),
    ({"model": MODEL, "revision": "v9"}, None, ("no such revision", "the hub says 404: Invalid rev id: v9")),
    ({"model": OTHER}, "full", ("No space left on device",)),
    ({"model": GATED}, "good", ()),
]


def test_models_are_fetched_once_told_and_there_without_the_hub(hub: FakeHub, tmp_path: Path, port: int) -> None:
    hub.wait_s = 0.1
    manifests = [(str(manifest(tmp_path / f"{i}.yaml", tier)), token) for i, (tier, token, _) in enumerate(CASES)]
    env = environment(hub, tmp_path) | {"HADIS_WORKER_PORT": str(port)}
    driver = start(env, "-c", FETCHES, json.dumps(manifests))
    reports, end_s = [FetchProgress()], time.monotonic() + _PROCESS_S
    while driver.poll() is None and time.monotonic() < end_s:
        time.sleep(0.1)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/fetch", timeout=2) as answer:
                reports.append(FetchProgress.model_validate_json(answer.read()))
        except OSError:
            continue
    codes, *others = json.loads(communicated(driver))
    assert codes[0] == [0, 0]
    assert {file: count for file, count in hub.given.items() if count > 1} == {}, "what one has, the other finds"
    assert max(each.files for each in reports) > 1 and max(each.bytes for each in reports) > 1000
    for (code, last), (tier, _, words) in zip(others, CASES[1:], strict=True):
        assert code == (1 if words else 0), tier
        assert all(word in last[0] for word in words), last
    offline = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9", "HADIS_WORKER_MANIFEST": manifests[0][0]}
    assert communicated(start(env | offline, "-c", LOAD)).strip() == "['heavy', 'light']"
