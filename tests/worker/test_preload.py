"""A worker that imports before it knows what it is."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
from hadis_worker.preload import preload

VARIABLES = {"HADIS_WORKER_TIERS": "light", "CUDA_VISIBLE_DEVICES": "3"}


@pytest.fixture(autouse=True)
def imports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count the imports, which are done already where tests run, and leave the environment as it was."""
    done: list[str] = []
    monkeypatch.setattr("hadis_worker.preload.import_libraries", lambda: done.append("libraries"))
    for name in VARIABLES:
        monkeypatch.setenv(name, "before")
    return done


def test_it_imports_and_takes_its_variables(imports: list[str]) -> None:
    assert preload(io.StringIO(json.dumps(VARIABLES)))
    assert {name: os.environ[name] for name in VARIABLES} == VARIABLES
    assert imports == ["libraries"]


def test_it_becomes_nothing_where_whoever_started_it_is_gone() -> None:
    assert not preload(io.StringIO(""))
    assert os.environ["HADIS_WORKER_TIERS"] == "before"


@pytest.mark.skipif(sys.platform != "linux", reason="what is open is known on Linux")
def test_where_an_import_opened_a_gpu_it_begins_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    begun: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: begun.append([*command, os.environ["CUDA_VISIBLE_DEVICES"]]))
    gpu = tmp_path / "nvidiactl"
    gpu.touch()
    monkeypatch.setattr("hadis_worker.preload.DEVICES", (str(tmp_path / "nvidia"),))
    preload(io.StringIO(json.dumps(VARIABLES)))
    assert begun == []
    with gpu.open():
        preload(io.StringIO(json.dumps(VARIABLES)))
    assert begun == [[sys.executable, "-m", "hadis_worker", "3"]]
