"""What a worker makes of its environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hadis_worker.__main__ import keep_compiled
from hadis_worker.settings import WorkerSettings


@pytest.mark.parametrize(
    ("threads", "omp", "count"),
    [("5", "3", 5), (None, "3", 3), ("0", "3", 3), (None, None, 4), (None, "all", 4), ("2", None, 2)],
)
def test_threads_are_ours_then_openmps_then_the_affinity(
    threads: str | None, omp: str | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    for name, value in (("HADIS_WORKER_THREADS", threads), ("OMP_NUM_THREADS", omp)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("HADIS_WORKER_MANIFEST", "somewhere.yaml")
    assert WorkerSettings.read().thread_count == count


def test_what_torch_compiles_is_kept_where_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "as before")
    (tmp_path / "file").touch()
    keep_compiled(tmp_path / "file/compiled")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "as before"
    keep_compiled(tmp_path / "models/compiled")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "models/compiled")
