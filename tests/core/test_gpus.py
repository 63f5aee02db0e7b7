"""Which GPU and how many threads each worker of `hadis up` gets, with an nvidia-smi that a test plays."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hadis.api.manifest import read_manifest
from hadis.cli import make_app
from hadis.cli.gpus import assign, list_devices, threads_per_worker
from hadis.cli.up import Machine
from typer.testing import CliRunner

SCENES = Path(__file__).parents[2] / "examples/scenes.yaml"
A, B, C, D = (f"GPU-{c * 8}-d268-c3f3-1b07-005d5ae1dc3f" for c in "abcd")
M0, M1 = "MIG-fb42055e-9e53-5764-9278-438605a3014c", "MIG-0d2a8e6b-1b2a-5b0f-8f0e-3a0b5a9b7c11"
OLD = "MIG-GPU-eeeeeeee-d268-c3f3-1b07-005d5ae1dc3f/7/0"
FOUR = "".join(f"GPU {i}: NVIDIA H100 80GB HBM3 (UUID: {uuid})\n" for i, uuid in enumerate((A, B, C, D)))
MIG = f"""GPU 0: NVIDIA A100-SXM4-40GB (UUID: {A})
  MIG 3g.20gb     Device  0: (UUID: {M0})
  MIG 3g.20gb     Device  1: (UUID: {M1})
GPU 1: NVIDIA A100-SXM4-40GB (UUID: {B})
"""
OLD_MIG = f"GPU 0: A100-SXM4-40GB (UUID: {A})\n  MIG 7g.40gb Device 0: (UUID: {OLD})\n"
Smi = Callable[..., None]


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Smi:
    """Put an nvidia-smi that prints a text on a PATH that has nothing else."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def write(text: str, code: int = 0, more: str = "") -> None:
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n[ \"$*\" = -L ] || exit 9\n{more}\nprintf '%s' '{text}'\nexit {code}\n")
        path.chmod(0o755)

    return write


@pytest.mark.parametrize(
    ("text", "visible", "devices"),
    [
        (FOUR, None, (A, B, C, D)),
        (FOUR, "", ()),
        (FOUR, " ", ()),
        (FOUR, "-1", ()),
        (FOUR, "NoDevFiles", ()),
        (FOUR, "2,0", ("2", "0")),
        (FOUR, " 3 , 1 ", ("3", "1")),
        (FOUR, f"{C},GPU-a", (C, A)),
        (FOUR, "0,7,1", ("0",)),  # CUDA stops at the first name that it does not know
        (FOUR, "1,-1,2", ("1",)),
        (FOUR, "GPU-", ()),  # the beginning of several
        (FOUR, "1,1", ("1",)),
        (MIG, None, (M0, M1, B)),
        (MIG, "0", (M0, M1)),
        (MIG, f"{A},1", (M0, M1, "1")),
        (MIG, f"{M1}", (M1,)),
        (MIG, f"{M1},{M0},{M1[:-1]}", (M1, M0)),
        (OLD_MIG, None, (OLD,)),
        (OLD_MIG, OLD, (OLD,)),
        ("", None, ()),
    ],
)
def test_devices_are_those_that_cuda_would_see(
    smi: Smi, text: str, visible: str | None, devices: tuple[str, ...]
) -> None:
    smi(text)
    assert list_devices({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == devices


@pytest.mark.usefixtures("smi")
def test_a_machine_without_nvidia_smi_has_no_gpu(caplog: pytest.LogCaptureFixture) -> None:
    assert list_devices({}) == list_devices({"CUDA_VISIBLE_DEVICES": "0"}) == ()
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("text", "code", "more", "words"),
    [
        ("NVIDIA-SMI has failed because it could not talk to the driver.\n", 9, "", "because it could not talk to the"),
        (FOUR, 0, "while :; do :; done", "timed out after"),
    ],
)
def test_an_nvidia_smi_that_fails_is_told(
    smi: Smi,
    text: str,
    code: int,
    more: str,
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    smi(text, code, more)
    assert list_devices({}, limit_s=0.2 if more else 30) == ()
    assert len(caplog.messages) == 1
    assert words in caplog.messages[0]


def test_each_worker_has_a_device_of_its_own() -> None:
    assert assign((A, B, C), 2) == (A, B)
    assert assign((A, B), 2) == (A, B)
    assert assign((), 3) == (None, None, None)


@pytest.mark.parametrize(
    ("devices", "workers", "message"),
    [
        ("abcd", 5, "5 workers, but this machine has 4 GPUs: each worker takes one; use --workers 4 or fewer"),
        ("a", 2, "2 workers, but this machine has 1 GPU: each worker takes one; use --workers 1"),
    ],
)
def test_more_workers_than_gpus_are_refused_in_one_line(devices: str, workers: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        assign(tuple(devices), workers)


@pytest.mark.parametrize(
    ("cpus", "workers", "omp", "threads"),
    [
        (8, 2, None, 4),
        (8, 3, None, 2),
        (2, 4, None, 1),
        (8, 2, "3", 3),
        (2, 4, " 16 ", 16),
        (8, 2, "", 4),
        (8, 2, "0", 4),
        (8, 2, "-2", 4),
        (8, 2, "3,2", 3),
        (8, 2, " 3 , 1 ,2", 3),
        (8, 2, "3,0", 4),
        (8, 2, "3,", 4),
        (8, 2, ",3", 4),
        (8, 2, "many", 4),
    ],
)
def test_threads_follow_affinity_and_omp(
    cpus: int, workers: int, omp: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)), raising=False)
    assert threads_per_worker(workers, {} if omp is None else {"OMP_NUM_THREADS": omp}) == threads


def test_where_there_is_no_affinity_all_cpus_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert threads_per_worker(2, {}) == 3


def test_up_gives_each_worker_a_gpu_and_refuses_more_workers_in_one_line(
    smi: Smi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi("".join(FOUR.splitlines(keepends=True)[:2]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    result = CliRunner().invoke(make_app(), ["up", str(SCENES), "--workers", "3"])
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "hadis: 3 workers, but this machine has 2 GPUs: each worker takes one; use --workers 2 or fewer"
    ]
    machine = Machine(
        read_manifest(SCENES), SCENES, tmp_path, "127.0.0.1", 1, assign(list_devices(os.environ), 2), print
    )
    places = machine.places()
    assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in places] == [A, B]
    assert len({place.port for place in places}) == 2
