"""Fetching models before a worker starts: once for all, by revision, told as it goes, and refused in the hub's words."""

from __future__ import annotations

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
MODEL, GATED = "team/tiny", "team/gated"
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
    with FakeHub({MODEL: folder, GATED: folder}, gated=(GATED,)) as found:
        yield found


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def environment(hub: FakeHub, folder: Path, tier: dict[str, Any], **more: str) -> dict[str, str]:
    """Return the environment of a worker whose light tier has these fields; the heavy one has the same model."""
    document = profile_document()
    for each in document["spec"]["tiers"]:
        each |= tier
    (folder / "manifest.yaml").write_text(yaml.safe_dump(document))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HADIS_"))}
    return kept | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HADIS_WORKER_MANIFEST": str(folder / "manifest.yaml"),
        "HADIS_WORKER_MODELS": str(folder),
        "HADIS_WORKER_PORT": "0",
        **more,
    }


def start(env: dict[str, str], *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, *words]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


FETCH = ("-m", "hadis_worker", "fetch")


def test_two_pods_fetch_each_file_once_and_a_worker_then_loads_without_the_hub(
    hub: FakeHub, tmp_path: Path, port: int
) -> None:
    hub.wait_s = 0.3
    env = environment(hub, tmp_path, {"model": MODEL, "revision": "v1"})
    pods = [start(env | {"HADIS_WORKER_PORT": str(port)}, *FETCH), start(env, *FETCH)]
    told = [FetchProgress()]
    while pods[0].poll() is None:
        time.sleep(0.1)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/fetch", timeout=2) as answer:
                told.append(FetchProgress.model_validate_json(answer.read()))
        except OSError:
            continue
    ends = [pod.communicate(timeout=_PROCESS_S) for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], ends
    assert set(hub.given.values()) == {1}, "what one has fetched, the other finds"
    assert told == sorted(told, key=lambda each: each.files)
    assert 0 < told[-1].files <= len(hub.given)
    offline = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    loaded = start(env | offline, "-c", LOAD).communicate(timeout=_PROCESS_S)
    assert loaded[0].strip() == "['heavy', 'light']", loaded[1]


@pytest.mark.parametrize(
    ("tier", "more", "words"),
    [
        ({"model": GATED}, {}, ("is gated", "the hub says 401: Access to model team/gated is restricted")),
        ({"model": GATED}, {"HF_TOKEN": "good"}, ()),
        ({"model": "team/none"}, {}, ("no such repository", "the hub says 404: Repository not found")),
        ({"model": MODEL, "revision": "v9"}, {}, ("no such revision", "the hub says 404: Invalid rev id: v9")),
        ({"model": MODEL}, {"FULL": "1"}, ("No space left on device",)),
    ],
)
def test_what_keeps_models_away_is_the_last_line(
    hub: FakeHub, tmp_path: Path, tier: dict[str, Any], more: dict[str, str], words: tuple[str, ...]
) -> None:
    env = environment(hub, tmp_path, tier, **more)
    command = ("-c", _ON_A_FULL_DISK) if "FULL" in more else FETCH
    pod = start(env, *command)
    _, err = pod.communicate(timeout=_PROCESS_S)
    assert pod.returncode == (1 if words else 0), err
    last = err.strip().splitlines()[-1]
    for each in words:
        assert each in last


_ON_A_FULL_DISK = """
import errno, sys
from huggingface_hub import file_download
def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")
file_download.http_get = full
sys.argv = ["hadis_worker", "fetch"]
from hadis_worker.__main__ import main
sys.exit(main())
"""
